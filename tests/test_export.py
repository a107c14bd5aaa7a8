"""`reid export`: what the catalogue knows in other people's formats, and back again where they can hold it."""

import csv
import inspect
import io
import json
import re
from dataclasses import fields
from importlib import import_module

import foreign
import numpy as np
import pandas as pd
import pytest
from conftest import photo, read, save
from exchange import PROPERTY, brought, described, known, rows, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import reid
from reid.catalogue import Kind
from reid.catalogue.values import disarmed, rearmed
from reid.formats import WRITERS
from reid.formats.writing import ExportOptions, plain_names


@PROPERTY
@given(rows=rows)
@pytest.mark.parametrize("form", ["csv", "xlsx", "json", "coco"])
def test_what_goes_out_comes_back(root, tmp_path_factory, form, rows):
    before = described(root, rows)
    there = tmp_path_factory.mktemp("there")
    suffix = {"coco": "json"}.get(form, form)
    write(before, form, there / f"out.{suffix}")
    after = brought(there / f"out.{suffix}", there / "gallery", there / "unpacked", photos=root)
    wrapped = form == "coco"  # a flat polygon is a list of one in COCO

    def same(found):
        return [{**one, "mask": one["mask"] and json.loads(one["mask"])} for one in known(found)]

    wanted = same(before)
    if wrapped:
        wanted = [{**one, "mask": [one["mask"]] if one["mask"] and not isinstance(one["mask"][0], list) else one["mask"]} for one in wanted]
    assert same(after) == wanted


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_encounters_that_are_derived_are_derived_again(tmp_path, form):
    """A date that is filled in afterwards takes them apart; what two times on one day tell apart stays apart."""
    times = {
        "amber": ("2021:05:01 10:00:00", "2022:05:01 10:00:00", None),
        "basil": ("2021:05:01 10:00:00", "2021:05:01 10:20:00", "2021:05:01 15:00:00"),
    }
    for animal, own in times.items():
        for number, time in enumerate(own):
            exif = Image.Exif()
            exif.get_ifd(0x8769).update({0x9003: time} if time else {})
            foreign.with_header(tmp_path / animal / f"{number}.jpg", exif=exif)
    before = read(tmp_path)
    write(before, form, tmp_path / f"metadata.{form}")
    after = read(tmp_path)
    assert [(ref.image_id, ref.encounter) for ref in after.references] == [(ref.image_id, ref.encounter) for ref in before.references]
    assert {ref.encounter for ref in after.references if ref.identity == "amber"} == {"amber, undated"}
    (tmp_path / f"metadata.{form}").unlink()
    write(before, "csv", tmp_path / "metadata.csv")
    frame = pd.read_csv(tmp_path / "metadata.csv", dtype=str, keep_default_na=False)
    assert list(frame["encounter"]) == ["", "", "", *["basil, 2021-05-01 10:00"] * 2, "basil, 2021-05-01 15:00"]
    frame.loc[frame["path"] == "amber/2.jpg", "date"] = "2023-05-01"
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    amber = [ref.encounter for ref in read(tmp_path).references if ref.identity == "amber"]
    assert amber == ["amber, 2021-05-01 10:00", "amber, 2022-05-01 10:00", "amber, 2023-05-01"]


