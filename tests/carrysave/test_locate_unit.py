# SPDX-License-Identifier: Apache-2.0
"""The first wrong transfer of somebody else's Verilog for a unit."""

from typing import Any

import pytest

from carrysave import locate_view
from carrysave.errors import BadInput
from carrysave.hw import catalogue
from carrysave.locate_unit import locate_unit
from carrysave.sim.verilog import from_component

UNIT = "decode-e2m1"


@pytest.fixture(scope="module")
def verilog():
    (text,) = from_component(catalogue.get(UNIT).build(), name="foreign").sources.values()
    return text


def test_no_difference():
    assert locate_unit(UNIT) is None


def test_a_wrong_output_is_located(tmp_path, verilog):
    path = tmp_path / "foreign.v"
    shell = verilog.replace("module foreign(", "module right(")
    ports = from_component(catalogue.get(UNIT).build(), name="foreign")
    names = [port for port in (ports.clock, ports.reset) if port] + [p.name for p in ports.ports]
    width = ports.port("o__payload").width
    path.write_text(shell + f"""
module foreign(input clk, input rst, input [{ports.port("i__payload").width - 1}:0] i__payload,
    input i__valid, output i__ready, output [{width - 1}:0] o__payload, output o__valid,
    input o__ready);
  wire [{width - 1}:0] payload;
  right right({", ".join(f".{n}({'payload' if n == 'o__payload' else n})" for n in names)});
  assign o__payload = payload ^ (&payload[1:0]);
endmodule
""")
    place: Any = locate_unit(UNIT, path)
    assert place.element >= 0 and place.cycle >= 0 and place.expected != place.found
    rows = {row["name"]: row["values"] for row in place.signals}
    at = place.cycle - place.first
    assert rows["o__valid"][at] == rows["o__ready"][at] == 1
    assert "first difference" in locate_view.picture(place)
    assert "o__valid" in place.vcd()


def test_a_module_that_is_not_there(tmp_path, verilog):
    path = tmp_path / "other.v"
    path.write_text(verilog)
    with pytest.raises(BadInput, match="^RTL file"):
        locate_unit(UNIT, path)
    with pytest.raises(BadInput, match="cannot be read"):
        locate_unit(UNIT, tmp_path / "nowhere.v")
