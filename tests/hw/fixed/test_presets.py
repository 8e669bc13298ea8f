# SPDX-License-Identifier: Apache-2.0
import pytest

from ..units import exact, presets


@pytest.mark.parametrize("preset", presets("fixed"), ids=lambda preset: preset.name)
def test_exact(preset, compared):
    exact(preset, compared)
