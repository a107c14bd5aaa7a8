"""SuperPoint's recipe: corners lie where they are drawn, labels and losses by hand and by NumPy, adaptation on detectors that are known;
runs that learn, stop and go on."""

import csv
from functools import partial

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import draw_animal, save
from mps import OnMps
from scipy.ndimage import map_coordinates
from sklearn.metrics import average_precision_score

from reid import extractors, weights
from reid.errors import SettingsError, WeightsError
from reid.extractors.superpoint import SuperPoint, heatmap
from reid.imaging import noise, warps
from reid.records import Photo, PhotoRef
from reid.settings import ExtractSettings
from reid.training import loop, shapes, superpoint, validation
from reid.training.photos import Crops
from reid.training.run import train

SIDE = 96


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    refs = [PhotoRef(f"{n}", save(root / f"{n}.png", draw_animal(n, 0, (160, 120)))) for n in range(4)]
    return Crops(refs, SIDE, seed=3)


WITH_CORNERS = [shape for shape in shapes.SHAPES if shape.__name__ not in ("ellipses", "gaussian_noise")]


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.__name__)
def test_a_drawing_is_the_same_again_and_its_corners_lie_inside(shape):
    drawn = [shapes.draw(5, number, shape) for number in range(4)]
    for number, (image, corners) in enumerate(drawn):
        again = shapes.draw(5, number, shape)
        assert np.array_equal(again[0], image) and np.array_equal(again[1], corners)
        assert image.shape == (120, 160) and image.dtype == np.float32 and image.std() > 1
        assert np.all(corners >= 0) and np.all(corners <= [159, 119])
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    assert any(len(corners) for _, corners in drawn) == (shape in WITH_CORNERS)


@pytest.mark.parametrize("shape", WITH_CORNERS, ids=lambda shape: shape.__name__)
def test_light_changes_in_two_directions_at_a_corner(shape):
    """The smaller eigenvalue of the gradients' second moments, a corner's measure (Shi and Tomasi 1994), is high near every corner, most
    often, and the peak of the measure is within 2 px."""
    near, all_corners = [], 0
    for number in range(12):
        image, corners = shapes.draw(7, number, shape)
        strength = cv2.cornerMinEigenVal(image, 5, ksize=3)
        inner = corners[np.all((corners >= 4) & (corners <= [155, 115]), axis=1)]
        all_corners += len(inner)
        for x, y in np.rint(inner).astype(int):
            window = strength[y - 4 : y + 5, x - 4 : x + 5]
            row, column = np.unravel_index(window.argmax(), window.shape)
            near.append(window.max() > 5 * np.median(strength) and max(abs(row - 4), abs(column - 4)) <= 3)
    assert all_corners > 20 and np.mean(near) > 0.85


def test_corners_of_a_checkerboard_are_those_that_opencv_refines():
    errors = []
    for number in range(10):
        image, corners = shapes.draw(1, number, shapes.checkerboard)
        inner = corners[np.all((corners >= 8) & (corners <= [151, 111]), axis=1)].astype(np.float32)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
        refined = cv2.cornerSubPix(image.astype(np.uint8), inner.reshape(-1, 1, 2).copy(), (3, 3), (-1, -1), stop)
        errors.extend(np.abs(refined.reshape(-1, 2) - inner).max(axis=1))
    assert len(errors) > 50 and np.median(errors) < 0.25  # fields cover half a drawn px more than their outline, 0.125 px


def test_a_corner_is_half_pixel_exact():
    """A white square whose outline lies between pixels of the drawing, so that its corners fall at known fractions."""

    def square(canvas):
        canvas.image[:] = 0
        canvas.image[40:80, 20:60] = 255  # 4 drawn px a pixel: rows 10..19, columns 5..14
        canvas.note(np.array([[20, 40], [59, 79]]))

    image, corners = shapes.draw(0, 0, square)
    assert np.allclose(corners, [[4.625, 9.625], [14.375, 19.375]])  # the centre of the outermost drawn pixel, in small ones
    rows, columns = np.mgrid[:120, :160]
    assert ((image * rows).sum() / image.sum(), (image * columns).sum() / image.sum()) == pytest.approx((14.5, 9.5), abs=1e-3)
    assert np.allclose(corners.mean(axis=0), [9.5, 14.5])


