"""LightGlue learns from labels: which pairs count, what is the same in them, who is left out, what is better, runs that go on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import draw_animal, save, table
from safetensors.numpy import save_file
from torch import nn

import reid
from reid import extractors
from reid.errors import GalleryError, SettingsError
from reid.listener import Listener
from reid.matchers import strongest
from reid.settings import Settings
from reid.stages.pipeline import Pipeline
from reid.training import Choices, loop, method
from reid.training import run as training
from reid.training.identities import pairs
from reid.training.identities import train as identities
from reid.training.truth import IGNORED, UNMATCHED, Pair
from reid.weights import LEARNED, learned_of

PLAIN = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=200, resize=320, shortlist=1, segment=False)
GLUE = PLAIN.replace(extractor="goodpoint", matcher="lightglue", max_keypoints=96)
MET = [f"a{number}" for number in range(10)]  # of which a0 and a5 are left out
SHOT = [  # animal, what is drawn, which view of it, encounter, side
    *((name, number, view, f"{name}-{view}", "left") for number, name in enumerate(MET) for view in (0, 1)),
    ("a1", 1, 2, "a1-0", "left"),  # of the same encounter as the first
    ("a2", 2, 3, "a2-2", "right"),  # cannot be compared with the others
    ("m", 30, 0, "m-0", "left"), ("n", 31, 0, "n-0", "left"), ("n", 31, 1, "n-0", "left"),  # met once; m is left out
    ("twin", 3, 0, "twin-0", "left"),  # is a3, in less light
    ("", 4, 5, "nobody", "left"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photographed(tmp_path_factory.mktemp("labels"), SHOT)


def photographed(root, shot):
    rows = ["path,identity,encounter,orientation"]
    for place, (name, drawn, view, encounter, side) in enumerate(shot):
        light = 0.8 if name == "twin" or (name, drawn) == ("a5", 0) else 1
        save(root / f"{place}.png", (light * draw_animal(drawn, view)).astype(np.uint8))
        rows.append(f"{place}.png,{name},{encounter},{side}")
    return table(root, "\n".join(rows))


@pytest.fixture
def gallery(folder):
    with reid.open(folder, PLAIN) as session:
        yield session


def silent(what, done, total):
    pass


@pytest.fixture
def mined(gallery):
    return pairs.mine(gallery, *pairs.divided(gallery.references), silent)


def names(items):
    return {item.ref.identity for item in items}


def test_a_fifth_of_the_animals_is_left_out(gallery):
    learned, left_out = pairs.divided(gallery.references)
    assert names(left_out) == {"a0", "a5", "m"} and names(learned) == {*MET, "n", "twin"} - {"a0", "a5"}


class Divided(Exception):
    """What is learned from and what is left out, by their names."""


def test_a_training_that_goes_on_from_a_file_is_judged_on_animals_that_the_file_does_not_know(folder, tmp_path, monkeypatch):
    def mine(session, learned, left_out, progress):
        raise Divided(names(learned), names(left_out))

    monkeypatch.setattr(identities, "mine", mine)
    with reid.open(folder, GLUE) as session:
        known = [item for item in session.references if item.ref.identity in ("a0", "a3")]
        digests = [session.work.digests.of_file(item.ref.path) for item in known]
    file = knowing(digests, tmp_path)
    with reid.open(folder, GLUE.replace(lightglue_weights=str(file))) as session:
        refs = [item.ref for item in session.references]
        choices = Choices(480, 30.0, 0, str(file), "goodpoint", gallery=session)
        with pytest.raises(Divided) as found:
            next(identities.stages(refs, [], choices, loop.Plan(1), tmp_path, silent))
    learned, left_out = found.value.args
    assert {"a0", "a3"} <= learned and len(left_out & {*MET}) == 2


def knowing(digests, folder):
    """A file of LightGlue's weights, for GoodPoint, that has learned from photos; it has no weights."""
    file = folder / "lightglue.safetensors"
    made_for = {"extractor": "goodpoint", "extractor_weights": extractors.weights_digest(GLUE.extract)}
    save_file(learned_of(digests), file, {"card": json.dumps({"network": "lightglue", **made_for})})
    return file


