"""The real networks: the whole default pipeline on the sample gallery, and matches on real photographs where they are found."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import reid
from reid import stages
from reid.imaging import photo_size
from reid.records import PhotoRef
from reid.settings import Settings

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "gallery"
OXFORD = ROOT.parent / "shared" / "data" / "oxford_affine"


def identify(photos, gallery, settings, listener=None):
    with reid.open(gallery, settings, listener=listener) as opened:
        return opened.identify(photos)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Six animals of the sample gallery, a folder each; a query of one of them, one stored sideways, and one of a new animal."""
    rows = list(csv.DictReader((GALLERY / "metadata.csv").read_text().splitlines()))
    queries = [row for row in rows if row["split"] == "query"]
    known = [row for row in queries if not row["identity"].startswith("new")]
    chosen = [known[0], next(row for row in queries if row["path"].endswith("q05.jpg")), next(row for row in queries if row not in known)]
    identities = sorted({row["identity"] for row in rows if row["split"] == "gallery"} - {row["identity"] for row in chosen})[:4]
    identities += [row["identity"] for row in chosen if row in known]
    folder = tmp_path_factory.mktemp("sample")
    for row in rows:
        if row["identity"] in identities and row["split"] == "gallery":
            target = folder / "gallery" / row["identity"] / Path(row["path"]).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(GALLERY / row["path"], target)
    for row in chosen:
        (folder / "photos").mkdir(exist_ok=True)
        shutil.copy(GALLERY / row["path"], folder / "photos")
    return folder, {Path(row["path"]).name: row["identity"] for row in chosen}


def test_the_default_networks_name_drawn_turtles(sample):
    folder, truth = sample
    settings = Settings.of(max_keypoints=256, impostor_pairs=120)
    report = identify(folder / "photos", folder / "gallery", settings)
    assert {ranking.query_id for ranking in report.rankings} == truth.keys()
    for ranking in report.rankings:
        if truth[ranking.query_id].startswith("new"):
            assert ranking.verdict != "match"
        else:
            assert ranking.candidates[0].identity == truth[ranking.query_id]
            assert ranking.verdict == "match"
    shutil.rmtree(folder / "gallery" / ".reid" / "matches")
    again = identify(folder / "photos", folder / "gallery", settings)
    assert again.rankings == report.rankings


@pytest.mark.slow
def test_an_interrupted_query_resumes_with_lightglue(sample):
    folder, truth = sample
    query = folder / "photos" / next(iter(truth))
    settings = Settings.of(max_keypoints=128, impostor_pairs=0)

    class Stop(reid.Listener):
        def progress(self, what, done, total):
            if what == "pairs" and done == 10:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identify(query, folder / "gallery", settings, listener=Stop())
    resumed = identify(query, folder / "gallery", settings).rankings[0]
    shutil.rmtree(folder / "gallery" / ".reid" / "matches")
    whole = identify(query, folder / "gallery", settings).rankings[0]
    assert [candidate.identity for candidate in resumed.candidates] == [candidate.identity for candidate in whole.candidates]
    for a, b in zip(resumed.candidates, whole.candidates, strict=True):
        assert a.score == b.score  # a pair gets what it gets alone, whatever batch it is in


@pytest.mark.slow
@pytest.mark.skipif(not OXFORD.is_dir(), reason="the photographs of Mikolajczyk and Schmid are not here")
@pytest.mark.parametrize("extractor", ["aliked-n16", "disk"])
@pytest.mark.parametrize(("scene", "other"), [("graf", 2), ("leuven", 4)])
def test_matches_of_real_photos_obey_their_homography(tmp_path, extractor, scene, other):
    folder = OXFORD / scene
    paths = [next(folder.glob(f"img{n}.*")) for n in (1, other)]
    homography = np.loadtxt(next(folder.glob(f"H1to{other}*")))
    work = stages.Workspace(Settings.of(extractor=extractor, fuse="none"), tmp_path, reid.Listener())
    (a, b), failures = stages.read([PhotoRef(path.name, path) for path in paths], work.digests, work.listener)
    assert not failures
    run = work.first
    _, found = stages.match_pair(a, b, run, work.digests)
    sure = found.indices[found.confidence > 0.5]
    sizes = [photo_size(path) for path in paths]
    points = []
    for item, column, full in ((a, 0, sizes[0]), (b, 1, sizes[1])):
        features = run.load(item)
        scale = np.array(full) / features.size
        points.append((features.keypoints[sure[:, column]] + 0.5) * scale - 0.5)
    projected = np.c_[points[0], np.ones(len(sure))] @ homography.T
    error = np.linalg.norm(projected[:, :2] / projected[:, 2:] - points[1], axis=1)
    assert len(sure) > 100
    assert np.mean(error < 5) > 0.9
