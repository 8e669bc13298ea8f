# SPDX-License-Identifier: Apache-2.0
"""The boards, one line each, and the top level that joins an accelerator to a board's UART."""

import dataclasses
import difflib
import json

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io
from amaranth.vendor import GowinPlatform
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
from amaranth_boards.resources import UARTResource
from amaranth_boards.tang_nano_9k import TangNano9kPlatform
from amaranth_boards.tang_primer_20k import TangPrimer20kPlatform
from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_85F_Platform

__all__ = ["BOARDS", "Board", "BoardTop", "Family", "Plan", "get", "names", "plan"]


@dataclasses.dataclass(frozen=True)
class Family:
    """What the flow has to know about a family of FPGAs.

    Members
    -------
    name : str
        Short name.
    cells : dict of str to (str, int)
        Cell of a netlist → (resource, how many of it the cell takes).
    utilisation : dict of str to str
        Resource → name in the router's report.
    constraints, bitstream : str
        Suffix of the constraint file and of the bitstream.
    bram_bits : int
        Size of a block RAM.
    """

    name: str
    cells: dict
    utilisation: dict
    constraints: str
    bitstream: str
    bram_bits: int


ICE40 = Family(
    name="ice40",
    cells={
        "SB_LUT4": ("lut4", 1), "SB_CARRY": ("carry", 1), "SB_MAC16": ("dsp", 1),
        "SB_RAM40_4K": ("bram", 1), "SB_RAM40_4KNR": ("bram", 1), "SB_RAM40_4KNW": ("bram", 1),
        "SB_RAM40_4KNRNW": ("bram", 1),
        **{f"SB_DFF{edge}{kind}": ("ff", 1) for edge in ("", "N")
           for kind in ("", "E", "SR", "R", "SS", "S", "ESR", "ER", "ESS", "ES")},
    },
    utilisation={"lut4": "ICESTORM_LC", "bram": "ICESTORM_RAM", "dsp": "ICESTORM_DSP"},
    constraints=".pcf", bitstream=".bin", bram_bits=4096,
)
# A carry cell occupies two LUTs, a 16-by-4 LUT RAM four.
ECP5 = Family(
    name="ecp5",
    cells={
        "LUT4": ("lut4", 1), "CCU2C": ("lut4", 2), "TRELLIS_DPR16X4": ("lut4", 4),
        "TRELLIS_FF": ("ff", 1), "DP16KD": ("bram", 1), "PDPW16KD": ("bram", 1),
        "MULT18X18D": ("dsp", 1),
    },
    utilisation={"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "bram": "DP16KD",
                 "dsp": "MULT18X18D"},
    constraints=".lpf", bitstream=".bit", bram_bits=18432,
)
# An ALU takes the place of a LUT, a 16-by-4 LUT RAM those of six. Wide multiplexers are free.
GOWIN = Family(
    name="gowin",
    cells={
        **{f"LUT{inputs}": ("lut4", 1) for inputs in (1, 2, 3, 4)},
        "ALU": ("lut4", 1), "RAM16SDP4": ("lut4", 6),
        **{f"DFF{edge}{kind}{enable}": ("ff", 1) for edge in ("", "N")
           for kind in ("", "S", "R", "P", "C") for enable in ("", "E")},
        **{block: ("bram", 1) for block in (
            "SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")},
        "MULT9X9": ("dsp", 1), "MULT18X18": ("dsp", 1), "MULT36X36": ("dsp", 4),
    },
    utilisation={"lut4": "LUT4", "ff": "DFF", "bram": "BSRAM", "dsp": "MULT18X18"},
    constraints=".cst", bitstream=".fs", bram_bits=18432,
)


