"""`reid export`: what the catalogue knows in other people's formats, and back again where they can hold it."""

import csv
import io
import json
import os
import re
from datetime import date, datetime, timedelta, timezone

import foreign
import numpy as np
import pandas as pd
import pytest
from conftest import photo, read, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reid
from reid import formats
from reid.catalogue import Kind
from reid.catalogue.values import disarmed, is_given, rearmed
from reid.errors import GalleryError, SettingsError
from reid.formats import histories, importing, placing
from reid.formats.described import photos, whens
from reid.formats.source import Options
from reid.formats.writing import ExportOptions, plain_names
from reid.imaging import facts


def write(gallery, form, out, **options):
    module = __import__(f"reid.formats.{formats.WRITERS[form]}", fromlist=["write"])
    return module.write(gallery, out, ExportOptions(form, **options))


def bring(source, gallery, unpacked, **options):
    plan = importing.plan([source], gallery, facts, Options(**options), unpacked)
    placing.carry_out(plan, facts)
    return read(gallery)


def known(found, *leave_out, extras=("notes", "species", "site", "split")):
    """All that is known of each photo, in the order of files and boxes."""
    rows = []
    refs = photos(found)
    for ref, when in zip(refs, whens(refs), strict=True):
        one = {
            "file": os.path.realpath(ref.path), "crop": ref.crop, "identity": ref.identity, "orientation": ref.orientation, "when": when,
            "encounter": ref.encounter, "mask": ref.mask, **{name: said(name, ref.columns.get(name, "")) for name in extras},
        }  # fmt: skip
        rows.append({name: value for name, value in one.items() if name not in leave_out})
    return sorted(rows, key=lambda row: (row["file"], row["crop"] or ()))


def said(name, cell):
    """Marks alone say nothing in columns that mean something."""
    return cell if name == "notes" or is_given(cell) else ""


letters = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp", "Zs"), max_codepoint=0x2FFF)
words = st.builds(
    lambda start, rest: (start + rest).strip(),
    st.sampled_from(["", "=", "+", "-", "@", "'=", "''-", '"', "0"]),
    st.text(letters, max_size=8),
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda n: timezone(timedelta(minutes=n)))
dates = st.one_of(
    st.none(), st.just("2021"), st.just("2021-11"), st.dates(date(1950, 1, 1), date(2025, 1, 1)).map(str),
    st.datetimes(datetime(1950, 1, 1), datetime(2025, 1, 1)).map(lambda moment: moment.isoformat(" ")),
    st.datetimes(datetime(1950, 1, 1), datetime(2025, 1, 1), timezones=zones)
    .map(lambda moment: moment.isoformat(" ")),
)  # fmt: skip
box = st.one_of(
    st.none(), st.tuples(st.integers(0, 20), st.integers(0, 10), st.sampled_from([2, 7.5, 20.25]), st.integers(2, 20)).map(list)
)
row = st.fixed_dictionaries(
    {
        "identity": words, "date": dates, "orientation": st.sampled_from(["", "left", "R", "topleft", "oblique"]), "encounter": words,
        "bbox": box, "notes": words, "species": st.sampled_from(["", "Caretta caretta"]), "site": words,
        "segmentation": st.sampled_from(["", "[[1, 2, 30, 2, 30, 30]]", "[1, 2, 30, 2, 30, 30]"]),
    }
)  # fmt: skip
rows = st.lists(row, min_size=1, max_size=6)
PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def described(root, rows):
    frame = pd.DataFrame([{"path": f"{name}.png", **one} for name, one in zip("abcdef", rows)])
    return read(root, table=frame)


@PROPERTY
@given(rows=rows)
@pytest.mark.parametrize("form", ["csv", "xlsx", "json", "coco"])
def test_what_goes_out_comes_back(root, tmp_path_factory, form, rows):
    before = described(root, rows)
    there = tmp_path_factory.mktemp("there")
    suffix = {"coco": "json"}.get(form, form)
    write(before, form, there / f"out.{suffix}")
    after = bring(there / f"out.{suffix}", there / "gallery", there / "unpacked", photos=root)
    wrapped = form == "coco"  # a flat polygon is a list of one in COCO

    def same(found):
        return [{**one, "mask": one["mask"] and json.loads(one["mask"])} for one in known(found)]

    wanted = same(before)
    if wrapped:
        wanted = [{**one, "mask": [one["mask"]] if one["mask"] and not isinstance(one["mask"][0], list) else one["mask"]} for one in wanted]
    assert same(after) == wanted


