"""`reid import`: what a gallery holds stays, what is new is added, and all of it is written whole or not at all."""

import os
from datetime import date

import foreign
import numpy as np
import pytest
from conftest import read, save
from exchange import files, problems, seen
from PIL import Image

from reid.errors import GalleryError, StoreError
from reid.formats import importing, placing
from reid.formats.folders import without_row
from reid.formats.source import Options
from reid.imaging import facts


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


def test_photos_that_are_put_beside_those_of_a_table_are_told_and_taken_in(tmp_path, bring, call):
    gallery = tmp_path / "gallery"
    foreign.pictures(gallery / "Luna", ["a.jpg"])
    foreign.pictures(tmp_path / "card", ["1.jpg", "2.jpg"])
    bring(tmp_path / "card", copy=True)  # from now on a table says what the gallery holds
    assert without_row(read(gallery)) is None
    for name in ("Luna/b.jpg", "Nala/c.jpg", "photos/by hand.jpg", "lies about.jpg"):
        save(gallery / name, np.full((40, 60, 3), len(name), np.uint8))
    lacking = "2 photos in folders of the gallery are in no row of its table, and so no part of it: Luna/b.jpg, Nala/c.jpg; `reid import"
    assert without_row(read(gallery)).startswith(lacking)
    _, out, _ = call("import", gallery, "--gallery", gallery)
    assert f"note: {lacking}" in out and "nothing to add" in out
    found, _ = bring(gallery, form="folders")
    assert [(ref.image_id, ref.identity) for ref in found.references] == [
        ("Luna/a.jpg", "Luna"), ("photos/2.jpg", None), ("Luna/b.jpg", "Luna"), ("Nala/c.jpg", "Nala"),
        ("lies about.jpg", None),
    ]  # fmt: skip
    (gallery / "metadata.csv").write_text("path,identity\nLuna/a.jpg,Zoë\n")  # whose folders do not name animals
    assert without_row(read(gallery)) is None


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


def test_a_photo_under_two_names_is_told(tmp_path, bring):
    foreign.pictures(tmp_path / "a" / "Luna", ["1.jpg"])
    foreign.pictures(tmp_path / "a" / "Zoë", ["x.jpg"])
    _, plan = bring(tmp_path / "a")
    assert any(note.endswith("under two names: ../a/Luna/1.jpg = ../a/Zoë/x.jpg, as Luna and as Zoë") for note in plan.notes)


@pytest.mark.parametrize("copy", [False, True])
def test_a_photo_that_an_import_brings_twice_is_taken_in_once(tmp_path, bring, copy):
    card = tmp_path / "card"
    foreign.pictures(card / "DCIM" / "100CANON", ["1.jpg", "2.jpg"])
    foreign.pictures(card / "DCIM" / "101CANON", ["1.jpg", "copy.jpg"])
    found, plan = bring(card, copy=copy)
    assert [ref.path.name for ref in found.references] == ["1.jpg", "2.jpg"] and len(plan.copies) == 2 * copy
    pairs = [f"{card}/DCIM/101CANON/{twin} is {card}/DCIM/100CANON/{first}" for twin, first in (("1.jpg", "1.jpg"), ("copy.jpg", "2.jpg"))]
    told = f"2 photos repeat others of this import, byte by byte, with one row for both: {', '.join(pairs)}"
    assert told in plan.notes and not any("under two names" in note for note in plan.notes)
    assert not bring(card, copy=copy)[1].changes
    one, other = card / "DCIM" / "100CANON" / "1.jpg", card / "DCIM" / "101CANON" / "1.jpg"
    assert len(bring(one, other, copy=copy, gallery=tmp_path / "two files")[1].new) == 1
    who = foreign.write_csv(tmp_path / "who.csv", ("path", "identity"), [(one, ""), (other, "")])  # a table says that there are two
    for n, sources in enumerate([(who,), (who, card), (card, who)]):
        found, plan = bring(*sources, copy=copy, gallery=tmp_path / f"table {n}")
        assert len(found.references) == (2 if n == 0 else 3) and any("is there under two names" in note for note in plan.notes)
        assert not any(f"{other} is {one}" in note for note in plan.notes)