class OrangeCrabPlatform(OrangeCrabR0_2_25FPlatform):
    """With a UART on the Feather header's pins 0 (receive) and 1 (transmit)."""

    resources = [*OrangeCrabR0_2_25FPlatform.resources, UARTResource(
        0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33"))]


class TangNano20kPlatform(GowinPlatform):
    """Sipeed's Tang Nano 20K, as far as it is used here; pins from its schematic."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    _chipdb_device = "GW2A-18C"  # the die
    default_clk = "clk27"
    resources = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
    ]
    connectors = []

    def toolchain_prepare(self, fragment, name, **kwargs):
        return super().toolchain_prepare(
            fragment, name, gowin_pack_opts="--sspi_as_gpio --mspi_as_gpio", **kwargs)


@dataclasses.dataclass(frozen=True)
class Board:
    """A board that amaranth-boards describes.

    Members
    -------
    name, title : str
        Name in configurations and of the output folder; name for people.
    platform : type
        Platform of amaranth-boards: device, clock, pins, options of the tools.
    family : Family
    synth : str
        The Yosys command without ``-top``; no DSP blocks. On ECP5, wide LUTs would take half as
        many LUTs again and twice the time to route, for 3 % in speed.
    lut4, ff, dsp, bram : int
        What the device has; block RAMs of 4 Kbit (iCE40) or 18 Kbit (ECP5).
    aliases : tuple of str
        Other names.
    uart : (str, int)
        Resource with the pins ``rx`` and ``tx``.
    loader : str
        Name of the board in openFPGALoader.
    """

    name: str
    title: str
    platform: type
    family: Family
    synth: str
    lut4: int
    ff: int
    dsp: int
    bram: int
    aliases: tuple = ()
    uart: tuple = ("uart", 0)
    loader: str = ""

    @property
    def clock_hz(self):
        """Frequency of the board's clock, an int."""
        return round(self.platform().default_clk_frequency)

    @property
    def device(self):
        """Name of the FPGA, a str."""
        return getattr(self.platform, "device", None) or self.platform.part

    @property
    def bram_bits(self):
        """All block RAM, in bits."""
        return self.bram * self.family.bram_bits

    @property
    def pins(self):
        """Port names of the netlist: ``{"clk": …, "rx": …, "tx": …}``."""
        uart = "{}_{}".format(*self.uart)
        return {"clk": f"{self.platform.default_clk}_0__io",
                "rx": f"{uart}__rx__io", "tx": f"{uart}__tx__io"}

    @property
    def startup(self):
        """Clock cycles from power-on until amaranth's power-on reset releases the accelerator."""
        # iCE40: 15 µs, for block RAM reads 0 at first; the flag follows the counter by a cycle.
        # Gowin: two flip-flops of a synchroniser.
        return {"ice40": int(15e-6 * self.clock_hz) + 1, "gowin": 2}.get(self.family.name, 0)


BOARDS = (
    Board("icebreaker", "iCEBreaker (iCE40 UP5K)", ICEBreakerPlatform, ICE40,
          "synth_ice40 -device u", lut4=5280, ff=5280, dsp=8, bram=30,
          loader="ice40_generic"),
    Board("ulx3s", "ULX3S (ECP5 25F)", ULX3S_25F_Platform, ECP5,
          "synth_ecp5 -nodsp -nowidelut", lut4=24288, ff=24288, dsp=28, bram=56,
          aliases=("ulx3s-25f",), loader="ulx3s"),
    Board("ulx3s-85f", "ULX3S (ECP5 85F)", ULX3S_85F_Platform, ECP5,
          "synth_ecp5 -nodsp -nowidelut", lut4=83640, ff=83640, dsp=156, bram=208,
          loader="ulx3s"),
    Board("orangecrab", "OrangeCrab 0.2 (ECP5 25F)", OrangeCrabPlatform, ECP5,
          "synth_ecp5 -nodsp -nowidelut", lut4=24288, ff=24288, dsp=28, bram=56,
          loader="orangeCrab"),
    # Resources: Gowin's data sheets DS117 (GW1NR-9), DS102 (GW2A-18) and DS226 (GW2AR-18).
    Board("tang-nano-9k", "Tang Nano 9K (GW1NR-9C)", TangNano9kPlatform, GOWIN,
          "synth_gowin -family gw1n -nodsp", lut4=8640, ff=6480, dsp=20, bram=26,
          loader="tangnano9k"),
    Board("tang-nano-20k", "Tang Nano 20K (GW2AR-18C)", TangNano20kPlatform, GOWIN,
          "synth_gowin -family gw2a -nodsp", lut4=20736, ff=15552, dsp=48, bram=46,
          loader="tangnano20k"),
    Board("tang-primer-20k", "Tang Primer 20K (GW2A-18C)", TangPrimer20kPlatform, GOWIN,
          "synth_gowin -family gw2a -nodsp", lut4=20736, ff=15552, dsp=48, bram=46,
          loader="tangprimer20k"),
)


def names():
    """Names of all boards, without aliases."""
    return [board.name for board in BOARDS]


def get(name):
    """The board of a name or alias.

    Raises
    ------
    ValueError
        Naming what was found and what is allowed.
    """
    table = {key: board for board in BOARDS for key in (board.name, *board.aliases)}
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name).lower(), table, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Board must be one of {', '.join(sorted(table))}, not {name!r}{hint}")


class BoardTop(Elaboratable):
    """Top level of a board: its UART pins on an accelerator's ``rx`` and ``tx``.

    Clock, pins and power-on reset are those of the platform. Nothing else stands between pin and
    accelerator, which synchronises ``rx`` itself.

    Parameters
    ----------
    accelerator : wiring.Component
        With ports ``rx : In(1)`` and ``tx : Out(1)``, in the domain ``sync``.
    board : Board
    """

    def __init__(self, accelerator, board):
        for port in ("rx", "tx"):
            if not hasattr(accelerator, port):
                raise TypeError(f"Accelerator must have ports rx and tx, not {accelerator!r}")
        self.accelerator = accelerator
        self.board = board

    def elaborate(self, platform):
        m = Module()
        uart = platform.request(*self.board.uart, dir="-")
        m.submodules.accelerator = self.accelerator
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += self.accelerator.rx.eq(rx_pin.i)
        m.d.comb += tx_pin.o.eq(self.accelerator.tx)
        return m


@dataclasses.dataclass(frozen=True)
class Plan:
    """What amaranth-boards prescribes for a design.

    Members
    -------
    rtlil, constraints : str
        The design, and its pins and clocks.
    route, pack : tuple of str
        Commands of the router and of the packer. Files are called ``top.*``.
    """

    rtlil: str
    constraints: str
    route: tuple
    pack: tuple


def himbaechel(board, route, pack):
    """The commands of amaranth for nextpnr-gowin, which nextpnr-himbaechel has replaced."""
    device, die = route[route.index("--device") + 1], pack[pack.index("-d") + 1]
    options = [argument for argument in pack if argument.startswith("--")]
    return (
        ["nextpnr-himbaechel-gowin", "--quiet", "--log", "top.tim", "--device", device,
         "--vopt", f"family={die}", "--vopt", "cst=top.cst", "--freq", f"{board.clock_hz / 1e6:g}",
         "--json", "top.json"],
        ["gowin_pack", "-d", die, "-o", "top.fs", *options, "routed.json"],
    )


def plan(accelerator, board):
    """The :class:`Plan` of an accelerator on a board. Equal designs give equal plans."""
    files = board.platform().build(
        BoardTop(accelerator, board), "top", do_build=False, emit_src=False).files
    _, route, pack, *_ = json.loads(files["build_top.json"])["commands"]
    if board.family is GOWIN:
        route, pack = himbaechel(board, route, pack)
    return Plan(files["top.il"], files["top" + board.family.constraints],
                tuple(route), tuple(pack))
