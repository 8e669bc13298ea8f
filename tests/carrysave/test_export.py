# SPDX-License-Identifier: Apache-2.0
"""Exports: files that a foreign flow can use, and that say what they are."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Shape
from amaranth.lib import data
from typer.testing import CliRunner

from carrysave import export, main, unit_choice
from carrysave.errors import BadInput
from carrysave.hw.yosys import run_yosys
from carrysave.sim import verilator
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.payload import layout_of, to_ints, unpack
from carrysave.sim.units import compare
from carrysave.sim.verilog import Design, Port

NAMES = ["{0}.json", "{0}.v", "{0}_i.hex", "{0}_o.hex", "{0}_wrapper.sv", "tb_{0}.sv"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """MixPE with three lanes and zero points: odd offsets, signed and unsigned fields."""
    choice = unit_choice.choose("mixpe-w4a8-zero", settings=["lanes=3", "group=5"])
    folder = tmp_path_factory.mktemp("export") / "out"
    return choice, folder, export.export(choice, folder, vectors=600)


def carrysave(*args):
    """Exit status, standard output and standard error of the command line."""
    result = subprocess.run([sys.executable, "-m", "carrysave.main", *map(str, args)],
                            capture_output=True, text=True, timeout=120)
    assert "Traceback" not in result.stderr
    return result.returncode, result.stdout, result.stderr


def test_files_and_description(small):
    choice, folder, found = small
    name = "mixpe_w4a8_zero"
    assert sorted(path.name for path in folder.iterdir()) == sorted(n.format(name) for n in NAMES)
    assert json.loads((folder / f"{name}.json").read_text()) == found
    for file, sha in found["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha
    assert set(found["sha256"]) == {n.format(name) for n in NAMES if not n.endswith("json")}
    assert (found["latency"], found["lanes"], found["group"]) == (1, 3, 5)
    assert found["formats"] == {"activations": "int8", "weights": "uint4"}
    assert found["parameters"] == {"group": 5, "lanes": 3, "weight": "uint4", "zero_points": True}
    assert "P - z * A" in found["equation"] and found["source"][0].startswith("[1] MixPE")
    payload = next(port for port in found["ports"] if port["name"] == "i__payload")
    assert payload["width"] == 42
    assert [(f["name"], f["offset"], f["width"], f["signed"], f["dims"], f["format"])
            for f in payload["fields"]] == [
        ("activations", 0, 8, True, [3], "int8"), ("weights", 24, 4, False, [3], "uint4"),
        ("zero", 36, 4, False, [], found["ports"][2]["fields"][2]["format"]),
        ("clear", 40, 1, False, [], None), ("last", 41, 1, False, [], None)]


def test_ports_have_a_fixed_order(small):
    _, folder, found = small
    order = ["clk", "rst", "i__payload", "i__valid", "i__ready", "o__payload", "o__valid",
             "o__ready"]
    assert [port["name"] for port in found["ports"]] == order
    text = (folder / f"{found['top']}.v").read_text()
    (header,) = re.findall(rf"^module {found['top']}\((.*?)\);", text, re.MULTILINE)
    assert header.split(", ") == order
    assert all(ord(character) < 128 for character in text)


def test_files_depend_on_nothing_but_the_unit(small):
    choice, folder, _ = small
    again = export.export_files(unit_choice.choose(
        "MixPE", preset="zero", settings=["group=5", "lanes=3"]), vectors=600)
    assert again == {path.name: path.read_text() for path in folder.iterdir()}
    assert str(Path.home()) not in "".join(again.values())


def test_golden_vectors(small, compared):
    """The hex files hold what the unit takes and gives."""
    choice, folder, found = small
    rows = {side: (folder / f"{found['top']}_{side}.hex").read_text().split() for side in "io"}
    assert len(rows["i"]) == found["vectors"]["inputs"] == 600
    assert len(rows["o"]) == found["vectors"]["outputs"] > 200
    inputs, outputs, _ = export.golden(choice.unit, vectors=600)
    assert [int(row, 16) for row in rows["i"]] == to_ints(inputs)
    assert [int(row, 16) for row in rows["o"]] == to_ints(outputs)
    run = BatchSimulator(choice.unit).run(unpack(choice.unit.i.p.shape(), inputs),
                                          outputs=len(outputs), extra=10)
    mismatches, _ = compare(choice.unit.o.p.shape(), outputs, run.outputs)
    assert mismatches == 0
    compared(len(outputs))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One folder for all builds: Verilator's runtime is compiled once."""
    return tmp_path_factory.mktemp("work")


