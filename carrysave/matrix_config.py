# SPDX-License-Identifier: Apache-2.0
# amaranth: UnusedElaboratable=no
"""Configuration of a matrix engine and of what it is to compute."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .config import Count, Section, check, read_config
from .errors import BadInput
from .hw.array.kind import kind_of
from .hw.engine.gemm_config import GemmConfig
from .hw.engine.program import DoesNotFit
from .hw.engine.tiling import Gemm, plan
from .hw.engine.workloads import MODELS, Work, convolution
from .quant import formats

__all__ = ["MatrixConfig", "build_engine", "compile_gemms", "load_matrix_config", "works"]

LINES = 1 << 15  # most of a memory
Size = Annotated[int, Field(ge=1, le=1 << 24)]


class EngineSection(Section):
    """A matrix engine."""

    activations: str = Field(description="format, see `carrysave formats`")
    weights: str = Field(description="likewise; `int4g64` is int4 in groups of 64")
    element: Literal["multiplier", "mixpe", "booth"] | None = Field(
        None, description="of integers; default: mixpe for weights in groups, else multiplier"
    )
    lanes: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="products of an element; default: 1, of outlier-victim pairs 2"
    )
    registers: Annotated[int, Field(ge=0, le=4)] = Field(1, description="of an element")
    rows: Annotated[int, Field(ge=1, le=1024)] = Field(8, description="elements")
    columns: Annotated[int, Field(ge=1, le=1024)] = Field(8, description="elements")
    chains: Count | None = Field(
        None, description="by which sums leave; default: the fewest with which the array hardly "
                          "waits"
    )
    systolic: bool = Field(True, description="operands move from element to element")
    bus: Annotated[int, Field(ge=8, le=8192, multiple_of=8)] = Field(
        64, description="bits of a word of the streams"
    )
    activation_kib: Count = Field(128, description="memory of activations")
    weight_kib: Count = Field(64, description="memory of weights")
    scale_kib: Count = Field(
        8, description="each memory of scales, and that of biases, where there are any"
    )
    result_kib: Count = Field(8, description="memory of results")
    partial_tiles: Count = Field(1, description="tiles under way at once, where K is cut")
    k_max: Size | None = Field(
        None, description="longest K, which sets the width of sums; default: that of the workload"
    )
    bias: bool = Field(False, description="whether columns of weights come with a bias")

    @field_validator("activations", "weights")
    @classmethod
    def _known(cls, name):
        return formats.get(name).name


class GemmSection(Section):
    """``C[m, n] = sum_k A[m, k] * B[n, k]``."""

    name: str
    m: Size
    n: Size
    k: Size
    repeat: Size = Field(1, description="how often")


class ConvolutionSection(Section):
    """A convolution, as a GEMM for each of its groups."""

    name: str
    channels: Size = Field(description="of the input")
    filters: Size = Field(description="channels of the output")
    size: Annotated[list[Size], Field(min_length=1, max_length=3)] = Field(
        description="of the input along each axis"
    )
    kernel: Annotated[list[Size], Field(min_length=1, max_length=3)] = Field(
        description="its size along each axis"
    )
    stride: Size = 1
    padding: Annotated[int, Field(ge=0, le=1 << 12)] = Field(0, description="on either side")
    groups: Size = 1

    def work(self, batch):
        return convolution(
            self.name, channels=self.channels, filters=self.filters, size=tuple(self.size),
            kernel=tuple(self.kernel), stride=self.stride, padding=self.padding,
            groups=self.groups, batch=batch)

    @model_validator(mode="after")
    def _makes_sense(self):
        self.work(1)
        return self


class WorkloadSection(Section):
    """What to compute: a published model, or lists of GEMMs and convolutions."""

    model: str | None = Field(None, description=", ".join(MODELS))
    tokens: Size | None = Field(None, description="of a language model, in each text")
    context: Size | None = Field(None, description="that each token attends to; default: `tokens`")
    batch: Size = Field(1, description="texts or images")
    attention: bool = Field(
        True, description="count scores and mixing, with keys and values in the weights' format"
    )
    gemms: list[GemmSection] = Field([], description="instead of a model")
    convolutions: list[ConvolutionSection] = Field([], description="likewise")

    @field_validator("model")
    @classmethod
    def _known(cls, name):
        if name is not None and name not in MODELS:
            raise ValueError(f"must be one of {', '.join(MODELS)}, not {name!r}")
        return name

    @model_validator(mode="after")
    def _one_kind(self):
        if (self.model is None) == (not self.gemms and not self.convolutions):
            raise ValueError("must have either a model, or gemms or convolutions, not "
                             f"{'neither' if self.model is None else 'both'}")
        language = hasattr(MODELS.get(self.model or ""), "vocabulary")
        for field in "tokens", "context":
            if getattr(self, field) is not None and not language:
                raise ValueError(f"{field} must come with a language model, "
                                 f"not with {self.model or 'lists'}")
        if language and self.tokens is None:
            raise ValueError(f"tokens must be given for {self.model}")
        return self


class LayersSection(Section):
    """Which layers of the model `carrysave layers` runs, and how it quantises them."""

    block: Annotated[int, Field(ge=0, le=29)] = Field(11, description="of the model")
    kinds: Annotated[list[Literal["mixpe-w4a8", "olive4", "mxfp4", "mxint8", "int8", "fp8"]],
                     Field(min_length=1)] = Field(
        ["mixpe-w4a8", "olive4", "mxfp4", "mxint8", "int8", "fp8"],
        description="pairs of formats; each has an engine of its own"
    )


class MatrixConfig(Section):
    """A matrix engine and its work."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = Field(
        description="of the whole"
    )
    engine: EngineSection
    workload: WorkloadSection
    layers: LayersSection = Field(default_factory=LayersSection)


