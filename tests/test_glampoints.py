"""GLAMpoints: its network, its single peaks, what is rewarded and what is not, by hand; runs that learn, stop and go on."""

import csv

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_animal, save
from safetensors.torch import save_file

from reid import extractors, training, weights
from reid.errors import WeightsError
from reid.extractors.glampoints import NMS_RADIUS, SIZE, GlamPoints, describe, single_peaks
from reid.imaging import noise, warps
from reid.records import Photo, PhotoRef
from reid.settings import ExtractSettings
from reid.training import glampoints, loop, pairs, validation
from reid.training.pairs import Warped
from reid.training.photos import Crops

PHOTO = (471, 313)  # width, height


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    refs = [PhotoRef(f"{n}", save(root / f"{n}.png", draw_animal(n, 0, (320, 240)))) for n in range(4)]
    return Crops(refs, 96, seed=3)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "own.safetensors"
    save_file(GlamPoints().state_dict(), file, metadata={"card": '{"network": "glampoints"}'})
    return extractors.create(ExtractSettings(extractor="glampoints", max_keypoints=200, weights=str(file)), "cpu")


def test_the_network_has_the_published_size():
    assert sum(value.numel() for value in GlamPoints().parameters()) == 487_145


@pytest.mark.parametrize(("height", "width"), [(37, 51), (64, 48), (5, 7)])
def test_the_score_map_is_as_large_as_the_image_and_does_not_mind_its_brightness(height, width):
    torch.manual_seed(0)
    network, image = GlamPoints().eval(), torch.rand(2, 1, height, width) * torch.tensor([0.2, 1])[:, None, None, None]
    with torch.inference_mode():
        found = network(image)
        assert found.shape == (2, height, width) and found.min() > 0 and found.max() < 1
        assert torch.allclose(network(image * 37), found, atol=1e-5)
        assert torch.allclose(network(image[:1]), found[:1], atol=1e-5)  # each by its own brightest pixel
        assert torch.isfinite(network(image * 0)).all()


def peaks_of(scores, radius=4, valid=None):
    return single_peaks(scores, torch.ones_like(scores, dtype=torch.bool) if valid is None else valid, radius)


def test_of_a_plateau_and_of_close_peaks_one_is_kept():
    scores = torch.zeros((40, 60))
    scores[10:13, 20:23] = 0.5  # a plateau
    scores[30, 10], scores[32, 14] = 0.9, 0.8  # 4 px apart: one too many
    scores[30, 40], scores[30, 43] = 0.7, 0.7  # equals
    scores[5, 50], scores[5, 55] = 0.6, 0.4  # 5 px apart: two
    keypoints, values = peaks_of(scores)
    found = {tuple(at): round(value, 3) for at, value in zip(keypoints.int().tolist(), values.tolist()) if value}
    assert found == {(20, 10): 0.5, (10, 30): 0.9, (40, 30): 0.7, (50, 5): 0.6, (55, 5): 0.4}


def test_nothing_invalid_is_a_peak_or_suppresses_one():
    scores, valid = torch.zeros((20, 30)), torch.ones((20, 30), dtype=torch.bool)
    scores[10, 10], scores[10, 12] = 0.9, 0.5
    valid[:, :11] = False
    keypoints, values = peaks_of(scores, valid=valid)
    assert keypoints[values > 0].tolist() == [[12, 10]] and (keypoints[:, 0] >= 11).all()
    assert len(peaks_of(scores, valid=torch.zeros_like(valid))[0]) == 0


