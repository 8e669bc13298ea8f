# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.hw import catalogue
from carrysave.hw.array.kind import kind_of
from carrysave.hw.array.pe_array import PEArray
from carrysave.quant.formats import Group, Int, get
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.payload import pack
from carrysave.sim.trace import Operands, has_operands, products_of, real, uniform

RNG = np.random.default_rng(0)
MATRICES = [Operands(RNG.normal(size=(12, 64)), RNG.normal(size=(6, 64))),
            Operands(RNG.normal(size=(5, 96)), RNG.normal(size=(7, 96)))]


def codes_of(fmt, x):
    """A matrix as a format that one scale suits, by its definition."""
    return fmt.encode(x / (np.abs(x).max() / float(fmt.max)))


def test_dot_products_of_known_codes(compared):
    """Codes that hardware gets are sent as they are; sums are those of the matrix product."""
    a, w = RNG.integers(-127, 128, (5, 64)), RNG.integers(-7, 8, (3, 64))
    group = Group(Int(4), 16)
    encoded = group.encode(w.astype(float))._replace(codes=(w & 15).astype(np.uint8))
    given = [Operands(a.astype(float), w.astype(float), {
        "activations": (Int(8), a), "weights": (group, encoded)})]
    for name in ("mixpe-w4a8", "multiplier-w4a8"):
        unit = catalogue.get(name).build()
        sent = real(unit, given, 30)
        product = a @ w.T
        expected = [product[p % 5, p % 3] for p in range(8)]
        assert sent.outputs == 8 and len(sent.inputs["last"]) == 32
        assert (sent.expected == pack(unit.o.p.shape(), np.array(expected))).all()
        assert (sent.inputs["activations"].reshape(8, 64) == a[[0, 1, 2, 3, 4, 0, 1, 2]]).all()
        compared(len(expected))


def test_lanes_and_columns(compared):
    """Dot products fill whole transfers; columns have a row of weights each."""
    unit = catalogue.get("packed-w4a8").build(lanes=5)
    sent = real(unit, MATRICES, 40)
    assert products_of(unit) == 10 and sent.inputs["weights"].shape[1:] == (5, 2)
    ends = np.flatnonzero(sent.inputs["last"]) + 1
    assert np.diff(ends, prepend=0).tolist() == [13, 20, 13]
    assert (sent.inputs["activations"][12, 4:] == 0).all()
    first = Group(Int(4), 64).encode(np.pad(MATRICES[0].weights, [(0, 0), (0, 1)])).codes
    columns = sent.inputs["weights"][:13].reshape(65, 2).T
    assert ((columns & 15) == first[:2]).all()
    compared(columns.size)


def test_longest_sum(compared):
    unit = catalogue.get("mixpe-w4a8").build(lanes=1, group=40)
    ends = np.flatnonzero(real(unit, MATRICES, 300).inputs["last"]) + 1
    assert np.diff(ends, prepend=0).tolist() == [40, 24, 40, 40, 16, 40, 24, 40, 40, 16]
    compared(len(ends))


@pytest.mark.parametrize("name", ["mac-e4m3-e4m3", "mac-int8-e2m1"])
def test_codes_of_a_format(name, compared):
    unit = catalogue.get(name).build()
    sent = real(unit, MATRICES[:1], 8)
    a, b = (get(unit.formats[port]) for port in "ab")
    x, w = MATRICES[0].activations[:2], MATRICES[0].weights[:2]
    if isinstance(a, Int):
        expected = [codes_of(a, row) for row in x]
    else:
        expected = codes_of(a, MATRICES[0].activations)[:2]
    assert (sent.inputs["a"].reshape(2, 64) == expected).all()
    assert (sent.inputs["b"].reshape(2, 64) == [codes_of(b, row) for row in w]).all()
    compared(2 * 128)


