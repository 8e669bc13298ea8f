# SPDX-License-Identifier: Apache-2.0
"""Look-up in tables of activations against its golden function."""

import numpy as np
import torch
from amaranth.hdl import Cat, Const, Mux

from ...hw.pe.lut_mac import add_planes, look_up, planes, table
from ...quant.golden.lut_mac import lut_mac
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    activations = torch.as_tensor(np.asarray(inputs["activations"]).astype(np.int64))
    weights = np.asarray(inputs["weights"])
    columns = [
        lut_mac(activations, weights[..., j], bits=unit.weight.bits, signed=unit.weight.signed)
        for j in range(unit.columns)
    ]
    return grouped(exact(unit, torch.stack(columns, dim=-1)), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    activation = ports["activations"].shape.elem_shape
    weight = ports["weights"].shape.elem_shape.elem_shape
    names = [f"a{k}" for k in range(4)]

    yield Core(
        "table", dict.fromkeys(names, activation),
        lambda **a: {f"entry_{k}": entry for k, entry in enumerate(table(list(a.values())))},
        lambda a0, a1, a2, a3: {
            f"entry_{k}": (a3 + (a2 if k & 4 else -a2))
            + ((a0 if k & 1 else -a0) + (a1 if k & 2 else -a1)) for k in range(8)},
        says="sums of four activations")

    entries = [f"entry_{k}" for k in range(8)]

    def looked_up(signs, **values):
        entry, negative = look_up(list(values.values()), list(signs))
        return entry + negative

    def mirrored(signs, **values):
        values = list(values.values())
        result = Const(0)
        for index in range(16):
            entry = values[index & 7] if index & 8 else -values[~index & 7]
            result = Mux(signs == index, entry, result)
        return result

    yield Core(
        "look-up", {"signs": 4, **dict.fromkeys(entries, unit.entry_shape)}, looked_up, mirrored,
        says="an entry, or that of the inverted signs negated")

    def planes_of(**weights):
        signs = planes(list(weights.values()))
        return {f"plane_{b}": Cat(plane) for b, plane in enumerate(signs)}

    def transposed(**weights):
        result = {f"plane_{b}": Cat(w[b] for w in weights.values())
                  for b in range(unit.weight.bits)}
        if unit.weight.signed:
            *_, top = result
            result[top] = ~result[top]
        return result

    yield Core(
        "planes", dict.fromkeys([f"w{k}" for k in range(4)], weight), planes_of, transposed,
        says="bits of four weights, those of a sign bit inverted")

    found = {}
    for b in range(unit.weight.bits):
        found |= {f"entry_{b}": unit.entry_shape, f"negative_{b}": 1}

    def pairs(values):
        return [(values[f"entry_{b}"], values[f"negative_{b}"]) for b in range(unit.weight.bits)]

    yield Core(
        "sum of planes", found, lambda **values: add_planes(pairs(values)),
        lambda **values: sum((entry + negative) * (1 << b)
                             for b, (entry, negative) in enumerate(pairs(values))),
        says="each plane by its worth")


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