def test_peaks_are_those_of_a_search_one_after_the_other():
    """Greedily, the highest first: the same ones, as far as three rounds go."""
    scores = torch.rand((50, 70), generator=torch.Generator().manual_seed(2))
    left, greedy = scores.clone(), set()
    while left.max() > 0:
        row, column = divmod(int(left.argmax()), 70)
        greedy.add((column, row))
        left[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = 0
    found = {tuple(at) for at in peaks_of(scores)[0].int().tolist()}
    assert found <= greedy and len(found) > 0.9 * len(greedy)


def test_descriptors_are_upright_root_sift_of_one_size():
    grey = cv2.cvtColor(draw_animal(1, 0, PHOTO), cv2.COLOR_RGB2GRAY)
    at = np.array([[100, 80], [101.0, 200.0], [400, 40], [3, 310]])
    _, raw = cv2.SIFT_create().compute(grey, [cv2.KeyPoint(x, y, SIZE, 0) for x, y in at])
    found = describe(grey, at)
    assert np.allclose(found, np.sqrt(raw / np.abs(raw).sum(axis=1, keepdims=True)), atol=1e-6)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    turned = describe(np.rot90(grey, 2).copy(), np.array(PHOTO) - 1 - at)
    assert (found[:3] * turned[:3]).sum(axis=1).max() < 0.95  # it sees which way is up
    assert describe(grey, at[:0]).shape == (0, 128)


def test_features_keep_the_conventions(extractor):
    photo = Photo("a", draw_animal(1, 0, PHOTO))
    found = extractor.extract(photo)
    assert (found.kind, found.size, len(found)) == ("glampoints", PHOTO, 200)
    assert (np.diff(found.scores) <= 0).all() and found.keypoints[:, 0].max() > 340
    assert (found.scales == SIZE).all() and (found.angles == 0).all()
    assert np.array_equal(found.keypoints, extractor.extract(photo).keypoints)
    gaps = np.abs(found.keypoints[:, None] - found.keypoints).max(axis=2)
    assert gaps[~np.eye(200, dtype=bool)].min() > NMS_RADIUS
    grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
    assert np.allclose(found.descriptors, describe(grey, found.keypoints), atol=1e-3)
    with torch.inference_mode():
        scores = extractor.network(torch.from_numpy(grey)[None, None].float())[0].numpy()
    assert np.allclose(found.scores, scores[tuple(found.keypoints.astype(int).T[::-1])])


def test_features_lie_on_the_mask_and_a_photo_of_nothing_is_no_mistake(extractor):
    mask = np.zeros(PHOTO[::-1], bool)
    mask[100:250, 200:400] = True
    found = extractor.extract(Photo("a", draw_animal(3, 0, PHOTO), mask))
    assert len(found) == 200 and mask[tuple(found.keypoints.astype(int).T[::-1])].all()
    for pixels in (np.full((40, 33, 3), 77, np.uint8), np.zeros((64, 200, 3), np.uint8)):
        assert np.isfinite(extractor.extract(Photo("b", pixels)).descriptors).all()


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"card": '{"network": "goodpoint"}'})
    with pytest.raises(WeightsError, match="weights of goodpoint, not of glampoints"):
        extractors.create(ExtractSettings(extractor="glampoints", weights=str(tmp_path / "w.safetensors")), "cpu")


