import numpy as np
import pytest

from reid.records import Features, PairMatches, Photo, PhotoRef


def features(n=3, **changes):
    given = {"kind": "sift", "size": (31, 20), "keypoints": np.ones((n, 2)), "scores": np.ones(n), "descriptors": np.ones((n, 4))}
    return Features(**given | changes)


def test_arrays_are_copies_that_cannot_be_written():
    mine = np.ones((3, 2), np.float32)
    record = features(keypoints=mine)
    with pytest.raises(ValueError, match="read-only"):
        record.keypoints[0, 0] = 5
    mine[0, 0] = 7  # the caller's array stays the caller's
    assert record.keypoints[0, 0] == 1
    assert record.keypoints.dtype == np.float32
    assert record.descriptors.dtype == np.float16


@pytest.mark.parametrize(
    "changes",
    [
        {"keypoints": np.ones((3, 3))},
        {"scores": np.ones(2)},
        {"descriptors": np.ones((2, 4))},
        {"angles": np.ones(2)},
        {"keypoints": np.full((3, 2), np.nan)},
        {"keypoints": np.full((3, 2), 20.0)},  # y = 20 lies below a photo 20 px high; size is (width, height)
    ],
)
def test_wrong_shapes_and_positions_are_refused(changes):
    with pytest.raises(ValueError, match="Features"):
        features(**changes)


def test_a_point_at_x_20_lies_inside_a_photo_31_px_wide():
    assert features(keypoints=np.full((3, 2), (20.0, 3.0)))


def test_photo_size_is_width_then_height():
    assert Photo("a", np.zeros((20, 31, 3), np.uint8)).size == (31, 20)
    with pytest.raises(ValueError, match=r"Photo\.mask"):
        Photo("a", np.zeros((20, 31, 3), np.uint8), np.ones((31, 20), bool))


def test_matches_point_into_both_photos():
    with pytest.raises(ValueError, match="outside"):
        PairMatches("q", "r", np.array([[0, 5]]), np.array([0.5]), (6, 5))
    with pytest.raises(ValueError, match="confidence"):
        PairMatches("q", "r", np.array([[0, 4]]), np.array([1.5]), (6, 5))
    assert len(PairMatches("q", "r", np.zeros((0, 2)), np.zeros(0), (0, 0)).confidence) == 0


def test_a_crop_without_area_is_refused(tmp_path):
    with pytest.raises(ValueError, match="crop"):
        PhotoRef("a", tmp_path, crop=(0, 0, 0, 5))
