"""Which photos are of one encounter, and the dates that decide it."""

import re
from datetime import date, datetime

import numpy as np
import pytest
from conftest import read, save, table
from PIL import Image

from reid import catalogue
from reid.catalogue.dates import date_in_name, read_dates
from reid.imaging import facts


def photo(path, taken=None, part=None, offset=None):
    exif = Image.Exif()
    if taken is not None:
        own = exif.get_ifd(0x8769)
        own[0x9003] = taken
        if part:
            own[0x9291] = part
        if offset:
            own[0x9011] = offset
    return save(path, np.zeros((40, 60, 3), np.uint8), **({"exif": exif} if taken else {}))


def encounters(root, **options):
    return {ref.image_id: ref.encounter for ref in catalogue.read(root, facts, **options).references}


def groups(found):
    together = {}
    for name, encounter in found.items():
        together.setdefault(encounter, set()).add(name.rpartition("/")[2].partition(".")[0])
    return sorted(sorted(group) for group in together.values())


def test_unnamed_photos_of_one_day_are_apart_by_their_times_and_folders(tmp_path):
    """A card shows many animals: an import writes its times into the table, and they are no less than in the photos."""
    rows = [("n/c/1.jpg", "", "10:00"), ("n/c/2.jpg", "", "10:20"), ("n/c/3.jpg", "", "16:00"), ("s/c/1.jpg", "", "10:10"),
            ("n/c/4.jpg", "luna", "10:00"), ("n/c/5.jpg", "luna", "16:00")]  # fmt: skip
    for number, (name, _, _) in enumerate(rows):
        save(tmp_path / name, np.full((40, 60, 3), 20 * number, np.uint8))
    table(tmp_path, "path,identity,date\n" + "".join(f"{name},{animal},2024-07-01 {time}\n" for name, animal, time in rows))
    assert [ref.encounter for ref in read(tmp_path).references] == [
        "c, 2024-07-01 10:00", "c, 2024-07-01 10:00", "c, 2024-07-01 16:00", "c, 2024-07-01 10:10", "luna, 2024-07-01 10:00",
        "luna, 2024-07-01 10:00",
    ]  # fmt: skip


def test_photos_within_an_hour_are_one_encounter_over_midnight_too(tmp_path):
    for name, time in (("a", "23:30:00"), ("b", "23:59:59")):
        photo(tmp_path / "amber" / f"{name}.jpg", f"2019:06:20 {time}")
    photo(tmp_path / "amber" / "c.jpg", "2019:06:21 00:40:00")
    photo(tmp_path / "amber" / "d.jpg", "2019:06:21 02:00:00")
    photo(tmp_path / "basil" / "e.jpg", "2019:06:21 02:00:00")
    assert groups(encounters(tmp_path)) == [["a", "b", "c"], ["d"], ["e"]]


def test_dates_in_file_names_and_nothing_at_all(tmp_path):
    for name in ("2019-07-15-left", "IMG_20190715_101500", "2020-01-02", "20200102b"):
        photo(tmp_path / "amber" / f"{name}.jpg")
    for name in ("burst_1", "burst_2", "IMG_0001"):
        photo(tmp_path / "basil" / f"{name}.jpg")
    found = catalogue.read(tmp_path, facts)
    assert groups({ref.image_id: ref.encounter for ref in found.references}) == [
        ["2019-07-15-left", "IMG_20190715_101500"], ["2020-01-02", "20200102b"],
        ["IMG_0001", "burst_1", "burst_2"],
    ]  # fmt: skip
    [said] = [text for text in found.derived if "encounters:" in text]
    assert said.startswith("3 encounters: 2 by dates in names of files or folders, 1 of animals that have photos without a date")


def test_the_tables_encounters_and_dates_win(tmp_path):
    for name in "abcdef":
        photo(tmp_path / f"{name}.jpg", "2019:06:20 10:00:00")
    (tmp_path / "metadata.csv").write_text(
        "path,identity,encounter,date\na.jpg,amber,e1,\nb.jpg,amber,NA,2019-06-20\nc.jpg,amber,nan,2019-06-20\nd.jpg,amber,-,2019-06-21\n"
        "e.jpg,amber, ,\nf.jpg,basil,e1,\n"
    )
    # b, c and e are of the day of a, of which the table knows the encounter
    assert groups(encounters(tmp_path)) == [["a", "b", "c", "e", "f"], ["d"]]


