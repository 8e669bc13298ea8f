# SPDX-License-Identifier: Apache-2.0
"""Configuration: one TOML file describes a build."""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import BadInput
from .fpga import boards

__all__ = ["Config", "Count", "Section", "check", "load_config", "read_config"]

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of a configuration: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataSection(Section):
    """What to learn from."""

    source: str = Field(
        "digits",
        description="`digits`, `fashion`, `har`, or the path of an .npz file with x and y",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share held out; `fashion` and `har` have a split of their own"
    )
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="of the stratified split")
    normalise: Literal["max", "standard", "channel", "none"] = Field(
        "max",
        description="of inputs: greatest magnitude, standard scores of each feature or of each "
        "channel, or none",
    )
    shape: list[Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="of a sample for `model.layers`, channels last; default: that of the source, "
        "where two axes are a picture of one channel",
    )


class ModelSection(Section):
    """The network."""

    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        [32], description="widths of the hidden layers"
    )
    layers: list[dict] | None = Field(
        None,
        description="of a convolutional network instead: tables as `{ conv = 16, stride = 2 }`, "
        "`{ depthwise = 3 }`, `{ max_pool = 2 }`, `{ average_pool = \"all\" }`, "
        "`{ residual = [{ conv = 16 }] }`, `{ linear = 32 }`",
    )
    network: str | None = Field(
        None,
        description="folder of an integer network, or a QONNX file (`.onnx`), to use instead of "
        "training one",
    )


    @model_validator(mode="after")
    def _one(self):
        # A manifest names every field, with its default.
        if self.layers is not None and self.hidden != type(self).model_fields["hidden"].default:
            raise ValueError("give hidden or layers, not both")
        return self


WEIGHTS = tuple(f"int{bits}" for bits in range(2, 9))


class QuantiseSection(Section):
    """Number formats: integer weights in groups, int8 activations."""

    weights: Any = Field(
        "int4",
        description="`int2` to `int8`, or a list of these, one for each layer with weights",
    )
    group: Annotated[int, Field(ge=1, le=65536)] = Field(
        16, description="weights that share one 8-bit scale"
    )
    multiplier_bits: Annotated[int, Field(ge=2, le=24)] = Field(
        8, description="width of requantisation multipliers; more where none of that width is exact"
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, value):
        names = value if isinstance(value, list) else [value]
        if not names or any(name not in WEIGHTS for name in names):
            raise ValueError(f"must be one of {', '.join(WEIGHTS)}, or a list of these, one for "
                             f"each layer with weights, not {value!r}")
        return value

    @property
    def bits(self):
        """Width of weights: an int, or a tuple with that of each layer."""
        if isinstance(self.weights, str):
            return int(self.weights[3:])
        return tuple(int(name[3:]) for name in self.weights)


class TrainSection(Section):
    """How to train."""

    epochs: Annotated[int, Field(ge=0, le=100000)] = Field(100, description="in float")
    quantised_epochs: Annotated[int, Field(ge=1, le=100000)] = Field(
        40, description="quantisation-aware"
    )
    batch: Count = Field(64, description="samples per step")
    learning_rate: Rate = Field(1e-2, description="in float")
    quantised_learning_rate: Rate = Field(1e-3, description="quantisation-aware")
    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(0.05, description="of AdamW")
    noise: Annotated[float, Field(ge=0, le=10)] = Field(
        0.4, description="added to training inputs, in their standard deviations"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="of the loss")
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="of all randomness")


class EngineSection(Section):
    """The accelerator."""

    rows: Annotated[int, Field(ge=1, le=64)] = Field(2, description="vectors computed at once")
    columns: Annotated[int, Field(ge=1, le=256)] = Field(8, description="outputs computed at once")
    lanes: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="products of each element per step, a divisor of columns; given, or where "
        "layers are more than a stack of linear ones: the engine of graphs",
    )
    element: Literal["mixpe", "booth", "multiplier"] = Field(
        "mixpe", description="processing element of the engine of graphs"
    )
    drains: Count | None = Field(
        None,
        description="scale units of a stack; default: the fewest with which the array hardly waits",
    )
    weight_words: Count | None = Field(
        None, description="capacity in words of one weight per column; default: what is needed"
    )
    scale_words: Count | None = Field(None, description="capacity in scales; likewise")
    bias_words: Count | None = Field(None, description="capacity in biases; likewise")
    activation_words: Count | None = Field(
        None, description="capacity of an activation buffer in vector elements; likewise"
    )