def test_blocks_pairs_and_scales(compared):
    dot = catalogue.get("mxfp4-dot").build()
    sent = real(dot, MATRICES[1:], 6)
    encoded = get("mxfp4").encode(MATRICES[1].weights.astype(np.float32))
    assert (sent.inputs["b"].reshape(2, 96) == encoded.codes[:2]).all()
    assert (sent.inputs["b_scale"].reshape(2, 3) == encoded.scales[:2]).all()
    assert sent.inputs["last"].tolist() == [0, 0, 1] * 2
    olive = catalogue.get("olive4").build()
    words = real(olive, MATRICES[:1], 8).inputs["a"].reshape(2, 32)
    fmt = get("olive4")
    scale = fmt.scale(MATRICES[0].activations)
    assert (words == fmt.encode(MATRICES[0].activations / scale).words[:2]).all()
    two = real(catalogue.get("two-scale-w4a8").build(), MATRICES[:1], 8).inputs
    weights = two["weights"].reshape(2, 64)
    assert ((weights < 0) == (MATRICES[0].weights[:2] < 0))[weights != 0].all()
    assert (two["positive"] != two["negative"]).any() and (two["positive"] > 0).all()
    compared(words.size + weights.size)


def test_shifts_follow_the_channels(compared):
    scaled = MATRICES[0].activations * 2.0 ** np.tile([0, -2, -5, -12], 16)
    unit = catalogue.get("mac-e2m1-e2m1-preshift").build()
    shifts = real(unit, [MATRICES[0]._replace(activations=scaled)], 4).inputs["shifts"]
    by_kind = shifts.reshape(16, 4).mean(axis=0)
    assert shifts.min() == 0 and shifts.max() == 7 and (np.diff(by_kind) < 0).all()
    compared(shifts.size)


@pytest.mark.parametrize("name", ["decode-e5m2", "mxfp8-e5m2-dot", "fp32-add", "multiplier-w4a4"])
def test_uniform(name, compared):
    """All finite codes, about as often; scales near 1."""
    unit = catalogue.get(name).build()
    sent = uniform(unit, 4096)
    for field, values in sent.inputs.items():
        if field in ("clear", "last"):
            continue
        fmt = get(unit.formats[field])
        fmt = getattr(fmt, "element", fmt)
        if isinstance(fmt, Int):
            assert sorted(np.unique(values)) == list(range(-8, 8))
            continue
        assert not (fmt.is_nan(values) | fmt.is_inf(values)).any()
        kinds = np.unique(values)
        if field.endswith("scale"):
            assert len(kinds) == 16 and abs(np.log2(fmt.values(kinds))).max() <= 8
        elif fmt.bits == 8:
            assert len(kinds) == 248
            counts = np.bincount(values.ravel())[kinds]
            assert counts.max() < 2 * counts.min()
        compared(values.size)
    assert uniform(unit, 4096).expected.tolist() == sent.expected.tolist()
    assert uniform(unit, 4096, seed=1).expected.tolist() != sent.expected.tolist()
    compared(1)


@pytest.mark.parametrize("activations, weights, lanes", [
    (Int(8), Group(Int(4), 32), 1), (get("olive4"), get("olive4"), 2)])
def test_arrays(activations, weights, lanes, compared):
    """What the array computes of uniform and of real operands."""
    array = PEArray(kind_of(activations, weights, lanes=lanes), 2, 3, steps=128 // lanes)
    simulator = BatchSimulator(array, short=True)
    for sent in (uniform(array, 200), real(array, MATRICES, 200)):
        run = simulator.run(sent.inputs, outputs=sent.outputs)
        assert (pack(array.o.p.shape(), run.outputs) == sent.expected).all()
        assert sent.outputs == 6 * sent.inputs["last"].sum()
        compared(sent.outputs)
    assert products_of(array) == 6 * lanes and has_operands(array)


def test_units_without_operands(compared):
    names = {name for name in catalogue.names() if has_operands(catalogue.get(name).build())}
    assert names == {preset.name for preset in catalogue.PRESETS if preset.room == "pe"}
    compared(len(names))
