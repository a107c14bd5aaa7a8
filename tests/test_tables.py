"""Tables as people keep them: of any program and encoding, with the columns, paths, boxes and gaps that they have."""

import os
import time
import unicodedata
from collections import Counter
from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest
from conftest import photo, read, table

from reid import catalogue
from reid.catalogue import files
from reid.errors import GalleryError


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
        ("utf-16-le", "", None),
        ("utf-16-be", "", None),
        ("cp1252", "", "Windows-1252"),
        ("utf-8", "sep=;\r\n", None),
        ("utf-8-sig", "", None),
    ],
)
def test_tables_as_spreadsheets_write_them(root, encoding, before, said):
    table(root, before + "path;identity;site\r\na.png;Zoë;São Tomé\r\n", encoding)
    found = read(root)
    assert (found.references[0].identity, found.references[0].columns["site"]) == ("Zoë", "São Tomé")
    assert any(said in note for note in found.notes) if said else not any("was read as" in note for note in found.notes)


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [
        ("mac_roman", "São Tomé", "likely Mac Roman ('São')"), ("cp850", "Müller", "likely DOS code page 850 ('Müller')"),
        ("cp1251", "Байкал", "likely Windows-1251 (Cyrillic) ('Байкал')"), ("cp1250", "Košice Łódź Dvořák", "likely Windows-1250"),
        ("cp932", "海亀 佐藤 ウミガメ", "likely Shift JIS"), ("cp866", "Байкал Море", "cannot be told"),
    ],
)  # fmt: skip
def test_an_encoding_that_is_not_taken_for_granted_names_the_way_out(root, encoding, text, said):
    table(root, f"path,identity,site\na.png,amber,{text}\n", encoding)
    with pytest.raises(GalleryError, match=r"line 2.*Save it as UTF-8: in Excel as type `CSV UTF-8`") as caught:
        read(root)
    assert said in str(caught.value)


def test_one_broken_letter_in_utf8_is_shown(root):
    good = "path,identity\na.png,Zoë\nb.png,Lúna\nc.png,Ñandú\n".encode()
    (root / "metadata.csv").write_bytes(good.replace("ú".encode(), b"\xfa", 1))
    with pytest.raises(GalleryError, match="is UTF-8 but for line 3"):
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
    (root / "metadata.xlsx").unlink()
    (root / "metadata.xlsx").symlink_to(root / "disk that is not connected")
    with pytest.raises(GalleryError, match=r"metadata\.xlsx is a link that leads nowhere; connect"):
        read(root)


def test_every_problem_is_listed_with_its_row_and_column(root):
    (root / "text.png").write_text("no photo")
    table(
        root,
        "File,identity,date,bbox,split,mask\n"
        "gone.png,basil,,,,\n"  # line 2
        "a.png,amber,,,,\n"
        "a.png,amber,,,,\n"  # 4
        'b.png,basil,,"[50, 0, 30, 20]",,\n'  # 5
        "c.png,x,,nonsense,odd,\n"  # 6
        'text.png,x,,"[0, 0, 9, 9]",,\n'  # 7
        ",y,,,,\n"  # 8
        "e.png,z,,,,gone.png\n"  # 9
        'd.png,z,,"[10, 10, 55, 35]",,\n'  # 10: corners
        'f.png,z,,"[0.5, 0.5, 0.9, 0.8]",,\n'  # 11: corners in fractions
        'g.png,z,,"[nan, 0, 5, 5]",,\n'  # 12
        "h.png,z,,,,,,extra\n",  # 13
    )
    with pytest.raises(GalleryError, match="12 problems") as caught:
        read(root)
    said = [problem.split(": ", 1) for problem in caught.value.problems if "line" in problem]
    wanted = [
        (2, "file 'gone.png' is missing (column File)"), (4, "stands in line 3 already"), (5, "outside the photo of 60 x 40 px"),
        (6, "unknown split 'odd'"), (6, "unreadable bbox 'nonsense'"), (7, "not a photo in a format"), (8, "no path (column File)"),
        (9, "mask file 'gone.png' is missing"), (10, "look like a corner, not a size: write [10.0, 10.0, 45.0, 25.0]"),
        (11, "write [0.5, 0.5, 0.4, 0.3]"), (12, "unreadable bbox"), (13, "8 cells, but 6 columns"),
    ]  # fmt: skip
    assert [line for line, _ in said] == [f"metadata.csv, line {n}" for n, _ in wanted]
    for (_, text), (_, part) in zip(said, wanted, strict=True):
        assert part in text


