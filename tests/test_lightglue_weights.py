"""Files of LightGlue's weights: one's own and those that ship, which features they serve, and what a training begins with."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import random_features
from safetensors.torch import save_file

from reid import extractors, matchers, training, weights
from reid import imaging as images
from reid.errors import SettingsError, WeightsError
from reid.evaluation import metrics
from reid.imaging import warps
from reid.matchers.lightglue_layers import Shape, renamed
from reid.matchers.lightglue_network import LightGlue
from reid.settings import ExtractSettings, MatchSettings, Settings
from reid.training import lightglue
from reid.training.lightglue import Network

TINY = Shape(32, 2, 3)


def trained(file, card, n_dims=64, shape=TINY):
    torch.manual_seed(0)
    save_file({name: value.detach() for name, value in Network(n_dims, shape=shape).state_dict().items()}, file, {"card": json.dumps(card)})
    return Settings.of(extractor="aliked-t16", lightglue_weights=str(file), max_keypoints=64)


def weights_name(settings):
    return matchers.weights_name(settings.extract, settings.match)


def test_a_trained_file_is_used_where_there_was_no_lightglue(tmp_path):
    settings = trained(tmp_path / "own.safetensors", own_card("aliked-t16"))
    assert weights_name(settings) == "lightglue"
    matcher = matchers.create(settings.extract, settings.match, "cpu")
    assert matcher.network.shape == replace(TINY, projects=True) and matchers.n_finalists(settings.extract, settings.match) == 48
    references = [random_features(n, 64, n) for n in (30, 20)]
    assert sorted(place for place, _ in matcher.match(references[0], references)) == [0, 1]


def own_card(extractor):
    return {
        "network": "lightglue",
        "extractor": extractor,
        "extractor_weights": extractors.weights_digest(ExtractSettings(extractor=extractor)),
    }


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"network": "goodpoint"}, "holds weights of goodpoint, not of lightglue"),
        (own_card("disk"), "was trained for disk, not for aliked-t16"),
        (own_card("aliked-t16") | {"extractor_weights": "0" * 64}, "was trained for other weights of aliked-t16"),
    ],
)
def test_a_file_for_other_features_is_refused(tmp_path, card, message):
    with pytest.raises(SettingsError, match=message) as caught:
        weights_name(trained(tmp_path / "own.safetensors", card))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path):
    settings = trained(tmp_path / "own.safetensors", own_card("aliked-t16"), n_dims=128)
    with pytest.raises(WeightsError, match=r"own\.safetensors: these are no weights of this LightGlue"):
        matchers.create(settings.extract, settings.match, "cpu")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        weights_name(settings.replace(lightglue_weights=str(tmp_path / "none.safetensors")))


def test_a_training_begins_with_weights_of_its_own_or_says_what_it_lacks(refs, tmp_path, monkeypatch):
    monkeypatch.setattr(lightglue, "N_HELD_OUT", 1)
    trained(tmp_path / "own.safetensors", own_card("aliked-t16"))

    def create(**changes):
        return training.create("lightglue", refs, refs, training.Choices(**{"side": 96, "rotation": 30.0, "seed": 0} | changes))

    task = create(begin=str(tmp_path / "own.safetensors"), extractor="aliked-t16")
    assert (task.network.shape, task.about["heads"], task.about["extractor"]) == (replace(TINY, projects=True), 2, "aliked-t16")
    assert task.about["extractor_weights"] == own_card("aliked-t16")["extractor_weights"]
    assert create(begin="scratch", extractor="sift").network.with_scale_and_angle
    shipped = create(begin="shipped", extractor="aliked-n16").network
    assert shipped.shape == Shape(projects=True)
    with pytest.raises(SettingsError, match=r"whose features .* --extractor goodpoint"):
        create(begin="scratch")
    with pytest.raises(SettingsError, match="no LightGlue for aliked-t16 to begin with"):
        create(begin="shipped", extractor="aliked-t16")
    with pytest.raises(WeightsError, match="holds no LightGlue for sift"):
        create(begin=str(tmp_path / "own.safetensors"), extractor="sift")
    with pytest.raises(SettingsError, match="aliked-t16 takes no weights of one's own"):
        create(begin="scratch", extractor="aliked-t16", weights="x.safetensors")


def test_a_network_projects_where_its_file_does():
    """Descriptors as wide as the state go in as they are, unless the file has a projection for them."""
    shape = Shape(32, 2, 3, projects=True)
    state = Network(32, shape=shape).state_dict()
    assert Shape.of(state) == shape and isinstance(LightGlue.of(state, 32).input_proj, torch.nn.Linear)
    assert isinstance(LightGlue.of(Network(32, shape=TINY).state_dict(), 32).input_proj, torch.nn.Identity)


def test_goodpoints_lightglue_stands_on_alikeds(refs):
    """It ships without the layers that it shares, and matches a photo with its turned view, better than nothing learned does."""
    state, base = weights.load("goodpoint-lightglue"), renamed(weights.load("aliked-lightglue"))
    own = weights.card(weights.locate(weights.REGISTRY["goodpoint-lightglue"]))
    settings = ExtractSettings(extractor="goodpoint", max_keypoints=256)
    assert (own["base"], own["extractor_weights"]) == ("aliked-lightglue", extractors.weights_digest(settings))
    whole = renamed(state)
    shared = [name for name in base if name.startswith("transformers.")]
    assert shared and all(torch.equal(whole[name], base[name]) for name in shared)
    assert whole["input_proj.weight"].shape == (256, 256) and not torch.equal(
        whole["log_assignment.8.final_proj.weight"], base["log_assignment.8.final_proj.weight"]
    )
    extractor, matcher = extractors.create(settings, "cpu"), matchers.create(settings, MatchSettings(), "cpu")
    photo = images.prepare(refs[0], 512)
    light = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    turn = np.vstack([cv2.getRotationMatrix2D((160, 120), 20, 1.1), [0, 0, 1]])
    turned = warps.warp(light, np.linalg.inv(turn), (light.shape[1], light.shape[0])).round().astype(np.uint8)
    one, other = (extractor.extract(replace(photo, pixels=np.repeat(grey[:, :, None], 3, 2))) for grey in (light.astype(np.uint8), turned))
    [(_, (indices, confidence))] = matcher.match(one, [other])
    sure = indices[confidence > 0.5]
    right = metrics.correct(one.keypoints[sure[:, 0]], other.keypoints[sure[:, 1]], turn, 3.0)
    assert right.sum() > 20 and right.mean() > 0.8


def test_alikeds_lightglue_is_the_published_one_with_low_rank_updates():
    base, animals = renamed(weights.load("aliked-lightglue")), renamed(weights.load("aliked-animals-lightglue"))
    changed = [name for name in base if not torch.equal(base[name], animals[name])]
    assert base.keys() == animals.keys() and "transformers.4.cross_attn.to_qk.weight" in changed
    own = weights.card(weights.locate(weights.REGISTRY["aliked-animals-lightglue"]))
    assert own["base"] == "aliked-lightglue" and own["extractor_weights"] == weights.REGISTRY["aliked-n16"].sha256
    for name in changed:
        assert torch.linalg.matrix_rank(animals[name] - base[name], rtol=1e-3) <= own["rank"] and name.endswith(".weight")


@pytest.mark.parametrize("name", ["aliked-lightglue", "aliked-animals-lightglue"])
def test_a_published_lightglue_can_be_named(name):
    extract, match = ExtractSettings(), MatchSettings(lightglue_weights=name)
    assert matchers.describe(extract, match)["weights"] == weights.REGISTRY[name].sha256
    same = matchers.describe(extract, MatchSettings()) == matchers.describe(extract, match)
    assert same == (name == "aliked-animals-lightglue")  # which is the default
    for other in (ExtractSettings(extractor="disk"), ExtractSettings(extractor="sift")):
        with pytest.raises(SettingsError, match=f"{name} is no LightGlue for {other.extractor}"):
            matchers.weights_name(other, match)
    with pytest.raises(SettingsError, match="disk is no LightGlue for disk"):
        matchers.weights_name(ExtractSettings(extractor="disk"), MatchSettings(lightglue_weights="disk"))


def test_features_of_ones_own_weights_have_no_lightglue_that_ships():
    with pytest.raises(SettingsError, match=r"no LightGlue for goodpoint with weights of one's own; use --matcher nearest, or train one"):
        matchers.weights_name(ExtractSettings(extractor="goodpoint", weights="own.safetensors"), MatchSettings())
    assert (
        matchers.weights_name(ExtractSettings(extractor="glampoints", weights="own.safetensors"), MatchSettings()) == "sift-lightglue"
    )  # its RootSIFT is the same