@PROPERTY
@given(rows=rows)
def test_wildlife_datasets_comes_back_to_the_second(root, tmp_path_factory, rows):
    before = described(root, rows)
    there = tmp_path_factory.mktemp("there")
    write(before, "wildlife-datasets", there / "metadata.csv")
    frame = pd.read_csv(there / "metadata.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns[:3]) == ["image_id", "identity", "path"] and frame["image_id"].is_unique and (frame["identity"] != "").all()
    assert list(frame["image_id"]) == sorted(frame["image_id"])
    after = bring(there / "metadata.csv", there / "gallery", there / "unpacked", photos=root)
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
    after = bring(there / "out" / "encounters.xlsx", there / "gallery", there / "unpacked", photos=root)
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


@pytest.fixture
def season(tmp_path):
    """Three animals over three years: Luna from both sides, Zoë from the left, Nala from the right; one photo of nobody, one of a year."""
    names = [
        ("a.png", "Luna", "2019-05-01 10:00", "left", "Jetty", "-3.50", "39.25"),
        ("b.png", "Luna", "2019-05-01 11:30", "right", "Jetty", "-3.50", "39.25"),
        ("c.png", "Luna", "2021-06-01 10:00", "left", "Reef", "-3.60", "39.30"),
        ("d.png", "=Zoë*/", "2020-05-03 09:00", "topleft", "Reef", "-3.60", "39.30"),
        ("e.png", "Nala b", "2021-06-02 08:00", "R", "Reef", "-3.60", "39.30"),
        ("f.png", "unknown", "2018-06-02 08:00", "L", "Reef", "-3.60", "39.30"),
        ("g.png", "Luna", "2019", "", "Jetty", "-3.50", "39.25"),
    ]
    for name, *_ in names:
        photo(tmp_path / "gallery" / name)
    columns = ("path", "identity", "date", "orientation", "site", "latitude", "longitude")
    foreign.write_csv(tmp_path / "gallery" / "metadata.csv", columns, names)
    return tmp_path / "gallery"


def test_mark_has_a_line_an_animal(season, tmp_path):
    written = write(read(season), "mark", tmp_path / "o.inp", occasions="year", side="linked")
    data = (tmp_path / "o.inp").read_bytes()
    assert data == b"/* occasions: 2018, 2019, 2020, 2021 */\n/*Luna*/ 0101 1;\n"
    assert "2 of 3 animals are unlinked" in written.notes[0] and "=Zoë*/, Nala b" in written.notes[0] and written.n_photos == 4
    assert {reason for _, reason in written.left_out} == {histories.ONE_SIDE, histories.NOBODY}
    written = write(read(season), "mark", tmp_path / "l.inp", occasions="year", side="left")
    assert parsed_inp((tmp_path / "l.inp").read_bytes()) == {"Luna": "0101", "=Zoe": "0010"}
    assert (tmp_path / "l.names.csv").read_text() == "name,written\n'=Zoë*/,'=Zoe\n"
    assert (tmp_path / "l.occasions.csv").read_text().splitlines()[:2] == [
        "occasion,start,end,days_to_next",
        "2018,2018-01-01,2018-12-31,365",
    ]
    write(read(season), "mark", tmp_path / "r.inp", occasions="month", side="right")
    assert parsed_inp((tmp_path / "r.inp").read_bytes()) == {"Luna": "0100", "Nala b": "0001"}


@pytest.mark.parametrize("form", ["mark", "rmark", "secr"])
def test_what_is_left_to_do_for_histories_is_told(season, tmp_path, call, form):
    words = ("export", "--gallery", season, "--to", form, "--occasions", "year", "--epsg", "auto")
    _, out, _ = call(*words, "--out", tmp_path / "linked", "--side", "linked")
    each = "2018 (1 photo, 0 of named animals), 2020 (1 photo, 1 of named animals)"
    assert f"2 occasions have photos and a 0 for every animal, since none of them counts: {each}\n" in out and "not known" not in out
    _, out, _ = call(*words, "--out", tmp_path / "left", "--side", "left")
    assert "1 occasion has photos and a 0 for every animal, since none of them counts: 2018 (1 photo, 0 of named animals)\n" in out
    assert "1 photo left out: nobody has said the side; say it in `reid review`" in out
    _, out, err = call(*words, "--out", tmp_path / "right", "--side", "right")
    assert "photos left out: of another side than --side right counts; nothing is to be done (" in out and "left out" not in err


def parsed_inp(data):
    """As RMark's convert.inp reads it: comments are names of rows, which must be unique; one width; frequencies are numbers."""
    text = data.decode("ascii")
    lines = [line for line in text.splitlines() if not (line.startswith("/*") and line.endswith("*/"))]
    found = [re.fullmatch(r"/\*((?:(?!\*/).)+)\*/ ([01]+) 1;", line) for line in lines]
    assert all(found) and "" not in text.splitlines()
    assert len({match[1] for match in found}) == len(found) and len({len(match[2]) for match in found}) == 1
    return {match[1]: match[2] for match in found}


@PROPERTY
@given(rows=rows, unit=st.sampled_from(["day", "month", "year"]))
def test_histories_are_what_the_photos_say(root, tmp_path_factory, rows, unit):
    found = described(root, rows)
    there = tmp_path_factory.mktemp("there")
    refs = photos(found)
    form = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[unit]
    spans = [when and (f"{when.first:{form}}", f"{when.last:{form}}") for when in whens(refs)]
    occasions = sorted({span[0] for span in spans if span and span[0] == span[1]})
    wanted = {(ref.identity, span[0]) for ref, span in zip(refs, spans) if ref.identity and span and span[0] == span[1]}
    wanted = {(name, occasion) for name, occasion in wanted if one_side({ref.orientation for ref in refs if ref.identity == name})}
    if not wanted:
        with pytest.raises(GalleryError):
            write(found, "rmark", there / "h.csv", occasions=unit, side="linked")
        return
    write(found, "rmark", there / "h.csv", occasions=unit, side="linked")
    read_back = pd.read_csv(there / "h.csv", dtype=str, keep_default_na=False)
    histories = {row.id: row.ch for row in read_back.itertuples()}
    names = plain_names({name: name for name, _ in wanted}, r" -)+-.0-~")
    of_name = {disarmed(plain): name for name, plain in names.items()}
    assert {(of_name[name], occasions[place]) for name, ch in histories.items() for place, mark in enumerate(ch) if mark == "1"} == wanted
    assert parsed_inp((there / "h.inp").read_bytes()) == {rearmed(name): ch for name, ch in histories.items()}


def one_side(sides):
    shown = {word for side in sides for word in ("left", "right") if (side or "").endswith(word)}
    return len(shown) != 1


def test_occasions_and_sides_are_asked_for(season, tmp_path):
    found = read(season)
    for options, said in (({}, "--occasions day, month or year"), ({"occasions": "year"}, "--side left"),
                          ({"occasions": "week", "side": "left"}, "none of day, month, year")):  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            write(found, "mark", tmp_path / "o.inp", **options)
    assert not (tmp_path / "o.inp").exists()
    table = foreign.write_csv(
        tmp_path / "when.csv", ("occasion", "start", "end"),
        [("s1", "2019-04-01", "2019-06-30"), ("s2", "2020-04-01", "2020-06-30"), ("empty", "2020-08-01", "2020-08-02"),
         ("s3", "2021-04-01", "2021-06-30")],
    )  # fmt: skip
    written = write(found, "mark", tmp_path / "o.inp", occasions=str(table), side="left")
    assert parsed_inp((tmp_path / "o.inp").read_bytes()) == {"Luna": "1001", "=Zoe": "0100"}
    assert histories.VAGUE not in {reason for _, reason in written.left_out}  # of no side, so its date does not matter
    written = write(found, "mark", tmp_path / "o.inp", occasions=str(table), side="linked")
    assert ("g.png", histories.VAGUE) in written.left_out
    table.write_text("start,end\n2019-04-01,2019-06-30\n2019-06-30,2019-05-01\nx,2020-01-01\n")
    with pytest.raises(GalleryError) as caught:
        write(found, "mark", tmp_path / "o.inp", occasions=str(table), side="left")
    assert [text.split("when.csv, ")[1] for text in caught.value.problems] == [
        "line 3: it ends before it starts (column end)", "line 4: 'x' is no day (column start)",
    ]  # fmt: skip


def test_secr_has_metres_or_nothing(season, tmp_path):
    pytest.importorskip("pyproj")
    found = read(season)
    with pytest.raises(SettingsError, match="secr needs metres, and the table has degrees; say --epsg auto"):
        write(found, "secr", tmp_path / "s", occasions="year", side="left")
    with pytest.raises(SettingsError, match="not a projection in metres"):
        write(found, "secr", tmp_path / "s", occasions="year", side="left", epsg="4326")
    with pytest.raises(SettingsError, match="no number of a projection"):
        write(found, "secr", tmp_path / "s", occasions="year", side="left", epsg="x")
    assert not (tmp_path / "s").exists()
    written = write(found, "secr", tmp_path / "s", occasions="year", side="left", epsg="auto")
    traps = [line.split() for line in (tmp_path / "s" / "traps.txt").read_text().splitlines()]
    assert traps[0][:4] == ["#", "Detector", "X", "Y"] and any("WGS 84 / UTM zone 37S, EPSG:32737" in note for note in written.notes)
    (jetty, x, y), (reef, *_) = traps[1:]
    assert (jetty, reef) == ("Jetty", "Reef") and (float(x), float(y)) == pytest.approx((527755.9, 9613110.0), abs=60)
    captures = (tmp_path / "s" / "captures.txt").read_text().splitlines()
    assert captures == ["# Session ID Occasion Detector", "1 Luna 2 Jetty", "1 Luna 4 Reef", "1 Zoe 3 Reef"]
    table = (season / "metadata.csv").read_text()
    (season / "metadata.csv").write_text(table.replace("latitude,longitude", "p,q"))
    with pytest.raises(GalleryError, match=r"give metadata\.csv the column site, and latitude and longitude"):
        write(read(season), "secr", tmp_path / "t", occasions="year", side="left", epsg="auto")
    (season / "metadata.csv").write_text(table.replace("latitude,longitude", "y,x"))
    with pytest.raises(GalleryError, match="x and y look like degrees"):
        write(read(season), "secr", tmp_path / "t", occasions="year", side="left", epsg="32737")
    (season / "metadata.csv").write_text(table.replace("-3.50,39.25", "-3.51,39.25", 1))
    with pytest.raises(GalleryError) as caught:
        write(read(season), "secr", tmp_path / "t", occasions="year", side="left", epsg="auto")
    assert "site 'Jetty' lies at" in caught.value.problems[0]


def test_camtrapr_has_a_row_a_photo(season, tmp_path):
    written = write(read(season), "camtrapr", tmp_path / "r.csv", species="Chelonia mydas")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert list(rows[0]) == ["Station", "Species", "Individual", "DateTimeOriginal", "Date", "Time", "delta.time.secs", "delta.time.mins",
                             "delta.time.hours", "delta.time.days", "Directory", "FileName"]  # fmt: skip
    assert [(row["Individual"], row["FileName"], row["delta.time.secs"], row["delta.time.hours"]) for row in rows[:2]] == [
        ("Luna", "a.png", "0", "0.0"), ("Luna", "b.png", "5400", "1.5"),
    ]  # fmt: skip
    assert rows[2]["Individual"] == "'=Zoë*/" and rows[0]["DateTimeOriginal"] == "2019-05-01 10:00:00"
    assert {name: reason.split(",")[0] for name, reason in written.left_out} == {
        "f.png": "nobody has said animal", "g.png": "nobody has said time of day",
    }  # fmt: skip


def test_camtrap_dp_is_filled_in_a_copy(tmp_path):
    package = foreign.camtrap_dp(tmp_path / "package")
    text = (package / "observations.csv").read_text().replace("Luna", "")
    (package / "observations.csv").write_text(text)
    save(package / "media" / "IMG_0001.jpg", np.zeros((40, 60, 3), np.uint8))
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    rows = [("../package/media/IMG_0001.jpg", "=Luna", "[6, 10, 30, 20]"), ("../package/media/IMG_0001.jpg", "Nala", "[40, 0, 10, 10]"),
            ("../package/media/IMG_0002.jpg", "Zoë", "")]  # fmt: skip
    foreign.write_csv(gallery / "metadata.csv", ("path", "identity", "bbox"), rows)
    with pytest.raises(SettingsError, match="--package"):
        write(read(gallery), "camtrap-dp", tmp_path / "out")
    written = write(read(gallery), "camtrap-dp", tmp_path / "out", package=package)
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before
    out = list(csv.DictReader(io.StringIO((tmp_path / "out" / "observations.csv").read_text())))
    assert [row["individualID"] for row in out] == ["'=Luna", "Zoë", ""]
    assert [(row["classificationMethod"], row["classifiedBy"][:5]) for row in out] == [("machine", "MegaD"), ("human", "reid "), ("", "")]
    own = list(csv.DictReader(io.StringIO(text)))
    for a, b in zip(out, own, strict=True):
        changed = ("individualID", "classificationMethod", "classifiedBy")
        assert {k: v for k, v in a.items() if k not in changed} == {k: v for k, v in b.items() if k not in changed}
    for name in ("media.csv", "deployments.csv", "datapackage.json"):
        assert (tmp_path / "out" / name).read_bytes() == (package / name).read_bytes()
    assert "individualID filled in 2 observations" in written.notes[0]
    (package / "observations.csv").write_text(text.replace("d1,m1,", "d1,m1,").replace("1,NA,,,", "1,NA,,Kiara,"))
    written = write(read(gallery), "camtrap-dp", tmp_path / "again", package=package)
    assert any("'Kiara' stays, though the catalogue says 'Zoë'" in note for note in written.notes)
    packed = foreign.zipped(package, tmp_path / "package.zip")
    write(read(gallery), "camtrap-dp", tmp_path / "of a zip", package=packed)
    assert (tmp_path / "of a zip" / "observations.csv").read_bytes() == (tmp_path / "again" / "observations.csv").read_bytes()
    with pytest.raises(SettingsError, match="is there already"):
        write(read(gallery), "camtrap-dp", package, package=package)


def test_an_observation_gets_no_animal_that_may_be_another(tmp_path):
    """Of two animals in one photo, of another species beside it, of an event: nothing is filled that is not sure."""
    package = foreign.camtrap_dp(tmp_path / "package")
    head, first, second, _ = (package / "observations.csv").read_text().splitlines()
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    rows = [
        ("../package/media/IMG_0001.jpg", "Luna", "[6, 10, 30, 20]", ""),
        ("../package/media/IMG_0002.jpg", "Zoë", "", "Panthera pardus"),
    ]
    foreign.write_csv(gallery / "metadata.csv", ("path", "identity", "bbox", "species"), rows)
    cases = {
        "two in one photo": ([second, second.replace("o1", "o9")], ["", ""]),
        "another species": ([second.replace("pardus", "tigris")], [""]),
        "another box": ([first.replace("Luna", "").replace("0.1,0.25,0.5,0.5", "0.8,0.8,0.1,0.1")], [""]),
        "two, told by their boxes": ([first.replace("Luna", ""), first.replace("Luna", "").replace("0.1,0.25", "0.5,0.5")], ["Luna", ""]),
        "an event of one": ([second.replace("m1", "").replace("10:00:00", "10:00:01")], ["Zoë"]),
        "an event of two animals": ([second.replace("m1", "")], [""]),
    }
    for name, (lines, wanted) in cases.items():
        (package / "observations.csv").write_text("\n".join([head, *lines]) + "\n")
        write(read(gallery), "camtrap-dp", tmp_path / name, package=package)
        filled = csv.DictReader(io.StringIO((tmp_path / name / "observations.csv").read_text()))
        assert [row["individualID"] for row in filled] == wanted, name


def test_wildbook_needs_what_it_needs(season, tmp_path):
    written = write(read(season), "wildbook", tmp_path / "w")
    assert written.problems and all("needs a species (column species); write it, or give --species" in text for text in written.problems)
    assert not (tmp_path / "w").exists()
    (season / "a_b (1).png").write_bytes((season / "a.png").read_bytes())
    text = (season / "metadata.csv").read_text().replace("identity,", "identity,sex,", 1).replace("Luna,", "Luna,female,").replace(
        "=Zoë*/,", "=Zoë*/,,").replace("Nala b,", "Nala b,,").replace("unknown,", "unknown,,")  # fmt: skip
    (season / "metadata.csv").write_text(text + "a_b (1).png,Luna,female,2019-05-01,left,Jetty,,\n")
    written = write(read(season), "wildbook", tmp_path / "w", species="Chelonia mydas", submitter="me", copy=True)
    sheet = pd.read_excel(tmp_path / "w" / "encounters.xlsx")
    luna = sheet[sheet["MarkedIndividual.individualID"] == "Luna"]
    assert (
        set(luna["Encounter.sex"]) == {"female"}
        and set(sheet["Encounter.state"]) == {"unapproved"}
        and set(sheet["Encounter.submitterID"]) == {"me"}
    )
    names = {row["path"]: row["file"] for row in csv.DictReader(io.StringIO((tmp_path / "w" / "names.csv").read_text()))}
    assert names["a_b (1).png"] == "a b 1.png" and "1 of 8 photos go there under such a name" in written.notes[0]
    assert sorted(path.name for path in (tmp_path / "w" / "photos").iterdir()) == sorted(names.values())
    (season / "metadata.csv").write_text(text.replace("Luna,female", "Luna,cow"))
    assert (
        "sex 'cow' is none of male, female, unknown (column sex)"
        in write(read(season), "wildbook", tmp_path / "v", species="C m").problems[0]
    )


def test_wildbook_takes_200_encounters_a_sheet(tmp_path):
    photo(tmp_path / "g" / "a.png")
    rows = [("a.png", f"x{n}", 2020, f"e{n}", f"[{n % 20}, {n // 20}, 20, 20]", "Bay") for n in range(201)]
    foreign.write_csv(tmp_path / "g" / "metadata.csv", ("path", "identity", "date", "encounter", "bbox", "site"), rows)
    write(read(tmp_path / "g"), "wildbook", tmp_path / "w", species="Chelonia mydas")
    assert [len(pd.read_excel(tmp_path / "w" / f"encounters-{n}.xlsx")) for n in (1, 2)] == [200, 1]


def test_wildlife_datasets_is_told_what_it_refuses(tmp_path):
    for name in ("Ω.png", "b.webp"):
        photo(tmp_path / "g" / "x" / name)
    written = write(read(tmp_path / "g"), "wildlife-datasets", tmp_path / "o.csv")
    assert "not ISO-8859-1: x/Ω.png; rename it" in written.notes[0] and "may not read x/b.webp" in written.notes[1]


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


def test_answers_hold_no_formula():
    from reid.records import Candidate, IdentityRanking, Report
    from reid.report.tables import as_csv

    one = IdentityRanking("-q.jpg", (Candidate("=HYPERLINK(1)", -1.5, 3, "@r.jpg"),), "match", 0.1)
    [row] = csv.DictReader(io.StringIO(as_csv(Report((one,), (), {"top": 5}, "", {}, {}, datetime(2026, 1, 1))).decode()))
    assert (row["query"], row["individual"], row["reference"], row["score"]) == ("'-q.jpg", "'=HYPERLINK(1)", "'@r.jpg", "-1.5")
    assert rearmed(row["individual"]) == "=HYPERLINK(1)"


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


def test_a_package_that_names_files_outside_it_gets_none_of_them(tmp_path):
    """A resource with an absolute path, or one that leads out, is neither read nor written in its place."""
    package = foreign.camtrap_dp(tmp_path / "package")
    secret = save(tmp_path / "secret.csv", np.zeros((4, 4, 3), np.uint8), format="PNG")
    os.chmod(secret, 0o600)
    before = secret.stat()
    about = json.loads((package / "datapackage.json").read_text())
    about["resources"] += [{"name": "a", "path": str(secret)}, {"name": "b", "path": "../secret.csv"}]
    (package / "datapackage.json").write_text(json.dumps(about))
    gallery = tmp_path / "gallery"
    photo(gallery / "luna" / "a.png")
    written = write(read(gallery), "camtrap-dp", tmp_path / "out", package=package)
    assert (secret.stat().st_mode, secret.stat().st_ino) == (before.st_mode, before.st_ino)
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {path.name for path in written.files}
    assert "secret.csv" not in {path.name for path in written.files}


def test_photos_of_nobody_are_not_one_animal_in_wildbook(tmp_path):
    rows = [
        (f"{name}.png", identity, "2021-06-01", "e1")
        for name, identity in (("a", "unknown"), ("b", "unknown"), ("c", "Luna"), ("d", "Luna"))
    ]
    for name, *_ in rows:
        photo(tmp_path / "gallery" / name)
    foreign.write_csv(tmp_path / "gallery" / "metadata.csv", ("path", "identity", "date", "encounter"), rows)
    write(read(tmp_path / "gallery"), "wildbook", tmp_path / "w", species="Chelonia mydas", site="Reef", submitter="me")
    sheet = pd.read_excel(tmp_path / "w" / "encounters.xlsx")
    assert len(sheet) == 3 and sheet["MarkedIndividual.individualID"].notna().sum() == 1


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
