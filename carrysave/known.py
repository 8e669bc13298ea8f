# SPDX-License-Identifier: Apache-2.0
"""Arrows that are known already: what was found to be exact is not run again."""

import json

from .hw.cache import cached

__all__ = ["known_arrows"]


class _NotExact(Exception):
    """Carries arrows past the cache, which keeps only exact ones."""


def known_arrows(step, inputs, run):
    """Arrows as JSON, from the cache where each was exact, or run now.

    Parameters
    ----------
    step, inputs : str, dict
        As `.hw.cache.cached` takes them.
    run : callable() -> list of Arrow

    Returns
    -------
    (list of dict, bool)
        And whether they came from the cache.
    """
    def produce(folder):
        content = json.loads(json.dumps([arrow.to_json() for arrow in run()], default=str))
        if any(arrow["status"] != "exact" for arrow in content):
            raise _NotExact(content)
        (folder / "arrows.json").write_text(json.dumps(content))

    try:
        folder, known = cached(step, inputs, produce)
        return json.loads((folder / "arrows.json").read_text()), known
    except _NotExact as error:
        return error.args[0], False