def test_polygons_and_stars_have_the_corners_of_their_geometry():
    canvas = shapes.Canvas(np.random.default_rng(2))
    outlines = []
    canvas.fill = lambda outline, colour: outlines.append(outline)
    shapes.polygons(canvas)
    assert len(outlines) > 3 and np.allclose(canvas.points, np.rint(np.vstack(outlines)))
    for outline in outlines:
        back, on = np.roll(outline, 1, axis=0) - outline, np.roll(outline, -1, axis=0) - outline
        cosine = (back * on).sum(axis=1) / np.linalg.norm(back, axis=1) / np.linalg.norm(on, axis=1)
        assert np.all(cosine < np.cos(0.3)) and np.all(cosine > np.cos(2.6))  # no needle, nothing nearly straight
    canvas = shapes.Canvas(np.random.default_rng(2))
    shapes.star(canvas)
    assert 4 <= len(canvas.points) <= 7  # the rays' ends and their centre
    canvas = shapes.Canvas(np.random.default_rng(2))
    shapes.cube(canvas)
    assert len(canvas.points) == 7
    hull = cv2.convexHull(canvas.points.astype(np.float32))
    assert len(hull) == 6  # and the seventh corner is inside


def test_what_would_touch_an_earlier_shape_is_not_drawn():
    canvas = shapes.Canvas(np.random.default_rng(0))
    square = np.array([[100, 100], [200, 100], [200, 200], [100, 200]])
    assert canvas.room(square) and not canvas.room(square + 90) and canvas.room(square + 160)


