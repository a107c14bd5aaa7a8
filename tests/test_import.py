"""`reid import`: other people's files become rows of a gallery's table, whole or not at all."""

import os
from datetime import date, datetime

import foreign
import numpy as np
import pytest
from conftest import read, save
from exchange import problems, seen
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from reid import formats
from reid.errors import GalleryError
from reid.formats import xmp


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
    said = "the photos lie in a zip; add --copy, or unpack it first"
    assert problems(bring, packed) == (f"{packed}: {said}",)  # once for all; not the folder that it is unpacked to
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
    odd = foreign.write_csv(tmp_path / "b" / "odd.csv", ("Aufnahme", "Kürzel"), [("IMG_0009.jpg", "Nala")])
    assert "column 'path' is missing" in str(problems(bring, odd))
    found, _ = bring(odd, columns={"path": "Aufnahme", "identity": "Kürzel"})
    assert seen(found)["IMG_0009.jpg"][0] == "Nala"
    odd.write_text(odd.read_text().replace("Nala", "Simba").replace("IMG_0009", "IMG_0008"))
    foreign.pictures(tmp_path / "b", ["IMG_0008.jpg"])
    assert seen(bring(odd)[0])["IMG_0008.jpg"][0] == "Simba"
    with pytest.raises(GalleryError) as caught:
        bring(odd, columns={"nonsense": "Kürzel"})
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
    assert not [note for note in found.notes if "further column" in note]  # of what the import itself wrote
    assert (a.identity, a.columns["species"], b.identity, b.orientation) == ("Luna", "Leopard Cat", "Zoë", "left")
    foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity"), [("a.jpg", "Nala")])
    said = problems(bring, tmp_path / "card" / "who.csv", gallery=tmp_path / "other")[-1]
    assert "a keyword of ../card/a.jpg: identity is 'Luna', but 'Nala' in" in said and "who.csv, line 2" in said


@pytest.mark.parametrize("packet", ["", "<", "<a>" * 5000, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "x" * (xmp.MOST_BYTES + 1), "\0"])
def test_keywords_that_are_no_xmp_are_passed_over(tmp_path, packet):
    path = foreign.with_header(tmp_path / "a.jpg")
    path.with_suffix(".xmp").write_text(packet)
    assert xmp.keywords(path) == []


def test_odd_names_of_files_come_back(tmp_path, bring):
    foreign.pictures(tmp_path / "a" / "=Luna", ["=cmd.jpg", "-1, x.jpg", "'@y.jpg", 'q"uote.jpg', "Ω é.jpg"])
    found, _ = bring(tmp_path / "a")
    assert {ref.path.name for ref in found.references} == set(os.listdir(tmp_path / "a" / "=Luna")) and found.identities == ["=Luna"]
    assert not bring(tmp_path / "a")[1].changes


def test_sides_are_read_from_names_and_those_without_are_counted(tmp_path, bring):
    foreign.pictures(tmp_path / "card", ["luna-left.jpg", "zoe_top_2.jpg", "IMG_0001.jpg"])
    found, plan = bring(tmp_path / "card")
    assert sorted((ref.path.name, ref.orientation) for ref in found.references) == [
        ("IMG_0001.jpg", None), ("luna-left.jpg", "left"), ("zoe_top_2.jpg", "top"),
    ]  # fmt: skip
    assert "2 sides are taken from names of files: 1 left, 1 top" in plan.notes
    assert any(note.startswith("1 of 3 new photos has no side; where an animal's sides differ, say it in") for note in plan.notes)


def test_photos_without_a_date_are_counted(tmp_path, bring):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    foreign.with_header(tmp_path / "card" / "a.jpg", exif=exif)
    foreign.pictures(tmp_path / "card", ["2024-05-07.jpg", "IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"])
    rows = [("IMG_1.jpg", "Luna", "2024-05-08"), ("IMG_2.jpg", "Luna", "in May")]
    who = foreign.write_csv(tmp_path / "card" / "who.csv", ("path", "identity", "date"), rows)
    _, plan = bring(tmp_path / "card", who)
    [told] = [note for note in plan.notes if "no date" in note]
    assert told.startswith("2 of 5 new photos have no date; say it in the column date of metadata.csv: an undated photo makes all")
    assert not any("no date" in note for note in bring(tmp_path / "card", who)[1].notes)  # none is new


@pytest.mark.parametrize("folder", ["DCIM/100CANON", "dcim/1", "100_PANA", "10160715", "2026-07-15"])
def test_a_card_of_cameras_folders_names_nobody(tmp_path, bring, folder):
    foreign.pictures(tmp_path / "card" / folder, ["IMG_0001.JPG"])
    found, plan = bring(tmp_path / "card")
    assert [ref.identity for ref in found.references] == [None] and "read as photos" in plan.notes[0]


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


def test_every_reader_knows_its_own(tmp_path, bring):
    for name, make in foreign.SAMPLES.items():
        _, plan = bring(make(tmp_path / name), gallery=tmp_path / f"of {name}")
        assert any(f"read as {name}, " in note for note in plan.notes), name
    assert set(formats.READERS) == {*foreign.SAMPLES, "json", "photos", "folders"}
