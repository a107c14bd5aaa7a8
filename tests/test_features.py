"""The feature benchmark: sequences on disk, photos resized with their homographies, figures of pairs whose truth is known."""

import json

import cv2
import numpy as np
import pytest
import skimage.feature
from conftest import draw_animal, save

from reid.errors import GalleryError, SettingsError
from reid.evaluation import features, metrics
from reid.extractors import classical
from reid.formats import sequences
from reid.imaging import geometry
from reid.records import Features, Photo
from reid.report import plots, tables

SIZE = (471, 313)  # width, height
WAY = np.array([[0.9, 0.1, 20], [-0.08, 0.95, 15], [1e-4, -5e-5, 1]])  # from the first photo to the second


def scene(folder, layout, n=2, way=WAY):
    """A drawn photo, and what the homography makes of it, n - 1 times."""
    first = draw_animal(1, 0, SIZE)
    for number in range(1, n + 1):
        name = f"{number}.ppm" if layout == "hpatches" else f"img{number}.png"
        save(folder / name, first if number == 1 else cv2.warpPerspective(first, way, SIZE, borderMode=cv2.BORDER_REFLECT))
        if number > 1:
            name = f"H_1_{number}" if layout == "hpatches" else f"H1to{number}p"
            (folder / name).write_text("\n".join(" ".join(map(str, row)) for row in way))
    return folder


def test_both_layouts_are_read_and_say_what_changes(tmp_path):
    scene(tmp_path / "v_wood", "hpatches", 3)
    scene(tmp_path / "i_wood", "hpatches")
    for name in ("leuven", "graf"):
        scene(tmp_path / name, "oxford")
    (tmp_path / "notes").mkdir()
    found = {one.name: one for one in sequences.read(tmp_path)}
    assert {name: one.change for name, one in found.items()} == {
        "graf": "viewpoint", "i_wood": "illumination", "leuven": "illumination", "v_wood": "viewpoint"
    }  # fmt: skip
    assert [path.name for path in found["v_wood"].photos] == ["1.ppm", "2.ppm", "3.ppm"]
    assert len(found["v_wood"].homographies) == 2 and np.allclose(found["graf"].homographies[0], WAY)
    assert [one.name for one in sequences.read(tmp_path / "graf")] == ["graf"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("H1to2p", None, "has photo 2 but no homography from photo 1 to it; it is looked for in H_1_2 or H1to2p"),
        ("H1to2p", "1 0 0 0 1 0", "does not hold a homography"),
        ("H1to2p", "1 0 0 2 0 0 0 0 1", "cannot be inverted"),
        ("img2.jpg", "", "two photos of one number"),
    ],
)
def test_a_broken_sequence_is_named(tmp_path, name, text, said):
    folder = scene(tmp_path / "graf", "oxford", 3)
    (folder / name).unlink(missing_ok=True)
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(GalleryError, match=said) as caught:
        sequences.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frame", [200, (160, 120), (120, 160), 4000])
def test_homographies_follow_the_pixels_when_photos_are_resized(tmp_path, frame):
    """The centre of a blob in the resized photos, against where the homography takes it."""
    spot = np.array([[230.0, 150.0]])
    there = geometry.project(spot, WAY)
    for name, size, centre in (("img1.png", SIZE, spot[0]), ("img2.png", (390, 401), there[0])):
        columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        light = 250 * np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * 6.0**2))
        save(tmp_path / "x" / name, np.repeat(light.round().astype(np.uint8)[..., None], 3, axis=2))
    (tmp_path / "x" / "H1to2p").write_text("\n".join(" ".join(map(str, row)) for row in WAY))
    [one] = sequences.read(tmp_path)
    first, second = features._of_scene(one).views(frame)

    def centre_of(photo):
        light = photo.pixels[..., 0].astype(float)
        rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
        return np.array([[(columns * light).sum(), (rows * light).sum()]]) / light.sum()

    if isinstance(frame, tuple):
        assert first.photo.size == second.photo.size == frame
    else:
        assert first.photo.size == (min(frame, 471), round(313 * min(1, frame / 471)))
    assert np.allclose(geometry.project(centre_of(first.photo), second.homography), centre_of(second.photo), atol=0.1)


def test_classical_detectors_against_scikit_image():
    photo = Photo("x", draw_animal(2, 0, SIZE))
    grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
    responses = {
        "harris": skimage.feature.corner_harris(grey, k=0.04, sigma=1.2),
        "shi-tomasi": skimage.feature.corner_shi_tomasi(grey, sigma=1.2),
    }
    for name, response in responses.items():
        theirs = skimage.feature.corner_peaks(response, min_distance=4, num_peaks=150, exclude_border=2)[:, ::-1]
        ours = classical.Classical(name, 150).extract(photo).keypoints
        assert metrics.repeatability(ours, theirs, np.eye(3), 1.5) > 0.6 > 4 * metrics.by_chance(150, SIZE, 1.5)
    for name in classical.NAMES:
        found = classical.Classical(name, 100).extract(photo)
        assert len(found) == 100 and (np.diff(found.scores) <= 0).all()
    assert not np.array_equal(*(classical.Classical("random", 9).extract(Photo(name, photo.pixels)).keypoints for name in "ab"))


