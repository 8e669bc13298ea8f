# SPDX-License-Identifier: Apache-2.0
"""Ports of a component, as Amaranth's converter takes them."""

from typing import NamedTuple

from amaranth.hdl import Const, Value
from amaranth.hdl._ir import PortDirection  # public only as the argument of convert()
from amaranth.lib.wiring import In

__all__ = ["FlatPort", "flat_ports"]


class FlatPort(NamedTuple):
    """A member of a signature, and its direction."""

    value: Value
    direction: PortDirection
    shape: object


def flat_ports(component):
    """Members of a component's signature by name, nested names joined by ``__``.

    What is constant, as valid or ready of a stream that always is, is no port.
    """
    found = {}
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        if not isinstance(value, Const):
            direction = PortDirection.Input if member.flow == In else PortDirection.Output
            found["__".join(map(str, path))] = FlatPort(value, direction, member.shape)
    return found
