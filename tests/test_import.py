"""`reid import`: other people's files become rows of a gallery's table, whole or not at all."""

import json
import os
import zipfile
from datetime import date, datetime

import foreign
import numpy as np
import pytest
from conftest import read, save
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from reid import formats
from reid.catalogue.table import read_table
from reid.errors import GalleryError, StoreError
from reid.formats import importing, placing, xmp
from reid.formats.archive import unpack
from reid.formats.source import Options
from reid.imaging import facts


@pytest.fixture
def bring(tmp_path):
    """Import into `gallery`: what the gallery is then, and the plan."""

    def run(*sources, copy=False, form=None, gallery=None, skip_bad=False, **options):
        unpacked = tmp_path / f"unpacked{os.urandom(4).hex()}"
        unpacked.mkdir()
        root = gallery or tmp_path / "gallery"
        plan = importing.plan(list(sources), root, facts, Options(**options), unpacked, copy=copy, form=form, skip_bad=skip_bad)
        if plan.changes:
            placing.carry_out(plan, facts)
        return read(root), plan

    return run


def seen(found):
    """What matters of each photo, by its name."""
    return {ref.path.name: (ref.identity, ref.orientation, ref.crop, ref.taken or ref.date) for ref in (*found.references, *found.queries)}


def problems(bring, *sources, **options):
    with pytest.raises(GalleryError) as caught:
        bring(*sources, **options)
    return caught.value.problems


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_megadetector_gives_boxes(tmp_path, bring):
    found, plan = bring(foreign.megadetector(tmp_path / "card"))
    assert seen(found) == {"IMG_0001.jpg": (None, None, (6, 10, 30, 20), None), "IMG_0003.jpg": (None, None, None, None)}
    told = " ".join(plan.notes)
    for said in ("1 box of a person", "1 box below the confidence 0.2", "1 photo without an animal", "1 photo that the detector could not"):
        assert said in told, said


def test_boxes_of_a_detector_fill_rows_that_have_none(tmp_path, bring):
    boxes = foreign.megadetector(tmp_path / "card")
    foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity"), [("IMG_0001.jpg", "Luna"), ("IMG_0003.jpg", "Zoë")])
    found, _ = bring(tmp_path / "card" / "who.csv", boxes)
    assert seen(found)["IMG_0001.jpg"][:3] == ("Luna", None, (6, 10, 30, 20))
    assert len(found.references) == 2


def test_a_box_for_each_of_two_animals(tmp_path, bring):
    foreign.pictures(tmp_path / "card")
    two = [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 1]}, {"category": "1", "conf": 0.8, "bbox": [0.5, 0, 0.5, 1]}]
    value = {"detection_categories": {"1": "animal"}, "images": [{"file": "IMG_0001.jpg", "detections": two}]}
    boxes = foreign.write_json(tmp_path / "card" / "d.json", value)
    found, _ = bring(boxes)
    assert [ref.crop for ref in found.references] == [(0, 0, 30, 40), (30, 0, 30, 40)]
    foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity"), [("IMG_0001.jpg", "Luna")])
    found, plan = bring(tmp_path / "card" / "who.csv", boxes, gallery=tmp_path / "other")
    assert [(ref.identity, ref.crop) for ref in found.references] == [("Luna", None)]
    assert any("2 boxes of" in note and "which is Luna is not known" in note for note in plan.notes)
    assert "the photo has 2 boxes, and which of them is Luna is not said" in problems(bring, tmp_path / "card" / "who.csv")[-1]


def test_corners_instead_of_sizes_are_told(tmp_path, bring):
    foreign.pictures(tmp_path / "card")
    wrong = {"category": "1", "conf": 0.9, "bbox": [0.5, 0.5, 0.9, 0.9]}
    value = {"detection_categories": {"1": "animal", "0": "empty"}, "images": [{"file": "IMG_0001.jpg", "detections": [wrong]}]}
    [*_, said] = problems(bring, foreign.write_json(tmp_path / "card" / "d.json", value))
    assert "d.json, images[0], detections[0]: bbox" in said and "look like a corner, not a size: write [0.5, 0.5, 0.4, 0.4]" in said


def test_coco_gives_boxes_outlines_and_animals(tmp_path, bring):
    found, plan = bring(foreign.coco(tmp_path / "set"))
    assert seen(found) == {
        "IMG_0001.jpg": ("Luna", "left", (6, 10, 30, 20), datetime(2022, 12, 31, 9, 52, 50)),
        "IMG_0002.jpg": ("Zoë", "topleft", (0.5, 0, 59.5, 40), datetime(2022, 12, 31, 9, 52, 51)),
    }
    first = found.references[0]
    assert first.mask == "[[6, 10, 36, 10, 36, 30]]"
    assert (first.columns["species"], first.columns["site"], first.columns["seq_id"]) == ("Caretta caretta", "Bay", "s1")
    assert any("1 annotation of category 'empty' left out" in note for note in plan.notes)