@pytest.mark.parametrize(
    ("known", "left_out"),
    [
        ("a1 a2 a3 a4 a6 a7 a8 a9 n twin", "a0 a5 m"),  # those that were left out before stay so
        ("a0 a1 a2 a3 a4 a5 a6 a7", "a8 a9 m n twin"),  # a fifth of those that were met again
        ("a0 a5", "a1 a7 twin"),
        ("a0 a1 a2 a3 a4 m", "a5 a6 n twin"),  # two folds of those that are new, as they are half of all
    ],
)
def test_none_is_left_out_that_the_weights_know_by_heart(gallery, known, left_out):
    learned, others = pairs.divided(gallery.references, lambda item: item.ref.identity in known.split())
    assert names(others) == {*left_out.split()} and names(learned) == {*MET, "m", "n", "twin"} - names(others)


def test_weights_that_know_almost_all_by_heart_are_refused(gallery):
    with pytest.raises(GalleryError, match=r"know all but 1 of the animals .* by heart, and are judged on 2 .*; leave out --begin"):
        pairs.divided(gallery.references, lambda item: item.ref.identity != "a4")


def test_pairs_of_one_animal_are_of_two_encounters_and_of_sides_that_can_be_compared(gallery):
    again = pairs.met_again(gallery.references)
    assert list(again) == MET
    for couples in again.values():
        for a, b in couples:
            assert a.ref.identity == b.ref.identity and a.ref.encounter != b.ref.encounter and a.ref.orientation == b.ref.orientation
    assert [len(again[name]) for name in ("a0", "a1", "a2")] == [1, 2, 1]


def test_no_pair_is_of_an_animal_that_is_left_out_or_of_two_names_that_may_be_one(mined):
    learned = {*MET, "n", "twin"} - {"a0", "a5"}
    assert mined.doubtful == {frozenset(("a3", "twin"))}
    assert set(mined.alike) <= learned - {"n", "twin"} and len(mined.alike) > 5
    for name, looks in mined.alike.items():
        assert all(look.names == {name} for look in looks)
    assert mined.impostors and all(look.names <= learned and len(look.names) == 2 for look in mined.impostors)
    assert not any(look.names in mined.doubtful for look in mined.impostors)
    for trial in mined.trials:
        assert names([trial.photo, *trial.own]) == {trial.photo.ref.identity} <= {"a0", "a5"}
        assert names(trial.others) <= {"a0", "a5", "m"} - {trial.photo.ref.identity}
        assert all(pairs.comparable(trial.photo, other) for other in (*trial.own, *trial.others))
    assert len(mined.trials) == 4


def test_names_that_people_keep_apart_are_two_animals(gallery, monkeypatch):
    monkeypatch.setitem(gallery.__dict__, "gallery", replace(gallery.gallery, labels=SimpleNamespace(animals_apart={("a3", "twin"): 1})))
    found = pairs.mine(gallery, *pairs.divided(gallery.references), silent)
    assert not found.doubtful and any(look.names == {"a3", "twin"} for look in found.impostors)


def test_animals_that_are_left_out_and_may_all_be_one_are_too_few(tmp_path):
    """a0 and a5 are left out: if they are one animal under two names, nothing is left that either could be taken for."""
    shot = [(name, 0 if name == "a5" else drawn, *more) for name, drawn, *more in SHOT if name in MET]
    with reid.open(photographed(tmp_path, shot), PLAIN) as session:
        learned, left_out = pairs.divided(session.references)
        assert names(left_out) == {"a0", "a5"}
        with pytest.raises(GalleryError, match="too few can be compared"):
            pairs.mine(session, learned, left_out, silent)


def test_of_impostors_that_look_alike_those_of_the_largest_sum_stay(gallery):
    learned, _ = pairs.divided(gallery.references)
    photos = learned[:4]
    looks = [pairs.Look((photos[0], other), 0, total, np.zeros((0, 2), np.int32)) for other, total in zip(photos[1:], (2.0, 1.0, 3.0))]
    assert [look.total for look in pairs._hardest(looks)] == [3.0, 2.0]