def test_each_factor_of_a_warp_does_what_it_is_called():
    rng = np.random.default_rng(0)
    off = {"rotation": 0.0, "translation": 0.0, "shear": 0.0, "scale": (1.0, 1.0), "perspective": (0.0, 0.0)}
    size, centre = (256, 128), np.array([[127.5, 63.5]])
    corners = np.array([[0, 0], [255, 0], [0, 127], [255, 127]], float)

    def moved(n=60, **on):
        """(n, 4, 2): where the corners of the source are in the warped image."""
        ways = [np.linalg.inv(warps.product(rng, size, warps.Factors(**off | on))) for _ in range(n)]
        return np.array([warps.project(corners, way) for way in ways]) - centre, np.array([warps.project(centre, way)[0] for way in ways])

    from_centre = corners - centre
    assert np.allclose(moved(1)[0], from_centre)
    away, middle = moved(rotation=0.5)
    assert np.allclose(middle, centre) and np.allclose(np.linalg.norm(away, axis=2), np.linalg.norm(from_centre, axis=1))
    turned = np.angle((away @ [1, 1j]) / (from_centre @ [1, 1j]))
    assert 0.4 < np.abs(turned).max() <= 0.5 and np.allclose(turned, turned[:, :1]) and turned.min() < 0 < turned.max()
    away, middle = moved(translation=20.0)
    steps = away - from_centre
    assert 8 < np.abs(steps).max() <= 10 and np.allclose(steps, steps[:, :1])  # half as large an image, half the way
    away, _ = moved(scale=(0.7, 1.3))
    factors = away / from_centre
    assert np.allclose(factors, factors[:, :1]) and 0.7 <= factors.min() < 0.8 and 1.2 < factors.max() <= 1.3
    assert np.abs(factors[..., 0] - factors[..., 1]).max() > 0.2  # independent
    away, _ = moved(shear=0.2)
    slid = (away - from_centre) / from_centre[:, ::-1]
    assert np.allclose(slid, slid[:, :1]) and 0.15 < np.abs(slid).max() <= 0.2
    away, middle = moved(perspective=(1e-6, 5e-4))
    depth = (from_centre / away)[..., 0]  # 1 + h31 x + h32 y; the code's tilts are 256 px's, twice as strong at 128
    assert np.allclose(middle, centre) and 1.1 < depth.max() <= 1 + 1e-3 * (127.5 + 63.5) and np.allclose(depth.mean(axis=1), 1)


def test_glampoints_filters_do_what_they_are_called():
    ramp = np.tile(np.linspace(0, 200, 300, dtype=np.float32), (200, 1))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert (noise.faint(ramp, rng) - ramp).std() < 1.01
        after = noise.stretch(ramp + np.float32(20), rng)
        assert 0.5 <= np.ptp(after) / 200 <= 1.5 and after.mean() == pytest.approx(120, abs=0.1)
        bent = noise.gamma(ramp, rng)
        power = np.log(bent[0, 150] / 255) / np.log(ramp[0, 150] / 255)
        assert 0.8 <= power <= 1.2 and np.allclose(bent, 255 * (ramp / 255) ** power, atol=1e-2)
        assert np.array_equal(noise.invert(ramp, rng), 200 - ramp)
        dot = np.zeros((31, 31), np.float32)
        dot[15, 15] = 100
        assert (noise.long_blur(dot, rng) > 0).sum() in range(3, 16, 2)
        assert np.ptp(noise.deep_shade(np.full_like(ramp, 100), rng)) > 0.1
        assert np.array_equal(noise.change(ramp, np.random.default_rng(seed)), noise.change(ramp, np.random.default_rng(seed)))


@pytest.mark.parametrize("inversion", [False, True])
def test_three_different_filters_are_drawn(monkeypatch, inversion):
    drawn = []

    def marking(name):
        def apply(image, rng):
            drawn[-1].append(name)
            return image

        return apply

    monkeypatch.setattr(noise, "CHANGES", tuple(marking(n) for n in range(len(noise.CHANGES))))
    monkeypatch.setattr(noise, "invert", marking("invert"))
    for seed in range(40):
        drawn.append([])
        noise.change(np.zeros((8, 8), np.float32), np.random.default_rng(seed), inversion)
    assert all(len(set(one)) == 3 for one in drawn)
    assert {name for one in drawn for name in one} == {*range(7), *(["invert"] if inversion else [])}


def test_a_pairs_homography_takes_its_first_image_to_its_second(crops):
    for number in range(3):
        one = pairs.draw(crops, number, lambda rng, size: warps.product(rng, size, warps.Factors()), lambda image, rng: image)
        back = np.linalg.inv(one.homography)
        carried, both = warps.warp(one.images[0], back), glampoints.shared(one)
        assert both[1].mean() > 0.3
        assert np.abs(carried - one.images[1])[both[1]].mean() < 0.02  # twice interpolated
        again = glampoints.pair(crops, number, glampoints.Recipe())
        assert np.array_equal(again.homography, one.homography) and not np.allclose(again.images, one.images, atol=0.02)