def test_the_open_filters_each_change_the_image_and_repeat():
    image = np.random.default_rng(0).uniform(60, 190, (64, 80)).astype(np.float32)
    for apply in (*noise.ON_SHAPES, *noise.ON_PHOTOS):
        first, second = (apply(image, np.random.default_rng(4)) for _ in range(2))
        assert first.dtype == np.float32 and np.array_equal(first, second) and not np.allclose(first, image)
    shifts = [np.ptp(noise.six(75, (1, 1), 0, 3)[0](image, np.random.default_rng(n)) - image) for n in range(3)]
    assert max(shifts) < 1e-3
    drawn = [noise.all_of(noise.ON_SHAPES, image, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.min() >= 0 and one.max() <= 255 and one.std() > 0 for one in drawn)


def test_a_patch_stays_within_its_limits():
    rng, size = np.random.default_rng(1), (160, 120)
    corners = np.array([[-0.5, -0.5], [159.5, -0.5], [-0.5, 119.5], [159.5, 119.5]])
    still = warps.Patch(perspective=0, scaling=0, rotation=0, overflow=0)
    for _ in range(20):
        moved = warps.project(corners, warps.patch(rng, size, still))
        assert np.allclose(np.ptp(moved, axis=0), [136, 102], atol=1e-3)  # 0.85 of the sides
        assert moved.min() > -0.51 and np.all(moved < [159.51, 119.51])  # inside
    turned = [warps.project(corners, warps.patch(rng, size, warps.Patch(perspective=0, scaling=0))) for _ in range(60)]
    assert np.allclose([np.linalg.norm(one[1] - one[0]) for one in turned], 136, atol=1e-3)
    angles = [np.arctan2(*(one[1] - one[0])[::-1]) for one in turned]
    assert -np.pi / 2 <= min(angles) < -1 and 1 < max(angles) <= np.pi / 2
    sides = [np.ptp(warps.project(corners, warps.patch(rng, size, warps.Patch(perspective=0, rotation=0)))[:, 0]) for _ in range(200)]
    assert 0.8 * 136 <= min(sides) < 0.9 * 136 and 1.1 * 136 < max(sides) <= 1.2 * 136
    tapered = [warps.project(corners, warps.patch(rng, size, warps.Patch(scaling=0, rotation=0))) for _ in range(200)]
    heights = np.array([(one[2, 1] - one[0, 1], one[3, 1] - one[1, 1]) for one in tapered])
    assert np.allclose(heights.sum(axis=1), 204, atol=1e-2) and 20 < np.ptp(heights[:, 0]) <= 0.8 * 120


def test_classes_of_cells_by_hand():
    points = np.array([[3.0, 5.0], [9.6, 1.2], [20.0, 12.0], [-1.0, 4.0], [40.0, 4.0], [12.0, 9.0]])
    valid = np.ones((16, 24), bool)
    valid[15, 10] = False
    found = superpoint.classes(points, valid, np.random.default_rng(0))
    none = superpoint.NONE
    assert found.tolist() == [[5 * 8 + 3, 1 * 8 + 2, none], [none, superpoint.DROPPED, 4 * 8 + 4]]
    two = np.array([[1.0, 1.0], [6.0, 7.0]])
    drawn = {int(superpoint.classes(two, valid, np.random.default_rng(seed))[0, 0]) for seed in range(20)}
    assert drawn == {9, 62}


def test_a_label_is_the_pixel_where_the_heatmap_has_its_peak():
    points = np.array([[3.0, 5.0], [21.0, 10.0]])
    cells = torch.from_numpy(superpoint.classes(points, np.ones((16, 24), bool), np.random.default_rng(0)))
    logits = 20 * F.one_hot(cells, 65).float().permute(2, 0, 1)[None]
    [scores] = heatmap(logits)
    assert torch.nonzero(scores > 0.5).tolist() == [[5, 3], [10, 21]]
    assert float(superpoint.detector_loss(logits, cells[None])) < 1e-6


def test_detector_loss_by_hand():
    logits = torch.zeros((1, 65, 1, 3))
    logits[0, 7, 0, 1] = np.log(64)  # half of this cell
    cells = torch.tensor([[[superpoint.NONE, 7, superpoint.DROPPED]]])
    assert float(superpoint.detector_loss(logits, cells)) == pytest.approx((np.log(65) + np.log(2)) / 2, rel=1e-5)
    assert float(superpoint.detector_loss(logits, torch.full_like(cells, superpoint.DROPPED))) == 0


def told_apart(first, second, valid, homography):
    """A second implementation, place by place: the terms of the first image."""
    _, height, width = first.shape
    cells = [(row, column) for row in range(height) for column in range(width)]
    at = {cell: np.array([8 * cell[1] + 3.5, 8 * cell[0] + 3.5]) for cell in cells}
    terms = []
    for cell in cells:
        away = homography @ [*at[cell], 1]
        x, y = away[:2] / away[2]
        near = min(cells, key=lambda other: np.hypot(*(at[other] - (x, y))))
        if not valid[0][cell] or np.abs(at[near] - (x, y)).max() > 4 or not valid[1][near]:
            continue
        read = np.array([map_coordinates(one, [[(y - 3.5) / 8], [(x - 3.5) / 8]], order=1, mode="grid-constant")[0] for one in second])
        right = first[:, *cell] @ (read / np.linalg.norm(read))
        wrong = [first[:, *cell] @ second[:, *other] for other in cells if valid[1][other] and np.hypot(*(at[other] - (x, y))) >= 8]
        terms.append(np.log(sum(np.exp(10 * (value - right)) for value in (right, *wrong))))
    return terms


def test_descriptor_loss_by_hand_and_place_by_place():
    """Two cells side by side whose descriptors are at right angles: each is like itself alone, and their centres are 8 px apart."""
    square = torch.eye(2).reshape(2, 1, 2)
    same, swapped = torch.stack((square, square)), torch.stack((square, square.flip(2)))
    valid = torch.ones((2, 1, 2), dtype=torch.bool)
    assert float(superpoint.descriptor_loss(same, valid, np.eye(3))) == pytest.approx(np.log(1 + np.exp(-10)), abs=1e-6)
    assert float(superpoint.descriptor_loss(swapped, valid, np.eye(3))) == pytest.approx(np.log(1 + np.exp(10)))
    valid[1, 0, 1] = False  # the first place has no other to be told from; the second is not shown, and is told from by the other image
    assert float(superpoint.descriptor_loss(swapped, valid, np.eye(3))) == pytest.approx(np.log(1 + np.exp(10)) / 2)
    assert float(superpoint.descriptor_loss(swapped, torch.zeros_like(valid), np.eye(3))) == 0
    rng = np.random.default_rng(0)
    descriptors = F.normalize(torch.from_numpy(rng.normal(size=(2, 6, 5, 6))).float(), dim=1)
    valid = torch.from_numpy(rng.random((2, 5, 6)) < 0.8)
    for _ in range(3):
        way = warps.patch(rng, (48, 40), warps.Patch())
        there, back = descriptors.numpy(), np.linalg.inv(way)
        theirs = told_apart(*there, valid.numpy(), way) + told_apart(*there[::-1], valid.numpy()[::-1], back)
        assert len(theirs) > 10 and float(superpoint.descriptor_loss(descriptors, valid, way)) == pytest.approx(np.mean(theirs), rel=1e-4)


def test_adaptation_returns_what_a_covariant_detector_finds():
    """The detector sees light, whatever the warp, and a dot is found where it is."""
    image = np.zeros((96, 128), np.float32)
    dots = np.array([[30, 20], [90, 40], [61, 77]])
    image[dots[:, 1], dots[:, 0]] = 1
    image = cv2.GaussianBlur(image, (0, 0), 2)
    image /= image.max()
    rng = np.random.default_rng(0)
    ways = [np.eye(3), *(warps.patch(rng, (128, 96), superpoint.ADAPTATION) for _ in range(29))]
    found = superpoint.label(lambda batch: batch[:, 0] ** 6, image, ways)
    assert sorted(map(tuple, found)) == sorted(map(tuple, dots.astype(float)))
    scores = superpoint.adapt(lambda batch: batch[:, 0], image, ways)
    assert np.abs(scores - image).max() < 0.15  # interpolated twice


def test_adaptation_is_a_mean_over_what_each_warp_shows():
    """A detector that says 1 everywhere, and one that says it on the identity alone, which the other warp, moved by 40 px, sees in part."""
    image, shift = np.ones((64, 96), np.float32), np.array([[1.0, 0, 40], [0, 1, 0], [0, 0, 1]])
    ways = [np.eye(3), shift]
    flat = superpoint.adapt(lambda batch: torch.ones_like(batch[:, 0]), image, ways)
    margin = superpoint.MARGIN
    inside = np.zeros((64, 96), bool)
    inside[margin:-margin, margin:-margin] = True
    assert np.allclose(flat[inside], 1) and not flat[~inside].any()
    first = superpoint.adapt(lambda batch: torch.stack((torch.ones(64, 96), torch.zeros(64, 96))), image, ways)
    assert np.allclose(first[20, margin:40], 1) and np.allclose(first[20, 44:90], 0.5)


def test_what_is_detected_on_a_macs_gpu_is_a_float64_on_the_processor():
    scores = torch.zeros(40, 50)
    scores[12, 30] = 0.5
    points, values = superpoint.detections(scores.as_subclass(OnMps), torch.ones(40, 50, dtype=torch.bool))
    assert points.tolist() == [[30, 12]] and values.tolist() == [0.5] and points.dtype == values.dtype == np.float64


def test_average_precision_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    corners = [rng.uniform(0, 100, (8, 2)) for _ in range(3)] + [np.zeros((0, 2))]
    found, truth, scores = [], [], []
    for there in corners:
        right = there[rng.random(len(there)) < 0.7] + rng.uniform(-2, 2, 2)
        points = np.vstack((right, rng.uniform(200, 300, (5, 2))))
        values = rng.random(len(points))
        order = np.argsort(-values)
        found.append((points[order], values[order]))
        truth.extend((order < len(right)).tolist())
        scores.extend(values[order])
    recall = sum(truth) / sum(map(len, corners))
    assert superpoint.average_precision(found, corners) == pytest.approx(average_precision_score(truth, scores) * recall)
    twice = [(np.array([[10.0, 10.0], [11.0, 10.0], [10.0, 14.5]]), np.array([0.9, 0.8, 0.7]))]
    assert superpoint.average_precision(twice, [np.array([[10.0, 10.0]])]) == 1  # the second and the third are wrong, and come later
    assert superpoint.average_precision(twice, [np.array([[10.0, 16.0]])]) == pytest.approx(1 / 3)


def test_the_network_has_the_published_size():
    assert sum(value.numel() for value in SuperPoint().parameters()) == 1_304_067


def test_each_image_of_a_batch_gets_what_the_one_image_got():
    """The score map and the descriptors as they were computed while the network took one image."""
    torch.manual_seed(0)
    network, image = SuperPoint().eval(), torch.rand(1, 1, 40, 56)
    with torch.inference_mode():
        logits, [descriptors] = network(image)
        coarse = network.backbone(image)
        probability = network.detector(coarse).softmax(dim=1)[:, :-1]
        assert torch.equal(heatmap(logits)[0], F.pixel_shuffle(probability, 8)[0, 0])
        assert torch.equal(descriptors, F.normalize(network.descriptor(coarse), dim=1)[0])
        both, _ = network(torch.cat((torch.rand(1, 1, 40, 56), image)))
    assert heatmap(both).shape == (2, 40, 56)
    assert torch.allclose(heatmap(both)[1], heatmap(logits)[0], atol=1e-5)


def corner_of_a_drawing(whole, seed, number, disturbed=True):
    one = whole(seed, number, disturbed)
    return superpoint.Drawing(one.image[:64, :64], one.corners[np.all(one.corners < 63.5, axis=1)], one.valid[:64, :64])


def test_a_beginner_knows_that_most_cells_have_no_keypoint():
    """Of 65 logits spread by 1 the last stands out so far that 64 of e^0.5 each leave 9 in 10 of the probability to it."""
    network = superpoint.beginner(0)
    with torch.no_grad():
        logits, _ = network(torch.rand((8, 1, 64, 64), generator=torch.Generator().manual_seed(0)))
    none = logits.softmax(dim=1)[:, superpoint.NONE]
    assert float(none.mean()) == pytest.approx(1 / (1 + 64 * np.exp(0.5 - 7)), abs=0.05)
    again = superpoint.beginner(0).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in superpoint.beginner(0).state_dict().items())


