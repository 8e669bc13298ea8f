# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.quant.data import Unavailable


@pytest.fixture(scope="session")
def reachable():
    """Call ``reachable(f, ...)`` for its result; skips the test where what it needs is not."""

    def call(function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Unavailable as error:
            pytest.skip(str(error))

    return call
