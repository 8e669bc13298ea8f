# SPDX-License-Identifier: Apache-2.0
"""Speeds of this machine: what waiting for carrysave costs. Run by ``make bench``.

Ratios compare runs that take turns, so that a busy moment meets both sides. Names of parts as
arguments run those alone.
"""

import logging
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

IMPORTS = ("carrysave.quant.formats", "carrysave.hw.engine.engine", "carrysave.main", "torch")
LANES, GROUP, CYCLES = 16, 8, 2_000_000
SIZE = 1024  # of square matrices
ELEMENTS = {  # MX format → element type of torchao's emulation
    "mxfp8_e4m3": "float8_e4m3fn", "mxfp8_e5m2": "float8_e5m2", "mxfp4": "float4_e2m1fn_x2",
    "mxfp6_e2m3": "fp6_e2m3", "mxfp6_e3m2": "fp6_e3m2",
}
LAYERS = {"mxfp8_e4m3": "MXFloat8e4m3", "mxint8": "MXInt8"}  # … → of Brevitas' quantisers


def seconds_of(functions, turns=9):
    """Median seconds of each function, called in turns after one call that warms it up."""
    seconds = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(turns):
        for function, taken in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def imports():
    for name in IMPORTS:
        (seconds,) = seconds_of([lambda name=name: subprocess.run(
            [sys.executable, "-c", f"import {name}"], check=True, timeout=60)], turns=5)
        print(f"import {name:27} {seconds:6.2f} s")