def test_bad_rows_can_be_left_out_and_are_still_said(root):
    table(root, "path,identity,encounter\na.png,amber,1\ngone.png,basil,2\n")
    found = read(root, skip_bad=True)
    assert [ref.image_id for ref in found.references] == ["a.png"]
    assert found.notes == ("left out metadata.csv, line 3: file 'gone.png' is missing (column path)",)
    table(root, "path,identity,encounter\na.png,amber,1\n" + "".join(f"gone{n}.png,basil,2\n" for n in range(3000)))
    [note] = read(root, skip_bad=True).notes
    assert note.startswith("left out metadata.csv, line 3: file 'gone0.png' is missing") and "line 4, line 5, line 6 and 2,996 more" in note


@pytest.mark.parametrize(
    ("header", "said"),
    [("path,identiy", "did you mean 'identity'"), ("path", "'identity' is missing"), ("path,identity,Path", "appears twice")],
)
def test_a_misspelt_column_stops(root, header, said):
    table(root, header + "\na.png,amber" + ",a.png" * (header.count(",") - 1) + "\n")
    with pytest.raises(GalleryError) as caught:
        read(root)
    assert any(said in problem for problem in caught.value.problems)


def test_columns_that_mean_something_here_are_said(root):
    table(root, "File,Individual\na.png,amber\n")
    found = read(root)
    assert found.references[0].identity == "amber"
    [said] = [note for note in found.notes if "column 'Individual' is taken for 'identity'" in note]
    assert "column 'File' is taken for 'path', a guess" in said
    table(root, "Image,Name,Datetime,bboxX,bboxY,bboxWidth,bboxHeight\na.png,amber,2019-06-20 10:00,0,0,0.5,0.5\n")
    found = read(root)
    assert (found.references[0].identity, found.references[0].crop) == ("amber", (0, 0, 30, 20))
    assert str(found.references[0].taken) == "2019-06-20 10:00:00"
    table(root, "name,id\na.png,amber\n")  # a file is no animal
    with pytest.raises(GalleryError) as caught:
        read(root)
    assert "column 'path' is missing; the table has 'name', 'id'" in str(caught.value.problems)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("Datei;Tier;Datum;Ort;Seite;Tierart;Sichtung", "a.png;amber;20.6.2019;Bucht;rechts;Caretta caretta;7"),
        ("Fichier;Individu;Date;Lieu;Côté;Espèce;Rencontre", "a.png;amber;20/06/2019;Baie;droite;Caretta caretta;7"),
        ("Fichier;Individu;Date;Lieu;Co\u0302te\u0301;Espe\u0300ce;Rencontre", "a.png;amber;20/06/2019;Baie;droite;Caretta caretta;7"),
        ("Archivo;Individuo;Fecha;Sitio;Lado;Especie;Avistamiento", "a.png;amber;20/06/2019;Bahía;derecha;Caretta caretta;7"),
        ("Ficheiro;Indivíduo;Date;Lugar;LADO;Espécie;Avistamento", "a.png;amber;20/06/2019;Baía;direita;Caretta caretta;7"),
        ("Foto;Individuo;Date;Luogo;Lato;Specie;Avvistamento", "a.png;amber;20/06/2019;Baia;destra;Caretta caretta;7"),
    ],
)
def test_columns_are_read_in_the_languages_of_sides(root, header, cells):
    table(root, f"{header}\n{cells}\n")
    found = read(root)
    [ref] = found.references
    assert (ref.image_id, ref.identity, str(ref.date), ref.orientation, ref.encounter) == ("a.png", "amber", "2019-06-20", "right", "7")
    assert ref.columns["site"][:2] == "Ba" or ref.columns["site"] == "Bucht"
    assert ref.columns["species"] == "Caretta caretta"
    [said] = [note for note in found.notes if "is taken for 'site'" in note]
    assert all(f"is taken for '{meaning}'" in said for meaning in ("path", "identity", "orientation", "species", "encounter"))


