"""Galleries as people keep them: folders, names, sides, and parts of a gallery."""

import gc
import unicodedata
from collections import Counter

import numpy as np
import pytest
from conftest import photo, read, save, table

import reid
from reid import catalogue
from reid.catalogue.names import twins
from reid.errors import GalleryError


def test_a_folder_per_individual(tmp_path):
    photo(tmp_path / "Ñandú" / "2019" / "1.png")
    photo(tmp_path / "amber" / "x.PNG")
    photo(tmp_path / "unknown" / "y.png")
    photo(tmp_path / ".reid" / "z.png")
    photo(tmp_path / "stray.png")
    (tmp_path / "amber" / "notes.txt").write_text("")
    found = read(tmp_path)
    assert [(ref.image_id, ref.identity) for ref in found.references] == [
        ("amber/x.PNG", "amber"), ("unknown/y.png", None), ("Ñandú/2019/1.png", "Ñandú"),
    ]  # fmt: skip
    assert found.identities == ["amber", "Ñandú"]
    for said in ("stray.png", "notes.txt", "1 photo is taken as unnamed"):
        assert any(said in note for note in found.notes), said


def test_an_empty_gallery_says_what_one_is(tmp_path):
    with pytest.raises(GalleryError, match="a folder per individual"):
        read(tmp_path)
    with pytest.raises(GalleryError, match="not a folder"):
        read(tmp_path / "none")
    for name in ("1", "2"):
        photo(tmp_path / f"{name}.jpg")
    with pytest.raises(GalleryError, match=r"2 photos lie directly in .*; make a folder for each individual, or a metadata\.csv"):
        read(tmp_path)


def test_folders_of_the_system_are_nobody(tmp_path):
    photo(tmp_path / "amber" / "1.png")
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "System Volume Information", "masks", "lost+found"):
        photo(tmp_path / name / "a.png")
        photo(tmp_path / "amber" / name / "a.png")
    found = read(tmp_path)
    assert [ref.image_id for ref in found.references] == ["amber/1.png"]
    [said] = [note for note in found.notes if "skipped" in note]
    assert "#recycle (2)" in said and "@eaDir (2)" in said


def test_sides_in_folders_and_in_columns(tmp_path):
    for side in ("Left", "RIGHT", "l", "2019"):
        photo(tmp_path / "amber" / side / "1.png")
    found = {ref.image_id: ref.orientation for ref in read(tmp_path).references}
    assert found == {"amber/2019/1.png": None, "amber/Left/1.png": "left", "amber/RIGHT/1.png": "right", "amber/l/1.png": "left"}
    for column in ("viewpoint", "Side", "position", "orientation"):
        table(tmp_path, f"path,identity,{column}\namber/2019/1.png,a,L\namber/l/1.png,a,Left \namber/Left/1.png,a,NA\n")
        assert [ref.orientation for ref in read(tmp_path).references] == ["left", "left", None]
    assert catalogue.restrict(read(tmp_path), orientation="L")[0].references[0].orientation == "left"


UNKNOWN = ("Unknown", "UNKNOWN", "unidentified", "NA", "n/a", "nan", "None", "null", "#N/A", "<NA>", "?", "____", "-", "new_whale",
           "New individual", "unnamed", "no ID", "unknown turtle", "(blank)", "desconocido", "unbekannt", "")  # fmt: skip
NAMES = ("007", "1e5", "12.0", "TRUE", "Newton", "New Hope", "Nanette", "unknown 12", "🐢", "Nemo", "1", "Nada")


@pytest.mark.parametrize("name", UNKNOWN)
def test_words_that_name_nobody(root, name):
    table(root, f"path,identity\na.png,{name}\nb.png,amber\n")
    found = read(root)
    assert [ref.identity for ref in found.references] == [None, "amber"]
    [said] = [note for note in found.notes if "unnamed" in note and "taken" in note]
    assert said.startswith("1 photo is taken as unnamed") and (not name or "--names-as-written" in said)
    assert [ref.identity for ref in read(root, names_as_written=True).references] == [name or None, "amber"]


