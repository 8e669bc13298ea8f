# SPDX-License-Identifier: Apache-2.0
"""Who measures the points of a sweep: processes of this machine, or the workers of a cluster."""

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import warnings
from collections import deque
from concurrent.futures import CancelledError
from multiprocessing.connection import wait
from typing import Any

from .errors import BadInput, Failure
from .sweep_measure import failed, perform, stamp

__all__ = ["check_address", "cluster", "processes"]

PATIENCE = 10  # seconds for a scheduler to answer, and for a worker to be there


def processes(tasks, *, jobs):
    """Perform tasks in processes: generator of ``(task, outcome)``, as they are done.

    A task whose process dies is tried once more, in a new one.

    Parameters
    ----------
    tasks : list of dict
        Of `task_of`.
    jobs : int
        Processes at once.
    """
    todo, idle, died = deque(tasks), [], set()
    busy = {}  # by pipe
    try:
        while todo or busy:
            while todo and len(busy) < jobs:
                process, pipe = idle.pop() if idle else _start()
                busy[pipe] = process, todo.popleft()
                with contextlib.suppress(OSError):  # it has died; `recv` finds out
                    pipe.send(busy[pipe][1])
            ready: list[Any] = wait(list(busy))
            for pipe in ready:
                process, task = busy.pop(pipe)
                try:
                    outcome = pipe.recv()
                except (EOFError, OSError):
                    pipe.close()
                    process.join()
                    if task["key"] not in died:
                        died.add(task["key"])
                        todo.appendleft(task)
                        continue
                    outcome = failed(f"its process died twice, {_end(process.exitcode)}")
                else:
                    idle.append((process, pipe))
                yield task, outcome
    finally:
        alive = [*idle, *((process, pipe) for pipe, (process, _) in busy.items())]
        for process, pipe in alive:
            pipe.close()
            process.terminate()
        for process, _ in alive:
            process.join()


def _start():
    """A process that performs what comes through a pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    return process, ours


def _serve(pipe):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.dup2(2, 1)  # standard output is for the result alone
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            pipe.send(perform(pipe.recv()))


def _end(code):
    return f"at last by signal {-code}" if code < 0 else f"at last with exit status {code}"


def check_address(address):
    """Refuse what cannot be the address of a scheduler."""
    if not re.fullmatch(r"(tcp|tls)://([^\s/:]+|\[[^\s/]+\]):\d{1,5}", address):
        raise BadInput(f"--scheduler: must be tcp://HOST:PORT, not {address!r}")


def cluster(tasks, address):
    """Perform tasks on a Dask cluster: generator of ``(task, outcome)``, as they are done.

    A task whose worker dies is tried again by the scheduler, as often as its configuration says.

    Parameters
    ----------
    tasks : list of dict
        Of `task_of`.
    address : str
        Of its scheduler, ``tcp://HOST:PORT``.

    Raises
    ------
    BadInput
        No scheduler, no worker, or a worker with another carrysave or other tools.
    Failure
        The scheduler went away.
    """
    try:
        import distributed
    except ImportError:
        raise BadInput("--scheduler: Dask is not installed: pip install "
                       "'carrysave[cluster]'") from None
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")  # what differs on workers is checked below
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)  # Dask's words for what we say in one line
        try:
            client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise BadInput(f"--scheduler: no scheduler answers at {address}: "
                           f"{_first(error)}") from None
        stack.callback(_close, client)
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise BadInput(f"--scheduler: {address} has no workers: start them with "
                           f"dask worker {address}") from None
        try:
            _check_workers(client, tasks)
            futures = {client.submit(perform, task, pure=False): task for task in tasks}
            for future in distributed.as_completed(list(futures), loop=client.loop):
                task = futures.pop(future)
                if future.status == "finished":
                    yield task, future.result()
                elif future.status == "error":
                    yield task, failed(f"its worker: {future.exception()}")
                else:
                    raise Failure(f"--scheduler: {address} went away")
        except (CancelledError, OSError, RuntimeError) as error:
            raise Failure(f"--scheduler: {address} went away: {_first(error)}") from None


def _check_workers(client, tasks):
    measures = sorted({task["measure"] for task in tasks})
    own = {measure: stamp(measure) for measure in measures}
    found = client.run(_stamps, measures, on_error="return")
    for worker, theirs in found.items():
        if isinstance(theirs, BaseException):
            raise BadInput(f"--scheduler: worker {worker} cannot take part: "
                           f"{type(theirs).__name__}: {theirs}")
        for measure in measures:
            if theirs[measure] != own[measure]:
                raise BadInput(f"--scheduler: worker {worker} must have the tools and the code of "
                               f"this machine, {own[measure]}, not {theirs[measure]}")


def _stamps(measures):
    return {measure: stamp(measure) for measure in measures}


def _first(error):
    """An error's first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _close(client):
    """Close within seconds, whatever is left of the cluster."""
    with contextlib.suppress(Exception):
        client.close(timeout=2)
