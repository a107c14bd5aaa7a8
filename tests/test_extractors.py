"""Every extractor with its real weights on a drawn photo that is not square."""

from functools import cache

import cv2
import kornia.feature
import numpy as np
import pytest
import torch
from conftest import draw_animal

from reid import extractors, weights
from reid.extractors import aliked, cells, keynet, superpoint
from reid.records import Photo
from reid.settings import ExtractSettings

SIZE, SMALL = (327, 217), (209, 161)
FRAMED = ("sift", "glampoints", "dog-hardnet", "dog-sosnet", "keynet-affnet-hardnet")  # their keypoints have scales and angles


def needed(line):
    return [weights.REGISTRY[name] for name in (line.weights, *line.parts) if name]


HERE = [name for name, line in extractors.REGISTRY.items() if all(map(weights.locate, needed(line)))]
LOCAL = [name for name in HERE if not extractors.REGISTRY[name].votes_for]  # the others have one vector a photo, see test_embedding.py


def create(name, max_keypoints=200):
    return extractors.create(ExtractSettings(extractor=name, max_keypoints=max_keypoints), "cpu")


built = cache(create)  # with the weights that are here; what a test changes it creates for itself


@pytest.mark.parametrize("name", LOCAL)
def test_features_keep_the_conventions(name):
    found = built(name).extract(Photo("a", draw_animal(1, 0, SIZE)))
    assert (found.kind, found.size, len(found)) == (name, SIZE, 200)
    assert found.descriptors.shape == (200, extractors.REGISTRY[name].n_dims)
    assert np.allclose(np.linalg.norm(found.descriptors.astype(np.float32), axis=1), 1, atol=2e-3)
    assert (np.diff(found.scores) <= 0).all()
    assert found.keypoints[:, 0].max() > 240 > found.keypoints[:, 1].max()  # x goes along the longer side
    assert (found.scales is not None) == (found.angles is not None) == (name in FRAMED)
    again = create(name).extract(Photo("a", draw_animal(1, 0, SIZE)))
    assert np.array_equal(found.keypoints, again.keypoints)
    assert np.array_equal(found.descriptors, again.descriptors)


@pytest.mark.parametrize("name", [name for name in LOCAL if name != "aliked-n32"])
def test_keypoints_move_with_the_picture(name):
    """Cut 16 px from the left and 32 from the top: the same points, 16 and 32 less, so x is x and y is y."""
    whole = draw_animal(2, 0, SIZE)
    extractor = built(name, 400)
    before = extractor.extract(Photo("a", whole)).keypoints - (16, 32)
    after = extractor.extract(Photo("b", whole[32:, 16:])).keypoints
    inside = after[(after > 24).all(axis=1) & (after < np.array([SIZE[0] - 40, SIZE[1] - 56])).all(axis=1)]
    distance = np.linalg.norm(inside[:, None] - before[None], axis=2).min(axis=1)
    assert np.mean(distance < 1) > 0.6


@pytest.mark.parametrize("name", [name for name in HERE if name in ("aliked-n16", "disk", "sift", "xfeat")])
def test_a_mask_leaves_the_strongest_points_on_the_animal(name):
    pixels = draw_animal(3, 0, SIZE)
    mask = np.zeros(pixels.shape[:2], bool)
    mask[60:180, 120:290] = True
    extractor = built(name, 60)
    found = extractor.extract(Photo("a", pixels, mask))
    assert len(found) == 60
    assert mask[tuple(np.rint(found.keypoints).astype(int).T[::-1])].all()
    everything = built(name, 20000).extract(Photo("a", pixels))
    on_mask = mask[tuple(np.rint(everything.keypoints).astype(int).clip(0, np.array(SIZE) - 1).T[::-1])]
    assert np.allclose(found.scores, everything.scores[on_mask][:60], rtol=1e-4)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("pixels", [np.full((40, 33, 3), 77, np.uint8), np.zeros((64, 200, 3), np.uint8)], ids=["grey", "black"])
def test_a_photo_of_nothing_is_no_mistake(name, pixels):
    found = built(name).extract(Photo("a", pixels))
    assert found.size == (pixels.shape[1], pixels.shape[0])
    assert np.isfinite(found.descriptors).all()