@pytest.mark.parametrize("name", NAMES)
def test_words_that_are_names(root, name):
    table(root, f"path,identity\na.png,{name}\n")
    assert read(root).identities == [name]


def test_unknown_words_are_counted_in_one_line_in_folders_too(root):
    table(root, "path,identity\n" + "".join(f"{file}.png,{name}\n" for file, name in zip("abcdefgh", ("NA", "NA", "?", "Ana", "unknown"))))
    [said] = [note for note in read(root).notes if "unnamed" in note and "taken" in note]
    assert said == "4 photos are taken as unnamed ('NA' 2, '?' 1, 'unknown' 1); if an animal is really called so, use --names-as-written"
    (root / "metadata.csv").unlink()
    for name in ("Unidentified", "new_whale", "amber"):
        photo(root / name / "1.png")
    assert read(root).identities == ["amber"]
    assert read(root, names_as_written=True).identities == ["Unidentified", "amber", "new_whale"]


def test_names_that_may_be_one_are_told_and_can_be_joined(root):
    composed, decomposed = (unicodedata.normalize(form, "Lúna") for form in ("NFC", "NFD"))
    names = ["Luna", "luna", "Luna ", composed, decomposed, "Lu\u200bna", "Fredy", "Freddy"]
    table(root, "path,identity\n" + "".join(f"{file}.png,{name}\n" for file, name in zip("abcdefgh", names)))
    found = read(root)
    assert found.identities == ["Freddy", "Fredy", "Luna", composed, "luna"]
    [said] = [note for note in found.notes if "may be of one animal" in note]
    for part in ("Freddy / Fredy", f"Luna / {composed} / luna", "--join luna=Luna", "--join Fredy=Freddy"):
        assert part in said
    assert any("'Lu\\u200bna' is Luna" in note for note in found.notes)
    joined = read(root, join={"luna": "Luna", decomposed: "Luna", "Freddy": "Fredy"})
    assert joined.identities == ["Fredy", "Luna"]
    assert not any("may be of one" in note for note in joined.notes)
    assert read(root, join={"luna": composed, composed: "Luna", "Freddy": "unknown"}).identities == ["Fredy", "Luna"]
    for join, error in (
        ({"lunna": "Luna"}, "called 'lunna'; did you mean 'luna'"),
        ({"Luna": "luna", "luna": "Luna"}, "circle"),
    ):
        with pytest.raises(GalleryError, match=error):
            read(root, join=join)


@pytest.mark.parametrize(
    ("names", "are_twins"),
    [
        (("T7", "T007"), True), (("Big Bertha", "big-bertha"), True), (("Señor", "Senor"), True), (("Martha", "Marhta"), True),
        (("Ana", "Anna"), True), (("Carolina", "Caroline"), True), (("T124", "T125"), False), (("T1-2", "T12"), False),
        (("Turtle A", "Turtle B"), False), (("TurtleA", "TurtleB"), False), (("Luna I", "Luna II"), False), (("Mia", "Mila"), False),
        (("amber", "ember"), False), (("animal-1", "animal-11"), False), (("female1", "female2"), False),
    ],
)  # fmt: skip
def test_which_names_may_be_one(names, are_twins):
    assert bool(twins(Counter(names))) is are_twins


def test_names_that_people_have_decided_about_are_not_asked_about_again(root, call):
    for shade, name in enumerate("abcd"):
        save(root / f"{name}.png", np.full((40, 60, 3), 50 * shade, np.uint8))
    table(root, "path,identity\na.png,Ana\nb.png,Anna\nc.png,T7\nd.png,T007\n")
    assert twins(Counter({"Ana": 1, "Anna": 2}), {("Ana", "Anna"): 7}) == []

    def asked():
        with reid.open(root) as opened:
            return [note for note in opened.gallery.notes if "may be of one" in note]

    [said] = asked()
    assert "`reid duplicates --merge Ana Anna` once" in said and "T007 / T7" in said
    assert call("duplicates", "--gallery", root, "--merge", "Anna", "Ana")[0] == 0
    [said] = asked()
    assert "Ana" not in said
    assert call("duplicates", "--gallery", root, "--keep-apart", "T7", "T007")[0] == 0
    assert asked() == []


