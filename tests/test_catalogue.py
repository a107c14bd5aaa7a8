"""Catalogues as people keep them: folders, tables of any program, names, sides, boxes."""

import time
import unicodedata
from datetime import date

import numpy as np
import pandas as pd
import pytest
from conftest import save

from reid import catalogue
from reid.catalogue import words
from reid.errors import GalleryError
from reid.imaging import facts


def photo(path, **options):
    return save(path, np.zeros((40, 60, 3), np.uint8), **options)


def table(root, text, encoding="utf-8"):
    (root / "metadata.csv").write_bytes(text.encode(encoding))
    return root


def read(root, **options):
    return catalogue.read(root, facts, **options)


@pytest.fixture
def root(tmp_path):
    for name in "abcdefgh":
        photo(tmp_path / f"{name}.png")
    return tmp_path


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
    for said in ("stray.png", "notes.txt", "1 photos are taken as unnamed"):
        assert any(said in note for note in found.notes), said


def test_an_empty_gallery_says_what_one_is(tmp_path):
    with pytest.raises(GalleryError, match="a folder per individual"):
        read(tmp_path)
    with pytest.raises(GalleryError, match="not a folder"):
        read(tmp_path / "none")
    for name in ("1", "2"):
        photo(tmp_path / f"{name}.jpg")
    with pytest.raises(GalleryError, match=r"2 photos lie directly in .*; make a folder for each animal, or a metadata\.csv"):
        read(tmp_path)


def test_folders_of_the_system_are_nobody(tmp_path):
    photo(tmp_path / "amber" / "1.png")
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "System Volume Information", "masks", "lost+found"):
        photo(tmp_path / name / "a.png")
        photo(tmp_path / "amber" / name / "a.png")
    found = read(tmp_path)
    assert [ref.image_id for ref in found.references] == ["amber/1.png"]
    assert any("passed over #recycle" in note for note in found.notes)


def test_sides_in_folders_and_in_columns(tmp_path):
    for side in ("Left", "RIGHT", "l", "2019"):
        photo(tmp_path / "amber" / side / "1.png")
    found = {ref.image_id: ref.orientation for ref in read(tmp_path).references}
    assert found == {"amber/2019/1.png": None, "amber/Left/1.png": "left", "amber/RIGHT/1.png": "right", "amber/l/1.png": "left"}
    for column in ("viewpoint", "Side", "position", "orientation"):
        table(tmp_path, f"path,identity,{column}\namber/2019/1.png,a,L\namber/l/1.png,a,Left \namber/Left/1.png,a,NA\n")
        assert [ref.orientation for ref in read(tmp_path).references] == ["left", "left", None]
    assert catalogue.restrict(read(tmp_path), orientation="L")[0].references[0].orientation == "left"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_with_all_its_columns(root, separator):
    rows = [
        ["path", "identity", "date", "position", "encounter", "bbox", "split", "finder", "", ""],
        ["a.png", "amber", "2019-06-20", "left", "e1", '"[10, 5, 30, 20]"', "gallery", "Bonaire", "", ""],
        ["b.png", "basil", "20.06.2019", "", "", "", "train", "Zakynthos", "", ""],
        ["", "", "", "", "", "", "", "", "", ""],
        ["c.png", "unknown", "", "top", "", "", "query", "Bonaire", "", ""],
    ]
    table(root, "\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n")
    found = read(root)
    amber, basil = found.references
    assert (amber.identity, amber.date, amber.orientation, amber.encounter) == ("amber", date(2019, 6, 20), "left", "e1")
    assert amber.crop == (10, 5, 30, 20)
    assert basil.date == date(2019, 6, 20)
    assert basil.crop is None
    assert [(ref.image_id, ref.identity) for ref in found.queries] == [("c.png", None)]
    assert any("'finder'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("encoding", "before", "said"),
    [
        ("utf-16", "", None),
        ("utf-16-le", "", "UTF-16"),
        ("cp1252", "", "Windows-1252"),
        ("utf-8", "sep=;\r\n", None),
        ("utf-8-sig", "", None),
    ],
)
def test_tables_as_spreadsheets_write_them(root, encoding, before, said):
    table(root, before + "path;identity;site\r\na.png;Zoë;São Tomé\r\n", encoding)
    found = read(root)
    assert (found.references[0].identity, found.references[0].columns["site"]) == ("Zoë", "São Tomé")
    assert any(said in note for note in found.notes) if said else not any("is read as" in note for note in found.notes)


