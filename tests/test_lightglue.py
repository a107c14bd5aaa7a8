"""Our LightGlue against kornia's, pair by pair."""

import weakref
from dataclasses import replace
from functools import cache

import kornia.feature
import numpy as np
import pytest
import torch
from conftest import draw_animal, in_order, random_features
from mps import OnMps

from reid import extractors, matchers, weights
from reid.errors import SettingsError
from reid.matchers import lightglue_layers
from reid.matchers.lightglue_layers import Shape
from reid.matchers.lightglue_network import LightGlue
from reid.records import Features, Photo
from reid.settings import Settings

TOLERANCE = 2e-4  # of a confidence, float32


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


def create(**settings):
    """The matcher that these settings name."""
    found = Settings.of(**settings)
    return matchers.create(found.extract, found.match, "cpu")


def extractor_of(**settings):
    return extractors.create(Settings.of(**settings).extract, "cpu")


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
    defaults = Settings().match.depth_confidence, Settings().match.width_confidence
    network.conf.depth_confidence, network.conf.width_confidence = defaults if adaptive else (-1, -1)
    return network


@cache
def three_animals(extractor):
    """Features of a photo, and of three others of unequal shapes: the same animal, another one, the same again."""
    network = extractor_of(extractor=extractor, max_keypoints=256)
    shots = [(1, 0, (241, 313)), (1, 1, (320, 200)), (2, 0, (313, 241)), (1, 2, (313, 241))]
    return [network.extract(Photo(str(i), draw_animal(*shot))) for i, shot in enumerate(shots)]


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("extractor", ["aliked-n16", "disk"])
def test_lightglue_equals_kornias_on_drawn_animals(extractor, adaptive):
    changes = {} if adaptive else {"depth_confidence": -1.0, "width_confidence": -1.0}
    published = f"{extractor.partition('-')[0]}-lightglue"
    settings = {"extractor": extractor, "max_keypoints": 256, "precision": "full", "lightglue_weights": published, **changes}
    photos = three_animals(extractor)
    reference = kornia_network(128, _renamed(weights.load(published)), adaptive)
    found = in_order(create(**settings).match(photos[0], photos[1:]))
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
    assert ours.shape == Shape(96, 1, 6, projects=True)
    theirs = {name.removeprefix("matcher."): value for name, value in state.items() if name.startswith("matcher.")}
    reference = kornia_network(64, theirs, adaptive, descriptor_dim=96, num_heads=1, n_layers=6)
    query = random_features(120, 64, 0)
    moved = (query.keypoints + np.random.default_rng(1).normal(0, 2, (120, 2))).clip(0, (470, 312))
    same = replace(query, keypoints=moved[::-1], descriptors=query.descriptors[::-1])
    encoded, *others = ours.encode([query, same, random_features(70, 64, 2)])
    confidences = (Settings().match.depth_confidence, Settings().match.width_confidence) if adaptive else (-1, -1)
    same_found, other_found = in_order(ours.match(encoded, others, *confidences))
    wanted = kornia_matches(reference, query, same)
    assert sum(value > 0.5 for value in wanted.values()) > 20
    assert_same(as_dict(same_found), wanted)
    assert_same(as_dict(other_found), kornia_matches(reference, query, random_features(70, 64, 2)))


@pytest.mark.parametrize("shape", [Shape(128, 4, 6), Shape(96, 1, 2)])
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


def test_weights_that_lie_on_a_macs_gpu_are_folded_on_the_processor():
    state = weights.load("aliked-lightglue")
    wanted, found = (
        LightGlue.of(one, 128).state_dict() for one in (state, {name: value.as_subclass(OnMps) for name, value in state.items()})
    )
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


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


@pytest.fixture(scope="module")
def crowd():
    """Features of a query, of another photo of its animal, and of five other animals."""
    extractor = extractor_of(max_keypoints=160)
    shots = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]
    photos = [extractor.extract(Photo(str(shot), draw_animal(*shot))) for shot in shots]
    return photos[0], [photos[2], photos[3], photos[1], photos[4], photos[5], photos[6]]


@pytest.fixture(scope="module")
def network():
    """The published weights for ALIKED; not to be changed."""
    return LightGlue.of(weights.load("aliked-lightglue"), 128).eval()


def test_fewer_layers_are_assigned_by_their_own_head(crowd, network):
    query, references = crowd
    encoded, *photos = network.encode([query, *references])
    sums = {n: [found[1].sum() for found in in_order(network.match(encoded, photos, n_layers=n))] for n in (1, 3, 9)}
    assert all(int(np.argmax(values)) == 2 for values in sums.values())
    assert sums[1] != sums[3] != sums[9]


def test_matching_holds_two_tables_however_many_references_there_are(crowd, network):
    """References are taken as they are needed and let go: memory does not grow with the gallery."""
    query, references = crowd
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


def test_photos_are_encoded_together_as_they_are_alone(network):
    photos = [random_features(n, 128, n) for n in (30, 0, 7, 51)]
    for one, together in zip(photos, network.encode(photos)):
        [alone] = network.encode([one])
        assert torch.allclose(alone.state, together.state, atol=1e-4)
        assert torch.equal(alone.rotation, together.rotation)


