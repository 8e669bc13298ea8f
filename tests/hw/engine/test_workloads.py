# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.hw.engine.tiling import Gemm
from carrysave.hw.engine.workloads import MODELS, Work, convolution

# Published sizes, and what of them is in no GEMM: embeddings, norms, biases, positions.
PARAMETERS = {
    "smollm2-135m": (134_515_008, 61 * 576),  # embeddings are the weights of the logits
    "opt-6.7b": (6_658_473_984, 2050 * 4096 + 32 * 13 * 4096 + 2 * 4096),
    "llama-2-13b": (13_015_864_320, 32000 * 5120 + 81 * 5120),
    "vit-b": (86_567_656, 12 * 13 * 768 + 197 * 768 + 4 * 768 + 1000),
    "vit-h": (632_045_800, 32 * 13 * 1280 + 257 * 1280 + 4 * 1280 + 1000),
    "resnet-18": (11_689_512, 9_600 + 1000),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_are_all_that_the_model_has(name, compared):
    options = {"tokens": 16} if hasattr(MODELS[name], "vocabulary") else {}
    works = MODELS[name].works(batch=2, **options)
    weights = sum(work.repeat * work.gemm.n * work.gemm.k for work in works
                  if work.gemm.name not in ("scores", "mix"))
    total, others = PARAMETERS[name]
    assert weights + others == total
    compared(len(works))


# Thousands of millions, as torchvision's model cards have them.
@pytest.mark.parametrize("name, giga", [("vit-b", 17.564), ("vit-h", 167.295),
                                        ("resnet-18", 1.814)])
def test_products_of_an_image(name, giga):
    macs = sum(work.macs for work in MODELS[name].works())
    assert round(macs / 1e9, 3) == giga
    assert sum(work.macs for work in MODELS[name].works(batch=3)) == 3 * macs


def test_a_block_of_a_language_model():
    works = MODELS["smollm2-135m"].works(tokens=64, batch=2)
    assert works == [
        Work(Gemm("q", 128, 576, 576), 30), Work(Gemm("k", 128, 192, 576), 30),
        Work(Gemm("v", 128, 192, 576), 30), Work(Gemm("scores", 64, 64, 64), 540),
        Work(Gemm("mix", 64, 64, 64), 540), Work(Gemm("o", 128, 576, 576), 30),
        Work(Gemm("gate", 128, 1536, 576), 30), Work(Gemm("up", 128, 1536, 576), 30),
        Work(Gemm("down", 128, 576, 1536), 30), Work(Gemm("logits", 128, 49152, 576), 1),
    ]
    names = [work.gemm.name for work in MODELS["opt-6.7b"].works(tokens=1, attention=False)]
    assert names == ["q", "k", "v", "o", "up", "down", "logits"]
    one = {work.gemm.name: work.gemm for work in MODELS["llama-2-13b"].works(
        tokens=1, context=2048)}
    assert one["scores"][1:] == (1, 2048, 128) and one["mix"][1:] == (1, 128, 2048)


@pytest.mark.parametrize("axes, stride, padding, groups", [
    (1, 1, 0, 1), (1, 2, 2, 3), (2, 1, 1, 1), (2, 3, 2, 6), (3, 2, 0, 2)])
def test_convolution(axes, stride, padding, groups, compared):
    torch.manual_seed(0)
    size, kernel = (11, 9, 8)[:axes], (3, 2, 5)[:axes]
    x, weights = torch.rand(2, 6, *size), torch.rand(12, 6 // groups, *kernel)
    found = getattr(torch.nn.functional, f"conv{axes}d")(
        x, weights, stride=stride, padding=padding, groups=groups)
    work = convolution("c", channels=6, filters=12, size=size, kernel=kernel, stride=stride,
                       padding=padding, groups=groups, batch=2)
    assert work.repeat * work.gemm.m * work.gemm.n == found.numel()
    assert work.gemm.n * work.gemm.k * work.repeat == weights.numel()
    compared(found.numel())


@pytest.mark.parametrize("changes, message", [
    ({"kernel": (3,)}, "kernel must have the 2 axes of size, not 1"),
    ({"groups": 4}, "channels must be a multiple of the 4 groups, not 6"),
    ({"groups": 3}, "filters must be a multiple of the 3 groups, not 8"),
    ({"kernel": (3, 9)}, "kernel must be within the padded size, not [3, 9]"),
])
def test_convolution_wrong(changes, message):
    with pytest.raises(ValueError) as caught:
        convolution("c", **{"channels": 6, "filters": 8, "size": (6, 6), "kernel": (3, 3),
                            "padding": 1, **changes})
    assert str(caught.value) == message
