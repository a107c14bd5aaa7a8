"""What other people's files and our own once got wrong between each other, a test each."""

import csv
import json
import zipfile

import foreign
import pytest
from conftest import photo, read, save
from exchange import brought, write

from reid.catalogue import DecisionLog, Kind, PhotoKey
from reid.errors import GalleryError, StoreError
from reid.formats import importing
from reid.formats.histories import VAGUE
from reid.formats.source import Options
from reid.imaging import facts
from reid.store import Digests


def plan(source, gallery, **options):
    return importing.plan([source], gallery, facts, Options(**options), gallery.parent / "unpacked")


def observations(package, change=lambda rows: rows):
    """Rewrite the table of a package; `change` gets its rows as dicts."""
    file = package / "observations.csv"
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = list(rows[0])
    return file, columns, [[row[name] for name in columns] for row in change(rows)]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_camtrap_package_keeps_its_separators(tmp_path, separator):
    package = foreign.camtrap_dp(tmp_path / "package")
    plain = brought(package, tmp_path / "plain", tmp_path / "u1")
    foreign.write_csv(*observations(package), delimiter=separator)
    gallery = brought(package, tmp_path / "gallery", tmp_path / "u2")
    assert [ref.identity for ref in gallery.references] == [ref.identity for ref in plain.references]
    table = tmp_path / "gallery" / "metadata.csv"
    table.write_text(table.read_text().replace("IMG_0002.jpg,unknown", "IMG_0002.jpg,Nala"))
    write(read(tmp_path / "gallery"), "camtrap-dp", tmp_path / "out", package=package)
    with open(tmp_path / "out" / "observations.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=separator))
    assert [row["individualID"] for row in rows] == ["Luna", "Nala", ""] and rows[1]["observationComments"] == "a, b"


def test_a_group_is_no_individual(tmp_path):
    package = foreign.camtrap_dp(tmp_path / "package")
    gallery = brought(package, tmp_path / "gallery", tmp_path / "u1")
    table = tmp_path / "gallery" / "metadata.csv"
    table.write_text(table.read_text().replace("IMG_0002.jpg,unknown", "IMG_0002.jpg,Nala"))
    foreign.write_csv(*observations(package, lambda rows: [{**row, "count": "3" if row["observationID"] == "o1" else "1"} for row in rows]))
    assert len(gallery.references) == 2
    again = plan(package, tmp_path / "again")
    assert len(again.new) == 1 and any("1 observation of several animals (count) left out" in note for note in again.notes)
    written = write(read(tmp_path / "gallery"), "camtrap-dp", tmp_path / "out", package=package)
    assert "Nala" not in (tmp_path / "out" / "observations.csv").read_text() and "of several animals (count)" in written.notes[-1]


def test_a_decided_month_stays_a_month(root):
    save(root / "a.png", foreign.np.full((40, 60, 3), 9, "uint8"))
    (root / "metadata.csv").write_text("path,identity,Date taken,orientation\na.png,Luna,2020-05-06,left\nb.png,Luna,2021-05-06,left\n")
    keys = [PhotoKey(Digests(root / ".reid").of(read(root).references[0]), "a.png")]
    for value in ("2023-07", "2024", "2024-02-03"):
        DecisionLog(root).append(Kind.DATE, keys, observer="zoe", value=value)
        found = read(root, decisions=DecisionLog(root).effective(), digest=Digests(root / ".reid").of)
        write(found, "csv", root / "out.csv")
        with open(root / "out.csv", newline="") as stream:
            assert next(csv.DictReader(stream))["date"] == value
        written = write(found, "wildlife-datasets", root / "w.csv")
        assert any("pandas reads" in note for note in written.notes) == (value.count("-") < 2)
        (root / "out.csv").unlink()
        (root / "w.csv").unlink()
    DecisionLog(root).append(Kind.DATE, keys, observer="zoe", value="2023")
    found = read(root, decisions=DecisionLog(root).effective(), digest=Digests(root / ".reid").of)
    written = write(found, "mark", root / "o.inp", occasions="month", side="left")
    assert written.left_out == (("a.png", VAGUE),)


def sites(root, *rows):
    lines = [f"{name}.png,{who},2020-05-06,left,{where}" for name, (who, where) in zip("abcdefgh", rows)]
    (root / "metadata.csv").write_text("\n".join(["path,identity,date,orientation,site,latitude,longitude", *lines]))
    return read(root)


def test_sites_on_both_sides_of_the_date_line_are_neighbours(root):
    pytest.importorskip("pyproj")
    found = sites(root, ("Luna", "West,-17,179.99"), ("Luna", "East,-17,-179.99"), ("Zoe", "On,-17,180"), ("Zoe", "On,-17,-180"))
    written = write(found, "secr", root / "out", occasions="year", side="left", epsg="auto")
    assert any("UTM zone 1S" in note or "UTM zone 60S" in note for note in written.notes)
    at = {line.split()[0]: tuple(map(float, line.split()[1:3])) for line in (root / "out" / "traps.txt").read_text().splitlines()[1:]}
    assert abs(at["West"][0] - at["East"][0]) == pytest.approx(2131, abs=30) and abs(at["West"][1] - at["East"][1]) < 40


@pytest.mark.parametrize("nothing", ["NA,NA", "nan,nan", "NaN,12", ",", "-,-"])
def test_a_site_without_coordinates_has_no_place(root, nothing):
    pytest.importorskip("pyproj")
    found = sites(root, ("Luna", "Reef,-17,39"), ("Zoe", f"Bay,{nothing}"))
    written = write(found, "secr", root / "out", occasions="year", side="left", epsg="auto")
    assert ("b.png", "site 'Bay' has no place; say it in latitude and longitude") in written.left_out


@pytest.mark.parametrize("bad", ["inf,12", "1e999,12", "north,12"])
def test_coordinates_that_are_no_numbers_are_told(root, bad):
    pytest.importorskip("pyproj")
    with pytest.raises(GalleryError) as caught:
        write(sites(root, ("Zoe", f"Bay,{bad}")), "secr", root / "out", occasions="year", side="left", epsg="auto")
    assert "a.png: " in caught.value.problems[0] and "no two numbers" in caught.value.problems[0]


OUTLINES = {
    "odd": [[6, 10, 36, 10, 36]], "flat and odd": [6, 10, 36, 10, 36, 30, 1], "two points": [[6, 10, 36, 10]],
    "text": [["a", "b", "c", "d", "e", "f"]], "null": [None, 1, 2, 3, 4, 5], "objects": [{"x": 1}], "nan": [[float("nan")] * 6],
    "huge": [[10**400] * 6], "huger": {"size": [10**4000, 10**4000], "counts": [1]},
    "no size": {"counts": [1, 2]}, "no counts": {"size": [40, 60]}, "short": {"size": [40, 60], "counts": [1, 2]},
    "negative": {"size": [40, 60], "counts": [-1, 2401]}, "fractions": {"size": [40, 60], "counts": [1200.5, 1199.5]},
    "words": {"size": [40, 60], "counts": ["a"]}, "sizes": {"size": "40", "counts": "abc"},
}  # fmt: skip


@pytest.mark.parametrize("outline", OUTLINES.values(), ids=OUTLINES)
def test_an_outline_that_is_none_is_told_with_its_row(tmp_path, outline):
    file = foreign.coco(tmp_path / "coco")
    value = json.loads(file.read_text())
    value["annotations"][0]["segmentation"] = outline
    file.write_text(json.dumps(value))
    with pytest.raises(GalleryError) as caught:
        plan(file, tmp_path / "gallery")
    [problem] = [text for text in caught.value.problems if "annotations[0]" in text]
    assert "segmentation" in problem and "\n" not in problem
    table = tmp_path / "coco" / "metadata.csv"
    text = json.dumps(outline)
    with open(table, "w", newline="") as stream:
        csv.writer(stream).writerows([("path", "identity", "segmentation"), ("IMG_0001.jpg", "Luna", text)])
    with pytest.raises(GalleryError) as caught:
        read(tmp_path / "coco")
    assert "line 2: segmentation" in caught.value.problems[-1]


def test_run_lengths_are_outlines_in_both_forms(tmp_path):
    for number, counts in enumerate(([600, 600, 1200], "Xb0Xb0`U1")):
        file = foreign.coco(tmp_path / f"{number}")
        value = json.loads(file.read_text())
        value["annotations"][0]["segmentation"] = {"size": [40, 60], "counts": counts}
        file.write_text(json.dumps(value))
        assert len(plan(file, tmp_path / f"gallery{number}").new) == 2


def test_boxes_that_a_detector_has_rounded_are_clipped(tmp_path):
    file = foreign.megadetector(tmp_path / "md")
    value = json.loads(file.read_text())
    value["images"][0]["detections"][0]["bbox"] = [-1e-8, 0.25, 1.0000001, 0.7500002]
    file.write_text(json.dumps(value))
    found = brought(file, tmp_path / "gallery", tmp_path / "u")
    [crop] = [ref.crop for ref in found.references if ref.crop]
    assert crop == pytest.approx((0, 10, 60, 30)) and crop[0] + crop[2] <= 60 and crop[1] + crop[3] <= 40
    value["images"][0]["detections"][0]["bbox"] = [0, 0.25, 1.1, 0.75]
    file.write_text(json.dumps(value))
    with pytest.raises(GalleryError, match="problem"):
        plan(file, tmp_path / "again")


def test_two_animals_in_the_keywords_of_one_photo_name_none(tmp_path):
    several = foreign.xmp_packet(hierarchical=["Individual|Luna", "Individual|Zoë", "Site|Reef"])
    parts = foreign.xmp_packet(hierarchical=["Individual|Luna", "Individual|Luna|scar"], tags=["Individual/Luna/scar"])
    foreign.with_header(tmp_path / "card" / "a.jpg", shade=1, xmp=several)
    foreign.with_header(tmp_path / "card" / "b.jpg", shade=2, xmp=parts)
    found = plan(tmp_path / "card", tmp_path / "gallery")
    assert [note for note in found.notes if "keywords" in note and "Luna, Zoë" in note and "a.jpg" in note]
    assert [ref.identity for ref in found.found.references] == [None, "Luna"] and found.found.references[0].columns["site"] == "Reef"


def test_a_log_of_no_bytes_has_lost_what_it_held(tmp_path, call):
    photo(tmp_path / "luna" / "a.png")
    log = DecisionLog(tmp_path)
    log.append(Kind.NEW, [PhotoKey("a", "a")], observer="zoe")
    assert not list(tmp_path.glob(".decisions*"))
    log.path.write_bytes(b"")
    for act in (log.history, lambda: log.append(Kind.NEW, [PhotoKey("b", "b")], observer="zoe"), lambda: log.undo("zoe")):
        with pytest.raises(StoreError, match="is empty, and has held decisions; put a copy of it in its place"):
            act()
    assert log.path.read_bytes() == b""
    assert call("check", "--gallery", tmp_path)[0] == 1


def test_two_sides_are_linked_by_photos_of_any_site(root, call):
    rows = [("a", "Luna", "left", "Reef"), ("b", "Luna", "right", "Bay"), ("c", "Zoe", "left", "Reef"), ("d", "Max", "right", "Bay")]
    lines = [f"{name}.png,{who},2020-05-06,{side},{site}" for name, who, side, site in rows]
    (root / "metadata.csv").write_text("\n".join(["path,identity,date,orientation,site", *lines]))
    DecisionLog(root).append(Kind.CANNOT_TELL, [PhotoKey("1", "1"), PhotoKey("2", "2")], observer="zoe")
    words = ("export", "--gallery", root, "--to", "mark", "--occasions", "year", "--side", "linked", "--where", "site=Reef")
    code, out, _ = call(*words, "--out", root / "o.inp", "--cache", root / "elsewhere")
    assert code == 0 and "1 of 2 animals is unlinked" in out and "/*Luna*/ 1 1;" in (root / "o.inp").read_text()
    assert (root / "elsewhere").exists() and not (root / ".reid").exists()


def test_what_wildbook_lacks_of_all_encounters_is_one_line(root):
    (root / "metadata.csv").write_text("path,identity,date,site\n" + "".join(f"{name}.png,{name},2020,x\n" for name in "abcdef"))
    told = "a.png, b.png, c.png and 3 more: Wildbook needs a species (column species); write it, or give --species"
    assert write(read(root), "wildbook", root / "out").problems == (told,)


def test_photos_that_decisions_name_are_told_beside_those_that_nobody_has_named(root):
    (root / "metadata.csv").write_text("path,identity\na.png,unknown\nb.png,unknown\n")
    digest = Digests(root / ".reid").of
    DecisionLog(root).append(Kind.NEW, [PhotoKey(digest(read(root).references[0]), "a.png")], observer="zoe", value="Luna")
    foreign.save(root / "b.png", foreign.np.full((40, 60, 3), 9, "uint8"))  # of another content
    found = read(root, decisions=DecisionLog(root).effective(), digest=digest)
    assert [ref.identity for ref in found.references] == ["Luna", None] and "of the unnamed photos 1 is named by decisions" in found.notes


def test_wildbook_needs_an_epithet(root):
    (root / "metadata.csv").write_text("path,identity,date,species,site\na.png,Luna,2020,Chelonia,Reef\n")
    written = write(read(root), "wildbook", root / "out")
    assert (
        written.problems == ("a.png: Wildbook needs a genus and an epithet, as in 'Chelonia mydas', not 'Chelonia' (column species)",)
        and not (root / "out").exists()
    )


def test_many_small_bombs_are_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(8):
            packed.writestr(f"{number}.bin", bytes(10 << 20))
    with pytest.raises(GalleryError) as caught:
        plan(tmp_path / "bomb.zip", tmp_path / "gallery")
    assert any("unpacks to 80 MiB, more than 200 times what it is" in text for text in caught.value.problems)
