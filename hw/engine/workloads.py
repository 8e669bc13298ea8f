# SPDX-License-Identifier: Apache-2.0
"""What networks ask of a matrix engine: lists of GEMMs."""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from .tiling import Gemm

__all__ = ["MODELS", "Language", "ResNet18", "Vision", "Work", "convolution"]


class Work(NamedTuple):
    """A GEMM, and how often a network computes one of its size there."""

    gemm: Gemm
    repeat: int = 1

    @property
    def macs(self):
        return self.repeat * prod(self.gemm[1:])


def convolution(name, *, channels, filters, size, kernel, stride=1, padding=0, groups=1, batch=1):
    """A convolution as GEMMs, one for each group: a row of A for each output pixel.

    Parameters
    ----------
    name : str
    channels, filters : int
        Of the input and of the output, multiples of ``groups``.
    size, kernel : tuple of int
        Of the input and of the kernel, along each axis.
    stride, padding : int
        Along each axis; padding on both sides.
    groups, batch : int

    Returns
    -------
    Work

    Raises
    ------
    ValueError
    """
    if len(size) != len(kernel):
        raise ValueError(f"kernel must have the {len(size)} axes of size, not {len(kernel)}")
    for field, count in ("channels", channels), ("filters", filters):
        if count % groups:
            raise ValueError(f"{field} must be a multiple of the {groups} groups, not {count}")
    if any(length > extent + 2 * padding for extent, length in zip(size, kernel, strict=True)):
        raise ValueError(f"kernel must be within the padded size, not {list(kernel)}")
    pixels = prod((extent + 2 * padding - length) // stride + 1
                  for extent, length in zip(size, kernel, strict=True))
    return Work(Gemm(name, batch * pixels, filters // groups, channels // groups * prod(kernel)),
                groups)


@dataclass(frozen=True)
class Blocks:
    """Blocks of a transformer.

    Attributes
    ----------
    count : int
    width, inner : int
        Of the residual stream, and inside the feed-forward network.
    heads, kv_heads : int
        Of queries; of keys and of values.
    gated : bool
        Whether the feed-forward network has a gate beside its first matrix.
    """

    count: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    gated: bool

    def works(self, tokens, *, context, batch, attention):
        """GEMMs of all blocks.

        Keys and values are taken for weights: theirs is the format in which the engine has weights.
        No score is left out for being in the future.
        """
        head = self.width // self.heads
        narrow = self.kv_heads * head
        first = {"gate": self.inner, "up": self.inner} if self.gated else {"up": self.inner}
        matrices = {"q": (self.width, self.width), "k": (narrow, self.width),
                    "v": (narrow, self.width), "o": (self.width, self.width),
                    **{name: (n, self.width) for name, n in first.items()},
                    "down": (self.width, self.inner)}
        found = [Work(Gemm(name, tokens * batch, n, k), self.count)
                 for name, (n, k) in matrices.items()]
        if attention:
            each = self.count * self.heads * batch
            found[3:3] = [Work(Gemm("scores", tokens, context, head), each),
                          Work(Gemm("mix", tokens, head, context), each)]
        return found


@dataclass(frozen=True)
class Language:
    """A language model: its blocks, and the logits of every token.

    Attributes
    ----------
    blocks : Blocks
    vocabulary : int
    """

    blocks: Blocks
    vocabulary: int

    def works(self, *, tokens, context=None, batch=1, attention=True):
        """GEMMs for so many new tokens in each of ``batch`` texts.

        ``context``, by default ``tokens``, is what each token attends to: a text is continued by
        one token with ``tokens=1, context=2048``.
        """
        return [*self.blocks.works(tokens, context=context or tokens, batch=batch,
                                   attention=attention),
                Work(Gemm("logits", tokens * batch, self.vocabulary, self.blocks.width))]


@dataclass(frozen=True)
class Vision:
    """A vision transformer on images of 224 by 224 pixels, 1000 classes.

    Attributes
    ----------
    blocks : Blocks
    patch : int
        Pixels along an edge.
    """

    blocks: Blocks
    patch: int

    def works(self, *, batch=1, attention=True):
        """GEMMs for so many images."""
        width, patches = self.blocks.width, (224 // self.patch) ** 2
        return [
            convolution("patches", channels=3, filters=width, size=(224, 224),
                        kernel=(self.patch,) * 2, stride=self.patch, batch=batch),
            *self.blocks.works(patches + 1, context=patches + 1, batch=batch, attention=attention),
            Work(Gemm("classes", batch, 1000, width)),
        ]


@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 on images of 224 by 224 pixels, 1000 classes."""

    def works(self, *, batch=1):
        """GEMMs for so many images."""
        def layer(name, filters, channels, size, **more):
            edge = more.pop("edge", 3)
            return convolution(name, channels=channels, filters=filters, size=(size,) * 2,
                               kernel=(edge,) * 2, padding=edge // 2, batch=batch, **more)

        found = [layer("stem", 64, 3, 224, edge=7, stride=2)]
        channels, size = 64, 56  # after pooling
        for stage, filters in enumerate((64, 128, 256, 512), start=1):
            stride = filters // channels
            name = f"stage{stage}"
            found.append(layer(f"{name}.0.a", filters, channels, size, stride=stride))
            if stride > 1:
                found.append(layer(f"{name}.0.skip", filters, channels, size, edge=1,
                                   stride=stride))
            size //= stride
            found += [layer(f"{name}.{part}", filters, filters, size)
                      for part in ("0.b", "1.a", "1.b")]
            channels = filters
        return [*found, Work(Gemm("classes", batch, 1000, channels))]


#: Published networks, by name [1]_ [2]_ [3]_ [4]_ [5]_.
#:
#: .. [1] Allal et al., SmolLM2: When Smol goes big. arXiv:2502.02737 (2025).
#: .. [2] Zhang et al., OPT: Open pre-trained transformer language models. arXiv:2205.01068 (2022),
#:    table 1.
#: .. [3] Touvron et al., Llama 2: Open foundation and fine-tuned chat models. arXiv:2307.09288
#:    (2023); the inner width is that of the published configuration.
#: .. [4] Dosovitskiy et al., An image is worth 16x16 words. ICLR 2021, table 1: ViT-B/16, ViT-H/14.
#: .. [5] He et al., Deep residual learning for image recognition. CVPR 2016, table 1.
MODELS = {
    "smollm2-135m": Language(Blocks(30, 576, 1536, 9, 3, True), 49152),
    "opt-6.7b": Language(Blocks(32, 4096, 16384, 32, 32, False), 50272),
    "llama-2-13b": Language(Blocks(40, 5120, 13824, 40, 40, True), 32000),
    "vit-b": Vision(Blocks(12, 768, 3072, 12, 12, False), 16),
    "vit-h": Vision(Blocks(32, 1280, 5120, 16, 16, False), 14),
    "resnet-18": ResNet18(),
}
