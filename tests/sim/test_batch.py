# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from carrysave.sim import batch, bench
from carrysave.sim.batch import BatchSimulator, SimulationError, UartSession
from carrysave.sim.verilog import Design, Port

from .units import Double, E2M1Dot, Echo, Pipe, e2m1_dot, echo_board

LAYOUT = data.StructLayout({"a": data.ArrayLayout(signed(7), 3), "b": unsigned(1)})


@pytest.fixture(scope="module")
def dot():
    return BatchSimulator(E2M1Dot(8))


def test_every_pair_of_codes(compared):
    a, b = np.indices((16, 16)).reshape(2, -1, 1)
    run = BatchSimulator(E2M1Dot(1)).run({"a": a, "b": b}, outputs=256)
    assert run.outputs.tolist() == [e2m1_dot(x, y) for x, y in zip(a, b, strict=True)]
    compared(256)


def test_many_vectors(dot, compared):
    a, b = np.random.default_rng(0).integers(0, 16, (2, 200_000, 8))
    run = dot.run({"a": a, "b": b}, outputs=len(a))
    table = np.array([0, 1, 2, 3, 4, 6, 8, 12])
    table = np.concatenate([table, -table])
    assert (run.outputs == (table[a] * table[b]).sum(axis=1)).all()
    assert (run.cycles == np.arange(len(a)) + E2M1Dot.latency).all()
    assert (run.input_cycles == np.arange(len(a))).all()
    assert (run.total_cycles, run.start) == (len(a) + 2, 0)
    compared(len(a))


@pytest.mark.parametrize("kwargs", [
    {}, {"stall_i": 0.5}, {"stall_o": 0.5, "seed": 7}, {"stall_i": 0.3, "stall_o": 0.6},
    {"reset_at": 0}, {"reset_at": 41, "stall_i": 0.2}, {"reset_at": 300, "stall_o": 0.2},
])
def test_equals_amaranth_simulator(dot, kwargs, compared):
    rng = random.Random(1)
    inputs = [{key: [rng.randrange(16) for _ in range(8)] for key in "ab"} for _ in range(150)]
    run = dot.run(inputs, outputs=150, **kwargs)
    expected = bench.run_stream(E2M1Dot(8), inputs, **kwargs)
    assert list(zip(run.cycles.tolist(), run.outputs.tolist(), strict=True)) == expected
    assert run.start == kwargs.get("reset_at", -1) + 1
    compared(len(expected))


def test_reset_starts_afresh(dot, compared):
    a, b = np.random.default_rng(2).integers(0, 16, (2, 100, 8))
    fresh = dot.run({"a": a, "b": b}, outputs=100, stall_o=0.4)
    again = dot.run({"a": a, "b": b}, outputs=100, stall_o=0.4, reset_at=50)
    for name in ("outputs", "cycles", "input_cycles"):
        assert (getattr(fresh, name) == getattr(again, name)).all()
    assert again.total_cycles == fresh.total_cycles + 51
    compared(300)


@pytest.mark.parametrize("width", [1, 8, 9, 16, 17, 32, 33, 64, 65, 96, 300])
def test_every_class_of_width(width, compared):
    rng = random.Random(width)
    numbers = [rng.getrandbits(width) for _ in range(50)]
    run = BatchSimulator(Pipe(width)).run(numbers, outputs=50, stall_i=0.2, stall_o=0.2)
    outputs = run.outputs
    if width > 64:
        outputs = [int.from_bytes(row.tobytes(), "little") for row in outputs]
    assert list(outputs) == numbers
    compared(50)


def test_structures(compared):
    a = np.random.default_rng(0).integers(-64, 64, (1000, 3))
    b = a[:, 0] & 1
    run = BatchSimulator(Pipe(LAYOUT)).run({"a": a, "b": b}, outputs=1000)
    assert (run.outputs["a"] == a).all()
    assert (run.outputs["b"] == b).all()
    compared(4000)


def test_records(dot, compared):
    a, b = np.random.default_rng(0).integers(0, 16, (2, 100, 8))
    run = dot.run({"a": a, "b": b}, outputs=100, stall_o=0.5,
                  record=("monitor__advance", "monitor__product", "o__valid", "i__payload"))
    valid, advance = run.records["o__valid"], run.records["monitor__advance"]
    assert len(valid) == len(advance) == run.total_cycles
    assert valid[run.cycles].all()
    assert advance[run.cycles].all()
    first = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
    products = run.records["monitor__product"][run.input_cycles + 1]
    assert (products == first[a[:, 0]] * first[b[:, 0]]).all()
    assert (run.records["i__payload"]["a"][run.input_cycles] == a).all()
    compared(4 * len(valid))


def test_streams_without_registers(compared):
    run = BatchSimulator(Double()).run(range(256), outputs=256, stall_o=0.5)
    assert run.outputs.tolist() == list(range(0, 512, 2))
    assert run.cycles.tolist() == list(range(256))
    compared(256)


def test_outputs_missing_or_too_many(compared):
    simulator = BatchSimulator(Pipe(8, repeat=3))
    assert simulator.run([1, 2], outputs=6, extra=20).outputs.tolist() == [1, 1, 1, 2, 2, 2]
    assert simulator.run([1, 2], outputs=4).outputs.tolist() == [1, 1, 1, 2]
    with pytest.raises(SimulationError, match=r"^6 of 40 outputs after 500 cycles \(2 of 2 inputs "
                                              r"taken\)$"):
        simulator.run([1, 2], outputs=40, max_cycles=500)
    with pytest.raises(SimulationError, match=r"^6 of 40 outputs after \d+ cycles"):
        simulator.run([1, 2], outputs=40)
    with pytest.raises(SimulationError, match=r"^cycle 6: an output after all 5$"):
        simulator.run([1, 2], outputs=5, extra=20)
    compared(5)


