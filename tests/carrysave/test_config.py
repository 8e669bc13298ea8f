# SPDX-License-Identifier: Apache-2.0
import re
from importlib.resources import files
from pathlib import Path

import pytest

from carrysave.config import Config, load_config
from carrysave.errors import BadInput


def load(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load_config(path)


def test_example_is_valid():
    config = load_config(Path(str(files("carrysave.examples") / "digits.toml")))
    assert (config.name, config.model.hidden, config.quantise.group) == ("digits", [32], 16)
    assert config.build.boards == ["icebreaker", "ulx3s", "tang-nano-9k"]


@pytest.mark.parametrize("example", ["digits", "fashion", "har"])
def test_a_manifest_s_configuration_is_valid(example):
    config = load_config(Path(str(files("carrysave.examples") / f"{example}.toml")))
    assert Config.model_validate(config.model_dump()) == config


def test_defaults_and_paths(tmp_path):
    config = load(tmp_path, 'name = "x"\n[data]\nsource = "mine.npz"\n[model]\nnetwork = "net"')
    assert config.uart.baud == 115200
    assert config.data.source == str(tmp_path / "mine.npz")
    assert config.model.network == str(tmp_path / "net")


@pytest.mark.parametrize("text, message", [
    ("", "name: missing"),
    ("name = 3", "name: should be a valid string, not 3"),
    ('name = "../x"', "name: must be 1 to 64 letters, digits, - or _"),
    ('name = "x"\nnmae = 1', "nmae: unknown key; did you mean name? allowed here: name, data"),
    ('name = "x"\n[engine]\nrow = 2', "engine.row: unknown key; did you mean rows?"),
    ('name = "x"\n[engine]\nrows = "2"', "engine.rows: should be a valid integer, not '2'"),
    ('name = "x"\n[engine]\nrows = true', "engine.rows: should be a valid integer, not True"),
    ('name = "x"\n[engine]\nrows = 0', "engine.rows: should be greater than or equal to 1, not 0"),
    ('name = "x"\n[data]\ntest_fraction = 1.5', "data.test_fraction: should be less than 1"),
    ('name = "x"\n[train]\nlearning_rate = nan', "train.learning_rate: "),
    ('name = "x"\n[model]\nhidden = [4, 0]', "model.hidden.1: should be greater than"),
    ('name = "x"\n[build]\nboards = ["icebreakr"]', "build.boards: Board must be one of"),
    ('name = "x"\n[build]\nboards = ["ulx3s", "ulx3s"]', "build.boards: each board once"),
    ('name = "x"\n[data]\nnormalise = "log"', "data.normalise: should be 'max', "),
    ('name = "x"\n[quantise]\nweights = "int9"', "quantise.weights: must be one of int2, int3, "),
    ('name = "x"\n[quantise]\nweights = []', "quantise.weights: must be one of int2, int3, "),
    ('name = "x"\n[quantise]\nweights = ["int4", 4]', "each layer with weights, not ['int4', 4]"),
    ("name = ", "not TOML: "),
])
def test_wrong(tmp_path, text, message):
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "c.toml" in str(error.value)


def test_not_there(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="cannot be read"):
        load_config(tmp_path)
