"""Imports and exports for the tests: what goes in, what comes out, and catalogues drawn at random."""

import os
from datetime import date, datetime, timedelta, timezone

import pandas as pd
import pytest
from conftest import read
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reid import formats
from reid.catalogue.values import is_given
from reid.errors import GalleryError
from reid.formats import importing, placing
from reid.formats.described import photos, whens
from reid.formats.source import Options
from reid.formats.writing import ExportOptions
from reid.imaging import facts


def seen(found):
    """What matters of each photo, by its name."""
    return {ref.path.name: (ref.identity, ref.orientation, ref.crop, ref.taken or ref.date) for ref in (*found.references, *found.queries)}


def problems(bring, *sources, **options):
    with pytest.raises(GalleryError) as caught:
        bring(*sources, **options)
    return caught.value.problems


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(gallery, form, out, **options):
    module = __import__(f"reid.formats.{formats.WRITERS[form]}", fromlist=["write"])
    return module.write(gallery, out, ExportOptions(form, **options))


def brought(source, gallery, unpacked, **options):
    plan = importing.plan([source], gallery, facts, Options(**options), unpacked)
    placing.carry_out(plan, facts)
    return read(gallery)


def known(found, *leave_out, extras=("notes", "species", "site", "split")):
    """All that is known of each photo, in the order of files and boxes; of its encounter the first photo, since what is derived may be
    called otherwise where files are named otherwise."""
    rows = []
    refs = photos(found)
    first = {ref.encounter: os.path.realpath(ref.path) for ref in sorted(refs, key=lambda ref: os.path.realpath(ref.path), reverse=True)}
    for ref, when in zip(refs, whens(refs), strict=True):
        one = {
            "file": os.path.realpath(ref.path), "crop": ref.crop, "identity": ref.identity, "orientation": ref.orientation, "when": when,
            "encounter": first[ref.encounter], "mask": ref.mask, **{name: said(name, ref.columns.get(name, "")) for name in extras},
        }  # fmt: skip
        rows.append({name: value for name, value in one.items() if name not in leave_out})
    return sorted(rows, key=lambda row: (row["file"], row["crop"] or ()))


def said(name, cell):
    """Marks alone say nothing in columns that mean something."""
    return cell if name == "notes" or is_given(cell) else ""


letters = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp", "Zs"), max_codepoint=0x2FFF)
words = st.builds(
    lambda start, rest: (start + rest).strip(),
    st.sampled_from(["", "=", "+", "-", "@", "'=", "''-", '"', "0"]),
    st.text(letters, max_size=8),
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda n: timezone(timedelta(minutes=n)))
dates = st.one_of(
    st.none(), st.just("2021"), st.just("2021-11"), st.dates(date(1950, 1, 1), date(2025, 1, 1)).map(str),
    st.datetimes(datetime(1950, 1, 1), datetime(2025, 1, 1)).map(lambda moment: moment.isoformat(" ")),
    st.datetimes(datetime(1950, 1, 1), datetime(2025, 1, 1), timezones=zones)
    .map(lambda moment: moment.isoformat(" ")),
)  # fmt: skip
box = st.one_of(
    st.none(), st.tuples(st.integers(0, 20), st.integers(0, 10), st.sampled_from([2, 7.5, 20.25]), st.integers(2, 20)).map(list)
)
row = st.fixed_dictionaries(
    {
        "identity": words, "date": dates, "orientation": st.sampled_from(["", "left", "R", "topleft", "oblique"]), "encounter": words,
        "bbox": box, "notes": words, "species": st.sampled_from(["", "Caretta caretta"]), "site": words,
        "segmentation": st.sampled_from(["", "[[1, 2, 30, 2, 30, 30]]", "[1, 2, 30, 2, 30, 30]"]),
    }
)  # fmt: skip
rows = st.lists(row, min_size=1, max_size=6)
PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def described(root, rows):
    frame = pd.DataFrame([{"path": f"{name}.png", **one} for name, one in zip("abcdef", rows)])
    return read(root, table=frame)
