import dataclasses
from pathlib import Path

import pytest

from reid.errors import SettingsError
from reid.settings import PRESETS, Settings
from reid.store import fingerprint

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_sample_config_equals_the_defaults():
    assert Settings.load(CONFIGS / "default.toml") == Settings()
    text = (CONFIGS / "default.toml").read_text()
    for field in dataclasses.fields(Settings):
        assert f"\n{field.name} = " in text


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_every_config_loads(file):
    assert Settings.load(file)


def test_overrides_win_over_the_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('matcher = "nearest"\nmax_keypoints = 100\n')
    loaded = Settings.load(file, max_keypoints=200, resize=None)
    assert (loaded.matcher, loaded.max_keypoints, loaded.resize) == ("nearest", 200, Settings().resize)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense = 1", "unknown setting 'nonsense'; known: extractor, matcher"),
        ('max_keypoints = "many"', "max_keypoints is 'many'"),
        ("max_keypoints = 1.5", "max_keypoints is 1.5"),
        ("resize = true", "resize is True"),
        ("resize = 3", "between 64 and 8192"),
        ('score = "magic"', "known: joint, wasserstein"),
        ('also = "sift"', r"'sift', which is not extractor\+matcher"),
        ("match_below = 0.9", "no verdict would be unsure"),
        ("resize = ", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_named_with_its_mistake(tmp_path, text, said):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(tmp_path / "none.toml")


def test_fingerprints_differ_where_settings_do():
    assert fingerprint(1, "a") == fingerprint(1, "a") != fingerprint("a", 1)
    assert len(fingerprint(1)) == 16


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_those_of_the_files_and_give_way_to_what_is_given(name):
    assert Settings.load(preset=name) == Settings.load(CONFIGS / f"{name}.toml")
    assert Settings.load(preset=name, max_keypoints=99).max_keypoints == 99
    with pytest.raises(SettingsError, match="unknown preset 'quick'; known: fast, balanced, best"):
        Settings.load(preset="quick")


def test_further_opinions_are_settings_of_their_own():
    one, two = Settings(also="sift+nearest,disk+lightglue,aliked-n16+lightglue", rotations=4, resize=320).others()
    assert [(one.extractor, one.matcher), (two.extractor, two.matcher)] == [("disk", "lightglue"), ("sift", "nearest")]
    assert (one.also, one.rotations, one.resize, one.shortlist) == ("none", 1, 320, 0)  # of what the first opinion's shortlist holds
    assert [(own.extractor, own.matcher) for own in Settings(also=" sift + nearest ").others()] == [("sift", "nearest")]
    assert Settings(score="wasserstein").others() == Settings(also=" none ").others() == []  # only the joint score asks others
    assert Settings(also="none").others() == Settings(extractor="sift", matcher="nearest").others() == []
