# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.hw.array.kind import kind_of
from carrysave.hw.engine import schedule as schedule_module
from carrysave.hw.engine.gemm import GemmEngine
from carrysave.hw.engine.gemm_config import GemmConfig, Layer
from carrysave.hw.engine.images import operand_of
from carrysave.hw.engine.program import DoesNotFit
from carrysave.hw.engine.schedule import schedule
from carrysave.hw.engine.tiling import Gemm, array_latency, plan, tilings
from carrysave.quant.formats import Block, Group, Int, Minifloat, get
from carrysave.quant.golden.gemm import gemm
from carrysave.sim.gemm import GemmSimulator

INT4 = Int(4)

# Formats, options of the kind, and of the engine.
ENGINES = [
    (Int(8), Int(8), {}, {"rows": 4, "columns": 4}),
    (Int(8), Int(8), {"lanes": 4, "registers": 2}, {"rows": 2, "columns": 6, "bus": 128}),
    (Int(8), Int(3), {"element": "booth"}, {"rows": 5, "columns": 3, "bus": 24, "bias": True}),
    (Int(8, signed=False), INT4, {"element": "mixpe"},
     {"rows": 1, "columns": 8, "bias": True, "systolic": False}),
    (Int(8), Group(INT4, 16), {}, {"rows": 4, "columns": 4, "bus": 32}),
    (Int(8), Group(INT4, 32), {"element": "booth", "lanes": 2},
     {"rows": 3, "columns": 4, "systolic": False}),
    (Int(8), Group(INT4, 8), {"element": "multiplier"},
     {"rows": 6, "columns": 2, "bus": 8, "bias": True}),
    (Int(8), Group(INT4, 8, scale_bits=5), {}, {"rows": 1, "columns": 1}),
    (get("olive4"), get("olive4"), {"lanes": 2}, {"rows": 4, "columns": 2}),
    (get("olive8"), get("olive4"), {"lanes": 4}, {"rows": 2, "columns": 3, "systolic": False}),
    (get("mxfp4"), get("mxfp4"), {}, {"rows": 4, "columns": 4}),
    (get("mxint8"), get("mxint8"), {"lanes": 4}, {"rows": 2, "columns": 4, "bus": 128}),
    (get("mxfp8_e4m3"), get("mxfp6_e2m3"), {"lanes": 2},
     {"rows": 3, "columns": 3, "systolic": False}),
    (get("nvfp4"), get("nvfp4"), {}, {"rows": 2, "columns": 2}),
    (get("e4m3"), get("e4m3"), {}, {"rows": 3, "columns": 4}),
    (Minifloat(2, 3), get("flint4"), {"lanes": 3}, {"rows": 2, "columns": 2, "bus": 16}),
]
PROGRAMS = 20  # of each engine


def engine(case):
    a, w, options, parameters = case
    return GemmConfig(kind_of(a, w, **options), **{
        "a_lines": 256, "w_lines": 128, "scale_lines": 64, "result_lines": 64,
        "k_max": 600, "partial_tiles": 4, **parameters})


def matrix(fmt, rng, shape):
    """A random matrix, encoded: real values as they are met, every code of scalar formats."""
    if isinstance(fmt, Block):
        values = rng.normal(size=shape) * np.exp2(rng.integers(-20, 20, size=(shape[0], 1)))
        return fmt.encode(values)
    if isinstance(fmt, Group):
        encoded = fmt.encode(rng.normal(size=shape))
        scales = rng.integers(0, fmt.scale_max, size=encoded.scales.shape, endpoint=True)
        return encoded._replace(scales=scales)
    if hasattr(fmt, "words"):
        return fmt.encode(rng.standard_t(2, size=shape) * fmt.normal.max / 2)
    codes = fmt.codes()
    return rng.choice(codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))], size=shape)


def golden(config, a, w, bias):
    """Results as the engine gives them: integers, or the codes of FP32."""
    kind = config.kind
    result = gemm(a, w, a_format=kind.activations, b_format=kind.weights)
    if kind.scaling == "block":
        result = result / (a.tensor_scale * w.tensor_scale) if kind.weights.two_level else result
        return result.view(torch.int32).numpy().astype(np.int64) & 0xFFFFFFFF
    return np.asarray(result) + (0 if bias is None else bias)


def draw_program(config, rng):
    """Random layers in random tilings, their operands and results."""
    layers, operands, expected = [], [], []
    while not layers or rng.random() < 0.5 and len(layers) < 4:
        size = [int(2 ** rng.uniform(0, most)) for most in (5, 5, 9)]
        found = list(tilings(config, Gemm(f"layer{len(layers)}", *size)))
        if not found:
            continue
        m, n, k = size
        a = matrix(config.kind.activations, rng, (m, k))
        w = matrix(config.kind.weights, rng, (n, k))
        if getattr(config.kind.weights, "two_level", False):
            a, w = a._replace(tensor_scale=1.0), w._replace(tensor_scale=1.0)
        bias = rng.integers(-1 << 15, 1 << 15, size=n) if config.bias else None
        layers.append(found[rng.integers(len(found))])
        operands.append((operand_of(config.kind.activations, a),
                         operand_of(config.kind.weights, w, bias)))
        expected.append(golden(config, a, w, bias))
    return layers, operands, expected


def differing(expected, run):
    pairs = list(zip(expected, run.results, strict=True))
    assert all(e.shape == f.shape and e.size for e, f in pairs)
    return sum(int((e != f).sum()) for e, f in pairs)


