# SPDX-License-Identifier: Apache-2.0
import numpy as np

from carrysave.quant.language.minilm import weights


def test_weights(reachable, compared):
    """22.7 million parameters in six blocks; a LayerNorm's are near 1."""
    found = reachable(weights)
    parameters = sum(x.size for x in found.values() if x.dtype == np.float32)
    assert parameters == 22_713_216
    assert found["encoder.layer.5.output.dense.weight"].shape == (384, 1536)
    assert "encoder.layer.6.output.dense.weight" not in found
    assert 0.5 < found["encoder.layer.0.output.LayerNorm.weight"].mean() < 1.5
    compared(parameters)
