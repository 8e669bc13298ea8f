# SPDX-License-Identifier: Apache-2.0
import re
import subprocess
import sys
import time

import pytest

from carrysave.hw.process import run_process
from carrysave.hw.yosys import YosysError, run_yosys


def test_runs_passes_in_the_folder(tmp_path, compared):
    (tmp_path / "unit.v").write_text("module unit(input a, output b); assign b = ~a; endmodule\n")
    log = run_yosys(["read_verilog unit.v", "select -assert-count 1 t:$not", "write_json unit.json",
                     "stat"], cwd=tmp_path)
    assert re.search(r"1 +\$not", log)
    assert (tmp_path / "unit.json").is_file()
    assert run_yosys("read_verilog unit.v\n\nstat\n", cwd=tmp_path).count("$not") == 1
    compared(2)


@pytest.mark.parametrize("script, message", [
    (["read_verilog bad.v"], "bad.v:1: ERROR: syntax error"),
    ("nonsense", "ERROR: No such command: nonsense"),
    (["read_verilog missing.v"], "missing.v"),
])
def test_last_error_is_reported(script, message, tmp_path):
    (tmp_path / "bad.v").write_text("module unit(input a output b); endmodule\n")
    with pytest.raises(YosysError, match="^Yosys failed: .*" + re.escape(message)) as caught:
        run_yosys(script, cwd=tmp_path)
    assert message in caught.value.log


def test_timeout(tmp_path):
    started = time.monotonic()
    with pytest.raises(YosysError, match=r"^Yosys did not finish within 1 s$"):
        run_yosys(["exec -- sleep 60"], cwd=tmp_path, timeout=1)
    assert time.monotonic() - started < 30  # its children do not hold it


def test_files_in_the_folder_shadow_no_module(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    assert "Printing statistics" in run_yosys(["stat"], cwd=tmp_path)


def test_process_output_and_input(tmp_path, compared):
    program = "import sys, os; print(sys.stdin.read(), os.environ['EXTRA'], os.getcwd())"
    result = run_process([sys.executable, "-c", program], cwd=tmp_path, timeout=60,
                         env={"EXTRA": "more"}, stdin="text")
    assert (result.returncode, result.stdout) == (0, f"text more {tmp_path.resolve()}\n")
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run_process([sys.executable, "-uc", "print('so far'); import time; time.sleep(60)"],
                    cwd=tmp_path, timeout=2)
    assert caught.value.output == "so far\n"
    compared(2)