def test_matches_that_agree_are_partners_and_of_impostors_nothing_matches(gallery, mined):
    look = next(iter(mined.alike.values()))[0]
    first, second = (gallery.work.first.load(item) for item in look.photos)
    pair = pairs.described(look, True, gallery, 60)
    assert [len(one) for one in pair.features] == [60, 60] and np.array_equal(pair.features[1].descriptors, second.descriptors[:60])
    own, others = pair.partners
    rows = np.flatnonzero(own >= 0)
    assert len(rows) > 3 and (others[own[rows]] == rows).all() and {*own[own < 0], *others[others < 0]} == {IGNORED}
    assert {*zip(rows, own[rows])} == {(a, b) for a, b in look.same.tolist() if max(a, b) < 60}
    motion, _ = pairs.motion_of(*look.photos, gallery.work, gallery.work.pipelines)[1:]
    away = np.linalg.norm(pairs.project(first.keypoints[look.same[:, 0]], motion) - second.keypoints[look.same[:, 1]], axis=1)
    assert (away < 0.05 * 320).all()
    impostor = pairs.described(mined.impostors[0], False, gallery, 60)
    assert all((rows == UNMATCHED).all() for rows in impostor.partners)


def test_labels_that_are_missing_or_too_few_are_one_line(gallery):
    nobody = [replace(item, ref=replace(item.ref, identity=None)) for item in gallery.references]
    with pytest.raises(GalleryError, match="no photo of the gallery says which animal it shows") as one:
        pairs.divided(nobody)
    few = [item for item in gallery.references if item.ref.identity != "a9"]
    with pytest.raises(GalleryError, match=r"9 animals of the gallery were met again .* takes 10; dates or a column") as other:
        pairs.divided(few)
    assert "\n" not in f"{one.value}{other.value}"


def test_only_what_is_more_than_chance_on_animals_left_out_is_better(gallery, mined):
    judge = identities.Judge(mined.trials, gallery)
    assert list(judge.animals).count("a0") == list(judge.animals).count("a5") == 2
    before = np.array([[0, 0.5]] * 4)
    assert judge.better(before, before) == {"top1": 0, "auroc": 0.5, "score": 0}
    gain = {"a0": 1.0, "a5": 0.5}
    now = before + np.array([[gain[name], 0] for name in judge.animals])
    assert judge.better(before, now)["score"] == pytest.approx(0.375 - 0.125)  # means of 0.5 and 0.25, half of their difference
    luck = before + np.array([[name == "a0", -0.1] for name in judge.animals])
    assert judge.better(before, luck)["score"] < 0 < judge.better(before, luck)["top1"]


class Drawn:
    """Stands for what is rendered and warped: a photo and itself."""

    def __init__(self, session):
        self.features = strongest(session.work.first.load(session.references[0]), 40)

    def pair(self, number):
        rows = np.arange(len(self.features))
        return Pair((self.features, self.features), (rows, rows))


def glued(folder, out, monkeypatch, resume=False, stop=None):
    """Four steps of the LightGlue that ships for GoodPoint, of few keypoints."""

    def progress(what, done, total):
        if what == "steps of lightglue" and done == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(identities, "N_KEYPOINTS", 64)
    with reid.open(folder, GLUE) as session:
        monkeypatch.setattr(identities, "drawn", lambda photos, held_out, choices, out: [(Drawn(session), Drawn(session)), None])
        return training.train("lightglue", None, out, labels=session, steps=4, batch=4, every=2, resume=resume, progress=progress)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_that_it_would_have_had(folder, tmp_path, monkeypatch):
    file, card = glued(folder, tmp_path / "whole", monkeypatch)
    assert (card["labels"], card["n_animals_left_out"], card["n_held_out"], card["rank"]) == (True, 2, 5, 16)
    assert card["n_alike"] >= card["n_animals"] > 4
    log = (tmp_path / "whole/log.csv").read_text().splitlines()
    assert len(log) == 4 and {"val_top1", "val_auroc", "val_score", "loss"} <= set(log[0].split(","))
    with pytest.raises(KeyboardInterrupt):
        glued(folder, tmp_path / "cut", monkeypatch, stop=3)
    again, _ = glued(folder, tmp_path / "cut", monkeypatch, resume=True)
    assert again.read_bytes() == file.read_bytes()
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    learned = [value for name, value in one.items() if name.endswith(".up")]
    assert any(value.abs().sum() > 0 for value in learned)
    with reid.open(folder, GLUE.replace(lightglue_weights=str(file))) as session:
        assert session.confidences(*session.references[:2])[0].sum() > 1
        assert bool(session.work.first.learned) == (card["step"] > 0)