def load_matrix_config(path, *, kinds=None, **engine):
    """Read and check a configuration file.

    Parameters
    ----------
    path : path
    kinds : list of str, optional
        Instead of those of ``[layers]``.
    **engine
        Instead of keys of ``[engine]``, where not None.

    Raises
    ------
    BadInput
        One line that names the file or the option, what was found and what is allowed.
    """
    config = read_config(path, MatrixConfig)
    given = {name: value for name, value in engine.items() if value is not None}
    changed = check({**config.engine.model_dump(), **given}, EngineSection, prefix="--")
    layers = config.layers
    if kinds:
        layers = check({"kinds": list(kinds)}, LayersSection, prefix="--kind: ").model_copy(
            update={"block": layers.block})
    return config.model_copy(update={"engine": changed, "layers": layers})


def works(workload):
    """The GEMMs of a `WorkloadSection`: list of `Work`."""
    if workload.model is None:
        return [*(Work(Gemm(each.name, each.m, each.n, each.k), each.repeat)
                  for each in workload.gemms),
                *(each.work(workload.batch) for each in workload.convolutions)]
    options = {"attention": workload.attention, "tokens": workload.tokens,
               "context": workload.context}
    model = MODELS[workload.model]
    if not hasattr(model, "vocabulary"):
        options = {"attention": workload.attention} if hasattr(model, "blocks") else {}
    return model.works(batch=workload.batch, **options)


def build_engine(engine, *, longest):
    """The `GemmConfig` of an `EngineSection`: its memories in lines.

    A memory has as many lines as fit, a power of two, and at most `LINES`.

    Parameters
    ----------
    engine : EngineSection
    longest : int
        K of the work.

    Raises
    ------
    BadInput
    """
    a, w = formats.get(engine.activations), formats.get(engine.weights)
    lanes = engine.lanes or 1 + isinstance(w, formats.Pair)
    if engine.k_max is not None and engine.k_max < longest:
        raise BadInput(f"engine.k_max: must be at least {longest}, the longest K of the workload, "
                       f"not {engine.k_max}")
    try:
        kind = kind_of(a, w, element=engine.element, lanes=lanes, registers=engine.registers)
        config = GemmConfig(
            kind, rows=engine.rows, columns=engine.columns, chains=engine.chains,
            systolic=engine.systolic, bus=engine.bus, partial_tiles=engine.partial_tiles,
            k_max=engine.k_max or longest, bias=engine.bias, a_lines=LINES, w_lines=LINES,
            scale_lines=LINES, result_lines=LINES)
        widths = {  # of a line
            "a_lines": ("activation_kib", config.a_bits),
            "w_lines": ("weight_kib", config.w_bits),
            "scale_lines": ("scale_kib", max(config.a_scale_bits, config.w_scale_bits,
                                             config.bias_bits)),
            "result_lines": ("result_kib", config.chains * config.result_bits),
        }
        lines = {name: _lines(getattr(engine, field), bits, field,
                              least=config.chain if name == "result_lines" else 1)
                 for name, (field, bits) in widths.items()}
        return dataclasses.replace(config, **lines)
    except (TypeError, ValueError) as error:
        raise BadInput(f"engine: {error}") from None


def _lines(kib, bits, field, *, least):
    """Lines of so many bits in a memory: a power of two."""
    if not bits:
        return 1
    fitting = kib * 8192 // bits
    if fitting < least:
        raise ValueError(f"{field} must be at least {-(-least * bits // 8192)} for {least} lines "
                         f"of {bits} bits, not {kib}")
    return min(1 << fitting.bit_length() - 1, LINES)


def compile_gemms(engine, gemms):
    """Programs of some GEMMs, as :func:`.plan` gives them; BadInput names one that does not fit."""
    try:
        return plan(engine, gemms)
    except DoesNotFit as error:
        raise BadInput(f"{error}: see engine.activation_kib, weight_kib, scale_kib and "
                       "partial_tiles") from None