@pytest.mark.parametrize("name", ["Datei", "Seite", "Daten", "Update", "Seiten"])
def test_a_column_that_means_something_else_is_no_misspelling(root, name):
    table(root, f"path,identity,orientation,{name}\na.png,amber,left,b\n")
    assert read(root).references[0].columns[name] == "b"


def test_the_datum_of_coordinates_is_no_date(root):
    table(root, "path,identity,Datum\na.png,amber,WGS 84\n")
    found = read(root)
    assert found.references[0].date is None and not any("is taken for" in note or "read as a date" in note for note in found.notes)


def test_further_columns_are_told_but_for_those_that_exports_read(root):
    table(root, "path,identity,Decimal Latitude,lon,utm_x,Northing,camera,weather\na.png,amber,-3.5,39.2,5,6,TG-6,rain\n")
    assert read(root).notes == ("metadata.csv: 1 further column ('weather'), for --where, and kept by exports to tables",)


def test_corners_in_columns_of_their_own_become_sizes(root):
    table(root, "path,identity,x1,y1,x2,y2\na.png,amber,10,5,40,25\nb.png,basil,,,,\n")
    assert [ref.crop for ref in read(root).references] == [(10, 5, 30, 20), None]


def test_columns_of_which_nothing_is_left(root):
    table(root, ",path,identity,,Unnamed\n0,a.png,amber,,\n1,b.png,basil,,\n")
    found = read(root)
    assert found.identities == ["amber", "basil"]
    assert found.references[0].columns["column 1"] == "0"
    assert not any("Unnamed" in note for note in found.notes)


def test_files_are_found_as_tables_name_them(root):
    photo(root / "Sub" / "x.jpg")
    photo(root / unicodedata.normalize("NFC", "café") / "x.jpg")
    here = ["Sub/x.jpg", "./Sub/x.jpg", str(root / "Sub" / "x.jpg")]
    for name in here:
        table(root, f"path,identity\n{name},amber\n")
        assert read(root).references[0].path.samefile(root / "Sub" / "x.jpg")
    elsewhere = ["Sub\\x.jpg", "SUB/X.JPG", f"{root.name}/Sub/x.jpg", "C:\\photos\\turtles\\Sub\\x.jpg", "/home/me/turtles/sub/x.jpg"]
    for name in [*elsewhere, unicodedata.normalize("NFD", "café") + "/x.jpg"]:
        table(root, f"path,identity\n{name},amber\n")
        found = read(root)
        assert found.references[0].path.exists()
        assert any("1 path is spelt otherwise" in note for note in found.notes)


def test_a_file_that_is_not_there_names_the_one_that_is_meant(root):
    photo(root / "Sub" / "x.jpg")
    photo(root / "Sub" / "X.jpg")
    table(root, "path,identity\nsub2/X.jpeg,amber\nSub/x.JPG,amber\nsub/\x00,amber\n" + "n" * 300 + ".jpg,amber\n")
    with pytest.raises(GalleryError) as caught:
        read(root)
    problems = [problem for problem in caught.value.problems if "missing" in problem]
    assert "did you mean 'Sub/X.jpg', 'Sub/x.jpg'?" in problems[0]
    assert "it may mean 'Sub/X.jpg' or 'Sub/x.jpg'" in problems[1]
    assert len(problems) == 4


