# SPDX-License-Identifier: Apache-2.0
"""Write the generated parts of the README; with ``--check``, only say whether they are current."""

import re
import sys
from pathlib import Path

from pydantic import BaseModel

from carrysave.config import Config

README = Path(__file__).parents[1] / "README.md"
PART = r"(<!-- generated: configuration \(scripts/readme.py\) -->\n).*?(<!-- /generated -->)"


def shown(value):
    """A default as TOML writes it."""
    if value is None:
        return "–"
    return f"`{value!r}`".replace("'", '"')


def rows(model, section=""):
    """A row of the table for each key of a section."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows(kind, f"{name}.")
        else:
            default = "required" if field.is_required() else shown(field.default)
            yield f"| `{section}{name}` | {default} | {field.description} |\n"


def main():
    table = "".join(["| key | default | meaning |\n|---|---|---|\n", *rows(Config)])
    before = README.read_text(encoding="utf-8")
    after, count = re.subn(PART, lambda marks: marks[1] + table + marks[2], before, flags=re.DOTALL)
    if count != 1:
        raise SystemExit("README.md: the marks of the generated configuration are gone")
    if "--check" not in sys.argv[1:]:
        README.write_text(after, encoding="utf-8")
    elif after != before:
        raise SystemExit("README.md is behind: run .venv/bin/python scripts/readme.py")


if __name__ == "__main__":
    main()
