# SPDX-License-Identifier: Apache-2.0
"""Millions of cycles per second: a Verilator library with its loops in C++."""

import contextlib
import ctypes
import dataclasses
import os

import numpy as np

from .payload import pack, unpack
from .verilator import build_library
from .verilog import Design, from_component

__all__ = ["BatchRun", "BatchSimulator", "SimulationError", "UartSession"]

RUNNING, DONE, OUT_OF_CYCLES, OUTPUT_CHANGED, EXTRA_OUTPUT, BAD_FRAME = range(6)
BUDGET = 1 << 20  # cycles per call, so that an interrupt is seen soon
IDLE_CYCLES = 1_000_000


class SimulationError(RuntimeError):
    """The design broke the protocol of a stream or line, or did not answer."""


class StreamState(ctypes.Structure):
    """``StreamRun`` of batch_main.cpp."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in (
            "i_payload", "i_valid", "i_ready", "o_payload", "o_valid", "o_ready")),
        ("inputs", ctypes.c_void_p), ("input_count", ctypes.c_int64),
        ("input_cycles", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p), ("output_count", ctypes.c_int64),
        ("output_cycles", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("seed", "stall_i", "stall_o")),
        *((name, ctypes.c_int64) for name in (
            "max_cycles", "idle_cycles", "reset_at", "extra",
            "sent", "received", "cycle", "last_transfer", "finished")),
        *((name, ctypes.c_int32) for name in ("busy", "held", "was_reset")),
    ]


class UartState(ctypes.Structure):
    """``UartRun`` of batch_main.cpp."""

    _fields_ = [
        ("rx", ctypes.c_int32), ("tx", ctypes.c_int32), ("divisor", ctypes.c_int64),
        ("levels", ctypes.c_void_p), ("level_count", ctypes.c_int64),
        *((name, ctypes.c_int64) for name in ("expect", "min_cycles", "max_cycles", "cycle")),
    ]


@dataclasses.dataclass(frozen=True)
class BatchRun:
    """What came out of a run. Cycles count from the start of the stimulus, after any reset.

    Attributes
    ----------
    outputs : array or dict of arrays
        Payloads, as :func:`.payload.unpack` gives them.
    cycles, input_cycles : int64 arrays
        Cycle of each transfer on the output and on the input.
    total_cycles : int
        Cycles simulated, those before a reset included.
    start : int
        First cycle of the stimulus within ``total_cycles`` and ``records``; 0 without a reset.
    records : dict of str to array or dict of arrays
        Value of each recorded port in every cycle, before the clock's edge.
    """

    outputs: object
    cycles: np.ndarray
    input_cycles: np.ndarray
    total_cycles: int
    start: int
    records: dict


def load(path):
    """Load the library of a design."""
    library = ctypes.CDLL(str(path))
    pointer, number, word = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    for name, result, arguments in [
        ("sim_new", pointer, [ctypes.c_char_p, number, number]),
        ("sim_delete", None, [pointer]),
        ("sim_find", word, [pointer, ctypes.c_char_p]),
        ("sim_port_bytes", ctypes.c_uint32, [pointer, word]),
        ("sim_set", None, [pointer, word, ctypes.c_char_p]),
        ("sim_start", None, [pointer, word, word]),
        ("sim_record", None, [pointer, word]),
        ("sim_records", pointer, [pointer, word, ctypes.POINTER(number)]),
        ("sim_now", number, [pointer]),
        ("sim_run_stream", word, [pointer, ctypes.POINTER(StreamState), number]),
        ("sim_run_uart", word, [pointer, ctypes.POINTER(UartState), number]),
        ("sim_uart_count", number, [pointer]),
        ("sim_uart_take", None, [pointer, pointer, pointer]),
        ("sim_uart_hash", ctypes.c_uint64, [pointer]),
        ("sim_uart_edges", pointer, [pointer, ctypes.POINTER(number)]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def copied(address, count, dtype):
    """A copy of an array that belongs to the library."""
    dtype = np.dtype(dtype)
    if not count:
        return np.empty(0, dtype)
    return np.frombuffer(ctypes.string_at(address, count * dtype.itemsize), dtype)


def to_storage(words, size):
    """Rows of 32-bit words as the bytes in which Verilator keeps a port."""
    if size < 4:
        words = words[:, :1].astype(f"<u{size}")
    elif size > 4 * words.shape[1]:  # 33 to 64 bits always have two words
        words = np.pad(words, [(0, 0), (0, size // 4 - words.shape[1])])
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), size)


def from_storage(raw, size):
    """Inverse of :func:`to_storage`."""
    if size < 4:
        return raw.view(f"<u{size}").astype("<u4").reshape(-1, 1)
    return raw.view("<u4").reshape(-1, size // 4)


class Model:
    """One instance of a design in its power-on state, reset if it has a reset.

    Parameters
    ----------
    design : Design
    library : ctypes.CDLL
    constants : dict of str to payload
        Values of inputs that stay as they are.
    record : sequence of str
        Ports to sample in every cycle.
    vcd : (path, int, int) or None
        File, first cycle and end of a waveform.
    """

    def __init__(self, design, library, *, constants, record, vcd):
        self.design, self.library, self.record = design, library, tuple(record)
        path, start, stop = vcd or ("", 0, -1)
        self.handle = library.sim_new(os.fsencode(path), start, stop)
        for name, value in constants.items():
            port = self.find(name)
            words = pack(design.port(name).shape, np.array([value]), name=name)
            size = library.sim_port_bytes(self.handle, port)
            library.sim_set(self.handle, port, to_storage(words, size).tobytes())
        pins = [-1 if name is None else library.sim_find(self.handle, name.encode())
                for name in (design.clock, design.reset)]
        library.sim_start(self.handle, *pins)
        for name in self.record:
            library.sim_record(self.handle, self.find(name))

    def find(self, name, *, optional=False):
        """Number of a port."""
        if optional and not self.design.has_port(name):
            return -1
        return self.library.sim_find(self.handle, self.design.port(name).name.encode())

    def size(self, port):
        return self.library.sim_port_bytes(self.handle, port) if port >= 0 else 0

    @property
    def records(self):
        """What was recorded so far."""
        result = {}
        for k, name in enumerate(self.record):
            size = ctypes.c_int64()
            address = self.library.sim_records(self.handle, k, ctypes.byref(size))
            raw = copied(address, size.value, np.uint8)
            result[name] = unpack(self.design.port(name).shape,
                                  from_storage(raw, self.size(self.find(name))))
        return result

    def close(self):
        if self.handle:
            self.library.sim_delete(self.handle)
            self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def as_design(design):
    return design if isinstance(design, Design) else from_component(design)


class BatchSimulator:
    """A compiled design; each run starts from power-on.

    Parameters
    ----------
    design : Design or wiring.Component
    short : bool
        For short runs, see :func:`.verilator.build_library`.
    """

    def __init__(self, design, *, short=False):
        self.design, self.short = as_design(design), short
        self._libraries = {}

    def library(self, *, trace=False):
        if trace not in self._libraries:
            self._libraries[trace] = load(
                build_library(self.design, trace=trace, short=self.short))
        return self._libraries[trace]

    def run(self, inputs, *, outputs, i="i", o="o", stall_i=0.0, stall_o=0.0, seed=0,
            max_cycles=None, reset_at=None, extra=0, record=(), constants=None, vcd=None):
        """Send payloads and collect those that come out.

        Parameters
        ----------
        inputs : array, list or dict
            Payloads, as :func:`.payload.pack` takes them.
        outputs : int
            Transfers to wait for.
        i, o : str
            Names of the streams.
        stall_i, stall_o : float
            Probability that the source, the sink pauses for a cycle.
        seed : int
            Seed of the pauses.
        max_cycles : int, optional
            Cycles to wait after the start of the stimulus; otherwise until a million pass without
            a transfer.
        reset_at : int, optional
            Cycle in which the design is reset; the stimulus then starts afresh.
        extra : int
            Cycles to watch after the last output, in which another one is an error.
        record : sequence of str
            Ports to sample in every cycle.
        constants : dict, optional
            Values of other inputs.
        vcd : (path, int, int), optional
            Waveform of the cycles from the first number up to the second.

        Returns
        -------
        BatchRun

        Raises
        ------
        SimulationError
            If outputs are missing or too many, or a valid payload changes before it is taken.
        """
        design = self.design
        if reset_at is not None and design.reset is None:
            raise ValueError(f"reset_at needs a reset, and {design.top} has none")
        library = self.library(trace=vcd is not None)
        with Model(design, library, constants=constants or {}, record=record, vcd=vcd) as model:
            state = StreamState(
                i_payload=model.find(f"{i}__payload", optional=True),
                i_valid=model.find(f"{i}__valid", optional=True),
                i_ready=model.find(f"{i}__ready", optional=True),
                o_payload=model.find(f"{o}__payload"),
                o_valid=model.find(f"{o}__valid", optional=True),
                o_ready=model.find(f"{o}__ready", optional=True),
                seed=seed, stall_i=int(stall_i * 2**53), stall_o=int(stall_o * 2**53),
                max_cycles=-1 if max_cycles is None else max_cycles, idle_cycles=IDLE_CYCLES,
                reset_at=-1 if reset_at is None else reset_at, extra=extra,
            )
            size = model.size(state.o_payload)
            packed = np.zeros((0, 0), np.uint8)
            if state.i_payload >= 0:
                words = pack(design.port(f"{i}__payload").shape, inputs)
                packed = to_storage(words, model.size(state.i_payload))
            input_cycles = np.zeros(len(packed), np.int64)
            received = np.zeros((outputs, size), np.uint8)
            cycles = np.zeros(outputs, np.int64)
            state.inputs, state.input_count = packed.ctypes.data, len(packed)
            state.input_cycles = input_cycles.ctypes.data
            state.outputs, state.output_count = received.ctypes.data, outputs
            state.output_cycles = cycles.ctypes.data
            status = RUNNING
            while status == RUNNING:
                status = library.sim_run_stream(model.handle, ctypes.byref(state), BUDGET)
            if status == OUT_OF_CYCLES:
                raise SimulationError(f"{state.received} of {outputs} outputs after {state.cycle} "
                                      f"cycles ({state.sent} of {len(packed)} inputs taken)")
            if status == OUTPUT_CHANGED:
                raise SimulationError(f"cycle {state.cycle}: {o} changed before it was taken, "
                                      f"after {state.received} outputs")
            if status == EXTRA_OUTPUT:
                raise SimulationError(f"cycle {state.cycle}: an output after all {outputs}")
            total = library.sim_now(model.handle)
            return BatchRun(
                outputs=unpack(design.port(f"{o}__payload").shape,
                               from_storage(received.reshape(-1), size)),
                cycles=cycles, input_cycles=input_cycles[:state.sent], total_cycles=total,
                start=total - state.cycle, records=model.records,
            )


class UartSession(contextlib.AbstractContextManager):
    """A design that lives on its UART pins: 8 data bits, no parity, one stop bit.

    Parameters
    ----------
    design : Design or wiring.Component
    divisor : int
        Clock cycles per bit.
    rx, tx : str
        Names of the design's receive and transmit pins.
    record : sequence of str
        Ports to sample in every cycle; see :attr:`records`.
    constants : dict, optional
        Values of other inputs.
    vcd : (path, int, int), optional
        Waveform of the cycles from the first number up to the second.
    """

    def __init__(self, design, *, divisor, rx="rx", tx="tx", record=(), constants=None, vcd=None):
        if not isinstance(divisor, int) or divisor < 2:
            raise ValueError(f"Divisor must be an integer of at least 2, not {divisor!r}")
        self.design = as_design(design)
        self.divisor = divisor
        library = load(build_library(self.design, trace=vcd is not None))
        self.model = Model(self.design, library, record=record, vcd=vcd,
                           constants={rx: 1, **(constants or {})})
        self.rx, self.tx = self.model.find(rx), self.model.find(tx)

    def exchange(self, data, *, expect, max_cycles=None):
        """Send bytes back to back while listening.

        Parameters
        ----------
        data : bytes
        expect : int
            Bytes to wait for; returns once they are there and all is sent.
        max_cycles : int, optional
            Cycles to wait; otherwise twice what the bytes take on the line, and a million.

        Returns
        -------
        bytes
            Everything received.
        int64 array
            Cycle in which each byte's start bit began, since power-on.

        Raises
        ------
        SimulationError
            If bytes are missing, or one is not framed as it should be.
        """
        bits = np.unpackbits(np.frombuffer(bytes(data), np.uint8), bitorder="little")
        levels = np.ones((len(data), 10), np.uint8)
        levels[:, 0] = 0
        levels[:, 1:9] = bits.reshape(-1, 8)
        return self.drive(levels.reshape(-1), expect=expect, max_cycles=max_cycles)

    def drive(self, levels, *, expect=0, max_cycles=None):
        """Put levels on the receive pin, each for one bit, and listen as :meth:`exchange` does."""
        levels = np.ascontiguousarray(levels, np.uint8)
        if max_cycles is None:
            max_cycles = 2 * (len(levels) + 10 * expect) * self.divisor + IDLE_CYCLES
        return self._run(levels, expect=expect, min_cycles=0, max_cycles=max_cycles)

    def idle(self, cycles):
        """Leave the receive pin high; returns bytes received meanwhile, and their cycles."""
        return self._run(np.empty(0, np.uint8), expect=0, min_cycles=cycles, max_cycles=-1)

    def _run(self, levels, *, expect, min_cycles, max_cycles):
        library, handle = self.model.library, self.model.handle
        state = UartState(rx=self.rx, tx=self.tx, divisor=self.divisor, levels=levels.ctypes.data,
                          level_count=len(levels), expect=expect, min_cycles=min_cycles,
                          max_cycles=max_cycles)
        status = RUNNING
        while status == RUNNING:
            status = library.sim_run_uart(handle, ctypes.byref(state), BUDGET)
        count = library.sim_uart_count(handle)
        if status == BAD_FRAME:
            raise SimulationError(f"cycle {self.cycle}: the transmit pin did not hold a start or "
                                  f"stop bit of {self.divisor} cycles, after {count} bytes")
        if status == OUT_OF_CYCLES:
            raise SimulationError(f"{count} of {expect} bytes after {state.cycle} cycles")
        received, cycles = np.zeros(count, np.uint8), np.zeros(count, np.int64)
        library.sim_uart_take(handle, received.ctypes.data, cycles.ctypes.data)
        return received.tobytes(), cycles

    @property
    def cycle(self):
        """Cycles since power-on."""
        return self.model.library.sim_now(self.model.handle)

    @property
    def tx_hash(self):
        """FNV-1a hash of the transmit pin's level in every cycle so far."""
        return self.model.library.sim_uart_hash(self.model.handle)

    @property
    def tx_edges(self):
        """Every cycle in which the transmit pin changed."""
        count = ctypes.c_int64()
        address = self.model.library.sim_uart_edges(self.model.handle, ctypes.byref(count))
        return copied(address, count.value, np.int64)

    @property
    def records(self):
        """What was recorded so far, by port."""
        return self.model.records

    def close(self):
        self.model.close()

    def __exit__(self, *_):
        self.close()
