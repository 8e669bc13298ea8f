# SPDX-License-Identifier: Apache-2.0
"""A small subject of our own data, for the flow."""

import numpy as np
import pytest

from carrysave.config import load_config
from carrysave.flow import prepare

TOML = """
name = "bees"
[data]
source = "bees.npz"
normalise = "standard"
[model]
hidden = [6]
[quantise]
group = 4
[train]
epochs = 15
quantised_epochs = 8
[engine]
rows = 2
columns = 3
[uart]
baud = 3_000_000
[build]
boards = ["icebreaker"]
[verify]
cocotb_samples = 5
"""


@pytest.fixture(scope="session")
def bees(tmp_path_factory):
    """Path of a configuration with its data beside it."""
    folder = tmp_path_factory.mktemp("bees")
    rng = np.random.default_rng(0)
    centres, labels = rng.normal(size=(3, 7)) * 2, rng.integers(0, 3, 150)
    names = np.array(["ant", "bee", "cow"])[labels]
    np.savez(folder / "bees.npz", x=centres[labels] + rng.normal(size=(150, 7)), y=names)
    path = folder / "bees.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(scope="session")
def prepared(bees):
    return prepare(load_config(bees))
