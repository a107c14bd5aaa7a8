"""LoFTR in two halves, one a photo and one a pair, against kornia's whole. Its weights are random: the published ones may not be here."""

import kornia
import numpy as np
import pytest
import torch
from conftest import draw_animal, in_order, save
from kornia.feature.loftr.utils.position_encoding import PositionEncodingSine

import reid
from reid import extractors, matchers, weights
from reid.errors import SettingsError, WeightsError
from reid.matchers import loftr
from reid.records import Photo
from reid.settings import ExtractSettings, MatchSettings, Settings

LOFTR = Settings.of(extractor="loftr", matcher="loftr", fuse="none")
SIZE, SMALL = (231, 151), (111, 95)  # the small one begins 120 px to the right and 56 below: whole cells


@pytest.fixture(scope="module")
def whole():
    """kornia's network, which drops no doubtful match here. Random vectors are nearly all alike: what they have in common is taken out."""
    torch.manual_seed(0)
    network = kornia.feature.LoFTR(None).eval()
    network.coarse_matching.thr = 0.0
    net = network.backbone
    with torch.no_grad():
        seen = net.layer3(net.layer2(net.layer1(net.relu(net.bn1(net.conv1(grey(photo(0, 0))))))))[0].flatten(1)
        common = seen.mean(dim=1) / seen.mean(dim=1).norm()
        weight = net.layer3_outconv.weight[:, :, 0, 0]
        weight -= (weight @ common)[:, None] * common
        weight *= 30 / (weight @ seen).norm(dim=0).mean()
        for layer in network.loftr_coarse.layers:
            layer.norm2.weight *= 0.2
    return network


def publish(whole, patch):
    """The weights of `whole` are those that are loaded, in the file's own form."""
    state = {f"matcher.{name}": values for name, values in whole.state_dict().items()}
    patch.setattr(weights, "load", lambda name: {"loftr": {"state_dict": dict(state)}}[name])


@pytest.fixture(scope="module")
def built(whole):
    """The extractor and the matcher."""
    with pytest.MonkeyPatch.context() as patch:
        publish(whole, patch)
        return extractors.create(LOFTR.extract, "cpu"), matchers.create(LOFTR.extract, LOFTR.match, "cpu")


@pytest.fixture
def halves(built, monkeypatch):
    """`halves(max_keypoints)`: the extractor, with that limit, and the matcher."""

    def limited(max_keypoints=20_000):
        monkeypatch.setattr(built[0], "max_keypoints", max_keypoints)
        return built

    return limited


def photo(identity, view, size=SIZE, box=None):
    """The last `size` pixels of a drawn animal; with a box (x0, y0, x1, y1) only that is on the mask."""
    mask = None
    if box is not None:
        mask = np.zeros(size[::-1], bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
    return Photo(f"{identity}-{view}", draw_animal(identity, view, SIZE)[-size[1] :, -size[0] :], mask)


def grey(one):
    return kornia.color.rgb_to_grayscale(torch.from_numpy(one.pixels.copy()).permute(2, 0, 1)[None].float() / 255)


def by_kornia(whole, query, reference):
    """{(x, y, x, y): confidence} of the cells that match."""
    given = {f"image{side}": grey(one) for side, one in enumerate((query, reference))}
    for side, one in enumerate((query, reference)):
        if one.mask is not None:
            given[f"mask{side}"] = torch.from_numpy(one.mask.copy())[None]
    kept = []  # what the coarse stage hands on; the fine one moves it, by half a cell at most
    hook = whole.fine_preprocess.register_forward_pre_hook(lambda _, given: kept.append(given[-1]))
    with torch.inference_mode():
        whole(given)
    hook.remove()
    [coarse] = kept
    return {(*a, *b): c for a, b, c in zip(*(coarse[name].tolist() for name in ("mkpts0_c", "mkpts1_c", "mconf")))}


def by_place(query, reference, found):
    indices, confidence = found
    places = np.hstack((query.keypoints[indices[:, 0]], reference.keypoints[indices[:, 1]]))
    return dict(zip(map(tuple, places.tolist()), confidence.tolist()))


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        (photo(1, 0), photo(1, 0, SMALL)),
        (photo(1, 0, box=(90, 40, 220, 140)), photo(1, 0, SMALL)),
        (photo(1, 0, box=(90, 40, 220, 140)), photo(1, 0, SMALL, (10, 8, 100, 90))),
    ],
    ids=["whole photos", "a mask", "two masks"],
)
def test_the_two_halves_find_what_kornias_whole_finds(halves, whole, query, reference):
    """The same cells, masked ones unseen, those at the edge unmatched; confidences within 0.01, since descriptors are of half precision."""
    extractor, matcher = halves()
    features = [extractor.extract(one) for one in (query, reference)]
    ours = by_place(*features, *in_order(matcher.match(features[0], [features[1]])))
    theirs = by_kornia(whole, query, reference)
    both = ours.keys() & theirs.keys()
    assert len(theirs) > 60
    assert len(both) >= 0.97 * len(ours.keys() | theirs.keys())  # of nearly equal ones another may be the best
    assert np.mean([0.01 < value < 0.99 for value in theirs.values()]) > 0.1
    assert max(abs(ours[pair] - theirs[pair]) for pair in both) < 0.01


