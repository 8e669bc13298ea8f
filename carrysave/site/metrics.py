# SPDX-License-Identifier: Apache-2.0
"""What the explorer can set against what, each said once for the page and for the figures."""

from typing import NamedTuple

from .quality import NETWORK

__all__ = ["FAMILIES", "Metric", "costs", "qualities"]

FAMILIES = {"ecp5": "ECP5", "ice40": "iCE40", "gowin": "Gowin", "gates": "CMOS gates"}
TRANSFORMS = {"none": "", "hadamard": ", Hadamard rotation", "smooth": ", SmoothQuant"}
TRAINED = {"ptq": "after training (PTQ)", "qat": "trained with it (QAT)"}
TASKS = {"fashion": "Fashion-MNIST", "har": "human activity"}
TRACES = {"uniform": "uniform operands", "digits": "operands of the digits network",
          "smollm2": "operands of SmolLM2"}


class Metric(NamedTuple):
    """A number that a row or a unit has.

    ``on`` says what it is of: ``device``, rows of an FPGA family; ``gates``, rows of CMOS gates;
    ``formats``, the formats of a unit's operands. ``better`` is ``low`` or ``high``.
    """

    id: str
    title: str
    group: str
    on: str
    better: str
    log: bool
    digits: int


def costs(rows):
    """Metrics of the cost axis: those that there are in points."""
    found = [
        Metric("lut4-product", "LUT4 per product", "FPGA", "device", "low", True, 1),
        Metric("fmax_mhz", "Fmax, MHz", "FPGA", "device", "high", False, 1),
        Metric("lut4-rate", "LUT4 per billion products a second", "FPGA", "device", "low", True, 0),
        Metric("ff-product", "flip-flops per product", "FPGA", "device", "low", True, 1),
        Metric("nand2-product", "NAND2 equivalents per product", "CMOS", "gates", "low", True, 1),
    ]
    traces = dict.fromkeys(name for row in rows for name in row["values"]
                           if name.startswith("energy-"))
    for name in traces:
        trace = name.removeprefix("energy-")
        found.append(Metric(name, f"Energy proxy, int8 = 1, {TRACES.get(trace, trace)}", "CMOS",
                            "gates", "low", True, 3))
    return found


def qualities(quality):
    """Metrics of the accuracy axis."""
    tensors = {"smollm2": "SmolLM2"}[NETWORK]
    found = [
        Metric("qsnr", f"QSNR of the worse operand, dB, {tensors}", "Tensors", "formats", "high",
               False, 1),
        Metric("qsnr-w", f"QSNR of weights, dB, {tensors}", "Tensors", "formats", "high", False, 1),
        Metric("qsnr-a", f"QSNR of activations, dB, {tensors}", "Tensors", "formats", "high",
               False, 1),
        Metric("error", f"Relative error of the worse operand, {tensors}", "Tensors", "formats",
               "low", True, 4),
        Metric("error-w", f"Relative error of weights, {tensors}", "Tensors", "formats", "low",
               True, 4),
        Metric("error-a", f"Relative error of activations, {tensors}", "Tensors", "formats",
               "low", True, 4),
    ]
    for transform in quality.transforms():
        how = TRANSFORMS.get(transform, f", {transform}")
        found.append(Metric(
            f"perplexity-{transform}", f"Perplexity of {tensors}, activations only{how}",
            "Language model", "formats", "low", True, 2))
    for network, transform in quality.networks():
        found.append(Metric(
            f"{network}-{transform}",
            f"Accuracy on {TASKS.get(network, network)}, %, {TRAINED.get(transform, transform)}",
            "Tasks", "formats", "high", False, 2))
    return found
