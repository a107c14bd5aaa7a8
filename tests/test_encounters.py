"""Which photos are of one encounter, and the dates that decide it."""

from datetime import date, datetime

import numpy as np
import pytest
from conftest import save
from PIL import Image

from reid import catalogue
from reid.catalogue import dates
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
    [said] = [note for note in found.notes if "encounters:" in note]
    assert said.startswith("3 encounters") and "dates in file names" in said and "nothing but the animal" in said


def test_the_tables_encounters_and_dates_win(tmp_path):
    for name in "abcdef":
        photo(tmp_path / f"{name}.jpg", "2019:06:20 10:00:00")
    (tmp_path / "metadata.csv").write_text(
        "path,identity,encounter,date\na.jpg,amber,e1,\nb.jpg,amber,NA,2019-06-20\nc.jpg,amber,nan,2019-06-20\nd.jpg,amber,-,2019-06-21\n"
        "e.jpg,amber, ,\nf.jpg,basil,e1,\n"
    )
    assert groups(encounters(tmp_path)) == [["a", "f"], ["b", "c", "e"], ["d"]]


def test_queries_of_the_same_day_are_of_the_same_encounter(tmp_path):
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "metadata.csv").write_text(
        "path,identity,date,split\na.jpg,amber,2019-06-20,gallery\nb.jpg,amber,2019-06-20,query\nc.jpg,amber,,query\n"
    )
    found = catalogue.read(tmp_path, facts)
    same, undated = found.queries
    assert found.references[0].encounter == same.encounter != undated.encounter


def test_what_a_camera_writes(tmp_path):
    path = photo(tmp_path / "a.jpg", "2019:06:20 10:11:12", "25", "+02:00")
    taken = facts(path).taken
    assert taken.replace(tzinfo=None) == datetime(2019, 6, 20, 10, 11, 12, 250000)
    assert taken.utcoffset().total_seconds() == 7200
    for nonsense in ("0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2019:13:45 10:00:00"):
        assert facts(photo(tmp_path / "b.jpg", nonsense)).taken is None
    assert facts(photo(tmp_path / "c.png")).size == (60, 40)


@pytest.mark.parametrize(
    ("cells", "days", "order"),
    [
        (["31/07/2024", "01/08/2024 10:22"], [(2024, 7, 31), (2024, 8, 1)], "day/month"),
        (["07/31/2024", "01/08/2024"], [(2024, 7, 31), (2024, 1, 8)], "month/day"),
        (["01/08/2024"], [(2024, 8, 1)], "day/month"),
        (["45504", "20240731", "2024:07:31 10:00:00", "31-Jul-24", "Jul 31, 2024", "2024-07-31T10:00"], [(2024, 7, 31)] * 6, None),
        (["2024", "2024-07"], [(2024, 1, 1), (2024, 7, 1)], None),
        (["", "0000:00:00 00:00:00", "2025-7a", "31/02/2024", "yesterday"], [None] * 5, "day/month"),
    ],
)
def test_dates_as_people_write_them(cells, days, order):
    found = dates.read(cells)
    assert [day and (day.year, day.month, day.day) for day in found.days] == days
    assert found.order == order
    assert found.unread == tuple(i for i, cell in enumerate(cells) if days[i] is None and cell and not cell.startswith("0000"))


def test_a_date_that_cannot_be_read_is_counted_not_a_stop(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    (tmp_path / "metadata.csv").write_text("path,identity,date\na.jpg,amber,last summer\nb.jpg,amber,2019-06-20\n")
    found = catalogue.read(tmp_path, facts)
    assert [ref.date for ref in found.references] == [None, date(2019, 6, 20)]
    assert any("1 dates cannot be read and count as none: line 2" in note for note in found.notes)
