"""Our LightGlue against kornia's, pair by pair; nearest neighbours against plain NumPy."""

import weakref
from dataclasses import replace

import kornia.feature
import numpy as np
import pytest
import torch
from conftest import draw_animal

from reid import extractors, matchers, weights
from reid.errors import SettingsError
from reid.matchers import lightglue
from reid.matchers.lightglue import LightGlue
from reid.records import Features, Photo
from reid.settings import Settings

TOLERANCE = 2e-4  # of a confidence, float32


def random_features(n: int, n_dims: int, seed: int, size=(471, 313)) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, n_dims))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    more = {"scales": rng.uniform(1, 30, n), "angles": rng.uniform(0, 6, n)}
    return Features("test", size, rng.random((n, 2)) * (np.array(size) - 1), rng.random(n), descriptors, **more)


def kornia_matches(network, query: Features, reference: Features) -> dict[tuple[int, int], float]:
    def tensors(features):
        found = {
            "keypoints": torch.tensor(features.keypoints)[None],
            "descriptors": torch.tensor(features.descriptors.astype(np.float32))[None],
            "image_size": torch.tensor([features.size]),
        }
        if features.scales is not None:
            found |= {"scales": torch.tensor(features.scales)[None], "oris": torch.tensor(features.angles)[None]}
        return found

    with torch.inference_mode():
        out = network({"image0": tensors(query), "image1": tensors(reference)})
    return dict(zip(map(tuple, out["matches"][0].tolist()), out["scores"][0].tolist()))


def in_order(found) -> list:
    """The matches of each reference, in the references' order."""
    return [matches for _, matches in sorted(found, key=lambda one: one[0])]


def as_dict(found) -> dict[tuple[int, int], float]:
    indices, confidence = found
    return dict(zip(map(tuple, indices.tolist()), confidence.tolist()))


def assert_same(ours, theirs):
    """The same matches with the same confidences; a match may be missing only where it is as good as none."""
    for pair in ours.keys() | theirs.keys():
        assert ours.get(pair, 0) == pytest.approx(theirs.get(pair, 0), abs=TOLERANCE)


def kornia_network(n_dims, state, adaptive, **shape):
    network = kornia.feature.LightGlue(None, input_dim=n_dims, filter_threshold=0.0, **shape).eval()
    network.load_state_dict(state, strict=False)
    defaults = Settings().depth_confidence, Settings().width_confidence
    network.conf.depth_confidence, network.conf.width_confidence = defaults if adaptive else (-1, -1)
    return network


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("extractor", ["aliked-n16", "disk"])
def test_lightglue_equals_kornias_on_drawn_animals(extractor, adaptive):
    changes = {} if adaptive else {"depth_confidence": -1.0, "width_confidence": -1.0}
    settings = Settings(extractor=extractor, max_keypoints=256, race=False, precision="full", **changes)
    network = extractors.create(settings, "cpu")
    shots = [(1, 0, (313, 471)), (1, 1, (400, 241)), (2, 0, (313, 241)), (1, 2, (471, 313))]
    photos = [network.extract(Photo(str(i), draw_animal(*shot))) for i, shot in enumerate(shots)]
    reference = kornia_network(128, _renamed(weights.load(f"{extractor.partition('-')[0]}-lightglue")), adaptive)
    found = in_order(matchers.create(settings, "cpu").match(photos[0], photos[1:]))
    for ours, other in zip(found, photos[1:], strict=True):
        assert_same(as_dict(ours), kornia_matches(reference, photos[0], other))
    assert sum(found[0][1] > 0.5) > 20 > sum(found[1][1] > 0.5)  # the same animal, another one


def _renamed(state):
    """Older files name their layers `self_attn.0`, newer ones `transformers.0.self_attn`."""
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] in ("self_attn", "cross_attn"):
            parts = ["transformers", parts[1], parts[0], *parts[2:]]
        found[".".join(parts)] = value
    return found


@pytest.mark.parametrize(("n_dims", "with_scale_and_angle"), [(128, True), (256, False)])
def test_the_architectures_for_sift_and_superpoint_equal_kornias(n_dims, with_scale_and_angle):
    torch.manual_seed(0)
    reference = kornia.feature.LightGlue(None, input_dim=n_dims, filter_threshold=0.0, add_scale_ori=with_scale_and_angle).eval()
    reference.conf.depth_confidence = reference.conf.width_confidence = -1
    ours = LightGlue(n_dims, with_scale_and_angle).eval()
    ours.load_published(reference.state_dict())
    query, other = (random_features(n, n_dims, n) for n in (60, 45))
    encoded, *others = ours.encode([query, other])
    [found] = in_order(ours.match(encoded, others))
    theirs = kornia_matches(reference, query, other)
    assert len(theirs) > 5
    assert_same(as_dict(found), theirs)