def test_an_encoding_that_cannot_be_told_names_the_way_out(root):
    (root / "metadata.csv").write_bytes(b"path,identity\na.png,Z\x81\x8d\n")
    with pytest.raises(GalleryError, match="save it as CSV UTF-8"):
        read(root)


def test_tables_of_other_programs(root):
    frame = pd.DataFrame(
        {
            "image_id": [7, 8], "identity": [12.0, "amber"], "path": ["a.png", "b.png"], "bbox": [[1, 2, 30, 20], None],
            "date": [pd.Timestamp("2019-06-20 10:00"), pd.NaT], "orientation": ["left", np.nan],
        }
    )  # fmt: skip
    wanted = [("7", "12", (1, 2, 30, 20), date(2019, 6, 20), "left"), ("8", "amber", None, None, None)]
    for source in ("frame", "metadata.xlsx", "metadata.parquet"):
        if source == "metadata.xlsx":
            frame.assign(bbox=["[1, 2, 30, 20]", None]).to_excel(root / source, index=False)
        elif source == "metadata.parquet":
            frame.assign(identity=["12", "amber"]).to_parquet(root / source)
        found = read(root, table=frame if source == "frame" else None)
        assert [(ref.image_id, ref.identity, ref.crop, ref.date, ref.orientation) for ref in found.references] == wanted, source
        if source != "frame":
            (root / source).unlink()
    frame.to_csv(root / "metadata.csv")
    frame.assign(bbox=None).to_excel(root / "metadata.xlsx")
    with pytest.raises(GalleryError, match=r"holds metadata\.csv and metadata\.xlsx"):
        read(root)


def test_every_problem_is_listed_with_its_row_and_column(root):
    (root / "text.png").write_text("no photo")
    table(
        root,
        "path,identity,date,bbox,split,mask\n"
        "gone.png,basil,,,,\n"  # line 2
        "a.png,amber,,,,\n"
        "a.png,amber,,,,\n"  # 4
        'b.png,basil,,"[50, 0, 30, 20]",,\n'  # 5
        "c.png,x,,nonsense,odd,\n"  # 6
        'text.png,x,,"[0, 0, 9, 9]",,\n'  # 7
        ",y,,,,\n"  # 8
        "e.png,z,,,,gone.png\n"  # 9
        'd.png,z,,"[10, 10, 55, 35]",,\n',  # 10: corners
    )
    with pytest.raises(GalleryError, match="9 problem") as caught:
        read(root)
    said = [problem.split(": ", 1) for problem in caught.value.problems if "line" in problem]
    wanted = [
        (2, "path: file 'gone.png' is missing"), (4, "stands in line 3"), (5, "bbox: [50.0, 0.0, 30.0, 20.0] lies outside"),
        (6, "split: unknown 'odd'"), (6, "bbox: 'nonsense'"), (7, "not a photo"), (8, "path: it is empty"),
        (9, "mask: file 'gone.png' is missing"), (10, "it looks like two corners"),
    ]  # fmt: skip
    assert [line for line, _ in said] == [f"metadata.csv, line {n}" for n, _ in wanted]
    for (_, text), (_, part) in zip(said, wanted, strict=True):
        assert part in text


def test_bad_rows_can_be_left_out_and_are_still_said(root):
    table(root, "path,identity,encounter\na.png,amber,1\ngone.png,basil,2\n")
    found = read(root, skip_bad=True)
    assert [ref.image_id for ref in found.references] == ["a.png"]
    assert found.notes == ("left out metadata.csv, line 3: path: file 'gone.png' is missing",)


@pytest.mark.parametrize(
    ("header", "said"),
    [("path,identiy", "did you mean 'identity'"), ("path", "'identity' is missing"), ("path,identity,Path", "stands twice")],
)
def test_a_misspelt_column_stops(root, header, said):
    table(root, header + "\na.png,amber\n")
    with pytest.raises(GalleryError) as caught:
        read(root)
    assert any(said in problem for problem in caught.value.problems)


