"""Metrics of keypoints and matches against cases worked out by hand, and against chance."""

import numpy as np
import pytest
import skimage.transform

from reid import metrics

SHIFT = np.array([[1.0, 0, 10], [0, 1, -4], [0, 0, 1]])  # takes (x, y) to (x + 10, y - 4)


def test_projecting_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    way = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 3], [1e-4, -2e-4, 1]])
    points = rng.uniform(0, 300, (20, 2))
    assert np.allclose(metrics.project(points, way), skimage.transform.ProjectiveTransform(way)(points))


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
    assert metrics.visible(points, SHIFT, (80, 60)).tolist() == [True, False, True, False]
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
