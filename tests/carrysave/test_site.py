# SPDX-License-Identifier: Apache-2.0
"""The report site of small tables: what it says, what it refuses, what it leaves alone."""

import csv
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from typer.testing import CliRunner

from carrysave.errors import BadInput
from carrysave.hw.engine.workloads import MODELS
from carrysave.main import app
from carrysave.site import build_site, engines
from carrysave.site.figures import mixed_figures
from carrysave.site.folder import MARKER, replaced
from carrysave.site.points import explorer, front, points
from carrysave.site.quality import Quality
from carrysave.site.subjects import subjects
from carrysave.site.tables import MISSING, TABLES, read_table

RESOURCES = """\
unit,lanes,family,dsp,lut4,ff,bram,carry,mapping,fmax_mhz,fmax_min_mhz,fmax_max_mhz,seeds,nand2,\
transistors,dsp_allowed,command,tools,hash
multiplier-w8a8,16,ecp5,0,3200,286,0,9,merged,80.0,79,81,5,,,0,carrysave characterise a,t,h
multiplier-w8a8,4,ecp5,4,100,70,0,9,merged,,,,0,,,1,carrysave characterise b,t,h
multiplier-w8a8,16,gates,,,286,,,merged,,,,,14400,1,0,carrysave characterise c,t,h
mixpe-w4a8,16,ecp5,0,1600,218,0,9,merged,100.0,99,101,5,,,0,carrysave characterise d,t,h
mixpe-w4a8,32,ecp5,0,3000,418,0,9,merged,90.0,89,91,5,,,0,carrysave characterise d2,t,h
mxfp4-dot,32,ecp5,0,2400,218,0,9,merged,20.0,19,21,5,,,0,carrysave characterise e,t,h
array-int8,16,ice40,0,3210,1,0,9,merged,,,,0,,,0,carrysave characterise f,t,h
gone-unit,16,ecp5,0,1,1,0,0,merged,1,1,1,1,,,0,carrysave characterise g,t,h
"""
HEAD = "format,bits,scale,transform,subject,values,relative_error,qsnr_db,perplexity,accuracy," \
       "command,tools,hash\n"
ROWS = [
    'int4g128,4.0625,"own, int8 activations",qat,fashion accuracy 10000 images,10000,,,,89',
    "fp32,32,none,none,fashion accuracy 10000 images,10000,,,,91",
    "int8,8,row,none,smollm2 blocks.1.q weights,9,0.01,40,,",
    "int8,8,row,none,smollm2 blocks.1.o weights,9,0.03,30,,",
    "int8,8,row,none,smollm2 blocks.2.o weights,9,0.02,38,,",
    "int8,8,row,none,smollm2 blocks.1.q activations,9,0.02,34,,",
    "int8,8,tensor,none,smollm2 blocks.1.q activations,9,0.2,14,,",
    "int8,8,row,none,minilm a weights,9,0.5,3,,",
    "int4,4,row,none,smollm2 blocks.1.q weights,9,0.1,16,,",
    "mxfp4,4.25,own,none,smollm2 blocks.1.q weights,9,0.1,18,,",
    "mxfp4,4.25,own,none,smollm2 blocks.1.q activations,9,0.1,17,,",
    "fp32,32,none,none,smollm2 blocks.1.q weights,9,0,inf,,",
    "int8,8,row,none,smollm2 perplexity 2048 tokens,2048,,,23.5,",
    "int8,8,row,none,smollm2 perplexity 512 tokens,512,,,99,",
    "int8,8,row,hadamard,smollm2 perplexity 2048 tokens,2048,,,23.25,",
    "int8,8,row,qat,fashion accuracy 10000 images,10000,,,,90.5",
]
ACCURACY = HEAD + "".join(f"{row},carrysave accuracy x,t,h\n" for row in ROWS)
ENERGY = """\
unit,lanes,trace,cycles,macs,nets,toggles,toggles_per_mac,weighted_per_mac,relative,command,tools,hash
multiplier-w8a8,16,uniform,9,9,9,9,1,2,1,carrysave energy a,t,h
mixpe-w4a8,16,uniform,9,9,9,9,1,2,0.5,carrysave energy b,t,h
"""
MIXED = """\
network,kind,weights,memory_bits,block_ram,lut4,cycles,loss,accuracy,command,tools,hash
fashion,uniform,int4,1000,1,100,50,0.5,88,carrysave mixed,t,h
fashion,mixed,int4 int2,900,1,90,40,0.4,89,carrysave mixed,t,h
"""
ESTIMATOR = """\
unit,lanes,family,dsp_allowed,lut4,predicted_lut4,lut4_error,fmax_mhz,predicted_fmax_mhz,command
mixpe-w4a8,16,ecp5,0,1600,1500,-0.0625,100,90,carrysave predict a
mxfp4-dot,32,ecp5,0,2400,2500,0.04,20,,carrysave predict b
"""
ARRAYS = """\
array,element,rows,columns,lanes,sites,decoders,vit-b cycles,"vit-b cycles x area, of int8"
int8,257.6,16,16,1,65768,0,70206010,1.0
MixPE W4A8,127.9,19,27,1,65360,0,36002332,0.5
"""
ARROW = {"from": "golden", "to": "rtl", "method": "batch", "status": "exact", "what": "<all>",
         "on": None, "compared": 12, "mismatches": 0, "first": None, "why": ""}