def drawn_run(out, steps, resume=False, stop=None):
    torch.manual_seed(0)
    return run(superpoint.magicpoint(3, SuperPoint()), out, steps, resume, stop)


def joint_run(crops, out, steps, resume=False, stop=None):
    torch.manual_seed(0)
    known = [np.array([[20.0, 20.0 + n], [70.0, 40.0]]) for n in range(4)]
    others = Crops(crops.refs, SIDE, seed=4)
    return run(superpoint.joint(crops, others, known, warps.Patch(rotation=0.3), SuperPoint()), out, steps, resume, stop)


def run(task, out, steps, resume, stop):
    def progress(step, steps):
        if step == stop:
            raise KeyboardInterrupt

    return loop.train(task, loop.Plan(steps, 1, 1e-3, 0.0, 5), out, resume, progress)[0]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["magicpoint", "superpoint"])
def test_ten_steps_lower_each_stages_loss_and_a_killed_run_ends_as_if_it_had_not_been(stage, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "N_HELD_OUT", 2)
    monkeypatch.setattr(superpoint, "N_DRAWN", 6)
    monkeypatch.setattr(superpoint, "DRAWN", 2)
    monkeypatch.setattr(superpoint, "drawing", partial(corner_of_a_drawing, superpoint.drawing))
    begin = drawn_run if stage == "magicpoint" else lambda *args, **more: joint_run(crops, *args, **more)
    whole = begin(tmp_path / "whole", 10)
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text().splitlines()))
    assert float(rows[2]["loss"]) < float(rows[1]["loss"]) - 0.2  # means over five steps
    assert all(0 <= float(row["val_score"]) <= 1 for row in rows)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "cut", 10, stop=7)
    again = begin(tmp_path / "cut", 10, resume=True)
    assert again.read_bytes() == whole.read_bytes()
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert weights.card(again)["network"] == stage