@PROPERTY
@given(rows=rows)
def test_wildlife_datasets_comes_back_to_the_second(root, tmp_path_factory, rows):
    before = described(root, rows)
    there = tmp_path_factory.mktemp("there")
    write(before, "wildlife-datasets", there / "metadata.csv")
    frame = pd.read_csv(there / "metadata.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns[:3]) == ["image_id", "identity", "path"] and frame["image_id"].is_unique and (frame["identity"] != "").all()
    assert list(frame["image_id"]) == sorted(frame["image_id"])
    after = brought(there / "metadata.csv", there / "gallery", there / "unpacked", photos=root)
    assert known(after, "when", "mask") == known(before, "when", "mask")
    moments = [(a["when"] and a["when"].first, b["when"] and b["when"].first) for a, b in zip(known(after), known(before), strict=True)]
    assert all(a == b for a, b in moments)


@PROPERTY
@given(rows=rows)
def test_wildbook_comes_back_by_the_map_of_names(root, tmp_path_factory, rows):
    before = described(root, [{**one, "date": one["date"] or "2020", "encounter": f"e{n // 2}"} for n, one in enumerate(rows)])
    there = tmp_path_factory.mktemp("there")
    written = write(before, "wildbook", there / "out", species="Caretta caretta", site="Bay")
    assert not written.problems
    after = brought(there / "out" / "encounters.xlsx", there / "gallery", there / "unpacked", photos=root)
    assert [(one["file"], one["identity"], one["encounter"]) for one in known(after)] == [
        (one["file"], one["identity"], one["encounter"]) for one in known(before)
    ]
    sheet = pd.read_excel(there / "out" / "encounters.xlsx", dtype=str)
    assert not [name for name in sheet if sheet[name].isna().all()]
    assert {"Encounter.mediaAsset0", "Encounter.genus", "Encounter.specificEpithet", "Encounter.year", "Encounter.locationID"} <= set(sheet)
    assert all(re.fullmatch(r"[A-Za-z0-9. ]+", name) for name in sheet["Encounter.mediaAsset0"])


@given(text=st.text() | st.from_regex(r"'*[=+\-@＝＋－＠\t\r\n].*"))
def test_a_formula_is_disarmed_and_recoverable(text):
    assert rearmed(disarmed(text)) == text
    assert not re.match(r"[=+\-@＝＋－＠\t\r\n]", disarmed(text)) or re.fullmatch(r"[+-]|[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?", text)


@given(names=st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=8))
def test_names_for_others_are_plain_and_no_two_alike(names):
    found = plain_names(names, "A-Za-z0-9")
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in found.values())
    assert len({name.casefold() for name in found.values()}) == len(names)


def test_no_formula_reaches_a_spreadsheet(tmp_path):
    from openpyxl import load_workbook

    names = ["=1+1", "+1 a", "-a", "@x", "'=y", "-12.5"]
    for number, name in enumerate(names):
        photo(tmp_path / "g" / f"{number}.png")
        assert rearmed(disarmed(name)) == name
    foreign.write_csv(
        tmp_path / "g" / "metadata.csv", ("path", "identity", "@note"), [(f"{n}.png", name, name) for n, name in enumerate(names)]
    )
    found = read(tmp_path / "g")
    write(found, "csv", tmp_path / "o.csv")
    write(found, "xlsx", tmp_path / "o.xlsx")
    cells = [cell for line in csv.reader(io.StringIO((tmp_path / "o.csv").read_text())) for cell in line]
    sheet = [cell for line in load_workbook(tmp_path / "o.xlsx").active for cell in line if cell.value is not None]
    assert not [text for text in cells if re.match(r"[=+\-@\t\r]", text) and text != "-12.5"]
    assert not [
        cell.value for cell in sheet if cell.data_type == "f" or (re.match(r"[=+\-@\t\r]", str(cell.value)) and cell.value != "-12.5")
    ]


def test_a_longer_text_than_a_cell_of_a_workbook_holds_is_not_cut(root, tmp_path, call):
    longest = f"[[{', '.join(['10'] * 8_000)}]]"
    foreign.write_csv(root / "metadata.csv", ("path", "identity", "segmentation"), [("a.png", "Luna", longest), ("b.png", "Luna", "")])
    words = ("export", "--gallery", root, "--to", "xlsx", "--out", tmp_path / "o" / "o.xlsx")
    assert call(*words)[0] == 0 and pd.read_excel(tmp_path / "o" / "o.xlsx")["segmentation"][0] == longest
    foreign.write_csv(root / "metadata.csv", ("path", "identity", "segmentation"), [("a.png", "Luna", longest.replace("10", "100"))])
    status, _, err = call(*words, "--force")
    what = "row 2, column 'segmentation': 40,002 letters, and a cell of a workbook holds 32,767; shorten it, or write csv"
    assert status == 2 and err.splitlines()[-1] == f"reid: {what}" and [one.name for one in (tmp_path / "o").iterdir()] == ["o.xlsx"]


