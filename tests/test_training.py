"""Warps, noise, targets and losses against cases worked out by hand or a second implementation; runs that learn, stop and go on."""

import csv

import numpy as np
import pytest
import skimage.transform
import torch
from conftest import draw_animal, save

from reid import weights
from reid.errors import PhotoError, SettingsError
from reid.extractors.goodpoint import GoodPoint, heatmap
from reid.extractors.superpoint import SuperPoint
from reid.imaging import noise, warps
from reid.records import PhotoRef
from reid.training import goodpoint, loop, pairs, validation
from reid.training.photos import Crops, unlabelled

SHIFT = np.array([[1.0, 0, 10], [0, 1, -4], [0, 0, 1]])  # takes (x, y) to (x + 10, y - 4)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    refs = [PhotoRef(f"{n}", save(root / f"{n}.png", draw_animal(n, 0, (320, 240)))) for n in range(4)]
    return Crops(refs, 128, seed=3)


def test_warping_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (47, 31)).astype(np.float32)
    for _ in range(5):
        way = warps.sample(rng, (31, 47), warps.Strength())
        theirs = skimage.transform.warp(image.astype(np.float64), way, order=1, mode="constant", cval=0)
        inside = warps.valid(way, (31, 47), (31, 47), margin=2)
        assert inside.any()
        assert np.abs(warps.warp(image, way) - theirs)[inside].max() < 4  # OpenCV's bilinear weights have 5 bits


def test_a_point_goes_where_its_pixel_goes():
    image = np.zeros((60, 80), np.float32)
    image[20:23, 30:33] = 255
    warped = warps.warp(image, SHIFT)  # pixels of the warped image to the source
    rows, columns = np.nonzero(warped)
    assert (columns.mean(), rows.mean()) == tuple(warps.project([[31, 21]], np.linalg.inv(SHIFT))[0]) == (21, 25)


def test_what_is_valid_keeps_off_the_border_of_the_source():
    inside = warps.valid(SHIFT, (80, 60), (80, 60))
    assert inside[4:, :70].all() and not inside[:4].any() and not inside[:, 70:].any()
    assert warps.valid(SHIFT, (80, 60), (80, 60), margin=3).sum() == (60 - 4 - 6) * (70 - 6)


def test_the_sampler_stays_within_its_strength():
    rng = np.random.default_rng(1)
    corners = np.array([[-0.5, -0.5], [255.5, -0.5], [-0.5, 255.5], [255.5, 255.5]])
    still = warps.Strength(corner=0, perspective=0, scale=(1, 1), rotation=0)
    assert np.allclose(warps.sample(rng, (256, 256), still), np.eye(3), atol=1e-6)
    jittered = warps.Strength(perspective=0, scale=(1, 1), rotation=0)
    moved = [np.abs(warps.project(corners, warps.sample(rng, (256, 256), jittered)) - corners).max() for _ in range(50)]
    assert 10 < max(moved) <= 14.01
    turned = warps.sample(rng, (256, 256), warps.Strength(0, 0, (0.5, 0.5), 0.8))
    sides = np.linalg.norm(np.diff(warps.project(corners[[0, 1, 3]], turned), axis=0), axis=1)
    assert np.allclose(sides, 128, atol=0.01)  # warped pixels cover half of the source
    stretched = warps.sample(rng, (256, 256), warps.Strength(0, 85, (1, 1), 0))
    away = np.abs(warps.project(corners, stretched) - corners)
    assert (away.max(axis=1) > 1e-3).sum() == 2 and (away.max(axis=0) > 1e-3).sum() == 1  # one side, along itself


@pytest.mark.parametrize("apply", noise.FILTERS, ids=lambda apply: apply.__name__)
def test_each_filter_changes_the_image_and_repeats(apply):
    image = np.random.default_rng(0).uniform(60, 190, (64, 80)).astype(np.float32)
    first, second = (apply(image, np.random.default_rng(4)) for _ in range(2))
    assert first.dtype == np.float32 and first.shape == image.shape
    assert np.array_equal(first, second) and not np.allclose(first, image)