@pytest.mark.parametrize("adaptive", [True, False])
def test_lighterglue_equals_kornias(adaptive):
    """XFeat's LightGlue: six layers, a width of 96, one head."""
    if weights.locate(weights.REGISTRY["xfeat-lightglue"]) is None:
        pytest.skip("no weights here; `reid models fetch xfeat-lightglue`")
    state = weights.load("xfeat-lightglue")
    ours = LightGlue.of(state, 64).eval()
    assert ours.shape == lightglue.Shape(96, 1, 6, projects=True)
    theirs = {name.removeprefix("matcher."): value for name, value in state.items() if name.startswith("matcher.")}
    reference = kornia_network(64, theirs, adaptive, descriptor_dim=96, num_heads=1, n_layers=6)
    query = random_features(120, 64, 0)
    moved = (query.keypoints + np.random.default_rng(1).normal(0, 2, (120, 2))).clip(0, (470, 312))
    same = replace(query, keypoints=moved[::-1], descriptors=query.descriptors[::-1])
    encoded, *others = ours.encode([query, same, random_features(70, 64, 2)])
    confidences = (Settings().depth_confidence, Settings().width_confidence) if adaptive else (-1, -1)
    same_found, other_found = in_order(ours.match(encoded, others, *confidences))
    wanted = kornia_matches(reference, query, same)
    assert sum(value > 0.5 for value in wanted.values()) > 20
    assert_same(as_dict(same_found), wanted)
    assert_same(as_dict(other_found), kornia_matches(reference, query, random_features(70, 64, 2)))


@pytest.mark.parametrize("shape", [lightglue.Shape(128, 4, 6), lightglue.Shape(96, 1, 2)])
def test_networks_of_any_shape_equal_kornias(shape):
    torch.manual_seed(0)
    reference = kornia.feature.LightGlue(
        None, input_dim=64, filter_threshold=0.0, descriptor_dim=shape.dim, num_heads=shape.heads, n_layers=shape.layers
    ).eval()
    reference.conf.depth_confidence = reference.conf.width_confidence = -1
    ours = LightGlue.of(reference.state_dict(), 64).eval()
    assert ours.shape == replace(shape, projects=True)
    query, other = (random_features(n, 64, n) for n in (60, 45))
    encoded, *others = ours.encode([query, other])
    theirs = kornia_matches(reference, query, other)
    assert len(theirs) > 5
    for n_layers in (None, 9):  # no more than there are
        [found] = in_order(ours.match(encoded, others, n_layers=n_layers))
        assert_same(as_dict(found), theirs)


def test_weights_of_another_network_are_refused():
    state = weights.load("aliked-lightglue")
    with pytest.raises(ValueError, match="no weights of this LightGlue"):
        LightGlue(128).load_published({name: value for name, value in state.items() if "transformers.3.self_attn" not in name})
    with pytest.raises(ValueError, match="no weights of this LightGlue"):
        LightGlue(64).load_published(state)
    with pytest.raises(ValueError, match="no weights of this LightGlue"):
        LightGlue.of(state, 64)
    with pytest.raises(ValueError, match="no weights of LightGlue"):
        LightGlue.of(weights.load("aliked-n16"), 128)


def test_a_pair_gets_in_a_batch_what_it_gets_alone():
    settings = Settings(max_keypoints=200)
    extractor = extractors.create(settings, "cpu")
    matcher = matchers.create(settings, "cpu")
    query = extractor.extract(Photo("q", draw_animal(1, 0)))
    sizes = [(313, 241), (120, 90), (241, 313), (64, 64)]
    references = [extractor.extract(Photo(str(i), draw_animal(1 + i % 2, i, size))) for i, size in enumerate(sizes)]
    references.insert(2, random_features(0, 128, 0))
    assert len({len(reference) for reference in references}) > 3
    together = in_order(matcher.match(query, references))
    for reference, found in zip(references, together, strict=True):
        [alone] = in_order(matcher.match(query, [reference]))
        assert np.array_equal(found[0], alone[0])
        assert np.allclose(found[1], alone[1], atol=1e-5)
    assert len(together[2][1]) == 0
    assert [len(found[1]) for found in in_order(matcher.match(random_features(0, 128, 0), references))] == [0] * 5


@pytest.fixture(scope="module")
def crowd():
    """Features of a query, of another photo of its animal, and of five other animals."""
    extractor = extractors.create(Settings(max_keypoints=160), "cpu")
    shots = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]
    photos = [extractor.extract(Photo(str(shot), draw_animal(*shot))) for shot in shots]
    return photos[0], [photos[2], photos[3], photos[1], photos[4], photos[5], photos[6]]