def test_orbs_nearest_neighbours_are_those_of_hamming():
    a, b = (classical.Classical("orb", 200).extract(Photo("x", draw_animal(2, view, SIZE))) for view in (0, 1))
    bits = [np.packbits(one.descriptors > 0, axis=1) for one in (a, b)]
    hamming = np.array([[np.bitwise_count(x ^ y).sum() for y in bits[1]] for x in bits[0][:20]])
    cosines = a.descriptors[:20].astype(np.float32) @ b.descriptors.astype(np.float32).T
    assert np.array_equal(cosines, 1 - hamming / 128)


class Told:
    """An extractor that gives what it is told for each photo."""

    def __init__(self, answers):
        self.answers = answers

    def extract(self, photo):
        return self.answers[photo.image_id]


def of_points(points, descriptors, size=(100, 80)):
    return Features("told", size, points, np.arange(len(points), 0, -1), descriptors)


def test_figures_of_a_pair_by_hand():
    """Six points move 10 px right: one leaves the photo, one is not found again, one is taken for another."""
    size, names = (100, 80), np.eye(8, dtype=np.float32)
    shift = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
    mask = np.ones((80, 100), bool)
    views = [features.View(Photo(name, np.zeros((80, 100, 3), np.uint8), mask), way) for name, way in (("a", np.eye(3)), ("b", shift))]
    group = features.Group("g", "viewpoint", 1, lambda frame: views)
    first = of_points([(20, 20), (40, 20), (20, 60), (40, 60), (95, 40), (60, 40)], names[:6], size)
    second = of_points([(30, 20), (52, 20), (30, 64), (80, 70), (70, 40)], names[[0, 1, 2, 3, 6]], size)
    [found] = features._measure_group("told", Told({"a": first, "b": second}), group, features.protocol("oxford", 640))
    # of five and five visible points, (20, 20), (40, 20) and (60, 40) are repeated, and three the other way round
    assert (found.repeatability, found.replication) == pytest.approx((6 / 10, 3 / 6))
    assert found.chance == pytest.approx(1 - np.exp(-5 * np.pi * 9 / (90 * 80)), rel=0.02)
    matching = found.matching
    # mutual: 0, 1, 2 and 3 by their own descriptors, 4 or 5 with the last one's by chance of equal cosines
    assert matching.n_matches == 5
    assert matching.accuracy == pytest.approx((1 / 5, 2 / 5, 3 / 5))
    assert matching.matching_score == pytest.approx(2 / 5)
    discs = np.zeros((80, 100), np.uint8)
    for point in ((20, 20), (40, 20)):
        cv2.circle(discs, point, 25, 1, -1)
    assert matching.coverage == pytest.approx(discs.mean())


def measured(name, pair, change, repeated, errors=None):
    matching = None
    if errors is not None:
        matching = features.Matching(10, (0.2, 0.4, 0.6), 0.3, 0.5, {"homography": errors, "ransac": 2 * errors}, errors, 2 * errors)
    return features.Measured(name, pair, change, repeated, 0.1, 0.5, matching)


def test_pairs_that_fail_are_counted_and_never_averaged_away():
    pairs = [
        measured("a", "1", "viewpoint", 0.6, 0.5),
        measured("a", "2", "viewpoint", float("nan"), np.inf),
        measured("a", "3", "illumination", 0.2, 2.0),
        measured("b", "1", "viewpoint", 0.9),
    ]
    row = features.summarize("a", "viewpoint", pairs)
    assert (row["n_pairs"], row["n_failed"], row["n_undefined"], row["repeatability"]) == (2, 1, 1, 0.6)
    assert (row["homography_1px"], row["homography_5px"], row["ransac_1px"], row["failed"], row["acceptable"]) == (0.5, 0.5, 0.5, 0.5, 0.5)
    assert row["harmonic_mean"] == pytest.approx(3 / (1 / 0.6 + 1 / 0.4 + 1 / 0.5)) and row["mee"] is None
    every = features.summarize("a", "all", pairs)
    assert (every["n_pairs"], every["repeatability"], every["homography_3px"]) == (3, pytest.approx(0.4), pytest.approx(2 / 3))
    assert pairs[1].as_json()["repeatability"] is None and pairs[1].as_json()["matching"]["corner_errors"]["ransac"] is None
    points_only = features.summarize("b", "all", pairs)
    assert points_only.keys() == row.keys() and points_only["accuracy_3px"] is None and points_only["repeatability"] == 0.9