def test_a_hint_looks_at_so_many_names_and_no_more(root, monkeypatch):
    (root / "zz").symlink_to(root)  # a link that leads back
    photo(root / "Sub" / "x.jpg")
    looked = []
    monkeypatch.setattr(files, "LOOKED_AT", 5)
    monkeypatch.setattr(files, "is_photo", lambda path: bool(looked.append(path)))
    table(root, "path,identity,bbox\nsub2/x.jpeg,amber,\nSub/x.jpg,amber,1 2\n")
    with pytest.raises(GalleryError) as caught:
        read(root)
    assert len(caught.value.problems) == 2 and len(looked) == 5  # both problems, whatever else is wrong in the folder


def test_boxes_in_fractions_parts_and_without_numbers(root):
    table(root, 'path,identity,bbox\na.png,x,"[0.1, 0.25, 0.5, 0.5]"\nb.png,y,"[nan, nan, nan, nan]"\nc.png,z,\nd.png,z,NA\n')
    found = read(root)
    assert [ref.crop for ref in found.references] == [(6, 10, 30, 20), None, None, None]
    assert any("1 box is taken as fractions" in note for note in found.notes)
    table(root, "path,identity,bbox_x,bbox_y,bbox_w,bbox_h\na.png,x,6,10,30,20\nb.png,y,,,,\nc.png,z,nan,nan,nan,nan\n")
    assert [ref.crop for ref in read(root).references] == [(6, 10, 30, 20), None, None]


@pytest.mark.parametrize(
    "text", ["[6, 10, 30, 20]", "6 10 30 20", "(6.0,10.0,30,20)", "[np.float64(6.0), 10, 30, 20]", "[ 6. 10. 30. 20.]"]
)
def test_boxes_as_programs_write_them(root, text):
    table(root, f'path,identity,bbox\na.png,x,"{text}"\n')
    assert read(root).references[0].crop == (6, 10, 30, 20)


def test_masks_that_say_nothing_are_none(root):
    table(root, 'path,identity,segmentation,mask\na.png,x,"[]",\nb.png,y,NA,b.png\nc.png,z,"[[0, 0, 5, 0, 5, 5]]",nan\n')
    assert [ref.mask for ref in read(root).references] == [None, str(root / "b.png"), "[[0, 0, 5, 0, 5, 5]]"]


def test_ids_never_collide(root):
    table(root, 'path,identity,image_id,bbox\na.png,x,7,"[0,0,30,40]"\na.png,y,7,"[30,0,30,40]"\nb.png,z,7#2,\nc.png,z,7,\n')
    found = read(root)
    ids = [ref.image_id for ref in found.references]
    assert len(set(ids)) == 4 and ids[0] == "7" and ids[2] == "7#2"
    assert any("1 image_id stands more than once (7)" in note for note in found.notes)


def test_every_optional_cell_may_say_that_nothing_is_known(root):
    head = "path,identity,image_id,date,orientation,encounter,bbox,segmentation,species,site,split"
    words = ("NA", "nan", "None", "-", " ", "unknown", "#N/A", "n/a")
    table(root, head + "\n" + "".join(f"{file}.png,amber" + f",{word}" * 9 + "\n" for file, word in zip("abcdefgh", words)))
    found = read(root)
    assert [ref.image_id for ref in found.references] == [f"{file}.png" for file in "abcdefgh"]
    for ref in found.references:
        assert (ref.date, ref.orientation, ref.crop, ref.mask) == (None,) * 4
        assert ref.encounter not in words


def test_two_opposite_sides_are_none_and_a_side_that_is_not_known_is_told(root):
    sides = ("left/right", "L+R", "links und rechts", "Top-Left", "upright", "left", "Right fin", "")
    table(root, "path,identity,orientation\n" + "".join(f"{file}.png,amber,{side}\n" for file, side in zip("abcdefgh", sides)))
    found = read(root)
    assert [ref.orientation for ref in found.references] == [None, None, None, "topleft", "upright", "left", "right fin", None]
    [opposed] = [note for note in found.notes if "opposite" in note]
    assert (
        "metadata.csv: 3 photos have two opposite sides ('left/right' in line 2, 'L+R' in line 3, 'links und rechts' in line 4)" in opposed
    )
    [odd] = [note for note in found.notes if "not known here" in note]
    assert odd == "metadata.csv: 1 photo has a side that is not known here ('upright'); it stays as it is, and is compared with every side"
    assert "metadata.csv: 1 photo has other words beside the side ('Right fin'); it stays as it is, and counts as that side" in found.notes
    with pytest.raises(GalleryError, match="it has left, right fin, topleft, upright"):
        catalogue.restrict(found, orientation="left/right")