def test_the_race_matches_its_finalists_as_they_would_be_alone_and_the_others_not_at_all(crowd, monkeypatch):
    query, references = crowd
    monkeypatch.setitem(matchers.RACES, "aliked-lightglue", (128, 3, 2))
    everyone = in_order(matchers.create(Settings(race=False), "cpu").match(query, references))
    raced = in_order(matchers.create(Settings(), "cpu").match(query, references))
    finalists = [place for place, found in enumerate(raced) if len(found[1])]
    assert len(finalists) == 2
    assert 2 in finalists  # the animal's own photo
    for place in finalists:
        assert np.array_equal(raced[place][0], everyone[place][0])
        assert np.allclose(raced[place][1], everyone[place][1], atol=0.02)  # bfloat16 in another batch


def test_an_animals_second_photo_does_not_take_another_animals_place_in_the_race(crowd, monkeypatch):
    query, references = crowd
    monkeypatch.setitem(matchers.RACES, "aliked-lightglue", (128, 3, 2))
    matcher = matchers.create(Settings(), "cpu")
    [second] = [place for place, found in enumerate(in_order(matcher.match(query, references))) if len(found[1]) and place != 2]
    animals = ["same" if place in (2, second) else f"other {place}" for place in range(6)]
    finalists = [place for place, found in enumerate(in_order(matcher.match(query, references, animals))) if len(found[1])]
    assert len(finalists) == 2
    assert 2 in finalists
    assert second not in finalists


def test_fewer_layers_are_assigned_by_their_own_head(crowd):
    query, references = crowd
    network = LightGlue(128).eval()
    network.load_published(weights.load("aliked-lightglue"))
    encoded, *photos = network.encode([query, *references])
    sums = {n: [found[1].sum() for found in in_order(network.match(encoded, photos, n_layers=n))] for n in (1, 3, 9)}
    assert all(int(np.argmax(values)) == 2 for values in sums.values())
    assert sums[1] != sums[3] != sums[9]


def test_matching_holds_two_tables_however_many_references_there_are(crowd):
    """References are taken as they are needed and let go: memory does not grow with the gallery."""
    query, references = crowd
    network = LightGlue(128).eval()
    network.load_published(weights.load("aliked-lightglue"))
    [encoded] = network.encode([query])
    alive = weakref.WeakSet()

    def stream():
        for number in range(24):
            [photo] = network.encode([references[number % 6]])
            alive.add(photo)
            most.append(len(alive))
            yield photo
            del photo

    most = []
    found = list(network.match(encoded, stream(), 0.9, 0.95, at_once=3))
    assert len(found) == 24
    assert max(most) <= 2 * 3  # a table and the one before it


def test_photos_are_encoded_together_as_they_are_alone():
    network = LightGlue(128).eval()
    network.load_published(weights.load("aliked-lightglue"))
    photos = [random_features(n, 128, n) for n in (30, 0, 7, 51)]
    for one, together in zip(photos, network.encode(photos)):
        [alone] = network.encode([one])
        assert torch.allclose(alone.state, together.state, atol=1e-4)
        assert torch.equal(alone.rotation, together.rotation)


def test_half_precision_ranks_as_full_precision_does(crowd):
    query, references = crowd
    sums = {}
    for dtype in (torch.float32, torch.bfloat16):
        network = LightGlue(128).eval()
        network.load_published(weights.load("aliked-lightglue"))
        network.lower_precision(dtype)
        encoded, *photos = network.encode([query, *references])
        found = in_order(network.match(encoded, photos))
        sums[dtype] = np.array([matches[1].sum() for matches in found])
    assert sums[torch.float32].argmax() == sums[torch.bfloat16].argmax() == 2
    assert np.allclose(sums[torch.float32], sums[torch.bfloat16], atol=3, rtol=0.05)


def test_one_thread_and_two_give_the_same(crowd):
    query, references = crowd
    settings = Settings(max_keypoints=160, precision="full")
    threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(in_order(matchers.create(settings, "cpu").match(query, references)))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.allclose(one[1], two[1], atol=1e-5)


def test_attention_of_unequal_photos_on_a_gpu_is_asked_for_as_pytorch_wants_it(monkeypatch):
    """The packed call, its starts and longest counts, against one photo at a time; the call itself needs a GPU and is stood in for."""

    def stand_in(q, k, v, starts_q, starts_k, longest_q, longest_k):
        parts = []
        for a, b, c, d in zip(starts_q[:-1], starts_q[1:], starts_k[:-1], starts_k[1:]):
            assert b - a <= longest_q
            assert d - c <= longest_k
            one = (x.transpose(0, 1)[None] for x in (q[a:b], k[c:d], v[c:d]))
            parts.append(torch.nn.functional.scaled_dot_product_attention(*one)[0].transpose(0, 1))
        return torch.cat(parts)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", stand_in)
    torch.manual_seed(0)
    queries, keys = [5, 2, 7], [3, 9, 1]
    q, k, v = torch.randn(14, 4, 64), torch.randn(13, 4, 64), torch.randn(13, 4, 64)
    plain, packed = torch.zeros(14, 4, 64), torch.zeros(14, 4, 64)
    lightglue._attention(q, k, v, queries, keys, plain)
    lightglue._attend_packed(q, k, v, queries, keys, packed)
    assert torch.allclose(plain, packed, atol=1e-6)