def test_a_run_over_scenes_has_all_rows_and_the_same_again(tmp_path):
    scene(tmp_path / "v_x", "hpatches")
    scene(tmp_path / "i_x", "hpatches", way=np.eye(3))
    names = ["sift", "harris", "random"]
    for protocol in features.PROTOCOLS:
        found, pairs = features.run(tmp_path, names, protocol_name=protocol, device="cpu", max_keypoints=400)
        rows = {(row["extractor"], row["change"]): row for row in found["rows"]}
        assert len(rows) == 9 and len(pairs) == 6
        assert rows["sift", "all"]["repeatability"] > 0.6 > rows["random", "all"]["repeatability"]
        assert rows["sift", "all"]["homography_1px"] == 1 and rows["sift", "all"]["n_failed"] == 0
        assert rows["sift", "illumination"]["accuracy_1px"] > 0.9
        assert rows["harris", "viewpoint"]["repeatability"] > 5 * rows["harris", "viewpoint"]["chance"]
        json.dumps(found, allow_nan=False)
    assert len(tables.of_features(found["rows"])) == 2
    files = plots.save_features(found["rows"], pairs, tmp_path / "plots")
    assert [file.name for file in files] == ["repeatability.png", "matches.png", "homographies.png"]
    assert found == features.run(tmp_path, names, protocol_name=protocol, device="cpu", max_keypoints=400)[0]
    points_only, _ = features.run(tmp_path, ["random"], device="cpu")
    assert len(tables.of_features(points_only["rows"])) == 1
    assert len(plots.save_features(points_only["rows"], [], tmp_path)) == 1


def test_ones_own_photos_are_warped_onto_themselves(animals, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(features, "disturb", lambda light, rng: light)
        [group, *_] = features._own(animals, 640, 3, 0, features.Listener())
        first, second = group.views(640)
        noisy = features._own(animals, 640, 3, 0, features.Listener())[0]
    assert not np.array_equal(noisy.views(640)[1].photo.pixels, second.photo.pixels)
    back = cv2.warpPerspective(second.photo.pixels, np.linalg.inv(second.homography), first.photo.size).astype(float)
    seen = cv2.warpPerspective(second.photo.mask.astype(np.uint8), np.linalg.inv(second.homography), first.photo.size) > 0
    assert 0.3 < seen.mean() < 1
    alike = np.corrcoef(back[seen].mean(axis=1), first.photo.pixels[seen].mean(axis=1))[0, 1]
    assert alike > 0.98
    (animals / "animal-0" / "bad.png").write_bytes((animals / "animal-0" / "0.png").read_bytes()[:2000])
    found, pairs = features.run(None, ["sift"], photos=animals, limit=5, max_keypoints=200, device="cpu")
    assert [row["change"] for row in found["rows"]] == ["all"] and 4 <= len(pairs) <= 5
    assert found["rows"][0]["homography_5px"] > 0.7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either a folder of sequences"),
        ({"folder": True, "names": ["surf"]}, "unknown extractor 'surf'; known: aliked-n16"),
        ({"folder": True, "names": ["sift=x.safetensors"]}, "sift takes no weights of one's own"),
        ({"folder": True, "protocol_name": "coco"}, "unknown protocol 'coco'; known: oxford, hpatches"),
        ({"photos": True, "protocol_name": "hpatches"}, "is for sequences"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, options, said):
    options = {name: tmp_path if value is True else value for name, value in options.items()}
    names = options.pop("names", ["harris"])
    with pytest.raises(SettingsError, match=said):
        features.run(options.pop("folder", None), names, **options)


def test_the_command_prints_and_writes_the_figures(tmp_path, call):
    scene(tmp_path / "graf", "oxford", 3)
    sizes = "--resize", 320, "--max-keypoints", 300
    status, out, err = call("features", tmp_path, "--extractors", "sift,random", "--json", tmp_path / "f.json", *sizes)
    assert status == 0, err
    assert "repeat." in out and "RANSAC" in out
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert [(row["extractor"], row["change"], row["n_pairs"]) for row in rows] == [
        (name, change, 2) for name in ("sift", "random") for change in ("viewpoint", "all")
    ]
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    scene(tmp_path / "bad", "oxford")
    (tmp_path / "bad" / "img2.png").write_text("no photo")
    for folder, said in (("none", "holds no sequence"), ("nowhere", "is not a folder"), ("bad", "is not a photo")):
        status, out, err = call("features", tmp_path / folder, "--extractors", "harris")
        assert (status, len(err.splitlines())) == (2, 1) and said in err
    assert "name at least one extractor" in call("features", tmp_path, "--extractors", ",")[2]
