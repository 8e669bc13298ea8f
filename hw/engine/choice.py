# SPDX-License-Identifier: Apache-2.0
"""Which engine runs a network: the small one of stacks of linear layers, or that of graphs."""

from .engine import Engine
from .graph_engine import GraphEngine
from .graph_program import GraphProgram

__all__ = ["STACK_BITS", "engine_of", "is_stack"]

PLAIN = ((-128, 127), (0, 127))
STACK_BITS = 4  # of the small engine's weights


def engine_of(program):
    """The engine that a program was compiled for."""
    return GraphEngine(program) if isinstance(program, GraphProgram) else Engine(program)


def is_stack(network):
    """Whether a network is linear layers one after the other, as the small engine runs them.

    Weights are int4; layers clamp at -128 or 0 and at 127, by one requantiser each.
    """
    return all(
        layer.kind == "linear" and not layer.sources and layer.bounds in PLAIN
        and not hasattr(layer.requantiser, "channels") and layer.group.element.bits <= STACK_BITS
        for layer in network.layers)