def test_half_precision_ranks_as_full_precision_does(crowd):
    query, references = crowd
    sums = {}
    for dtype in (torch.float32, torch.bfloat16):
        network = LightGlue.of(weights.load("aliked-lightglue"), 128).eval()
        network.lower_precision(dtype)
        encoded, *photos = network.encode([query, *references])
        found = in_order(network.match(encoded, photos))
        sums[dtype] = np.array([matches[1].sum() for matches in found])
    assert sums[torch.float32].argmax() == sums[torch.bfloat16].argmax() == 2
    assert np.allclose(sums[torch.float32], sums[torch.bfloat16], atol=3, rtol=0.05)


def test_one_thread_and_two_give_the_same(crowd):
    query, references = crowd
    threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(in_order(create(max_keypoints=160, precision="full").match(query, references)))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.allclose(one[1], two[1], atol=1e-5)


@pytest.mark.parametrize("newer", [False, True], ids=["PyTorch 2.10", "PyTorch 2.12"])
def test_attention_of_unequal_photos_on_a_gpu_is_asked_for_as_pytorch_wants_it(monkeypatch, newer):
    """The packed call, its starts and longest counts, against one photo at a time; the call itself needs a GPU and is stood in for."""

    def attend(scale, q, k, v, starts_q, starts_k, longest_q, longest_k):
        parts = []
        for a, b, c, d in zip(starts_q[:-1], starts_q[1:], starts_k[:-1], starts_k[1:]):
            assert b - a <= longest_q
            assert d - c <= longest_k
            one = (x.transpose(0, 1)[None] for x in (q[a:b], k[c:d], v[c:d]))
            parts.append(torch.nn.functional.scaled_dot_product_attention(*one, scale=scale)[0].transpose(0, 1))
        return torch.cat(parts)

    def older_call(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
        return attend(None, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)

    def newer_call(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, num_splits=None):
        assert num_splits == 1  # else a photo's sum over keys is split as the longest photo of the batch wants it
        return attend(scale, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", newer_call if newer else older_call)
    torch.manual_seed(0)
    queries, keys = [5, 2, 7], [3, 9, 1]
    q, k, v = torch.randn(14, 4, 64), torch.randn(13, 4, 64), torch.randn(13, 4, 64)
    plain, packed = torch.zeros(14, 4, 64), torch.zeros(14, 4, 64)
    for parts in zip(torch.split(q, queries), torch.split(k, keys), torch.split(v, keys), torch.split(plain, queries)):
        lightglue_layers.attend_photo(*parts)
    lightglue_layers.attend_packed(q, k, v, queries, keys, packed)
    assert torch.allclose(plain, packed, atol=1e-6)


def test_layers_attend_packed_as_they_attend_photo_by_photo(crowd, monkeypatch, network):
    """What a GPU does in half precision, with a stand-in for its one call."""

    def stand_in(q, k, v, queries, keys, message):
        for parts in zip(torch.split(q, queries), torch.split(k, keys), torch.split(v, keys), torch.split(message, queries)):
            lightglue_layers.attend_photo(*parts)

    query, references = crowd

    def found():
        encoded, *photos = network.encode([query, *references])
        return in_order(network.match(encoded, photos, 0.9, 0.95))

    plain = found()
    monkeypatch.setattr(lightglue_layers, "is_packed", lambda projected: True)
    monkeypatch.setattr(lightglue_layers, "attend_packed", stand_in)
    for one, other in zip(plain, found(), strict=True):
        assert_same(as_dict(one), as_dict(other))


def test_lightglue_repeats_itself_exactly():
    extractor, matcher = extractor_of(max_keypoints=128), create(max_keypoints=128)
    a, b = (extractor.extract(Photo("x", draw_animal(1, view))) for view in (0, 1))
    (first,), (second,) = (in_order(matcher.match(a, [b])) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_thresholds_at_their_ends_stop_nothing_and_drop_nothing(crowd, network):
    query, references = crowd
    encoded, *photos = network.encode([query, *references[:2]])
    whole, same = (in_order(network.match(encoded, photos, *ends)) for ends in ((-1, -1), (1.0, 1.0)))
    for one, other in zip(whole, same, strict=True):
        assert_same(as_dict(one), as_dict(other))


def test_where_memory_is_too_small_for_a_table_its_halves_are_matched_and_else_the_way_out_is_said(crowd, monkeypatch):
    query, references = crowd
    matcher = create(max_keypoints=160, depth_confidence=-1.0, width_confidence=-1.0)
    whole, match = in_order(matcher.match(query, references)), LightGlue._match
    sizes = []

    def small(most):
        def run(self, query, block, confidences, n_layers):
            sizes.append(len(block))
            if len(block) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ...")
            return match(self, query, block, confidences, n_layers)

        monkeypatch.setattr(LightGlue, "_match", run)

    small(3)
    for one, other in zip(whole, in_order(matcher.match(query, references)), strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    assert sizes == [6, 3, 3]
    small(2)
    with pytest.raises(SettingsError, match=r"memory is too small \(CUDA out of memory\); take fewer keypoints \(--max-keypoints\), or"):
        list(matcher.match(query, references))
