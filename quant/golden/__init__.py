# SPDX-License-Identifier: Apache-2.0
"""Bit-exact arithmetic of every unit, on PyTorch integer tensors."""
