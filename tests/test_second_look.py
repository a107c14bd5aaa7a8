"""A second look at the individuals that stand first."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import draw_animal, save

import reid
from reid import Settings, stages
from reid.matchers import strongest
from reid.records import PhotoRef
from reid.scoring import averaged

FAST = Settings.of(matcher="nearest", extractor="sift", fuse="none", max_keypoints=200, resize=320, impostor_pairs=20, second_look=5)


@contextmanager
def looked_at(gallery, photo, settings=FAST):
    """The session's workspace, the query, its references, the first look's scores and the impostors."""
    with reid.open(gallery, settings) as opened:
        work, references = opened.work, opened.references
        [query], _ = stages.read([PhotoRef(photo.name, photo)], work.digests, work.listener)
        stages.extract([query], work.pipelines)
        yield work, query, references, stages.compare(query, references, work, opened.impostors).scores, opened.impostors


@pytest.fixture
def known(animals):
    return animals.parent / "photos" / "known.png"


def test_the_first_is_looked_at_again_and_its_scores_become_the_mean_of_both_looks(animals, known):
    with looked_at(animals, known) as (work, query, references, first, impostors):
        again = stages.look_again((query,), references, [first], work, impostors)[0]
        best = stages.rank((query,), references, [first], "joint")[0]
        [place] = [place for place, item in enumerate(references) if item.ref.image_id == best.reference_id]
        found = stages.second_look.second(query, references[place], work, impostors.weights)
    assert best.identity == "animal-3" and found is not None and found.sum() > 0.5 * first.total[place]
    assert again.total[place] == pytest.approx((first.total[place] + found.sum(dtype=np.float64)) / 2)
    others = np.arange(len(references)) != place
    assert np.array_equal(again.parts[:, others], first.parts[:, others]) and again.parts[0, place] != first.parts[0, place]
    assert np.array_equal(again.sure, first.sure)


def test_it_goes_on_until_the_first_has_been_looked_at(animals, known, monkeypatch):
    seen = []

    def nothing_stays(photo, reference, work, weights):
        seen.append(reference.ref.identity)
        return np.zeros(0, np.float16)

    monkeypatch.setattr(stages.second_look, "second", nothing_stays)
    with looked_at(animals, known) as (work, query, references, first, impostors):
        stages.look_again((query,), references, [first], work, impostors)
        assert seen[0] == "animal-3" and len(seen) == len(set(seen)) <= 5
        first_three, seen[:] = seen[:3], []
        work.settings = work.settings.replace(second_look=1)
        stages.look_again((query,), references, [first], work, impostors)
        assert seen == first_three[:1]
        seen.clear()
        stages.look_again((query,), references, [first], work, impostors, without="animal-3")
        assert len(seen) == 1 and seen != ["animal-3"]
        seen.clear()
        stages.look_again((query,), references, [first], work, replace(impostors, weight=0.0))
        assert not seen  # a pipeline that counts nothing looks at nothing


def test_what_is_laid_over_is_seen_in_its_place(animals, known, tmp_path):
    """Turned by 20 degrees and half as large, the animal's photo is laid on the reference, where nearly all matches stay."""
    pixels = draw_animal(3, 0)
    height, width = pixels.shape[:2]
    turned = cv2.warpAffine(pixels, cv2.getRotationMatrix2D((width / 2, height / 2), 20, 0.5), (width, height))
    photo = save(tmp_path / "turned.png", turned)
    with looked_at(animals, photo) as (work, query, references, first, impostors):
        [same] = [item for item in references if item.ref.image_id.endswith("animal-3/0.png")]
        other = next(item for item in references if item.ref.identity == "animal-5")
        place, stranger = references.index(same), references.index(other)
        found, wrong = (stages.second_look.second(query, item, work, impostors.weights) for item in (same, other))
        assert found is not None and found.sum() > first.total[place]
        assert wrong is None or wrong.sum() < 0.2 * found.sum()
        stored = list((animals / ".reid" / "second").rglob("*.safetensors"))
        assert [file.stem for file in stored] == [query.digest]
        stored[0].write_bytes(b"damaged")
        assert np.array_equal(stages.second_look.second(query, same, work, impostors.weights), found)
    assert stranger != place


def test_no_motion_leaves_the_first_look_as_it_is(animals, tmp_path):
    grey = save(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    with looked_at(animals, grey) as (work, query, references, first, impostors):
        [again] = stages.look_again((query,), references, [first], work, impostors)
        looks = [stages.second_look.second(query, item, work, impostors.weights) for item in references]
        unseen = [place for place, one in enumerate(looks) if one is None]
        assert unseen and np.array_equal(again.parts[:, unseen], first.parts[:, unseen])


def test_a_photo_that_is_gone_is_answered_by_the_first_look(animals, known, monkeypatch):
    with looked_at(animals, known) as (work, query, references, first, impostors):
        notes = []
        monkeypatch.setattr(work.listener, "note", notes.append)
        known.unlink()
        [again] = stages.look_again((query,), references, [first], work, impostors)
        assert np.array_equal(again.parts, first.parts)
    assert len(notes) == 1 and "known.png" in notes[0] and notes[0].endswith("not looked at again")


def test_a_photo_in_which_nothing_is_found_again_matches_nothing(animals, known, monkeypatch):
    with looked_at(animals, known) as (work, query, references, first, impostors):
        empty = strongest(work.first.load(query), 0)
        monkeypatch.setattr(work.first.extractor, "extract", lambda photo: empty)
        best = int(np.argmax(first.by("joint")))
        assert stages.second_look.second(query, references[best], work, impostors.weights).size == 0


def test_the_mean_leaves_what_others_hold(animals, known):
    with looked_at(animals, known) as (_, _, _, first, _):
        changed = averaged(first, 2, first.take([4]))
    for name in ("total", "mean", "wasserstein", "wasserstein_matched"):
        column, before = getattr(changed, name), getattr(first, name)
        assert column[2] == pytest.approx((before[2] + before[4]) / 2)
        assert np.array_equal(np.delete(column, 2), np.delete(before, 2))


@pytest.mark.parametrize("n", [0, 3])
def test_an_answer_and_its_fingerprint_follow_the_setting(animals, known, n):
    with reid.open(animals, FAST) as usual, reid.open(animals, FAST.replace(second_look=n)) as changed:
        assert usual.identify(known).rankings[0].candidates[0].identity == "animal-3"
        score = changed.identify(known).rankings[0].candidates[0].score
        assert usual.fingerprint != changed.fingerprint
        with looked_at(animals, known, FAST.replace(second_look=n)) as (_, _, _, first, _):
            assert (score == first.by("joint").max()) == (n == 0)
