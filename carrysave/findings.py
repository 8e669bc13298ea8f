# SPDX-License-Identifier: Apache-2.0
"""Papers' figures beside ours: computed from the tables, with the reason where they differ."""

from typing import NamedTuple

from .findings_known import Known, Tables, costs, ratio, text

__all__ = ["FINDINGS", "Finding", "findings"]

SIZES = (16, 64, 128)  # of arrays


class Finding(NamedTuple):
    """One comparison.

    Attributes
    ----------
    name, title : str
    paper : str
        What it says.
    source : str
        Which it is.
    ours : str
        The same of what was measured, and what measures what is missing.
    head, rows : list
        A table behind it, of str.
    reason : str
        Why the two differ.
    """

    name: str
    title: str
    paper: str
    source: str
    ours: str
    head: list
    rows: list
    reason: str


def findings(reports):
    """All of them, from the tables in a folder; those that are not there are named."""
    tables = Tables(reports)
    return [make(Known(tables)) for make in FINDINGS]


def _ours(known, *parts):
    """Sentences whose figures are all there, and what is missing."""
    found = [part for part in parts if part and "–" not in part]
    if known.missing:
        found.append(f"Not measured yet: {'; '.join(known.missing)}.")
    return " ".join(found)


def _mixpe(known):
    units = ["multiplier-w8a8", "dequantise-first-w4a8", "multiplier-w4a8", "mixpe-w4a8",
             "mixpe-w4a8-booth"]
    head, rows = costs(known, units)
    toggles, trace = known.activity(*units)
    int8, first, _, mixpe, booth = gates = [known.cost(unit) for unit in units]
    for cells, moved, size in zip(rows, toggles, gates, strict=True):
        energy = ratio(moved, toggles[0])
        both = None if energy is None else ratio(ratio(int8, size), energy)
        cells += [text(energy), text(both)]
    head += [f"toggles of the first{f' ({trace})' if trace else ''}",
             "area × power efficiency of the first"]
    return Finding(
        "mixpe", "MixPE W4A8 against dequantising first and int8",
        "2.29 times the area × power efficiency of an int8 element.",
        "Zhang et al., MixPE: Quantization and hardware co-design for efficient LLM inference. "
        "arXiv:2411.16158 (2024)",
        _ours(known,
              f"{rows[3][-1]} times the area × power efficiency of int8 as MixPE describes it, "
              f"{rows[4][-1]} with Booth's recoding, {rows[2][-1]} for a plain multiplier of 4 by "
              "8 bits.",
              f"In NAND2 gates MixPE takes {text(ratio(mixpe, int8))} of int8 and "
              f"{text(ratio(mixpe, first))} of dequantising first; with Booth's recoding "
              f"{text(ratio(booth, int8))} and {text(ratio(booth, first))}."),
        head, rows,
        "The paper's figures are of a cell library and of simulated power. Ours are gates without "
        "wires, and toggles of a netlist weighted by fan-out: relative, no joules, and area × "
        "power efficiency is the product of both savings. The int8 multiplier is what Yosys makes "
        "of a product; a commercial generator makes a smaller one, and the savings beside it are "
        "less. How much comes from narrower weights alone shows in the row of the plain multiplier "
        "of 4 by 8 bits. Dot products of 16 lanes are compared, whose adder trees and accumulators "
        "differ only in width.")