@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_every_result_and_every_cycle(number):
    config, rng = engine(ENGINES[number]), np.random.default_rng(number)
    simulator = GemmSimulator(config, short=True)
    assert simulator.array_latency == array_latency(config)
    compared = 0
    for _ in range(PROGRAMS):
        layers, operands, expected = draw_program(config, rng)
        run = simulator.run(layers, operands, monitor=True)
        assert not differing(expected, run), layers
        cycles = schedule(config, array_latency(config), layers)
        assert run.total == cycles.total, layers
        assert run.steps.sum() == sum(layer.steps for layer in cycles.layers)
        # The last step of each layer is where the schedule has it.
        ends = np.flatnonzero(run.steps)[np.cumsum([layer.steps for layer in cycles.layers]) - 1]
        assert ends.tolist() == np.cumsum([layer.cycles for layer in cycles.layers]).tolist()
        stalled = simulator.run(layers, operands, stall_i=0.4, stall_o=0.4, seed=compared)
        assert not differing(expected, stalled)
        compared += sum(each.size for each in expected)
    assert compared > 1000


def test_k_shorter_than_a_group_that_exceeds_the_memories():
    a, w, options, parameters = ENGINES[4]
    config = engine((a, w, options, {**parameters, "a_lines": 8, "w_lines": 8}))
    assert not list(tilings(config, Gemm("long", 4, 4, 16)))
    assert list(tilings(config, Gemm("short", 4, 4, 5)))
    rng = np.random.default_rng(3)
    x, y = matrix(a, rng, (6, 5)), matrix(w, rng, (5, 5))
    layers = plan(config, [Gemm("short", 6, 5, 5)])
    run = GemmSimulator(config, short=True).run(layers, [(operand_of(a, x), operand_of(w, y))])
    assert not differing([golden(config, x, y, None)], run)
    assert run.total == schedule(config, array_latency(config), layers).total


def test_a_wrong_weight_shows():
    config, rng = engine(ENGINES[4]), np.random.default_rng(0)
    layers, operands, expected = draw_program(config, rng)
    operands[-1][1].codes[0, -1] ^= 1
    assert differing(expected, GemmSimulator(config, short=True).run(layers, operands))


@pytest.mark.parametrize("number, size", [(0, (64, 64, 256)), (4, (64, 64, 512)),
                                          (8, (64, 64, 512)), (10, (64, 64, 256))])
def test_no_bubbles(number, size):
    config = engine(ENGINES[number])
    layers = plan(config, [Gemm("g", *size)])
    cycles = schedule(config, array_latency(config), layers)
    assert cycles.layers[0].draining == 0


def test_schedule_is_the_same_without_a_compiler(monkeypatch):
    config = engine(ENGINES[5])
    layers = [layer for size in ((30, 20, 200), (9, 40, 64))
              for layer in list(tilings(config, Gemm("g", *size)))[::5]]
    compiled = schedule(config, array_latency(config), layers)
    monkeypatch.setattr(schedule_module, "_run", lambda: schedule_module._cycles)
    assert schedule(config, array_latency(config), layers) == compiled


def test_plan_takes_the_fewest_cycles():
    config = engine(ENGINES[0])
    size = Gemm("g", 30, 20, 200)
    best = schedule(config, array_latency(config), plan(config, [size])).total
    every = [schedule(config, array_latency(config), [layer]).total
             for layer in tilings(config, size)]
    assert len(every) > 6 and best == min(every) < max(every)


@pytest.mark.parametrize("gemm, changes, message", [
    (Gemm("wide", 4, 4, 700), {}, "Layer wide: K is 700; the engine sums up to k_max = 600"),
    (Gemm("long", 4, 4, 600), {"scale_lines": 1, "a_lines": 16, "partial_tiles": 1, "bias": True,
                               "w_lines": 1}, None),
])
def test_what_does_not_fit(gemm, changes, message):
    a, w, options, parameters = ENGINES[4 if changes else 0]
    config = engine((a, w, options, {**parameters, **changes}))
    with pytest.raises(DoesNotFit) as caught:
        plan(config, [gemm])
    expected = message or (
        "Layer long (4 x 4 x 600): no tiling fits a_lines = 16, w_lines = 1, scale_lines = 1 and "
        "partial_tiles = 1")
    assert str(caught.value) == expected


@pytest.mark.parametrize("changes, error, message", [
    ({"rows": 0}, TypeError, "rows must be a positive integer, not 0"),
    ({"a_lines": 100}, ValueError, "a_lines must be a power of two, not 100"),
    ({"a_lines": 65536}, ValueError, "a_lines must be at most 32768, not 65536"),
    ({"bus": 12}, ValueError, "bus must be a multiple of 8, not 12"),
    ({"chains": 3}, ValueError, "chains must divide the 4 columns, not 3"),
    ({"result_lines": 2}, ValueError,
     "result_lines must be at least 16, the sums of a chain, not 2"),
])
def test_configuration_wrong(changes, error, message):
    with pytest.raises(error) as caught:
        GemmConfig(**{"kind": kind_of(Int(8), Int(8)), "rows": 4, "columns": 4, **changes})
    assert str(caught.value) == message


def test_program_too_long():
    config = engine(ENGINES[0])
    layer = Layer(1, 1, 1, ("m", "n", "k"), (1, 1, 1), 1, 1)
    with pytest.raises(ValueError, match="^Program must have at most 1 layers, not 2$"):
        GemmEngine(config, layers=1, program=[layer, layer])
