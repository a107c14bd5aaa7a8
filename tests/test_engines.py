"""Engines: the same results wherever the work is done, and what happens where it cannot be."""

import os
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import reid
from reid import Settings, engines
from reid.engines import cluster, worker
from reid.engines.cluster import shards
from reid.engines.status import Told
from reid.errors import EngineError, SettingsError
from reid.listener import EAR
from reid.records import Indexed, PhotoRef, Query
from reid.scoring import shipped
from reid.stages import Listener, PairScores, Workspace
from reid.stages import cluster as grouped

QUICK = Settings.of(extractor="sift", max_keypoints=60, resize=160, matcher="nearest", fuse="none")


def test_the_local_engine_gives_what_the_stage_gives_when_it_gives_it(tmp_path):
    asked = []

    def work(items):
        for item in items:
            asked.append(item)
            yield item * item

    engine = engines.local(tmp_path, Listener())
    results = engine.map(work, [3, 1, 2], "squares", key=str)
    assert next(results) == 9 and asked == [3]
    assert list(results) == [1, 4] and list(tmp_path.iterdir()) == []
    engine.ahead(work, lambda: [5], "squares", key=str)
    assert asked == [3, 1, 2]


def test_shards_hold_what_is_of_one_content_together():
    assert shards(range(6), ["a", "b", "c", "a", "d", "b"], 2) == [(0, 3), (1, 5), (2, 4)]
    assert shards(range(3), ["a", "b", "c"], 2) == [(0, 1), (2,)]
    assert shards((4, 1, 3), ["-", "a", "-", "a", "b"], 1) == [(4,), (1, 3)]
    assert shards((), [], 4) == []


def test_a_workspace_that_travels_is_opened_once(tmp_path, monkeypatch):
    work = Workspace(QUICK, tmp_path / ".reid", Listener())
    sent = pickle.dumps(work)
    first, again = pickle.loads(sent), pickle.loads(pickle.dumps(work))
    assert first is again and first is not work
    assert (first.settings, first.folder, first.listener) == (work.settings, work.folder, EAR)
    assert first.digests.folder != work.digests.folder  # SQLite does not bear several machines
    assert pickle.loads(pickle.dumps(Workspace(QUICK.replace(resize=200), tmp_path, Listener()))) is not first
    pickle.loads(sent)
    first.listener.note("seen")
    assert (EAR.heard(), EAR.heard()) == (["seen"], [])
    monkeypatch.setattr(Workspace, "computes", work.computes | {"torch": "1.0"})
    other = pickle.dumps(Workspace(QUICK, tmp_path / "other", Listener()))
    monkeypatch.undo()
    with pytest.raises(SettingsError, match=r"would not compute what the process that asks does \(torch"):
        pickle.loads(other)


def test_a_worker_sees_what_the_others_see(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "PATIENCE", 0.0)
    monkeypatch.chdir(tmp_path)
    sign = tmp_path / ".reid" / "runs" / "now.json"
    with pytest.raises(EngineError, match=f"does not see what is written in {tmp_path}/.reid here; put the gallery and --cache"):
        worker.Worker().hello(str(tmp_path), str(sign))
    with pytest.raises(EngineError, match="run reid in a folder that every machine sees"):
        worker.Worker().hello(str(tmp_path / "gone"), str(sign))
    sign.parent.mkdir(parents=True)
    sign.touch()
    assert worker.Worker().hello(str(tmp_path), str(sign))[1] == os.getpid()


def test_what_a_cluster_lacks_is_said_in_one_line(animals, call, tmp_path, monkeypatch):
    status, _, err = call("index", "--gallery", animals, "--workers", 2)
    assert (
        status == 2
        and err == "reid: --address, --workers, --cpus-per-worker and --gpus-per-worker are of a cluster; say --engine ray, too\n"
    )
    monkeypatch.setattr(cluster, "_ray", lambda: SimpleNamespace(is_initialized=lambda: False, init=nobody_there))
    with pytest.raises(EngineError, match=r"no Ray cluster answers at node-a:6379 \(nobody there\); `ray start --head` starts one"):
        next(engines.ray("node-a:6379")(tmp_path, Listener()).map(list, [1], "items", key=str))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    status, _, err = call("index", "--gallery", animals, "--engine", "ray", "--extractor", "sift", "--matcher", "nearest", "--fuse", "none")
    assert status == 2 and err.splitlines()[-1] == "reid: Ray is not installed; `pip install 'animal-reid[ray]'` brings it"