def batch():
    """Build (0 s from the cache) and run the batch simulator; every sum is checked."""
    from carrysave.hw.pe.mixpe import MixPE
    from carrysave.sim.batch import BatchSimulator

    rng = np.random.default_rng(0)
    weights = rng.integers(-8, 8, (CYCLES, LANES))
    activations = rng.integers(-128, 128, (CYCLES, LANES))
    last = np.arange(1, CYCLES + 1) % GROUP == 0
    start = time.perf_counter()
    simulator = BatchSimulator(MixPE(GROUP, lanes=LANES))
    simulator.library()
    built = time.perf_counter()
    run = simulator.run({"activations": activations, "weights": weights, "last": last},
                        outputs=CYCLES // GROUP)
    done = time.perf_counter()
    sums = (weights * activations).sum(axis=1).reshape(-1, GROUP).sum(axis=1)
    if not np.array_equal(run.outputs, sums):
        raise SystemExit("batch simulation differs from NumPy")
    print(f"build a batch simulator            {built - start:6.2f} s (a fraction once cached)")
    print(f"batch simulation, {LANES}-lane MixPE    {CYCLES / (done - built) / 1e6:6.2f} million "
          f"cycles/s, {CYCLES // GROUP} sums equal")


def engine():
    """A 16 x 16 matrix engine in the batch simulator, and driven in each cycle by cocotb."""
    from carrysave.hw.array.kind import kind_of
    from carrysave.hw.engine.gemm_config import GemmConfig
    from carrysave.hw.engine.images import Operand
    from carrysave.hw.engine.tiling import Gemm, plan
    from carrysave.quant.formats import Int
    from carrysave.sim.cocotb_run import run_stream
    from carrysave.sim.gemm import GemmSimulator

    config = GemmConfig(kind_of(Int(8), Int(8)), 16, 16, bus=128, a_lines=4096, w_lines=4096)
    rng, simulator = np.random.default_rng(0), GemmSimulator(config)

    def program(m, n):
        codes = [rng.integers(0, 256, (count, 576)) for count in (m, n)]
        return plan(config, [Gemm("g", m, n, 576)]), [tuple(map(Operand, codes))], codes

    layers, operands, (a, b) = program(64, 1024)
    run, seconds = simulator.run(layers, operands), []
    a, b = ((x ^ 128) - 128 for x in (a, b))
    if not np.array_equal(run.results[0], a @ b.T):
        raise SystemExit("the engine differs from NumPy")
    inputs, _ = simulator.transfers(layers, operands)
    for _ in range(3):
        start = time.perf_counter()
        simulator.simulator.run(inputs, outputs=64 * 1024 // 4)
        seconds.append(time.perf_counter() - start)
    fast = run.total / min(seconds)
    # cocotb: the difference of two lengths, without what starting takes.
    taken, cycles = [], []
    for n in 16, 16, 80:
        layers, operands, _ = program(64, n)
        inputs, _ = simulator.transfers(layers, operands)
        start = time.perf_counter()
        found = run_stream(simulator.simulator.design, inputs, outputs=64 * n // 4)
        taken.append(time.perf_counter() - start)
        cycles.append(int(found[-1][0]))
    slow = (cycles[2] - cycles[1]) / (taken[2] - taken[1])
    print(f"16 x 16 engine, batch simulator    {fast / 1e3:6.0f} thousand cycles/s")
    print(f"  driven in each cycle by cocotb   {slow / 1e3:6.1f} thousand cycles/s: "
          f"{fast / slow:.0f} times slower")


def gemm():
    """Exact integer products, codes in, integers out, beside torch's float32."""
    import torch

    from carrysave.quant.golden.gemm import gemm

    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.integers(0, 256, (SIZE, SIZE), np.uint8))
    b = torch.from_numpy(rng.integers(0, 16, (SIZE, SIZE), np.uint8))
    x, y = a.view(torch.int8), ((b ^ 8) - 8).view(torch.int8)
    if not torch.equal(gemm(a, b, a_format="int8", b_format="int4"), x.long() @ y.long().T):
        raise SystemExit("gemm differs from torch's int64 product")
    floats = x.float(), y.float().T.contiguous()
    exact, single = seconds_of([
        lambda: gemm(a, b, a_format="int8", b_format="int4"), lambda: floats[0] @ floats[1],
    ], turns=31)
    wide = x.long(), y.long().T.contiguous()
    others = seconds_of([
        lambda: wide[0] @ wide[1], lambda: wide[0].numpy() @ wide[1].numpy(),
        lambda: torch._int_mm(x, y.T.contiguous()),  # pyright: ignore[reportPrivateImportUsage]
    ], turns=3)
    print(f"int8 by int4 codes, {SIZE}x{SIZE}x{SIZE}, times torch's float32 product "
          f"({1000 * single:.1f} ms):")
    print(f"  carrysave, exact                 {exact / single:6.2f}")
    for name, seconds in zip(("torch int64", "NumPy int64", "torch._int_mm"), others, strict=True):
        print(f"  {name:32} {seconds / single:6.1f}")


def emulations(name, a, b):
    """What torchao and Brevitas have to quantise ``a`` and ``b`` to a format and multiply them."""
    import torch
    from brevitas.nn import QuantLinear
    from brevitas.quant import mx_quant_ocp
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    if name in ELEMENTS:
        kind = getattr(torch, ELEMENTS[name], ELEMENTS[name])
        yield "torchao", lambda: MXTensor.to_mx(a, kind, 32) @ MXTensor.to_mx(b, kind, 32).t()
    if name in LAYERS:
        layer = QuantLinear(
            b.shape[1], b.shape[0], bias=False,
            weight_quant=getattr(mx_quant_ocp, LAYERS[name] + "Weight"),
            input_quant=getattr(mx_quant_ocp, LAYERS[name] + "Act"),
        ).eval()
        yield "Brevitas", lambda: layer(a)


def mx():
    """MX quantisation of vectors and a matrix and their exact dots, beside emulations."""
    import torch

    from carrysave.quant import formats
    from carrysave.quant.golden.mx_gemm import mx_gemm, quantise

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # torchao tells which GPU extensions are missing
    torch.manual_seed(0)
    for m, n in (1, 4 * SIZE), (SIZE, SIZE):
        print(f"float32 {m}x{n} and {n}x{n} to MX blocks and their product, ms; "
              "speed against the faster emulation:")
        a, b = torch.randn(m, n), torch.randn(n, n)
        for name in [*ELEMENTS, "mxint8"]:
            fmt, rivals = formats.get(name), dict(emulations(name, a, b))

            def exact(fmt=fmt, a=a, b=b):
                return mx_gemm(fmt, quantise(a, fmt), fmt, quantise(b, fmt))

            with torch.no_grad():
                ours, *theirs = seconds_of([exact, *rivals.values()], turns=5)
            shown = ", ".join(f"{rival} {1000 * seconds:.1f}"
                              for rival, seconds in zip(rivals, theirs, strict=True))
            print(f"  {name:12} exact {1000 * ours:6.1f}, {shown}: {min(theirs) / ours:.1f} times")


PARTS = {"imports": imports, "batch": batch, "engine": engine, "gemm": gemm, "mx": mx}


def main():
    for name in sys.argv[1:] or PARTS:
        if name not in PARTS:
            raise SystemExit(f"Part must be one of {', '.join(PARTS)}, not {name!r}")
        PARTS[name]()


if __name__ == "__main__":
    main()