CONTENT = {
    "resources.csv": RESOURCES, "accuracy.csv": ACCURACY, "energy.csv": ENERGY, "mixed.csv": MIXED,
    "estimator.csv": ESTIMATOR,
    "arrays.csv": ARRAYS, "digits.json": json.dumps({"ledger": {"arrows": [ARROW]}}),
    "units/verification.json": json.dumps([{"subject": "mixpe-w4a8", "arrows": [ARROW]}]),
}


def write_reports(folder):
    (folder / "units").mkdir(parents=True)
    for name, text in CONTENT.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "units" / "mixpe-w4a8.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return folder


@pytest.fixture
def reports(tmp_path):
    return write_reports(tmp_path / "reports")


def build(folder, out="site"):
    """Build the site of a folder's ``reports``, with the rooflines of one network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "MODELS", {"resnet-18": MODELS["resnet-18"]})
        return build_site(folder / out, reports=folder / "reports", builds=folder / "build")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with a site, and what `build_site` said."""
    folder = tmp_path_factory.mktemp("site")
    write_reports(folder / "reports")
    (folder / "build" / "bees").mkdir(parents=True)
    wrong = {**ARROW, "mismatches": 1, "status": "differs", "first": {"layer": "fc1"}}
    (folder / "build/bees/ledger.json").write_text(json.dumps({"arrows": [wrong]}))
    (folder / "build/bees/report.html").write_text("<!DOCTYPE html><title>bees</title>")
    return folder, build(folder)


@pytest.fixture(scope="module")
def known():
    return subjects()


@pytest.fixture
def data(reports, known):
    tables = {name: read_table(reports / name, *columns) for name, columns in TABLES.items()}
    rows, lost = points(tables["resources.csv"], tables["energy.csv"], known)
    assert lost == 1  # gone-unit
    return explorer(rows, tables["accuracy.csv"], known)


class Page(HTMLParser):
    """Addresses and identifiers of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[name] for name in ("href", "src") if found.get(name) and tag != "use"]
        self.ids += [found["id"]] if "id" in found else []

    def handle_data(self, data):
        self.text += data


def check_links(site):
    """Every address leads to a file of the site, and to a place in it; how many there were."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    count = 0
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            if link.startswith("data:"):
                continue
            assert not link.startswith(("http", "//", "/", "file")), (path, link)
            target, place = urldefrag(link)
            target = (path.parent / unquote(target)).resolve() if target else path
            assert target.is_file(), (path, link)
            if place and "=" not in place:
                assert place in pages[target].ids, (path, link)
            count += 1
    return count


# The join.

