# SPDX-License-Identifier: Apache-2.0
"""The standard figures of the site: each a drawing, and the rows that it shows."""

from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..figures import count
from .charts import (
    COLOURS,
    FEWEST,
    HEIGHT,
    WIDTH,
    Figure,
    axes_of,
    columns,
    draw,
    label,
    legend,
    plain,
    scale,
    scatter,
)
from .metrics import FAMILIES
from .points import front, table_of

__all__ = ["explorer_figures", "formats_figure", "gains_figure", "mixed_figures",
           "predicted_figures"]

LANES = 16


def explorer_figures(data):
    """Accuracy against cost, of processing elements without DSP blocks.

    QSNR against every cost on every family, the rest against LUTs on ECP5 and CMOS gates.
    """
    found = []
    for y in data["y"]:
        main = y["id"] == "qsnr"
        if not main and not y["id"].endswith(("-none", "-qat")):
            continue
        for x in data["x"]:
            if not main and x["id"] not in ("lut4-product", "nand2-product"):
                continue
            for family in FAMILIES:
                if (family == "gates") != (x["on"] == "gates") or \
                        not main and family not in ("ecp5", "gates"):
                    continue
                rows = _usual(table_of(data, x, y, keep=lambda row, unit, family=family: (
                    row["family"] == family and unit["kind"] == "pe" and not row["dsp"])))
                if len(rows) >= FEWEST:
                    name = f"{y['id']}-{x['id']}-{family}".replace("_", "-")
                    title = f"{y['title']}, against {x['title']}: {FAMILIES[family]}"
                    found.append(Figure(name, title, scatter(rows, x, y, title), rows))
    return found


def _usual(rows):
    """Of each unit one row: that of `LANES` lanes, or the most that there are."""
    found = {}
    for row in sorted(rows, key=lambda row: (row["lanes"] == LANES, row["lanes"])):
        found[row["unit"]] = row
    return [row for row in rows if found[row["unit"]] is row]


def formats_figure(quality, descriptions):
    """QSNR of weights against bits for each value; None where nothing was measured."""
    rows = []
    for name, description in descriptions.items():
        _, qsnr = quality.tensor(name, "weights", "row")
        bits = description["bits_per_value"]
        if qsnr is not None and qsnr < 200 and bits <= 16:
            rows.append({"unit": name, "class": description["class"], "bits": round(bits, 3),
                         "qsnr": round(qsnr, 2)})
    if len(rows) < FEWEST:
        return None
    title = "QSNR of weights against bits for each value, SmolLM2"
    x = {"id": "bits", "title": "bits for each value, scales included", "log": False,
         "better": "low"}
    y = {"id": "qsnr", "title": "QSNR of weights, dB", "log": False, "better": "high"}
    svg = scatter(rows, x, y, title)
    return Figure("formats", title, svg, [
        {"format": row.pop("unit"), **row} for row in map(dict, rows)])


def predicted_figures(rows):
    """What the estimator said against what was measured: one figure of LUTs, one of clocks."""
    found = []
    for name, title in {"lut4": "LUT4", "fmax_mhz": "Fmax in MHz"}.items():
        both = ("unit", "lanes", "family", "dsp_allowed", name, f"predicted_{name}", "command")
        shown = [{key: row[key] for key in both} for row in rows
                 if row["family"] in FAMILIES and (row[name] or 0) > 0
                 and (row[f"predicted_{name}"] or 0) > 0]
        if len(shown) < FEWEST:
            continue
        head = f"{title}, predicted before synthesis against measured"
        ends = [end(row[key] for row in shown for key in (name, f"predicted_{name}"))
                for end in (min, max)]

        def paint(figure, name=name, title=title, shown=shown, ends=ends):
            axes = axes_of(figure)
            scale(axes, *({"log": True} for _ in range(2)))
            axes.plot(ends, ends, color=COLOURS["soft"], linewidth=1, linestyle=(0, (4, 3)))
            families = [key for key in FAMILIES if any(row["family"] == key for row in shown)]
            tones = dict(zip(families, ("mac", "stall", "read", "drain"), strict=False))
            for family, tone in tones.items():
                members = [row for row in shown if row["family"] == family]
                axes.plot([row[name] for row in members],
                          [row[f"predicted_{name}"] for row in members], "o",
                          color=COLOURS[tone], markersize=5, alpha=0.7, markeredgewidth=0)
            axes.set_xlabel(f"{title}, measured", fontsize=10)
            axes.set_ylabel(f"{title}, predicted", fontsize=10)
            legend(figure, {FAMILIES[key]: tone for key, tone in tones.items()})

        found.append(Figure(f"predicted-{name.partition('_')[0]}", head,
                            draw(WIDTH, HEIGHT, paint, title=head), shown))
    return found