def test_the_filters_do_what_they_are_called():
    rng = np.random.default_rng(0)
    flat = np.full((200, 300), 120, np.float32)
    assert (noise.gaussian(flat, rng) - 120).std() == pytest.approx(np.sqrt(30), rel=0.05)
    assert np.ptp(noise.brightness(flat, rng)) == 0
    salted = noise.salt_and_pepper(flat, rng)
    assert (salted == 255).mean() == pytest.approx(0.02, abs=0.004) and (salted == 0).mean() == pytest.approx(0.02, abs=0.004)
    ramp = np.tile(np.linspace(0, 200, 300, dtype=np.float32), (200, 1))
    after = noise.contrast(ramp, rng)
    assert 0.6 <= np.ptp(after) / 200 <= 1.05 and after.mean() == pytest.approx(100, abs=1)
    dot = np.zeros((21, 21), np.float32)
    dot[10, 10] = 100
    smeared = noise.motion_blur(dot, rng)
    assert smeared.sum() == pytest.approx(100, rel=1e-4) and (smeared > 0).sum() == 5


def test_a_filter_that_drowns_the_image_is_taken_back(monkeypatch):
    image = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    monkeypatch.setattr(noise, "FILTERS", (lambda image, rng: np.full_like(image, 7),))
    assert all(np.array_equal(noise.disturb(image, np.random.default_rng(seed)), image) for seed in range(8))


def test_crops_are_the_same_again_and_small_photos_are_enlarged(crops, tmp_path):
    again = Crops(crops.refs, 128, seed=3)
    assert np.array_equal(crops.crop(5)[0], again.crop(5)[0]) and not np.array_equal(crops.crop(5)[0], crops.crop(6)[0])
    small = Crops([PhotoRef("s", save(tmp_path / "s.png", draw_animal(1, 0, (60, 50))))], 128, seed=0)
    light, mask = small.crop(0)
    assert light.shape == mask.shape == (128, 128) and light.std() > 8
    (tmp_path / "none").mkdir()
    with pytest.raises(PhotoError, match="no photo to train on"):
        Crops(unlabelled(tmp_path / "none"), 128, 0)


def test_a_pairs_homography_takes_its_first_image_to_its_second(crops):
    recipe = goodpoint.Recipe(noise=False)
    for number in range(3):
        one = goodpoint.pair(crops, number, recipe)
        carried = warps.warp(one.images[0], np.linalg.inv(one.homography))
        both = one.valid[1] & (warps.warp(one.valid[0].astype(np.float32), np.linalg.inv(one.homography)) > 0.99)
        assert both.mean() > 0.3
        assert np.abs(carried - one.images[1])[both].mean() < 0.02  # twice interpolated


def shifted(matrix):
    """The ways between two images, of which this matrix takes the first to the second."""
    return pairs.Warped(np.zeros((2, 64, 64), np.float32), np.ones((2, 64, 64), bool), np.array(matrix, float)).ways(torch.zeros(0))


def test_a_homography_takes_points_in_the_precision_of_the_network_and_back_by_its_inverse(crops):
    """What was trained before pairs had ways stays as it is, bit for bit."""
    one = goodpoint.pair(crops, 0, goodpoint.Recipe())
    matrix = torch.from_numpy(one.homography).float()
    points = torch.rand((50, 2), generator=torch.Generator().manual_seed(0)) * 128
    for way, used in zip(one.ways(points), (matrix, torch.linalg.inv(matrix))):
        away = torch.cat((points, torch.ones_like(points[:, :1])), dim=1) @ used.T
        assert torch.equal(way(points), away[:, :2] / away[:, 2:])
    there, back = one.ways(points.double())
    assert torch.allclose(back(there(points.double())), points.double(), atol=1e-8)