@pytest.mark.slow
def test_a_file_names_the_photos_that_were_learned_from_if_any_was(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(identities, "N_KEYPOINTS", 64)
    with reid.open(folder, GLUE) as session:
        monkeypatch.setattr(identities, "drawn", lambda photos, held_out, choices, out: [(Drawn(session), Drawn(session)), None])
        refs = [item.ref for item in session.references]
        choices = Choices(480, 30.0, 0, "shipped", "goodpoint", gallery=session)
        [task] = identities.stages(refs, [], choices, loop.Plan(1), tmp_path, silent)
        assert LEARNED not in task.saved()
        next(value for name, value in task.network.named_parameters() if name.endswith(".up")).data += 1
        learned, _ = pairs.divided(session.references)
        assert {bytes(row.tolist()).hex() for row in task.saved()[LEARNED]} == {item.digest for item in learned}


def test_what_lightglue_has_learned_is_known_by_no_other_matcher(gallery, tmp_path):
    item = gallery.references[0]
    file = knowing([item.digest], tmp_path)
    for matcher, knows in (("lightglue", True), ("nearest", False)):
        settings = GLUE.replace(matcher=matcher, lightglue_weights=str(file))
        assert Pipeline(settings, tmp_path, Listener()).knows(item) is knows


def test_a_run_ends_when_nothing_is_better_any_more(tmp_path):
    said, network = [], nn.Linear(1, 1)

    def of_batch(forward, numbers, generator):
        return {"loss": forward(torch.ones(1, 1)).sum() ** 2}

    def go(resume):
        task = loop.Task("x", network, int, of_batch, lambda: {"score": 0.0}, {}, patience=3)
        return loop.train(task, loop.Plan(100, batch=1, every=2), tmp_path, resume, lambda step, steps: said.append(step), said.append)[1]

    assert (
        go(False)["step"] == 0
        and said[-1] == "nothing better since step 0: the run ends"
        and max(one for one in said if one != str(one)) == 6
    )
    said.clear()
    assert go(True)["step"] == 0 and said == []


def test_what_does_not_go_together_is_refused(call, folder, tmp_path):
    out = tmp_path / "out"
    assert method("lightglue", labels=True).begin == "shipped"
    with pytest.raises(SettingsError, match="superpoint does not learn from labels; these do: lightglue"):
        training.labelled("superpoint", folder, "")
    with pytest.raises(SettingsError, match="whose features"):
        training.labelled("lightglue", folder, "")
    with pytest.raises(SettingsError, match="too few to begin from scratch"):
        training.labelled("lightglue", folder, "sift", begin="scratch")
    for words in (["--labels"], ["--gallery", folder], ["--labels", "--gallery", folder, "--photos", folder]):
        status, _, errors = call("train", "lightglue", "--out", out, *words)
        assert status == 2 and errors.count("\n") == 1 and ("--labels --gallery FOLDER" if "--labels" in words else "--photos") in errors
    status, _, errors = call("train", "superpoint", "--out", out)
    assert status == 2 and "--photos FOLDER" in errors and not out.exists()


def test_weights_that_nothing_was_better_than_are_told_of(call, folder, tmp_path, monkeypatch):
    given = {}

    def train(network, photos, out, **options):
        given.update(options, network=network)
        return out / "lightglue.safetensors", {"step": 0, "steps": 9, "score": 0.0}

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr("reid.report.plots.save_training", lambda out: out / "curve.png")
    words = ["train", "lightglue", "--labels", "--gallery", folder, "--extractor", "goodpoint", "--out", tmp_path / "out"]
    status, out, _ = call(*words)
    assert status == 0 and "nothing that was learned is better than what it began with" in out
    opened = given["labels"]
    assert (opened.root, opened.settings.extract.extractor, str(opened.settings.match.matcher)) == (folder, "goodpoint", "lightglue")
    assert len(opened.work.pipelines) > 2
