"""`reid import` on the command line: what it says, what it refuses, what it leaves out."""

import json
import os
import zipfile

import foreign
import pytest
from conftest import draw_animal, read, save
from exchange import files, problems
from PIL import Image

from reid.catalogue.table import read_table
from reid.errors import GalleryError, PhotoError
from reid.formats import placing
from reid.formats.archive import unpack
from reid.imaging import decode
from reid.imaging.ends import may_lack_end


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
    assert "gets 1 new photo (1 named, 1 animal), 12 photos of the gallery's own folders, 1 photo copied into" in out
    foreign.pictures(tmp_path / "card", ["a.jpg", "IMG_20200506_101500.jpg"])
    _, out, _ = call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--dry-run")
    table = out.partition("encounter, as derived")[2]
    assert table.index("2020-05-06 10:15") < table.index("card/a.jpg")  # the one without a date last


def test_masks_that_are_copied_are_no_photos(tmp_path, call):
    foreign.pictures(tmp_path / "a", ["1.jpg", "2.jpg"])
    foreign.pictures(tmp_path / "a" / "outlines", ["1.png"])
    table = foreign.write_csv(
        tmp_path / "a" / "t.csv", ("path", "identity", "mask"), [("1.jpg", "Luna", "outlines/1.png"), ("2.jpg", "Luna", "")]
    )
    gallery = tmp_path / "gallery"
    _, out, _ = call("import", table, "--gallery", gallery, "--copy")
    copied = f"2 photos copied into {gallery / 'photos'}, 1 mask copied into {gallery / 'masks'};"
    assert f"has got 2 new photos (2 named, 1 animal), {copied} it has 2 rows now" in out


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


def test_what_stays_on_the_card_alone_is_told(tmp_path, call):
    card, words = tmp_path / "card", ("import", tmp_path / "card", "--gallery", tmp_path / "g", "--skip-bad")
    foreign.pictures(card / "DCIM" / "100CANON", ["IMG_1.JPG", "IMG_2.JPG"])
    assert "on the source alone" not in call(*words, "--copy", "--dry-run")[1]
    (card / "DCIM" / "100CANON" / "IMG_0099.JPG").write_text("damaged")
    (card / "DCIM" / "100CANON" / "MVI_1.MP4").write_text("a film")
    (card / "log.csv").write_text("time,depth")
    names = f"{card}/DCIM/100CANON/IMG_0099.JPG, {card}/DCIM/100CANON/MVI_1.MP4, {card}/log.csv"
    told = f"3 files are not copied and lie on the source alone; keep what you need before you empty it: {names}"
    assert "on the source alone" not in call(*words, "--dry-run")[1]  # where nothing is copied, nothing may be emptied
    assert told in call(*words, "--copy", "--dry-run")[1]
    *_, last, step = call(*words, "--copy")[1].splitlines()
    assert last == told and "next: reid review" in step
    nothing, last = call(*words, "--copy")[1].splitlines()[-2:]
    assert nothing == f"nothing to add: {tmp_path / 'g' / 'metadata.csv'} holds all else" and last == told
    assert call(*words)[1].splitlines()[-1] == nothing


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


def test_a_jpeg_that_is_cut_short_is_told(tmp_path, call):
    """What `reid index` forgives is noted, what it would refuse is refused, and of whole photos nothing is said."""
    for name in ("whole", "tail", "little", "half", "header"):
        save(tmp_path / "card" / f"{name}.jpg", draw_animal(len(name), 0), quality=90, compress_level=None)
    for name, size in (("little", -2), ("half", 0.5), ("header", 620)):
        file = tmp_path / "card" / f"{name}.jpg"
        data = file.read_bytes()
        file.write_bytes(data[: int(size * len(data)) if isinstance(size, float) else size])
    with (tmp_path / "card" / "tail.jpg").open("ab") as file:
        file.write(b"a phone's trailer")
    status, _, err = call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy")
    assert status == 2 and not (tmp_path / "g").exists() and "2 problems; nothing was written" in err
    assert "half.jpg is damaged (its end is missing, at least" in err and "header.jpg cannot be read" in err
    status, out, err = call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy", "--skip-bad")
    assert status == 1 and "3 new photos" in out and err.count("reid: not used: ") == 2
    assert f"note: 1 photo, {tmp_path / 'card' / 'little.jpg'}: the JPEG lacks its end and is used as far as it goes" in out
    assert "whole.jpg" not in err and "whole.jpg:" not in out and "tail.jpg:" not in out


