# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.quant.data import Unavailable
from carrysave.quant.language import block_gemms


@pytest.fixture(scope="session")
def reachable():
    """Call ``reachable(f, ...)`` for its result; skips the test where what it needs is not."""

    def call(function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Unavailable as error:
            pytest.skip(str(error))

    return call


@pytest.fixture(scope="session")
def block_11(reachable):
    """The seven matrix products of block 11."""
    return reachable(block_gemms, 11)