def test_camtrap_dp_gives_observations_of_animals(tmp_path, bring):
    folder = foreign.camtrap_dp(tmp_path / "package")
    found, plan = bring(folder)
    first, second = found.references
    assert (first.identity, first.crop, first.encounter, first.columns["species"]) == ("Luna", (6, 10, 30, 20), "e1", "Panthera pardus")
    assert first.taken.isoformat() == "2024-05-02T10:00:00+03:00"
    assert (first.columns["site"], first.columns["latitude"], first.columns["sex"]) == ("Old Jetty", "-3.5", "female")
    assert second.identity is None
    assert any("1 observation of type blank left out" in note for note in plan.notes)


def test_a_zip_is_unpacked_and_its_photos_are_copied(tmp_path, bring):
    packed = foreign.zipped(foreign.camtrap_dp(tmp_path / "package"), tmp_path / "package.zip")
    assert "lies in a zip; add --copy" in problems(bring, packed)[-1]
    assert not (tmp_path / "gallery").exists()
    found, _ = bring(packed, copy=True)
    assert found.references[0].path.samefile(tmp_path / "gallery" / "photos" / "media" / "IMG_0001.jpg")


def test_animals_that_no_box_tells_apart_are_left_out(tmp_path, bring):
    folder = foreign.camtrap_dp(tmp_path / "package")
    file = folder / "observations.csv"
    lines = file.read_text().splitlines()
    both = [lines[2].replace("o1,", f"o{n},").replace("1,NA,,,", f"1,NA,,{name},") for n, name in ((7, "Nala"), (8, "Kiara"))]
    file.write_text("\n".join([*lines[:2], *both, lines[1].replace("o0", "o9")]) + "\n")
    found, plan = bring(folder)
    assert [(ref.path.name, ref.identity) for ref in found.references] == [("IMG_0001.jpg", "Luna")]
    assert any("1 photo shows several animals and no box says which is which; left out: media/IMG_0002.jpg" in note for note in plan.notes)


def test_an_observation_of_an_event_is_of_its_photos(tmp_path, bring):
    folder = foreign.camtrap_dp(tmp_path / "package")
    text = (folder / "observations.csv").read_text().replace("o0,d1,m0", "o0,d1,").replace("o1,d1,m1", "o1,d2,m1")
    (folder / "observations.csv").write_text(text.replace(",media,animal", ",event,animal", 1).replace(",0.1,0.25,0.5,0.5,", ",,,,,", 1))
    found, _ = bring(folder)
    assert {ref.path.name: ref.identity for ref in found.references} == {"IMG_0001.jpg": "Luna", "IMG_0002.jpg": None}


def test_wildbook_gives_a_row_for_each_photo(tmp_path, bring):
    found, _ = bring(foreign.wildbook(tmp_path / "sheet"))
    assert seen(found) == {
        "IMG_0001.jpg": ("Luna", None, None, datetime(2021, 11, 28, 10, 5)),
        "IMG_0002.jpg": ("Luna", None, None, datetime(2021, 11, 28, 10, 5)),
        "IMG_0003.jpg": (None, None, None, date(2021, 1, 1)),
    }
    assert [ref.encounter for ref in found.references] == ["S-1", "S-1", "sheet row 3"]
    assert (found.references[0].columns["species"], found.references[0].columns["sex"]) == ("Rhincodon typus", "female")


def test_hotspotter_gives_chips(tmp_path, bring):
    found, plan = bring(foreign.hotspotter(tmp_path / "db"))
    assert {key: value[:3] for key, value in seen(found).items()} == {
        "IMG_0001.jpg": ("Luna", None, (6, 10, 30, 20)),
        "IMG_0002.jpg": (None, None, (0, 0, 60, 40)),
    }
    assert [ref.columns["theta"] for ref in found.references] == ["0.00", "0.50"]
    assert any("turns of chips" in note for note in plan.notes)


def test_columns_are_guessed_shown_and_remembered(tmp_path, bring):
    file = foreign.table(tmp_path / "a")
    found, plan = bring(file)
    assert seen(found) == {
        "IMG_0001.jpg": ("Luna", "left", (6, 10, 30, 20), datetime(2021, 11, 28, 10, 15)),
        "IMG_0002.jpg": ("Zoë", None, None, date(2021, 12, 2)),
        "IMG_0003.jpg": (None, "right", None, None),
    }
    assert any("identity from 'Individual'" in note and "orientation from 'Flank'" in note for note in plan.notes)
    foreign.pictures(tmp_path / "b", ["IMG_0009.jpg"])
    odd = foreign.write_csv(tmp_path / "b" / "odd.csv", ("Foto", "Tier"), [("IMG_0009.jpg", "Nala")])
    assert "column 'path' is missing" in str(problems(bring, odd))
    found, _ = bring(odd, columns={"path": "Foto", "identity": "Tier"})
    assert seen(found)["IMG_0009.jpg"][0] == "Nala"
    odd.write_text(odd.read_text().replace("Nala", "Simba").replace("IMG_0009", "IMG_0008"))
    foreign.pictures(tmp_path / "b", ["IMG_0008.jpg"])
    assert seen(bring(odd)[0])["IMG_0008.jpg"][0] == "Simba"
    with pytest.raises(GalleryError) as caught:
        bring(odd, columns={"nonsense": "Tier"})
    assert "there is no meaning 'nonsense'" in str(caught.value.problems)


