# SPDX-License-Identifier: Apache-2.0
"""Pages of number formats, with what each costs in accuracy, and what computes with it."""

from ..format_text import COLUMNS, RIGHT, Prose, Text, columns, families, family_line, sections

__all__ = ["write_formats"]

WIDTH = 96
KINDS = {"Text": Text, "Prose": Prose}


def write_formats(pages, listed, quality, known, missing, figure):
    """The index of formats, and a page for each.

    Parameters
    ----------
    pages : Pages
    listed : dict
        Descriptions by name.
    quality : Quality
    known : dict
        Subjects by name.
    missing : dict
        What was not measured.
    figure : Figure or None
        QSNR against bits.
    """
    groups = []
    for kind, members in families(listed.values()).items():
        about, sources = family_line(kind, members)
        groups.append({"kind": kind, "summary": about, "sources": sources,
                       "rows": [(columns(member), _weights(quality, member["name"]))
                                for member in members]})
    pages.page("formats/index.html", "formats.html.j2", title="Number formats", columns=COLUMNS,
               right=RIGHT, groups=groups, figure=figure)
    for name, description in listed.items():
        users = [subject for subject in known.values() if name in _used(subject)]
        found = []
        for section in sections(description, WIDTH):
            title, _, part = section.title.partition(": ")
            same = part in listed and listed[part]["declaration"] in description["declaration"]
            found.append({"title": title, "part": part, "link": same,
                          "content": [(_kind(each), each) for each in section.content]})
        pages.page(f"formats/{name}.html", "format.html.j2", title=name, description=description,
                   sections=found, users=users, measured=_measured(quality, name),
                   missing="accuracy.csv" in missing, commands=missing)


def _kind(content):
    return next((name for name, kind in KINDS.items() if isinstance(content, kind)), "Table")


def _used(subject):
    formats = subject.unit.formats.values() if subject.unit is not None else ()
    return {*formats, subject.activations, subject.weights}


def _weights(quality, name):
    return quality.tensor(name, "weights", "row")[1]


def _measured(quality, name):
    """Rows for each scale: medians of errors, perplexities, accuracies."""
    found = []
    for scale in quality.scales(name):
        row = {"scale": scale, "cells": []}
        for (fmt, kind, network), scales in quality.tensors.items():
            if fmt == name and scale in scales:
                error, qsnr = quality.tensor(name, kind, scale, network)
                count = len(scales[scale])
                row["cells"].append((f"{kind} of {network}, median of {count}", error, qsnr,
                                     None, None))
        for (fmt, transform), scales in quality.texts.items():
            if fmt == name and scale in scales:
                with_it = "" if transform == "none" else f", {transform}"
                row["cells"].append((f"activations of smollm2{with_it}", None, None,
                                     scales[scale], None))
        for (fmt, network, transform), scales in quality.tasks.items():
            if fmt == name and scale in scales:
                parts = network, transform, quality.notes[fmt, network, transform]
                row["cells"].append((", ".join(filter(None, parts)), None, None, None,
                                     scales[scale]))
        found.append(row)
    return found
