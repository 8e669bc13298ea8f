# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.quant.data import DataError
from carrysave.quant.language import address


def test_address(reachable, compared):
    text = reachable(address)
    assert "America" in text and len(text.split()) > 4000
    first = reachable(address, 1790)
    assert first.startswith("Fellow-Citizens of the Senate and House of Representatives: ")
    compared(2)


@pytest.mark.parametrize("year", [1789, 2022, "*", ""])
def test_no_address(reachable, year):
    with pytest.raises(DataError) as caught:
        reachable(address, year)
    assert str(caught.value) == (
        f"Year must be one with an address, 1790 to 2021, not {year!r}"
    )
