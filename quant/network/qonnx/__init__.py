# SPDX-License-Identifier: Apache-2.0
"""QONNX files in: a graph of ``Quant`` nodes becomes an integer network [1]_.

Weights are codes and scales as the file has them, in float64; what follows a weighted layer
channel by channel (a bias, a batch normalisation) goes into its scales and its bias. Activations
are channel-last inside, whatever the file's order.

.. [1] Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022.
"""

from .load import load_qonnx

__all__ = ["load_qonnx"]
