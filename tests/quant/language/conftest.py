# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.quant.language import block_gemms


@pytest.fixture(scope="session")
def block_11(reachable):
    """The seven matrix products of block 11."""
    return reachable(block_gemms, 11)
