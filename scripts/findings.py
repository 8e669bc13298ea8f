# SPDX-License-Identifier: Apache-2.0
"""Write ``reports/findings.md``: papers' figures beside ours, from the tables of ``reports``.

``--check`` only says whether it is current.
"""

import sys
from pathlib import Path

from carrysave.findings import findings

REPORTS = Path(__file__).parents[1] / "reports"
PAGE = REPORTS / "findings.md"


def page(found):
    lines = ["# Findings", "", "Figures of papers beside what was measured here. Written by "
             "`scripts/findings.py` from the tables in this folder.", ""]
    for each in found:
        lines += [f"## {each.title}", "", f"- Paper: {each.paper}", f"- Source: {each.source}.",
                  f"- Ours: {each.ours}", ""]
        if each.rows:
            lines += [f"| {' | '.join(each.head)} |",
                      f"|---|{'---:|' * (len(each.head) - 1)}",
                      *(f"| {' | '.join(row)} |" for row in each.rows), ""]
        lines += [each.reason, ""]
    return "\n".join(lines)


def main():
    text = page(findings(REPORTS))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit("reports/findings.md is behind: run .venv/bin/python scripts/findings.py")


if __name__ == "__main__":
    main()
