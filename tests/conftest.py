"""Drawn animals for the tests: each a fixed pattern of blobs, seen under small turns, shifts and light. No photo, no network."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; before anything imports torch

import cv2
import numpy as np
import pytest
from PIL import Image

from reid import catalogue
from reid.imaging import facts
from reid.records import Features, PhotoRef
from reid.retrieval import growing

SIZE = (313, 241)  # width, height: not square, no multiple of 8


def draw_animal(identity: int, view: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8: the pattern of `identity` as photo number `view` shows it."""
    return _drawn(identity, view, size).copy()


@lru_cache(256)
def _drawn(identity: int, view: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    pattern = np.random.default_rng([7, identity])
    canvas = np.full((height, width, 3), 90, np.uint8)
    for _ in range(260):
        centre = (int(pattern.integers(0, width)), int(pattern.integers(0, height)))
        colour = tuple(int(value) for value in pattern.integers(0, 256, 3))
        axes = (int(pattern.integers(2, 14)), int(pattern.integers(2, 14)))
        cv2.ellipse(canvas, centre, axes, float(pattern.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    light = np.random.default_rng([11, identity, view])
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(light.uniform(-8, 8)), float(light.uniform(0.92, 1.08)))
    turned = cv2.warpAffine(canvas, turn, size, borderMode=cv2.BORDER_REFLECT)
    noisy = turned * light.uniform(0.8, 1.2) + light.normal(0, 4, turned.shape)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture
def threads():
    """Sets how many threads of the processor PyTorch has, for one test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random_features(n: int, n_dims: int, seed: int, size=(471, 313)) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, n_dims))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    more = {"scales": rng.uniform(1, 30, n), "angles": rng.uniform(0, 6, n)}
    return Features("test", size, rng.random((n, 2)) * (np.array(size) - 1), rng.random(n), descriptors, **more)


@pytest.fixture(scope="module")
def refs(tmp_path_factory):
    """Four drawn photos, of no gallery."""
    root = tmp_path_factory.mktemp("drawn")
    return [PhotoRef(f"{n}", save(root / f"{n}.png", draw_animal(n, 0, (320, 240)))) for n in range(4)]


def in_order(found) -> list:
    """The matches of each reference, in the references' order."""
    return [matches for _, matches in sorted(found, key=lambda one: one[0])]


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **{"compress_level": 1, **options})  # of PNG: twice as fast
    return path


def photo(path: Path, **options: object) -> Path:
    """A photo that shows nothing, for tests that read galleries and look at no pixel."""
    return save(path, np.zeros((40, 60, 3), np.uint8), **options)


def table(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "metadata.csv").write_bytes(text.encode(encoding))
    return root


def read(root: Path, **options: object) -> catalogue.Gallery:
    return catalogue.read(root, facts, **options)


@pytest.fixture
def root(tmp_path):
    """A folder with the photos a.png to h.png."""
    for name in "abcdefgh":
        photo(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    """A command in this process: `call(*words)` gives its exit status, standard output and standard error."""
    from reid import cli

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["reid", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def drawn_animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `animals` copies."""
    folder = tmp_path_factory.mktemp("drawn")
    for identity in range(8):
        for view in range(2):
            save(folder / "gallery" / f"animal-{identity}" / f"{view}.png", draw_animal(identity, view))
    save(folder / "photos" / "known.png", draw_animal(3, 5))
    save(folder / "photos" / "new.png", draw_animal(99, 0))
    return folder


@pytest.fixture
def animals(drawn_animals: Path, tmp_path: Path) -> Path:
    """A gallery of eight animals with two photos each, and `../photos` with one of a known and one of a new animal."""
    shutil.copytree(drawn_animals, tmp_path, dirs_exist_ok=True)
    return tmp_path / "gallery"


@pytest.fixture
def in_parts(monkeypatch):
    """Inverted lists, and a file for each eight photos."""
    monkeypatch.setattr(growing, "EXACT_BELOW", 0)
    monkeypatch.setattr(growing, "AT_ONCE", 4)
    monkeypatch.setattr(growing, "SHARD", 8 * 30)


@pytest.fixture
def bring(tmp_path):
    """Import into `gallery`: what the gallery is then, and the plan."""
    from reid.formats import importing, placing
    from reid.formats.source import Options

    def run(*sources, copy=False, form=None, gallery=None, skip_bad=False, **options):
        unpacked = tmp_path / f"unpacked{os.urandom(4).hex()}"
        unpacked.mkdir()
        root = gallery or tmp_path / "gallery"
        plan = importing.plan(list(sources), root, facts, Options(**options), unpacked, copy=copy, form=form, skip_bad=skip_bad)
        if plan.changes:
            placing.carry_out(plan, facts)
        return read(root), plan

    return run


@pytest.fixture
def season(tmp_path):
    """Three animals over three years: Luna from both sides, Zoë from the left, Nala from the right; one photo of nobody, one of a year."""
    import foreign

    names = [
        ("a.png", "Luna", "2019-05-01 10:00", "left", "Jetty", "-3.50", "39.25"),
        ("b.png", "Luna", "2019-05-01 11:30", "right", "Jetty", "-3.50", "39.25"),
        ("c.png", "Luna", "2021-06-01 10:00", "left", "Reef", "-3.60", "39.30"),
        ("d.png", "=Zoë*/", "2020-05-03 09:00", "topleft", "Reef", "-3.60", "39.30"),
        ("e.png", "Nala b", "2021-06-02 08:00", "R", "Reef", "-3.60", "39.30"),
        ("f.png", "unknown", "2018-06-02 08:00", "L", "Reef", "-3.60", "39.30"),
        ("g.png", "Luna", "2019", "", "Jetty", "-3.50", "39.25"),
    ]
    for name, *_ in names:
        photo(tmp_path / "gallery" / name)
    columns = ("path", "identity", "date", "orientation", "site", "latitude", "longitude")
    foreign.write_csv(tmp_path / "gallery" / "metadata.csv", columns, names)
    return tmp_path / "gallery"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery to review, and photos, once for a file of tests."""
    from reviewing import five_animals

    return five_animals(tmp_path_factory.mktemp("reviewed"))


@pytest.fixture
def app(folder):
    """The review app on it; what a test decides is forgotten."""
    from reviewing import App, forget

    app = App(folder / "gallery", folder / "photos")
    yield app
    forget(app)


@pytest.fixture(scope="module")
def calibration():
    """Of queries drawn from known distributions."""
    from trials import crowd

    from reid.decision import calibrate

    found = calibrate(crowd(0), prior=0.4)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def herd(tmp_path_factory):
    """A gallery that can be calibrated on, see `herd.herd_at`."""
    from herd import herd_at

    return herd_at(tmp_path_factory.mktemp("herd"))


@pytest.fixture(scope="module")
def matched(herd, tmp_path_factory):
    """A store in which the herd has been calibrated already."""
    from herd import calibrate

    folder = tmp_path_factory.mktemp("matched") / "store"
    calibrate(herd, cache=folder)
    return folder


@pytest.fixture
def store(matched, tmp_path):
    """A copy of it."""
    return shutil.copytree(matched, tmp_path / "store")