def test_a_map_teaches_and_is_judged_as_the_homography_that_it_was_made_of(crops):
    x, y = (one.astype(np.float32) for one in np.meshgrid(np.arange(128), np.arange(128)))
    torch.manual_seed(1)
    network = GoodPoint().eval()
    for number, matrix in enumerate(([[1, 0, 9], [0, 1, -5], [0, 0, 1]], [[1, 0, -20], [0, 1, 3], [0, 0, 1]])):
        one = goodpoint.pair(crops, number, goodpoint.Recipe())
        moved = pairs.Warped(one.images, one.valid, np.array(matrix, float))
        dx, dy = matrix[0][2], matrix[1][2]
        places = np.stack([np.stack((x + sign * dx, y + sign * dy), axis=2) for sign in (1, -1)])
        places[((places < 0) | (places > 127)).any(axis=3)] = pairs.OUTSIDE
        mapped = pairs.Mapped(one.images, one.valid, places, np.zeros_like(one.valid), (0, 0))
        with torch.inference_mode():
            outputs = network(torch.from_numpy(one.images[:, None]))
            losses = [goodpoint.loss(*outputs, [each], "code", torch.Generator().manual_seed(0)) for each in (moved, mapped)]
            judged = [validation.judge_dense(network, heatmap, [each]) for each in (moved, mapped)]
        assert losses[0]["kept"] > 0 and losses[0]["heatmaps"] > 0
        assert all(float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-5) for name in losses[0])
        assert judged[0] == pytest.approx(judged[1]) and judged[0]["repeatability"] > 0


def peaks(points, size=(64, 64)):
    scores = torch.full((size[1], size[0]), 1e-3)
    for x, y in points:
        scores[y, x] = 0.5
    return scores


def test_maxima_of_cells_by_hand():
    valid = torch.ones((64, 64), dtype=torch.bool)
    valid[32:, 32:] = False
    found = goodpoint.maxima(peaks([(5, 6), (40, 3), (2, 50), (50, 50)]), valid, 32)
    assert found.tolist() == [[5, 6], [40, 3], [2, 50]]


def test_targets_by_hand():
    """The second image is the first moved by (3, 1). One point is found in both, one a pixel off, one nowhere near."""
    move = shifted([[1, 0, 3], [0, 1, 1], [0, 0, 1]])
    first, second = peaks([(5, 6), (40, 10), (10, 50)]), peaks([(8, 7), (45, 11), (40, 60)])
    valid = torch.ones((2, 64, 64), dtype=torch.bool)
    valid[0, 32:, 32:] = False
    code = torch.nn.functional.normalize(torch.randn((2, 256, 8, 8), generator=torch.Generator().manual_seed(0)), dim=1)
    code[1] = code[0]  # descriptors agree, but for the drift by 3 px
    own, theirs, about = goodpoint.targets(torch.stack((first, second)), valid, code, move, "paper")
    assert own.tolist()[0] == [5, 6] and theirs.tolist()[0] == [8, 7]
    assert [44, 11] in theirs.tolist()  # half way between (43, 11) and (45, 11)
    assert [10, 50] not in own.tolist() and float(about["distance"].max()) > goodpoint.NEAR
    loose, _, _ = goodpoint.targets(torch.stack((first, second)), valid, code, move, "code")
    assert len(loose) == len(own) + int((about["distance"] > goodpoint.NEAR).sum())


def test_losses_by_hand():
    maps = torch.stack((peaks([(5, 6)]), peaks([(8, 7)])))
    at = torch.tensor([[5.0, 6.0]]), torch.tensor([[8.0, 7.0]])
    assert float(goodpoint._likelihood(maps, *at)) == pytest.approx(-np.log(0.5), abs=1e-4)
    valid = torch.ones((2, 64, 64), dtype=torch.bool)
    move = shifted([[1, 0, 3], [0, 1, 1], [0, 0, 1]])
    assert float(goodpoint._difference(maps, valid, move)) == pytest.approx(0, abs=1e-9)  # the second is the first, moved
    assert float(goodpoint._difference(maps, valid, shifted(np.eye(3)))) == pytest.approx(2 * 18 * (0.499 / 9) ** 2 / 64**2, rel=0.2)
    none = torch.zeros_like(valid)
    assert float(goodpoint._difference(maps, none, move)) == 0


def test_heatmap_cells_sum_to_one_and_pixels_are_where_they_belong():
    logits = torch.zeros((1, 64, 2, 3))
    logits[0, 8 * 2 + 5, 1, 2] = 20  # row 2, column 5 of the cell in row 1, column 2
    found = heatmap(logits)[0]
    assert found.shape == (16, 24)
    assert int(found.argmax()) == (8 + 2) * 24 + 16 + 5
    assert torch.allclose(found.unfold(0, 8, 8).unfold(1, 8, 8).sum(dim=(2, 3)), torch.ones((2, 3)))
    assert float(found[0, 0]) == pytest.approx(1 / 64)