@pytest.mark.parametrize("name", [name for name in HERE if name.startswith(("aliked", "disk", "xfeat"))])  # the others take one at a time
def test_photos_get_together_what_they_get_alone(name):
    mask = np.zeros(SMALL[::-1], bool)
    mask[30:130, 40:170] = True
    photos = [
        Photo("a", draw_animal(1, 0, SMALL)),
        Photo("b", draw_animal(2, 1, SMALL), mask),
        Photo("c", draw_animal(3, 0, SMALL), mask & False),
    ]
    extractor = built(name)
    for photo, together in zip(photos, extractor.extract_all(photos)):
        alone = extractor.extract(photo)
        assert len(alone) == len(together)
        distance = np.linalg.norm(alone.keypoints[:, None] - together.keypoints[None], axis=2)
        same, nearest = distance.min(axis=1, initial=np.inf) < 1e-2, distance.argmin(axis=1) if len(together) else np.zeros(0, int)
        assert len(alone) == 0 or (
            np.mean(same) > 0.98 and photo.image_id in "ab"
        )  # of two points of equal strength either may be the last
        assert np.allclose(alone.descriptors[same], together.descriptors[nearest][same], atol=2e-3)


@pytest.mark.parametrize("name", [name for name in HERE if name.startswith("aliked")])
def test_aliked_equals_kornias(name):
    """The same points to a thousandth of a pixel, the same scores to 1e-4, the same descriptors to half precision."""
    reference = kornia.feature.ALIKED(name, max_num_keypoints=500, detection_threshold=-1).eval()
    reference.load_state_dict(weights.load(name), strict=False)
    pixels = draw_animal(4, 1, SIZE)
    with torch.inference_mode():
        theirs = reference(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)[0]
    ours = built(name, 500).extract(Photo("a", pixels))
    distance = np.linalg.norm(ours.keypoints[:, None] - theirs.keypoints.numpy()[None], axis=2)
    nearest = distance.argmin(axis=1)
    assert len(ours) == len(theirs.keypoints) == 500
    assert np.mean(distance.min(axis=1) < 1e-3) > 0.99  # the last of equal strength may differ
    same = distance.min(axis=1) < 1e-3
    assert np.allclose(ours.scores[same], theirs.keypoint_scores.numpy()[nearest][same], atol=1e-4)
    cosine = (ours.descriptors.astype(np.float32) * theirs.descriptors.numpy()[nearest]).sum(axis=1)
    assert cosine[same].min() > 0.999  # half precision


def test_half_precision_keeps_the_features(monkeypatch):
    """What a GPU computes in float16, forced on the processor here: the same points, nearly the same descriptors."""
    photo = Photo("a", draw_animal(4, 1, SIZE))
    full = built("aliked-n16", 500).extract(photo)
    monkeypatch.setattr(aliked, "half_precision", lambda device: torch.autocast(device, torch.float16))
    half = create("aliked-n16", 500).extract(photo)
    distance = np.linalg.norm(full.keypoints[:, None] - half.keypoints[None], axis=2)
    same = distance.min(axis=1) < 0.5
    cosine = (full.descriptors * half.descriptors[distance.argmin(axis=1)]).sum(axis=1, dtype=np.float32)
    assert not np.array_equal(full.scores, half.scores)  # it was in half precision
    assert same.mean() > 0.98
    assert cosine[same].min() > 0.995


def test_superpoint_is_built_as_its_weights_want(monkeypatch):
    """The file has two equal input channels that hold half a grey kernel each; descriptors are read at the cells' true centres."""
    torch.manual_seed(0)
    state = superpoint.SuperPoint().state_dict()
    kernel = state["backbone.0.0.conv.weight"].clone()
    state["backbone.0.0.conv.weight"] = (kernel / 2).repeat(1, 2, 1, 1)
    monkeypatch.setattr(weights, "load", lambda name, file: state)
    network = superpoint.load_network()
    assert torch.allclose(network.backbone[0][0].conv.weight, kernel)
    logits, [descriptors] = network(torch.rand(1, 1, 24, 40))
    assert superpoint.heatmap(logits).shape == (1, 24, 40)
    assert descriptors.shape == (256, 3, 5)
    centres = torch.tensor([[3.5, 3.5], [11.5, 3.5], [35.5, 19.5]])
    assert torch.allclose(cells.sample(descriptors, centres), descriptors[:, [0, 0, 2], [0, 1, 4]].T, atol=1e-5)


def test_non_maximum_suppression_keeps_peaks_apart():
    scores = torch.rand(80, 60, generator=torch.Generator().manual_seed(1))
    rows, columns = torch.nonzero(cells.local_maxima(scores, 4), as_tuple=True)
    gaps = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    assert len(rows) > 20
    assert gaps[~torch.eye(len(rows), dtype=torch.bool)].min() > 4
    assert scores[rows, columns].mean() > 0.9


