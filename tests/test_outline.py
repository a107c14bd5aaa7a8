"""Where the animal is, in drawn scenes: on grass, in a corner, close up, and in photos that show none."""

import numpy as np
import pytest
from test_images import save

import reid
from reid import stages
from reid.extractors import outline
from reid.records import PhotoRef
from reid.settings import Settings
from reid.training.rendered.conditions import Pictures
from reid.training.rendered.scenes import Scenes

SCENES = Scenes(Pictures([]), 320, seed=3)
NUMBERS = 1, 5, 6, 7  # of photos that show an animal in part, and something beside it


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) a rendered animal before drawn plants or water, and where its skin is."""
    view = SCENES.view(number, 0, 0)
    return view.pixels, np.isfinite(view.seen.depth)


@pytest.fixture(scope="module")
def network():
    return outline.create("cpu")


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_animal_is_found_and_the_same_way_every_time(network, number):
    pixels, animal = scene(number)
    mask = network.foreground(pixels)
    assert mask.shape == animal.shape and overlap(mask, animal) > 0.7 > animal.mean() + 0.1
    assert np.array_equal(mask, network.foreground(pixels))
    assert np.array_equal(mask, outline.Outline("cpu").foreground(pixels))  # not only remembered


def test_parts_that_are_small_are_left_out_and_holes_are_filled():
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:40] = True
    mask[20:25, 20:25] = False
    mask[50:55, 60:65] = True
    found = outline.tidied(mask)
    assert found[10:40, 10:40].all() and not found[45:].any() and not found[:, 45:].any()
    mask[30:55, 50:75] = True
    assert outline.tidied(mask)[30:55, 50:75].all()  # as large as the other
    assert outline.tidied(np.zeros((60, 80), bool)) is None


def test_keypoints_beside_the_animal_are_dropped_and_a_mask_of_ones_own_wins(tmp_path):
    pixels, animal = scene(NUMBERS[0])
    path = save(tmp_path / "a.png", pixels)
    own = np.zeros(animal.shape, np.uint8)
    own[:60, :60] = 255
    refs = [PhotoRef("a", path), PhotoRef("b", path, mask=str(save(tmp_path / "mask.png", own)))]
    settings = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=300, enlarge=False)
    inside = {}
    for segment in (False, True):
        work = stages.Workspace(settings.replace(segment=segment), tmp_path / "cache", reid.Listener())
        pipeline = work.first
        items, _, n_extracted = stages.extract(stages.read(refs, work.digests, work.listener)[0], work.pipelines)
        assert n_extracted == 2  # features with and without a guess are not taken for each other
        points = [np.rint(pipeline.load(item).keypoints).astype(int) for item in items]
        inside[segment] = animal[points[0][:, 1], points[0][:, 0]].mean()
        assert points[1].max() < 60
    assert inside[True] > 0.85 and 1 - inside[True] < 0.7 * (1 - inside[False])


def test_a_photo_without_an_animal_is_named_once(tmp_path, monkeypatch):
    notes = []

    class Notes(reid.Listener):
        def note(self, text):
            notes.append(text)

    monkeypatch.setattr(outline.Outline, "likely", lambda self, pixels: np.zeros((20, 20), np.float32))
    outline.create.cache_clear()
    path = save(tmp_path / "flat.png", np.full((120, 160, 3), 90, np.uint8))
    work = stages.Workspace(Settings.of(extractor="sift", matcher="nearest", fuse="glampoints+nearest"), tmp_path, Notes())
    stages.extract(stages.read([PhotoRef("flat.png", path)], work.digests, work.listener)[0], work.pipelines)
    assert notes == ["flat.png: no animal can be made out, so the whole photo is used"]
    outline.create.cache_clear()
