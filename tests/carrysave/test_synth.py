# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from rich.console import Console

from carrysave import synth
from carrysave.errors import BadInput, Failure
from carrysave.fpga import characterise
from carrysave.fpga.tools import ToolError

NAME = "decode-e2m1"


def test_document(tmp_path, compared):
    found = synth.synth(NAME, family="ice40", dsp=False, timing=False, cache=tmp_path)
    assert list(found)[:2] == ["unit", "family"]
    assert {"lut4", "ff", "dsp", "bram", "fmax_mhz", "tools"} <= set(found)
    assert (found["unit"], found["family"], found["fmax_mhz"]) == (NAME, "ice40", None)
    assert found["lut4"] > 0 and found["ff"] > 0 and found["tools"]["pyosys"]
    assert json.loads(json.dumps(found)) == found
    compared(len(found))


def test_fmax(monkeypatch, tmp_path):
    speed = characterise.Speed(20.0, 19.5, 21.25)
    monkeypatch.setattr(characterise, "speed", lambda *_, **__: speed)
    found = synth.synth(NAME, family="ice40", cache=tmp_path)
    assert found["fmax_mhz"] == {"median": 20.0, "min": 19.5, "max": 21.25}
    console = Console(width=100, record=True)
    console.print(synth.show(found))
    text = console.export_text()
    assert f"{NAME} on iCE40 UP5K" in text and "20.0 (19.5 to 21.25)" in text


def test_mistakes():
    with pytest.raises(BadInput, match=r"^Unit must be one of .*, not 'nonesuch'$"):
        synth.synth("nonesuch")
    with pytest.raises(BadInput, match=r"^Family must be one of .*, not 'xilinx'$"):
        synth.synth(NAME, family="xilinx")


def test_a_tool_that_fails(monkeypatch):
    def fail(*_, **__):
        raise ToolError("nextpnr failed: no luck")

    monkeypatch.setattr(characterise, "area", fail)
    with pytest.raises(Failure, match=r"^nextpnr failed: no luck$"):
        synth.synth(NAME)