def test_the_network_has_the_published_size():
    assert sum(value.numel() for value in GoodPoint().parameters()) == 1_303_296


def test_goodpoint_begins_as_superpoint_does_but_for_the_leak(monkeypatch):
    """With ReLU both networks say the same, of random weights and statistics; logits up to a shift that softmax does not see."""
    torch.manual_seed(0)
    theirs = SuperPoint().eval()
    for norm in (one for one in theirs.modules() if isinstance(one, torch.nn.BatchNorm2d)):
        for values, spread in (
            (norm.running_mean, (-1, 1)),
            (norm.running_var, (1e-4, 2)),
            (norm.weight.data, (0.5, 2)),
            (norm.bias.data, (-1, 1)),
        ):
            values.uniform_(*spread)
    image = torch.rand((2, 1, 64, 48))
    with torch.inference_mode():
        logits, descriptors = theirs(image)
    monkeypatch.setattr(goodpoint, "load_network", lambda: theirs)
    own = goodpoint.from_superpoint().eval()
    goodpoint.set_leak(own, 0.0)
    with torch.inference_mode():
        found, described = own(image)
    assert torch.allclose(described, descriptors, atol=1e-4)
    assert torch.allclose(found.softmax(dim=1), logits[:, :64].softmax(dim=1), atol=1e-4)
    goodpoint.set_leak(own, 0.01)
    assert not torch.allclose(own(image)[1], descriptors, atol=1e-4)


def plan(steps, **more):
    return loop.Plan(steps, batch=2, every=5, rate=1e-3, **more)


def run(crops, out, steps, resume=False, stop=None):
    torch.manual_seed(0)
    task = goodpoint.task(crops, Crops(crops.refs, 128, seed=4), goodpoint.Recipe(rule="code"), GoodPoint())

    def progress(step, steps):
        if step == stop:
            raise KeyboardInterrupt

    return loop.train(task, plan(steps), out, resume, progress)[0]


def loss_of(network, crops):
    """Of the pairs that a run learns from, all at once."""
    pairs = [goodpoint.pair(crops, number, goodpoint.Recipe()) for number in range(20)]
    with torch.inference_mode():
        outputs = network(torch.from_numpy(np.concatenate([one.images for one in pairs])[:, None]))
    return float(goodpoint.loss(*outputs, pairs, "code", torch.Generator().manual_seed(0))["loss"])


@pytest.mark.slow
def test_ten_steps_lower_the_loss_and_a_killed_run_ends_as_if_it_had_not_been(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "N_HELD_OUT", 2)
    torch.manual_seed(0)
    before = loss_of(GoodPoint(), crops)
    whole = run(crops, tmp_path / "whole", 10)
    trained = GoodPoint()
    trained.load_state_dict(torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)["network"])
    assert loss_of(trained, crops) < before - 0.05
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "5", "10"]
    assert all(0 <= float(row["val_score"]) <= 1 for row in rows)
    with pytest.raises(KeyboardInterrupt):
        run(crops, tmp_path / "cut", 10, stop=7)
    with pytest.raises(SettingsError, match="--resume"):
        run(crops, tmp_path / "cut", 10)
    with pytest.raises(SettingsError, match=r"other settings \(steps\)"):
        run(crops, tmp_path / "cut", 11, resume=True)
    again = run(crops, tmp_path / "cut", 10, resume=True)
    assert again.read_bytes() == whole.read_bytes()
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert [row["step"] for row in csv.DictReader((tmp_path / "cut" / "log.csv").read_text().splitlines())] == ["0", "5", "10"]
    card = weights.card(again)
    assert (card["network"], card["steps"]) == ("goodpoint", 10)
    assert card["score"] == pytest.approx(max(float(row["val_score"]) for row in rows), abs=1e-6)


def test_the_rate_is_constant_and_then_falls_to_a_twentieth():
    own = loop.Plan(1800)
    assert [loop.learning_rate(step, own) for step in (0, 800)] == [5e-4, 5e-4]
    assert loop.learning_rate(1800, own) == pytest.approx(5e-4 * 0.05)
    assert loop.learning_rate(1300, own) == pytest.approx(5e-4 * 0.05**0.5)
