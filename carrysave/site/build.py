# SPDX-License-Identifier: Apache-2.0
"""``carrysave report``: the whole site."""

import importlib.util
import warnings
from importlib.resources import files
from pathlib import Path

from ..errors import BadInput
from ..formats import describe
from ..quant import formats
from ..roofline import standalone
from .engines import networks_of, rooflines
from .figures import (
    explorer_figures,
    formats_figure,
    gains_figure,
    mixed_figures,
    predicted_figures,
)
from .folder import check_folder, replaced
from .format_pages import write_formats
from .ledger_page import write_ledger
from .pages import Pages, csv_text
from .points import explorer, points
from .quality import Quality
from .subjects import subjects
from .tables import MISSING, gather
from .unit_pages import write_units

__all__ = ["build_site"]

PLOTLY = ("plotly", "package_data/plotly.min.js")
MIXED_COSTS = {"memory_bits": "bits of memory", "lut4": "LUT4", "cycles": "cycles"}


def build_site(out, *, reports, builds, progress=None):
    """Write the site.

    Parameters
    ----------
    out : path
        A folder that is not there, or empty, or a site, which is replaced.
    reports, builds : path
        Folder of the tables, and of build folders.
    progress : callable(line), optional

    Returns
    -------
    dict
        As ``report --json`` prints it: ``out``, ``index``; numbers of ``pages``, ``figures``,
        ``points`` of the explorer, ``units``, ``formats``, ``builds``, rows ``left_out`` because
        their unit is no more; ``missing``, by file the command that measures it.

    Raises
    ------
    BadInput
        Nothing was written, and what was at ``out`` is still there.
    """
    progress = progress or (lambda line: None)
    check_folder(out)
    script = _plotly()
    sources = gather(reports, builds)
    known = subjects()
    rows, left_out = points(sources.resources, sources.energy, known)
    findings = _findings(sources.folder)
    with replaced(out) as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* created but never used")
        pages = Pages(folder)
        missing = {name: command for name, command in MISSING.items() if _lacks(sources, name)}
        _assets(pages, script)
        figures = []

        def keep(figure):
            """Files of a figure."""
            figures.append(figure)
            pages.text(f"figures/{figure.name}.svg", standalone(figure.svg))
            pages.text(f"figures/{figure.name}.csv", csv_text(figure.rows))
            return figure

        progress("explorer")
        data = explorer(rows, sources.accuracy, known)
        quality = Quality(sources.accuracy or [])
        pages.page("index.html", "index.html.j2", title="Explorer", data=data, missing=missing)
        drawn = [keep(figure) for figure in explorer_figures(data)]
        drawn += [keep(figure) for figure in predicted_figures(sources.estimator or [])]
        progress("units")
        write_units(pages, sources, known, data, quality)
        progress("formats")
        listed = {name: describe(formats.get(name)) for name in formats.names()}
        figure = formats_figure(quality, listed)
        figure = figure and keep(figure)
        write_formats(pages, listed, quality, known, missing, figure)
        _engines(pages, sources, missing, keep, progress)
        progress("mixed precision, findings, ledger")
        _mixed(pages, sources, missing, keep)
        pages.page("findings.html", "findings.html.j2", title="Findings", findings=findings,
                   units=known, missing=missing)
        write_ledger(pages, sources, missing)
        pages.page("figures.html", "figures.html.j2", title="Figures", figures=figures,
                   shown=[each for each in (*drawn, figure) if each], missing=missing)
    return {
        "out": str(out), "index": str(Path(out) / "index.html"), "pages": pages.count,
        "figures": len(figures), "points": len(rows), "units": len(known), "formats": len(listed),
        "builds": len(sources.builds), "left_out": left_out, "missing": missing,
    }


def _plotly():
    """The script of Plotly, from its package, without importing that."""
    spec = importlib.util.find_spec(PLOTLY[0])
    if spec is None or spec.origin is None:
        raise BadInput("plotly is needed: pip install carrysave[report]")
    return Path(spec.origin).parent.joinpath(PLOTLY[1]).read_bytes()


def _assets(pages, script):
    templates = files("carrysave").joinpath("templates")
    style = [templates.joinpath(*parts).read_text(encoding="utf-8")
             for parts in (("report.css",), ("site", "site.css"))]
    pages.text("assets/style.css", "\n".join(style))
    pages.bytes("assets/plotly.min.js", script)
    for name in "explorer.js", "tables.js":
        pages.text(f"assets/{name}", templates.joinpath("site", name).read_text(encoding="utf-8"))


def _lacks(sources, name):
    key = {"units/verification.json": "verification"}.get(name, name.partition(".")[0])
    return getattr(sources, key) is None


def _findings(folder):
    """Findings, where there is what makes them."""
    if importlib.util.find_spec("carrysave.findings") is None:
        return []
    from .. import findings

    return findings.findings(folder)


def _engines(pages, sources, missing, keep, progress):
    found = rooflines(progress)
    for group in found.values():
        for each in group:
            keep(each["figure"])
            pages.text(f"engines/{each['name']}.toml", each["config"])
    arrays, networks, figure = sources.arrays, [], None
    if arrays:
        networks = networks_of(arrays)
        figure = keep(gains_figure(arrays, networks)) if networks else None
    pages.page("engines.html", "engines.html.j2", title="Engines", rooflines=found, arrays=arrays,
               networks=networks, figure=figure, missing=missing)


def _mixed(pages, sources, missing, keep):
    groups = {}
    for row in sources.mixed or []:
        groups.setdefault(row["network"], []).append(row)
    y = {"id": "accuracy", "title": "accuracy, %", "log": False, "better": "high"}
    found = [{"network": name, "rows": rows,
              "figures": [keep(each) for each in mixed_figures(rows, MIXED_COSTS, y)]}
             for name, rows in groups.items()]
    pages.page("mixed.html", "mixed.html.j2", title="Mixed precision", networks=found,
               missing=missing)