def gains_figure(arrays, networks):
    """How much faster than on int8 networks run on arrays of equal area, as bars."""
    rows = [{"array": row["array"], **{name: round(1 / row[f"{name} cycles x area, of int8"], 3)
                                       for name in networks}} for row in arrays]
    title = "Arrays of equal area: speed relative to int8"
    tones = dict(zip(networks, ("mac", "read", "stall", "drain", "good", "prepare"), strict=False))

    def paint(figure):
        axes = figure.add_axes((0.19, 0.1, 0.77, 0.8))
        plain(axes)
        height = 0.8 / len(networks)
        for k, name in enumerate(tones):
            places = [place - 0.4 + (k + 0.5) * height for place in range(len(rows))]
            axes.barh(places, [row[name] for row in rows], height * 0.86,
                      color=COLOURS[tones[name]])
        axes.axvline(1, color=COLOURS["ink"], linewidth=1)
        axes.set_yticks(range(len(rows)), [row["array"].replace(", ", ",\n") for row in rows],
                        fontsize=9)
        axes.invert_yaxis()
        axes.grid(axis="x", color=COLOURS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("times as fast as int8", fontsize=10)
        left = 0.19
        for name, tone in tones.items():
            figure.text(left, 0.94, f"■ {name}", color=COLOURS[tone], fontsize=10)
            left += (30 + 5.6 * len(name)) / WIDTH

    return Figure("arrays", title, draw(WIDTH, 420, paint, title=title), rows)


def mixed_figures(rows, costs, y):
    """Networks of mixed and of uniform formats: accuracy against each cost in which they differ.

    Parameters
    ----------
    rows : list of dict
        Of ``mixed.csv``, of one network.
    costs : dict
        Column: title.
    y : dict
        Metric.
    """
    found = []
    for column, title in costs.items():
        x = {"id": column, "title": title, "log": False, "better": "low"}
        shown = [row for row in rows if row.get(column) is not None and row[y["id"]] is not None]
        if len(shown) < FEWEST or len({row[column] for row in shown}) == 1:
            continue
        name = f"mixed-{shown[0]['network']}-{column}".replace("_", "-")
        head = f"{shown[0]['network']}: {y['title']} against {title}"

        def paint(figure, x=x, shown=shown):
            axes = axes_of(figure)
            best = front(shown, x, y)
            axes.plot(*columns(best, x, y), color=COLOURS["soft"], linewidth=1,
                      linestyle=(0, (4, 3)))
            for kind, tone, mark in ("mixed", "mac", "o"), ("uniform", "stall", "s"):
                axes.plot(*columns([row for row in shown if row["kind"] == kind], x, y), mark,
                          color=COLOURS[tone], markersize=6.5, alpha=0.85, markeredgewidth=0)
            axes.margins(0.1)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(int(value))))
            label(axes, [{**row, "unit": row["weights"]} for row in shown
                         if row["kind"] == "uniform"], x, y, among=shown)
            axes.set_xlabel(x["title"], fontsize=10)
            axes.set_ylabel(y["title"], fontsize=10)
            legend(figure, {"mixed": "mac", "uniform": "stall"})

        found.append(Figure(name, head, draw(WIDTH, HEIGHT, paint, title=head), shown))
    return found