@pytest.mark.slow
def test_the_command_runs_its_stages_keeps_the_labels_and_the_extractor_takes_the_result(tmp_path, monkeypatch):
    for name, value in (("N_DRAWN", 1), ("DRAWN", 1), ("N_WARPS", 3), ("PER_PHOTO", 1), ("VIEWS", 1), ("THRESHOLD", 0.0)):
        monkeypatch.setattr(superpoint, name, value)
    monkeypatch.setattr(validation, "N_HELD_OUT", 1)
    for n in range(3):
        save(tmp_path / "photos" / f"{n}.png", draw_animal(n, 0, (160, 120)))
    out, small = tmp_path / "out", {"steps": 2, "batch": 2, "side": 64, "every": 2, "device": "cpu", "precision": "full"}
    file, card = train("superpoint", tmp_path / "photos", out, **small)
    assert (file, card["network"], card["begin"]) == (out / "superpoint.safetensors", "superpoint", "scratch")
    assert card["n_crops"] == 3 and card["n_labels"] > 3
    drawn = out / "magicpoint" / "magicpoint.safetensors"
    assert weights.card(drawn)["network"] == "magicpoint"
    with pytest.raises(SettingsError, match=r"magicpoint holds a run already; go on with it by --resume"):
        train("superpoint", tmp_path / "photos", out, **small)
    before = file.read_bytes(), sorted(out.rglob("labels/*/*"))
    (out / "checkpoint.pt").unlink()
    monkeypatch.setattr(superpoint, "adapt", None)  # labels are there
    assert len(before[1]) == 3 and train("superpoint", tmp_path / "photos", out, resume=True, **small)[0].read_bytes() == before[0]
    settings = ExtractSettings(extractor="superpoint", max_keypoints=50, weights=str(file))
    found = extractors.create(settings, "cpu").extract(Photo("a", draw_animal(1, 0, (313, 241))))
    assert found.size == (313, 241) and found.descriptors.shape == (50, 256)
    with pytest.raises(WeightsError, match="holds weights of magicpoint, not of superpoint"):
        extractors.create(ExtractSettings(extractor="superpoint", weights=str(drawn)), "cpu")


