# SPDX-License-Identifier: Apache-2.0
"""The ledger: each arrow of the chain, with what was compared and the first difference."""

from dataclasses import asdict, dataclass, field

import numpy as np

__all__ = ["MODELS", "Arrow", "Comparison", "Ledger"]

#: Along the chain.
MODELS = ("trained", "golden", "rtl", "netlist", "routed", "bitstream")


@dataclass
class Comparison:
    """Counts equal and different values, and remembers the first difference.

    ``first`` is a dictionary with ``layer``, ``element``, ``cycle``, ``expected``, ``found``, and
    whatever else helps to find the place.
    """

    compared: int = 0
    mismatches: int = 0
    first: dict | None = None
    _when: int | None = None

    def add(self, expected, found, place=None, *, order=None):
        """Compare two arrays of one shape, element by element.

        Parameters
        ----------
        expected, found : array_like
            A different shape is an error, as everything in it is missing.
        place : callable(index) -> dict, optional
            Says where the element of an index tuple is.
        order : array_like, optional
            When each element came to be; the earliest difference of all is the first.
        """
        expected, found = np.asarray(expected), np.asarray(found)
        if expected.shape != found.shape:
            raise ValueError(f"Shapes differ: {expected.shape} expected, {found.shape} found")
        self.compared += expected.size
        different = expected != found
        self.mismatches += int(different.sum())
        if not different.any():
            return
        rank = ~different if order is None else np.where(different, order, np.iinfo(np.int64).max)
        index = tuple(int(i) for i in np.unravel_index(np.argmin(rank), different.shape))
        when = None if order is None else int(rank[index])
        if self.first is not None and (when is None or self._when is None or when >= self._when):
            return
        self._when = when
        self.first = {
            "layer": None,
            "element": index[-1] if index else 0,
            "cycle": None,
            **(place(index) if place else {}),
            "expected": expected[index].item(),
            "found": found[index].item(),
        }


@dataclass
class Arrow:
    """One comparison or proof between two models of the chain.

    Attributes
    ----------
    source, target : str
        Of `MODELS`.
    method : str
        ``exhaustive``, ``proof``, ``random``, ``batch``, ``cocotb``, ``whole data set``.
    what : str
        The values compared, in words.
    on : str or None
        Board, where there is one arrow per board.
    """

    source: str
    target: str
    method: str
    what: str = ""
    on: str | None = None
    compared: int = 0
    mismatches: int = 0
    first: dict | None = None
    seconds: float = 0.0
    why: str = ""
    ran: bool = True
    detail: dict = field(default_factory=dict)

    @property
    def status(self):
        """``exact``, ``differs`` or ``not run``; nothing compared is not exact."""
        if not self.ran:
            return "not run"
        return "exact" if self.compared and not self.mismatches else "differs"

    def to_json(self):
        entry = asdict(self)
        del entry["ran"]
        return {
            "from": entry.pop("source"),
            "to": entry.pop("target"),
            "method": entry.pop("method"),
            "status": self.status,
            **entry,
        }


@dataclass
class Ledger:
    """The arrows of one subject."""

    subject: str
    tools: dict
    arrows: list = field(default_factory=list)

    @property
    def exact(self):
        """No arrow differs and at least one was run."""
        states = [arrow.status for arrow in self.arrows]
        return "differs" not in states and "exact" in states

    @property
    def missing(self):
        """Arrows that were not run because a tool is not installed."""
        return [arrow for arrow in self.arrows if arrow.detail.get("missing")]

    def to_json(self):
        return {
            "format": 1,
            "subject": self.subject,
            "tools": self.tools,
            "arrows": [arrow.to_json() for arrow in self.arrows],
        }
