# SPDX-License-Identifier: Apache-2.0
"""Where two simulations part: the first cycle and signals, from their waveforms."""

import dataclasses
import re
from itertools import groupby
from operator import itemgetter

__all__ = ["Difference", "Waveform", "common", "ever_different", "first_difference"]

BIT = re.compile(r"(.*)\[(\d+)\]")


class Waveform:
    """A waveform of the batch simulator (VCD by Verilator), read from its file as needed.

    pyvcd's reader stops at names like ``$12``, which Amaranth gives, so this one is ours.

    Parameters
    ----------
    path : path
    top : int
        Scopes that all names have in common, and which are left out of names.

    Attributes
    ----------
    signals : dict of str to (str, int, int)
        Name, scopes joined by ``.`` → identifier, width, index of the lowest bit.
    """

    def __init__(self, path, *, top=2):
        self.path = path
        self.signals = {}
        scopes = []
        with open(path, encoding="ascii") as lines:
            for line in lines:
                word = line.split()
                if not word:
                    continue
                if word[0] == "$scope":
                    scopes.append(word[2])
                elif word[0] == "$upscope":
                    scopes.pop()
                elif word[0] == "$var":
                    found = re.fullmatch(r"\[(\d+):(\d+)\]", word[5])
                    self.signals[".".join([*scopes[top:], word[4]])] = (
                        word[3], int(word[2]), int(found[2]) if found else 0)
                elif word[0] == "$enddefinitions":
                    return

    def bits(self):
        """``{(name, bit): (identifier, place)}`` of all signals."""
        found = {}
        for name, (identifier, width, low) in self.signals.items():
            own = BIT.fullmatch(name)
            if own:
                found[own[1], int(own[2])] = identifier, 0
            else:
                found.update({(name, low + k): (identifier, k) for k in range(width)})
        return found

    def cycles(self):
        """Yield ``(cycle, {identifier: value})``: changes, as they are before the clock's edge."""
        with open(self.path, encoding="ascii") as lines:
            for line in lines:
                if line.startswith("$enddefinitions"):
                    break
            cycle, changed = 0, {}
            for line in lines:
                if line[0] == "#":
                    time = int(line[1:])
                    if time // 2 + time % 2 > cycle and changed:  # an odd time is after the edge
                        yield cycle, changed
                        changed = {}
                    cycle = time // 2 + time % 2
                elif line[0] == "b":
                    value, identifier = line[1:].split()
                    changed[identifier] = int(value, 2)
                elif line[0] in "01":
                    changed[line[1:].rstrip()] = int(line[0])
            if changed:
                yield cycle, changed


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first cycle in which signals differ.

    Attributes
    ----------
    cycle : int
        Of the source.
    signals : dict of str to (int, int)
        Label → expected, found.
    compared : int
        Pairs of bits.
    """

    cycle: int
    signals: dict
    compared: int


def first_difference(source, target, pairs, *, shift=0):
    """Compare two waveforms cycle by cycle, up to the first difference.

    Parameters
    ----------
    source, target : Waveform
    pairs : dict of str to ((str, int), (str, int))
        Label → ``(name, bit)`` in the source and in the target.
    shift : int
        Cycles by which the target is late.

    Returns
    -------
    Difference or None
        None if no pair differs.

    Raises
    ------
    ValueError
        If nothing can be compared.
    """
    count = len(common(source, target, pairs))
    for cycle, values, differing in _walk(source, target, pairs, shift):
        if differing and cycle >= 0:
            return Difference(cycle, {label: tuple(values[label]) for label in sorted(differing)},
                              count)
    return None


def ever_different(source, target, pairs, *, shift=0):
    """Labels of the pairs that differ in some cycle; parameters as of `first_difference`."""
    found = set()
    for _, _, differing in _walk(source, target, pairs, shift):
        found |= differing
    return found


def common(source, target, pairs):
    """The pairs that both waveforms have."""
    ours, theirs = source.bits(), target.bits()
    found = {label: pair for label, pair in pairs.items()
             if pair[0] in ours and pair[1] in theirs}
    if not found:
        raise ValueError("The waveforms have no signal in common")
    return found


def _walk(source, target, pairs, shift):
    """Yield cycle, values of both sides by label, and the labels that differ."""
    pairs = common(source, target, pairs)
    watching = ({}, {})
    for side, wave in enumerate((source, target)):
        bits = wave.bits()
        for label, pair in pairs.items():
            identifier, place = bits[pair[side]]
            watching[side].setdefault(identifier, []).append((label, place))
    values = {label: [0, 0] for label in pairs}
    differing = set()
    for cycle, parts in groupby(_merged(source, target, shift), key=itemgetter(0)):
        for _, side, changed in parts:
            for identifier, value in changed.items():
                for label, place in watching[side].get(identifier, ()):
                    pair = values[label]
                    pair[side] = value >> place & 1
                    (differing.discard if pair[0] == pair[1] else differing.add)(label)
        yield cycle, values, differing


def _merged(source, target, shift):
    """Changes of both in order: cycle of the source, side, changes."""
    sides = [((cycle, 0, changed) for cycle, changed in source.cycles()),
             ((cycle - shift, 1, changed) for cycle, changed in target.cycles())]
    waiting = [next(side, None) for side in sides]
    while any(waiting):
        side = min(entry[:2] for entry in waiting if entry)[1]
        entry = waiting[side]
        assert entry is not None
        yield entry
        waiting[side] = next(sides[side], None)
