# SPDX-License-Identifier: Apache-2.0
from importlib.resources import files
from pathlib import Path

import pytest

from carrysave.errors import BadInput
from carrysave.hw.engine.tiling import Gemm
from carrysave.hw.engine.workloads import MODELS, Work
from carrysave.matrix_config import (
    EngineSection,
    LayersSection,
    build_engine,
    load_matrix_config,
    works,
)
from carrysave.quant import formats
from carrysave.quant.language import KINDS

ENGINE = '[engine]\nactivations = "int8"\nweights = "int4g64"\n'
GEMMS = '[workload]\ngemms = [{name = "a", m = 4, n = 5, k = 6}]\n'
CONVOLUTION = "[[workload.convolutions]]\nname = 'c'\nchannels = 4\nfilters = 6\nsize = [8, 7]\n"


def section(**keys):
    return EngineSection.model_validate({"activations": "int8", "weights": "int4g64", **keys})


def near(name):
    """The formats that `get` proposes instead of an unknown one."""
    with pytest.raises(ValueError) as caught:
        formats.get(name)
    return str(caught.value).removeprefix("Format must be one of ").rsplit(", not", 1)[0]


def load(tmp_path, text, **options):
    path = tmp_path / "engine.toml"
    path.write_text(f'name = "x"\n{text}')
    return load_matrix_config(path, **options)


@pytest.mark.parametrize("text, message", [
    (ENGINE, "workload: missing"),
    (GEMMS, "engine: missing"),
    (ENGINE + "row = 4\n" + GEMMS, "engine.row: unknown key; did you mean rows? allowed here: "
     "activations, weights, element, lanes, registers, rows, columns, chains, systolic, bus, "
     "activation_kib, weight_kib, scale_kib, result_kib, partial_tiles, k_max, bias"),
    (ENGINE + "rows = 0\n" + GEMMS, "engine.rows: should be greater than or equal to 1, not 0"),
    (ENGINE + 'rows = "4"\n' + GEMMS, "engine.rows: should be a valid integer, not '4'"),
    (ENGINE + "bus = 12\n" + GEMMS, "engine.bus: should be a multiple of 8, not 12"),
    (ENGINE + 'element = "x"\n' + GEMMS,
     "engine.element: should be 'multiplier', 'mixpe' or 'booth', not 'x'"),
    (ENGINE.replace("int8", "int8x") + GEMMS, "engine.activations: Format must be one of "
     f"{near('int8x')}, not 'int8x'"),
    (ENGINE + "[workload]\n", "workload: must have either a model, or gemms or convolutions, not "
     "neither"),
    (ENGINE + GEMMS + 'model = "vit-b"\n', "workload: must have either a model, or gemms or "
     "convolutions, not both"),
    (ENGINE + GEMMS.replace("m = 4", "m = -4"),
     "workload.gemms.0.m: should be greater than or equal to 1, not -4"),
    (ENGINE + GEMMS.replace("m = 4", "mm = 4"), "workload.gemms.0.m: missing"),
    (ENGINE + GEMMS.replace("m = 4", "m = 4, r = 1"), "workload.gemms.0.r: unknown key; "
     "allowed here: name, m, n, k, repeat"),
    (ENGINE + '[workload]\nmodel = "bert"\n', "workload.model: must be one of smollm2-135m, "
     "opt-6.7b, llama-2-13b, vit-b, vit-h, resnet-18, not 'bert'"),
    (ENGINE + '[workload]\nmodel = "opt-6.7b"\n', "workload: tokens must be given for opt-6.7b"),
    (ENGINE + '[workload]\nmodel = "vit-b"\ntokens = 4\n',
     "workload: tokens must come with a language model, not with vit-b"),
    (ENGINE + GEMMS + "context = 4\n",
     "workload: context must come with a language model, not with lists"),
    (ENGINE + CONVOLUTION + "kernel = [3]\n", "workload.convolutions.0: kernel must have the 2 "
     "axes of size, not 1"),
    (ENGINE + CONVOLUTION + "kernel = [3, 3]\ngroups = 4\n", "workload.convolutions.0: filters "
     "must be a multiple of the 4 groups, not 6"),
    (ENGINE + GEMMS + '[layers]\nkinds = ["int9"]\n', "layers.kinds.0: should be 'mixpe-w4a8', "
     "'olive4', 'mxfp4', 'mxint8', 'int8' or 'fp8', not 'int9'"),
    ("= 3", "not TOML: Invalid statement (at line 2, column 1)"),
])
def test_wrong(tmp_path, text, message):
    with pytest.raises(BadInput) as caught:
        load(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'engine.toml'}: {message}"


