# SPDX-License-Identifier: Apache-2.0
"""The catalogue; its units are verified beside those of their rooms, see ``test_presets.py``."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from amaranth.lib import wiring

from carrysave import hw
from carrysave.hw import catalogue
from carrysave.sim.reference import reference

ROOMS = ("decode", "pe", "fixed")


@pytest.fixture(params=catalogue.PRESETS, ids=lambda preset: preset.name)
def preset(request):
    return request.param


def test_names_are_unique_and_many(compared):
    assert len(set(catalogue.names())) == len(catalogue.PRESETS) >= 30
    compared(len(catalogue.PRESETS))


def test_every_unit_is_in_the_catalogue(compared):
    known = {preset.unit for preset in catalogue.PRESETS}
    found = set()
    for room in ROOMS:
        package = importlib.import_module(f"{hw.__name__}.{room}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for name, kind in inspect.getmembers(module, inspect.isclass):
                if issubclass(kind, wiring.Component) and kind.__module__ == module.__name__:
                    found.add(kind)
                    assert getattr(package, name) is kind, f"{package.__name__} lacks {name}"
    assert found == {unit for unit in known if unit.__module__.split(".")[-2] in ROOMS}
    compared(len(found))


def test_every_room_verifies_its_units(compared):
    """By a ``test_presets.py``, which takes the presets of its room."""
    rooms = {preset.room for preset in catalogue.PRESETS}
    for room in rooms:
        assert f'presets("{room}")' in Path(__file__).with_name(room).joinpath(
            "test_presets.py").read_text()
    compared(len(rooms))


def test_unknown_name():
    with pytest.raises(ValueError, match="^Unit must be one of .*mixpe-w4a8, .*, not 'nope'$"):
        catalogue.get("nope")


def test_description(preset, compared):
    unit = preset.build()
    assert isinstance(unit.lanes, int) and unit.lanes >= 1
    assert isinstance(unit.latency, int) and unit.latency >= 0
    assert unit.formats and all(isinstance(name, str) for name in unit.formats.values())
    assert preset.room in (*ROOMS, "post") and preset.summary.endswith(".")
    for heading in (":Latency:", ":Throughput:", ":Backpressure:", "Parameters\n", "Members\n"):
        assert heading in preset.unit.__doc__, f"{preset.unit.__name__} lacks {heading.strip()}"
    assert reference(unit).expected.__module__.endswith(f".{type(unit).__module__.split('.')[-1]}")
    compared(1)
