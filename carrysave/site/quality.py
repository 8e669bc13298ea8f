# SPDX-License-Identifier: Apache-2.0
"""What formats cost in accuracy: the rows of ``accuracy.csv``, summed up for formats and units."""

import math
import statistics
from collections import defaultdict

from ..quant import formats

__all__ = ["SCALES", "Quality"]

#: How much shares one scale, where a format has none of its own.
SCALES = {"row": "one for each row or token", "tensor": "one for the whole tensor"}
NETWORK = "smollm2"


class Quality:
    """The rows of a table of accuracy.

    Parameters
    ----------
    rows : list of dict
        As `tables.read_table` gives them; ``kind`` below is ``weights`` or ``activations``.
    """

    def __init__(self, rows):
        self.tensors, self.texts, self.tasks = (defaultdict(dict) for _ in range(3))
        self.notes = {}  # of tasks: what else was there
        tokens = defaultdict(int)
        for row in rows:
            subject, scale, name = row["subject"], row["scale"], row["format"]
            if row["qsnr_db"] is not None or row["relative_error"] is not None:
                network, kind = subject.partition(" ")[0], subject.rpartition(" ")[2]
                found = self.tensors[name, kind, network].setdefault(scale, [])
                found.append((row["relative_error"], row["qsnr_db"]))
            elif row["perplexity"] is not None:
                key = name, row["transform"]
                if (row["values"] or 0) >= tokens[*key, scale]:  # the longest text
                    tokens[*key, scale] = row["values"] or 0
                    self.texts[key][scale] = row["perplexity"]
            elif row.get("accuracy") is not None:
                key = name, subject.partition(" ")[0], row["transform"]
                scale, _, self.notes[key] = scale.partition(", ")
                self.tasks[key][scale] = row["accuracy"]

    def scales(self, name):
        """Names of scales that a format was measured with."""
        found = [each for table in (self.tensors, self.texts, self.tasks)
                 for key, scales in table.items() if key[0] == name for each in scales]
        return sorted(dict.fromkeys(found), key=lambda scale: (*SCALES, scale).index(scale))

    def transforms(self):
        """Transforms under which there is a perplexity, ``none`` first."""
        return sorted({key[1] for key in self.texts}, key=lambda name: (name != "none", name))

    def networks(self):
        """Pairs (network, transform) for which there is an accuracy, floats left out."""
        return sorted({key[1:] for key in self.tasks if key[2] != "none"})

    def tensor(self, name, kind, scale, network=NETWORK):
        """Medians of a format over the tensors of a network: relative error, QSNR in dB.

        None where there is none.
        """
        found = pick(self.tensors.get((name, kind, network)), scale)
        if not found:
            return None, None
        errors, qsnrs = zip(*found, strict=True)
        return _median(errors), _median(qsnrs)

    def perplexity(self, name, transform, scale):
        """Perplexity of the language model with activations of a format, or None."""
        return pick(self.texts.get((name, transform)), scale)

    def task(self, activations, weights, network, transform, scale):
        """Accuracy in percent of a network whose layers have these formats, or None.

        Weights in groups of 128 were measured with int8 activations, as W4A8 elements have them.
        """
        fmt, name = formats.get(weights), None
        if weights == activations or activations == "int8" and isinstance(fmt, formats.Group):
            name = weights
        elif activations == "int8" and isinstance(fmt, formats.Int):
            name = f"{weights}g128"
        return pick(self.tasks.get((name, network, transform)), scale)

    def of(self, subject):
        """Metrics of a unit by the name of the metric, then of the scale; see `metrics`."""
        found = {}
        for scale in SCALES:
            for name, value in self._of(subject.activations, subject.weights, scale).items():
                if value is not None and math.isfinite(value):
                    found.setdefault(name, {})[scale] = value
        return found

    def _of(self, activations, weights, scale):
        if activations is None or weights is None:
            return {}
        error_a, qsnr_a = self.tensor(activations, "activations", scale)
        error_w, qsnr_w = self.tensor(weights, "weights", scale)
        found = {"error-a": error_a, "error-w": error_w, "qsnr-a": qsnr_a, "qsnr-w": qsnr_w}
        if qsnr_a is not None and qsnr_w is not None:
            found |= {"qsnr": min(qsnr_a, qsnr_w)}
        if error_a is not None and error_w is not None:
            found |= {"error": max(error_a, error_w)}
        for transform in self.transforms():
            found[f"perplexity-{transform}"] = self.perplexity(activations, transform, scale)
        for network, transform in self.networks():
            found[f"{network}-{transform}"] = self.task(activations, weights, network, transform,
                                                        scale)
        return found


def pick(scales, scale):
    """Of what was measured with several scales: that one's, or what has a scale of its own."""
    scales = scales or {}
    for each in scale, "own", "none":
        if each in scales:
            return scales[each]
    return scales.get("", None)


def _median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None
