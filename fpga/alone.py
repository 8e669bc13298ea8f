# SPDX-License-Identifier: Apache-2.0
"""The netlist of a unit on its own, for simulation and proofs: ports kept, no pads."""

import dataclasses
import json
import tempfile
from pathlib import Path

from amaranth.back import rtlil

from ..hw.yosys import run_yosys
from .characterise import check_family, mapped
from .synthesis import CELLS, cell_models, count

__all__ = ["Alone", "netlist_alone"]

#: Files of models that the kit wrote itself, by the cells that need them.
OWN = {"MULT18X18D": "ecp5_dsp.v", "DP16KD": "ecp5.v"}


@dataclasses.dataclass(frozen=True)
class Alone:
    """A unit in the cells of a family.

    Members
    -------
    family : str
    verilog : str
        Module ``top`` with the unit's ports; LUTs as tables, internal names hidden.
    models : tuple of Path
        Verilog files with the models of the cells.
    defines : tuple of str
        Preprocessor macros that the models want.
    cells : dict of str to int
        Every kind of cell.
    resources : dict of str to int
        As :func:`.synthesis.count` gives them.
    """

    family: str
    verilog: str
    models: tuple
    defines: tuple
    cells: dict
    resources: dict

    @property
    def sources(self):
        """Text by file name, for a simulator."""
        return {"netlist.v": self.verilog,
                **{path.with_suffix(".v").name: path.read_text() for path in self.models}}

    @property
    def unverified(self):
        """Files of the cells' models that were never compared with silicon."""
        return sorted({OWN[cell] for cell in self.cells if cell in OWN})


def netlist_alone(unit, family="ecp5", *, dsp=False, mapping="merged", timeout=1800, cache=None):
    """Synthesise a unit on its own, as :func:`.characterise.area` does, to be simulated.

    Parameters
    ----------
    unit : wiring.Component
    family : {"ecp5", "ice40"}
    dsp : bool
        Whether DSP blocks may be used.
    mapping : {"merged", "chains"}
        See :func:`.characterise.area`.
    timeout : float
        Seconds.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    Alone

    Raises
    ------
    YosysError
        If Yosys is missing or fails.
    """
    device = check_family(family)
    folder = mapped(rtlil.convert(unit, name="top", emit_src=False), device, dsp=dsp,
                    mapping=mapping, timeout=timeout, cache=cache)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "top.json").write_bytes((folder / "top.json").read_bytes())
        run_yosys([
            "read_json top.json",
            # As in fpga.synthesis: nets of one bit, LUTs as tables, names hidden.
            "splitnets", "chtype -set SB_LUT4_TABLE t:SB_LUT4", "chtype -set LUT4_TABLE t:LUT4",
            "rename -hide w:* c:*", "write_verilog -noattr sim.v",
        ], cwd=work, timeout=timeout)
        verilog = (Path(work) / "sim.v").read_text()
    models, defines = cell_models(device.family)
    models = (*models, *(CELLS / OWN[cell] for cell in OWN
                         if cell in cells and CELLS / OWN[cell] not in models))
    return Alone(family=family, verilog=verilog, models=models, defines=defines, cells=cells,
                 resources=count(cells, device.family))
