"""GoodPoint on rendered animals: crops know where each pixel's skin is in the other photo, photos are rendered once, impostors repel."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_animal, save

from reid.errors import SettingsError
from reid.extractors.goodpoint import GoodPoint
from reid.records import PhotoRef
from reid.training import Choices, method, validation
from reid.training import pairs as two
from reid.training.loop import Plan, train
from reid.training.rendered import album
from reid.training.rendered import goodpoint as rendered
from reid.training.rendered.album import Album
from reid.training.rendered.conditions import Pictures
from reid.training.rendered.scenes import Scenes, View
from reid.weights import load

SIDE, CROP = 192, 96


@pytest.fixture
def few(monkeypatch):
    """Species of four photos."""
    for name, value in {"INDIVIDUALS": 2, "VIEWS": 2, "COUPLES": ((0, 1),), "N_COUPLES": 2, "N_SPECIES": 2, "TOGETHER": 1}.items():
        monkeypatch.setattr(album, name, value)


@pytest.fixture
def photos(few, tmp_path):
    return Album(Scenes(Pictures([]), SIDE, seed=5), CROP, tmp_path)


def test_a_kept_photo_is_the_one_that_was_rendered(photos, monkeypatch):
    whole = photos.scenes.view(0, 1, 1)
    first = photos.view(0, 1, 1)
    monkeypatch.setattr(photos.scenes, "view", None)
    again = Album(photos.scenes, CROP, photos.folder).view(0, 1, 1)  # not rendered again
    assert [file.name for file in photos.folder.iterdir()] == ["5-000000.npz"]
    assert np.array_equal(first.pixels, again.pixels) and again.longest == whole.longest
    assert np.array_equal(again.pixels, cv2.cvtColor(whole.pixels, cv2.COLOR_RGB2GRAY))
    assert np.array_equal(np.isnan(again.seen.uv), np.isnan(whole.seen.uv)) and again.seen.uv.dtype == np.float32
    assert np.nanmax(np.abs(again.seen.uv - whole.seen.uv)) < 3e-4 and np.array_equal(again.seen.vertices, whole.seen.vertices)
    points = np.argwhere(np.isfinite(whole.seen.depth))[::7, ::-1]
    ways = [seen.project(seen.places(points)) for seen in (whole.seen, again.seen)]
    both = np.isfinite(ways[0]).all(axis=1) & np.isfinite(ways[1]).all(axis=1)
    assert both.mean() > 0.95 and np.abs(ways[0] - ways[1])[both].max() < 0.5


def test_an_album_is_of_its_photos_its_size_and_the_code_that_draws(tmp_path):
    one = album.of(Pictures([]), SIDE, CROP, 0, tmp_path).folder
    assert one.parent == tmp_path and one == album.of(Pictures([]), SIDE, CROP, 1, tmp_path).folder
    others = (
        album.of(Pictures([]), 2 * SIDE, CROP, 0, tmp_path),
        album.of(Pictures([PhotoRef("a", Path("a.png"))]), SIDE, CROP, 0, tmp_path),
    )
    assert all(one != other.folder for other in others)


def test_pixels_of_a_crop_lie_on_the_same_skin_in_the_other(photos):
    """Of photos whose light is u: light is the same at both ends of a way."""
    views = [photos.view(0, 0, number) for number in range(2)]
    lit = [View((np.nan_to_num(view.seen.uv[..., 0]) * 255).astype(np.uint8), view.seen, SIDE) for view in views]
    one = album.crops((lit[0], lit[1]), CROP, np.random.default_rng(3), (0, 0))
    assert one.images.shape == one.valid.shape == (2, CROP, CROP) and one.maps.shape == (2, CROP, CROP, 2)
    for here, way in enumerate(one.ways(torch.zeros(0))):
        rows, columns = np.nonzero(one.valid[here])
        away = way(torch.from_numpy(np.stack((columns, rows), axis=1))).round().long().numpy()
        seen = ((away >= 0) & (away < CROP)).all(axis=1)
        assert seen.sum() > 200
        apart = np.abs(one.images[here][rows, columns][seen] - one.images[1 - here][away[seen, 1], away[seen, 0]])
        assert np.median(apart) < 0.01 and np.quantile(apart, 0.95) < 0.05
        bare = one.beside[here]
        assert (one.maps[here][bare] == two.OUTSIDE).all() and not (bare & one.valid[here]).any()
        assert not (one.valid | one.beside)[here, [0, two.MARGIN - 1, -1]].any()  # nothing at the border


def test_photos_that_share_nothing_are_cropped_all_the_same():
    nothing = Scenes(Pictures([]), SIDE, seed=5).view(0, 0, 0).seen.covered(np.ones((1, 1), bool))
    view = View(np.zeros(nothing.depth.shape, np.uint8), nothing, SIDE)
    one = album.crops((view, view), CROP, np.random.default_rng(0), (0, 0))
    assert not one.valid.any() and (one.maps == two.OUTSIDE).all()
    logits, descriptors = outputs([one])
    parts = rendered.loss(logits, descriptors, logits, [one])
    assert float(parts["loss"]) == pytest.approx(0, abs=1e-6) and float(parts["right"]) == 0


def outputs(batch):
    torch.manual_seed(0)
    with torch.inference_mode():
        return GoodPoint().eval()(torch.from_numpy(np.concatenate([one.images for one in batch])[:, None]))


def test_pairs_repeat_and_the_next_of_a_species_is_another_individual(photos):
    one, other, later, again = photos.pair(0), photos.pair(1), photos.pair(4), photos.pair(0)
    assert np.array_equal(one.images, again.images) and np.array_equal(one.maps, again.maps)
    assert (one.who, other.who, later.who) == ((0, 0), (0, 1), (0, 0))
    assert not np.array_equal(one.images, later.images)  # the same couple in other crops
    assert photos.pair(2).who == (1, 0)


def pair(who):
    """A pair of which every place is seen where it is, but for a corner beside the animal."""
    valid = np.ones((2, 64, 64), bool)
    valid[:, 40:, 40:] = False
    places = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=2).astype(np.float32)
    return two.Mapped(np.zeros((2, 64, 64), np.float32), valid, np.stack((places, places)), ~valid, who)


def test_another_individual_and_the_background_are_elsewhere():
    one, same, impostor, species = (pair(who) for who in ((0, 0), (0, 0), (0, 1), (1, 1)))
    assert np.array_equal(one.elsewhere(one), one.beside) and np.array_equal(one.elsewhere(impostor), impostor.valid)
    assert one.elsewhere(same) is None and one.elsewhere(species) is None
    warped = two.Warped(one.images, one.valid, np.eye(3))
    assert warped.elsewhere(warped) is None and warped.elsewhere(one) is None and one.elsewhere(warped) is None


def peaked(*places):
    """Logits of two images whose only peaks are at these pixels (x, y), in the middle of their cells."""
    logits = torch.zeros((2, 64, 8, 8))
    for x, y in places:
        logits[:, (y % 8) * 8 + x % 8, y // 8, x // 8] = 9.0
    return logits


def test_the_cross_entropy_by_hand(monkeypatch):
    """Three keypoints far apart, at the same places of both images; each has its own descriptor, but two look alike in the second one."""
    monkeypatch.setattr(rendered, "POINTS", 3)
    places = ((12, 12), (36, 12), (12, 36))
    one = pair((0, 0))
    descriptors = torch.zeros((2, 256, 8, 8))
    descriptors[:, 3] = 1  # everywhere else
    for number, (x, y) in enumerate(places):
        rows, columns = slice(y // 8 - 1, y // 8 + 2), slice(x // 8 - 1, x // 8 + 2)
        descriptors[:, :, rows, columns] = 0
        descriptors[0, number, rows, columns] = 1
        descriptors[1, (0, 0, 2)[number], rows, columns] = 1
    logits = peaked(*places)
    parts = rendered.loss(logits, descriptors, logits, [replace(one, beside=np.zeros_like(one.beside))])
    t = 1 / rendered.TEMPERATURE
    # cosines of each keypoint: its own place; two others of the other image; two others of its own image
    there = [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    back = [[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    rows = np.array(there + back, float) * t
    expected = np.mean(np.log(np.exp(rows - rows[:, :1]).sum(axis=1)))
    assert float(parts["descriptors"]) == pytest.approx(expected, rel=1e-4) and float(parts["right"]) == pytest.approx(
        5 / 6
    )  # a tie is right


def test_heatmaps_are_held_where_they_were():
    one, logits = pair((0, 0)), peaked((12, 12), (36, 12))
    descriptors = torch.nn.functional.normalize(torch.ones((2, 256, 8, 8)), dim=1)
    same, moved = (rendered.loss(now, descriptors, logits, [one]) for now in (logits, peaked((13, 12), (36, 12))))
    assert float(same["heatmaps"]) == pytest.approx(0, abs=1e-6) and float(moved["heatmaps"]) > 0.01
    assert float(moved["loss"] - same["loss"]) == pytest.approx(rendered.HELD * float(moved["heatmaps"]), rel=1e-4)


def test_an_impostor_in_the_batch_and_the_background_are_rivals(photos):
    batch = [photos.pair(0), photos.pair(1)]
    logits, descriptors = outputs(batch)
    bare = [replace(one, beside=np.zeros_like(one.beside)) for one in batch]

    def told(some, rows):
        return float(rendered.loss(logits[rows], descriptors[rows], logits[rows], some)["descriptors"])

    alone = [told(bare[:1], slice(2)), told(bare[1:], slice(2, 4))]
    strangers = [replace(bare[0], who=(0, 0)), replace(bare[1], who=(1, 0))]  # of two species, of which nothing is known
    covered = [replace(one, beside=np.ones_like(one.beside)) for one in batch]
    apart, together, everything = (told(some, slice(4)) for some in (strangers, bare, covered))
    assert min(alone) <= apart <= max(alone) and apart < together < everything


def test_crops_are_no_larger_than_photos(tmp_path):
    assert method("goodpoint", rendered=True).begin == "shipped"
    choices = Choices(320, 30.0, 0, "shipped", rendered=True)
    with pytest.raises(SettingsError, match="side is 320; of rendered photos it is at most 288"):
        next(rendered.stages([], [], choices, Plan(1), tmp_path, lambda *done: None))


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_leave_weights(few, tmp_path, monkeypatch):
    for name, value in {"N_SPECIES": 1, "N_VIEWS": 2, "INDIVIDUALS": 2, "N_HELD_OUT": 2, "SIDE": SIDE}.items():
        monkeypatch.setattr(rendered, name, value)
    monkeypatch.setattr(validation, "N_HELD_OUT", 2)
    refs = [PhotoRef(f"{n}", save(tmp_path / f"{n}.png", draw_animal(n, 0, (320, 240)))) for n in range(2)]
    plan = Plan(12, 4, 1e-3, every=6)
    choices = Choices(CROP, 30.0, 0, "scratch", rendered=True)
    [task] = rendered.stages(refs, refs, choices, plan, tmp_path / "out", lambda *done: None)
    assert [isinstance(task.pair(number), two.Mapped) for number in range(5)] == [False, True, True, True, False]
    file, best = train(task, plan, tmp_path / "out", False, lambda *done: None)
    rows = [line.split(",") for line in (tmp_path / "out/log.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("loss")]) for row in rows[2:]]
    assert losses[-1] < losses[0] and 0 <= best["score"] <= 1 and 0 <= best["auroc"] <= 1
    GoodPoint().load_state_dict(load("goodpoint", str(file)))