def test_rows_meet_the_accuracy_of_their_formats(data, compared):
    rows = {(row["unit"], row["family"], row["lanes"]): row["values"] for row in data["rows"]}
    assert rows["multiplier-w8a8", "ecp5", 16]["lut4-product"] == 200
    assert rows["multiplier-w8a8", "ecp5", 16]["lut4-rate"] == 2500  # 3200 / (16 * 0.08)
    assert rows["multiplier-w8a8", "ecp5", 4]["lut4-product"] == 25
    assert "lut4-rate" not in rows["multiplier-w8a8", "ecp5", 4]
    assert rows["multiplier-w8a8", "gates", 16] == {
        "ff": 286, "nand2": 14400, "transistors": 1, "ff-product": 17.875, "nand2-product": 900,
        "energy-uniform": 1, "command": "carrysave characterise c"}
    assert rows["mixpe-w4a8", "gates", 16] == {
        "energy-uniform": 0.5, "command": "carrysave energy b"}
    quality = {name: unit["quality"] for name, unit in data["units"].items()}
    assert quality["multiplier-w8a8"] == {
        "qsnr": {"row": 34}, "qsnr-w": {"row": 38}, "qsnr-a": {"row": 34, "tensor": 14},
        "error": {"row": 0.02}, "error-w": {"row": 0.02}, "error-a": {"row": 0.02, "tensor": 0.2},
        "perplexity-none": {"row": 23.5}, "perplexity-hadamard": {"row": 23.25},
        "fashion-qat": {"row": 90.5}}
    assert quality["array-int8"] == quality["multiplier-w8a8"]
    assert quality["mixpe-w4a8"]["qsnr"] == {"row": 16}  # of int4 weights, int8 activations
    assert quality["mixpe-w4a8"]["fashion-qat"] == {"row": 89, "tensor": 89}
    assert "fashion-qat" not in quality["mxfp4-dot"]
    assert quality["mxfp4-dot"]["qsnr"] == {"row": 17, "tensor": 17}  # scales of its own
    compared(len(rows))


def test_metrics_are_those_that_are_there(data, compared):
    assert {m["id"] for m in data["x"]} >= {
        "lut4-product", "fmax_mhz", "nand2-product", "energy-uniform"}
    found = [metric["id"] for metric in data["y"]]
    assert found[-3:] == ["perplexity-none", "perplexity-hadamard", "fashion-qat"]
    assert data["families"] == {"ecp5": "ECP5", "ice40": "iCE40", "gates": "CMOS gates"}
    json.dumps(data, allow_nan=False)
    compared(len(found))


def test_infinite_quality_is_not_drawn(reports):
    quality = Quality(read_table(reports / "accuracy.csv", *TABLES["accuracy.csv"]))
    assert quality.tensor("fp32", "weights", "row")[1] == float("inf")
    unit = subjects()["mixpe-w4a8"]._replace(activations="fp32", weights="fp32")
    assert "qsnr-w" not in quality.of(unit)


@pytest.mark.parametrize("better, names", [
    (("low", "high"), ["a", "b", "d"]), (("high", "high"), ["d"]), (("low", "low"), ["a"]),
    (("high", "low"), ["d", "c", "a"]),
])
def test_front(better, names, compared):
    rows = [{"n": "a", "x": 1, "y": 1}, {"n": "b", "x": 2, "y": 3}, {"n": "c", "x": 3, "y": 2},
            {"n": "d", "x": 4, "y": 4}]
    x, y = ({"id": name, "better": way} for name, way in zip("xy", better, strict=True))
    assert [row["n"] for row in front(rows, x, y)] == names
    compared(len(rows))


def test_every_operand_is_a_format(known, compared):
    from carrysave.quant import formats

    for subject in known.values():
        for name in subject.activations, subject.weights:
            assert name is None or formats.get(name).name
        assert (subject.activations is None) == (subject.weights is None)
        if subject.kind in ("pe", "array"):
            assert subject.weights, subject.name
    assert known["mixpe-w4a8-zero"].weights == "uint4g128z"
    compared(len(known))


# The whole.