def test_tables_that_are_not_what_they_are_called(root):
    frame = pd.DataFrame({"path": ["a.png"], "identity": ["amber"]})
    frame.to_excel(root / "book.xlsx", index=False)
    (root / "book.xlsx").rename(root / "Metadata.CSV")
    assert read(root).identities == ["amber"]
    (root / "Metadata.CSV").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(GalleryError, match="cannot be read as a workbook"):
        read(root)
    (root / "Metadata.CSV").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(GalleryError, match="save it as xlsx"):
        read(root)
    (root / "Metadata.CSV").write_bytes(b"")
    with pytest.raises(GalleryError, match="is empty"):
        read(root)
    (root / "Metadata.CSV").write_bytes(b'path,identity\n"a.png"x,amber\n')
    with pytest.raises(GalleryError, match="line 2 cannot be read"):
        read(root)


def test_a_workbook_keeps_what_it_shows(root):
    from openpyxl import Workbook

    book = Workbook()
    book.active.title = "read me"
    sheet = book.create_sheet("photos")
    for row in (["path", "identity", "date", None], ["a.png", 7, datetime(2019, 6, 20, 10, 30), None], ["b.png", 12.0, 43636, None]):
        sheet.append(row)
    sheet["B2"].number_format = "000"
    book.create_sheet("notes").append(["nothing"])
    book.save(root / "metadata.xlsx")
    found = read(root)
    assert [(ref.identity, ref.date) for ref in found.references] == [("007", date(2019, 6, 20)), ("12", date(2019, 6, 20))]
    assert found.references[0].taken == datetime(2019, 6, 20, 10, 30)
    assert any("sheet 'photos' is read, not 'notes'" in note for note in found.notes)
    (root / "metadata.xlsx").unlink()


def test_long_outlines_and_cells_of_lists(root):
    outline = [float(n % 40) for n in range(60000)]
    frame = pd.DataFrame(
        {"path": ["a.png", "b.png"], "identity": ["amber", None], "segmentation": [outline, {"size": [40, 60], "counts": b"abc"}]}
    )
    found = read(root, table=frame)
    assert found.references[0].mask.startswith("[0.0, 1.0") and found.references[1].mask == '{"size": [40, 60], "counts": "abc"}'
    frame.assign(segmentation=[str(outline), ""]).to_csv(root / "metadata.csv", index=False)
    assert len(read(root).references[0].mask) > 131072


def test_many_rows_are_read_in_seconds(tmp_path, monkeypatch):
    """No file is looked at by itself, and none is asked for its header where the table has dates."""
    rows = [f"{n % 100}/{n}.jpg,animal-{n % 3000},2019-06-{n % 28 + 1:02},{'left' if n % 2 else 'R'}\n" for n in range(20000)]
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
    for n in range(20000):
        (tmp_path / str(n % 100) / f"{n}.jpg").touch()
    table(tmp_path, "path,identity,date,side\n" + "".join(rows))
    for name in ("stat", "lstat"):
        monkeypatch.setattr(f"os.{name}", counting(getattr(os, name)))
    started = time.monotonic()
    found = catalogue.read(tmp_path, lambda path: pytest.fail(f"{path} is asked"))
    assert (len(found.references), len(found.identities)) == (20000, 3000)
    assert time.monotonic() - started < 8
    assert COUNTS["calls"] < 5000


COUNTS = Counter()


def counting(call):
    def counted(*args, **options):
        COUNTS["calls"] += 1
        return call(*args, **options)

    return counted
