# SPDX-License-Identifier: Apache-2.0
"""Which layer needs how many bits: sensitivities, and the choice of widths under budgets."""
