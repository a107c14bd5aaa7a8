"""A Ray cluster of several nodes on one machine: the same answers as without it, whoever dies."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'animal-reid[ray]'")

import ray
from conftest import draw_animal, save
from ray.cluster_utils import Cluster
from shards import dies_of, hangs_once, refuses, wait_for_all, waits_for

import reid
from reid import Settings
from reid.engines import cluster as engine_of_cluster
from reid.engines.cluster import RayEngine
from reid.errors import EngineError, PhotoError, SettingsError
from reid.stages import Listener, Workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUICK = Settings.of(extractor="sift", matcher="nearest", fuse="none")
OWN = """
[extract]
max_keypoints = 60
resize = 160
[match]
shortlist = 8
[score]
fuse = "sift+nearest*0.5"
impostor_pairs = 24
"""
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "include_log_monitor": False}
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
PATIENT = {  # with a busy machine, on which a process may start slowly; one that is dead is still found out in seconds
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "60000",
}


def add_node(cluster, attempts=3):
    """A node with one processor. Its ports are given, for one that has to hear from its agents which ports they have dies where they do
    not say so within 15 seconds."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in PORTS]
        for one in held:
            one.bind(("", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(PORTS, held, strict=True)}
    try:
        return cluster.add_node(**NODE, **ports)
    except Exception:  # which is what Ray raises where a node does not start within 30 seconds
        if attempts == 1:
            raise
        if not cluster.worker_nodes:
            cluster.shutdown()
            cluster.head_node = None
        return add_node(cluster, attempts - 1)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The user's cache folder on the machines."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def machines(own):
    """Two nodes with a processor each. Nothing of them is left running."""
    before = dict(os.environ)
    os.environ |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(own),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray's own 15 lets them starve beside other tests
        **PATIENT,
    }
    found = Cluster()
    for _ in range(2):
        add_node(found)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ.clear()
    os.environ |= before


class Told(Listener):
    """Keeps what is noted, and does `then` at every progress of the extraction until that is done."""

    def __init__(self, then=lambda: True):
        self.notes, self.then, self.done = [], then, False

    def note(self, text):
        self.notes.append(text)

    def progress(self, what, done, total):
        if what == "photos extracted" and done and not self.done:
            self.done = self.then()