@pytest.mark.parametrize("word", ["NA", "nan", "None", "-", " ", "unknown", "#N/A", "?"])
def test_an_encounter_that_is_not_given_is_never_one_of_all_photos(tmp_path, word):
    rows = [
        f"{name}.jpg,{animal},{word},{day}\n" for name, animal, day in (("a", "x", "2019-06-20"), ("b", "x", "2020-01-01"), ("c", "y", ""))
    ]
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text("path,identity,encounter,date\n" + "".join(rows))
    assert groups(encounters(tmp_path)) == [["a"], ["b"], ["c"]]


def test_a_burst_is_one_encounter_however_little_of_it_is_dated(tmp_path):
    """Frames of a second of which only some have kept their header, and copies without one: a promise must not rest on them."""
    for animal in ("amber", "basil"):
        photo(tmp_path / animal / "burst_0.jpg", "2019:06:20 10:00:00")
        photo(tmp_path / animal / "burst_1.jpg")
        photo(tmp_path / animal / "copy-2019-06-20.jpg")
    photo(tmp_path / "cora" / "1.jpg", "2019:06:20 10:00:00")
    photo(tmp_path / "cora" / "2.jpg", "2019:06:21 10:00:00")
    found = catalogue.read(tmp_path, facts)
    assert groups({ref.image_id.replace("/", "-"): ref.encounter for ref in found.references}) == [
        ["amber-burst_0", "amber-burst_1", "amber-copy-2019-06-20"], ["basil-burst_0", "basil-burst_1", "basil-copy-2019-06-20"],
        ["cora-1"], ["cora-2"],
    ]  # fmt: skip
    [said] = [text for text in found.derived if "encounters:" in text]
    assert said.startswith("4 encounters: 2 by times of photos, 2 of animals that have photos without a date")


def test_days_of_the_table_are_encounters_whatever_the_time(tmp_path):
    days = ("2019-06-20 08:00", "2019-06-20 17:00", "2019-06-20", "2019-06-21 23:50", "2019-06-22 00:20", "2020", "2020-03-01", "2021-03")
    for name in "abcdefgh":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text("path,identity,date\n" + "".join(f"{name}.jpg,x,{day}\n" for name, day in zip("abcdefgh", days)))
    assert groups(encounters(tmp_path)) == [["a", "b", "c"], ["d", "e"], ["f", "g"], ["h"]]


def test_unnamed_photos_stand_by_themselves_unless_their_dates_join_them(tmp_path):
    for name in ("x/a", "x/2019-06-20", "x/2019-06-20b", "x/b", "y/2019-06-20c"):
        photo(tmp_path / "unknown" / f"{name}.jpg")
    found = catalogue.read(tmp_path, facts)
    together = groups({ref.image_id: ref.encounter for ref in found.references})
    assert together == [["2019-06-20", "2019-06-20b"], ["2019-06-20c"], ["a"], ["b"]]


def test_encounters_of_two_animals_never_share_a_name(tmp_path):
    for name in "abcd":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text(
        'path,identity,date,encounter\na.jpg,amber,2019-06-20,\nb.jpg,basil,2019-06-20,\nc.jpg,cora,,"amber, 2019-06-20"\nd.jpg,dune,,\n'
    )
    assert groups(encounters(tmp_path)) == [["a"], ["b"], ["c"], ["d"]]


