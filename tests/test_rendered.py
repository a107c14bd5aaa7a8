"""Rendered animals: the skin says what is the same, two individuals share nothing, a seed draws the same again, LightGlue learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import draw_animal, save
from safetensors import safe_open
from torch import nn

from reid import extractors, matchers
from reid.errors import SettingsError
from reid.records import Features, PhotoRef
from reid.settings import ExtractSettings, MatchSettings
from reid.training import Choices, method
from reid.training.lightglue import Network, batch
from reid.training.loop import Plan, train
from reid.training.rendered import low_rank, partners, surfaces
from reid.training.rendered import train as rendered
from reid.training.rendered.conditions import Pictures
from reid.training.rendered.partners import Species
from reid.training.rendered.scenes import Scenes, View, painted
from reid.training.run import train as run
from reid.training.truth import IGNORED, UNMATCHED

SIDE = 192


@pytest.fixture
def few(monkeypatch):
    """Species of six photos."""
    for name, value in {"INDIVIDUALS": 2, "VIEWS": 3, "IMPOSTORS": 6, "N_COUPLES": 12, "N_SPECIES": 2, "TOGETHER": 2}.items():
        monkeypatch.setattr(partners, name, value)


@pytest.fixture
def scenes():
    return Scenes(Pictures([]), SIDE, seed=5)


class Grid(extractors.Extractor):
    """Features that cost nothing: a keypoint every 8 px, described by the colours about it."""

    name = "aliked-n16"

    def extract(self, photo):
        width, height = photo.size
        x, y = (one.ravel() for one in np.meshgrid(np.arange(4, width - 4, 8), np.arange(4, height - 4, 8)))
        if photo.mask is not None:
            x, y = (one[photo.mask[y, x]] for one in (x, y))
        around = np.concatenate([photo.pixels[y + dy, x + dx] for dy in (-3, 0, 3) for dx in (-3, 0, 3)], axis=1).astype(np.float32)
        around -= around.mean(axis=1, keepdims=True)
        around /= np.linalg.norm(around, axis=1, keepdims=True) + 1e-6
        return Features(self.name, photo.size, np.stack((x, y), axis=1), np.ones(len(x)), np.pad(around, ((0, 0), (0, 101))))


class Mute(extractors.Extractor):
    """What is stored is not described again."""

    name = "aliked-n16"

    def extract(self, photo):
        raise AssertionError


def seen(kind, azimuth, seed=1, size=(200, 150), bend=0.6):
    """A body of this kind, turned, bent as the azimuth's own generator says."""
    body = surfaces.body(np.random.default_rng(seed), kind)
    vertices = surfaces.posed(body, np.random.default_rng((seed, round(100 * azimuth))), bend)
    return surfaces.render(surfaces.turned(vertices, azimuth, 0.3, 0.1), size, 3.0, 170.0, (100.0, 75.0))


def colours(size=(400, 600)):
    """A coat whose colours are its places: u, and the two coordinates of v on a circle."""
    v, u = np.meshgrid(np.arange(size[0]) / size[0], np.linspace(0, 1, size[1]), indexing="ij")
    return np.stack((u, 0.5 + 0.5 * np.cos(2 * np.pi * v), 0.5 + 0.5 * np.sin(2 * np.pi * v)), axis=2).astype(np.float32)


@pytest.mark.parametrize("kind", surfaces.KINDS)
def test_a_spot_of_skin_has_the_same_colour_in_two_views(kind):
    first, second = seen(kind, 0.1), seen(kind, 0.7)
    pictures = [painted(colours(), one) for one in (first, second)]
    rows, columns = np.nonzero(np.isfinite(first.depth))
    points = np.stack((columns, rows), axis=1)
    there = second.project(first.places(points))
    shown = np.isfinite(there).all(axis=1)
    assert 0.3 < shown.mean() < 1
    assert np.nanmean(first.normals[..., 2]) < -0.3 and np.nanmean(first.depth[np.isfinite(first.depth)]) < 3  # the near side
    x, y = np.rint(there[shown]).astype(int).clip(0, (199, 149)).T
    apart = np.abs(pictures[0][rows[shown], columns[shown]] - pictures[1][y, x]).max(axis=1)
    assert np.isfinite(apart).mean() > 0.95  # a pixel beside the outline has no colour
    assert np.nanmedian(apart) < 0.01 and np.nanquantile(apart, 0.95) < 0.12  # one at the outline spans much of the skin