@pytest.fixture
def random_weights(monkeypatch):
    """Networks whose weights may not be here, with random ones in the files' own form."""
    torch.manual_seed(0)
    kf = kornia.feature
    shape, turn = kf.LAFAffNetShapeEstimator(False), kf.OriNet(False)
    states = {"xfeat": kf.XFeat().net.state_dict(), "sosnet": kf.SOSNet(False).state_dict()}
    for name, network in (("hardnet", kf.HardNet(False)), ("keynet", kf.KeyNet(False)), ("affnet", shape), ("orinet", turn)):
        states[name] = {"epoch": 9, "state_dict": network.state_dict()}
    monkeypatch.setattr(weights, "load", lambda name: states[name])
    return states


def test_xfeat_equals_kornias_where_a_photo_needs_no_padding(random_weights):
    reference = kornia.feature.XFeat(top_k=300, detection_threshold=0).eval()
    reference.net.load_state_dict(random_weights["xfeat"])
    pixels = draw_animal(4, 1, (480, 320))
    theirs = reference.detectAndCompute(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)[0]
    ours = create("xfeat", 300).extract(Photo("a", pixels))
    distance = np.linalg.norm(ours.keypoints[:, None] - theirs["keypoints"].numpy()[None], axis=2)
    same, nearest = distance.min(axis=1) < 1e-3, distance.argmin(axis=1)
    assert same.mean() > 0.95  # the reliability is read at a pixel's centre here, up to half a pixel beside it there
    assert np.allclose(ours.scores[same], theirs["scores"].numpy()[nearest][same], rtol=0.05)
    cosine = (ours.descriptors.astype(np.float32) * theirs["descriptors"].numpy()[nearest]).sum(axis=1)
    assert cosine[same].min() > 0.97  # bilinearly here, bicubically there


@pytest.mark.parametrize(("name", "network"), [("dog-hardnet", kornia.feature.HardNet), ("dog-sosnet", kornia.feature.SOSNet)])
def test_patches_are_cut_out_and_described_as_kornia_does(random_weights, name, network):
    """The frames by hand: the patch's x axis goes along the keypoint's angle, which OpenCV counts clockwise; half a side is 12 sigma."""
    pixels = draw_animal(4, 1, SIZE)
    ours, sift = (create(one, 80).extract(Photo("a", pixels)) for one in (name, "sift"))
    assert np.array_equal(ours.keypoints, sift.keypoints)
    assert np.array_equal(ours.angles, sift.angles)
    along = np.stack((np.cos(sift.angles), np.sin(sift.angles)), axis=1)
    across = np.stack((-np.sin(sift.angles), np.cos(sift.angles)), axis=1)
    frames = np.stack((6 * sift.scales[:, None] * along, 6 * sift.scales[:, None] * across, sift.keypoints), axis=2)
    reference = network(False).eval()
    state = random_weights[name.removeprefix("dog-")]
    reference.load_state_dict(state.get("state_dict", state))
    grey = torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[None, None].float() / 255
    with torch.inference_mode():
        theirs = kornia.feature.LAFDescriptor(reference)(grey, torch.from_numpy(frames)[None])[0].numpy()
    assert (ours.descriptors.astype(np.float32) * theirs).sum(axis=1).min() > 0.999