def test_conditions_hold_for_queries_too(season, tmp_path, call):
    text = (season / "metadata.csv").read_text().replace("identity,", "identity,split,").replace("a.png,Luna,", "a.png,Luna,query,")
    (season / "metadata.csv").write_text(re.sub(r"(?m)^([b-g].png,[^,]*),", r"\1,,", text))
    code, *_ = call("export", "--gallery", season, "--to", "json", "--out", tmp_path / "o.json", "--where", "site=Reef")
    assert code == 0 and len(json.loads((tmp_path / "o.json").read_text())["photos"]) == 4


def test_the_command(season, tmp_path, call):
    code, out, err = call(
        "export", "--gallery", season, "--to", "mark", "--out", tmp_path / "o.inp", "--occasions", "year", "--side", "linked"
    )
    assert code == 0 and "2 of 3 animals are unlinked" in out and "4 of 7 photos are in" in out
    assert "2 photos left out: the animal is known from one side only, and may be another one's other side; --side left or right" in out
    assert "left out" not in err
    code, out, err = call("export", "--gallery", season, "--to", "mark", "--out", tmp_path / "x.inp")
    assert code == 2 and err.splitlines()[-1].startswith("reid: what is an occasion? say --occasions") and not (tmp_path / "x.inp").exists()
    code, _, err = call("export", "--gallery", season, "--to", "csv", "--out", season / "metadata.csv")
    assert code == 2 and "is a photo or a table that is read" in err
    code, _, err = call("export", "--gallery", season, "--to", "wildbook", "--out", tmp_path / "w")
    assert code == 2 and err.splitlines()[-1].endswith("problems; nothing was written")
    code, out, _ = call("export", "--gallery", season, "--to", "csv", "--out", tmp_path / "o.csv", "--where", "site=Reef")
    assert code == 0 and "4 of 4 photos" in out and len((tmp_path / "o.csv").read_text().splitlines()) == 5
    words = ("--species", "Chelonia mydas", "--copy", "--out", season / "upload")
    code, _, err = call("export", "--gallery", season, "--to", "wildbook", *words)
    assert code == 2 and "where its pictures would be read as photos" in err and not (season / "upload").exists()
    code, _, err = call("export", "--gallery", season, "--to", "nonsense", "--out", tmp_path / "o")
    assert code == 2 and "camtrap-dp" in err


@pytest.mark.parametrize(
    ("form", "words", "unused"),
    [
        ("camtrapr", ("--side", "left", "--occasions", "year"), "--occasions and --side; leave them out"),
        ("csv", ("--side", "left"), "--side; leave it out"),
        ("mark", ("--occasions", "year", "--side", "left", "--epsg", "auto", "--site", "Bay"), "--epsg and --site; leave them out"),
        ("secr", ("--package", "p", "--species", "s", "--submitter", "me"), "--package and --species and --submitter; leave them out"),
        ("coco", ("--copy",), "--copy; leave it out"),
        ("wildbook", ("--package", "p"), "--package; leave it out"),
    ],
)
def test_an_option_that_a_format_does_not_use_is_refused(season, tmp_path, call, form, words, unused):
    status, out, err = call("export", "--gallery", season, "--to", form, "--out", tmp_path / "o", *words)
    assert (status, out, err) == (2, "", f"reid: --to {form} makes no use of {unused}\n") and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("csv", "o.xlsx", "--to csv writes no .xlsx; say --to xlsx, or name a file that ends in .csv"),
        ("csv", "o.parquet", "--to csv writes no .parquet; name a file that ends in .csv"),
        ("camtrapr", "o.XLSX", "--to camtrapr writes no .xlsx; name a file that ends in .csv"),
        ("xlsx", "o.csv", "--to xlsx writes no .csv; say --to csv, or name a file that ends in .xlsx"),
        ("xlsx", "o.xls", "--to xlsx writes no .xls; name a file that ends in .xlsx"),
    ],
)
def test_a_table_is_not_called_by_another_kind_of_table(season, tmp_path, call, form, name, said):
    status, out, err = call("export", "--gallery", season, "--to", form, "--out", tmp_path / name)
    assert (status, out, err) == (2, "", f"reid: {said}\n") and not (tmp_path / name).exists()