@pytest.mark.parametrize("places", [("Luna", "Zoë"), ("Luna", "."), ("Luna", "Luna/left"), ("Luna/left", "Luna/right")])
def test_a_photo_of_which_two_things_are_said_stays_twice(tmp_path, bring, places):
    for place in places:
        foreign.pictures(tmp_path / "a" / place, ["1.jpg"])
    foreign.pictures(tmp_path / "a" / "Luna" / "same", ["1.jpg"])
    found, plan = bring(tmp_path / "a")
    assert len(found.references) == 2 + (places == ("Luna/left", "Luna/right"))
    assert any("1 photo is there under two names" in note for note in plan.notes)


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


def test_a_photo_that_goes_meanwhile_is_told_and_nothing_is_written(tmp_path, bring, monkeypatch):
    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg"])
    (gallery / "metadata.csv").write_text("path,identity\nold.jpg,Luna\n")
    [photo] = foreign.pictures(tmp_path / "new" / "Nala", ["1.jpg"]).iterdir()
    twin = tmp_path / "new" / "Zoë" / "2.jpg"  # as another animal, so that both stay
    twin.parent.mkdir()
    before, real = files(gallery), importing.digest_of

    def digest_of(path):  # while photos of one size are compared
        twin.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(importing, "digest_of", digest_of)
    for copy, said in (
        (True, r"2\.jpg cannot be read any more \(No such file or directory\); the table is as before;"),
        (False, "1 problem"),
    ):
        twin.write_bytes(photo.read_bytes())
        with pytest.raises(GalleryError, match=said):
            bring(tmp_path / "new", copy=copy)
        assert {name: data for name, data in files(gallery).items() if not name.startswith(".reid")} == before


def test_a_date_that_cannot_be_read_gives_way_to_one_that_can(tmp_path, bring):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    for name in ("1.jpg", "2.jpg", "3.jpg", "20240507.jpg"):
        foreign.with_header(tmp_path / "a" / name, shade=len(name), exif=exif if name in ("1.jpg", "2.jpg") else None)
    rows = [("1.jpg", "Luna", "in May"), ("2.jpg", "Luna", "2023-01-02"), ("3.jpg", "Luna", "some day"), ("20240507.jpg", "Luna", "soon")]
    table = foreign.write_csv(tmp_path / "a" / "t.csv", ("path", "identity", "Date taken"), rows)
    found, plan = bring(table)
    dates = ["2024-05-06 07:08:09", "2023-01-02", "some day", "2024-05-07"]
    assert [ref.columns["date"] for ref in found.references] == dates
    told = (
        f"{table}, line 2: 'in May' (column Date taken) is 2024-05-06 07:08:09, {table}, line 5: 'soon' (column Date taken) is 2024-05-07"
    )
    assert f"2 dates cannot be read, and what else says them takes the place: {told}" in plan.notes
    assert any("3 dates cannot be read and count as none ('in May' in line 2, 'some day' in line 4, 'soon'" in note for note in plan.notes)
    again = foreign.write_csv(tmp_path / "a" / "u.csv", ("path", "identity", "date"), [("3.jpg", "Luna", "2024-05-08")])
    found, _ = bring(again)  # the row stands in the gallery's table now, and stays
    assert [ref.columns["date"] for ref in found.references] == dates
    _, plan = bring(foreign.write_csv(tmp_path / "a" / "v.csv", ("path", "identity", "date"), [("2.jpg", "Luna", "whenever")]))
    assert not any("stays as first written" in note for note in plan.notes)  # it says no other date
    other = tmp_path / "other"
    _, plan = bring(table, again, gallery=other)
    assert [ref.columns["date"] for ref in read(other).references] == [*dates[:2], "2024-05-08", dates[3]]


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
    assert events[photo - 1].startswith("gallery/photos/Nala/.") and events[table - 1].startswith("gallery/.")
    assert all(events[place - 1].endswith(".part") for place in (photo, table))
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


def test_only_a_csv_is_extended(tmp_path, bring):
    import pandas as pd

    gallery = foreign.pictures(tmp_path / "gallery", ["old.jpg"])
    pd.DataFrame({"path": ["old.jpg"], "identity": ["Luna"]}).to_excel(gallery / "metadata.xlsx", index=False)
    with pytest.raises(GalleryError, match="only a csv is extended; save it as"):
        bring(tmp_path / "gallery" / "old.jpg")
