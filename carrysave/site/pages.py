# SPDX-License-Identifier: Apache-2.0
"""Writes pages and other files into the folder of a site."""

import csv
import io
import re
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..quant import formats
from ..report import SIGNS, number, percent, place, state

__all__ = ["NAVIGATION", "Pages", "csv_text"]

NAVIGATION = (
    ("index.html", "Explorer"), ("units/index.html", "Units"), ("formats/index.html", "Formats"),
    ("engines.html", "Engines"), ("mixed.html", "Mixed precision"),
    ("findings.html", "Findings"), ("ledger.html", "Ledger"), ("figures.html", "Figures"),
)


class Pages:
    """A folder of pages.

    Members
    -------
    folder : Path
    count : int
        Pages written.
    """

    def __init__(self, folder):
        self.folder, self.count = Path(folder), 0
        self._environment = Environment(
            loader=PackageLoader("carrysave"), autoescape=True, trim_blocks=True,
            lstrip_blocks=True, undefined=StrictUndefined)
        self._environment.filters |= {"number": number, "percent": percent, "state": state,
                                      "place": place, "code": code, "linked": linked}
        self._environment.globals |= {"version": version("carrysave"), "signs": SIGNS,
                                      "navigation": NAVIGATION}

    def page(self, path, template, **content):
        """Write a page; its template knows ``root``, the way to the site's first folder."""
        root = "../" * path.count("/")
        text = self._environment.get_template(f"site/{template}").render(
            path=path, root=root, **content)
        self.text(path, text)
        self.count += 1

    def text(self, path, text):
        self.bytes(path, text.encode())

    def bytes(self, path, content):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def code(text):
    """Text whose backquotes mark code."""
    parts = re.split(r"`([^`]+)`", str(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if k % 2 else escape(part)
        for k, part in enumerate(parts))


def linked(names, root):
    """Names of formats, with links to their pages where they have one."""
    found = [
        Markup('<a href="{}formats/{}.html">{}</a>').format(root, name, name)
        if name in formats.names() else escape(name)
        for name in dict.fromkeys([names] if isinstance(names, str) else names)]
    return Markup(", ").join(found)


def csv_text(rows):
    """Dictionaries of the same keys as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