@pytest.fixture
def crew(machines, tmp_path):
    """Makes engines, which are closed in the end."""
    made = []

    def make(listener=None, **options):
        made.append(RayEngine(tmp_path / "store", listener or Told(), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def tasks(folder):
    return Counter({file.name: len(file.read_text().splitlines()) for file in Path(folder).iterdir()})


@pytest.fixture
def seen(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


def test_results_are_in_order_and_nobody_waits_for_the_slow(crew, seen, monkeypatch):
    items = [str(number) for number in range(40)]
    engine = crew()
    ahead = seen / "39"  # what the first item waits for, so that it is the last one to be done
    assert list(engine.map(partial(waits_for, ahead), items, "items", key=str)) == [f"{item}!" for item in items]
    assert tasks(seen) == Counter(items)
    for file in seen.iterdir():
        file.unlink()
    monkeypatch.setattr(engine_of_cluster, "UNREAD", 5)
    found = engine.map(partial(waits_for, seen / "4"), items, "items", key=str)
    assert next(found) == "0!" and len(tasks(seen)) <= 8  # as many as may wait for the first, and what was at hand
    assert list(found) == [f"{item}!" for item in items[1:]]
    assert list(engine.map(partial(waits_for, ahead), [], "items", key=str)) == []


def test_an_item_that_kills_workers_costs_only_itself(crew, seen):
    told = Told()
    items = [*"abcdefgh"]
    work = partial(dies_of, "c", seen)
    engine = crew(told)
    found = engine.map(work, items, "items", key=str, size=4, otherwise=lambda item, reason: f"{item}: {reason}")
    first, second, third, *rest = list(found)
    assert (first, second, rest) == ("A", "B", [*"DEFGH"])
    assert third.startswith("c: 3 workers that had it by itself died, the last of them: ")
    assert tasks(seen)["c"] == 4 and sum("a worker is lost" in note for note in told.notes) == 4
    [run] = reid.engines.runs(seen.parent / "store")
    assert (run.done, run.total) == (8, 8)
    list(engine.map(work, ["c"], "items", key=str, otherwise=lambda item, reason: reason))  # of all that there is
    assert re.fullmatch(r"items: 1 in \d+\.\d s, .*", told.notes[-1])
    with pytest.raises(EngineError, match=r"^c: 3 workers that had it by itself died, the last of them: .{20,210}; leave it out, or "):
        list(engine.map(work, ["c"], "items", key=str))  # by the same workers: others would wait for their processors


def test_workers_that_die_one_after_another_end_the_run(crew, seen, monkeypatch):
    monkeypatch.setattr(engine_of_cluster, "DYING", 1)
    engine = crew(workers=1)
    with pytest.raises(EngineError, match="workers of the cluster die one after another; the last: "):
        list(engine.map(partial(dies_of, "abc", seen), [*"abc"], "items", key=str, otherwise=lambda item, reason: reason))
    [run] = reid.engines.runs(seen.parent / "store")
    assert run.ended.startswith("stopped: workers of the cluster die one after another") and len(run.lost) == 1


def test_an_item_is_not_charged_with_workers_that_died_before_they_had_it(crew, seen, monkeypatch):
    monkeypatch.setattr(engine_of_cluster, "DEATHS", 1)
    told = Told()
    engine = crew(told)
    assert list(engine.map(partial(wait_for_all, seen, 2), [*"ab"], "items", key=str)) == [*"ab"]
    for member in engine._crew.idle:
        os.kill(member.process, signal.SIGKILL)
    assert list(engine.map(partial(wait_for_all, seen, 2), [*"a"], "items", key=str)) == [*"a"]  # by one that was called anew
    assert not any("a worker is lost" in note for note in told.notes)


def test_one_that_hangs_is_given_to_another(crew, seen, monkeypatch):
    monkeypatch.setattr(engine_of_cluster, "PATIENCE", 2.0)
    told = Told()
    items = [str(number) for number in range(8)]
    assert list(crew(told).map(partial(hangs_once, seen), items, "items", key=str)) == items
    assert tasks(seen) == Counter([*items, "3"]) and any("it took longer than 2 s" in note for note in told.notes)


def test_what_a_stage_raises_is_raised_here(crew, machines, tmp_path, monkeypatch):
    engine = crew(workers=1)
    with pytest.raises(PhotoError, match=r"^x is a bad one$"):
        list(engine.map(refuses, ["x"], "items", key=str))
    with pytest.raises(EngineError, match="no machine of the cluster has 1 processors and 1 GPUs for a worker"):
        list(crew(gpus=1).map(refuses, ["x"], "items", key=str))
    work = Workspace(QUICK, tmp_path / "store", Listener())
    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "computes", work.computes | {"features of sift + nearest": "cuda float16 sm_90"})
        with pytest.raises(SettingsError, match=r"would not compute what .*\(features of sift \+ nearest: cpu float32, there cuda"):
            list(engine.map(partial(reid.stages.extracted_in, work=work), ["x"], "items", key=str))


# -- galleries


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Thirteen animals, eleven of them met again, a copy of a photo and one that is none; queries of a known and of a new one; and the
    store and answers of this process alone."""
    folder = tmp_path_factory.mktemp("cluster")
    root = folder / "gallery"
    rows = ["path,identity,split,date"]
    for animal in range(13):
        for view in range(2 if animal < 11 else 1):
            save(root / f"{animal}-{view}.png", draw_animal(animal, view))
            rows.append(f"{animal}-{view}.png,animal-{animal},gallery,201{view}-01-01")
    for name, pixels in (("3-5", draw_animal(3, 5)), ("5-5", draw_animal(5, 5)), ("99-0", draw_animal(99, 0))):
        save(root / f"{name}.png", pixels)
        rows.append(f"{name}.png,animal-{name.split('-')[0]},query,2019-01-01")
    (root / "copy.png").write_bytes((root / "3-0.png").read_bytes())
    (root / "bad.png").write_bytes((root / "3-0.png").read_bytes()[:200])
    rows += ["copy.png,animal-3,gallery,2010-01-01", "bad.png,animal-4,gallery,2010-01-01"]
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    (root / "own.toml").write_text(OWN)
    return root


@pytest.fixture(scope="module")
def alone(gallery):
    return everything(gallery, gallery.parent / "alone", reid.engines.local)


def everything(root, store, engine, listener=None, **options):
    """What is asked of a gallery, as far as it does not depend on when and how fast."""
    with reid.open(root, Settings.load(root / "own.toml"), cache=store, engine=engine, listener=listener or Told(), **options) as opened:
        indexed = opened.index()
        calibrated = opened.calibrate()
        report = opened.identify([root / "3-5.png", root / "5-5.png", root / "99-0.png"])
        evaluated = opened.evaluate().as_json()
        health = opened.health()
        grouped = opened.cluster()
    evaluated.pop("seconds_per_query")
    return (
        (indexed.n_photos, indexed.n_extracted, indexed.failures, indexed.recall, indexed.impostors.as_json()),
        calibrated.as_json(),
        (report.rankings, report.failures, report.fingerprint),
        evaluated,
        health,
        (grouped.photos, grouped.written, grouped.failures, grouped.impostors.as_json()),
    )


def stored(store):
    """Everything computed, bit by bit, but second looks: workers take those, too, that weights ask for before any are learned."""
    kinds = ("features", "matches", "coarse", "impostors", "recall", "losses", "calibration")
    return {file.relative_to(store): file.read_bytes() for kind in kinds for file in sorted((store / kind).rglob("*.*"))}


def n_features(store):
    return len(list((store / "features").glob("*/*/*.safetensors")))


def same_features(indexed, store):
    """Whether all photos of the gallery, and none besides, have the features that they have in a store that has those of queries, too."""
    found, expected = ({file: data for file, data in stored(one).items() if file.parts[0] == "features"} for one in (indexed, store))
    assert len(found) == 72 and found.items() <= expected.items()  # 24 photos by content, of two pipelines and a vector each


@pytest.mark.parametrize("workers", [1, 2])
def test_the_answer_is_the_same_with_any_number_of_workers(gallery, alone, machines, workers, monkeypatch):
    monkeypatch.setattr("reid.session.PHOTOS", 3)
    store, told = gallery.parent / f"{workers}", Told()
    assert everything(gallery, store, reid.engines.ray(workers=workers), told) == alone
    assert alone[0][:2] == (25, 25) and len(alone[0][2]) == 1
    assert 10 < len({one.group for one in alone[5][0]}) < 20  # of 28 photos of 14 animals
    assert stored(store) == stored(gallery.parent / "alone")
    assert all(any(note.startswith(f"photos {what} in ") for note in told.notes) for what in ("extracted: 26", "compared: 28"))


def test_workers_share_features_at_a_url(gallery, alone, machines, own, tmp_path):
    """Which they keep copies of each for itself, not where everything else is."""
    assert everything(gallery, tmp_path / "store", reid.engines.ray(workers=2), features=f"file://{tmp_path}/far/features") == alone
    whole = {file: data for file, data in stored(gallery.parent / "alone").items() if file.parts[0] == "features"}
    assert stored(tmp_path / "far") == whole and {file.parts[0] for file in stored(own / "reid")} == {"features"}
    here = {file for file in stored(tmp_path / "store") if file.parts[0] == "features"}
    assert here < whole.keys()  # what the process that asks has read itself


def kill_with_a_shard(cluster, node, engine):
    """Kill the node, if its worker is in the middle of a shard; whether it was."""
    [raylet] = node.all_processes["raylet"]
    for call, member in engine._crew.calls.items():
        if member.shard and parent_of(member.process) == raylet.process.pid:
            os.kill(member.process, signal.SIGSTOP)
            if not ray.wait([call], timeout=1)[0]:
                cluster.remove_node(node, allow_graceful=False)
                return True
            os.kill(member.process, signal.SIGCONT)
    return False


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="whose worker it is, is read from /proc")
def test_a_node_that_dies_costs_its_shard_alone(gallery, alone, machines, seen, monkeypatch):
    monkeypatch.setattr("reid.session.PHOTOS", 3)
    node, store = add_node(machines), gallery.parent / "node"
    try:
        told = Told(lambda: kill_with_a_shard(machines, node, opened.engine))
        with reid.open(gallery, Settings.load(gallery / "own.toml"), cache=store, engine=reid.engines.ray(), listener=told) as opened:
            list(opened.engine.map(partial(wait_for_all, seen, 3), [*"abc"], "items", key=str))  # every node has its worker
            indexed = opened.index()
    finally:
        if node in machines.worker_nodes:
            machines.remove_node(node)
    assert told.done
    assert (indexed.n_photos, indexed.failures, indexed.impostors.as_json()) == (alone[0][0], alone[0][2], alone[0][4])
    same_features(store, gallery.parent / "alone")
    [lost] = [note for note in told.notes if note.startswith("a worker is lost")]
    assert "what it had of photos extracted, 3, is done again by others" in lost
    [run] = reid.engines.runs(store)
    assert run.ended == "done" and [one["n"] for one in run.lost] == [3]


def test_a_driver_that_is_killed_goes_on(gallery, alone, machines, call):
    store = gallery.parent / "driver"
    words = ["index", "--gallery", gallery, "--config", gallery / "own.toml", "--cache", store]
    far = ["--engine", "ray", "--address", machines.address]
    with open(gallery.parent / "driver.log", "w+") as said:
        run = subprocess.Popen([sys.executable, "-m", "reid", *map(str, words + far)], cwd=ROOT, stderr=said)
        until = time.monotonic() + 300
        while n_features(store) < 5 and run.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, (gallery.parent / "driver.log").read_text()
    before = {file: file.stat().st_mtime_ns for file in (store / "features").glob("*/*/*.safetensors")}
    assert 5 <= len(before) < 72  # of two pipelines and a vector
    status, out, err = call(*words, *far)
    assert status == 1 and "25 photos of 13 individuals are indexed" in out and "bad.png" in err
    assert {file: file.stat().st_mtime_ns for file in before} == before  # nothing is done twice
    shown = call("status", "--gallery", gallery, "--cache", store)[1]
    assert "; done, " in shown and f"-{run.pid}: photos extracted: " in shown
    same_features(store, gallery.parent / "alone")