def test_skin_that_is_turned_away_or_covered_or_outside_is_not_seen():
    one, behind = seen("head", 0.0, bend=0), seen("head", np.pi, bend=0)
    places = one.places(np.argwhere(np.isfinite(one.depth))[:, ::-1])
    assert np.isinf(behind.project(places)).all(axis=1).mean() > 0.85
    assert np.isfinite(one.project(places)).all(axis=1).mean() > 0.95
    half = np.zeros(one.depth.shape, bool)
    half[:, 100:] = True
    hidden = one.covered(half)
    points = one.project(places)
    right = points[:, 0] > 101
    assert np.isinf(hidden.project(places)[right]).all() and np.isfinite(hidden.project(places)[points[:, 0] < 99]).all()
    assert np.isnan(hidden.places(np.array([[150, 75]]))).all() and np.isinf(one.project(np.full((1, 2), np.nan))).all()
    aside = surfaces.Seen(one.uv, one.depth, one.normals, one.vertices + np.array([1000, 0, 0], np.float32))
    assert np.isinf(aside.project(places)).all()


def test_of_two_sheets_the_nearer_is_seen_and_values_are_interpolated():
    y, x = np.meshgrid(np.arange(0, 41, 4.0), np.arange(40, -1, -4.0), indexing="ij")  # as skin is seen from outside
    values = np.stack((x, y), axis=2).astype(np.float32)
    near, far = (np.stack((x + 3, y + 3, np.full(x.shape, z)), axis=2).astype(np.float32) for z in (1.0, 2.0))
    depth, found = surfaces.raster(near, values, (50, 60))
    assert depth.shape == (60, 50) and found.shape == (60, 50, 2)
    assert np.allclose(found[10, 20], (17, 7), atol=1e-3) and depth[10, 20] == 1
    assert np.isnan(found[2, 2]).all() and np.isinf(depth[2, 2]) and np.isfinite(depth[3:44, 3:44]).all()
    inside, _ = surfaces.raster(near[:, ::-1], values, (50, 60))  # seen from behind
    assert np.isinf(inside).all()
    folded = np.concatenate((far, near[::-1], near))  # on, back, and on again: the middle sheet turns its back
    depth, _ = surfaces.raster(folded, np.zeros((*folded.shape[:2], 1), np.float32), (50, 60))
    assert np.allclose(depth[10, 20], 1)


def test_a_seed_and_a_number_draw_one_photo(scenes):
    one, again = scenes.view(2, 1, 0), Scenes(Pictures([]), SIDE, seed=5).view(2, 1, 0)
    assert np.array_equal(one.pixels, again.pixels) and np.array_equal(one.seen.uv, again.seen.uv, equal_nan=True)
    assert max(one.pixels.shape[:2]) == SIDE and one.pixels.shape[:2] == one.seen.depth.shape
    others = scenes.view(2, 1, 1), scenes.view(2, 2, 0), scenes.view(3, 1, 0), Scenes(Pictures([]), SIDE, seed=6).view(2, 1, 0)
    assert all(other.pixels.shape != one.pixels.shape or not np.array_equal(other.pixels, one.pixels) for other in others)


def test_individuals_share_the_kind_of_their_coat_and_not_the_marks(scenes):
    for species in range(3):
        a, b, c = (scenes._painted(species, i) for i in (0, 1, 0))
        assert np.array_equal(a, c) and a.shape == b.shape and not np.array_equal(a, b)
        assert np.abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))).max() < 0.15


def test_partners_lie_on_the_same_skin_and_two_individuals_have_none(few, scenes, tmp_path):
    species = Species(scenes, Grid(), tmp_path)
    couples = species.of(0)
    assert len(couples) == partners.N_COUPLES and sum(one.same for one in couples) == partners.N_COUPLES - partners.IMPOSTORS
    assert all((rows == UNMATCHED).all() for one in couples if not one.same for rows in one.partners)
    n_partners = [int((one.partners[0] >= 0).sum()) for one in couples if one.same]
    assert np.median(n_partners) > 3
    for one in couples:
        own, others = one.partners
        rows = np.flatnonzero(own >= 0)
        assert (others[own[rows]] == rows).all() and set(own[own < 0]) <= {UNMATCHED, IGNORED}
    described = [(len(features), features.size) for one in couples for features in one.features]
    grids = sum(len(range(4, width - 4, 8)) * len(range(4, height - 4, 8)) for _, (width, height) in described)
    assert 0 < sum(n for n, _ in described) < 0.95 * grids  # what lies beside the animal is not described
    again = Species(scenes, Mute(), tmp_path).of(0)
    for one, other in zip(couples, again):
        assert one.same == other.same and all(np.array_equal(a, b) for a, b in zip(one.partners, other.partners))
        assert all(np.array_equal(a.descriptors, b.descriptors) for a, b in zip(one.features, other.features))