def test_tables_of_camtrapr_and_timelapse_have_folder_and_name_apart(tmp_path, bring):
    foreign.pictures(tmp_path / "station" / "day")
    file = foreign.write_csv(tmp_path / "station" / "t.csv", ("Individual", "Directory", "FileName"), [("Luna", "day", "IMG_0001.jpg")])
    assert seen(bring(file)[0])["IMG_0001.jpg"][0] == "Luna"


def test_folders_and_cards(tmp_path, bring):
    foreign.pictures(tmp_path / "known" / "Luna" / "left")
    foreign.pictures(tmp_path / "card" / "DCIM" / "100OLYMP", ["P1.jpg"])
    found, plan = bring(tmp_path / "known", tmp_path / "card")
    assert {(ref.identity, ref.orientation) for ref in found.references} == {("Luna", "left"), (None, None)}
    assert any("read as folders" in note for note in plan.notes) and any("read as photos" in note for note in plan.notes)
    found, _ = bring(tmp_path / "known", form="photos", gallery=tmp_path / "other")
    assert found.identities == []


def test_photos_say_when_where_by_what_and_whom(tmp_path, bring):
    data = Image.Exif()
    data[0x010F], data[0x0110] = "Olympus", "TG-6"
    data.get_ifd(0x8769).update({0x9003: "2019:06:20 10:11:12", 0x9291: "25", 0x9011: "+02:00"})
    place = (IFDRational(12), IFDRational(30), IFDRational(36))
    data.get_ifd(0x8825).update({1: "S", 2: place, 3: "E", 4: place})
    packet = foreign.xmp_packet(hierarchical=["Species|Leopard Cat", "Individual|Luna", "Animal|Cat", "turtle"], tags=["Individual/Nala"])
    foreign.with_header(tmp_path / "card" / "a.jpg", exif=data, xmp=packet)
    save(tmp_path / "card" / "b.png", np.full((40, 60, 3), 9, np.uint8))
    (tmp_path / "card" / "b.png.xmp").write_text(foreign.xmp_packet(subject=["Individual:Zoë", "Side|L"]))
    found, _ = bring(tmp_path / "card")
    a, b = found.references
    assert a.taken.isoformat() == "2019-06-20T10:11:12.250000+02:00"
    assert (a.columns["latitude"], a.columns["longitude"], a.columns["camera"]) == ("-12.51", "12.51", "Olympus TG-6")
    assert not [note for note in found.notes if "nothing here" in note]  # of what the import itself wrote
    assert (a.identity, a.columns["species"], b.identity, b.orientation) == ("Luna", "Leopard Cat", "Zoë", "left")
    foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity"), [("a.jpg", "Nala")])
    said = problems(bring, tmp_path / "card" / "who.csv", gallery=tmp_path / "other")[-1]
    assert "a keyword of ../card/a.jpg: identity is 'Luna', but 'Nala' in" in said and "who.csv, line 2" in said


@pytest.mark.parametrize("packet", ["", "<", "<a>" * 5000, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "x" * (xmp.MOST_BYTES + 1), "\0"])
def test_keywords_that_are_no_xmp_are_passed_over(tmp_path, packet):
    path = foreign.with_header(tmp_path / "a.jpg")
    path.with_suffix(".xmp").write_text(packet)
    assert xmp.keywords(path) == []


def test_nothing_is_written_until_all_is_clean(tmp_path, bring):
    foreign.pictures(tmp_path / "a")
    (tmp_path / "a" / "no.jpg").write_text("no photo")
    (tmp_path / "a" / "text.txt").write_text("secret")
    rows = [
        ("IMG_0001.jpg", "Luna", ""),
        ("gone.jpg", "Zoë", ""),
        ("IMG_0002.jpg", "x", "[50, 0, 30, 20]"),
        ("no.jpg", "y", ""),
        ("text.txt", "z", ""),
    ]
    bad = foreign.write_csv(tmp_path / "a" / "who.csv", ("File", "identity", "bbox"), rows)
    worse = foreign.write_json(tmp_path / "a" / "d.json", {"detection_categories": {"1": "animal"}, "images": [{"file": 3}, 4]})
    said = problems(bring, bad, worse)
    for part in (
        f"{bad}, line 3: file 'gone.jpg' is missing (column File)", f"{bad}, line 4: bbox [50.0, 0.0, 30.0, 20.0] lies outside the photo",
        f"{worse}, images[1]: is no object",
    ):  # fmt: skip
        assert any(line.startswith(part) for line in said), part
    assert not (tmp_path / "gallery").exists()
    bad.write_text(bad.read_text().replace("gone.jpg,Zoë", "IMG_0003.jpg,Zoë").replace("50, 0", "5, 0"))
    said = problems(bring, bad)
    assert any(line.startswith(f"{bad}, line 5: ") and "not a photo in a format" in line for line in said)
    assert any(line == f"{bad}, line 6: 'text.txt' is not a photo by its name (column File)" for line in said)
    assert not (tmp_path / "gallery").exists()


