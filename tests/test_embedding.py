"""One vector a photo: what it is, what names teach about it, what it says of references, and what it must not be asked."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import draw_animal, save
from safetensors.numpy import load_file, save_file
from test_session import Recorder
from test_shortlist import asked, digest, silent, unit

import reid
from reid import extractors, matchers, retrieval, stages, weights
from reid.errors import GalleryError, SettingsError, WeightsError
from reid.records import Features, Photo
from reid.retrieval.shortlist import Shortlist
from reid.settings import ExtractSettings, MatchSettings, Settings
from reid.stages.match import first_by_votes
from reid.training import embedding

BARE = Settings.of(extractor="embedding", matcher="cosine", fuse="none", resize=320, segment=False)
QUICK = {"extractor": "sift", "matcher": "nearest", "fuse": "none", "max_keypoints": 100, "resize": 320, "segment": False}


def tabled(root, paths, identity=lambda path: path.parent.name, split=lambda path: "gallery"):
    """A gallery of these photos, each of another day."""
    rows = [f"{path},{identity(path)},2020-01-{day:02},{split(path)}" for day, path in enumerate(paths, start=1)]
    (root / "metadata.csv").write_text("path,identity,date,split\n" + "\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def learned(drawn_animals, tmp_path_factory):
    """A gallery of eight animals with two photos each, and the file of weights that knows them."""
    root = tmp_path_factory.mktemp("known")
    photos = sorted((drawn_animals / "gallery").rglob("*.png"))
    with reid.open(tabled(root, photos), BARE, cache=root / "cache") as gallery:
        file, card = embedding.learn(gallery, root / "out")
    return SimpleNamespace(gallery=root, photos=photos, cache=root / "cache", file=file, card=card)


def own(learned, **changes):
    return BARE.replace(weights=str(learned.file), **changes)


def nuisance(n_animals=40, n_each=5, n_dims=24, seed=1):
    """Animals that differ little, their photos that differ much along a few directions that are the same for all."""
    rng = np.random.default_rng(seed)
    animals = np.repeat(np.arange(n_animals), n_each)
    shared = np.linalg.qr(rng.normal(size=(n_dims, n_dims)))[0][:6]
    vectors = rng.normal(size=(n_animals, n_dims))[animals] + 6 * rng.normal(size=(len(animals), 6)) @ shared
    return embedding.Named(vectors + 0.3 * rng.normal(size=vectors.shape), animals, np.arange(len(animals)))


# -- the vector and its likeness


def test_a_photo_has_one_vector_of_the_animal_alone():
    extractor = extractors.create(ExtractSettings(extractor="embedding"), "cpu")
    pixels = draw_animal(1, 0, (327, 217))
    mask = np.zeros((217, 327), bool)
    mask[60:180, 200:290] = True
    mask[100:140, 220:270] = False  # its middle is a hole
    found = extractor.extract(Photo("a", pixels, mask))
    assert (found.kind, found.descriptors.shape) == ("embedding", (1, extractors.REGISTRY["embedding"].n_dims))
    assert np.linalg.norm(found.descriptors.astype(float)) == pytest.approx(1, abs=1e-3)
    x, y = found.keypoints[0].astype(int)
    assert mask[y, x] and abs(x - 245) < 40 and abs(y - 120) < 40
    other = pixels.copy()
    other[:, :150] = 0
    assert np.array_equal(found.descriptors, extractor.extract(Photo("b", other, mask)).descriptors)  # what is far beside it plays no part
    assert not np.array_equal(found.descriptors, extractor.extract(Photo("c", pixels)).descriptors)
    assert len(extractor.extract(Photo("d", pixels, np.zeros_like(mask)))) == 0


def test_confidence_is_the_cosine_however_alike_others_are():
    matcher = matchers.create(ExtractSettings(extractor="embedding"), MatchSettings(matcher="cosine"), "cpu")
    one, other, across, against = unit([1, 0, 0]), unit([1, 1, 0]), unit([0, 0, 1]), unit([-1, 0, 0])
    found = dict(matcher.match(one, [one, other, across, against]))
    assert [len(indices) for indices, _ in found.values()] == [1] * 4
    assert [float(confidence[0]) for _, confidence in found.values()] == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, 0], abs=1e-3)
    none = Features("test", (100, 80), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3)))
    assert not len(next(matcher.match(one, [none]))[1][1])
    two = next(matcher.match(unit([1, 0.1, 0], [0, 1, 0.2]), [unit([0, 1, 0], [1, 0, 0])]))[1]
    assert two[0].tolist() == [[0, 1], [1, 0]] and (two[1] > 0.95).all()  # of several vectors the mutual nearest


def test_a_whole_photos_vector_votes_for_every_photo_by_its_likeness(tmp_path):
    references = [unit([np.cos(angle), np.sin(angle), 0]) for angle in np.linspace(0, 3, 40)]
    index = Shortlist(tmp_path, "vectors", of_whole=2**14)
    index.update([digest(i) for i in range(40)], lambda name: references[int(name, 16)], silent)
    votes = asked(index, unit([1, 0, 0]), *range(40))
    onto = index._index.projection  # the plane of these vectors, seen from their mean
    (seen,), among = onto(unit([1, 0, 0]).descriptors), np.concatenate([onto(one.descriptors) for one in references])
    assert votes == pytest.approx(among @ seen - (among @ seen).min(), abs=2e-3)
    assert np.argmax(votes) == 0 and max(votes) > 1.9  # so that half a circle spreads over more of it
    assert asked(index, unit([1, 0, 0]), 30, 5) == pytest.approx([0, (among[5] - among[30]) @ seen], abs=2e-3)  # only these are heard
    few = Shortlist(tmp_path, "vectors", of_whole=8)
    assert np.flatnonzero(asked(few, unit([1, 0, 0]), *range(40))).tolist() == list(range(7))  # the last is what the others are above


def test_ways_to_look_count_alike_whatever_their_units():
    votes, likeness = np.array([100.0, 300, 200]), np.array([0.2, 0.1, 0.3])
    both = retrieval.together(votes, likeness)
    assert both == pytest.approx(np.array([-1, 1, 0]) * 1.5**0.5 + np.array([0, -1, 1]) * 1.5**0.5)
    assert retrieval.together(votes, np.ones(3)).argmax() == 1  # one that says nothing changes nothing


# -- what names teach


def test_animals_that_were_left_out_are_told_apart_better_than_before():
    plain, *by_shrinkage = embedding.judge(nuisance(), reid.Listener())
    best = max(by_shrinkage)
    assert best[0] > plain[0] + 0.3 and best[1] > plain[1] + 0.3
    shuffled = nuisance()
    names = np.random.default_rng(0).permutation(shuffled.animals)
    assert max(embedding.judge(replace(shuffled, animals=names), reid.Listener()))[0] < 0.2  # names that mean nothing teach nothing


def test_photos_of_one_animal_differ_alike_in_all_directions_afterwards():
    photos = nuisance()
    within = embedding.Within.of(photos)
    evened = (photos.vectors - within.mean) @ within.evened(0.0)
    away = evened - np.stack([evened[photos.animals == one].mean(axis=0) for one in range(40)])[photos.animals]
    assert np.allclose(away.T @ away / (len(away) - 40), np.eye(24), atol=1e-6)
    shrunk = within.evened(1e6)
    assert np.allclose(shrunk * within.scale[:, None] / (shrunk * within.scale[:, None])[0, 0], np.eye(24), atol=1e-4)


def test_a_photo_is_looked_for_among_other_encounters_of_animals_left_out_alone():
    vectors = np.array([[1.0, 0], [1, 0.01], [0, 1], [1, 0.5], [1, 0.6]])
    photos = embedding.Named(vectors, np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3]))
    precision, first = zip(*embedding.looked_for(photos))
    assert precision == pytest.approx([1 / 3, 1 / 3, (1 / 3 + 2 / 4) / 2, 1, 1])  # 0 and 1, of one encounter, are not each other's answer
    assert first == (False, False, False, True, True)


def test_the_same_photos_and_names_give_the_same_bytes(learned, tmp_path):
    with reid.open(tabled(tmp_path, learned.photos[::-1]), BARE, cache=learned.cache) as gallery:  # in another order
        file, card = embedding.learn(gallery, tmp_path / "out")
    assert file.read_bytes() == learned.file.read_bytes() and card == learned.card
    assert weights.card(file) == card
    assert weights.learned(file) == {weights.sha256(path) for path in learned.photos}
    assert sorted(weights.load("embedding", str(file))) == ["axes", "mean"]  # what a network takes, without the photos' names
    assert (card["network"], card["n_photos"], card["n_animals"], card["n_met_again"]) == ("embedding", 16, 8, 8)
    assert card["shrinkage"] in embedding.SHRINKAGES and 0 <= card["score"] <= 1 and str(tmp_path) not in json.dumps(card)


def test_an_interrupted_run_goes_on_from_the_vectors_that_are_stored(learned, tmp_path):
    class Impatient(Recorder):
        def progress(self, what, done, total):
            super().progress(what, done, total)
            if "extracted" in what and done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), reid.open(learned.gallery, BARE, cache=tmp_path, listener=Impatient()) as gallery:
        embedding.learn(gallery, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    again = Recorder()
    with reid.open(learned.gallery, BARE, cache=tmp_path, listener=again) as gallery:
        file, _ = embedding.learn(gallery, tmp_path / "out")
    assert again.stages["photos extracted by embedding"] == (11, 11)
    assert file.read_bytes() == learned.file.read_bytes()


def test_names_are_needed_and_animals_that_were_met_again(call, tmp_path, monkeypatch):
    photos = [save(tmp_path / f"{number}.png", draw_animal(number, 0, (64, 48))) for number in range(6)]
    refused = r"photos of two encounters of 0 animals whose names are known, and 5 are needed"
    for identity in (lambda path: "", lambda path: path.stem):  # nobody is known; everybody has one photo
        tabled(tmp_path, photos, identity)
        with pytest.raises(GalleryError, match=refused), reid.open(tmp_path, BARE) as gallery:
            embedding.learn(gallery, tmp_path / "out")
    status, _, said = call("train", "embedding", "--gallery", tmp_path, "--out", tmp_path / "out")
    assert status == 2 and said.splitlines()[-1].startswith("reid: ") and "two encounters" in said
    assert not (tmp_path / "out").exists()
    here = ("--gallery", tmp_path)
    for words in (
        ("--photos", tmp_path),
        (),
        (*here, "--steps", 3),
        (*here, "--seed", 0),
        (*here, "--precision", "fast"),
        (*here, "--resume"),
    ):
        status, _, said = call("train", "embedding", "--out", tmp_path / "out", *words)
        assert (status, len(said.splitlines())) == (2, 1) and "--gallery FOLDER" in said
        assert all(f"takes no {word}" in said for word in words if word in ("--photos", "--steps", "--seed", "--precision", "--resume"))
    status, _, said = call("train", "goodpoint", "--gallery", tmp_path, "--out", tmp_path / "out")
    assert status == 2 and "--photos FOLDER" in said


# -- weights in use


def test_weights_find_the_animals_and_are_stored_apart(learned, tmp_path):
    photos = [save(tmp_path / f"{identity}.png", draw_animal(identity, 7)) for identity in range(8)]
    right = {}
    for name, settings in (("bare", BARE), ("learned", own(learned))):
        with reid.open(learned.gallery, settings, cache=learned.cache) as gallery:
            report = gallery.identify(photos)
            right[name] = [one.candidates[0].identity for one in report.rankings], gallery.fingerprint
    names = [f"animal-{identity}" for identity in range(8)]
    assert right["learned"][0] == names
    assert right["learned"][1] != right["bare"][1]


def test_weights_that_are_no_embeddings_are_refused(learned, tmp_path):
    wrong = tmp_path / "wrong.safetensors"

    def refusal(tensors=load_file(learned.file), **card):
        save_file(tensors, wrong, metadata={"card": json.dumps(learned.card | card)})
        with pytest.raises(WeightsError) as refused:
            extractors.create(ExtractSettings(extractor="embedding", weights=str(wrong)), "cpu")
        return str(refused.value)

    assert "holds weights of goodpoint, not of embedding" in refusal(network="goodpoint")
    assert "train it again" in refusal(extractor_weights="0" * 64)
    assert "train it again" in refusal({"mean": np.zeros(992, np.float32)})
    assert "not all of its numbers are finite" in refusal({"mean": np.zeros(992), "axes": np.full((992, 992), np.nan)})
    for rows in (np.zeros((), np.uint8), np.zeros((2, 32), np.float32)):
        refusal(load_file(learned.file) | {weights.LEARNED: rows}, network="other")
        with pytest.raises(WeightsError, match="which photos it has learned from"):
            weights.learned(wrong)
    with pytest.raises(WeightsError, match="of embedding, not of goodpoint"):
        extractors.create(ExtractSettings(extractor="goodpoint", weights=str(learned.file)), "cpu")
    for matcher in ("lightglue", "nearest", "adalam"):
        with pytest.raises(SettingsError, match="use --matcher cosine"):
            matchers.weights_name(ExtractSettings(extractor="embedding"), MatchSettings(matcher=matcher))
    with pytest.raises(SettingsError, match="takes no weights"):
        extractors.weights_digest(ExtractSettings(extractor="aliked-n16", weights=str(learned.file)))


def test_what_knows_names_by_heart_calibrates_nothing_and_says_so(learned, call):
    notes = Recorder()
    settings = own(learned, shortlist=5)
    with reid.open(learned.gallery, settings, cache=learned.cache, listener=notes) as gallery:
        assert gallery.index().recall.n_queries == 0  # it would find its own photos too well
        with pytest.raises(SettingsError, match=r"^the weights have learned the names of 16 of the gallery's 16 photos by heart"):
            list(stages.evidence(gallery.references, gallery.work, gallery.impostors))
    assert [note for note in notes.notes if "by heart" in note and "P(impostor) is too small" in note]
    with reid.open(learned.gallery, BARE.replace(shortlist=5), cache=learned.cache) as gallery:
        assert gallery.index().recall.n_queries == 16


def test_photos_are_known_by_heart_in_another_box_and_behind_a_mask(learned, tmp_path):
    tabled(tmp_path, learned.photos)
    header, *rows = (tmp_path / "metadata.csv").read_text().splitlines()
    lines = [f"{header},bbox", *(f'{row},"[10, 10, 280, 200]"' for row in rows)]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    with reid.open(tmp_path, own(learned), cache=tmp_path) as gallery:
        assert all(item.ref.crop for item in gallery.references)
        assert not {item.digest for item in gallery.references} & gallery.work.first.learned
        assert "16 of the gallery's 16 photos by heart" in stages.by_heart(gallery.references, gallery.work)
    with reid.open(tmp_path, Settings.of(**QUICK, shortlist=5, embedding=str(learned.file)), cache=tmp_path) as gallery:
        beside, photo = gallery.work.first.embedding, gallery.references[0]
        assert beside.knows(photo) and not beside.knows(replace(photo, ref=replace(photo.ref, path=tmp_path / "gone.png")))


def test_photos_that_are_prepared_otherwise_than_those_that_were_learned_are_told(learned, tmp_path):
    for settings in (own(learned), Settings.of(**QUICK, embedding=str(learned.file))):
        for changes, said in (
            ({}, None),
            ({"resize": 256, "equalize": True}, "learned of photos with --resize 320, without --equalize, and here"),
        ):
            notes = Recorder()
            with reid.open(learned.gallery, settings.replace(**changes), cache=tmp_path, listener=notes):
                assert [said in note for note in notes.notes] == ([True] if said else []), notes.notes


def test_a_gallery_that_weights_have_not_seen_is_judged_as_ever(learned, tmp_path):
    photos = [save(tmp_path / f"{one}" / f"{view}.png", draw_animal(one, view)) for one in range(20, 28) for view in range(2)]
    notes = Recorder()
    with reid.open(tabled(tmp_path, photos), own(learned), listener=notes) as gallery:
        assert list(stages.evidence(gallery.references, gallery.work, gallery.impostors))
    assert not [note for note in notes.notes if "by heart" in note]


def test_what_cosines_of_drawn_turtles_are_is_no_judge_of_other_animals(call, tmp_path):
    """By those that were measured on the sample gallery, these six animals would be one."""
    for number in range(6):
        save(tmp_path / "photos" / f"{number}.png", draw_animal(40 + number, 0))
    words = "--extractor", "embedding", "--matcher", "cosine", "--fuse", "none", "--resize", 320, "--no-segment"
    status, _, said = call("cluster", tmp_path / "photos", "--out", tmp_path / "groups", *words)
    assert status == 2 and "no impostor distribution ships for cosine" in said.splitlines()[-1]


def test_other_pipelines_can_be_compared_with_weights_of_ones_own(learned, call, tmp_path):
    tabled(tmp_path, learned.photos, split=lambda path: "query" if path.stem == "1" else "gallery")
    words = "--gallery", tmp_path, "--extractors", "embedding", "--matchers", "cosine", "--fuse", "none", "--weights", learned.file
    own = "--resize", 320, "--no-segment", "--cache", learned.cache
    status, said, told = call("compare", *words, *own, "--impostor-pairs", 30)
    assert status == 0 and "embedding + cosine" in said and "learned the names of 8 of the gallery's 8 photos" in told
    with reid.open(tmp_path, BARE.replace(weights=str(learned.file), impostor_pairs=30), cache=learned.cache) as gallery:
        found = gallery.evaluate()
    assert found.calibration is None and found.figures["n_queries"] == 8


# -- beside votes


def test_an_embedding_chooses_the_shortlist_with_the_votes_but_not_for_photos_it_knows(learned, tmp_path, monkeypatch):
    settings = Settings.of(**QUICK, shortlist=4, embedding=str(learned.file))
    photo = save(tmp_path / "query.png", draw_animal(3, 9))
    with reid.open(learned.gallery, settings, cache=learned.cache) as gallery:
        references, first = gallery.references, gallery.work.first
        gallery.ready()
        assert [one.name for one in gallery.work.extracting(5)] == ["sift + nearest", "embedding + cosine"]
        assert [one.name for one in gallery.work.extracting(4)] == ["sift + nearest"]  # all are matched, nothing chooses
        assert all(item.digest in first.embedding.features for item in references)
        query = gallery._item(photo)
        digests = [item.digest for item in references]
        votes = first.index.votes(first.load(query), digests)
        likeness = first.embedding.index.votes(first.embedding.load(query), digests)
        assert likeness.argmax() in [place for place, item in enumerate(references) if item.ref.identity == "animal-3"]
        names = [item.ref.identity for item in references]
        assert first_by_votes(query, references, 4, first) == retrieval.finalists(retrieval.together(votes, likeness), names, 4)
        monkeypatch.setattr(first.index, "votes", lambda query, digests: np.zeros(len(digests), np.float32))
        assert first_by_votes(query, references, 1, first) == [int(likeness.argmax())]
        assert first_by_votes(references[5], references, 1, first) == [0]  # it has learned that one's name, and is not asked
        assert gallery.identify(photo).rankings[0].candidates[0].identity == "animal-3"


def test_an_embedding_changes_calibrations_and_nothing_that_is_stored_of_pairs(learned, tmp_path):
    settings = Settings.of(**QUICK), Settings.of(**QUICK, embedding=str(learned.file))
    without, beside = (stages.Workspace(one, tmp_path, reid.Listener()).fingerprints for one in settings)
    assert without.of_scores == beside.of_scores and without.of_calibration != beside.of_calibration
    with pytest.raises(WeightsError, match="cannot be read"):
        reid.open(learned.gallery, Settings.of(**QUICK, embedding=str(tmp_path / "none.safetensors")), cache=tmp_path)


def test_what_nobody_named_has_a_say_too_unless_it_is_not_wanted(learned, tmp_path, monkeypatch):
    """By default ImageNet's vectors, evened out along the axes of the gallery's own; of photos that were learned by name, too."""
    with reid.open(learned.gallery, Settings.of(**QUICK, shortlist=4), cache=learned.cache) as gallery:
        gallery.ready()
        references, first = gallery.references, gallery.work.first
        photo, digests = references[5], [item.digest for item in references]
        likeness = first.embedding.index.votes(first.embedding.load(photo), digests)
        assert likeness.argmax() == 5 and first.embedding.index._index.projection.axes.shape == (992, 256)
        votes = first.index.votes(first.load(photo), digests)
        names = [item.ref.identity for item in references]
        both = retrieval.finalists(retrieval.together(votes, likeness), names, 16)
        assert first_by_votes(photo, references, 16, first) == both != retrieval.finalists(votes, names, 16)
    with reid.open(learned.gallery, Settings.of(**QUICK, shortlist=4, embedding="none"), cache=learned.cache) as gallery:
        assert gallery.work.first.embedding is None
        assert first_by_votes(photo, references, 16, gallery.work.first) == retrieval.finalists(votes, names, 16)


@pytest.mark.slow
def test_names_of_the_sample_gallery_help_animals_that_are_left_out(tmp_path):
    from pathlib import Path

    file, card = embedding.train(Path(__file__).parents[1] / "gallery", tmp_path / "out", cache=tmp_path / "cache")
    assert card["score"] > card["score_without"] + 0.02 and card["first"] > card["first_without"]
    assert len(weights.learned(file)) == card["n_photos"] == 69