def test_unstable_output_is_caught():
    simulator = BatchSimulator(Pipe(300, unstable=True))
    assert simulator.run(range(20), outputs=20).outputs[:, 0].tolist() == list(range(20))
    with pytest.raises(SimulationError, match=r"^cycle \d+: o changed before it was taken, after "):
        simulator.run(range(20), outputs=20, stall_o=0.8)


def test_existing_verilog(compared):
    text = """
    module scale(input clk, input [7:0] i__payload, input i__valid, output i__ready,
                 output reg [9:0] o__payload, output reg o__valid, input o__ready,
                 input [1:0] factor);
      assign i__ready = o__ready | ~o__valid;
      initial o__valid = 0;
      always @(posedge clk) if (i__ready) begin
        o__valid <= i__valid; o__payload <= i__payload * factor + `OFFSET;
      end
    endmodule
    """
    ports = tuple(Port(name, width, direction) for name, width, direction in [
        ("i__payload", 8, "input"), ("i__valid", 1, "input"), ("i__ready", 1, "output"),
        ("o__payload", 10, "output"), ("o__valid", 1, "output"), ("o__ready", 1, "input"),
        ("factor", 2, "input")])
    design = Design({"scale.v": text}, "scale", "clk", None, ports, defines=("OFFSET=1",))
    simulator = BatchSimulator(design)
    run = simulator.run(range(256), outputs=256, constants={"factor": 3})
    assert run.outputs.tolist() == [3 * k + 1 for k in range(256)]
    with pytest.raises(ValueError, match=r"^reset_at needs a reset, and scale has none$"):
        simulator.run([0], outputs=1, reset_at=3)
    with pytest.raises(KeyError, match="scale has no port 'x__payload'"):
        simulator.run([0], outputs=1, o="x")
    compared(256)


def test_waveform(dot, tmp_path):
    path = tmp_path / "dot.vcd"
    codes = np.ones((20, 8), int)
    dot.run({"a": codes, "b": codes}, outputs=20, vcd=(path, 3, 6))
    text = path.read_text()
    assert "product_0" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "#6", "#7", "#8", "#9", "#10", "#11"]


@pytest.mark.parametrize("divisor", [4, 5, 12, 104])
def test_uart(divisor, compared):
    data = np.random.default_rng(0).bytes(20)
    with UartSession(Echo(divisor), divisor=divisor, record=["busy"]) as session:
        answer, cycles = session.exchange(data, expect=20)
        assert answer == bytes(255 - byte for byte in data)
        assert (np.diff(cycles) == 10 * divisor).all()
        assert session.idle(1000)[0] == b""
        assert session.exchange(b"", expect=0)[0] == b""
        assert session.exchange(b"U", expect=1)[0] == b"\xaa"
        assert len(session.records["busy"]) == session.cycle
        assert session.records["busy"].sum() > 20 * 9 * divisor
        level = np.zeros(session.cycle, np.uint8)
        for edge in session.tx_edges:
            level[edge:] ^= 1
        digest = 0xCBF29CE484222325
        for bit in level ^ 1:
            digest = (digest ^ int(bit)) * 0x100000001B3 & (1 << 64) - 1
        assert session.tx_hash == digest
    compared(21)


def test_uart_without_answer():
    with UartSession(Echo(8), divisor=8) as session:
        with pytest.raises(SimulationError, match=r"^1 of 2 bytes after 3000 cycles$"):
            session.exchange(b"a", expect=2, max_cycles=3000)
    with UartSession(Echo(8), divisor=32) as session:
        with pytest.raises(SimulationError, match=r"^cycle \d+: the transmit pin did not hold a "
                                                  r"start or stop bit of 32 cycles, after 0 bytes"):
            session.exchange(b"a", expect=1)
    with pytest.raises(ValueError, match=r"^Divisor must be an integer of at least 2, not 1$"):
        UartSession(Echo(8), divisor=1)


def test_uart_of_a_design_that_resets_itself(compared):
    """The same pin for pin, but for its power-on reset."""
    found = []
    for design in (Echo(8), echo_board(8)):
        with UartSession(design, divisor=8) as session:
            session.idle(10)
            answers = [session.exchange(bytes([k, 255 - k]), expect=2)[0] for k in range(50)]
            found.append((answers, session.tx_edges.tolist(), session.tx_hash, session.cycle))
    assert found[0] == found[1]
    compared(len(found[0][1]))


def test_calls_of_few_cycles_equal_one(dot, monkeypatch, compared):
    """The loops return now and then, so that an interrupt is seen: nothing may depend on when."""
    inputs = {key: np.arange(800).reshape(100, 8) % 16 for key in "ab"}

    def everything():
        run = dot.run(inputs, outputs=100, stall_i=0.3, stall_o=0.5, reset_at=20, extra=10)
        with UartSession(Echo(5), divisor=5) as session:
            answer = session.exchange(b"carrysave", expect=9)
            return (run.outputs.tolist(), run.cycles.tolist(), run.total_cycles, answer[0],
                    session.tx_hash, session.cycle)

    expected = everything()
    for budget in (1, 7):
        monkeypatch.setattr(batch, "BUDGET", budget)
        assert everything() == expected
    with pytest.raises(SimulationError, match=r"o changed before it was taken"):
        BatchSimulator(Pipe(300, unstable=True)).run(range(20), outputs=20, stall_o=0.8)
    compared(2 * 109)