def test_headers_are_asked_only_where_the_table_has_no_date(tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg", "2019:06:20 10:00:00")
    (tmp_path / "metadata.csv").write_text("path,identity,date\na.jpg,amber,2019-06-20\nb.jpg,amber,\n")
    asked = []
    found = catalogue.read(tmp_path, lambda path: asked.append(path.name) or facts(path))
    assert asked == ["b.jpg"]
    assert [(ref.date, ref.taken) for ref in found.references] == [
        (date(2019, 6, 20), None), (date(2019, 6, 20), datetime(2019, 6, 20, 10)),
    ]  # fmt: skip


def test_queries_of_the_same_day_are_of_the_same_encounter(tmp_path):
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text(
        "path,identity,date,split\na.jpg,amber,2019-06-20,gallery\nb.jpg,amber,2019-06-20,query\nc.jpg,amber,,query\n"
    )
    found = catalogue.read(tmp_path, facts)
    same, undated = found.queries
    assert found.references[0].encounter == same.encounter != undated.encounter


def test_an_undated_photo_is_of_the_only_encounter_that_the_table_gives(tmp_path):
    for name in "abcde":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text("path,identity,encounter\na.jpg,x,1\nb.jpg,x,\nc.jpg,y,2\nd.jpg,y,3\ne.jpg,y,\n")
    assert groups(encounters(tmp_path)) == [["a", "b"], ["c"], ["d"], ["e"]]


def read_column(cells):
    found, notes = read_dates("date", [(f"line {n}", cell) for n, cell in enumerate(cells, start=2)])
    return [found[cell].first if cell in found else None for cell in cells], notes


@pytest.mark.parametrize(
    ("cells", "days", "said"),
    [
        (["31/07/2024", "01/08/2024 10:22"], [(2024, 7, 31), (2024, 8, 1)], "read as day/month/year, as 31/07/2024 tells"),
        (
            ["07/31/2024", "01/08/2024 3:05 PM", "7/4/24"],
            [(2024, 7, 31), (2024, 1, 8), (2024, 7, 4)],
            "month/day/year, as 07/31/2024",
        ),
        (["01/08/2024"], [(2024, 8, 1)], "no date tells day from month.*01/08/2024 is read as 2024-08-01"),
        (["24-07-31", "19-12-05"], [(2024, 7, 31), (2019, 12, 5)], "year/month/day"),
        (
            ["31/07/2024", "31/08/2024", "07/31/2024"],
            [(2024, 7, 31), (2024, 8, 31), (2024, 7, 31)],
            "though 07/31/2024 can only",
        ),
        (["31.7.2024", "07/31/2024", "08/01/2024"], [(2024, 7, 31), (2024, 7, 31), (2024, 8, 1)], "month/day/year"),
        (["45504", "45504.4319"], [(2024, 7, 31)] * 2, "2 values are day numbers of a spreadsheet .45504 is 2024-07-31"),
        (["20240731", "20240731.0", "20240731_102205", "2024:07:31 10:00:00", "2024-07-31T10:00:00.5+02:00"], [(2024, 7, 31)] * 5, None),
        (
            ["31-Jul-24", "Jul 31, 2024", "Wed, 31 Jul 2024", "31. Juli 2024", "31 de julio de 2024", "31 juillet 2024"],
            [(2024, 7, 31)] * 6,
            None,
        ),
        (["2024", "2024.0", "2024-07", "07/2024", "Jul-24"], [(2024, 1, 1)] * 2 + [(2024, 7, 1)] * 3, None),
        (["", "NA", "0000:00:00 00:00:00", "00/00/0000", "1899-12-30 00:00:00"], [None] * 5, None),
        (
            ["2025-7a", "31/02/2024", "yesterday", "2019-2021", "12345678", "0202-01-01"],
            [None] * 6,
            "6 dates cannot be read.*'2025-7a'",
        ),
    ],
)
def test_dates_as_people_write_them(cells, days, said):
    found, notes = read_column(cells)
    assert [day and (day.year, day.month, day.day) for day in found] == days
    assert any(re.search(said, note) for note in notes) if said else notes == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2019-07-15-left", "2019-07-15"), ("20190715", "2019-07-15"), ("IMG_20190715_101500", "2019-07-15 10:15:00"),
        ("PXL_20190715_101500123", "2019-07-15 10:15:00"), ("IMG-20190715-WA0001", "2019-07-15"), ("amber 2019_07_15", "2019-07-15"),
        ("WhatsApp Image 2019-07-15 at 10.15.00", "2019-07-15 10:15:00"), ("20190715101500", "2019-07-15 10:15:00"),
        ("DSC_0012", None), ("1563186000000", None), ("201907151", None), ("2019-13-45", None), ("IMG_1234", None),
    ],
)  # fmt: skip
def test_dates_in_names(name, said):
    found = date_in_name(name)
    assert (found and str(found.moment or found.first)) == said


def test_a_date_that_cannot_be_read_is_counted_not_a_stop(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    (tmp_path / "metadata.csv").write_text("path,identity,date\na.jpg,amber,last summer\nb.jpg,amber,2019-06-20\n")
    found = catalogue.read(tmp_path, facts)
    assert [ref.date for ref in found.references] == [None, date(2019, 6, 20)]
    assert any("1 date cannot be read and count" in note and "'last summer' in line 2" in note for note in found.notes)
