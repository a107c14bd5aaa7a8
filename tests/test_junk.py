"""Whatever a table holds: it is read, or a GalleryError says what is wrong with it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid import catalogue
from reid.catalogue.columns import COLUMNS, SYNONYMS
from reid.catalogue.dates import date_in_name, read_dates
from reid.catalogue.names import clean, identities, twins
from reid.catalogue.sides import opposite, side
from reid.catalogue.values import as_text
from reid.errors import GalleryError
from reid.records import PhotoFacts

JUNK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = ["", "NA", "[", "{", "[1,2,3,4]", "[nan]", "[0.1,0.2,0.3,0.4]", "..", "/", "\\", ".", "a.png", "A.PNG", "./a.png", "C:\\a.png",
       "1e999", "0", "-1", "[1e999,0,1,1]", "99/99/9999", "31/12/99", "20240731", "45504.99999", "query", "\x00", "\ud800", "#2",
       "a.png#2"]  # fmt: skip
odd = st.sampled_from(ODD)
cells = st.one_of(odd, st.text(max_size=12))
columns = st.lists(st.sampled_from([*COLUMNS, *SYNONYMS, "bbox_x", "bbox_y", "bbox_w", "bbox_h", "other", ""]), min_size=1, max_size=9)


@pytest.fixture
def root(tmp_path):
    save(tmp_path / "a.png", np.zeros((40, 60, 3), np.uint8))
    return tmp_path


def reads(root: Path, **options) -> None:
    for skip_bad in (False, True):
        try:
            found = catalogue.read(root, lambda path: PhotoFacts((60, 40)), skip_bad=skip_bad, **options)
        except GalleryError as error:
            assert str(error) and "\n" not in str(error)  # noqa: PT017  one line
            continue
        assert all(ref.encounter and ref.path.exists() for ref in (*found.references, *found.queries))
        ids = [ref.image_id for ref in found.references]
        assert len(set(ids)) == len(ids)


@JUNK
@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes(root, data):
    (root / "metadata.csv").write_bytes(data)
    reads(root)


@JUNK
@given(head=columns, rows=st.lists(st.lists(cells, min_size=1, max_size=10), max_size=6))
def test_any_cells(root, head, rows):
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["path", "identity", *head])
    writer.writerows([["a.png", *row] for row in rows] + rows)
    (root / "metadata.csv").write_bytes(stream.getvalue().encode("utf-8", "replace"))
    reads(root)
    reads(root, names_as_written=True)


@JUNK
@given(text=st.one_of(odd, st.text()))
def test_any_text(text):
    read_dates("date", [("line 2", text)])
    date_in_name(text)
    assert side(side(text) or "") == side(text)
    opposite(text, "left")
    assert clean(clean(text)) == clean(text)
    names, _ = identities([text, "amber"], {}, as_written=False)
    assert names[1] == "amber"
    twins({text: 1, "amber": 2})


@JUNK
@given(cell=st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.binary(), st.dates(), st.datetimes(), st.lists(st.floats())))
def test_any_cell_is_text(cell):
    assert isinstance(as_text(cell), str)