def test_what_both_images_show_by_hand():
    move = np.array([[1.0, 0, 10], [0, 1, -4], [0, 0, 1]])
    valid = np.ones((2, 60, 80), bool)
    valid[1, :, 70:] = False
    found = glampoints.shared(Warped(np.zeros((2, 60, 80), np.float32), valid, move))
    expected = np.zeros_like(valid)
    expected[0, 4:, :60] = expected[1, :56, 10:70] = True
    assert np.array_equal(found, expected)


def rewarded(first, second, move=(0, 0), seed=0):
    way = np.array([[1.0, 0, move[0]], [0, 1, move[1]], [0, 0, 1]])
    at = [torch.tensor(points, dtype=torch.float32).reshape(-1, 2) for points in (first, second)]
    reward, learned = glampoints.rewards(*at, way, (12, 9), torch.Generator().manual_seed(seed))
    assert reward.shape == learned.shape == (9, 12)
    rows, columns = torch.nonzero(learned, as_tuple=True)
    return {(int(x), int(y)): float(reward[y, x]) for x, y in zip(columns, rows)}, float(reward.sum())


def test_rewards_by_hand():
    first = [(1, 2), (5, 3), (8, 8), (11, 0), (0, 8)]
    moved = [(x + 2, y + 1) for x, y in first]
    right, wrong = moved[:2], [(0, 0)] * 3
    drawn = [rewarded(first, right + wrong, (2, 1), seed) for seed in range(12)]
    for found, total in drawn:
        assert total == 2 and found[1, 2] == found[5, 3] == 1
        assert sorted(found.values()) == [0, 0, 1, 1]  # as many false ones as right ones
    assert {at for found, _ in drawn for at in found} == set(first)  # at random, any of them
    assert rewarded(first[:3], [*right, (0, 0)], (2, 1))[0] == {(1, 2): 1, (5, 3): 1, (8, 8): 0}  # fewer false ones: all
    assert rewarded(first, [(50, 50)] * 5, (2, 1)) == ({}, 0)  # nothing right, nothing learned
    assert rewarded([], []) == ({}, 0)
    assert rewarded([(5, 5)], [(8, 5)])[1] == 1 and rewarded([(5, 5)], [(8, 6)])[1] == 0  # 3 px are near, more are not


def flat(points, size):
    scores = torch.full((size[1], size[0]), 0.1)
    for (x, y), value in points.items():
        scores[y, x] = value
    return scores


def test_the_loss_by_hand(monkeypatch):
    """One point is found in both images, one 5 px away: those two are each other's nearest, and wrong."""
    light = cv2.cvtColor(draw_animal(1, 0, (160, 120)), cv2.COLOR_RGB2GRAY) / np.float32(255)
    one = Warped(np.stack((light, light)), np.ones((2, 120, 160), bool), np.eye(3))
    own = flat({(40, 40): 0.6, (120, 80): 0.7}, (160, 120)).requires_grad_()
    other = flat({(40, 40): 0.9, (125, 80): 0.8}, (160, 120)).requires_grad_()
    monkeypatch.setattr(glampoints, "single_peaks", lambda scores, valid, radius: peaks_of(scores, radius, valid & (scores > 0.2)))
    parts = glampoints.loss(own[None], other[None], [one], torch.Generator())
    assert (float(parts["right"]), float(parts["wrong"])) == (1, 1)
    assert float(parts["loss"].detach()) == pytest.approx(((1 - 0.6) ** 2 + 0.7**2 + (1 - 0.9) ** 2 + 0.8**2) / 4, rel=1e-4)
    parts["loss"].backward()
    for scores, wrong in ((own, 120), (other, 125)):
        assert {tuple(at) for at in torch.nonzero(scores.grad).tolist()} == {(40, 40), (80, wrong)}
        assert scores.grad[40, 40] < 0 < scores.grad[80, wrong]
    twice = glampoints.loss(torch.stack((own, own)).detach(), torch.stack((other, other)).detach(), [one, one], torch.Generator())
    assert float(twice["loss"]) == pytest.approx(2 * float(parts["loss"].detach()), rel=1e-5)  # a sum over the pairs, not their mean
    away = Warped(one.images, one.valid, np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]]))
    nothing = glampoints.loss(own[None], other[None], [away], torch.Generator())
    assert float(nothing["loss"].detach()) == float(nothing["right"]) == 0
    nothing["loss"].backward()  # nothing to learn is no mistake


