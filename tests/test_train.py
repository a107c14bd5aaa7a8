"""`reid train` from photos to weights, and weights of one's own in the other commands."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import draw_animal, save
from safetensors.torch import save_file

import reid
from reid import Settings, weights
from reid.errors import GalleryError, PhotoError, SettingsError, WeightsError
from reid.extractors.goodpoint import GoodPoint
from reid.stages import Listener, Pipeline
from reid.training import validation
from reid.training.run import train

LITTLE = {"steps": 2, "batch": 1, "side": 64, "begin": "scratch"}


@pytest.fixture(scope="module", autouse=True)
def few_pairs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "N_HELD_OUT", 1)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number in range(11):
        save(root / f"{number % 3}" / f"{number:02}.png", draw_animal(number, 0, (120, 90)))
    save(root / "0" / "small.png", draw_animal(20, 0, (60, 50)))  # smaller than a crop
    (root / "1" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return root


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    notes = []
    file, card = train("goodpoint", photos, tmp_path_factory.mktemp("out"), note=notes.append, **LITTLE)
    return file, card, notes


def test_a_folder_of_photos_gives_weights_with_a_card(trained):
    file, card, notes = trained
    assert file.name == "goodpoint.safetensors" and weights.card(file) == card
    assert (card["network"], card["begin"], card["n_photos"], card["n_held_out"], card["side"]) == ("goodpoint", "scratch", 10, 2, 64)
    assert card["hardware"] and card["photos"] and "score" in card
    assert sum("not used" in note and "broken.jpg" in note for note in notes) == 1
    GoodPoint().load_state_dict(weights.load("goodpoint", str(file)))


def test_a_table_of_a_gallery_says_what_to_train_on(photos, tmp_path):
    splits = zip(sorted(photos.rglob("0*.png")), ["gallery", "query"] * 6)
    (tmp_path / "metadata.csv").write_text("path,identity,split\n" + "".join(f"{path},a,{split}\n" for path, split in splits))
    _, card = train("goodpoint", tmp_path, tmp_path / "out", **LITTLE)
    assert card["n_photos"] == 5  # fewer than ten: all are learned from, in other crops than they are judged on


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"network": "nonsense"}, SettingsError, "known: goodpoint, glampoints, lightglue, superpoint"),
        ({"photos": "nowhere"}, GalleryError, "nowhere is not a folder"),
        ({"photos": "empty"}, PhotoError, "holds no photo that can be used"),
        ({"side": 100}, SettingsError, "multiple of 32"),
        ({"precision": "half"}, SettingsError, "known: fast, full"),
        ({"device": "abacus"}, SettingsError, "there is no abacus device here"),
        ({"begin": "nowhere.safetensors"}, WeightsError, "nowhere.safetensors cannot be read as weights"),
        ({"rate": 1e30, "steps": 5}, SettingsError, "smaller --rate"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(photos, tmp_path, monkeypatch, change, error, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    given = {"network": "goodpoint", "photos": photos, "out": tmp_path / "out"} | LITTLE | change
    with pytest.raises(error, match=said) as caught:
        train(**given)
    assert "\n" not in str(caught.value)


def test_a_run_goes_on_only_with_its_own_photos_and_settings(photos, tmp_path):
    train("goodpoint", photos, tmp_path, **LITTLE)
    with pytest.raises(SettingsError, match="--resume"):
        train("goodpoint", photos, tmp_path, **LITTLE)
    file, _ = train("goodpoint", photos, tmp_path, resume=True, **LITTLE)  # it is at its end
    assert file.exists()
    with pytest.raises(SettingsError, match=r"other settings \(rotation\)"):
        train("goodpoint", photos, tmp_path, resume=True, rotation=90, **LITTLE)
    with pytest.raises(SettingsError, match=r"n_held_out, n_photos, photos"):
        train("goodpoint", photos / "0", tmp_path, resume=True, **LITTLE)


def pipeline(settings, folder):
    return Pipeline(settings, folder / "store", Listener())


@pytest.mark.slow
def test_weights_of_ones_own_identify_and_have_a_store_of_their_own(animals, trained, tmp_path):
    own = Settings.of(
        extractor="goodpoint", matcher="nearest", fuse="none", weights=str(trained[0]), impostor_pairs=20, max_keypoints=128, resize=256
    )
    with reid.open(animals, own) as opened:
        report = opened.identify(tmp_path / "photos" / "known.png")
    assert report.rankings[0].candidates[0].identity == "animal-3"  # random features of a photo know it again
    other = tmp_path / "other.safetensors"
    state = {name: value.contiguous() for name, value in GoodPoint().state_dict().items()}
    save_file(state, other, {"card": json.dumps({"network": "goodpoint"})})
    one, two = (pipeline(own.replace(weights=str(file)), tmp_path) for file in (trained[0], other))
    assert one.fingerprints.of_features != two.fingerprints.of_features


def test_weights_that_do_not_fit_are_refused(trained, tmp_path):
    with pytest.raises(SettingsError, match="sift takes no weights of one's own; these do: superpoint, goodpoint, glampoints"):
        pipeline(Settings.of(extractor="sift", matcher="nearest", fuse="none", weights=str(trained[0])), tmp_path)
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors cannot be read"):
        pipeline(Settings.of(extractor="goodpoint", matcher="nearest", weights="nowhere.safetensors"), tmp_path)
    with pytest.raises(WeightsError, match="holds weights of goodpoint, not of glampoints"):
        weights.load("glampoints", str(trained[0]))
    torch.save({}, tmp_path / "old.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        weights.load("goodpoint", str(tmp_path / "old.pth"))


@pytest.mark.slow
def test_the_command_trains_and_says_where_the_weights_are(photos, tmp_path):
    command = [sys.executable, "-m", "reid", "train", "goodpoint", "--photos", str(photos), "--out", str(tmp_path / "o")]
    options = ["--steps", "1", "--batch", "1", "--side", "64", "--begin", "scratch"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"are in {tmp_path / 'o' / 'goodpoint.safetensors'}" in " ".join(done.stdout.split())
    assert (tmp_path / "o" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "step 1:" in done.stderr and "broken.jpg" in done.stderr