def bench(folder, work, top, *defines):
    """Build the test bench as its head says, and run it: status and lines printed."""
    command, root, _ = verilator.find_verilator()
    verilator.run(
        [command, "--binary", "--timing", "-CFLAGS", "-std=c++20 -O0",
         # The package's makefile runs `python`, which Debian does not have.
         "-MAKEFLAGS", f"OPT_FAST=-O0 OPT_GLOBAL=-O0 PYTHON3={sys.executable}", "-j", "2",
         "--top-module", f"tb_{top}", "--Mdir", work, *defines,
         *sorted([*folder.glob("*.sv"), *folder.glob("*.v")])],
        cwd=folder, timeout=500, env={"VERILATOR_ROOT": str(root)})
    runs = []
    for seed in 1, 2:
        args = [work / f"Vtb_{top}", f"+seed={seed}", f"+stall={60 * seed - 60}"]
        runs.append(subprocess.run(args, cwd=folder, capture_output=True, text=True, timeout=60))
    return runs


def test_bench_passes_on_the_wrapper(small, work, compared):
    """The wrapper holds the unit: both are compiled, without a warning, and run."""
    _, folder, found = small
    for run in bench(folder, work, found["top"], "-DWRAPPER"):
        assert run.returncode == 0, run.stdout
        assert f"PASS {found['vectors']['outputs']} vectors" in run.stdout
        compared(found["vectors"]["outputs"])


def test_bench_fails_on_a_bug(small, work, tmp_path):
    """One operator of the Verilog is another."""
    _, folder, found = small
    top = found["top"]
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in folder.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    text = (bad / f"{top}.v").read_text()
    wrong, count = re.subn(r"(\$signed\(\S+ ?\)) \+ ", r"\1 - ", text, count=1)
    assert count == 1
    (bad / f"{top}.v").write_text(wrong)
    for run in bench(bad, work, top):
        assert run.returncode != 0
        assert re.search(r"FAIL output \d+ of \d+: expected 0x[0-9a-f]+, found 0x", run.stdout)
        assert "PASS" not in run.stdout


# The wrapper's fields, read by Yosys: which bits of the payload each is, and whether signed.

def fields_of(tmp_path, kind, sources, fields):
    """Bits of each element of each field, as Yosys understands the package."""
    ports, lines = [], []
    for index, (path, width, signed) in enumerate(fields):
        sign = "signed " if signed else ""
        ports.append(f"output logic {sign}[{width + 1}:0] f{index}")
        lines.append(f"assign f{index} = p{path};")
    text = sources + f"module probe(input {kind} p, {', '.join(ports)});\n" + \
        "\n".join(lines) + "\nendmodule\n"
    (tmp_path / "probe.sv").write_text(text)
    run_yosys(["read_verilog -sv -nolatches probe.sv", "hierarchy -top probe", "proc", "opt_clean",
               "write_json probe.json"], cwd=tmp_path)
    module = json.loads((tmp_path / "probe.json").read_text())["modules"]["probe"]
    place = {bit: k for k, bit in enumerate(module["ports"]["p"]["bits"])}
    return [[place.get(bit) for bit in module["ports"][f"f{k}"]["bits"]]
            for k in range(len(fields))]


def elements(shape, path="", offset=0):
    """Path, offset and shape of every number in a payload."""
    shape = layout_of(shape)
    if isinstance(shape, data.ArrayLayout):
        path = path or ".element"
        for k in range(shape.length):
            stride = Shape.cast(shape.elem_shape).width
            yield from elements(shape.elem_shape, f"{path}[{k}]", offset + k * stride)
    elif isinstance(shape, data.Layout):
        for key, field in shape:
            name = export.identifier(key)
            yield from elements(field.shape, f"{path}.{name}", offset + field.offset)
    else:
        yield path, offset, shape


def check_wrapper(tmp_path, text, shape, compared):
    package = text.split("\nmodule ")[0] + "\n"
    (kind,) = re.findall(r"^  input +(\S+_pkg::.*\S) +i_payload", text, re.MULTILINE)
    expected, fields = [], []
    for path, offset, number in elements(shape):
        fields.append((path, number.width, number.signed))
        bits = list(range(offset, offset + number.width))
        expected.append(bits + [bits[-1] if number.signed else None] * 2)
    assert fields_of(tmp_path, kind, package, fields) == expected
    compared(len(fields))


def test_fields_of_the_wrapper(small, tmp_path, compared):
    choice, folder, found = small
    text = (folder / f"{found['wrapper']}.sv").read_text()
    check_wrapper(tmp_path, text, choice.unit.i.p.shape(), compared)


@pytest.mark.parametrize("shape", [
    data.StructLayout({"x": 3, "type": data.StructLayout({"a": 1, "b": Shape(2, True)})}),
    data.FlexibleLayout(12, {"high": data.Field(Shape(4, True), 7), "low": data.Field(3, 1)}),
    data.ArrayLayout(Shape(5, True), 3),
    data.StructLayout({"w": data.ArrayLayout(data.ArrayLayout(Shape(4, True), 2), 3), "last": 1}),
    Shape(9, True),
], ids=["nested", "gaps", "array", "matrix", "number"])
def test_wrapper_of_other_shapes(shape, tmp_path, compared):
    width = Shape.cast(shape).width
    ports = [Port("i__payload", width, "input", shape=shape), Port("i__valid", 1, "input"),
             Port("o__payload", width, "output", shape=shape), Port("o__valid", 1, "output")]
    text = export.wrapper(Design({}, "thing", None, None, tuple(ports)))
    check_wrapper(tmp_path, text, shape, compared)