@pytest.mark.parametrize("name", sorted({*WRITERS.values()}))
def test_a_writer_takes_the_options_that_it_reads(name):
    writer = import_module(f"reid.formats.{name}")
    source = inspect.getsource(writer)
    read = set(re.findall(r"\boptions\.(\w+)", source)) & {one.name for one in fields(ExportOptions)} - {"format", "whole"}
    assert set(writer.TAKES) == read | ({"occasions", "side"} if "histories(gallery, options)" in source else set())


def test_decisions_of_people_count(tmp_path, call):
    """A merge that stands in the log, and not in the table, is in what goes out; taken back it is gone."""
    for shade, name in enumerate(("luna", "lena", "nala")):
        save(tmp_path / "g" / name / "2021-06-01.png", np.full((40, 60, 3), 50 * shade, np.uint8))

    def animals():
        code, out, _ = call("export", "--gallery", tmp_path / "g", "--to", "json", "--out", tmp_path / "o.json", "--force")
        assert code == 0
        return [one["identity"] for one in json.loads((tmp_path / "o.json").read_text())["photos"]], out

    assert animals()[0] == ["lena", "luna", "nala"]
    with reid.open(tmp_path / "g") as opened:
        lena, luna, _ = opened.gallery.references
        opened.decisions.append(Kind.MERGE, [opened.key(luna), opened.key(lena)], observer="anna", value="Luna")
        names, out = animals()
        assert names == ["Luna", "Luna", "nala"] and "1 decision" in out
        opened.decisions.undo("anna")
    assert animals()[0] == ["lena", "luna", "nala"]


@pytest.mark.parametrize("cell", ["-", "+", "-12,5", "-12.5", "+3e-4"])
def test_a_number_and_a_lone_mark_stay(cell):
    assert disarmed(cell) == cell == rearmed(cell)


def test_what_is_there_is_replaced_only_with_force(season, tmp_path, call):
    words = ["export", "--gallery", season, "--to", "mark", "--out", tmp_path / "s.inp", "--occasions", "year", "--side", "linked"]
    assert call(*words)[0] == 0
    before = (tmp_path / "s.inp").read_bytes()
    for name in ("s.inp", "s.occasions.csv"):
        (tmp_path / name).write_text("mine")
        (tmp_path / ({"s.inp", "s.occasions.csv"} - {name}).pop()).unlink(missing_ok=True)
        status, _, error = call(*words)
        assert status == 2 and error == f"reid: {tmp_path / name} is there already; add --force, or name another file\n"
        assert (tmp_path / name).read_text() == "mine"
    assert call(*words, "--force")[0] == 0 and (tmp_path / "s.inp").read_bytes() == before
    assert call("export", "--gallery", season, "--to", "csv", "--out", "/dev/null")[0] == 0  # no file


def test_what_is_read_is_not_written_over(season, tmp_path, call):
    table = tmp_path / "s.occasions.csv"
    table.write_text("start,end,effort\n2019-01-01,2019-12-31,4\n2020-01-01,2021-12-31,5\n")
    for out in ("s.inp", "s.occasions.csv"):
        words = ["--to", "mark", "--out", tmp_path / out, "--occasions", table, "--side", "left"]
        status, _, error = call("export", "--gallery", season, *words)
        assert status == 2 and "is a photo or a table that is read" in error
    assert "effort" in table.read_text()
    assert (
        call("export", "--gallery", season, "--to", "rmark", "--out", tmp_path / "x.inp", "--occasions", "year", "--side", "left")[0] == 2
    )
