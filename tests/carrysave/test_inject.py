# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.errors import BadInput
from carrysave.inject import inject


def differences(before, after):
    found = []
    for name in "weights", "scales", "biases":
        pairs = zip(getattr(before, name), getattr(after, name), strict=True)
        found += [(name, index) for index, (a, b) in enumerate(pairs) if a != b]
    return found


def test_places_follow_the_network(prepared, compared):
    """Each element's flip lands on the word that the compiler made from it."""
    program, network = prepared.program, prepared.subject.network
    columns, index, base = program.config.columns, 0, 0
    for layer, descriptor in zip(network.layers, program.layers, strict=True):
        for n in range(layer.outputs):
            for k in range(layer.inputs):
                changed = inject(program, f"weight:{index}:0")
                word = base + n // columns * layer.inputs + k
                assert differences(program, changed) == [("weights", word)]
                found = changed.weights[word][n % columns]
                assert found == int(layer.weights[n, k]) ^ 1
                index += 1
        base += descriptor.tiles * layer.inputs
    compared(index)
    with pytest.raises(BadInput, match=rf"weight has indices 0 to {index - 1} and bits 0 to 3"):
        inject(program, f"weight:{index}")


def test_scales_and_biases(prepared):
    program, network = prepared.program, prepared.subject.network
    changed = inject(program, "scale:3")  # fc1: two groups an output; the second of output 1
    (where,) = differences(program, changed)
    assert where == ("scales", 1 * program.config.columns + 1)
    assert changed.scales[where[1]] == int(network.layers[0].scales[1, 1]) ^ 0x80
    changed = inject(program, "bias:7:0")  # fc2, output 1
    (where,) = differences(program, changed)
    assert where == ("biases", 2 * program.config.columns + 1)
    assert changed.biases[where[1]] == int(network.layers[1].bias[1]) ^ 1


@pytest.mark.parametrize(
    "fault", ["weight", "weight:", "weight:x", "foo:1", "weight:1:9", "bias:-1"]
)
def test_wrong(prepared, fault):
    with pytest.raises(BadInput, match=r"^--inject: "):
        inject(prepared.program, fault)