def test_a_crop_is_labelled_for_32_pairs_and_four_a_photo_at_most():
    assert [superpoint.n_labelled(*each) for each in ((5120, 99), (16_000, 10), (31, 10), (64, 1))] == [160, 40, 1, 2]


def test_labels_that_are_damaged_are_made_again_and_a_run_without_any_is_refused(tmp_path, monkeypatch):
    for name, value in (("N_DRAWN", 1), ("DRAWN", 1), ("N_WARPS", 2), ("PER_PHOTO", 1), ("THRESHOLD", 2.0)):
        monkeypatch.setattr(superpoint, name, value)
    refs = [PhotoRef("0", save(tmp_path / "0.png", draw_animal(0, 0, (160, 120))))]
    crops = Crops(refs, 64, seed=0)

    def detect(images):
        return (images[:, 0] > 0.6).float()

    monkeypatch.setattr(superpoint, "THRESHOLD", 0.5)
    [first] = superpoint.labels(detect, crops, 1, tmp_path / "labels", lambda *_: None)
    [file] = (tmp_path / "labels").iterdir()
    file.write_bytes(b"nothing")
    [again] = superpoint.labels(detect, crops, 1, tmp_path / "labels", lambda *_: None)
    assert len(first) and np.array_equal(first, again)
    monkeypatch.setattr(superpoint, "THRESHOLD", 2.0)
    with pytest.raises(SettingsError, match="no keypoint was found"):
        train("superpoint", tmp_path, tmp_path / "out", steps=1, batch=1, side=64, every=1, device="cpu")
