"""What a CUDA device computes beside what the processor does: the same matches, rankings and keypoints, within the tolerances stated here.

Drawn animals only. `pytest -m gpu` runs these where there is such a device."""

import numpy as np
import pytest
import torch
from conftest import draw_animal, in_order, random_features

from reid import extractors, matchers
from reid.errors import SettingsError
from reid.extractors import aliked, outline
from reid.matchers import lightglue_layers
from reid.matchers.lightglue_network import LightGlue
from reid.records import Photo
from reid.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
SETTINGS = Settings.of(max_keypoints=300)
EVERY_LAYER = {"depth_confidence": -1.0, "width_confidence": -1.0}


def photo(identity, view, size=(320, 240)):
    return Photo(f"{identity}-{view}", draw_animal(identity, view, size))


def create(device="cuda", **changes):
    settings = SETTINGS.replace(**changes)
    return matchers.create(settings.extract, settings.match, device)


def share_of_equal_matches(found, wanted):
    """Of the matches of either side, the share that both have."""
    own, other = ({tuple(pair) for pair in indices.tolist()} for indices, _ in (found, wanted))
    return len(own & other) / max(1, len(own | other))


def sums(found):
    return np.array([confidence.sum() for _, confidence in found])


def compare_features(found, wanted):
    """The share of wanted keypoints that have one within half a pixel, and the cosines of their descriptors."""
    apart = np.linalg.norm(found.keypoints[None] - wanted.keypoints[:, None], axis=2)
    near = apart.min(axis=1) < 0.5
    pairs = found.descriptors[apart.argmin(axis=1)][near], wanted.descriptors[near]
    a, b = (rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in pairs)
    return near.mean(), (a * b).sum(axis=1)


@pytest.fixture(scope="module")
def crowd():
    """Three queries, and of each of eight animals five references; extracted on the processor, so that both devices match the same."""
    extractor = extractors.create(SETTINGS.extract, "cpu")
    queries = [extractor.extract(photo(identity, 9)) for identity in range(3)]
    return queries, [extractor.extract(photo(identity, view)) for identity in range(8) for view in range(5)]


@pytest.fixture(scope="module")
def by_processor(crowd):
    """What the processor's float32 finds: of each query the matches with every reference; every layer."""
    queries, references = crowd
    matcher = create("cpu", precision="full", **EVERY_LAYER)
    return [in_order(matcher.match(query, references)) for query in queries]


def test_half_precision_packs_its_attention_and_finds_what_the_processor_finds(crowd, by_processor, monkeypatch):
    packed, calls = lightglue_layers.attend_packed, []
    monkeypatch.setattr(lightglue_layers, "attend_packed", lambda *args: calls.append(args[0].dtype) or packed(*args))
    queries, references = crowd
    found = in_order(create(**EVERY_LAYER).match(queries[0], references))
    assert set(calls) == {torch.float16}
    assert np.allclose(sums(found), sums(by_processor[0]), rtol=0.01, atol=0.3)
    for one, wanted in zip(found[:5], by_processor[0]):  # its own animal's
        assert len(wanted[0]) > 50
        assert share_of_equal_matches(one, wanted) > 0.97


def test_float32_finds_what_the_processor_finds(crowd, by_processor):
    queries, references = crowd
    found = in_order(create(precision="full", **EVERY_LAYER).match(queries[0], references))
    assert np.allclose(sums(found), sums(by_processor[0]), rtol=1e-3, atol=1e-3)
    for one, wanted in zip(found[:5], by_processor[0]):
        assert share_of_equal_matches(one, wanted) > 0.99


def test_pairs_that_stop_early_find_what_they_find_on_the_processor(crowd):
    queries, references = crowd
    found, wanted = (in_order(create(device, precision=how).match(queries[0], references[:8])) for device, how in
                     (("cuda", "fast"), ("cpu", "full")))  # fmt: skip
    assert np.allclose(sums(found), sums(wanted), rtol=0.03, atol=0.6)
    for one, other in zip(found[:5], wanted):
        assert share_of_equal_matches(one, other) > 0.93


