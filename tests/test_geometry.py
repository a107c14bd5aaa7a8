"""Robust models on points moved by a known motion, some of them elsewhere, and in the matcher."""

from dataclasses import replace

import numpy as np
import pytest

from reid import matchers
from reid.imaging.geometry import MODELS, inliers
from reid.records import Features
from reid.settings import ExtractSettings, MatchSettings

RNG_SEED = 5


def moved(n=60, n_wrong=20, seed=RNG_SEED):
    """Points (N, 2) px and where a small affine motion with 1 px of noise takes them; the first `n_wrong` go anywhere."""
    rng = np.random.default_rng(seed)
    query = rng.uniform(0, 500, (n, 2))
    reference = query @ np.array([[0.9, 0.2], [-0.1, 1.1]]).T + (30, 20) + rng.normal(0, 1, (n, 2))
    reference[:n_wrong] = rng.uniform(0, 500, (n_wrong, 2))
    return query, reference


@pytest.mark.parametrize("model", MODELS)
def test_what_moves_together_agrees_and_the_rest_does_not(model):
    query, reference = moved()
    agree = inliers(query, reference, model, 6.0)
    assert agree[20:].mean() > 0.95
    assert agree[:20].mean() <= {"affine": 0.05, "homography": 0.05, "fundamental": 0.4}[model]  # a line is not much of a constraint
    assert np.array_equal(agree, inliers(query, reference, model, 6.0))


@pytest.mark.parametrize("model", MODELS)
def test_too_few_or_degenerate_matches_agree_on_nothing(model):
    n = MODELS[model]
    query, reference = moved(n, 0)
    assert not inliers(query, reference, model, 6.0).any()
    line = np.stack([np.arange(30.0)] * 2, axis=1)
    for points in (np.zeros((0, 2)), np.ones((30, 2)), line):
        assert inliers(points, points, model, 6.0).shape == (len(points),)


def features(points):
    """Each keypoint with a descriptor of its own."""
    descriptors = np.eye(len(points), 64, dtype=np.float32)
    return Features("test", (700, 640), points, np.ones(len(points)), descriptors)


def test_the_matcher_keeps_the_matches_that_one_motion_explains():
    query, reference = moved()
    settings = MatchSettings(matcher="nearest", verify="none")
    [(_, (every, _))] = matchers.create(ExtractSettings(), settings, "cpu").match(features(query), [features(reference)])
    assert sorted(every[:, 0]) == list(range(60))
    for verify in ("auto", "affine"):
        [(place, (kept, confidence))] = matchers.create(ExtractSettings(), replace(settings, verify=verify), "cpu").match(
            features(query), [features(reference)]
        )
        assert place == 0 and len(kept) == len(confidence)
        assert set(kept[:, 0]) >= set(range(20, 60)) and len(kept) <= 43
    assert matchers.verification(MatchSettings()) is None
    assert matchers.verification(MatchSettings(verify="homography")) == "homography"