def test_patches_turn_with_the_photo(random_weights):
    """On a photo that lies on its side each keypoint has the descriptor that it has upright."""
    pixels = draw_animal(4, 1, SIZE)
    extractor = create("dog-hardnet", 100)
    upright, turned = (extractor.extract(Photo("a", np.ascontiguousarray(photo))) for photo in (pixels, np.rot90(pixels)))
    back = np.stack((SIZE[0] - 1 - turned.keypoints[:, 1], turned.keypoints[:, 0]), axis=1)  # a quarter turn to the left
    gap = (upright.angles[:, None] - turned.angles[None] - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
    same = (np.linalg.norm(upright.keypoints[:, None] - back[None], axis=2) < 1) & (np.abs(gap) < 0.2)
    cosine = upright.descriptors.astype(np.float32) @ turned.descriptors.astype(np.float32).T
    assert same.any(axis=1).mean() > 0.7
    assert np.median(cosine[same]) > 0.95 > 0.8 > np.median(cosine[~same])


def test_keynet_equals_kornias_but_for_where_a_smaller_pictures_pixels_lie(random_weights):
    kf = kornia.feature
    detector = kf.KeyNetDetector(
        False, 300, None, kf.LAFOrienter(angle_detector=kf.OriNet(False)), kf.LAFAffNetShapeEstimator(False, False)
    )
    for network, name in ((detector.model, "keynet"), (detector.aff, "affnet"), (detector.ori.angle_detector, "orinet")):
        network.load_state_dict(random_weights[name]["state_dict"])
    descriptor = kf.HardNet(False)
    descriptor.load_state_dict(random_weights["hardnet"]["state_dict"])
    pixels = draw_animal(4, 1, SIZE)
    grey = kornia.color.rgb_to_grayscale(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    with torch.inference_mode():
        frames, scores, theirs = kf.LocalFeature(detector, kf.LAFDescriptor(descriptor)).eval()(grey)
    ours = create("keynet-affnet-hardnet", 300).extract(Photo("a", pixels))
    assert np.allclose(ours.scores, scores[0, : len(ours)], rtol=1e-5)
    step = ours.scales / keynet.REACH  # pixels of the photo a pixel of the smaller picture
    centres = frames[0, : len(ours), :, 2].numpy() + (step[:, None] - 1) / 2
    level = np.abs(step - 1) < 1e-3  # the photo's own size: there is no difference
    assert np.abs(ours.keypoints - centres).max() < 0.01
    assert 0.2 < level.mean() < 0.9
    assert (ours.descriptors.astype(np.float32) * theirs[0, : len(ours)].numpy()).sum(axis=1)[level].min() > 0.999


def test_keynets_keypoints_lie_where_the_marks_are_whatever_the_pyramid(random_weights):
    """Of blobs, with brightness for a response: the mean error is far below the pixel and a half that it would be at the smallest."""
    blobs = np.array([(90 + 95 * i + 3 * j, 80 + 83 * j + 5 * i) for i in range(5) for j in range(4)], float)
    columns, rows = np.meshgrid(np.arange(640), np.arange(480))
    grey = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 200) for x, y in blobs)
    extractor = create("keynet-affnet-hardnet", 400)
    extractor.detector.model = torch.nn.Identity()
    found = extractor.extract(Photo("a", np.repeat((grey * 250).astype(np.uint8)[..., None], 3, axis=2)))
    steps = found.scales / keynet.REACH
    for step in (2**-0.5, 1, 2**0.5, 2, 2**1.5, 4):
        own = found.keypoints[(np.abs(steps - step) < 0.05 * step) & (found.scores > 0.5)]
        off = own - blobs[np.linalg.norm(own[:, None] - blobs[None], axis=2).argmin(axis=1)]
        assert len(own) > 10
        assert np.abs(off).max() < step
        assert np.abs(off.mean(axis=0)).max() < 0.4


@pytest.mark.parametrize("name", ["dog-hardnet", "dog-sosnet", "keynet-affnet-hardnet"])
def test_patches_of_nothing_and_under_a_mask(random_weights, name):
    extractor = create(name, 40)
    for pixels in (np.zeros((64, 200, 3), np.uint8), np.full((40, 33, 3), 77, np.uint8)):
        found = extractor.extract(Photo("a", pixels))
        assert found.descriptors.shape == (len(found), 128)
        assert name.startswith("keynet") or len(found) == 0
    pixels = draw_animal(3, 0, SIZE)
    mask = np.zeros(pixels.shape[:2], bool)
    mask[40:195, 100:305] = True
    assert len(extractor.extract(Photo("a", pixels, mask & False))) == 0
    found = extractor.extract(Photo("a", pixels, mask))
    assert (found.kind, len(found)) == (name, 40)
    assert mask[tuple(np.rint(found.keypoints).astype(int).T[::-1])].all()
    everything = create(name, 300).extract(Photo("a", pixels))
    on_mask = mask[tuple(np.rint(everything.keypoints).astype(int).clip(0, np.array(SIZE) - 1).T[::-1])]
    assert np.allclose(found.scores, everything.scores[on_mask][:40], rtol=1e-5)


def test_the_digest_of_weights_covers_every_network():
    digest = extractors.weights_digest(ExtractSettings(extractor="keynet-affnet-hardnet"))
    assert digest.split("+") == [weights.REGISTRY[name].sha256 for name in ("keynet", "affnet", "orinet", "hardnet")]