def nobody_there(**options):
    raise ConnectionError("nobody there\nat all")


class Nodes:
    """Ray with machines of so many processors, as far as a crew asks it; workers do what they are asked at once, unless they are dead."""

    exceptions = SimpleNamespace(RayError=ConnectionError, RayTaskError=ZeroDivisionError)

    def __init__(self, *processors):
        self.processors, self.workers = processors, []

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": n}} for n in self.processors]

    def put(self, work):
        return work

    def remote(self, **options):
        return lambda kind: SimpleNamespace(remote=lambda: self.workers.append(Mortal(len(self.workers))) or self.workers[-1])

    def wait(self, calls, timeout):
        return calls[:1], calls[1:]

    def get(self, call):
        if not call.worker.alive or call.result is None:
            call.worker.alive = False
            raise ConnectionError("it is dead\n  because its process " + 99 * "is dead, for it ")
        return call.result

    def kill(self, worker):
        worker.alive = False


@dataclass(eq=False)
class Call:
    worker: Any
    result: Any


class Mortal:
    """A worker, and what has become of it; one that gives nothing has died of it."""

    def __init__(self, process):
        self.process, self.alive = process, True
        self.hello = SimpleNamespace(remote=lambda here, sign: Call(self, ("node-a", process)))
        self.do = SimpleNamespace(remote=lambda task, items: Call(self, task[0](items) if self.alive else None))


def doubled(items):
    return [2 * item for item in items], []


def test_no_more_workers_are_called_than_there_is_room_for(tmp_path, monkeypatch):
    for processors, workers, n in (((1, 3), None, 4), ((1, 3), 3, 3), ((1, 3), 9, 4), ((8, 0.5), 9, 8)):
        nodes = Nodes(*processors)
        monkeypatch.setattr(cluster, "_ray", lambda nodes=nodes: nodes)
        engine = engines.ray(workers=workers)(tmp_path, Listener())
        assert list(engine.map(doubled, range(20), "items", key=str)) == [*range(0, 40, 2)]
        assert len(nodes.workers) == n
    for workers in (None, 2):  # which would be waited for in vain
        engine = engines.ray(workers=workers, cpus=64)(tmp_path, Listener())
        with pytest.raises(EngineError, match="no machine of the cluster has 64 processors for a worker; ask for less of them"):
            list(engine.map(doubled, [1], "items", key=str))


def lone(number):
    return Indexed(PhotoRef(f"{number}.png", Path(f"photos/{number}.png")), str(number))


def test_an_item_is_not_charged_with_workers_that_died_before_they_had_it(tmp_path, monkeypatch):
    nodes, told = Nodes(4), []
    monkeypatch.setattr(cluster, "_ray", lambda: nodes)
    monkeypatch.setattr(cluster, "DYING", 1)  # besides 3 for each that lives, of those that died of work
    engine = engines.ray()(tmp_path, SimpleNamespace(note=told.append, progress=lambda *args: None))

    def have_done(work, *items):
        return list(engine.map(work, items, "items", key=str, otherwise=lambda item, reason: reason))

    def dies_with_its_machine(items):
        for one in nodes.workers[:8]:
            nodes.kill(one)
        return None if len(nodes.workers) == 8 else doubled(items)

    assert have_done(doubled, 1, 2, 3, 4) == [2, 4, 6, 8] and len(nodes.workers) == 4
    for one in nodes.workers:
        nodes.kill(one)
    assert have_done(doubled, 5, 6, 7, 8) == [10, 12, 14, 16] and len(nodes.workers) == 8  # by some that were called anew
    assert not any("is lost" in note for note in told)
    assert have_done(dies_with_its_machine, 9) == [18]
    assert [note.partition(";")[2] for note in told if "is lost" in note] == [" what it had of items, 1, is done again by others"]


