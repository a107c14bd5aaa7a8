"""The outline's decoder learns where rendered animals end: its crops, its loss, and a run that is killed and goes on."""

import numpy as np
import pytest
import torch

from reid.extractors import outline as network
from reid.records import PhotoRef
from reid.training import Choices, loop
from reid.training.rendered import outline
from reid.training.rendered.conditions import Pictures

SIDE = 128


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(outline, "SIDE", SIDE)
    monkeypatch.setattr(outline, "N_PHOTOS", 4)
    monkeypatch.setattr(outline, "N_JUDGED", 2)


def test_a_crop_shows_the_skin_that_its_mask_says():
    photo, skin = np.zeros((100, 140, 3), np.uint8), np.zeros((100, 140), bool)
    skin[:, 70:] = True
    photo[skin] = 200
    seen = [outline.crop(photo, skin, 64, np.random.default_rng(number)) for number in range(40)]
    assert {(pixels.shape, mask.shape) for pixels, mask in seen} == {((64, 64, 3), (16, 16))}
    shares = np.array([mask.mean() for _, mask in seen])
    assert shares.min() < 0.1 and shares.max() > 0.9 and 0.3 < shares.mean() < 0.7
    for pixels, mask in seen:
        beside = np.kron(mask == 0, np.ones((network.FINEST, network.FINEST))) > 0
        assert not beside.any() or np.ptp(pixels[beside].astype(int)) < 25  # all plain parts lie on skin


def test_the_loss_is_least_for_the_mask_itself():
    skin = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    right, none, wrong = (float(outline.loss(logits, skin)["loss"]) for logits in (20 * skin - 10, 0 * skin, 10 - 20 * skin))
    assert right < 0.05 < none < wrong
    assert outline.overlap(skin.numpy() > 0, skin.numpy() > 0) == 1 and outline.overlap(skin.numpy() > 0, skin.numpy() < 1) == 0


def test_photos_are_rendered_once(tmp_path, small, monkeypatch):
    kept = outline.stills(Pictures([]), 5, tmp_path)
    pixels, skin = kept.photo(3)
    assert pixels.shape[:2] == skin.shape and max(skin.shape) == SIDE and skin.any()
    monkeypatch.setattr(outline.Scenes, "view", None)
    again = outline.stills(Pictures([]), 5, tmp_path).photo(3)
    assert np.array_equal(pixels, again[0]) and np.array_equal(skin, again[1])
    assert outline.stills(Pictures([PhotoRef("a", tmp_path / "a.png")]), 5, tmp_path).folder != kept.folder


def test_a_training_that_is_taken_up_ends_with_the_same_weights(tmp_path, small):
    def run(out, steps, resume=False):
        plan = loop.Plan(steps=4, batch=2, rate=1e-3, every=2)
        [task] = outline.stages([], [], Choices(64, 0.0, 0, "scratch"), plan, tmp_path, lambda *_: None)

        def stop(step, of):
            if step == steps:
                raise KeyboardInterrupt

        try:
            return loop.train(task, plan, out, resume, stop if steps < 4 else lambda *_: None)[0].read_bytes()
        except KeyboardInterrupt:
            return None

    whole = run(tmp_path / "whole", 4)
    assert run(tmp_path / "cut", 3) is None
    assert run(tmp_path / "cut", 4, resume=True) == whole
