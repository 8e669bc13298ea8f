# SPDX-License-Identifier: Apache-2.0
"""Example configurations, shipped with the package."""