def test_columns_that_mean_something_here_are_said(root):
    table(root, "File,Individual\na.png,amber\n")
    found = read(root)
    assert found.references[0].identity == "amber"
    assert any("column 'Individual' is taken for 'identity'" in note for note in found.notes)


def test_words_for_unknown_animals_are_no_names(root):
    names = ["Unknown", "NA", "?", "____", "new_whale", "", "007", "1e5"]
    table(root, "path,identity\n" + "".join(f"{file}.png,{name}\n" for file, name in zip("abcdefgh", names)))
    found = read(root)
    assert [ref.identity for ref in found.references] == [None] * 6 + ["007", "1e5"]
    [said] = [note for note in found.notes if "unnamed" in note]
    assert said.startswith("6 photos") and "--names-as-written" in said
    assert "NA" in read(root, names_as_written=True).identities


def test_names_that_may_be_one_are_told_and_can_be_joined(root):
    composed, decomposed = (unicodedata.normalize(form, "Lúna") for form in ("NFC", "NFD"))
    names = ["Luna", "luna", "Luna ", composed, decomposed, "Lu\u200bna", "Fredericka", "Frederica"]
    table(root, "path,identity\n" + "".join(f"{file}.png,{name}\n" for file, name in zip("abcdefgh", names)))
    found = read(root)
    assert found.identities == ["Frederica", "Fredericka", "Luna", composed, "luna"]
    [said] = [note for note in found.notes if "may be one animal's" in note]
    for pair in ("Frederica and Fredericka", "Luna and luna", f"Luna and {composed}"):
        assert pair in said
    joined = read(root, join={"luna": "Luna", composed: "Luna", "Frederica": "Fredericka"})
    assert joined.identities == ["Fredericka", "Luna"]
    assert not any("may be one" in note for note in joined.notes)
    assert words.twins(["animal-1", "animal-2", "animal-11", "T12", "T13"]) == []


def test_files_are_found_as_tables_name_them(root):
    photo(root / "Sub" / "x.jpg")
    photo(root / unicodedata.normalize("NFC", "café") / "x.jpg")
    names = ["Sub\\x.jpg", "SUB/X.JPG", unicodedata.normalize("NFD", "café") + "/x.jpg"]
    for name in names:
        table(root, f"path,identity\n{name},amber\n")
        found = read(root)
        assert found.references[0].path.exists()
        assert any("written otherwise than they are called" in note for note in found.notes)


def test_boxes_in_fractions_parts_and_without_numbers(root):
    table(root, 'path,identity,bbox\na.png,x,"[0.1, 0.25, 0.5, 0.5]"\nb.png,y,"[nan, nan, nan, nan]"\nc.png,z,\n')
    found = read(root)
    assert [ref.crop for ref in found.references] == [(6, 10, 30, 20), None, None]
    assert any("1 boxes are taken as fractions" in note for note in found.notes)
    table(root, "path,identity,bbox_x,bbox_y,bbox_w,bbox_h\na.png,x,6,10,30,20\nb.png,y,,,,\n")
    assert [ref.crop for ref in read(root).references] == [(6, 10, 30, 20), None]


def test_ids_never_collide(root):
    table(root, 'path,identity,image_id,bbox\na.png,x,7,"[0,0,30,40]"\na.png,y,7,"[30,0,30,40]"\nb.png,z,7#2,\nc.png,z,7,\n')
    ids = [ref.image_id for ref in read(root).references]
    assert len(set(ids)) == 4 and ids[0] == "7" and ids[2] == "7#2"


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


def test_many_rows_are_read_in_seconds(tmp_path):

    photo(tmp_path / "a.png")
    rows = "".join(
        f'a.png,animal-{n % 3000},2019-06-{n % 28 + 1:02},"[{n % 20}, 0, {1 + n // 20 % 39}, {1 + n // 780 % 39}]"\n' for n in range(20000)
    )
    table(tmp_path, "path,identity,date,bbox\n" + rows)
    started = time.monotonic()
    found = catalogue.read(tmp_path, facts_of, skip_bad=True)
    assert len(found.references) > 10000
    assert time.monotonic() - started < 10


KNOWN = {}


def facts_of(path):
    if path not in KNOWN:
        KNOWN[path] = facts(path)
    return KNOWN[path]
