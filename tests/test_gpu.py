"""What a GPU computes against what the processor does: features, attention, matches, the order of references. Skipped where there is none.

Those that need kornia or weights that are not there are skipped one by one."""

import importlib.util

import numpy as np
import pytest
import torch
from conftest import draw_animal, in_order, random_features

from reid import devices, extractors, matchers, weights
from reid.matchers import blocks, lightglue_layers
from reid.matchers.lightglue_network import LightGlue
from reid.records import Photo
from reid.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SIZE = (471, 313)
SHOTS = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]


def create(device, **settings):
    found = Settings.of(**settings)
    return extractors.create(found.extract, device), matchers.create(found.extract, found.match, device)


@pytest.fixture(scope="module")
def photos():
    """A query, another photo of its animal, and five other animals, of unequal numbers of keypoints, by the processor."""
    extractor, _ = create("cpu", max_keypoints=300, matcher="nearest")
    found = [extractor.extract(Photo(str(shot), draw_animal(*shot, SIZE))) for shot in SHOTS]
    return [matchers.strongest(one, n) for one, n in zip(found, (300, 280, 300, 170, 90, 33, 7))]


def alike(one, other, within):
    """Share of the keypoints that the other has, too, and the least, the first percentile and the median of their descriptors' cosines."""
    distance = np.linalg.norm(one.keypoints[:, None] - other.keypoints[None], axis=2)
    same, nearest = distance.min(axis=1) < within, distance.argmin(axis=1)
    cosine = (one.descriptors.astype(np.float32) * other.descriptors[nearest].astype(np.float32)).sum(axis=1)[same]
    return same.mean(), *np.quantile(cosine, (0, 0.01, 0.5))


@pytest.mark.parametrize("name", [name for name in extractors.REGISTRY if name != "aliked-n32"])
def test_features_are_the_processors(name):
    line = extractors.entry(name)
    if line.module in ("disk", "xfeat", "dog_hardnet", "keynet") and importlib.util.find_spec("kornia") is None:
        pytest.skip("needs kornia")
    if not all(weights.locate(weights.REGISTRY[file]) for file in (line.weights, *line.parts) if file):
        pytest.skip("no weights here")
    mask = np.zeros(SIZE[::-1], bool)
    mask[40:280, 60:420] = True
    shots = [Photo("a", draw_animal(1, 0, SIZE)), Photo("b", draw_animal(2, 0, SIZE)), Photo("c", draw_animal(3, 0, SIZE), mask)]
    own, theirs = (create(device, extractor=name, max_keypoints=400, matcher="nearest")[0].extract_all(shots) for device in ("cpu", "cuda"))
    for one, other in zip(own, theirs, strict=True):
        share, least, low, middle = alike(one, other, within=0.5)
        print(f"{name}: {share:.4f} of the keypoints within half a pixel, cosines {least:.4f} {low:.4f} {middle:.5f}")
        assert share > 0.98
        assert low > 0.99 and middle > 0.999


@pytest.mark.parametrize("name", ["aliked-n16", "disk", "xfeat"])
def test_photos_get_together_what_they_get_alone(name):
    if name != "aliked-n16" and importlib.util.find_spec("kornia") is None:
        pytest.skip("needs kornia")
    if weights.locate(weights.REGISTRY[name]) is None:
        pytest.skip("no weights here")
    extractor, _ = create("cuda", extractor=name, max_keypoints=300, matcher="nearest")
    shots = [Photo(str(i), draw_animal(i, 0, SIZE)) for i in range(5)]
    for photo, together in zip(shots, extractor.extract_all(shots)):
        share, _, low, _ = alike(extractor.extract(photo), together, within=0.5)
        assert share > 0.98 and low > 0.99


def test_packed_attention_is_the_processors():
    torch.manual_seed(0)
    queries, keys = [300, 7, 1, 129], [12, 300, 64, 1000]
    for heads, dim in ((4, 64), (1, 96)):
        q, k, v = (torch.randn(sum(n), heads, dim).half() for n in (queries, keys, keys))
        q, k = q * dim**-0.25, k * dim**-0.25
        message = torch.zeros(sum(queries), heads, dim)
        parts = (torch.split(one, n) for one, n in ((q.float(), queries), (k.float(), keys), (v.float(), keys), (message, queries)))
        for one in zip(*parts):
            lightglue_layers.attend_photo(*one)
        packed = torch.zeros_like(q).cuda()
        lightglue_layers.attend_packed(q.cuda(), k.cuda(), v.cuda(), queries, keys, packed)
        assert torch.allclose(packed.float().cpu(), message, atol=3e-3)
        alone = torch.zeros(queries[0], heads, dim).half().cuda()
        n, m = queries[0], keys[0]
        lightglue_layers.attend_packed(q[:n].cuda(), k[:m].cuda(), v[:m].cuda(), [n], [m], alone)
        assert torch.equal(alone, packed[:n])  # a photo gets what it gets alone


