"""`reid export`: capture histories, and the record table that they are made of elsewhere."""

import csv
import io
import re

import foreign
import pandas as pd
import pytest
from conftest import read
from exchange import PROPERTY, described, rows, write
from hypothesis import given
from hypothesis import strategies as st

from reid.catalogue.values import disarmed, rearmed
from reid.errors import GalleryError, SettingsError
from reid.formats import histories
from reid.formats.described import photos, whens
from reid.formats.writing import plain_names


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


def test_an_animal_of_whose_sides_nothing_is_known_is_told_where_linked_ones_count(season, tmp_path):
    table = season / "metadata.csv"
    table.write_text(table.read_text("utf-8").replace("f.png,unknown,2018-06-02 08:00,L", "f.png,Nova,2018-06-02 08:00,"), "utf-8")
    written = write(read(season), "mark", tmp_path / "o.inp", occasions="year", side="linked")
    assert "1 animal counts of which no photo says left or right (Nova), and may be another one's other side" in written.notes[0]
    assert parsed_inp((tmp_path / "o.inp").read_bytes()) == {"Luna": "0101", "Nova": "1000"}
    table.write_text("\n".join(",".join(row.split(",")[:3]) for row in table.read_text("utf-8").splitlines()), "utf-8")
    assert (
        "left or right (" not in write(read(season), "mark", tmp_path / "p.inp", occasions="year", side="linked").notes[0]
    )  # none has sides


def test_a_side_counts_by_the_words_in_it_and_one_that_is_not_known_is_told(season, tmp_path):
    table = season / "metadata.csv"
    text = table.read_text("utf-8").replace("11:30,right", "11:30,right (poor)").replace(",R,", ",right fin,")
    table.write_text(text.replace("2019,,", "2019-05-01,upright,"), "utf-8")
    written = write(read(season), "mark", tmp_path / "o.inp", occasions="year", side="right")
    assert parsed_inp((tmp_path / "o.inp").read_bytes()) == {"Luna": "0100", "Nala b": "0001"} and written.n_photos == 2
    assert dict(written.left_out)["g.png"] == histories.ODD_SIDE
    assert dict(written.left_out)["a.png"].startswith("of another side than --side right counts")
    assert "2 of 3 animals are unlinked" in written.notes[0]


def test_a_map_of_names_is_that_of_the_last_export(season, tmp_path):
    write(read(season), "mark", tmp_path / "o.inp", occasions="year", side="left")
    assert "'=Zoe" in (tmp_path / "o.names.csv").read_text()
    write(read(season), "mark", tmp_path / "o.inp", occasions="year", side="right")
    assert (tmp_path / "o.names.csv").read_text() == "name,written\n"
    write(read(season), "mark", tmp_path / "p.inp", occasions="year", side="right")
    assert not (tmp_path / "p.names.csv").exists()


@pytest.mark.parametrize("form", ["mark", "rmark", "secr"])
def test_what_is_left_to_do_for_histories_is_told(season, tmp_path, call, form):
    words = ("export", "--gallery", season, "--to", form, "--occasions", "year", *(("--epsg", "auto") if form == "secr" else ()))
    _, out, _ = call(*words, "--out", tmp_path / "linked", "--side", "linked")
    each = "2018 (1 photo, 0 of known animals), 2020 (1 photo, 1 of known animals)"
    assert f"2 occasions have photos and a 0 for every animal, since none of them counts: {each}\n" in out and "not known" not in out
    _, out, _ = call(*words, "--out", tmp_path / "left", "--side", "left")
    assert "1 occasion has photos and a 0 for every animal, since none of them counts: 2018 (1 photo, 0 of known animals)\n" in out
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


def test_start_and_end_of_occasions_are_read_in_one_order_which_is_told(season, tmp_path, call):
    table = tmp_path / "when.csv"
    table.write_text("start,end\n03/01/2019,05/31/2019\n03/01/2021,06/01/2021\n")
    out = tmp_path / "o.inp"
    words = ("export", "--gallery", season, "--to", "mark", "--occasions", table, "--side", "left", "--out", out)
    status, said, _ = call(*words)
    assert status == 0 and f"{table}, start and end: dates are read as month/day/year, as 05/31/2019 tells\n" in said
    assert (tmp_path / "o.occasions.csv").read_text().splitlines()[1:] == ["1,2019-03-01,2019-05-31,731", "2,2021-03-01,2021-06-01,"]
    table.write_text("start,end\n03/01/2019,04/05/2019\n03/01/2021,04/06/2021\n")
    said = call(*words, "--force")[1]
    assert "no date tells day from month, so they are read as day/month/year; 03/01/2019 is read as 2019-01-03" in said


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
    assert written.notes[0].startswith("2 animals on 4 occasions at 2 sites; ") and "1 occasion has photos and a 0" in written.notes[1]
    table = (season / "metadata.csv").read_text()
    (season / "metadata.csv").write_text(table.replace("topleft,Reef", "topleft,"))  # the only photo of 2020 that counts
    written = write(read(season), "secr", tmp_path / "no site", occasions="year", side="left", epsg="auto")
    assert written.notes[0].startswith("1 animal on 4 occasions at 2 sites; ")
    write(read(season), "secr", tmp_path / "one site", occasions="year", side="left", epsg="auto", site="Reef")
    assert (tmp_path / "one site" / "captures.txt").read_text().splitlines() == captures
    each = "2018 (1 photo, 0 of known animals), 2020 (1 photo, 1 of known animals)"
    assert f"2 occasions have photos and a 0 for every animal, since none of them counts: {each}" in written.notes
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
    with pytest.raises(GalleryError) as caught:
        write(read(season), "camtrapr", tmp_path / "none.csv")
    assert any(
        "nobody has said species, which a record table needs; say it, or give --species for all (" in one for one in caught.value.problems
    )
