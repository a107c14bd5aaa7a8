import csv
import io
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_animal, save
from PIL import Image

FAST_PAIR = ["--extractor", "sift", "--matcher", "nearest", "--max-keypoints", "150", "--resize", "320"]
FAST = [*FAST_PAIR, "--fuse", "none"]


def process(*words):
    return subprocess.run([sys.executable, "-m", "reid", *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def reid(call, tmp_path, monkeypatch):
    """A command in this process, below `tmp_path`; the same command as a process of its own takes two to four seconds."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: subprocess.CompletedProcess(words, *call(*words))


def test_help_loads_nothing_slow():
    code = (
        "import sys; sys.argv = ['reid', '--help']\n"
        "from reid.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'kornia', 'cv2', 'scipy', 'pandas', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "identify" in done.stdout


@pytest.mark.parametrize("command", ["identify", "index", "compare", "features", "train", "export", "import", "review"])
def test_help_is_whole_on_a_narrow_terminal(call, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, said, _ = call(command, "--help")
    assert status == 0 and "…" not in said


def test_identify_writes_what_its_schema_says(reid, animals, tmp_path):
    photos = tmp_path / "photos"
    done = reid("identify", photos, "--gallery", animals, "--csv", "o.csv", "--json", "o.json", "--matches", "m", "--top", 3, *FAST)
    assert done.returncode == 0, done.stderr
    assert "searched 16 photos of 8 individuals" in done.stdout
    assert "animal-3" in done.stdout and "--encounter asks for them together" in done.stdout
    value = json.loads((tmp_path / "o.json").read_text())
    assert value["schema"] == 2
    assert value["settings"]["extract"]["extractor"] == "sift"
    assert len(value["settings"]["fingerprint"]) == 16
    first = value["queries"][0]
    chances = {"p_match", "p_other", "p_new", "p_match_interval", "p_impostor", "p_if_known", "p_if_new"}
    assert first.keys() == {"query", "verdict", "listed", *chances, "in_gallery", "because", "quality", "candidates"}
    assert [seen.keys() for seen in first["quality"]] == [{"pixels", "sharpness", "brightness", "contrast"}]
    assert (first["query"], first["verdict"], first["p_new"]) == ("known.png", "match", None)
    assert [candidate.keys() for candidate in first["candidates"]] == [
        {"rank", "individual", "named", "score", "n_matches", "reference", "photo"}
    ] * 3
    assert first["candidates"][0]["individual"] == "animal-3"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert [(row["query"], row["rank"]) for row in rows] == [(name, str(n)) for name in ("known.png", "new.png") for n in (1, 2, 3)]
    assert float(rows[0]["score"]) == first["candidates"][0]["score"]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["known.png.png", "new.png.png"]


def test_photos_that_were_imported_are_not_found_as_themselves(reid, animals, tmp_path):
    """Terminal, CSV, JSON and page agree on it, and the next step is named."""
    assert reid("import", tmp_path / "photos", "--gallery", animals, "--copy").returncode == 0
    found = reid("identify", "photos", "--gallery", animals, "--csv", "o.csv", "--json", "o.json", "--report", "o.html", *FAST)
    assert found.returncode == 0 and "known.png =" in found.stdout and "= in the gallery already" in found.stdout
    assert (
        f"2 queries are photos that the gallery holds already, without a name; next: reid review photos --gallery {animals}" in found.stdout
    )
    assert "note: 2 photos are in the gallery already, and not compared with themselves: known.png = photos/known.png" in found.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert {row["in_gallery"] for row in rows if row["query"] == "known.png"} == {"photos/known.png"}
    assert not any(row["reference"] == row["in_gallery"] for row in rows) and rows[0]["individual"] == "animal-3"
    first = json.loads((tmp_path / "o.json").read_text())["queries"][0]
    assert first["in_gallery"] == ["photos/known.png"] and "photos/known.png (nobody has named it)" in " ".join(first["because"])
    assert (
        "photos/known.png (nobody has named it)" in (tmp_path / "o.html").read_text()
        and "already</span>" in (tmp_path / "o.html").read_text()
    )


def test_matches_are_drawn_where_the_marks_are(tmp_path):
    """Turn, crop and scale a photo; lines must join the same marks of both upright photos."""
    import reid
    from reid import stages
    from reid.records import PhotoRef
    from reid.report import pictures

    scene = draw_animal(4, 0, (600, 420))
    query = save(tmp_path / "g" / "q.png", scene)
    exif = Image.Exif()
    exif[0x0112] = 8  # stored a quarter turn clockwise
    reference = save(tmp_path / "g" / "r.png", np.ascontiguousarray(np.rot90(scene, -1)), exif=exif)
    settings = reid.Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=300, resize=400)
    with reid.open(tmp_path / "g", settings) as opened:
        refs = [PhotoRef("q", query), PhotoRef("r", reference, crop=(100, 50, 400, 300))]
        (a, b), _ = stages.read(refs, opened.work.digests, opened.work.listener)
        pair = opened.view(a, b)
    sure = pair.matches.indices[pair.matches.confidence > 0.5]
    assert len(sure) > 50
    left, at_left = pictures._panel(refs[0], pair.features[0])
    right, at_right = pictures._panel(refs[1], pair.features[1])
    assert left.shape == right.shape  # both upright
    distance = np.linalg.norm(at_left[sure[:, 0]] - at_right[sure[:, 1]], axis=1)
    assert np.median(distance) < 1
    assert np.mean(distance < 3) > 0.9
    picture = pictures.of_pair(pair, ("q", "r"), 0.5)
    assert picture.shape == (pictures.HEIGHT + pictures.BAR, 2 * left.shape[1] + pictures.GAP, 3)


def test_picture_names_cannot_leave_their_folder():
    from reid.report.pictures import file_name

    for name in ("../../etc/passwd", "a/b.jpg", "..", "C:\\x.jpg", "фото.jpg"):
        made = file_name(name)
        assert Path(made).name == made
        assert not made.startswith(".")


def test_show_draws_a_pair(reid, animals, tmp_path):
    done = reid("show", animals / "animal-1" / "0.png", animals / "animal-1" / "1.png", *FAST_PAIR)
    assert done.returncode == 0, done.stderr
    picture = Image.open(tmp_path / "0-1-matches.png")
    assert picture.width > picture.height
    assert not (animals / ".reid").exists()


def test_index_says_what_it_did_and_exits_1_with_a_bad_photo(reid, animals):
    done = reid("index", "--gallery", animals, *FAST)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert "16 photos of 8 individuals are indexed" in done.stdout
    assert "(16 of them now)" in done.stdout
    assert "not calibrated" in done.stdout
    (animals / "animal-0" / "bad.jpg").write_text("no photo")
    again = reid("index", "--gallery", animals, *FAST)
    assert again.returncode == 1
    assert "(0 of them now)" in again.stdout
    assert next(line for line in again.stderr.splitlines() if line.startswith("reid:")).startswith("reid: not used: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["identify", "none.jpg"], "--gallery"),
        (["identify", "none.jpg", "--gallery", "nowhere"], "nowhere is not a folder"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--extractor", "surf"], "known: aliked-n16"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--extractor", "aliked-t16"], "there is no LightGlue for aliked-t16"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--resize", "big"], "--resize"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--device", "gpu"], "is not one of"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--where", "site=x"], "no column 'site'"),
        (["index", "--gallery", "GALLERY", "--config", "none.toml"], "none.toml: cannot be read"),
        (["index", "--gallery", "GALLERY", *FAST, "--cache", "/proc/nowhere"], "--cache"),
        (["evaluate", "--gallery", "GALLERY", *FAST], "no row whose column `split` says query or test"),
        (["models", "fetch", "resnet"], "unknown weights 'resnet'; known: aliked-n16"),
        (["nonsense"], "No such command"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--prior-new", "0"], "prior_new is 0.0; it lies between 0.001 and 0.999"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--report", "GALLERY"], "is a folder; name a file to write"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--json", "."], ". is a folder; name a file to write"),
        (["novelty", "none.jpg", "--gallery", "GALLERY"], "--report"),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--fuse", "surf+nearest"], "fuse: unknown extractor 'surf'"),
        (
            ["identify", "none.jpg", "--gallery", "GALLERY", "--preset", "quick"],
            "'quick' is not one of 'fast', 'balanced', 'best', 'exact'",
        ),
        (["identify", "none.jpg", "--gallery", "GALLERY", "--rotations", "3"], "rotations is 3; it is 1, 2 or 4"),
        (["calibrate", "--gallery", "GALLERY", *FAST], "too small to be calibrated"),
        (
            ["calibrate", "--gallery", "GALLERY", *FAST, "--calibration-queries", "3"],
            "calibration_queries is 3; a calibration needs at least 20",
        ),
        (["compare", "--gallery", "GALLERY", "--extractors", ","], "name at least one extractor"),
        (["compare", "--gallery", "GALLERY", "--extractor", "disk"], "No such option"),
    ],
)
def test_a_mistake_is_exit_2_and_one_line(reid, animals, words, said):
    done = reid(*[animals if word == "GALLERY" else word for word in words])
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    if "Usage" not in done.stderr:
        assert len([line for line in done.stderr.splitlines() if line.startswith("reid: ")]) == 1


def test_every_problem_of_a_table_is_printed(animals):
    (animals / "metadata.csv").write_text("path,identity,date\nanimal-1/0.png,a,yesterday\ngone.png,b,\n")
    done = process("index", "--gallery", animals, *FAST)
    assert done.returncode == 2
    assert "note: date: 1 date cannot be read and counts as none ('yesterday' in line 2)" in done.stderr
    assert "reid: metadata.csv, line 3: file 'gone.png' is missing (column path)" in done.stderr


def test_a_query_that_cannot_be_read_is_exit_1(reid, animals, tmp_path):
    done = reid("identify", tmp_path / "none.jpg", tmp_path / "photos" / "known.png", "--gallery", animals, *FAST)
    assert done.returncode == 1
    assert "none.jpg" in done.stderr
    assert "animal-3" in done.stdout


def test_evaluate_prints_every_score(reid, animals, tmp_path):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v and i < 3 else 'gallery'}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,split\n" + "\n".join(rows) + "\n")
    done = reid("evaluate", "--gallery", animals, "--json", tmp_path / "e.json", "--limit", 2, *FAST)
    assert done.returncode == 0, done.stderr
    for word in ("wasserstein", "n_matches", "sum", "mean", "top-1", "AUROC", "2 queries of known animals"):
        assert word in done.stdout
    assert json.loads((tmp_path / "e.json").read_text())["n_queries"] == 2


def test_models_lists_every_network_and_what_matches_it(reid):
    from reid import extractors, weights

    done = reid("models")
    assert done.returncode == 0, done.stderr
    for name in (*weights.REGISTRY, *extractors.REGISTRY):
        assert name in done.stdout
    unsized = [one for one in weights.REGISTRY.values() if one.n_bytes is None and weights.locate(one) is None]
    assert done.stdout.count("not stated") == len(unsized) + bool(unsized) and "?" not in done.stdout


def test_version():
    assert process("--version").stdout.startswith("reid 0.")


@pytest.mark.skipif(os.name == "nt", reason="it has no pseudo-terminals")
def test_a_terminal_gets_names_of_any_letters(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    name = os.fsdecode("Jürgen ".encode() + b"\xe9")
    done = subprocess.run([sys.executable, "-m", "reid", "index", "--gallery", tmp_path / name], stderr=theirs, stdout=theirs)
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 2 and "Jürgen \\udce9 is not a folder" in said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="takes a device that is full")
def test_what_is_to_be_written_is_written_where_the_output_is_closed_or_full(animals, tmp_path):
    for number, where in enumerate((">&-", "> /dev/full")):
        command = shlex.join([sys.executable, "-m", "reid", "identify", str(tmp_path / "photos"), "--gallery", str(animals), *FAST])
        done = subprocess.run(f"{command} --csv {tmp_path}/{number}.csv {where}", shell=True, capture_output=True, text=True)
        assert "Traceback" not in done.stderr and "Error" not in done.stderr, done.stderr
        assert (tmp_path / f"{number}.csv").stat().st_size > 100
        assert done.returncode == (2 if number else 0) and ("standard output, which is full" in done.stderr) == bool(number)


def test_a_call_of_the_system_that_fails_is_one_line(call, monkeypatch, tmp_path):
    monkeypatch.setattr("reid.catalogue.check_folder", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied", "a.faiss")))
    status, _, err = call("index", "--gallery", tmp_path)
    assert (status, err) == (2, "reid: a.faiss: Permission denied; mend that and run again, what is stored stays\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with a name")
def test_a_pipe_is_no_photo(reid, animals, tmp_path):
    os.mkfifo(tmp_path / "photos" / "pipe.jpg")
    done = reid("identify", tmp_path / "photos", "--gallery", animals, *FAST)
    assert done.returncode == 1 and "pipe.jpg is no file" in done.stderr and "known.png" in done.stdout


def test_compare_evaluates_what_there_is_and_names_the_rest(reid, animals, tmp_path):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v and i < 3 else 'gallery'}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,split\n" + "\n".join(rows) + "\n")
    words = ["--extractors", "sift,aliked-t16", "--matchers", "nearest,lightglue", "--max-keypoints", "100", "--resize", "320"]
    (tmp_path / "few.toml").write_text("[match]\nshortlist = 100\n")  # a file does not bring back what compare leaves out: fused pipelines
    words += ["--config", tmp_path / "few.toml"]
    done = reid("compare", "--gallery", animals, "--json", tmp_path / "c.json", "--limit", 2, *words)
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "c.json").read_text())
    assert {"sift + nearest", "aliked-t16 + nearest"} <= found.keys() and "aliked-t16 + lightglue" not in found
    assert found["sift + nearest"]["n_queries"] == 2
    assert "left out aliked-t16 + lightglue: there is no LightGlue for aliked-t16" in done.stderr
    assert "sift + nearest" in done.stdout and "mAP" in done.stdout


def test_a_gallery_too_small_for_one_matcher_is_compared_by_the_others(call, animals, tmp_path):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v else 'gallery'}" for i in range(3) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,split\n" + "\n".join(rows) + "\n")
    words = ["--extractors", "embedding,sift", "--matchers", "cosine,nearest", "--max-keypoints", "100", "--resize", "320", "--no-segment"]
    status, out, error = call("compare", "--gallery", animals, "--limit", 1, *words)
    [said] = [line for line in error.splitlines() if "left out embedding + cosine" in line]
    assert status == 1 and "sift + nearest" in out and "fewer than 20 pairs of different animals" in said
    (animals / "metadata.csv").write_text("path,identity\nanimal-1/0.png,a\n")
    status, _, error = call("compare", "--gallery", animals, *words)
    assert status == 2 and error.splitlines()[-1].endswith("evaluation needs some") and "left out" not in error


def test_a_bar_is_drawn_now_and_then_however_often_it_is_told(monkeypatch):
    from rich.progress import Progress

    from reid.cli.screen import listening

    drawn = []
    monkeypatch.setattr(Progress, "update", lambda self, task, **told: drawn.append(told["completed"]))
    with listening() as listener:
        for done in range(20_000):
            listener.progress("photos checked", done, 20_000)
        listener.progress("photos checked", 20_000, 20_000)
        assert drawn[0] == 0 and drawn[-1] == 20_000 and len(drawn) < 200
        drawn.clear()
        listener.progress("queries", 0, 100)
        for done in range(3000):
            listener.progress("pairs", done, 3000)
            if done == 2000:
                time.sleep(0.11)  # while another bar has just been drawn
                listener.progress("pairs", done, 3000)
                listener.progress("queries", 77, 100)
    assert 77 in drawn


def test_a_gallery_of_which_nothing_can_be_used_is_no_success(tmp_path, call):
    (tmp_path / "luna").mkdir()
    (tmp_path / "luna" / "1.jpg").write_bytes(b"")
    status, _, errors = call("index", "--gallery", tmp_path, "--extractor", "sift", "--matcher", "nearest", "--fuse", "none")
    assert status == 2 and "1.jpg is empty" in errors


def test_comparing_tells_of_photos_that_cannot_be_used(animals, call):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v and i < 5 else 'gallery'},{i}-{v}" for i in range(8) for v in range(2)]
    (animals / "animal-7" / "0.png").write_bytes(b"no photo")
    (animals / "metadata.csv").write_text("path,identity,split,encounter\n" + "\n".join(rows))
    quick = "--resize", 160, "--max-keypoints", 60
    words = "--extractors", "sift,aliked-n16", "--matchers", "nearest", "--skip-bad", *quick
    status, said, errors = call("compare", "--gallery", animals, *words)
    assert status == 1 and errors.count("reid: not used: ") == 1 and "left out" not in errors, (said, errors)