def test_a_cells_vector_and_place_are_kornias(halves, whole):
    one = photo(2, 0)
    found = halves()[0].extract(one)
    with torch.inference_mode():
        wanted = whole.extract_features(grey(one))["coarse"][0]
    column, row = (found.keypoints / 8).astype(int).T
    vectors = found.descriptors.astype(np.float32) * found.scores[:, None] + loftr.encoded(torch.tensor(found.keypoints / 8)).numpy()
    assert len(found) == wanted[0].numel() == 29 * 19
    assert np.allclose(vectors, wanted[:, row, column].T, atol=0.01)
    wide = PositionEncodingSine(256, (4, 701), temp_bug_fix=False).pe[0]  # wider than kornia's own table, which grows
    assert torch.allclose(loftr.encoded(torch.tensor([[700.0, 3]]))[0], wide[:, 3, 700], atol=1e-4)


def test_a_cell_lies_in_the_middle_of_what_it_sees(halves):
    """The pixels that change cell (8, 7) of a photo lie around (64, 56) alike on all sides."""
    seen = torch.rand(1, 1, 121, 137, requires_grad=True)
    halves()[0]._map(seen)[0, :, 7, 8].sum().backward()
    rows, columns = torch.nonzero(seen.grad[0, 0], as_tuple=True)
    assert (columns.min() + columns.max(), rows.min() + rows.max()) == (128, 112)
    assert columns.max() < 136


def test_the_longest_vectors_on_the_mask_are_kept(halves):
    one = photo(3, 0, box=(60, 40, 225, 145))
    few, every = halves(60)[0].extract(one), halves()[0].extract(one)
    whole_photo = halves()[0].extract(Photo("a", one.pixels))
    assert (few.kind, few.size, len(few), len(every)) == ("loftr", SIZE, 60, 21 * 14)
    assert one.mask[tuple(every.keypoints.astype(int).T[::-1])].all()
    on_mask = one.mask[tuple(whole_photo.keypoints.astype(int).T[::-1])]
    assert np.array_equal(few.scores, whole_photo.scores[on_mask][:60])
    assert np.array_equal(few.descriptors, every.descriptors[:60])
    assert (np.diff(every.scores) <= 0).all()
    assert np.allclose(np.linalg.norm(few.descriptors.astype(np.float32), axis=1), 1, atol=2e-3)
    assert len(halves()[0].extract(Photo("a", one.pixels, one.mask & False))) == 0


