"""The chapters on where a run comes from: its parameters with their sources, versions, digests."""

from pathlib import Path

from simcore import report
from simcore.assembly import Result
from simcore.page import provenance
from simcore.page.markup import Chapter, Markup, element, joined, table

KINDS = (
    "spec: a vendor's figure; measured, fitted, assumed: as the hardware sheet says; sheet: its own text; scenario: "
    "written there; follows: from what is written; default: nobody wrote it."
)


def parameters(result: Result, folder: Path) -> Chapter:
    """Return every parameter with where it comes from."""
    rows = [
        [
            each.key,
            each.value,
            element("span", {"class": f"kind {each.kind}"}, each.kind),
            element("span", {"class": "place"}, each.place),
            element("div", {"class": "source"}, _linked(each.source), _note(each)),
        ]
        for each in provenance.parameters(result.scenario, folder)
    ]
    held = table(["parameter", "value", "kind", "where", "source"], rows, label="parameters", filtered=True)
    return Chapter("parameters", "Parameters", joined(element("p", {"class": "hint"}, KINDS), held))


def _note(each: provenance.Parameter) -> str:
    return f" ({each.note})" if each.source and each.note else each.note


def _linked(source: str) -> Markup:
    """Return a source, the web address that it begins with as a link."""
    address = source.split(" ")[0].rstrip(",;:)")
    if not address.startswith("https://"):
        return joined(source)
    return joined(element("a", {"href": address, "rel": "noreferrer"}, address), source[len(address) :])


def origin(result: Result, folder: Path) -> Chapter:
    """Return what identifies the run: its seed, the digests of its tables and of the files it read, the versions that
    made it."""
    about = report.stated(folder)
    facts = {"scenario": result.scenario.name, "seed": result.scenario.seed, "digest of all tables": result.digest}
    for heading, key in (("version of ", "versions"), ("SHA-256 of ", "sha256_of_inputs")):
        found = about.get(key)
        facts |= {f"{heading}{name}": each for name, each in found.items()} if isinstance(found, dict) else {}
    rows = [[key, str(value)] for key, value in facts.items()]
    return Chapter("origin", "Origin", table(["what", "value"], rows, label="origin"))