def _mixpe_arrays(known):
    names = ["int8", "dequantise first, in each element", "dequantise first, before the array",
             "MixPE W4A8", "MixPE W4A8, Booth"]
    rows, gains = [], {}
    arrays = {name: known.array(name) for name in names}
    networks = sorted({key.removesuffix(" cycles") for row in arrays.values() if row
                       for key in row if key.endswith(" cycles")})
    for name, row in arrays.items():
        if row:
            gains[name] = [1 / float(row[f"{network} cycles x area, of int8"])
                           for network in networks]
            rows.append([name, f"{row['rows']} × {row['columns']}", row["element"],
                         *map(text, gains[name])])
    spans = {}
    for name in names[3:]:
        for other in ("int8", names[1]):
            if name in gains and other in gains:
                each = [a / b for a, b in zip(gains[name], gains[other], strict=True)]
                spans[name, other] = f"{min(each):.2f} to {max(each):.2f}"
    ours = [f"On arrays of one area {name} runs networks {spans[name, 'int8']} times as fast as "
            f"int8, and {spans[name, names[1]]} times as fast as dequantising in each element."
            for name in names[3:] if (name, names[1]) in spans and (name, "int8") in spans]
    return Finding(
        "mixpe-arrays", "Networks on arrays of MixPE elements",
        "2.6 times as fast, with 1.4 times less energy, as the best quantised accelerators before.",
        "Zhang et al., MixPE: Quantization and hardware co-design for efficient LLM inference. "
        "arXiv:2411.16158 (2024), abstract",
        _ours(known, *ours),
        ["array of equal area, ECP5", "elements", "sites of an element",
         *(f"{network}, times as fast as int8" for network in networks)], rows,
        "The paper compares with accelerators of other designs in an analytical model of cycles. "
        "Here only the elements change: the same schedule, memories that never stall, and as many "
        "elements as fit the logic that an int8 array takes. Sizes of arrays are whole numbers, so "
        "that small networks do not fill all of them.")


def _olive(known):
    head = ["measure", "decoder", "element", *(f"share at {n} × {n}" for n in SIZES)]
    rows, shares = [], {}
    if row := known.array("OliVe 4-bit"):
        border = int(row["rows"]) + int(row["columns"])
        element, decoder = float(row["element"]), int(row["decoders"]) / border
        others = (int(row["sites"]) - element * int(row["rows"]) * int(row["columns"])) / border
        shares["4-bit array, ECP5 sites"] = decoder, element, max(others - decoder, 0)
    for bits in (4, 8):
        unit, decoder = known.cost(f"olive{bits}"), known.cost(f"decode-olive{bits}")
        if unit is not None and decoder is not None:
            # The unit has a decoder for each of both operands.
            shares[f"{bits}-bit units, NAND2 per lane"] = decoder, unit - 2 * decoder, 0
    for name, (decoder, element, other) in shares.items():
        rows.append([name, text(decoder, ".1f"), text(element, ".1f"), *(
            f"{100 * _share(n, decoder, element, other):.1f} %" for n in SIZES)])
    cells = {row[0][0]: row for row in rows if "NAND2" in row[0]}
    ours = [f"At 64 × 64 elements decoders of {bits} bits take {row[4]} of the gates."
            for bits, row in sorted(cells.items())]
    if rows and "ECP5" in rows[0][0]:
        ours.append(f"In an array on ECP5 decoders of 4 bits take {rows[0][4]} of the logic there, "
                    f"and {rows[0][3]} at 16 × 16.")
    return Finding(
        "olive", "What OliVe's decoders take",
        "Decoders of 4 bits take 2.2 % of a systolic array's area, those of 8 bits 1.5 %.",
        "Guo et al., OliVe: Accelerating large language models via hardware-friendly "
        "outlier-victim pair quantization. ISCA 2023",
        _ours(known, *ours), head, rows,
        "Decoders stand on the borders of an array, so their share halves as its side doubles: it "
        "says as much of the size as of the decoder. Units of the catalogue are measured with a "
        "register behind the decoder, which the arrays have in the element, and their products "
        "share an adder tree and an accumulator, which makes the elements smaller than those of "
        "an array and the share larger. Sums of outliers are exact here, which makes elements "
        "wide and the share smaller. The paper gives areas of a technology, and no gates to "
        "compare; its elements of 8 bits are four of 4 bits together.")


def _share(n, decoder, element, other):
    border = 2 * n * decoder
    return border / (n * n * element + border + 2 * n * other)


