# SPDX-License-Identifier: Apache-2.0
"""The page of the ledger: the committed evidence, and builds that are there."""

from ..report import verdict

__all__ = ["summary", "write_ledger"]

PROOFS = ("sat", "induction")


def write_ledger(pages, sources, missing):
    """The page, and the report pages of builds."""
    builds = []
    for build in sources.builds:
        if build.page is not None:
            pages.bytes(f"builds/{build.name}.html", build.page.read_bytes())
        builds.append({"name": build.name, "page": build.page is not None,
                       "arrows": build.ledger["arrows"],
                       "verdict": verdict(build.ledger["arrows"])})
    units = [{"name": ledger["subject"], **summary(ledger["arrows"])}
             for ledger in sources.verification or []]
    digits = sources.digits
    pages.page("ledger.html", "ledger.html.j2", title="Ledger", digits=digits,
               verdict=digits and verdict(digits["ledger"]["arrows"]), builds=builds, units=units,
               missing=missing)


def summary(arrows):
    """Of a unit's ledger: values compared and different, proofs held and tried, mutants.

    Numbers are None where nothing of the kind was run. ``state`` is one for all.
    """
    ran = [arrow for arrow in arrows if arrow["status"] != "not run"]
    proofs = [arrow for arrow in ran if arrow["method"] in PROOFS]
    mutants = [arrow for arrow in ran if arrow["method"] == "mutation"]
    values = [arrow for arrow in ran if arrow not in proofs and arrow not in mutants]

    def total(key, arrows):
        return sum(arrow[key] for arrow in arrows) if arrows else None

    return {
        "compared": total("compared", values), "mismatches": total("mismatches", values),
        "proved": sum(arrow["status"] == "exact" for arrow in proofs) if proofs else None,
        "proofs": len(proofs) if proofs else None,
        "mutants": ", ".join(arrow["what"] or "" for arrow in mutants) or None,
        "state": verdict(arrows)["state"] if arrows else "not run",
    }