def test_a_table_is_extended_and_its_rows_stay(tmp_path, bring):
    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg", "older.jpg"])
    before = "File;Individual;Date;Wetter\nold.jpg;Luna;31/12/2020;sonnig, warm\nolder.jpg;;;\n"
    (gallery / "metadata.csv").write_text(before)
    foreign.pictures(tmp_path / "new", ["new.jpg"])
    file = foreign.write_csv(tmp_path / "new" / "n.csv", ("path", "identity", "date", "site"), [("new.jpg", "Nala", "1.2.2021", "Bay")])
    found, plan = bring(file)
    lines = (gallery / "metadata.csv").read_text().splitlines()
    assert lines == [
        "File,Individual,Date,Wetter,site",
        'old.jpg,Luna,31/12/2020,"sonnig, warm",',
        "older.jpg,,,,",
        "../new/new.jpg,Nala,2021-02-01,,Bay",
    ]
    [backup] = gallery.glob("metadata.before-*.csv")
    assert backup.read_text() == before
    assert (len(plan.new), plan.n_filled) == (1, 0)
    table = (gallery / "metadata.csv").read_bytes()
    _, again = bring(file)
    assert not again.changes and (gallery / "metadata.csv").read_bytes() == table
    file.write_text(file.read_text().replace("Nala", "Simba"))
    assert problems(bring, file)[-1] == f"{file}, line 2: identity is 'Simba', but 'Nala' in {gallery}/metadata.csv, line 4"
    foreign.write_csv(
        gallery / "more.csv",
        ("path", "identity", "orientation", "date"),
        [("older.jpg", "Zoë", "R", ""), ("old.jpg", "Luna", "", "2020-12-30")],
    )
    found, plan = bring(gallery / "more.csv")
    assert seen(found)["older.jpg"][:2] == ("Zoë", "right") and seen(found)["old.jpg"][3] == date(2020, 12, 31)
    assert any("1 row of the table gets what was blank: identity, orientation" in note for note in plan.notes)
    assert any("date: 1 value stays as first written" in note for note in plan.notes)


def test_rows_of_a_table_with_boxes_in_four_columns(tmp_path, bring):
    gallery = foreign.pictures(tmp_path / "gallery", ["a.jpg", "b.jpg"])
    (gallery / "metadata.csv").write_text("path,identity,x1,y1,x2,y2\na.jpg,Luna,6,10,36,30\n")
    foreign.write_csv(gallery / "b.csv", ("path", "identity", "bbox"), [("b.jpg", "Zoë", "[1, 2, 10, 20]")])
    found, _ = bring(gallery / "b.csv")
    assert {key: value[2] for key, value in seen(found).items()} == {"a.jpg": (6, 10, 30, 20), "b.jpg": (1, 2, 10, 20)}
    assert (gallery / "metadata.csv").read_text().splitlines()[-1] == "b.jpg,Zoë,1,2,11,22"


def test_a_gallery_of_folders_keeps_its_animals(tmp_path, bring):
    gallery = tmp_path / "gallery"
    foreign.pictures(gallery / "Luna", ["1.jpg"])
    foreign.pictures(tmp_path / "new" / "Nala", ["2.jpg"])
    found, plan = bring(tmp_path / "new")
    assert found.identities == ["Luna", "Nala"]
    assert any("has no table yet: its own 1 photo in folders" in note for note in plan.notes)