def _minifloat(known):
    eight = ["multiplier-w8a8", "mac-e4m3-e4m3", "mac-e5m2-e5m2", "mac-e2m3-e2m3", "mac-e3m2-e3m2"]
    four = ["multiplier-w4a4", "mac-e2m1-e2m1", "mac-e2m1-e2m1-preshift"]
    head, rows = costs(known, eight)
    rows += costs(known, four)[1]
    head = [cell.replace("the first", "integers") for cell in head]
    dearer = {unit: _dearer(known, unit, units[0]) for units in (eight, four)
              for unit in units[1:]}
    return Finding(
        "minifloat", "Minifloat against integer multiply-accumulate",
        "20 to 180 % dearer, by format and accumulator; by its abstract, FP8 is 50 to 180 % less "
        "efficient in hardware.",
        "van Baalen et al., FP8 versus INT8 for efficient deep learning inference. "
        "arXiv:2303.17951 (2023)",
        _ours(known,
              f"In NAND2 gates E4M3 is {dearer['mac-e4m3-e4m3']} than int8, E5M2 "
              f"{dearer['mac-e5m2-e5m2']}.",
              f"Of 6 bits against int8 of 8, E2M3 is {dearer['mac-e2m3-e2m3']}, E3M2 "
              f"{dearer['mac-e3m2-e3m2']}.",
              f"E2M1 is {dearer['mac-e2m1-e2m1']} than int4."),
        head, rows,
        "The paper adds products in FP16 or FP32, or in fixed point of a limited width. Ours are "
        "summed exactly, in an accumulator that spans every exponent: formats with more exponent "
        "bits pay for shifters and wide adders, and those with few cost what their narrow "
        "significands save. Signs are apart from magnitudes, so that E4M3 multiplies 4 by 4 bits "
        "where int8 has 8 by 8. Formats of 8 and 6 bits stand against int8, those of 4 bits "
        "against int4. LUTs differ from gates because a LUT takes four inputs whatever its "
        "function.")


def _dearer(known, unit, reference):
    found = ratio(known.cost(unit), known.cost(reference))
    if found is None:
        return "–"
    return f"{100 * abs(found - 1):.0f} % {'dearer' if found >= 1 else 'cheaper'}"


def _blocks(known, units, formats):
    """`costs` of dot products of blocks, and the error of their formats."""
    head, rows = costs(known, units)
    for cells, fmt in zip(rows, formats, strict=True):
        cells += [text(known.qsnr(fmt, kind), ".1f") for kind in ("weights", "activations")]
    return [*head, "QSNR of weights, dB", "of activations"], rows


CHEN = ("Chen et al., INT v.s. FP: A comprehensive study of fine-grained low-bit quantization "
        "formats. arXiv:2510.25602 (2025)")


def _mxint8(known):
    units = ["mxfp8-e4m3-dot", "mxfp8-e5m2-dot", "mxint8-dot"]
    head, rows = _blocks(known, units, ["mxfp8_e4m3", "mxfp8_e5m2", "mxint8"])
    return Finding(
        "mxint8", "MXINT8 against MXFP8",
        "MXINT8 takes 0.79 of the area of MXFP8, and is more accurate.", CHEN,
        _ours(known,
              f"In NAND2 gates a dot product of MXINT8 takes {rows[2][2]} of one of MXFP8 with "
              "E4M3.",
              f"On tensors of SmolLM2 the median QSNR of MXINT8 is {rows[2][-2]} dB for weights, "
              f"{rows[2][-1]} dB for activations; that of MXFP8 {rows[0][-2]} and {rows[0][-1]} "
              "dB."),
        head, rows,
        "The paper counts the gates of a model: multipliers, shifters and adders of a matrix unit, "
        "products aligned to a limited width before they are added. Ours are synthesised, add the "
        "32 products of a block exactly, and blocks in FP32: what scales, rounds and adds blocks "
        "is nearly the same for both and levels them, while the exact sum of floats is wider than "
        "an aligned one and parts them.")