@pytest.mark.parametrize("suffix", ["png", "webp", "heic", "avif"])
def test_a_photo_of_another_format_that_is_cut_short_is_refused_when_it_is_imported(tmp_path, call, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    photo = Image.fromarray(draw_animal(1, 0))
    (tmp_path / "card").mkdir()
    whole, half = tmp_path / "card" / f"whole.{suffix}", tmp_path / "card" / f"half.{suffix}"
    photo.save(whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(PhotoError):
        decode(half)  # what `reid index` would say
    status, out, err = call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy", "--skip-bad")
    assert status == 1 and "1 new photo" in out and err.count("reid: not used: ") == 1 and half.name in err
    with whole.open("ab") as file:
        file.write(bytes(20))  # what some programs leave behind the end
    _, _, err = call("import", tmp_path / "card", "--gallery", tmp_path / "other", "--copy", "--skip-bad")
    assert err.count("reid: not used: ") == 1 and half.name in err


def test_a_share_that_refuses_times_and_modes_takes_copies_all_the_same(tmp_path, call, monkeypatch):
    save(tmp_path / "card" / "a.jpg", draw_animal(1, 0), quality=90, compress_level=None)
    monkeypatch.setattr("shutil.copystat", lambda *_: (_ for _ in ()).throw(PermissionError("not permitted")))
    assert call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy")[0] == 0
    assert (tmp_path / "g" / "photos" / "a.jpg").read_bytes() == (tmp_path / "card" / "a.jpg").read_bytes()


def test_a_table_with_other_capitals_is_extended_under_its_own_name(tmp_path, call):
    foreign.pictures(tmp_path / "g" / "amber", ["1.jpg"])
    foreign.write_csv(tmp_path / "g" / "Metadata.CSV", ("path", "identity"), [("amber/1.jpg", "amber")])
    foreign.pictures(tmp_path / "new" / "zoe", ["2.jpg"])
    status, out, err = call("import", tmp_path / "new", "--gallery", tmp_path / "g", "--copy")
    assert status == 0, err
    tables = [path.name for path in (tmp_path / "g").iterdir() if path.suffix.lower() == ".csv"]
    assert sorted(tables)[0] == "Metadata.CSV" and "metadata.csv" not in tables and "Metadata.CSV has got" in out
    (_, first), _ = read_table(tmp_path / "g" / "Metadata.CSV").rows
    assert first[:2] == ("amber/1.jpg", "amber")


def test_paths_on_another_drive_are_named_whole(tmp_path, call, monkeypatch):
    """As on Windows, where no relative path leads there."""
    foreign.pictures(tmp_path / "far", ["1.jpg", "2.jpg"])
    rows = [(tmp_path / "far" / "1.jpg", "amber"), (tmp_path / "far" / "2.jpg", "zoe")]
    relpath = os.path.relpath

    def on_drives(path, start=os.curdir):
        if ("far" in str(path)) != ("far" in str(start)):
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return relpath(path, start)

    monkeypatch.setattr(os.path, "relpath", on_drives)
    table = foreign.write_csv(tmp_path / "lists" / "list.csv", ("path", "identity"), rows)
    status, _, err = call("import", table, "--gallery", tmp_path / "g", "--copy")
    assert status == 0, err
    assert sorted(path.name for path in (tmp_path / "g" / "photos").iterdir()) == ["1.jpg", "2.jpg"]
    named = foreign.write_csv(tmp_path / "h" / "metadata.csv", ("path", "identity"), rows)
    status, _, err = call("export", "--gallery", named.parent, "--to", "csv", "--out", tmp_path / "out.csv")
    assert status == 0, err
    assert str(tmp_path / "far" / "1.jpg") in (tmp_path / "out.csv").read_text()


def test_copies_of_an_interrupted_import_are_there_for_the_next_one(tmp_path, call, monkeypatch):
    foreign.pictures(tmp_path / "card", [f"{number}.jpg" for number in range(6)])
    copy, copied = placing._copy, []

    def interrupted(source, part):
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(source)
        copy(source, part)

    monkeypatch.setattr(placing, "_copy", interrupted)
    assert call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy")[0] == 130
    assert len(list((tmp_path / "g" / "photos").iterdir())) == 3 and not (tmp_path / "g" / "metadata.csv").exists()
    old = tmp_path / "g" / "photos" / ".1-00000000.part"  # of a run that was killed
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    monkeypatch.setattr(placing, "_copy", lambda source, part: (copied.append(source), copy(source, part)))
    assert call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy")[0] == 0
    assert len(copied) == 6 and len(read_table(tmp_path / "g" / "metadata.csv").rows) == 6 and not old.exists()


def test_a_gallery_that_lies_in_what_is_imported_is_no_source(tmp_path, call):
    foreign.pictures(tmp_path / "card" / "DCIM" / "100CANON", ["1.jpg", "2.jpg"])
    words = "import", tmp_path / "card", "--gallery", tmp_path / "card" / "g", "--copy"
    assert call(*words)[0] == 0
    table = (tmp_path / "card" / "g" / "metadata.csv").read_bytes()
    status, out, _ = call(*words)
    assert status == 0 and "nothing to add" in out and (tmp_path / "card" / "g" / "metadata.csv").read_bytes() == table


def test_folders_below_dcim_name_nobody_however_they_are_called(tmp_path, call):
    foreign.pictures(tmp_path / "card" / "DCIM" / "100", ["1.jpg", "2.jpg"])
    status, out, err = call("import", tmp_path / "card", "--gallery", tmp_path / "g", "--copy")
    assert status == 0 and "2 new photos" in out, err


def test_a_box_that_may_end_anywhere_is_looked_into(tmp_path):
    file = tmp_path / "a.heic"
    for length, may in ((16, False), (17, True), (0, True)):
        file.write_bytes((16).to_bytes(4) + b"ftypheic" + bytes(4) + length.to_bytes(4) + b"mdat" + bytes(8))
        assert may_lack_end(file) == may


def test_photos_beside_the_folders_of_animals_are_taken_in_without_a_name(tmp_path, call):
    foreign.pictures(tmp_path / "new", ["1.jpg", "2.jpg", "zoe/3.jpg"])
    status, out, err = call("import", tmp_path / "new", "--gallery", tmp_path / "g", "--copy")
    assert status == 0, err
    assert "1.jpg, 2.jpg: 2 photos lie in no individual's folder, of unknown animals" in out
    rows = [dict(zip(("path", "identity"), cells)) for _, cells in read_table(tmp_path / "g" / "metadata.csv").rows]
    assert sorted((row["path"], row["identity"]) for row in rows) == [
        ("photos/1.jpg", "unknown"), ("photos/2.jpg", "unknown"), ("photos/zoe/3.jpg", "zoe"),
    ]  # fmt: skip