class UartSection(Section):
    """The serial port of the board."""

    baud: Annotated[int, Field(ge=300, le=12_000_000)] = Field(
        115200, description="bits per second"
    )


class BuildSection(Section):
    """Bitstreams."""

    boards: list[str] = Field(
        ["icebreaker", "ulx3s"], description="boards to build for; see `carrysave boards`"
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [1, 2, 3, 4], description="of place and route, tried in turn until the clock is met"
    )

    @field_validator("boards")
    @classmethod
    def _known(cls, names):
        for name in names:
            boards.get(name)
        if len(set(names)) < len(names):
            raise ValueError(f"each board once, not {names!r}")
        return names


class VerifySection(Section):
    """How much to compare where comparing is slow."""

    engine_samples: Count | None = Field(
        None,
        description="test samples for the engine's simulation; default: all, or what 4 million "
        "cycles carry",
    )
    cocotb_samples: Count = Field(
        20,
        description="test samples that cocotb sends over the UART pins, or fewer where half a "
        "million cycles carry no more",
    )
    netlist_samples: Count | None = Field(
        None,
        description="test samples for the netlists; default: all, or what 20 million cycles carry",
    )


class Config(Section):
    """A build."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = Field(
        description="of the build and its output folder"
    )
    data: DataSection = Field(default_factory=DataSection)
    model: ModelSection = Field(default_factory=ModelSection)
    quantise: QuantiseSection = Field(default_factory=QuantiseSection)
    train: TrainSection = Field(default_factory=TrainSection)
    engine: EngineSection = Field(default_factory=EngineSection)
    uart: UartSection = Field(default_factory=UartSection)
    build: BuildSection = Field(default_factory=BuildSection)
    verify: VerifySection = Field(default_factory=VerifySection)


def _model_of(annotation):
    """The section that an annotation has, in a list or optional as well; None without."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_of, get_args(annotation))), None)


def _keys(model, location):
    """Keys allowed where a pydantic error lies."""
    for part in location:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            model = _model_of(field.annotation) if field else None
            if model is None:
                return []
    return list(model.model_fields)


def _explain(model, error):
    """One line for the first error of a validation."""
    first = error.errors()[0]
    location = first["loc"]
    where = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        allowed = _keys(model, location[:-1])
        near = get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{where}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "missing":
        return f"{where}: missing"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    if first["type"] == "string_pattern_mismatch":
        message = "must be 1 to 64 letters, digits, - or _, and not begin with - or _"
    return f"{where}: {message}, not {first['input']!r}"


def load_config(path):
    """Read and check the configuration of a build; paths in it are relative to its folder.

    Raises
    ------
    BadInput
        One line that names the file, the field, what was found and what is allowed.
    """
    return _resolved(read_config(path, Config), Path(path).resolve().parent)


def read_config(path, model):
    """A TOML file as a model of pydantic.

    Raises
    ------
    BadInput
        One line that names the file, the field, what was found and what is allowed.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None
    return check(content, model, prefix=f"{path}: ")


def check(content, model, *, prefix):
    """A dictionary as a model of pydantic; what BadInput says begins with ``prefix``."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"{prefix}{_explain(model, error)}") from None


def _resolved(config, folder):
    """Relative paths made absolute."""
    updates = {}
    if config.data.source.endswith(".npz"):
        source = str(folder / config.data.source)
        updates["data"] = config.data.model_copy(update={"source": source})
    if config.model.network is not None:
        network = str(folder / config.model.network)
        updates["model"] = config.model.model_copy(update={"network": network})
    return config.model_copy(update=updates)