def test_photos_that_lie_in_the_gallery_are_whom_the_source_says(tmp_path, bring):
    foreign.pictures(tmp_path / "gallery" / "DCIM" / "100OLYMP", ["1.jpg"])
    assert bring(tmp_path / "gallery" / "DCIM")[0].identities == []
    foreign.pictures(tmp_path / "second" / "incoming" / "Luna", ["1.jpg"])
    assert bring(tmp_path / "second" / "incoming", gallery=tmp_path / "second")[0].identities == ["Luna"]
    foreign.pictures(tmp_path / "third" / "Luna", ["1.jpg", "2.jpg"])
    boxes = [{"file": "1.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 1]}]}]
    file = foreign.write_json(tmp_path / "third" / "Luna" / "d.json", {"detection_categories": {"1": "animal"}, "images": boxes})
    found, _ = bring(file, gallery=tmp_path / "third")
    assert [(ref.identity, ref.crop) for ref in found.references] == [("Luna", (0, 0, 30, 40)), ("Luna", None)]


def test_odd_names_of_files_come_back(tmp_path, bring):
    foreign.pictures(tmp_path / "a" / "=Luna", ["=cmd.jpg", "-1, x.jpg", "'@y.jpg", 'q"uote.jpg', "Ω é.jpg"])
    found, _ = bring(tmp_path / "a")
    assert {ref.path.name for ref in found.references} == set(os.listdir(tmp_path / "a" / "=Luna")) and found.identities == ["=Luna"]
    assert not bring(tmp_path / "a")[1].changes


def test_a_photo_under_two_names_is_told(tmp_path, bring):
    foreign.pictures(tmp_path / "a" / "Luna", ["1.jpg"])
    foreign.pictures(tmp_path / "a" / "Zoë", ["x.jpg"])
    _, plan = bring(tmp_path / "a")
    assert any(note.endswith("under two names: ../a/Luna/1.jpg = ../a/Zoë/x.jpg, as Luna and as Zoë") for note in plan.notes)


@pytest.mark.parametrize("copy", [False, True])
def test_photos_that_the_gallery_holds_are_not_taken_in_again(tmp_path, bring, copy):
    foreign.pictures(tmp_path / "gallery" / "Luna", ["a.jpg", "b.jpg"])
    foreign.pictures(tmp_path / "card", ["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"])
    found, plan = bring(tmp_path / "card", copy=copy)
    assert sorted((ref.path.name, ref.identity) for ref in found.references) == [("IMG_3.jpg", None), ("a.jpg", "Luna"), ("b.jpg", "Luna")]
    assert (len(plan.new), plan.n_own, len(plan.copies)) == (1, 2, copy)
    told = "2 photos are in the gallery under another name, and not taken in again: IMG_1.jpg is Luna/a.jpg, IMG_2.jpg is Luna/b.jpg"
    assert told in plan.notes and any(note.startswith("1 of 1 new photo has no side") for note in plan.notes)
    foreign.pictures(tmp_path / "other" / "Nala", ["IMG_1.jpg"])  # somebody says that it is another animal: both stay, and it is told
    found, plan = bring(tmp_path / "other", copy=copy)
    assert len(found.references) == 4 and any(note.endswith("as Luna and as Nala") for note in plan.notes)
    table = foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity", "date"), [("IMG_2.jpg", "Luna", "2024-05-06")])
    found, plan = bring(table, copy=copy)
    assert (len(plan.new), plan.n_filled) == (0, 1) and "Luna/b.jpg" in {ref.image_id for ref in found.references if ref.date}


def test_a_link_in_the_gallery_that_leads_nowhere_stops_no_import(tmp_path, bring):
    foreign.pictures(tmp_path / "gallery" / "Luna", ["a.jpg"])
    (tmp_path / "gallery" / "Luna" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    foreign.pictures(tmp_path / "card", ["1.jpg", "2.jpg"])
    found, plan = bring(tmp_path / "card", copy=True)
    assert [ref.image_id for ref in found.references] == ["Luna/a.jpg", "photos/2.jpg"]
    assert "1 link leads to a file that is gone, and gets no row: Luna/gone.jpg" in plan.notes


def test_a_copy_is_made_of_a_photo_that_the_gallery_only_names(tmp_path, bring):
    """Its card may be emptied afterwards."""
    foreign.pictures(tmp_path / "card", ["IMG_1.jpg"])
    bring(tmp_path / "card")
    _, plan = bring(tmp_path / "card", copy=True)
    assert [target for _, target in plan.copies] == [tmp_path / "gallery" / "photos" / "IMG_1.jpg"]


def test_photos_are_copied_once_and_never_on_others(tmp_path, bring):
    for name, shade in (("a", 1), ("b", 2)):
        save(tmp_path / name / "DCIM" / "1.png", np.full((40, 60, 3), shade, np.uint8))
    before = files(tmp_path / "a") | files(tmp_path / "b")
    found, plan = bring(tmp_path / "a", tmp_path / "b", copy=True, form="photos")
    names = {ref.image_id for ref in found.references}
    assert names == {"photos/DCIM/1.png", "photos/DCIM/1 (2).png"}
    again, plan = bring(tmp_path / "a", tmp_path / "b", copy=True, form="photos")
    assert not plan.changes and not plan.copies
    assert files(tmp_path / "a") | files(tmp_path / "b") == before
    (tmp_path / "gallery" / "metadata.csv").unlink()  # as if the import before had been killed on its way
    again, _ = bring(tmp_path / "a", tmp_path / "b", copy=True, form="photos")
    assert {(ref.image_id, ref.identity) for ref in again.references} == {(name, None) for name in names}


def test_an_interrupted_import_leaves_the_old_table(tmp_path, bring, monkeypatch):
    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg"])
    (gallery / "metadata.csv").write_text("path,identity\nold.jpg,Luna\n")
    foreign.pictures(tmp_path / "new" / "Nala", ["1.jpg", "2.jpg"])
    before = files(gallery)

    class Killed(BaseException):
        pass

    real, calls = placing.write_atomically, []
    for stop in range(1, 5):  # the first copy, the second, the backup, the table

        def failing(path, data, stop=stop):
            calls.append(path)
            if len(calls) == stop:
                raise Killed
            real(path, data)

        calls.clear()
        monkeypatch.setattr(placing, "write_atomically", failing)
        with pytest.raises(Killed):
            bring(tmp_path / "new", copy=True)
        assert {k: v for k, v in files(gallery).items() if not k.startswith(("metadata.before-", ".reid"))} == before, stop
    monkeypatch.setattr(placing, "write_atomically", real)
    assert bring(tmp_path / "new", copy=True)[0].identities == ["Luna", "Nala"]


def test_a_table_that_another_program_changes_meanwhile_stays(tmp_path):
    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg"])
    (gallery / "metadata.csv").write_text("path,identity\nold.jpg,Luna\n")
    foreign.pictures(tmp_path / "new" / "Nala", ["1.jpg"])
    plan = importing.plan([tmp_path / "new"], gallery, facts, Options(), tmp_path / "unpacked")
    (gallery / "metadata.csv").write_text("path,identity\nold.jpg,Zoë\n")
    with pytest.raises(StoreError, match="changed by another program meanwhile"):
        placing.carry_out(plan, facts)
    assert read(gallery).identities == ["Zoë"]


def test_an_import_that_comes_too_late_touches_no_photo_of_the_one_before(tmp_path):
    gallery = tmp_path / "gallery"
    for name, colour in (("first", "red"), ("second", "blue")):
        photo = tmp_path / name / "Nala" / "1.png"
        photo.parent.mkdir(parents=True)
        Image.new("RGB", (60, 40), colour).save(photo)
    first, second = (
        importing.plan([tmp_path / name], gallery, facts, Options(), tmp_path / "unpacked", copy=True) for name in ("first", "second")
    )
    placing.carry_out(first, facts)
    before = files(gallery)
    with pytest.raises(StoreError, match="changed by another program meanwhile; run again"):
        placing.carry_out(second, facts)
    assert files(gallery) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells what is synced by /proc")
def test_photos_are_on_the_disk_before_the_table_names_them(tmp_path, bring, monkeypatch):
    foreign.pictures(tmp_path / "new" / "Nala", ["1.jpg"])
    fsync, replace, events = os.fsync, os.replace, []

    def syncing(place):
        events.append(os.readlink(f"/proc/self/fd/{place}").removeprefix(f"{tmp_path}/"))
        fsync(place)

    def moving(source, target):
        events.append(f"-> {os.path.relpath(target, tmp_path)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", moving)
    bring(tmp_path / "new", copy=True)
    photo, table = (events.index(f"-> gallery/{name}") for name in ("photos/Nala/1.jpg", "metadata.csv"))
    assert events[photo - 1].startswith("gallery/photos/Nala/.1.jpg.") and events[table - 1].startswith("gallery/.metadata.csv.")
    assert set(events[photo + 1 : table - 1]) == {"gallery/photos/Nala", "gallery/photos", "gallery"} and events[table + 1] == "gallery"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells what is synced by /proc")
def test_the_table_before_is_on_the_disk_before_the_new_one(tmp_path, bring, monkeypatch):
    foreign.pictures(tmp_path / "old", ["1.jpg"])
    bring(tmp_path / "old", copy=True)
    foreign.pictures(tmp_path / "new", ["1.jpg", "2.jpg"])
    fsync, replace, events = os.fsync, os.replace, []
    monkeypatch.setattr(os, "fsync", lambda place: (events.append(os.path.basename(os.readlink(f"/proc/self/fd/{place}"))), fsync(place)))
    monkeypatch.setattr(os, "replace", lambda source, target: (events.append(f"-> {os.path.basename(target)}"), replace(source, target)))
    bring(tmp_path / "new", copy=True)
    [backup] = [path.name for path in (tmp_path / "gallery").glob("metadata.before-*")]
    between = events[events.index(f"-> {backup}") + 1 : events.index("-> metadata.csv")]
    assert between[:2] == [backup, "gallery"]


def test_sides_are_read_from_names_and_those_without_are_counted(tmp_path, bring):
    foreign.pictures(tmp_path / "card", ["luna-left.jpg", "zoe_top_2.jpg", "IMG_0001.jpg"])
    found, plan = bring(tmp_path / "card")
    assert sorted((ref.path.name, ref.orientation) for ref in found.references) == [
        ("IMG_0001.jpg", None), ("luna-left.jpg", "left"), ("zoe_top_2.jpg", "top"),
    ]  # fmt: skip
    assert "2 sides are taken from names of files: 1 left, 1 top" in plan.notes
    assert any(note.startswith("1 of 3 new photos has no side; where an animal's sides differ, say it in") for note in plan.notes)


def test_encounters_of_new_photos_are_what_is_shown(tmp_path, call):
    names = [f"2019-01-{day:02d}.jpg" for day in range(1, 13)]
    foreign.pictures(tmp_path / "old" / "amber", names)
    call("import", tmp_path / "old", "--gallery", tmp_path / "gallery", "--copy")
    foreign.pictures(tmp_path / "new" / "zoe", ["2020-05-06.jpg"])
    _, out, _ = call("import", tmp_path / "new", "--gallery", tmp_path / "gallery", "--copy", "--dry-run")
    table = out.partition("encounter, as derived")[2]
    assert "zoe" in table and "2020-05-06" in table and "2019-01" not in table and "more" not in table
    _, out, _ = call("import", tmp_path / "new", "--gallery", tmp_path / "old", "--copy", "--dry-run")  # which has no table yet
    table = out.partition("encounter, as derived")[2]
    assert "zoe" in table and "2019-01" not in table and "1 of 1 new photo has no side" in out
    assert "gets 1 new photo (1 named, 1 animal), 1 file copied into" in out and "12 photos of the gallery's own folders" in out


@pytest.mark.parametrize("folder", ["DCIM/100CANON", "100_PANA", "10160715", "2026-07-15"])
def test_a_card_of_cameras_folders_names_nobody(tmp_path, bring, folder):
    foreign.pictures(tmp_path / "card" / folder, ["IMG_0001.JPG"])
    found, plan = bring(tmp_path / "card")
    assert [ref.identity for ref in found.references] == [None] and "read as photos" in plan.notes[0]


def test_an_import_names_the_next_step_where_photos_have_no_name(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign.pictures(tmp_path / "my card" / "DCIM" / "100CANON", ["IMG_0001.JPG"])
    said = call("import", "my card", "--gallery", "g")[1].splitlines()
    assert said[-1] == "1 new photo without a name; next: reid review 'my card/DCIM/100CANON' --gallery g"
    foreign.pictures(tmp_path / "known" / "luna", ["a.jpg", "b.jpg"])
    assert "next:" not in call("import", "known", "--gallery", "g", "--copy")[1]
    said = call("import", "my card", "--gallery", "h", "--copy")[1].splitlines()
    assert said[-1].endswith("next: reid review h/photos --gallery h")  # as in README.md
    foreign.pictures(tmp_path / "named" / "luna", ["1.jpg", "2.jpg", "3.jpg"])
    call("import", "named", "--gallery", "i", "--copy")
    foreign.pictures(tmp_path / "next" / "DCIM", ["a.jpg", "b.jpg", "c.jpg", "4.jpg"])
    said = call("import", "next", "--gallery", "i", "--copy")[1].splitlines()  # beside photos that have a name, which nobody is asked about
    assert said[-1] == "1 new photo without a name; next: reid review i/photos/DCIM --gallery i"
    status, _, said = call("import", "my card", "--gallery", "k", "--as", "folders")
    assert status == 2 and "leave out --as folders, and they are taken in without names, for `reid review` to give them" in said


def test_cards_in_folders_of_stations_name_places_and_nobody(tmp_path, bring):
    for name in ("north", "south"):
        foreign.pictures(tmp_path / "traps" / name / "DCIM" / "100EK113", [f"{name}.JPG"])
    with pytest.raises(GalleryError, match=r"only as cameras and days are \(north/DCIM, south/DCIM\): `reid import"):
        read(tmp_path / "traps")
    found, plan = bring(tmp_path / "traps")
    assert [(ref.identity, ref.columns["site"]) for ref in found.references] == [(None, "north"), (None, "south")]
    assert any("taken for sites (north, south)" in note for note in plan.notes)
    foreign.pictures(tmp_path / "traps" / "luna" / "2026-07-15", ["a.jpg"])  # an animal, and the day
    assert {ref.identity for ref in read(tmp_path / "traps").references} == {None, "luna"}


def test_only_a_csv_is_extended(tmp_path, bring):
    import pandas as pd

    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg"])
    pd.DataFrame({"path": ["old.jpg"], "identity": ["Luna"]}).to_excel(gallery / "metadata.xlsx", index=False)
    with pytest.raises(GalleryError, match="only a csv is extended; save it as"):
        bring(tmp_path / "gallery" / "old.jpg")


@pytest.mark.parametrize(
    ("member", "said"),
    [("../out.jpg", "leads out"), ("/tmp/out.jpg", "leads out"), ("a/../../out.jpg", "leads out"), ("C:/out.jpg", "leads out"),
     ("a\\..\\out.jpg", "leads out"), ("bomb.csv", "unpacks to"), ("link.jpg", "is a link"), ("A.jpg", "its name is that of 'a.jpg'")],
)  # fmt: skip
def test_a_zip_that_means_harm_is_refused(tmp_path, member, said):
    (tmp_path / "inner").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", b"1")
        info = zipfile.ZipInfo(member)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = (0o120777 if member == "link.jpg" else 0o100644) << 16
        packed.writestr(info, b"0" * (1 << 25) if member == "bomb.csv" else b"x")
    with pytest.raises(GalleryError) as caught:
        unpack(tmp_path / "a.zip", tmp_path / "inner")
    assert said in str(caught.value.problems)
    assert not list((tmp_path / "inner").iterdir()) and sorted(os.listdir(tmp_path)) == ["a.zip", "inner"]


def test_hostile_paths_copy_nothing_out_of_the_gallery(tmp_path, bring):
    foreign.pictures(tmp_path / "elsewhere", ["a.jpg"])
    foreign.pictures(tmp_path / "tables", ["b.jpg"])
    for text in ("../elsewhere/a.jpg", str(tmp_path / "elsewhere" / "a.jpg")):
        file = foreign.write_csv(tmp_path / "tables" / "t.csv", ("path", "identity"), [(text, "Luna")])
        found, _ = bring(file, copy=True, gallery=tmp_path / "g")
        assert [ref.path for ref in found.references] == [tmp_path / "g" / "photos" / "a.jpg"]
    for text in ("../../../../../../etc/passwd", "/etc/passwd", "\0", "x" * 300 + ".jpg", "C:\\x.jpg", "\\\\server\\x.jpg"):
        file = foreign.write_json(
            tmp_path / "tables" / "d.json", {"detection_categories": {"1": "animal"}, "images": [{"file": text, "failure": "x"}]}
        )
        assert problems(bring, file, copy=True, gallery=tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_every_reader_knows_its_own(tmp_path, bring):
    for name, make in foreign.SAMPLES.items():
        _, plan = bring(make(tmp_path / name), gallery=tmp_path / f"of {name}")
        assert any(f"read as {name}, " in note for note in plan.notes), name
    assert set(formats.READERS) == {*foreign.SAMPLES, "json", "photos", "folders"}


def test_the_command(tmp_path, call):
    source = foreign.table(tmp_path / "a")
    gallery = tmp_path / "gallery"
    before = files(tmp_path)
    code, out, err = call("import", source, "--gallery", gallery, "--dry-run")
    assert (code, err) == (0, "") and files(tmp_path) == before and not gallery.exists()
    gets = f"without --dry-run {gallery / 'metadata.csv'} gets 3 new photos (2 named, 2 animals; 1 without a name)"
    assert f"dry run, nothing is written; {gets}" in out and "Luna, 2021-11-28 10:15" in out and "identity from 'Individual'" in out
    code, out, err = call("import", source, "--gallery", gallery)
    assert code == 0 and f"{gallery / 'metadata.csv'} has got 3 new photos (2 named, 2 animals; 1 without a name); it has 3 rows now" in out
    assert [row[1][1] for row in read_table(gallery / "metadata.csv").rows] == ["Luna", "Zoë", "?"]
    code, out, _ = call("import", source, "--gallery", gallery)
    assert code == 0 and "nothing to add" in out
    source.write_text(source.read_text().replace("IMG_0001", "gone"))
    before = files(gallery)
    code, out, err = call("import", source, "--gallery", gallery)
    assert code == 2 and f"reid: {source}, line 2: file 'gone.jpg' is missing (column File name)" in err and files(gallery) == before
    assert "--photos names another folder" in err
    for words, said in (
        (["--column", "identity"], "not of the form meaning=column"), (["--photos", tmp_path / "none"], "is not a folder"),
    ):  # fmt: skip
        code, _, err = call("import", source, "--gallery", gallery, *words)
        assert code == 2 and said in err and len(err.splitlines()) == 1
    code, _, err = call("import", tmp_path / "nothing", "--gallery", gallery)
    assert code == 2 and "nothing does not exist" in err
    code, out, _ = call(
        "import", foreign.table(tmp_path / "b"), "--gallery", gallery, "--column", "identity=", "--column", "site=Individual"
    )
    assert code == 0 and json.loads((gallery / ".reid" / "columns.json").read_text()) == {"site": "Individual"}


def test_bad_photos_are_left_out_only_where_that_is_asked_for(tmp_path, call):
    card, gallery = foreign.pictures(tmp_path / "card"), tmp_path / "gallery"
    (card / "IMG_4998.JPG").write_text("no photo")
    (card / "IMG_4999.JPG").touch()
    code, _, err = call("import", card, "--gallery", gallery)
    refused = "2 problems; nothing was written; --skip-bad leaves out 2 photos that cannot be used"
    assert code == 2 and err.splitlines()[-1] == f"reid: {refused}" and not gallery.exists()
    for words in (["--dry-run"], []):
        code, _, err = call("import", card, "--gallery", gallery, "--skip-bad", *words)
        bad, empty = err.splitlines()
        assert code == 1 and "IMG_4998.JPG" in bad and "IMG_4999.JPG" in empty and empty.endswith("is empty")
        assert gallery.exists() == (not words)
    assert [ref.path.name for ref in read(gallery).references] == list(foreign.NAMES)


def test_bad_rows_of_a_table_are_left_out_and_the_others_keep_their_cells(tmp_path, bring):
    card = foreign.pictures(tmp_path / "card")
    rows = [("none.jpg", "Nala", "a"), ("IMG_0002.jpg", "Luna", "b"), ("IMG_0002.jpg", "Kiara", "c"), ("IMG_0003.jpg", "Zoë", "d")]
    who = foreign.write_csv(card / "who.csv", ("path", "identity", "note"), rows)
    found, plan = bring(who, skip_bad=True)
    assert [(ref.path.name, ref.identity, ref.columns["note"]) for ref in found.references] == [
        ("IMG_0002.jpg", "Luna", "b"), ("IMG_0003.jpg", "Zoë", "d"),
    ]  # fmt: skip
    assert ["line 2" in plan.left_out[0], "line 4" in plan.left_out[1], len(plan.left_out)] == [True, True, 2]
    twice = foreign.write_csv(tmp_path / "card" / "other.csv", ("path", "identity"), [("IMG_0002.jpg", "Nala")])
    assert "identity is 'Nala', but 'Luna'" in problems(bring, twice, skip_bad=True)[-1]
    (tmp_path / "card" / "IMG_0003.jpg").unlink()
    assert "IMG_0003.jpg' is missing" in problems(bring, card / "IMG_0001.jpg", skip_bad=True)[-1]  # the gallery's own rows stay