def test_wrapper_of_structures_in_an_array():
    """Yosys reads no field of an element: the text itself."""
    pair = data.StructLayout({"left": Shape(4, True), "right": 3})
    shape = data.StructLayout({"w": 1, "pairs": data.ArrayLayout(pair, 3)})
    ports = tuple(Port(f"{stream}__payload", 22, "input", shape=shape) for stream in "io")
    text = export.wrapper(Design({}, "thing", None, None, ports))
    assert """
  typedef logic signed [3:0] i_pairs_left_t;
  typedef logic [2:0] i_pairs_right_t;
  typedef struct packed {
    i_pairs_right_t right;
    i_pairs_left_t left;
  } i_pairs_t;
  typedef struct packed {
    i_pairs_t [2:0] pairs;
    logic w;
  } i_t;
""" in text


# The command line, and what it refuses.

def test_command(tmp_path):
    out = tmp_path / "deep" / "out"
    args = ["export", "pe/MixPE", "--set", "lanes=2", "--set", "activation=int16", "--set",
            "registers=0", "--name", "dot2", "--vectors", "64", "--out", out]
    status, text, _ = carrysave(*args, "--json")
    found = json.loads(text)
    assert status == 0 and found["latency"] == 0 and found["preset"] is None
    assert found["formats"]["activations"] == "int16" and found["parameters"]["lanes"] == 2
    assert sorted(path.name for path in out.iterdir()) == sorted(n.format("dot2") for n in NAMES)
    # Again: replaced as a whole.
    status, text, _ = carrysave(*args[:-4], "--vectors", "32", "--out", out)
    assert status == 0 and "32 transfers" in text
    assert len((out / "dot2_i.hex").read_text().split()) == 32
    assert [path.name for path in out.parent.iterdir()] == ["out"]


WRONG = [
    (["nope"], "UNIT must be one of "),
    (["mixpe-w4a8", "--preset", "x"], "--preset: mixpe-w4a8 is a preset itself"),
    (["MixPE", "--preset", "x"], "--preset: must be one of mixpe-w4a8, "),
    (["MixPE", "--set", "lanes"], "--set: must be NAME=VALUE, not 'lanes'"),
    (["MixPE", "--set", "lane=3"], "--set: MixPE has no parameter 'lane'; it has group, lanes,"),
    (["MixPE", "--set", "lanes=0"], "MixPE: Lanes must be a positive integer, not 0"),
    (["MixPE", "--set", "lanes=__import__('os')"], "--set lanes: must be an integer, not"),
    (["MixPE", "--set", "lanes=1000000000"], "--set lanes: must be at most 4096, not 1000000000"),
    (["MixPE", "--set", "zero_points=2"], "--set zero_points: must be true or false, not '2'"),
    (["MixPE", "--set", "activation=e4m3"], "MixPE: Activation must be an Int, not "),
    (["MixPE", "--set", "activation=x"], "--set activation: Format must be one of "),
    (["mixpe-w4a8", "--name", "a-b"], "--name: must be a name that Verilog takes"),
    (["mixpe-w4a8", "--name", "module"], "--name: must be a name that Verilog takes"),
    (["mixpe-w4a8", "--vectors", "3"], "--vectors: must be at least 16, not 3"),
]


@pytest.mark.parametrize("args, message", WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong(args, message, tmp_path):
    result = CliRunner().invoke(main.app, ["export", *args, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_folder_of_something_else(small, tmp_path):
    choice, folder, _ = small
    (tmp_path / "thesis.tex").write_text("years of work")
    status, _, text = carrysave("export", "mixpe-w4a8", "--out", tmp_path)
    assert status == 2 and len(text.splitlines()) == 1
    assert f"--out: {tmp_path} must be empty or hold an earlier export of mixpe_w4a8, but " \
        "holds thesis.tex" in text
    with pytest.raises(BadInput, match="holds the export of mixpe_w4a8_zero; give other another"):
        export.export(choice, folder, name="other")
    extra = folder / "notes.txt"
    extra.write_text("mine")
    with pytest.raises(BadInput, match=r"holds notes\.txt, which no export wrote"):
        export.export(choice, folder)
    extra.unlink()
    with pytest.raises(BadInput, match=r"thesis\.tex is no folder"):
        export.export(choice, tmp_path / "thesis.tex")
    with pytest.raises(BadInput, match="cannot be written to"):
        export.export(choice, tmp_path / "thesis.tex" / "out", vectors=16)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_interrupted_export_leaves_nothing(small, tmp_path, monkeypatch):
    choice, *_ = small
    (tmp_path / "out").mkdir()
    real = Path.write_text

    def full(self, text, **kwargs):
        if self.name.startswith("tb_"):
            raise OSError(28, "No space left on device")
        return real(self, text, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BadInput, match="cannot be written to: No space left on device"):
        export.export(choice, tmp_path / "out", vectors=16)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").iterdir())
