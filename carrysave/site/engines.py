# SPDX-License-Identifier: Apache-2.0
"""The page of engines: rooflines of published networks, and arrays of equal area."""

import tempfile
from pathlib import Path

from ..estimate import estimate
from ..hw.engine.workloads import MODELS
from ..matrix_config import load_matrix_config
from ..roofline import points, roofline
from .charts import Figure

__all__ = ["KINDS", "networks_of", "rooflines"]

KINDS = {"int8": ("int8", "int8"), "mixpe-w4a8": ("int8", "int4g128"), "mxfp4": ("mxfp4", "mxfp4")}
TOKENS = 512
#: What every estimate shares.
CONFIG = """\
# SPDX-License-Identifier: Apache-2.0
# carrysave estimate {name}.toml
name = "{name}"

[engine]
activations = "{activations}"
weights = "{weights}"
rows = 16
columns = 16
bus = 128
activation_kib = 512
weight_kib = 256

[workload]
model = "{model}"
{tokens}"""


def rooflines(progress):
    """For each published network and pair of formats: a dict with ``estimate`` and ``figure``.

    ``config`` is the text that `carrysave estimate` takes, ``name`` that of its file.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for model, network in MODELS.items():
            progress(f"roofline: {model}")
            for kind, (activations, weights) in KINDS.items():
                name = f"{model}-{kind}".replace(".", "-")
                text = CONFIG.format(
                    name=name, model=model, activations=activations, weights=weights,
                    tokens=f"tokens = {TOKENS}\n" if hasattr(network, "vocabulary") else "")
                path = Path(folder, f"{name}.toml")
                path.write_text(text, encoding="utf-8")
                result = estimate(load_matrix_config(path))
                rows = [{"layers": " ".join(point["names"]), "macs_per_word": point["intensity"],
                         "macs_per_cycle": point["rate"], "bound": point["bound"],
                         "share_of_cycles": round(point["share"], 5)} for point in points(result)]
                figure = Figure(f"roofline-{name}", f"Roofline of {model}, {activations} × "
                                f"{weights}", roofline(result), rows)
                found.setdefault(model, []).append({
                    "name": name, "kind": kind, "formats": [activations, weights],
                    "config": text, "estimate": result, "figure": figure})
    return found


def networks_of(arrays):
    """Networks that were tried on arrays of equal area, by their columns."""
    end = " cycles x area, of int8"
    return [name.removesuffix(end) for name in arrays[0] if name.endswith(end)]
