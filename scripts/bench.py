# SPDX-License-Identifier: Apache-2.0
"""Speeds of this machine: what waiting for carrysave costs. Run by ``make bench``."""

import statistics
import subprocess
import sys
import time

import numpy as np

from carrysave.hw.pe.mixpe import MixPE
from carrysave.sim.batch import BatchSimulator

IMPORTS = ("carrysave.quant.formats", "carrysave.hw.engine.engine", "carrysave.main", "torch")
LANES, GROUP, CYCLES = 16, 8, 2_000_000


def import_seconds(name):
    """Median of five fresh interpreters."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True, timeout=60)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def batch_seconds():
    """Seconds to build the simulator (0 from the cache) and to run; every sum is checked."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-8, 8, (CYCLES, LANES))
    activations = rng.integers(-128, 128, (CYCLES, LANES))
    last = np.arange(1, CYCLES + 1) % GROUP == 0
    start = time.perf_counter()
    simulator = BatchSimulator(MixPE(GROUP, lanes=LANES))
    simulator.library()
    built = time.perf_counter()
    run = simulator.run({"activations": activations, "weights": weights, "last": last},
                        outputs=CYCLES // GROUP)
    done = time.perf_counter()
    sums = (weights * activations).sum(axis=1).reshape(-1, GROUP).sum(axis=1)
    if not np.array_equal(run.outputs, sums):
        raise SystemExit("batch simulation differs from NumPy")
    return built - start, done - built


def main():
    for name in IMPORTS:
        print(f"import {name:27} {import_seconds(name):6.2f} s")
    build, run = batch_seconds()
    print(f"build a batch simulator            {build:6.2f} s (a fraction once it is cached)")
    print(f"batch simulation, {LANES}-lane MixPE    {CYCLES / run / 1e6:6.2f} million cycles/s, "
          f"{CYCLES // GROUP} sums equal")


if __name__ == "__main__":
    main()