@pytest.mark.parametrize("options, message", [
    ({"rows": 0}, "--rows: should be greater than or equal to 1, not 0"),
    ({"weights": "int44g"}, f"--weights: Format must be one of {near('int44g')}, not 'int44g'"),
    ({"kinds": ["int9"]}, "--kind: kinds.0: should be 'mixpe-w4a8', 'olive4', 'mxfp4', 'mxint8', "
     "'int8' or 'fp8', not 'int9'"),
])
def test_options_wrong(tmp_path, options, message):
    with pytest.raises(BadInput) as caught:
        load(tmp_path, ENGINE + GEMMS, **options)
    assert str(caught.value) == message


def test_options_replace_what_the_file_says(tmp_path):
    text = ENGINE + "rows = 4\ncolumns = 5\n" + GEMMS + "[layers]\nblock = 3\n"
    config = load(tmp_path, text, rows=16, columns=None, weights="int8", kinds=["fp8"])
    assert (config.engine.rows, config.engine.columns) == (16, 5)
    assert (config.engine.activations, config.engine.weights) == ("int8", "int8")
    assert (config.layers.block, config.layers.kinds) == (3, ["fp8"])


def test_lists_of_work(tmp_path):
    text = ENGINE + GEMMS.replace("k = 6", "k = 6, repeat = 7") + "batch = 2\n" + CONVOLUTION
    config = load(tmp_path, text + "kernel = [3, 2]\nstride = 2\npadding = 1\ngroups = 2\n")
    assert works(config.workload) == [Work(Gemm("a", 4, 5, 6), 7),
                                      Work(Gemm("c", 2 * 4 * 4, 3, 12), 2)]


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path, name):
    language = hasattr(MODELS[name], "vocabulary")
    text = f'{ENGINE}[workload]\nmodel = "{name}"\nbatch = 3\n'
    options = {"tokens": 5, "context": 9} if language else {}
    config = load(tmp_path, text + "".join(f"{k} = {v}\n" for k, v in options.items()))
    found = works(config.workload)
    assert found == MODELS[name].works(batch=3, **options)
    assert sum(work.macs for work in found) > 1e8


def test_memories_hold_as_many_lines_as_fit():
    engine = section(rows=6, columns=10, activation_kib=3, weight_kib=1000, scale_kib=1,
                     result_kib=7)
    config = build_engine(engine, longest=500)
    assert config.k_max == 500 and config.sum_shape.width == 29
    assert (config.a_bits, config.a_lines) == (48, 512) and 512 * 48 <= 3 * 8192 < 1024 * 48
    assert (config.w_bits, config.w_lines) == (40, 1 << 15)  # no more than that
    assert (config.w_scale_bits, config.scale_lines) == (80, 64)
    assert config.chains * config.result_bits == 32 and config.result_lines == 1024


@pytest.mark.parametrize("changes, message", [
    ({"weights": "mxfp4"}, "Activations and weights must both be in blocks of one size, not int8 "
     "and mxfp4"),
    ({"lanes": 3}, "Lanes must divide the group size 64, not 3"),
    ({"chains": 3}, "chains must divide the 8 columns, not 3"),
    ({"rows": 1024, "columns": 1024, "chains": 1},
     "result_lines must be at least 1048576, the sums of a chain, not 32768"),
    ({"rows": 1024, "columns": 64, "chains": 4},
     "result_kib must be at least 256 for 16384 lines of 128 bits, not 8"),
    ({"activations": "e4m3", "weights": "e4m3", "element": "booth"},
     "Element is chosen among integer formats only, not for e4m3 and e4m3"),
])
def test_engines_that_cannot_be(changes, message):
    with pytest.raises(BadInput) as caught:
        build_engine(section(**changes), longest=256)
    assert str(caught.value) == f"engine: {message}"


def test_any_pair_of_formats_is_an_engine_or_one_line(compared):
    made = refused = 0
    names = formats.names()
    for k, activations in enumerate(names):
        for weights in {activations, "int4g64", names[-k]}:
            try:
                build_engine(section(activations=activations, weights=weights), longest=64)
                made += 1
            except BadInput as error:
                assert "\n" not in str(error)
                refused += 1
    assert made > 40 and refused > 20
    compared(made + refused)


def test_kinds_are_those_of_the_language_model():
    assert list(KINDS) == LayersSection.model_validate({}).kinds
    for kind in KINDS.values():
        for fmt in kind.activations, kind.weights:
            assert formats.get(fmt.name) == fmt


def test_example():
    config = load_matrix_config(Path(str(files("carrysave.examples") / "smollm2.toml")))
    assert config.workload.model == "smollm2-135m" and config.layers.kinds == list(KINDS)
