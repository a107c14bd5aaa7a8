"""Whatever a foreign file holds: it is read, or a line says what is wrong with it; nothing else is raised, and nothing is written."""

import copy
import json
import os
import shutil

import foreign
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.formats import importing
from reid.formats.source import Options
from reid.imaging import facts

JUNK = settings(
    max_examples=int(os.environ.get("JUNK_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MAIN = {  # the file of each sample that is broken
    "megadetector": "detections.json", "coco": "coco.json", "camtrap-dp": "observations.csv", "wildbook": "sheet.xlsx",
    "hotspotter": "_hsdb/chip_table.csv", "table": "photos.csv",
}  # fmt: skip
ODD = [
    None,
    True,
    -1,
    0,
    1e308,
    "",
    "\0",
    "../../etc/passwd",
    "\ud800",
    "=1+1",
    [],
    {},
    [[]],
    {"id": 1},
    [1, 2, 3, 4],
    ["a"],
    "1" * 400,
    3.5,
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name, make in foreign.SAMPLES.items():
        make(folder / name)
    return folder


def is_refused_or_read(source, gallery, form=None):
    """The plan, or None; whatever is refused is told in lines that name what is meant, and no folder appears."""
    try:
        return importing.plan([source], gallery, facts, Options(), gallery.parent / "unpacked", form=form)
    except ReidError as error:
        lines = [str(error), *getattr(error, "problems", ())]
        assert all(line and "\n" not in line for line in lines)
        assert len(lines) > 1 or source.name in lines[0]
        return None
    finally:
        assert not gallery.exists()


cuts = st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.binary(max_size=12))


@JUNK
@given(where=st.lists(cuts, min_size=1, max_size=4))
@pytest.mark.parametrize("name", MAIN)
def test_bytes_that_changed(samples, tmp_path, name, where):
    source = samples / name
    file = source / MAIN[name]
    data = good = file.read_bytes()
    for start, length, new in where:
        start %= len(data) + 1
        data = data[:start] + new + data[start + length :]
    try:
        file.write_bytes(data)
        is_refused_or_read(source if name in ("camtrap-dp", "hotspotter") else file, tmp_path / "gallery")
        is_refused_or_read(source if name in ("camtrap-dp", "hotspotter") else file, tmp_path / "gallery", form=name)
    finally:
        file.write_bytes(good)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


@JUNK
@given(data=st.data())
@pytest.mark.parametrize("name", ["megadetector", "coco", "camtrap-dp"])
def test_json_of_another_form(samples, tmp_path, name, data):
    file = samples / name / {"camtrap-dp": "datapackage.json"}.get(name, MAIN[name])
    good = file.read_bytes()
    value = json.loads(good)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(value))))
        junk = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        if not path:
            value = junk
            continue
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = junk
    try:
        file.write_text(json.dumps(value))
        for form in (None, name):
            is_refused_or_read(file if name != "camtrap-dp" else samples / name, tmp_path / "gallery", form=form)
    finally:
        file.write_bytes(good)


junk_text = st.one_of(st.text(max_size=8), st.sampled_from([str(one) for one in ODD[1:]]))


@JUNK
@given(cells=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), junk_text), min_size=1))
@pytest.mark.parametrize("name", ["camtrap-dp", "table", "hotspotter"])
def test_cells_that_changed(samples, tmp_path, name, cells):
    file = samples / name / MAIN[name]
    good = file.read_bytes()
    rows = [line.split({"table": ";"}.get(name, ",")) for line in good.decode().splitlines()]
    for row, column, text in cells:
        own = rows[row % len(rows)]
        own[column % len(own)] = text.replace("\n", " ").replace("\r", " ")
    try:
        file.write_bytes("\n".join({"table": ";"}.get(name, ",").join(row) for row in rows).encode("utf-8", "replace"))
        is_refused_or_read(file if name == "table" else samples / name, tmp_path / "gallery")
    finally:
        file.write_bytes(good)


@JUNK
@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("suffix", ["zip", "json", "csv", "xlsx", "parquet", "jpg", "txt", ""])
def test_any_bytes(tmp_path, suffix, data):
    file = tmp_path / f"file.{suffix}".rstrip(".")
    for start in (b"", b"PK\x03\x04", b"{", b'{"images": ', b"PAR1"):
        file.write_bytes(start + data)
        (tmp_path / "unpacked").mkdir(exist_ok=True)
        is_refused_or_read(file, tmp_path / "gallery")
        shutil.rmtree(tmp_path / "unpacked")
