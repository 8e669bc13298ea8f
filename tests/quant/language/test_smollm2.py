# SPDX-License-Identifier: Apache-2.0
import gguf
import numpy as np
import pytest
import torch

from carrysave.quant.language import SmolLM2, address, block_gemms
from carrysave.quant.language.smollm2 import GEMMS


@pytest.fixture(scope="module")
def model(reachable):
    return reachable(SmolLM2)


@pytest.fixture(scope="module")
def text(reachable):
    return reachable(address)


def by_llama_cpp(tensors, x, block):
    """A block in NumPy as llama.cpp has it: neighbours rotate; what enters each product.

    ``x`` is float64, (tokens, 576); the rows of q and k stay as they are in the file.
    """
    def load(name):
        tensor = tensors[f"blk.{block}.{name}.weight"]
        return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)

    def norm(x, name):
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * load(name)

    def turned(heads):  # (tokens, heads, 64), as complex numbers
        angle = np.arange(len(x))[:, None, None] * 1e5 ** (-np.arange(32) / 32)
        z = (heads[..., 0::2] + 1j * heads[..., 1::2]) * np.exp(1j * angle)
        return np.stack([z.real, z.imag], -1).reshape(heads.shape)

    entering = {}
    h = norm(x, "attn_norm")
    entering.update(q=h, k=h, v=h)
    q, k, v = ((h @ load(f"attn_{name}").T).reshape(len(x), -1, 64) for name in "qkv")
    q, k = turned(q), turned(k)
    out = np.empty_like(q)
    for head in range(9):
        for token in range(len(x)):
            score = k[: token + 1, head // 3] @ q[token, head] / 8
            share = np.exp(score - score.max())
            out[token, head] = share / share.sum() @ v[: token + 1, head // 3]
    entering["o"] = out.reshape(len(x), -1)
    x = x + entering["o"] @ load("attn_output").T
    h = norm(x, "ffn_norm")
    gate = h @ load("ffn_gate").T
    entering.update(gate=h, up=h, down=gate / (1 + np.exp(-gate)) * (h @ load("ffn_up").T))
    return x + entering["down"] @ load("ffn_down").T, entering


def test_blocks_against_llama_cpp(model, text, compared):
    exact = SmolLM2(dtype=torch.float64)
    tokens = exact.tokens(text)[:20]
    table = model.tensors["token_embd.weight"]
    x = gguf.dequantize(table.data[tokens.numpy()], table.tensor_type).astype(np.float64)
    assert exact.hidden(tokens[None], blocks=0)[0].tolist() == x.tolist()
    for block in range(2):
        x, entering = by_llama_cpp(model.tensors, x, block)
        found = exact.hidden(tokens[None], blocks=block + 1)[0].numpy()
        assert np.abs(found - x).max() < 1e-12 * np.abs(x).max()
        compared(x.size)
        for product in block_gemms(block, tokens=20, text=text):
            expected = entering[product.name.split(".")[2]]
            error = np.abs(product.activations.numpy() - expected).max()
            assert error < 1e-7 * np.abs(expected).max(), product.name
            compared(expected.size)


def test_perplexity(model, text, compared):
    """On 4 x 512 tokens; DATA.md of the project has the same number from another program."""
    tokens = model.tokens(text)[:2048].reshape(4, 512)
    assert round(model.perplexity(tokens), 1) == 23.1
    compared(4 * 511)


def test_tokens(model, compared):
    for text in "Four score and seven years ago", "naïve  é\n\tx += 1;", "2009", "", " ", "日本":
        assert model.tokenizer.decode(model.tokens(text).tolist()) == text
        compared(1)
    assert len(model.tokens("x  2009")) == 6  # digits stand alone, so that both blanks are one
    assert len(model.tokens(" people")) == 1


def test_other_products(model, compared):
    """``linear`` replaces each of the products, by name."""
    tokens, seen = model.tokens("Four score and seven")[None], []

    def nothing(name, x, weights):
        seen.append(name)
        return x.new_zeros(*x.shape[:-1], len(weights))

    found = model.hidden(tokens, blocks=3, linear=nothing)
    assert torch.equal(found, model.hidden(tokens, blocks=0))
    assert seen == [f"blocks.{block}.{name}" for block in range(3) for name in GEMMS]
    compared(found.numel())


def test_block_gemms(block_11, compared):
    shapes = {g.name: (tuple(g.activations.shape), tuple(g.weights.shape)) for g in block_11}
    assert shapes == {
        "blocks.11.q": ((64, 576), (576, 576)), "blocks.11.k": ((64, 576), (192, 576)),
        "blocks.11.v": ((64, 576), (192, 576)), "blocks.11.o": ((64, 576), (576, 576)),
        "blocks.11.gate": ((64, 576), (1536, 576)), "blocks.11.up": ((64, 576), (1536, 576)),
        "blocks.11.down": ((64, 1536), (576, 1536)),
    }
    assert {x.dtype for g in block_11 for x in g[1:]} == {torch.float32}
    # The outliers that make low bits hard: what enters `down`, against the median channel.
    channels = block_11[-1].activations.abs().amax(dim=0)
    assert channels.max() > 3000 * channels.median()
    compared(len(shapes))


@pytest.mark.parametrize("block, kwargs, error, text", [
    (30, {}, ValueError, "Block must be 0 to 29, not 30"),
    (-1, {}, ValueError, "Block must be 0 to 29, not -1"),
    (1.0, {}, TypeError, "Block must be an integer, not 1.0"),
    (True, {}, TypeError, "Block must be an integer, not True"),
    (0, {"tokens": 0}, ValueError, "Tokens must be 1 to 8192, not 0"),
    (0, {"tokens": 8193}, ValueError, "Tokens must be 1 to 8192, not 8193"),
    (0, {"tokens": "9"}, TypeError, "Tokens must be an integer, not '9'"),
])
def test_wrong(block, kwargs, error, text):
    with pytest.raises(error) as caught:
        block_gemms(block, **kwargs)
    assert str(caught.value) == text


def test_text_too_short(model):
    with pytest.raises(ValueError, match="^Text must have at least 64 tokens, not 4$"):
        block_gemms(0, text="2009")
