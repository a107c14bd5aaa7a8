"""Nearest neighbours against plain NumPy, AdaLAM against kornia, and which pairs can work."""

import kornia.feature
import numpy as np
import pytest
import torch
from conftest import in_order, random_features

from reid import matchers
from reid.errors import SettingsError
from reid.records import Features
from reid.settings import Settings


def create(**settings):
    found = Settings.of(**settings)
    return matchers.create(found.extract, found.match, "cpu")


def as_dict(found) -> dict[tuple[int, int], float]:
    indices, confidence = found
    return dict(zip(map(tuple, indices.tolist()), confidence.tolist()))


def test_nearest_neighbours_by_hand():
    query, reference = random_features(30, 16, 1), random_features(25, 16, 2)
    near = query.descriptors[:10].astype(np.float32) + np.random.default_rng(0).normal(0, 0.03, (10, 16))
    mixed = np.concatenate((near / np.linalg.norm(near, axis=1, keepdims=True), reference.descriptors[10:]))
    reference = Features("test", reference.size, reference.keypoints, reference.scores, mixed)
    matcher = create(extractor="sift", matcher="nearest", ratio=0.8, verify="none")
    [(indices, confidence)] = in_order(matcher.match(query, [reference]))
    a, b = query.descriptors.astype(np.float64), reference.descriptors.astype(np.float64)
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    wanted = {}
    for i in range(30):
        j = int(distance[i].argmin())
        if distance[:, j].argmin() == i:
            ratio = max(distance[i, j] / np.partition(distance[i], 1)[1], distance[i, j] / np.partition(distance[:, j], 1)[1])
            wanted[i, j] = 1 / (1 + np.exp((ratio - 0.8) / 0.04))
    found = as_dict((indices, confidence))
    assert found.keys() == wanted.keys()
    for pair, value in wanted.items():
        assert found[pair] == pytest.approx(value, abs=0.02)
    assert all(found[i, i] > 0.5 for i in range(10))


def test_equal_descriptors_are_matched_once_and_never_surely():
    twice = np.eye(16, dtype=np.float32)[[0, 0, 1, 2]]
    query = Features("test", (64, 64), np.zeros((4, 2)), np.ones(4), twice)
    reference = Features("test", (64, 64), np.zeros((5, 2)), np.ones(5), twice[[0, 1, 2, 0, 3]])
    matcher = create(extractor="sift", matcher="nearest", verify="none")
    [(indices, confidence)] = in_order(matcher.match(query, [reference]))
    assert len(set(indices[:, 0])) == len(indices) == len(set(indices[:, 1]))
    found = as_dict((indices, confidence))
    assert found[2, 2] > 0.99 and found[3, 4] > 0.99  # of two, nothing else is like them
    assert [value for pair, value in found.items() if pair[0] < 2] == [pytest.approx(0.0067, abs=1e-3)]


def test_nearest_neighbours_of_none_and_of_one():
    matcher = create(matcher="nearest", verify="none")
    none, one, some = (random_features(n, 16, n) for n in (0, 1, 5))
    assert [len(found[1]) for found in in_order(matcher.match(none, [none, one, some]))] == [0, 0, 0]
    assert [len(found[1]) for found in in_order(matcher.match(some, [none, one]))] == [0, 1]
    assert in_order(matcher.match(some, [one]))[0][1][0] < 0.01  # no second neighbour, no evidence


def test_a_pair_that_cannot_work_names_what_can():
    with pytest.raises(SettingsError, match=r"no LightGlue for aliked-t16.*nearest.*aliked-n16"):
        create(extractor="aliked-t16")
    with pytest.raises(SettingsError, match="unknown matcher 'glue'; known: lightglue, nearest"):
        create(matcher="glue")
    with pytest.raises(SettingsError, match="unknown extractor 'surf'; known: aliked-n16"):
        create(extractor="surf")


def moving_pair(n_true: int, n_false: int) -> tuple[Features, Features]:
    """Photos of which `n_true` keypoints move by one affine motion, with scale and angle, and `n_false` go anywhere; all look alike."""
    rng = np.random.default_rng(5)
    n = n_true + n_false
    query = random_features(n, 32, 1)
    turn = np.deg2rad(20)
    motion = 0.8 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (query.keypoints - (235, 156)) @ motion.T + (235, 156) + rng.normal(0, 0.5, (n, 2))
    points[n_true:] = rng.random((n_false, 2)) * (470, 312)
    near = query.descriptors.astype(np.float32) + rng.normal(0, 0.05, (n, 32))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    angles = (query.angles + turn) % (2 * np.pi)
    reference = Features("test", query.size, points.clip(0, (470, 312)), query.scores, near, query.scales * 0.8, angles)
    return query, reference


def test_adalam_keeps_what_moves_with_its_surroundings():
    query, reference = moving_pair(150, 100)
    matcher, nearest = (create(extractor="sift", matcher=name, verify="none") for name in ("adalam", "nearest"))
    before = torch.get_rng_state()
    [(indices, confidence)] = in_order(matcher.match(query, [reference]))
    [again] = in_order(matcher.match(query, [reference]))
    [plain] = in_order(nearest.match(query, [reference]))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(confidence, again[1])
    kept = confidence > 0.5
    assert np.array_equal(indices, plain[0])
    assert np.allclose(confidence, plain[1] / 2 + 0.5 * kept)
    true = (indices[:, 0] < 150) & (indices[:, 0] == indices[:, 1])
    assert kept[true].mean() > 0.9
    assert kept[~true].mean() < 0.05
    assert plain[1][~true].mean() > 0.9  # their descriptors alone say nothing against them
    theirs = kornia.feature.match_adalam(
        *(torch.tensor(one.descriptors.astype(np.float32)) for one in (query, reference)),
        *(
            kornia.feature.laf_from_center_scale_ori(
                torch.tensor(one.keypoints)[None],
                torch.tensor(one.scales).view(1, -1, 1, 1),
                torch.tensor(one.angles).rad2deg().view(1, -1, 1),
            )
            for one in (query, reference)
        ),
        hw1=(313, 471),
        hw2=(313, 471),
    )[1]
    assert set(map(tuple, indices[kept].tolist())) == set(map(tuple, theirs.tolist()))


def test_adalam_looks_at_scales_and_angles_where_there_are_any():
    query, reference = moving_pair(150, 100)
    rng = np.random.default_rng(6)
    matcher = create(extractor="sift", matcher="adalam")
    bare = [Features("test", one.size, one.keypoints, one.scores, one.descriptors) for one in (query, reference)]
    muddled = Features(
        "test", *(getattr(reference, name) for name in ("size", "keypoints", "scores", "descriptors", "scales")), rng.random(250) * 6
    )
    n_kept = [int((in_order(matcher.match(a, [b]))[0][1] > 0.5).sum()) for a, b in ((query, reference), bare, (query, muddled))]
    assert n_kept[0] > 130
    assert n_kept[1] > 130
    assert n_kept[2] < 50


def test_adalam_of_none_few_and_strangers():
    matcher = create(extractor="aliked-n16", matcher="adalam")
    none, one, few, some = (random_features(n, 16, n) for n in (0, 1, 5, 200))
    found = in_order(matcher.match(some, [none, one, few, random_features(150, 16, 9)]))
    assert [len(confidence) for _, confidence in found[:2]] == [0, 1]
    assert all((confidence < 0.5).all() for _, confidence in found)  # no motion is found, and kornia's ratio test does not stand in for it
    assert [len(confidence) for _, confidence in in_order(matcher.match(none, [none, one]))] == [0, 0]
