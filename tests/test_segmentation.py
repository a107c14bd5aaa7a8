"""GrabCut on drawn scenes: an animal on grass, and photos in which nothing stands out."""

import cv2
import numpy as np
import pytest
from test_images import save

import reid
from reid import stages
from reid.imaging import segmentation
from reid.records import PhotoRef
from reid.settings import Settings

SIZE = (331, 242)  # width, height


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) a brown striped ellipse on green noise, and where it is."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    pixels = rng.normal((60, 130, 50), 14, (height, width, 3))
    animal = np.zeros((height, width), np.uint8)
    cv2.ellipse(animal, (width // 2 + 10, height // 2), (width // 4, height // 5), 12, 0, 360, 1, -1)
    stripes = (np.arange(width)[None, :] // 9 % 2)[..., None] * np.array([60, 50, 40])
    pixels = np.where(animal[..., None] == 1, rng.normal((150, 100, 60), 10, pixels.shape) + stripes, pixels)
    return pixels.clip(0, 255).astype(np.uint8), animal.astype(bool)


def test_the_animal_is_cut_out_the_same_way_every_time():
    pixels, animal = scene()
    mask = segmentation.foreground(pixels)
    assert mask.shape == animal.shape
    assert (mask & animal).sum() / (mask | animal).sum() > 0.85
    assert np.array_equal(mask, segmentation.foreground(pixels))


@pytest.mark.parametrize("pixels", [np.full((242, 331, 3), 90, np.uint8), np.zeros((40, 900, 3), np.uint8)])
def test_where_nothing_stands_out_there_is_no_mask(pixels):
    assert segmentation.foreground(pixels) is None


def test_keypoints_beside_the_animal_are_dropped_and_a_mask_of_ones_own_wins(tmp_path):
    pixels, animal = scene()
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
    assert inside[False] < 0.6 < 0.9 < inside[True]


@pytest.mark.slow
def test_a_photo_in_which_nothing_stands_out_is_named(tmp_path):
    notes = []

    class Notes(reid.Listener):
        def note(self, text):
            notes.append(text)

    path = save(tmp_path / "flat.png", np.full((120, 160, 3), 90, np.uint8))
    work = stages.Workspace(Settings.of(extractor="sift", matcher="nearest", fuse="none", segment=True), tmp_path, Notes())
    stages.extract(stages.read([PhotoRef("flat.png", path)], work.digests, work.listener)[0], work.pipelines)
    assert notes == ["nothing stands out in flat.png; its whole frame is used"]
