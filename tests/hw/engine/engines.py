# SPDX-License-Identifier: Apache-2.0
"""Random integer networks, and the engine in Amaranth's simulator."""

from types import SimpleNamespace

import numpy as np
import torch
from amaranth.hdl import Value
from amaranth.sim import Simulator

from carrysave.quant.formats import Group
from carrysave.quant.golden.requantise import Requantiser
from carrysave.quant.network import InputScaling, IntegerNetwork, Linear
from carrysave.sim.payload import plain
from carrysave.sim.stalls import SINK, SOURCE, stalled

__all__ = ["AmaranthSimulator", "extreme_network", "random_inputs", "random_network"]


def network_of(layers):
    scaling = InputScaling(1.0, np.zeros(1), np.ones(1))
    return IntegerNetwork("random", scaling, layers, [str(k) for k in range(layers[-1].outputs)])


def linear(name, group, *, weights, scales, bias, relu=False, requantiser=None):
    return Linear(
        name=name, group=group, weights=weights.to(torch.int8), scales=scales.to(torch.int32),
        exponent=8, bias=bias.long(), relu=relu, input_scale=1.0,
        output_scale=1.0 if requantiser else None, requantiser=requantiser,
    )


def random_network(widths, *, sizes=(16,), relu=(True,), scale_bits=8, multiplier_bits=12, seed=0):
    """A network whose activations use their range.

    Parameters
    ----------
    widths : sequence of int
        Of the input and each layer's output.
    sizes, relu : sequence
        Group size and ReLU of each layer; repeated where they are too few.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    layers, x = [], random_inputs(40, widths[0], seed=seed)
    for index, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        group = Group(size=sizes[index % len(sizes)], scale_bits=scale_bits)
        parts = {
            "weights": draw(-8, 8, outputs, inputs),
            "scales": draw(0, 1 << scale_bits, outputs, group.groups(inputs)),
            "bias": draw(-4000, 4000, outputs),
        }
        name = f"fc{index + 1}"
        if index == len(widths) - 2:
            layers.append(linear(name, group, **parts))
            break
        greatest = int(linear(name, group, **parts).accumulators(x).abs().max())
        multiplier = int(draw(1, 1 << multiplier_bits, 1))
        shift = max((greatest * multiplier // 200).bit_length(), 0)
        layers.append(linear(
            name, group, **parts, relu=relu[index % len(relu)],
            requantiser=Requantiser(multiplier, shift, 0, 1),
        ))
        x = layers[-1].finish(layers[-1].accumulators(x))
    return network_of(layers)


def extreme_network(inputs, *, size, weight):
    """One hidden and one final layer with all weights and scales at their greatest magnitude."""
    group, layers = Group(size=size), []
    for name, k, n in ("fc1", inputs, 3), ("fc2", 3, 2):
        bias = (1 << 20) * (-1 if weight > 0 else 1)
        layers.append(linear(
            name, group, weights=torch.full((n, k), weight),
            scales=torch.full((n, group.groups(k)), 255), bias=torch.full((n,), bias),
            requantiser=Requantiser(1, 22, 0, 1) if name == "fc1" else None,
        ))
    return network_of(layers)


def random_inputs(samples, inputs, *, seed=0):
    """Activations; the first two vectors are the extremes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-128, 128, (samples, inputs), generator=generator)
    for row, value in zip(x[:2], (-128, 127), strict=False):
        row[:] = value
    return x


class AmaranthSimulator:
    """``BatchSimulator.run`` in Amaranth's simulator, for engines not worth compiling."""

    def __init__(self, engine):
        self.engine = engine

    def run(self, inputs, *, outputs, record=(), stall_i=0.0, stall_o=0.0, seed=0):
        i, o, count = self.engine.i, self.engine.o, len(inputs["value"])
        monitored = {name: getattr(self.engine.monitor, name.split("__")[1]) for name in record}
        payload_shape = o.payload.shape()
        shapes = {name: value.shape() for name, value in monitored.items()}
        found, cycles, input_cycles = [], [], []
        records = {name: [] for name in record}

        async def bench(ctx):
            sent, busy, cycle = 0, False, 0
            while len(found) < outputs:
                assert cycle < 100_000, f"{len(found)} of {outputs} outputs"
                if not busy and sent < count:
                    busy = not stalled(seed=seed, side=SOURCE, cycle=cycle, probability=stall_i)
                    ctx.set(i.payload, {key: int(part[sent]) for key, part in inputs.items()})
                ready = not stalled(seed=seed, side=SINK, cycle=cycle, probability=stall_o)
                ctx.set(i.valid, busy)
                ctx.set(o.ready, ready)
                _, _, taken, valid, payload, *values = await ctx.tick().sample(
                    i.ready, o.valid, Value.cast(o.payload), *map(Value.cast, monitored.values()))
                for name, value in zip(record, values, strict=True):
                    records[name].append(plain(shapes[name], value))
                if busy and taken:
                    input_cycles.append(cycle)
                    busy, sent = False, sent + 1
                if valid and ready:
                    found.append(plain(payload_shape, payload))
                    cycles.append(cycle)
                cycle += 1

        sim = Simulator(self.engine)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        return SimpleNamespace(
            outputs={key: np.array([payload[key] for payload in found]) for key in found[0]},
            cycles=np.array(cycles), input_cycles=np.array(input_cycles),
            records={name: np.array(values) for name, values in records.items()},
        )
