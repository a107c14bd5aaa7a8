"""LightGlue's training: ground truth and loss by hand, the trained network against the one that matches, runs that learn and go on."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from reid import extractors
from reid.errors import SettingsError
from reid.evaluation import metrics
from reid.imaging import warps
from reid.matchers.lightglue_layers import Shape
from reid.matchers.lightglue_network import LightGlue
from reid.records import Features
from reid.settings import ExtractSettings
from reid.training import lightglue, loop
from reid.training.lightglue import Network, batch
from reid.training.photos import Crops
from reid.training.truth import IGNORED, UNMATCHED, Pair, Warped, truth

TINY = Shape(32, 2, 3)
MOVE = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])  # takes (x, y) to (x + 10, y)


class Corners(extractors.Extractor):
    """Features that cost nothing: pixels brighter than their neighbours, described by what is around them."""

    name = "corners"

    def extract(self, photo):
        light = photo.pixels[:, :, 0].astype(np.float32)
        around = np.stack([np.roll(light, (-dy, -dx), (0, 1)) for dy in (-4, 0, 4) for dx in (-4, 0, 4)], axis=2)
        rows, columns = np.nonzero(light >= np.stack([np.roll(light, s, (0, 1)) for s in ((0, 1), (1, 0), (0, -1), (-1, 0))]).max(0))
        chosen = np.argsort(-light[rows, columns], kind="stable")[:40]
        rows, columns = rows[chosen], columns[chosen]
        described = around[rows, columns] - 128
        described /= np.linalg.norm(described, axis=1, keepdims=True) + 1e-6
        return Features("corners", photo.size, np.stack((columns, rows), axis=1), light[rows, columns], described)


@pytest.fixture
def pairs(refs):
    return lightglue.Pairs(Crops(refs, 120, seed=3), Corners(), warps.Strength(rotation=0.5))


def random_features(n, seed, n_dims=9, size=(471, 313)):
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(n, n_dims))
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    return Features("test", size, rng.random((n, 2)) * (np.array(size) - 1), rng.random(n), described)


def test_ground_truth_by_hand():
    first = np.array([[5, 5], [20, 5], [22, 5], [40, 40], [95, 5], [60, 60]])
    second = np.array([[16, 5], [31, 5], [52.5, 42], [70, 63.5]])
    own, others = truth(first, second, MOVE)
    #       (15, 5): 1 px away, theirs | (30, 5): theirs | (32, 5): 1 px from it, too, but not the nearest of it by order | (50, 40): 3.2 px
    assert own.tolist() == [0, 1, IGNORED, UNMATCHED, UNMATCHED, UNMATCHED]  # (105, 5) leaves a view of 100 px; (70, 60): 3.5 px
    assert others.tolist() == [0, 1, UNMATCHED, UNMATCHED]


def test_ground_truth_is_measured_both_ways():
    """Under a magnification by two a keypoint 4 px off in the second photo is 2 px off in the first: no partner there, ignored here."""
    double = np.diag([2.0, 2.0, 1.0])
    own, others = truth(np.array([[10, 10]]), np.array([[24, 20]]), double)
    assert (own.tolist(), others.tolist()) == ([UNMATCHED], [IGNORED])
    own, others = truth(np.array([[10, 10]]), np.array([[22, 20]]), double)
    assert (own.tolist(), others.tolist()) == ([0], [0])


def test_without_a_keypoint_in_one_photo_none_has_a_partner():
    own, others = truth(np.zeros((0, 2)), np.ones((3, 2)), MOVE)
    assert own.tolist() == [] and others.tolist() == [UNMATCHED] * 3


def test_views_lie_inside_their_crop_and_pairs_repeat(pairs):
    rng = np.random.default_rng(0)
    for _ in range(20):
        way = lightglue.place_inside(warps.sample(rng, (96, 96), warps.Strength(rotation=0.8)), (96, 96), 120, rng)
        assert warps.valid(way, (120, 120), (96, 96)).mean() > 0.999
    one, again = pairs.pair(7), lightglue.Pairs(pairs.crops, Corners(), pairs.strength).pair(7)
    assert np.array_equal(one.features[0].keypoints, again.features[0].keypoints) and np.array_equal(one.partners[1], again.partners[1])
    assert not np.array_equal(one.homography, pairs.pair(7 + lightglue.TOGETHER).homography)
    matched = one.partners[0] >= 0
    rows = one.partners[0][matched]
    assert matched.any() and (one.partners[1][rows] == np.flatnonzero(matched)).all()
    assert metrics.correct(one.features[0].keypoints[matched], one.features[1].keypoints[rows], one.homography).all()


def test_a_crop_is_described_as_often_as_it_has_views(pairs, monkeypatch):
    seen = []
    described = pairs.extractor.extract
    monkeypatch.setattr(pairs.extractor, "extract", lambda photo: seen.append(photo.image_id) or described(photo))
    monkeypatch.setattr(lightglue, "TOGETHER", 4)
    for number in range(4 * len(lightglue.COUPLES)):
        pairs.pair(number)
    assert len(seen) == len(set(seen)) <= 7 * lightglue.VIEWS
    assert {name.partition("-")[0] for name in seen} == set("0123567")  # crop 0 has its whole turn, 1 to 3 hand over on the way


def outputs(similarity, matchable, sure=0.0):
    """Of one pair with two points a photo and two alike layers, such that the products of what is compared are `similarity`."""
    compared = torch.cat((torch.eye(2)[None], torch.tensor(similarity).T[None]))
    logits = torch.tensor(matchable)
    return torch.stack((compared, compared)), torch.stack((logits, logits)), torch.full((1, 2, 2), sure)


def test_the_loss_by_hand():
    """Point 0 matches point 0; point 1 of the first photo matches nothing, point 1 of the second is ignored."""
    similarity, z = [[2.0, 0.5], [0.0, 1.0]], [[1.0, -1.0], [0.5, 3.0]]
    present, partners = torch.ones((2, 2), dtype=torch.bool), torch.tensor([[0, UNMATCHED], [0, IGNORED]])
    found = lightglue.loss(outputs(similarity, z), present, partners)
    s, sigmoid = np.array(similarity), lambda x: 1 / (1 + np.exp(-np.array(x)))
    p = np.exp(s) / np.exp(s).sum(1, keepdims=True) * np.exp(s) / np.exp(s).sum(0) * np.outer(sigmoid(z[0]), sigmoid(z[1]))
    wanted = 0.5 * -np.log(p[0, 0]) + 0.5 * -np.log(sigmoid(1.0))  # one positive, one negative: 1 - sigmoid(-1)
    assert float(found["assignment"]) == float(found["last"]) == pytest.approx(wanted, abs=1e-5)
    assert float(found["confidence"]) == pytest.approx(np.log(2), abs=1e-5)  # both layers give the same, and nobody is sure
    assert float(found["loss"]) == pytest.approx(wanted + np.log(2), abs=1e-5)
    assert float(lightglue.loss(outputs(similarity, z, 3.0), present, partners)["confidence"]) == pytest.approx(np.log1p(np.exp(-3)))


def test_a_layer_that_assigns_otherwise_than_the_last_should_not_be_sure():
    compared, logits, sure = outputs([[4.0, 0.0], [0.0, 4.0]], [[3.0, 3.0], [3.0, 3.0]], 2.0)
    logits[0, 0, 1] = -5  # the first layer thinks that a point has no match, which leaves the other's row without one
    found = lightglue.loss((compared, logits, sure), torch.ones((2, 2), dtype=torch.bool), torch.tensor([[0, 1], [0, 1]]))
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    assert float(found["confidence"]) == pytest.approx((2 * right + 2 * wrong) / 4, abs=1e-5)


def outspoken(with_scale_and_angle):
    """A network whose every part has a say."""
    torch.manual_seed(1)
    network = Network(9, with_scale_and_angle, TINY)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


def test_padding_changes_nothing():
    network = outspoken(False)
    many, few = (
        Pair((random_features(a, a), random_features(b, b)), (np.arange(a) % 3 - 1, np.arange(b) % 3 - 1)) for a, b in ((30, 25), (12, 17))
    )
    empty = Pair((random_features(0, 0), random_features(5, 1)), (np.zeros(0, int), np.full(5, UNMATCHED)))
    device = torch.device("cpu")

    def judged(*chosen):
        *inputs, partners = batch(chosen, False, device)
        return lightglue.loss(network(*inputs), inputs[2], partners)

    alone = [judged(one) for one in (many, few, empty)]
    for name, value in judged(many, few, empty).items():
        assert float(value.detach()) == pytest.approx(sum(float(one[name].detach()) for one in alone) / 3, abs=1e-4)
    judged(many, few, empty)["loss"].backward()
    assert all(value.grad.isfinite().all() for value in network.parameters())


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("with_scale_and_angle", [False, True])
def test_the_network_that_is_trained_matches_as_the_one_that_is_used(with_scale_and_angle, bfloat16):
    network = outspoken(with_scale_and_angle)
    a = random_features(40, 0)
    b = replace(a, keypoints=a.keypoints[:6:-1], scores=a.scores[:6:-1], descriptors=a.descriptors[:6:-1])
    if with_scale_and_angle:
        a = replace(a, scales=np.linspace(1, 4, 40), angles=np.linspace(0, 6, 40))
        b = replace(b, scales=a.scales[:6:-1], angles=a.angles[:6:-1])
    inputs = batch([Pair((a, b), truth(a.keypoints, b.keypoints, np.eye(3)))], with_scale_and_angle, torch.device("cpu"))[:3]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        compared, matchable, _ = (value.float() for value in network(*inputs))
    used = LightGlue.of(network.state_dict(), 9)
    assert used.shape == replace(TINY, projects=True)
    encoded, other = used.encode([a, b])
    for n_layers in (1, 2, 3):
        own, others = compared[n_layers - 1]
        similarity = own[: len(a)] @ others[: len(b)].T
        z = matchable[n_layers - 1].sigmoid()
        assignment = similarity.softmax(1) * similarity.softmax(0) * z[0, : len(a), None] * z[1, None, : len(b)]
        [(_, (indices, confidence))] = used.match(encoded, [other], n_layers=n_layers)
        rows, columns = indices.T
        if bfloat16:
            assert np.corrcoef(assignment[rows, columns].numpy(), confidence)[0, 1] > 0.99
            continue
        assert len(rows) and np.allclose(assignment[rows, columns].numpy(), confidence, atol=1e-5)
        mutual = (assignment == assignment.max(1, keepdim=True).values) & (assignment == assignment.max(0).values)
        assert np.argwhere(mutual.numpy()).tolist() == indices.tolist()


def make(refs, steps):
    torch.manual_seed(0)
    network = Network(9, shape=TINY)
    learned, others = (lightglue.Pairs(Crops(refs, 120, seed), Corners(), warps.Strength(rotation=0.2)) for seed in (3, 4))
    about = {"extractor": "corners", "extractor_weights": None}
    return lightglue.task(network, learned, [others.pair(n) for n in range(4)], about), loop.Plan(steps, batch=4, every=5, rate=2e-3)


def run(refs, out, steps, resume=False, stop=None):
    def progress(step, steps):
        if step == stop:
            raise KeyboardInterrupt

    return loop.train(*make(refs, steps), out, resume, progress)


def test_ten_steps_lower_the_loss_and_a_killed_run_ends_as_if_it_had_not_been(refs, tmp_path):
    task, _ = make(refs, 10)

    def loss():
        *inputs, partners = batch([task.pair(n) for n in range(16)], False, torch.device("cpu"))
        with torch.no_grad():
            return float(lightglue.loss(task.network(*inputs), inputs[2], partners)["assignment"])

    before = loss()
    whole, _ = run(refs, tmp_path / "whole", 10)
    task.network.load_state_dict(torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)["network"])
    assert loss() < before - 0.2
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "5", "10"] and {"val_accuracy", "val_recall", "confidence"} <= rows[0].keys()
    with pytest.raises(KeyboardInterrupt):
        run(refs, tmp_path / "cut", 10, stop=7)
    again, _ = run(refs, tmp_path / "cut", 10, resume=True)
    assert again.read_bytes() == whole.read_bytes()
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_validation_counts_by_hand(monkeypatch):
    """Of five matches one is too weak, one of the others wrong; of four true ones three are found."""
    points = np.arange(10).reshape(5, 2) * 20.0
    one = Features("test", (300, 300), points, np.ones(5), np.eye(5))
    pair = Warped((one, one), truth(points, points, np.eye(3)), np.eye(3))
    pair.partners[0][4] = IGNORED
    confidence = np.array([0.9, 0.8, 0.5, 0.3, 0.05], np.float32)
    indices = np.array([[0, 0], [1, 1], [2, 2], [3, 4], [4, 3]], np.int32)
    monkeypatch.setattr(LightGlue, "match", lambda self, query, references: iter([(0, (indices, confidence))]))
    assert lightglue.validate(Network(5, shape=TINY), [pair]) == {"accuracy": 0.75, "recall": 0.75, "score": pytest.approx(0.75)}


def test_a_projection_is_fitted_as_ridge_regression():
    """Against scikit-learn, whose penalty is on the sum where ours is on the mean of the squares."""
    rng = np.random.default_rng(0)
    given, wanted = rng.normal(2, 1, (200, 5)), rng.normal(size=(200, 3))
    weight, bias = lightglue.fit(given, wanted)
    penalty = lightglue.RIDGE * np.cov(given.T, bias=True).trace() / 5 * 200
    theirs = Ridge(alpha=penalty).fit(given, wanted)
    assert np.allclose(weight, theirs.coef_) and np.allclose(bias, theirs.intercept_)
    assert np.allclose(lightglue.fit(given, 3 * given[:, :2] + 1)[0], 3 * np.eye(5)[:2], atol=0.01)


class Moved(Corners):
    """The same corners half a pixel off, described by other words for the same; those at the left are missing."""

    def __init__(self, words):
        self.words = words

    def extract(self, photo):
        found = super().extract(photo)
        right = found.keypoints[:, 0] > 30
        return replace(
            found, keypoints=found.keypoints[right] + 0.5, scores=found.scores[right], descriptors=found.descriptors[right] @ self.words
        )


def test_it_begins_with_the_lightglue_of_another_extractor(refs, monkeypatch):
    """Whose descriptors are ours, turned: behind the projection the network says of ours what it said of those. Its layers do not learn."""
    monkeypatch.setattr(lightglue, "N_FITTED", 12)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0]
    monkeypatch.setattr(extractors, "create", lambda settings, device: Moved(turn) if settings.extractor == "disk" else Corners())
    torch.manual_seed(0)
    published = Network(9, shape=TINY)
    state = {name: value.detach() for name, value in published.state_dict().items()}
    monkeypatch.setattr(lightglue.weights, "load", lambda name: {"disk-lightglue": state}[name])
    begun = lightglue.adapted("disk", ExtractSettings(extractor="xfeat"), Crops(refs, 120, seed=3), "cpu")
    own = torch.tensor(random_features(30, 1).descriptors).float()
    assert torch.allclose(begun.input_proj(own), published.input_proj(own @ torch.from_numpy(turn).float()), atol=0.02)
    learning = {name.split(".")[0] for name, value in begun.named_parameters() if value.requires_grad}
    assert learning == {"input_proj", "posenc", "log_assignment", "token_confidence"}
    assert all(torch.equal(value, state[name]) for name, value in begun.state_dict().items() if not name.startswith("input_proj"))


def test_it_begins_with_no_lightglue_that_cannot_serve(refs, monkeypatch):
    crops, settings = Crops(refs, 120, seed=3), ExtractSettings(extractor="xfeat")
    with pytest.raises(SettingsError, match="no LightGlue for aliked-t16 to begin with; name an extractor that has one"):
        lightglue.adapted("aliked-t16", settings, crops, "cpu")
    state = Network(9, True, TINY).state_dict()
    monkeypatch.setattr(lightglue.weights, "load", lambda name: state)
    with pytest.raises(SettingsError, match="LightGlue of sift needs scales and angles"):
        lightglue.adapted("sift", settings, crops, "cpu")
    state = Network(9, shape=TINY).state_dict()
    monkeypatch.setattr(extractors, "create", lambda settings, device: Corners() if settings.extractor == "disk" else Moved(0 * np.eye(9)))
    monkeypatch.setattr(lightglue, "N_FITTED", 1)
    monkeypatch.setattr(lightglue, "SAME", 0.1)
    with pytest.raises(SettingsError, match=r"xfeat and disk find too few keypoints in common \(0\)"):
        lightglue.adapted("disk", settings, crops, "cpu")