class Turned(Grid):
    """With scales and angles, as SIFT's features are."""

    def extract(self, photo):
        found = super().extract(photo)
        return replace(found, scales=found.keypoints[:, 0] + 1, angles=found.keypoints[:, 1] / 100)


def test_scales_and_angles_are_kept_where_the_extractor_has_them(few, scenes, tmp_path):
    couples = Species(scenes, Turned(), tmp_path).of(0)
    for features in (features for one in couples for features in one.features):
        assert np.array_equal(features.scales, features.keypoints[:, 0] + 1)
        assert np.array_equal(features.angles, features.keypoints[:, 1] / 100)
    _, points, present, _ = batch(couples, True, torch.device("cpu"))
    assert points.shape[2] == 4 and (points[present][:, 2] >= 1).all()


def test_partners_by_hand(scenes):
    """A photo and itself, moved by whole pixels: each keypoint of the animal is its own partner, those beside it have none."""
    view = scenes.view(1, 0, 0)
    view = View(view.pixels, view.seen, SIDE)
    points = np.argwhere(np.ones(view.seen.depth.shape))[::97, ::-1].astype(np.float32)
    one = Features("x", view.pixels.shape[1::-1], points, np.ones(len(points)), np.ones((len(points), 1)))
    own, others = partners.partners(one, one, (view, view))
    on_skin = ~np.isnan(view.seen.places(points)[:, 0])
    assert (own[~on_skin] == UNMATCHED).all() and on_skin.any()
    assert (own[on_skin] == np.flatnonzero(on_skin)).mean() > 0.95 and np.array_equal(own, others)
    none = Features("x", one.size, points[:0], np.ones(0), np.ones((0, 1)))
    own, others = partners.partners(one, none, (view, view))
    assert (own == UNMATCHED).all() and not len(others)


def test_low_rank_updates_are_merged_as_the_product_says():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1), nn.Linear(1, 3, bias=False))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = torch.randn(7, 6)
    wanted = network(given)
    low_rank.attach(network, rank=2)
    assert torch.equal(network(given), wanted)  # nothing is added at first
    learned = [name for name, value in network.named_parameters() if value.requires_grad]
    assert len(learned) == 4 and all(name.endswith((".up", ".down")) for name in learned)
    update = network[0].parametrizations.weight[0]
    with torch.no_grad():
        update.up.normal_()
    merged = low_rank.merged(network)
    assert set(merged) == set(before)
    assert torch.allclose(merged["0.weight"], before["0.weight"] + update.up @ update.down, atol=1e-6)
    assert torch.linalg.matrix_rank(merged["0.weight"] - before["0.weight"]) == 2
    assert all(torch.equal(merged[name], before[name]) for name in before if name != "0.weight")


def test_not_every_network_learns_from_rendered_animals(tmp_path):
    save(tmp_path / "a.png", draw_animal(0, 0, (160, 120)))
    assert method("lightglue", rendered=True).begin == "shipped"
    with pytest.raises(SettingsError, match="superpoint does not learn from rendered animals; these do: goodpoint, lightglue"):
        run("superpoint", tmp_path, tmp_path / "out", rendered=True)
    with pytest.raises(SettingsError, match="whose features"):
        run("lightglue", tmp_path, tmp_path / "out", rendered=True)


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_the_file_matches(few, tmp_path, monkeypatch):
    for name, value in {"N_SPECIES": 1, "N_WARPED": 2, "N_KEYPOINTS": 128}.items():
        monkeypatch.setattr(rendered, name, value)
    refs = [PhotoRef(f"{n}", save(tmp_path / f"{n}.png", draw_animal(n, 0, (500, 420)))) for n in range(2)]
    plan = Plan(12, 8, 1e-3, every=6)
    [task] = rendered.stages(refs, refs, Choices(256, 30.0, 0, "shipped", "aliked-n16"), plan, tmp_path / "out", lambda *done: None)
    file, best = train(task, plan, tmp_path / "out", False, lambda *done: None)
    rows = [line.split(",") for line in (tmp_path / "out/log.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("loss")]) for row in rows[2:]]
    assert losses[-1] < losses[0] and 0 <= best["score"] <= 1
    with safe_open(file, "pt") as stored:
        assert set(stored.keys()) == set(Network(128, shape=task.network.shape).state_dict())
        assert json.loads(stored.metadata()["card"])["rank"] == low_rank.RANK
    settings = ExtractSettings(max_keypoints=64)
    matcher = matchers.create(settings, replace(MatchSettings(), lightglue_weights=str(file)), "cpu")
    [one] = task.pair(1).features[:1]
    [(_, (indices, _))] = matcher.match(one, [one])
    assert len(indices) > 10