def test_site(built, compared):
    folder, found = built
    site = folder / "site"
    assert found["missing"] == {} and found["builds"] == 1 and found["left_out"] == 1
    assert found["points"] == 8 and found["pages"] == len(list(site.rglob("*.html"))) - 1
    assert (site / MARKER).is_file() and not list(folder.glob(".site*"))
    links = check_links(site)
    text = Page((site / "units/mixpe-w4a8.html").read_text(encoding="utf-8")).text
    for fact in ("1\u202f600", "ECP5", "carrysave characterise d", "without a multiplier", "<all>",
                 "carrysave energy b", "i.activations"):
        assert fact in text, fact
    text = Page((site / "formats/int4g128.html").read_text(encoding="utf-8")).text
    assert "fashion, qat, int8 activations" in text and "89.00" in text
    assert (site / "units/mixpe-w4a8.svg").is_file()
    text = Page((site / "ledger.html").read_text(encoding="utf-8")).text
    assert "golden → rtl differs" in text and "First difference: layer fc1" in text
    text = Page((site / "mixed.html").read_text(encoding="utf-8")).text
    assert "int4 int2" in text and "not measured" not in text
    for path in site.glob("figures/*.csv"):
        assert len(path.read_text(encoding="utf-8").splitlines()) >= 2, path
        assert path.with_suffix(".svg").is_file()
    with (site / "figures/qsnr-lut4-product-ecp5.csv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        assert {row["unit"]: (row["lut4-product"], row["qsnr"]) for row in rows} == {
            "multiplier-w8a8": ("200.0", "34"), "mixpe-w4a8": ("100.0", "16"),
            "mxfp4-dot": ("75.0", "17")}
    assert (site / "figures/predicted-lut4.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "mixpe-w4a8,16,ecp5,0,1600,1500,carrysave predict a",
        "mxfp4-dot,32,ecp5,0,2400,2500,carrysave predict b"]
    assert not (site / "figures/predicted-fmax.csv").exists()  # one point is none
    compared(links)


def test_command_writes_the_same(built, monkeypatch, compared):
    folder, found = built
    monkeypatch.setattr(engines, "MODELS", {"resnet-18": MODELS["resnet-18"]})
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["report", "--out", "again", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {**found, "out": "again", "index": "again/index.html"}
    files = [path.relative_to(folder / "site") for path in (folder / "site").rglob("*.*")
             if path.is_file()]
    for path in files:
        assert (folder / "site" / path).read_bytes() == (folder / "again" / path).read_bytes()
    compared(len(files))


def test_without_any_table(reports, tmp_path, compared):
    for name in CONTENT:
        (reports / name).unlink()
    (reports / "energy.csv").write_text(ENERGY.splitlines()[0] + "\n")  # none measured yet
    found = build(tmp_path)
    assert found["missing"] == MISSING and found["points"] == 0
    for name, page in {"resources.csv": "index.html", "accuracy.csv": "formats/int8.html",
                       "energy.csv": "index.html", "mixed.csv": "mixed.html",
                       "estimator.csv": "figures.html",
                       "arrays.csv": "engines.html", "digits.json": "ledger.html",
                       "units/verification.json": "ledger.html"}.items():
        text = Page((tmp_path / "site" / page).read_text(encoding="utf-8")).text
        assert MISSING[name] in text, name
    compared(check_links(tmp_path / "site"))


# What is refused.

@pytest.mark.parametrize("name, text, message", [
    ("resources.csv", "", "resources.csv: must have a column unit, not only an empty file"),
    ("resources.csv", RESOURCES.replace("3200", "x"), "row 2: lut4 must be a number, not 'x'"),
    ("resources.csv", RESOURCES.replace("3200", "nan"), "row 2: lut4 must be a number, not 'nan'"),
    ("resources.csv", RESOURCES.replace(",t,h\n", "\n", 1), "row 2 must have 19 cells"),
    ("accuracy.csv", ACCURACY.replace("qsnr_db,", "").replace("format,", "fmt,"),
     "accuracy.csv: must have a column format, not only fmt,bits"),
    ("energy.csv", "\0", "energy.csv: "),
    ("arrays.csv", ARRAYS.replace(",0.5\n", ",0\n"), "row 3: vit-b cycles x area, of int8 must be"),
    ("mixed.csv", MIXED.replace("88", "well"), "mixed.csv: row 2: accuracy must be a number"),
    ("digits.json", "{", "digits.json: cannot be read: "),
    ("digits.json", "[]", "digits.json: must hold a ledger"),
    ("units/verification.json", "[]", "verification.json: must be a list of ledgers"),
    ("units/verification.json", '[{"arrows": [{}]}]', "verification.json: must hold a ledger"),
])
def test_bad_tables(reports, tmp_path, name, text, message):
    with replaced(tmp_path / "site") as folder:
        (folder / "old.html").write_text("old")
    (reports / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        build(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [MARKER, "old.html"]
    assert not list(tmp_path.glob(".site*"))


def test_a_mistake_is_one_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "carrysave.main", "report", "--json"], cwd=tmp_path, text=True,
        capture_output=True, timeout=120)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: --reports: must be a folder with tables, not 'reports'\n"
    assert not list(tmp_path.iterdir())


def test_reports_that_are_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"^--reports: must be a folder with tables, not "):
        build_site(tmp_path / "site", reports=tmp_path / "none", builds=tmp_path)
    assert not (tmp_path / "site").exists()


