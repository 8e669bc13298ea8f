# SPDX-License-Identifier: Apache-2.0
"""Processes that measure the rows of a table."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from .errors import Failure

__all__ = ["finished", "workers"]


@contextlib.contextmanager
def workers(jobs, out):
    """A pool of processes, which end with what they run where this one is told to stop.

    Parameters
    ----------
    jobs : int or None
        As many as the machine has cores where None.
    out : path
        Where rows are that were measured, for the message.

    Raises
    ------
    Failure
        If a process died.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or os.cpu_count(), context, initializer=_start) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise Failure("a process was killed, perhaps for want of memory; what had been "
                          f"measured is in {out}, --jobs 1 needs the least") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def finished(running, progress, *, weigh=lambda job: 1, title):
    """Jobs and their results as they come; ``progress`` hears of each, and of the time left.

    Parameters
    ----------
    running : dict of Future to job
    progress : callable(str)
    weigh : callable(job)
        What the job's time is about proportional to.
    title : callable(job, result)
        For people.
    """
    started, total = time.monotonic(), sum(map(weigh, running.values()))
    ahead = total
    for done, future in enumerate(as_completed(running), 1):
        job, result = running[future], future.result()
        yield job, result
        ahead -= weigh(job)
        left = (time.monotonic() - started) * ahead / (total - ahead)
        progress(f"{done} of {len(running)}: {title(job, result)}"
                 f"{f'; about {_duration(left)} left' if ahead else ''}")


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _start():
    """A process ends with the tool that it runs: when it is told to, or when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent, which tells its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch():
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