def test_mutual_neighbours_by_hand():
    likeness = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.3, 0.2], [0.1, 0.7, 0.7]])
    assert validation.mutual(likeness).tolist() == [[0, 0], [2, 1]]
    assert validation.mutual(likeness[:0]).shape == validation.mutual(likeness[:, :0]).shape == (0, 2)


def run(crops, out, resume=False, stop=None):
    torch.manual_seed(0)
    task = glampoints.task(crops, Crops(crops.refs, 96, seed=4), glampoints.Recipe(), GlamPoints())

    def progress(step, steps):
        if step == stop:
            raise KeyboardInterrupt

    return loop.train(task, loop.Plan(10, batch=4, every=5, rate=3e-3, decay=0.0), out, resume, progress)[0]


def loss_of(network, one):
    network.eval()
    with torch.inference_mode():
        first, second = (network(torch.from_numpy(one.images[here : here + 1, None])) for here in (0, 1))
    return float(glampoints.loss(first, second, [one], torch.Generator().manual_seed(0))["loss"])


def lattice(scores, valid, radius=NMS_RADIUS):
    """Points that do not follow the map, so that the loss is about the same ones before and after."""
    points = torch.nonzero(valid[4:-4:6, 4:-4:6]).flip(1) * 6 + 4
    return points.float(), scores[points[:, 1], points[:, 0]]


@pytest.mark.slow
def test_ten_steps_lower_the_loss(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "N_HELD_OUT", 2)
    monkeypatch.setattr(glampoints, "single_peaks", lattice)
    always = glampoints.pair(crops, 0, glampoints.Recipe())
    monkeypatch.setattr(glampoints, "pair", lambda crops, number, recipe: always)
    torch.manual_seed(0)
    before = loss_of(GlamPoints(), always)
    run(crops, tmp_path)
    trained = GlamPoints()
    trained.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"])
    assert loss_of(trained, always) < 0.9 * before
    statistics = [value for name, value in trained.state_dict().items() if "running" in name]
    assert statistics and all(torch.equal(value, torch.full_like(value, value[0])) for value in statistics)  # as they began


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "N_HELD_OUT", 2)
    whole = run(crops, tmp_path / "whole")
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "5", "10"]
    assert all(0 <= float(row["val_score"]) <= 1 for row in rows)
    with pytest.raises(KeyboardInterrupt):
        run(crops, tmp_path / "cut", stop=7)
    again = run(crops, tmp_path / "cut", resume=True)
    assert again.read_bytes() == whole.read_bytes()
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_begins_where_it_is_told_to(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "N_HELD_OUT", 1)
    torch.manual_seed(5)
    given = GlamPoints().state_dict()
    save_file(given, tmp_path / "w.safetensors", metadata={"card": '{"network": "glampoints"}'})
    choices = training.Choices(64, 10.0, 0, str(tmp_path / "w.safetensors"))
    begun = training.create("glampoints", crops.refs, crops.refs, choices)
    assert all(torch.equal(value, given[name]) for name, value in begun.network.state_dict().items())
    shipped = training.create("glampoints", crops.refs, crops.refs, training.Choices(64, 10.0, 0, "shipped")).network.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in weights.load("glampoints").items())
    scratch = [training.create("glampoints", crops.refs, crops.refs, training.Choices(64, 10.0, 0, "scratch")) for _ in range(2)]
    first, second = (task.network.last.weight for task in scratch)
    assert torch.equal(first, second) and not torch.equal(first, given["last.weight"])
    assert np.array_equal(scratch[0].pair(3).images, scratch[1].pair(3).images)