# The folder.

def test_a_folder_that_is_no_site_is_left_alone(reports, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/thesis.tex").write_text("ten years")
    with pytest.raises(BadInput, match=r"must be a site, or empty: it has files and no "):
        build(tmp_path)
    assert (tmp_path / "site/thesis.tex").read_text() == "ten years"


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("a file"), lambda path: path.symlink_to(path.parent),
])
def test_something_else_is_left_alone(tmp_path, make):
    make(tmp_path / "site")
    with pytest.raises(BadInput, match=r"^--out: must be a folder, or not be there, not "), \
            replaced(tmp_path / "site"):
        pass
    assert os.path.lexists(tmp_path / "site")


def test_a_site_is_replaced_as_a_whole(tmp_path, compared):
    for text in "old", "new":
        with replaced(tmp_path / "a/site") as folder:
            (folder / f"{text}.html").write_text(text)
    assert sorted(path.name for path in (tmp_path / "a/site").iterdir()) == [MARKER, "new.html"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["site"]
    compared(1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_leaves_the_old_site(tmp_path, error):
    with replaced(tmp_path / "site") as folder:
        (folder / "old.html").write_text("old")
    with pytest.raises(error), replaced(tmp_path / "site") as folder:
        (folder / "new.html").write_text("new")
        raise error
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [MARKER, "old.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_site_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    with replaced(tmp_path / "site") as folder:
        (folder / "old.html").write_text("old")
    rename = Path.rename

    def refuse(path, target):
        if path.suffix == ".part":
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BadInput, match=r"^--out: .* cannot be written: Permission denied"), \
            replaced(tmp_path / "site"):
        pass
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [MARKER, "old.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_full_disk_leaves_the_old_site(tmp_path):
    with replaced(tmp_path / "site") as folder:
        (folder / "old.html").write_text("old")
    with pytest.raises(BadInput, match=r"^--out: .* cannot be written: No space left on device"), \
            replaced(tmp_path / "site") as folder:
        raise OSError(28, "No space left on device")
    assert (tmp_path / "site/old.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_costs_in_which_networks_are_equal_are_not_drawn(compared):
    rows = [{"network": "a", "kind": kind, "weights": weights, "lut4": lut4, "cycles": 40,
             "accuracy": accuracy}
            for kind, weights, lut4, accuracy in (("uniform", "int4", 100, 88),
                                                  ("mixed", "int4 int2", 90, 89))]
    y = {"id": "accuracy", "title": "accuracy, %", "log": False, "better": "high"}
    found = mixed_figures(rows, {"lut4": "LUT4", "cycles": "cycles"}, y)
    assert [figure.name for figure in found] == ["mixed-a-lut4"]
    compared(2)