def test_photos_and_pairs_get_together_what_they_get_alone(halves):
    extractor, matcher = halves(300)
    photos = [photo(1, 0, SMALL), photo(2, 1, SMALL, (30, 20, 100, 90)), photo(3, 0, SMALL, (0, 0, 0, 0))]
    together, alone = extractor.extract_all(photos), [extractor.extract(one) for one in photos]
    for a, b in zip(together, alone):
        assert np.array_equal(np.sort(a.keypoints, axis=0), np.sort(b.keypoints, axis=0))
        assert np.allclose(a.scores, b.scores, rtol=1e-4)
    query, *references = alone
    found = in_order(matcher.match(query, [*references, query]))
    for reference, got in zip([*references, query], found):
        [(indices, confidence)] = in_order(matcher.match(query, [reference]))
        assert np.array_equal(got[0], indices) and np.array_equal(got[1], confidence)
    assert [len(indices) > 0 for indices, _ in found] == [True, False, True]
    assert in_order(matcher.match(references[1], [query]))[0][1].shape == (0,)


def test_a_photo_matches_itself_best_of_all(halves):
    extractor, matcher = halves(400)
    own, other = extractor.extract(photo(4, 0)), extractor.extract(photo(5, 0))
    (indices, confidence), (_, of_other) = in_order(matcher.match(own, [own, other]))
    assert np.mean(indices[:, 0] == indices[:, 1]) > 0.99
    assert confidence.sum() > 10 * of_other.sum()
    (_, looked), (_, at_other) = sorted(matcher.coarse(own, [own, other]))
    assert looked > 10 * at_other


def test_an_animal_is_found_through_the_store(whole, animals, tmp_path, monkeypatch):
    """Descriptors are stored at 8 bits and their lengths beside them: the copy of a photo is still the best of the gallery's sixteen."""
    publish(whole, monkeypatch)
    settings = LOFTR.replace(resize=96, segment=False, second_look=0, impostor_pairs=20, max_keypoints=120)
    copy = save(tmp_path / "today" / "copy.png", draw_animal(3, 1))
    with reid.open(animals, settings, cache=tmp_path / "cache") as opened:
        assert opened.identify(copy).rankings[0].candidates[0].identity == "animal-3"
        pipeline = opened.work.first
        stored, fresh = pipeline.load(opened.references[5]), pipeline.extractor.extract(pipeline.prepare(opened.references[5].ref))
    assert np.array_equal(stored.scores, fresh.scores)
    cosines = (stored.descriptors.astype(np.float32) * fresh.descriptors).sum(axis=1)
    assert 0.999 < cosines.min() < 1 - 1e-6


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path))
    for make in (lambda: extractors.create(LOFTR.extract, "cpu"), lambda: matchers.create(LOFTR.extract, LOFTR.match, "cpu")):
        (tmp_path / "loftr.pth").unlink(missing_ok=True)
        with pytest.raises(WeightsError, match="'loftr' are not on this machine; run `reid models fetch loftr`"):
            make()
        torch.save({"state_dict": kornia.feature.HardNet(False).state_dict()}, tmp_path / "loftr.pth")
        with pytest.raises(WeightsError, match=r"not the published file 'loftr'.*delete it and run `reid models fetch loftr`"):
            make()


def test_what_it_cannot_be_joined_with_is_said(call):
    with pytest.raises(SettingsError, match="the matcher loftr compares the cells of --extractor loftr, not the features of sift"):
        matchers.weights_name(ExtractSettings(extractor="sift"), LOFTR.match)
    with pytest.raises(SettingsError, match="no LightGlue for loftr; use --matcher nearest or adalam or loftr, train one"):
        matchers.weights_name(LOFTR.extract, MatchSettings())
    assert (
        matchers.describe(LOFTR.extract, LOFTR.replace(lightglue_weights="none.safetensors").match)["weights"]
        == weights.REGISTRY["loftr"].sha256
    )
    assert matchers.able("loftr") == ["nearest", "adalam", "loftr"]
    assert matchers.able("disk") == ["lightglue", "nearest", "adalam"]
    status, out, _ = call("models")
    assert status == 0
    assert "for the matcher loftr; nearest, adalam, loftr" in out
