"""Metrics of keypoints and matches against cases worked out by hand, and against chance."""

import numpy as np
import pytest
import skimage.transform

from reid.evaluation import metrics
from reid.imaging import geometry

SHIFT = np.array([[1.0, 0, 10], [0, 1, -4], [0, 0, 1]])  # takes (x, y) to (x + 10, y - 4)


def test_projecting_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    way = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 3], [1e-4, -2e-4, 1]])
    points = rng.uniform(0, 300, (20, 2))
    assert np.allclose(geometry.project(points, way), skimage.transform.ProjectiveTransform(way)(points))


def test_repeatability_by_hand():
    first, second = np.array([[0, 10], [20, 20], [50, 50]]), np.array([[10, 6], [30, 19], [90, 5], [31, 18]])
    # (0, 10) -> (10, 6) is there; (20, 20) -> (30, 16) is 3 px from (30, 19) and 2.2 from (31, 18); (50, 50) -> (60, 46) is not
    assert metrics.repeatability(first, second, SHIFT, eps=3) == pytest.approx((2 + 3) / 7)
    assert metrics.repeatability(first, second, SHIFT, eps=2.5) == pytest.approx((2 + 2) / 7)
    assert metrics.replication(first, second, SHIFT, eps=3) == pytest.approx(2 / 3)
    assert metrics.repeatability(first, second[:0], SHIFT) == metrics.replication(first, second[:0], SHIFT) == 0
    assert np.isnan(metrics.repeatability(first[:0], second[:0], SHIFT)) and np.isnan(metrics.replication(first[:0], second, SHIFT))


def test_chance_is_what_random_points_get():
    rng = np.random.default_rng(1)
    got = [metrics.repeatability(*rng.uniform(0, (320, 240), (2, 300, 2)), np.eye(3)) for _ in range(40)]
    assert metrics.by_chance(300, (320, 240)) == pytest.approx(0.105, abs=0.001)  # SuperPoint's table has 0.10
    assert np.mean(got) == pytest.approx(metrics.by_chance(300, (320, 240)), abs=0.01)


def test_what_is_visible_and_what_is_right():
    points = np.array([[0, 4], [0, 3], [69.4, 10], [69.6, 10]])
    assert geometry.visible(points, SHIFT, (80, 60)).tolist() == [True, False, True, False]
    assert metrics.correct([[0, 10], [0, 10]], [[10, 9], [10, 9.1]], SHIFT, eps=3).tolist() == [True, False]
    assert metrics.correct(np.zeros((0, 2)), np.zeros((0, 2)), SHIFT).shape == (0,)


def test_coverage_counts_overlaps_once():
    alone = metrics.coverage([[100, 100]], (400, 300))
    assert alone == pytest.approx(np.pi * 25**2 / (400 * 300), rel=0.03)
    assert metrics.coverage([[100, 100], [100, 100], [300, 200]], (400, 300)) == pytest.approx(2 * alone)
    mask = np.zeros((300, 400), bool)
    mask[90:110, 90:110] = True
    assert metrics.coverage([[100, 100]], (400, 300), mask) == 1
    assert metrics.coverage(np.zeros((0, 2)), (400, 300)) == 0 and np.isnan(metrics.coverage([[1, 1]], (400, 300), mask & False))


def test_means_and_errors_of_homographies():
    assert metrics.harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3) and metrics.harmonic_mean(0.9, 0.0) == 0
    assert metrics.corner_error(SHIFT, np.eye(3), (80, 60)) == pytest.approx(np.hypot(10, 4))
    assert metrics.corner_error(None, SHIFT, (80, 60)) == metrics.corner_error(np.full((3, 3), np.nan), SHIFT, (80, 60)) == np.inf


def test_points_on_the_mask_alone_are_visible():
    mask = np.zeros((60, 80), bool)
    mask[10, 20] = True
    points = np.array([[10, 14], [10.4, 14.4], [10.6, 14], [9.6, 13.6], [0, 3]])  # the mask's pixel is seen from (10, 14)
    assert geometry.visible(points, SHIFT, (80, 60), mask).tolist() == [True, True, False, True, False]


def test_chance_on_a_part_of_the_image():
    rng = np.random.default_rng(2)
    got = [metrics.repeatability(*rng.uniform(0, (80, 240), (2, 75, 2)), np.eye(3)) for _ in range(60)]
    assert metrics.by_chance(75, (320, 240), share=0.25) == pytest.approx(np.mean(got), abs=0.015)


def test_matching_score_by_hand():
    indices, right = np.array([[0, 1], [2, 0], [3, 3]]), np.array([True, True, False])
    first_seen, second_seen = np.array([True, True, False, True]), np.array([True, True, True, True, False])
    # of the first image's three visible points one (0) is matched right, as the other (2) is not visible; of the second's four, two are
    assert metrics.matching_score(indices, right, first_seen, second_seen) == pytest.approx((1 / 3 + 2 / 4) / 2)
    nobody = np.zeros(4, bool)
    assert metrics.matching_score(np.zeros((0, 2), int), np.zeros(0, bool), nobody, nobody) == 0


def test_area_under_the_curve_of_errors_by_hand_and_by_counting():
    # recall rises to 1/4 at 1 px and to 1/2 at 3 px, and stays: trapezoids 1/8 + 3/4 + 1/2 * 2
    assert metrics.area_under_curve([3, np.inf, 1, 8], 5) == pytest.approx((1 / 8 + 3 / 4 + 1) / 5)
    assert metrics.area_under_curve([np.inf, np.inf], 5) == 0 and np.isnan(metrics.area_under_curve([], 5))
    errors = np.random.default_rng(0).uniform(0, 8, 2000)
    steps = np.linspace(0, 5, 2000)
    assert metrics.area_under_curve(errors, 5) == pytest.approx(np.mean([(errors <= e).mean() for e in steps]), abs=2e-3)


def test_registrations_have_glampoints_classes():
    size = (400, 300)
    median, largest = metrics.registration_errors(SHIFT, np.eye(3), size)
    assert (median, largest) == pytest.approx((np.hypot(10, 4),) * 2)
    stretched = np.diag([1.1, 1, 1])  # moves a point by a tenth of its x: at 50, 350, 50, 350, 200, 200
    assert metrics.registration_errors(stretched, np.eye(3), size) == pytest.approx((20, 35))
    assert metrics.registration_class(9.9, 29.9) == "acceptable"
    assert metrics.registration_class(10.0, 12.0) == metrics.registration_class(3.0, 30.0) == "inaccurate"
    for broken in (None, np.zeros((3, 3)), np.full((3, 3), np.nan)):
        assert metrics.registration_class(*metrics.registration_errors(broken, SHIFT, size)) == "failed"
