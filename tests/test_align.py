"""Alignment of a drawn photo with itself under known motions, turned files and things that do not match."""

import cv2
import numpy as np
import pytest
from conftest import draw_animal, save
from PIL import Image

from reid import imaging as images
from reid.errors import AlignmentError
from reid.evaluation import metrics
from reid.imaging import alignment as align
from reid.imaging.geometry import project
from reid.session import open_pair
from reid.settings import Settings

SIZE = (471, 313)
QUICK = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=400, resize=400, device="cpu")
MOTIONS = {
    "homography": np.array([[0.9, 0.15, 60], [-0.12, 0.95, 40], [2e-4, -1e-4, 1]]),
    "affine": np.array([[0.9, 0.15, 60], [-0.12, 0.95, 40], [0, 0, 1]]),
}


def aligned(query, reference, settings=QUICK, model="homography"):
    """How the query lies on the reference, and their mosaic."""
    found = open_pair(query, reference, settings.replace(verify="none"))
    alignment = align.register((found.query, found.reference), found.features, found.matches, 0.5, model)
    return alignment, align.mosaic((query, reference), alignment)


def pair(folder, motion, size=SIZE):
    """A drawn query, and the reference that it becomes under `motion`."""
    scene = draw_animal(4, 0, SIZE)
    query = save(folder / "query.png", scene)
    return query, save(folder / "reference.png", cv2.warpPerspective(scene, motion, size, borderMode=cv2.BORDER_REFLECT))


@pytest.mark.parametrize("model", MOTIONS)
def test_the_motion_is_found_and_the_mosaic_shows_both(tmp_path, model):
    query, reference = pair(tmp_path, MOTIONS[model])
    found, picture = aligned(query, reference, QUICK, model=model)
    assert found.n_matches >= found.n_inliers > 50
    assert metrics.corner_error(found.motion, MOTIONS[model], SIZE) < 1.5
    way, size = align.canvas(found)
    ends = project(np.vstack((project(align._corners(SIZE), found.motion), align._corners(SIZE))), way)
    assert np.allclose(ends.min(axis=0), -0.5) and (np.abs(ends.max(axis=0) + 0.5 - size) <= 1).all()
    assert picture.shape == (size[1], size[0], 3)
    outline = project(np.array([(0, 0), (470, 0), (0, 312), (470, 312)]), MOTIONS[model])
    low, high = np.minimum(outline.min(axis=0), 0), np.maximum(outline.max(axis=0), (470, 312))
    assert size == pytest.approx(tuple(high - low + 1), abs=3)
    shown = cv2.warpPerspective(picture, np.linalg.inv(way), SIZE).astype(float)  # the reference's own place
    assert np.abs(shown - images.decode(reference).pixels)[5:-5, 5:-5].mean() < 12


def test_a_turned_file_is_aligned_upright(tmp_path):
    """The query is stored a quarter turn clockwise, as its EXIF says."""
    query, reference = pair(tmp_path, MOTIONS["affine"])
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = save(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(images.decode(query).pixels, -1)), exif=exif)
    found, _ = aligned(turned, reference, QUICK)
    assert found.sizes[0] == SIZE
    assert metrics.corner_error(found.motion, MOTIONS["affine"], SIZE) < 1.5


def test_a_mosaic_is_bounded_and_blends(tmp_path, monkeypatch):
    monkeypatch.setattr(align, "MOST", 300)
    paths = [save(tmp_path / f"{grey}.png", np.full((200, 300, 3), grey, np.uint8)) for grey in (100, 200)]
    shift = np.array([[1.0, 0, 150], [0, 1, 0], [0, 0, 1]])
    found = align.Alignment(shift, ((300, 200), (300, 200)), 20, 20)
    picture = align.mosaic((paths[0], paths[1]), found)
    assert picture.shape == (133, 300, 3)  # 450 x 200 px, by two thirds
    row = picture[66, :, 0].astype(int)
    assert (row[5], row[-5]) == (200, 100)
    assert row[150] == pytest.approx(150, abs=4)  # the middle of what both show
    assert (np.diff(row[100:200]) <= 0).all()


@pytest.mark.parametrize(
    ("motion", "said"),
    [
        (np.diag([-1.0, 1, 1]), False),  # a mirror
        (np.diag([0.01, 0.01, 1]), False),
        (np.array([[1, 0, 0], [0, 1, 0], [-0.004, 0, 1.0]]), False),  # a part of it lies behind the camera
        (np.full((3, 3), np.nan), False),
        (MOTIONS["homography"], True),
        (-MOTIONS["homography"], True),
        (np.array([[0, -1.0, 300], [1, 0, 0], [0, 0, 1]]), True),
    ],
)
def test_motions_of_no_camera_are_told_apart(motion, said):
    assert align.is_plausible(motion, (SIZE, SIZE)) is said


def test_what_cannot_be_aligned_is_one_line(tmp_path):
    query, reference = pair(tmp_path, np.diag([-1.0, 1, 1]) + np.array([[0, 0, 470], [0, 0, 0], [0, 0, 0]]))
    stranger = save(tmp_path / "stranger.png", draw_animal(9, 0, SIZE))
    empty = save(tmp_path / "empty.png", np.full((100, 100, 3), 90, np.uint8))
    for other in (stranger, empty, reference):
        with pytest.raises(AlignmentError, match=r"query.png and \S+.png cannot be aligned: ") as caught:
            aligned(query, other, QUICK)
        assert "\n" not in str(caught.value)


def test_the_command_writes_the_mosaic(tmp_path, call):
    query, reference = pair(tmp_path, MOTIONS["affine"])
    options = "--extractor", "sift", "--matcher", "nearest", "--resize", 400, "--out", tmp_path / "m" / "mosaic.png"
    status, out, err = call("align", query, reference, *options)
    assert status == 0, err
    assert "matches agree on one homography; the mosaic, " in out
    assert Image.open(tmp_path / "m" / "mosaic.png").width > 400
    status, _, err = call("align", query, save(tmp_path / "stranger.png", draw_animal(9, 0, SIZE)), *options)
    assert status == 2 and err.splitlines()[-1].startswith(f"reid: {query} and {tmp_path / 'stranger.png'} cannot be aligned: ")
    assert "is a folder" in call("align", query, reference, "--out", tmp_path)[2]