@pytest.mark.parametrize(("item", "name"), [(7, "7"), (lone(7), "photos/7.png"), (Query("met on Monday", (lone(7),)), "met on Monday")])
def test_the_item_that_workers_die_of_is_named_in_one_short_line(tmp_path, monkeypatch, item, name):
    nodes = Nodes(4)
    monkeypatch.setattr(cluster, "_ray", lambda: nodes)
    with pytest.raises(
        EngineError, match=f"^{name}: 3 workers that had it by itself died, the last of them: because its .* is dead, .*"
    ) as told:
        list(engines.ray()(tmp_path, Listener()).map(lambda items: None, [item], "items", key=str))
    assert str(told.value).endswith(" ...; leave it out, or give each worker more memory by --cpus-per-worker, and run again")
    assert len(str(told.value)) < 400


def test_status_says_what_runs_where_and_what_failed(animals, call, monkeypatch):
    status, out, _ = call("status", "--gallery", animals)
    assert status == 0 and out == f"nothing that was run with --engine ray has stored anything in {animals / '.reid'}\n"
    now = [1e9]
    clock = SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic)
    monkeypatch.setattr("reid.engines.status.time", clock)
    monkeypatch.setattr("reid.cli.screen.time", clock)
    told = Told(animals / ".reid")
    told.begin("photos extracted", 64)
    now[0] += 10
    told.finished("node-a", 32)
    told.failed("a.jpg is empty")
    told.lose("node-b, process 7", "0123abcd", 32, "out of memory")
    told.tell([{"worker": "node-a, process 5", "shard": "89ef", "n": 16, "since": now[0] - 3}])
    assert call("status", "--gallery", animals)[1].splitlines() == [
        f"{told.run.name}: photos extracted: 32 of 64, 3.2/s (node-a 3.2/s); heard of 0 s ago",
        "  node-a, process 5: shard 89ef, 16 of them, for 3 s",
        "  lost 0 s ago: node-b, process 7 with shard 0123abcd, 32 of them: out of memory",
        "  not used: a.jpg is empty",
    ]
    before = told.file.read_bytes()
    now[0] += 1
    told.tell([])  # too soon
    assert told.file.read_bytes() == before
    now[0] += 120
    assert "ago: killed, or its machine is gone. If it is killed, run the same" in call("status", "--gallery", animals)[1]
    told.finished("node-a", 32)
    told.tell([])
    now[0] += 120
    assert "the process that asks works by itself, or is killed" in call("status", "--gallery", animals)[1]
    now[0] += 120
    told.tell([], ended="done")
    assert ": 64 of 64, 0.489/s (node-a 0.489/s); done, 0 s ago" in call("status", "--gallery", animals)[1].splitlines()[0]
    assert call("check", "--gallery", animals)[0] == 0


def test_answers_of_many_queries_are_kept_short(animals, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["reid.stages.identify"], "KEPT", 3)
    with reid.open(animals, QUICK.replace(top=2)) as opened:
        report = opened.identify(tmp_path / "photos")
        whole, _ = opened.answer(opened.queries_of([PhotoRef("known.png", tmp_path / "photos" / "known.png")])[0][0])
    assert [len(one.candidates) for one in report.rankings] == [3, 3]
    assert report.rankings[0].candidates == whole.candidates[:3] and len(whole.candidates) == 8


def test_what_each_photo_is_most_like_is_found_row_by_row():
    """Of several that are as alike the first; nothing is read of one pair by itself, of which a folder of 10,000 photos has 50 million."""
    n, asked = 40, []

    class Asked(np.ndarray):
        def __getitem__(self, place):
            asked.append(place)
            return super().__getitem__(place)

    rows = np.random.default_rng(0).choice([0.0, 1.0, 2.0, 40.0, np.nan], (n, n), p=[0.4, 0.3, 0.2, 0.05, 0.05])
    rows[3] = rows[:, 3] = np.nan  # compared with none
    found = PairScores.of(rows)
    items = [lone(number) for number in range(n)]
    counted = PairScores(found.scores.view(Asked), found.n_compared)
    photos = grouped(items, counted, [], [], SimpleNamespace(settings=QUICK), shipped([("sift", "nearest")], [1.0]))
    assert len(asked) < 8 * n and 1 < len({one.group for one in photos}) < n
    for i, photo in enumerate(photos):
        for like, same in ((photo.like, True), (photo.other, False)):
            known = [j for j in range(n) if j != i and (photos[j].group == photo.group) == same and not np.isnan(found.scores[i, j])]
            best = max(known, key=lambda j: (found.scores[i, j], -j), default=None)
            assert (like and (like.item, like.score)) == (None if best is None else (items[best], found.scores[i, best]))