def test_codes_are_no_slips_of_the_pen():
    letters = "ABCDEFGH"
    assert twins(Counter(f"KW{a}{b}{c}X" for a in letters for b in letters for c in letters)) == []


def test_a_value_that_holds_a_comma_can_be_named(root):
    rows = [("a", "Luna, Jr", "left", '"Bonaire, North"'), ("b", "Luna", "right", "Bonaire"), ("c", "Nala", "", "Curaçao")]
    lines = [f'{name}.png,"{who}",{side},{site}' for name, who, side, site in rows]
    table(root, "\n".join(["path,Name,orientation,site", *lines]))
    for where, kept in (("site=Bonaire, North", "ab"), ("site=Bonaire,Curaçao", "bc"), ("identity=Luna, Jr", "ab"),
                        ("orientation=left,right", "ab")):  # fmt: skip
        assert [ref.path.stem for ref in catalogue.restrict(read(root), [where])[0].references] == list(kept), where
    assert catalogue.restrict(read(root), ["site=North, Curaçao"])[1] == "site=Curaçao,North"


def test_restricting_says_what_it_did(root):
    table(root, "path,identity,orientation,site\na.png,amber,left,Bonaire\nb.png,basil,right,Bonaire\nc.png,cora,left,Zakynthos\n")
    found = read(root)
    kept, said = catalogue.restrict(found, ["site=Bonaire"], "left")
    assert [ref.identity for ref in kept.references] == ["amber"]
    assert said == "site=Bonaire and orientation=left"
    assert catalogue.restrict(found) == (found, None)
    assert len(catalogue.restrict(found, ["site=Bonaire, Zakynthos"])[0].references) == 3
    for where, error in ((["site=Mars"], "no photo"), (["sex=f"], "no column 'sex'"), (["site"], "column=value")):
        with pytest.raises(GalleryError, match=error):
            catalogue.restrict(found, where)


def test_the_users_own_names_of_columns_choose_photos(root):
    table(root, "path,Individual,Side,Site Name\na.png,amber,L,Bonaire\nb.png,basil,right,Bonaire\n")
    found = read(root)
    for where in ("Side=L", "side=left", "orientation=L", "orientation=left", "Individual=amber", "identity=amber"):
        assert [ref.identity for ref in catalogue.restrict(found, [where])[0].references] == ["amber"], where
    assert len(catalogue.restrict(found, ["site name=Bonaire"])[0].references) == 2
    with pytest.raises(GalleryError, match="it has left, right"):
        catalogue.restrict(found, orientation="top")


def test_sides_before_individuals(tmp_path):
    for name in ("Left/amber/1.png", "Left/basil/1.png", "Right/amber/2.png"):
        photo(tmp_path / name)
    found = read(tmp_path)
    assert [(ref.identity, ref.orientation) for ref in found.references] == [("amber", "left"), ("basil", "left"), ("amber", "right")]
    assert any("the first folders are sides" in note for note in found.notes)
    assert read(tmp_path, names_as_written=True).identities == ["Left", "Right"]


def test_a_gallery_opened_one_folder_too_high(tmp_path):
    for name in ("amber", "basil"):
        photo(tmp_path / "images" / name / "1.png")
    assert any(f"open {tmp_path / 'images'}" in note for note in read(tmp_path).notes)


def test_garbage_is_collected_again_after_a_gallery_was_read(tmp_path):
    gc.collect()
    with catalogue.nothing_collected():
        assert not gc.isenabled()
        kept = [[number] for number in range(5000)]
    assert gc.isenabled() and not gc.get_freeze_count()
    assert any(one is kept for one in gc.get_objects(generation=2))  # the oldest
    with pytest.raises(GalleryError, match="holds no photos"):
        catalogue.read(tmp_path, lambda _: pytest.fail("no photo"))
    assert gc.isenabled()
