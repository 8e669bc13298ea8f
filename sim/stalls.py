# SPDX-License-Identifier: Apache-2.0
"""The pauses of sources and sinks: one rule for every simulator, so that runs equal each other."""

__all__ = ["SINK", "SOURCE", "stalled"]

SOURCE, SINK = 0, 1
MASK = (1 << 64) - 1


def stalled(*, seed, side, cycle, probability):
    """Whether a side pauses in a cycle: a hash of the three numbers (SplitMix64).

    ``batch_main.cpp`` has the same function.

    Parameters
    ----------
    seed : int
        Seed of the run.
    side : int
        :data:`SOURCE` or :data:`SINK`.
    cycle : int
        Cycles since the stimulus started.
    probability : float
        From 0, never, to 1, always.
    """
    z = ((2 * seed + side) * 0xD1342543DE82EF95 + (cycle + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return (z ^ z >> 31) >> 11 < int(probability * 2**53)
