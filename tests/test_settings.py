import dataclasses
from pathlib import Path

import pytest

from reid import scoring
from reid.errors import SettingsError
from reid.settings import GROUPS, PRESETS, MatchSettings, ScoreName, ScoreSettings, Settings, Verify
from reid.store import fingerprint

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_sample_config_equals_the_defaults():
    assert Settings.load(CONFIGS / "default.toml") == Settings()
    top, *tables = (CONFIGS / "default.toml").read_text().split("\n[")
    assert [table.partition("]")[0] for table in tables] == list(GROUPS)
    assert "\ndevice = " in top and "\ntop = " in top
    for table in tables:
        for field in dataclasses.fields(GROUPS[table.partition("]")[0]]):
            assert f"\n{field.name} = " in table


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_every_config_loads(file):
    assert Settings.load(file)


def test_a_name_is_enough_to_set_it_and_is_in_one_group_only():
    names = [field.name for group in GROUPS.values() for field in dataclasses.fields(group)] + ["device", "top"]
    assert len(names) == len(set(names))
    changed = Settings.of(max_keypoints=100, rotations=4, score="sum", prior_new=0.3, device="cpu", top=9)
    assert (changed.extract.max_keypoints, changed.match.rotations, changed.score.score) == (100, 4, "sum")
    assert (changed.decide.prior_new, changed.device, changed.top) == (0.3, "cpu", 9)
    assert [changed.get(name) for name in ("max_keypoints", "score", "top")] == [100, "sum", 9]
    groups = Settings.of(score=ScoreSettings(score="mean"), match=MatchSettings(rotations=2), resize=320)
    assert (groups.score.score, groups.match.rotations, groups.extract.resize) == ("mean", 2, 320)
    assert changed.match.verify is Verify.auto


def test_overrides_win_over_the_file_and_the_file_over_presets(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[match]\nmatcher = "nearest"\n[extract]\nmax_keypoints = 100\n')
    loaded = Settings.load(file, ["best"], shortlist=7, resize=None)
    assert (loaded.match.matcher, loaded.extract.max_keypoints, loaded.match.shortlist) == ("nearest", 100, 7)
    assert loaded.extract.resize == Settings().extract.resize


def test_a_commands_own_defaults_stand_under_everything_that_is_given(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[extract]\nmax_keypoints = 100\n")
    base = Settings.of(fuse="none", max_keypoints=99)
    found = Settings.load(file, base=base)
    assert (found.score.fuse, found.extract.max_keypoints) == ("none", 100)
    assert Settings.load(file, base=base, fuse="disk+nearest").score.fuse == "disk+nearest"


def test_the_scores_that_can_be_chosen_are_those_that_are_computed():
    assert tuple(ScoreName) == scoring.SCORES


def test_presets_compose():
    both = Settings.load(presets=["fast", "best"])
    assert (both.match.matcher, both.extract.max_keypoints) == ("nearest", 1024)


def test_a_file_as_windows_writes_it_is_read(tmp_path):
    (tmp_path / "own.toml").write_bytes(b"\xef\xbb\xbftop = 9\r\n")
    assert Settings.load(tmp_path / "own.toml").top == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense = 1", "unknown setting 'nonsense'; known: extractor, weights"),
        ("[nonsense]\na = 1", "unknown setting 'nonsense'"),
        ("[match]\nresize = 640", r"unknown setting 'resize' in \[match\]; known: matcher"),
        ("resize = 640", r"resize stands in no table; write it under \[extract\]"),
        ('[extract]\nmax_keypoints = "many"', "max_keypoints is 'many'"),
        ("[extract]\nmax_keypoints = 1.5", "max_keypoints is 1.5"),
        ("[extract]\nresize = true", "resize is True"),
        ("[extract]\nequalize = 1", "equalize is 1"),
        ("[extract]\nresize = 3", "between 64 and 8192"),
        ("[score]\nmin_confidence = nan", "min_confidence is nan"),
        ("[match]\nrotations = 3", "it is 1, 2 or 4"),
        ('[match]\nembedding = ""', "it is network, none or the file of one"),
        ('[score]\nscore = "magic"', "known: joint, wasserstein"),
        ('[score]\nfuse = "sift"', r"'sift', which is not extractor\+matcher"),
        ('[score]\nfuse = "sift+nearest*101"', r"'sift\+nearest\*101', which is not extractor\+matcher or .* between 0 and 100"),
        ('[score]\nfuse = "sift+nearest*much"', r"'sift\+nearest\*much', which is not"),
        ("[decide]\nmatch_below = 0.9", "no verdict would be unsure"),
        ("[decide]\nprior_new = 0", "it lies between 0.001 and 0.999"),
        ('device = "tpu"', "known: auto, cpu"),
        ("top = 0", "whole number from 1"),
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
    assert Settings.load(presets=[name]) == Settings.load(CONFIGS / f"{name}.toml")
    assert Settings.load(presets=[name], max_keypoints=99).extract.max_keypoints == 99
    with pytest.raises(SettingsError, match="unknown preset 'quick'; known: fast, balanced, best"):
        Settings.load(presets=["quick"])


def test_fused_pipelines_are_settings_of_their_own():
    first, one, two = Settings.of(fuse="sift+nearest,disk+lightglue,aliked-n16+lightglue", rotations=4, resize=320).pipelines()
    assert (first.extract.extractor, first.match.rotations, first.score.fuse) == ("aliked-n16", 4, "none")
    assert [(own.extract.extractor, own.match.matcher) for own in (one, two)] == [("disk", "lightglue"), ("sift", "nearest")]
    assert (one.score.fuse, one.match.rotations, one.extract.resize, one.match.shortlist) == ("none", 1, 320, 0)
    assert [own.extract.extractor for own in Settings.of(fuse=" sift + nearest ").pipelines()] == ["aliked-n16", "sift"]
    for alone in (
        Settings.of(score="wasserstein"),
        Settings.of(fuse=" none "),
        Settings.of(extractor="sift", matcher="nearest", fuse="sift+nearest"),
    ):
        assert len(alone.pipelines()) == 1  # only the joint score fuses


def test_a_fused_pipeline_counts_by_its_weight_and_not_at_all_by_none():
    settings = Settings.of(fuse="sift+nearest * 0.25, disk+nearest*0, goodpoint+nearest")
    assert [one.extract.extractor for one in settings.pipelines()] == ["aliked-n16", "goodpoint", "sift"]
    assert settings.pipeline_weights() == (1.0, 1.0, 0.25)
    assert Settings.of(fuse="none").pipeline_weights() == (1.0,)