@pytest.mark.parametrize("precision", ["fast", "full"])
@pytest.mark.parametrize("confidences", [(0.9, 0.95), (-1.0, -1.0)], ids=["adaptive", "every layer"])
def test_a_pair_gets_in_a_batch_what_it_gets_alone(photos, precision, confidences):
    settings = {"precision": precision, "depth_confidence": confidences[0], "width_confidence": confidences[1]}
    _, matcher = create("cuda", **settings)
    query, *references = photos
    references.insert(2, random_features(0, 128, 0))
    together, looks = in_order(matcher.match(query, references)), dict(matcher.coarse(query, references))
    for place, (reference, found) in enumerate(zip(references, together, strict=True)):
        [alone] = in_order(matcher.match(query, [reference]))
        assert np.array_equal(found[0], alone[0])
        assert np.array_equal(found[1], alone[1])
        assert dict(matcher.coarse(query, [reference])) == {0: looks[place]}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_row_gets_the_same_at_every_place_of_a_block(dtype):
    torch.manual_seed(0)
    with torch.inference_mode():
        for n_in, n_out in ((256, 768), (256, 512), (512, 512), (512, 256), (128, 256), (96, 288), (192, 192), (192, 96), (64, 96)):
            layer = torch.nn.Linear(n_in, n_out).to("cuda", dtype)
            rows = torch.randn(blocks.ROWS["cuda"], n_in, device="cuda", dtype=dtype)
            once = blocks.product_in_blocks(layer, rows)
            for step in (1, 3, 5, 16, 100, 4097):
                assert torch.equal(blocks.product_in_blocks(layer, rows.roll(step, 0)).roll(-step, 0), once)


@pytest.mark.parametrize("precision", ["fast", "full"])
def test_matches_and_the_order_of_references_are_the_processors(photos, precision):
    query, *references = photos
    found = {}
    for device in ("cpu", "cuda"):
        _, matcher = create(device, precision="full" if device == "cpu" else precision, depth_confidence=-1.0, width_confidence=-1.0)
        looks = dict(matcher.coarse(query, references))
        found[device] = in_order(matcher.match(query, references)), np.array([looks[place] for place in range(len(references))])
    sums = {device: np.array([confidence.sum() for _, confidence in matches]) for device, (matches, _) in found.items()}
    print(precision, sums, {device: looks for device, (_, looks) in found.items()})
    assert sums["cpu"].argmax() == sums["cuda"].argmax() == found["cuda"][1].argmax() == 0
    exact = precision == "full"
    for values in (sums, {device: looks for device, (_, looks) in found.items()}):
        assert np.allclose(values["cpu"], values["cuda"], atol=0.02 if exact else 1.0, rtol=1e-3 if exact else 0.03)
    for (a, sure), (b, too) in zip(found["cpu"][0], found["cuda"][0], strict=True):
        one, other = ({tuple(pair) for pair, value in zip(i.tolist(), c) if value > 0.5} for i, c in ((a, sure), (b, too)))
        assert len(one & other) >= 0.9 * max(len(one), len(other)) - 1


@pytest.mark.parametrize("matcher", ["nearest", "adalam"])
def test_nearest_neighbours_are_the_processors(photos, matcher):
    if matcher == "adalam" and importlib.util.find_spec("kornia") is None:
        pytest.skip("needs kornia")
    query, *references = photos
    own, theirs = (in_order(create(device, matcher=matcher, verify="none")[1].match(query, references)) for device in ("cpu", "cuda"))
    for (a, sure), (b, too) in zip(own, theirs, strict=True):
        assert np.array_equal(a, b)
        assert np.allclose(sure, too, atol=1e-3)


def test_a_query_larger_than_the_memory_says_what_to_do(photos, monkeypatch):
    """The allocator itself runs out, at a table and at its halves; what it held is free again afterwards."""
    query, *references = photos
    _, matcher = create("cuda")
    total = torch.cuda.get_device_properties(0).total_memory
    before = in_order(matcher.match(query, references))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 4 * 2**20) / total)
    try:
        with pytest.raises(devices.SettingsError, match=r"memory is too small .*--max-keypoints"):
            list(matcher.match(query, [photo for photo in references for _ in range(30)]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for one, other in zip(before, in_order(matcher.match(query, references)), strict=True):
        assert np.array_equal(one[0], other[0])


def test_lightglue_encodes_on_a_gpu_while_photos_are_sent(photos):
    """Pinned memory is given back before the copy has ended, and must not be written again until then."""
    network = LightGlue.of(weights.load("aliked-lightglue"), 128).eval().cuda().lower_precision(torch.float16)
    first = [one.state.clone() for one in network.encode(photos)]
    for _ in range(20):
        again = [network.encode([one])[0].state for one in photos]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