def _nvint4(known):
    units = ["nvfp4-dot", "nvint4-dot", "mxfp4-dot"]
    head, rows = _blocks(known, units, ["nvfp4", "nvint4", "mxfp4"])
    return Finding(
        "nvint4", "NVINT4 against NVFP4",
        "NVINT4 takes 0.70 of the area of NVFP4; it is the more accurate only after a Hadamard "
        "rotation.", CHEN,
        _ours(known,
              f"In NAND2 gates a dot product of NVINT4 takes {rows[1][2]} of one of NVFP4.",
              f"On tensors of SmolLM2 the median QSNR of NVINT4 is {rows[1][-2]} dB for weights, "
              f"{rows[1][-1]} dB for activations, without rotation; that of NVFP4 {rows[0][-2]} "
              f"and {rows[0][-1]} dB."),
        head, rows,
        "Products of 4 bits are little beside the scales, their product and the FP32 adder, which "
        "both formats need alike: the narrower the elements, the less their kind weighs in a unit "
        "of one block. The paper's model counts gates as for MXINT8.")


def _khot(known):
    units = ["fixed-mul-rnd-inf-sat", "fixed-mul", "khot-2"]
    head, rows = costs(known, units)
    return Finding(
        "khot", "K-hot constants against full multipliers",
        "Constants with at most K ones need no multiplier and no DSP block; what a product saves "
        "in LUTs is not given.",
        "Dai et al., Trainable fixed-point quantization for deep learning acceleration on FPGAs "
        "(QFX). arXiv:2401.17544 (2024)",
        _ours(known,
              f"A product with a constant of two ones takes {rows[2][2]} of the gates of a "
              f"multiplier of 8 by 8 bits, and {rows[2][4]} of its LUTs on ECP5."),
        head, rows,
        "A constant is fixed when the unit is made; a multiplier takes any. The multiplier of 8 "
        "bits rounds and saturates its product as well, that of 16 does not. Of the eight "
        "constants that are measured some are 0, 1 or a power of two, which cost wires; two ones "
        "and a sign are an adder and a negation.")


def _bits(known):
    units = ["multiplier-w8a8", "multiplier-w4a8", "mixpe-w4a8", "mixpe-w2a8", "lut-w4a8",
             "lut-w2a8", "bitserial-w4a4", "bitserial-w2a8"]
    head, rows = costs(known, units)
    cost = {unit: known.cost(unit) for unit in units}
    pairs = {"bitserial-w4a4": 16, "bitserial-w2a8": 16}
    each = {unit: text(cost[unit] and cost[unit] / bits, ".1f") for unit, bits in pairs.items()}
    return Finding(
        "bits", "Look-up tables and bit planes: cost against bits",
        "T-MAC: the cost grows linearly with the bits of weights. ABQ-LLM: with the product of the "
        "bits of both operands.",
        "Wei et al., T-MAC: CPU renaissance via table lookup for low-bit LLM deployment on edge. "
        "EuroSys 2025; Zeng et al., ABQ-LLM: Arbitrary-bit quantized inference acceleration for "
        "large language models. AAAI 2025",
        _ours(known,
              f"From 2 to 4 bits of weights the gates of a product by look-up grow "
              f"{text(ratio(cost['lut-w4a8'], cost['lut-w2a8']))} times, those of MixPE "
              f"{text(ratio(cost['mixpe-w4a8'], cost['mixpe-w2a8']))} times.",
              f"By bit planes a pair of bits takes {each['bitserial-w4a4']} gates with 4 by 4 "
              f"bits, and {each['bitserial-w2a8']} with 2 by 8."),
        head, rows,
        "On a processor tables are computed once and every plane costs the same loads. In hardware "
        "the tables are adders: four columns of weights share them here, so a part of the cost "
        "does not grow with the bits of weights, nor do accumulators. Planes of a unit work at "
        "once, one product in each cycle; pairs of equal worth are counted together, and there "
        "are more of these with 4 by 4 bits than with 2 by 8.")


FINDINGS = (_mixpe, _mixpe_arrays, _olive, _minifloat, _mxint8, _nvint4, _khot, _bits)