def test_a_crowd_is_ranked_as_on_the_processor(crowd, by_processor):
    queries, references = crowd
    matcher = create(**EVERY_LAYER)
    for identity, (query, wanted) in enumerate(zip(queries, by_processor, strict=True)):
        best = np.argsort(-sums(wanted))[:5]
        assert set(best // 5) == {identity}
        assert np.array_equal(np.argsort(-sums(in_order(matcher.match(query, references))))[:5], best)


@pytest.mark.parametrize("precision", ["fast", "full"])
@pytest.mark.parametrize("confidences", [{}, EVERY_LAYER])
def test_a_pair_gets_in_a_batch_what_it_gets_alone(crowd, precision, confidences):
    """More rows than a block has, photos of unequal numbers of keypoints, one of them without any."""
    queries, references = crowd
    references = [matchers.strongest(one, 300 - 7 * number) for number, one in enumerate(references)]
    references.insert(2, random_features(0, 128, 0))
    matcher = create(precision=precision, **confidences)
    together, looks = in_order(matcher.match(queries[0], references)), dict(matcher.coarse(queries[0], references))
    assert len(together[0][0]) > 50
    assert len(together[2][0]) == 0
    for place, (reference, found) in enumerate(zip(references, together, strict=True)):
        [alone] = in_order(matcher.match(queries[0], [reference]))
        assert np.array_equal(found[0], alone[0])
        assert np.array_equal(found[1], alone[1])
        assert dict(matcher.coarse(queries[0], [reference])) == {0: looks[place]}


def test_aliked_finds_the_processors_keypoints():
    settings = SETTINGS.replace(max_keypoints=512).extract
    photos = [photo(identity, 0, (640, 480)) for identity in range(3)]
    found, wanted = (extractors.create(settings, device).extract_all(photos) for device in ("cuda", "cpu"))
    for one, other in zip(found, wanted, strict=True):
        assert len(one) == len(other) == 512
        near, cosines = compare_features(one, other)
        assert near > 0.98
        assert np.median(cosines) > 0.9999
        assert np.quantile(cosines, 0.01) > 0.99


def test_the_outline_is_the_processors():
    pixels = photo(3, 0).pixels
    likely, wanted = (outline.Outline(device).likely(pixels) for device in ("cuda", "cpu"))
    assert np.abs(likely - wanted).max() < 0.02 < wanted.max() - wanted.min()


def test_aliked_describes_a_photo_in_a_batch_as_alone():
    extractor = extractors.create(SETTINGS.extract, "cuda")
    photos = [photo(identity, 0) for identity in range(7)]
    for one, together in zip(photos, extractor.extract_all(photos), strict=True):
        near, cosines = compare_features(extractor.extract(one), together)
        assert near > 0.98
        assert np.median(cosines) > 0.9999


def too_small(most, work, sizes):
    """`work`, on a device whose memory holds so many at a time."""

    def run(self, *args, **options):
        block = next(arg for arg in args if isinstance(arg, list | tuple) and not isinstance(arg, str))
        sizes.append(len(block))
        if len(block) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return work(self, *args, **options)

    return run


def test_out_of_memory_halves_the_table(crowd, monkeypatch):
    queries, references = crowd
    matcher, sizes, match = create(), [], LightGlue._match
    whole = in_order(matcher.match(queries[0], references[:8]))
    monkeypatch.setattr(LightGlue, "_match", too_small(4, match, sizes))
    for one, other in zip(whole, in_order(matcher.match(queries[0], references[:8])), strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    assert sizes == [8, 4, 4]
    monkeypatch.setattr(LightGlue, "_match", too_small(3, match, sizes))
    with pytest.raises(SettingsError, match="memory is too small"):
        list(matcher.match(queries[0], references[:8]))


def test_out_of_memory_halves_the_photos(monkeypatch):
    extractor, sizes = extractors.create(SETTINGS.extract, "cuda"), []
    monkeypatch.setattr(aliked.AlikedExtractor, "_together", too_small(2, aliked.AlikedExtractor._together, sizes))
    assert [len(found) for found in extractor.extract_all([photo(identity, 0) for identity in range(4)])] == [300] * 4
    assert sizes == [4, 2, 2]


def test_matching_survives_a_device_that_is_full(crowd):
    """Its own allocator, allowed less than the table takes and more than half of it does."""
    queries, references = crowd
    matcher = create(**EVERY_LAYER)
    many = references * 10
    matcher.at_once = len(many)

    def peak(photos):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found = in_order(matcher.match(queries[0], photos))
        return found, torch.cuda.max_memory_reserved()

    (whole, much), (_, less) = peak(many), peak(many[: len(many) // 2])
    assert less < 0.8 * much
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((much + less) / 2 / torch.cuda.get_device_properties(0).total_memory)
    try:
        halved = in_order(matcher.match(queries[0], many))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for one, other in zip(whole, halved, strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
