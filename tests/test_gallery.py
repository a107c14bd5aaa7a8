from datetime import date

import numpy as np
import pytest
from conftest import save

from reid import catalogue as gallery
from reid.errors import GalleryError
from reid.imaging import photo_size


def photo(path):
    return save(path, np.zeros((40, 60, 3), np.uint8))


def table(root, text):
    (root / "metadata.csv").write_text(text)
    return root


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b", "c"):
        photo(tmp_path / f"{name}.png")
    return tmp_path


def test_a_folder_per_individual(tmp_path):
    photo(tmp_path / "Ñandú" / "2019" / "1.png")
    photo(tmp_path / "amber" / "x.PNG")
    photo(tmp_path / "unknown" / "y.png")
    photo(tmp_path / ".reid" / "z.png")
    photo(tmp_path / "stray.png")
    (tmp_path / "amber" / "notes.txt").write_text("")
    found = gallery.read(tmp_path, photo_size)
    assert [(ref.image_id, ref.identity) for ref in found.references] == [
        ("amber/x.PNG", "amber"), ("unknown/y.png", None), ("Ñandú/2019/1.png", "Ñandú"),
    ]  # fmt: skip
    assert found.identities == ["amber", "Ñandú"]
    assert any("stray.png" in note for note in found.notes)
    assert any("notes.txt" in note for note in found.notes)


def test_an_empty_gallery_says_what_one_is(tmp_path):
    with pytest.raises(GalleryError, match="a folder per individual"):
        gallery.read(tmp_path, photo_size)
    with pytest.raises(GalleryError, match="not a folder"):
        gallery.read(tmp_path / "none", photo_size)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_with_all_its_columns(root, separator):
    rows = [
        ["path", "identity", "date", "position", "encounter", "bbox", "split", "finder"],
        ["a.png", "amber", "2019-06-20", "left", "e1", '"[10, 5, 30, 20]"', "gallery", "Bonaire"],
        ["b.png", "basil", "20.06.2019", "", "", "", "train", "Zakynthos"],
        ["", "", "", "", "", "", "", ""],
        ["c.png", "unknown", "", "top", "", "", "query", "Bonaire"],
    ]
    table(root, "\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n")
    found = gallery.read(root, photo_size)
    amber, basil = found.references
    assert (amber.identity, amber.date, amber.orientation, amber.encounter) == ("amber", date(2019, 6, 20), "left", "e1")
    assert amber.crop == (10, 5, 30, 20)
    assert basil.date == date(2019, 6, 20)
    assert basil.crop is None
    assert [(ref.image_id, ref.identity) for ref in found.queries] == [("c.png", None)]
    assert any("'finder'" in note for note in found.notes)


def test_every_problem_is_listed_with_its_line(root):
    (root / "text.png").write_text("no photo")
    table(
        root,
        "path,identity,date,bbox,split,mask\n"
        "a.png,amber,2019-13-45,,,\n"  # line 2
        "gone.png,basil,,,,\n"  # 3
        "a.png,amber,,,,\n"  # 4
        'b.png,basil,,"[50, 0, 30, 20]",,\n'  # 5
        "c.png,,,nonsense,odd,\n"  # 6
        'text.png,x,,"[0, 0, 9, 9]",,\n'  # 7
        ",y,,,,\n"  # 8
        "b.png,z,,,,gone.png\n",  # 9
    )
    with pytest.raises(GalleryError, match="10 problem") as caught:
        gallery.read(root, photo_size)
    said = [problem.split(": ", 1) for problem in caught.value.problems]
    wanted = [
        (2, "unreadable date '2019-13-45'"), (3, "'gone.png' is missing"), (4, "stands in line 2"), (5, "outside the photo of 60 x 40"),
        (6, "no identity"), (6, "unknown split 'odd'"), (6, "unreadable bbox"), (7, "not a photo"), (8, "no path"), (9, "mask file"),
    ]  # fmt: skip
    assert [line for line, _ in said] == [f"metadata.csv, line {n}" for n, _ in wanted]
    for (_, text), (_, part) in zip(said, wanted, strict=True):
        assert part in text


def test_bad_rows_can_be_left_out_and_are_still_said(root):
    table(root, "path,identity\na.png,amber\ngone.png,basil\n")
    found = gallery.read(root, photo_size, skip_bad=True)
    assert [ref.image_id for ref in found.references] == ["a.png"]
    assert found.notes == ("left out metadata.csv, line 3: file 'gone.png' is missing",)


@pytest.mark.parametrize(
    ("header", "said"),
    [("path,identiy", "did you mean 'identity'"), ("path", "'identity' is missing"), ("path,identity,path", "stands twice")],
)
def test_a_misspelt_column_stops(root, header, said):
    table(root, header + "\na.png,amber\n")
    with pytest.raises(GalleryError) as caught:
        gallery.read(root, photo_size)
    assert any(said in problem for problem in caught.value.problems)


def test_two_animals_in_one_photo(root):
    table(root, 'path,identity,bbox\na.png,amber,"[0,0,30,40]"\na.png,basil,"[30,0,30,40]"\n')
    assert [ref.image_id for ref in gallery.read(root, photo_size).references] == ["a.png", "a.png#2"]


def test_restricting_says_what_it_did(root):
    table(root, "path,identity,orientation,site\na.png,amber,left,Bonaire\nb.png,basil,right,Bonaire\nc.png,cora,left,Zakynthos\n")
    found = gallery.read(root, photo_size)
    kept, said = gallery.restrict(found, ["site=Bonaire"], "left")
    assert [ref.identity for ref in kept.references] == ["amber"]
    assert said == "site=Bonaire and orientation=left"
    assert gallery.restrict(found) == (found, None)
    assert len(gallery.restrict(found, ["site=Bonaire, Zakynthos"])[0].references) == 3
    for where, error in ((["site=Mars"], "no photo"), (["sex=f"], "no column 'sex'"), (["site"], "column=value")):
        with pytest.raises(GalleryError, match=error):
            gallery.restrict(found, where)