def test_lightglue_repeats_itself_exactly():
    settings = Settings(max_keypoints=128)
    extractor, matcher = extractors.create(settings, "cpu"), matchers.create(settings, "cpu")
    a, b = (extractor.extract(Photo("x", draw_animal(1, view))) for view in (0, 1))
    (first,), (second,) = (in_order(matcher.match(a, [b])) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_nearest_neighbours_by_hand():
    query, reference = random_features(30, 16, 1), random_features(25, 16, 2)
    near = query.descriptors[:10].astype(np.float32) + np.random.default_rng(0).normal(0, 0.03, (10, 16))
    mixed = np.concatenate((near / np.linalg.norm(near, axis=1, keepdims=True), reference.descriptors[10:]))
    reference = Features("test", reference.size, reference.keypoints, reference.scores, mixed)
    matcher = matchers.create(Settings(extractor="sift", matcher="nearest", ratio=0.8, verify="none"), "cpu")
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
    matcher = matchers.create(Settings(extractor="sift", matcher="nearest", verify="none"), "cpu")
    [(indices, confidence)] = in_order(matcher.match(query, [reference]))
    assert len(set(indices[:, 0])) == len(indices) == len(set(indices[:, 1]))
    found = as_dict((indices, confidence))
    assert found[2, 2] > 0.99 and found[3, 4] > 0.99  # of two, nothing else is like them
    assert [value for pair, value in found.items() if pair[0] < 2] == [pytest.approx(0.0067, abs=1e-3)]


def test_nearest_neighbours_of_none_and_of_one():
    matcher = matchers.create(Settings(matcher="nearest", verify="none"), "cpu")
    none, one, some = (random_features(n, 16, n) for n in (0, 1, 5))
    assert [len(found[1]) for found in in_order(matcher.match(none, [none, one, some]))] == [0, 0, 0]
    assert [len(found[1]) for found in in_order(matcher.match(some, [none, one]))] == [0, 1]
    assert in_order(matcher.match(some, [one]))[0][1][0] < 0.01  # no second neighbour, no evidence


def test_a_pair_that_cannot_work_names_what_can():
    with pytest.raises(SettingsError, match=r"no LightGlue for aliked-t16.*nearest.*aliked-n16"):
        matchers.create(Settings(extractor="aliked-t16"), "cpu")
    with pytest.raises(SettingsError, match="unknown matcher 'glue'; known: lightglue, nearest"):
        matchers.create(Settings(matcher="glue"), "cpu")
    with pytest.raises(SettingsError, match="unknown extractor 'surf'; known: aliked-n16"):
        matchers.create(Settings(extractor="surf"), "cpu")


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
    matcher, nearest = (matchers.create(Settings(extractor="sift", matcher=name, verify="none"), "cpu") for name in ("adalam", "nearest"))
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
    matcher = matchers.create(Settings(extractor="sift", matcher="adalam"), "cpu")
    bare = [Features("test", one.size, one.keypoints, one.scores, one.descriptors) for one in (query, reference)]
    muddled = Features(
        "test", *(getattr(reference, name) for name in ("size", "keypoints", "scores", "descriptors", "scales")), rng.random(250) * 6
    )
    n_kept = [int((in_order(matcher.match(a, [b]))[0][1] > 0.5).sum()) for a, b in ((query, reference), bare, (query, muddled))]
    assert n_kept[0] > 130
    assert n_kept[1] > 130
    assert n_kept[2] < 50


def test_adalam_of_none_few_and_strangers():
    matcher = matchers.create(Settings(extractor="aliked-n16", matcher="adalam"), "cpu")
    none, one, few, some = (random_features(n, 16, n) for n in (0, 1, 5, 200))
    found = in_order(matcher.match(some, [none, one, few, random_features(150, 16, 9)]))
    assert [len(confidence) for _, confidence in found[:2]] == [0, 1]
    assert all((confidence < 0.5).all() for _, confidence in found)  # no motion is found, and kornia's ratio test does not stand in for it
    assert [len(confidence) for _, confidence in in_order(matcher.match(none, [none, one]))] == [0, 0]
