# SPDX-License-Identifier: Apache-2.0
"""Brevitas quantisers, quantisation-aware training, and freezing into an integer network."""
