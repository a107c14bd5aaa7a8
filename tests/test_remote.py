"""Features at a URL that fsspec reads: read and written through, whole or not at all, and one line where that fails."""

import errno
import hashlib
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from test_docs import commands, options
from test_records import features
from test_upkeep import age

import reid
from reid.errors import StoreError
from reid.settings import Settings
from reid.store import DamagedFile, FeatureStore, Remote, lacking
from reid.store import features as store_of_features

SETTINGS = Settings.of(extractor="sift", matcher="nearest", fuse="none", embedding="none", max_keypoints=60, resize=160, shortlist=4)
WORDS = ["--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", 60, "--resize", 160]
PRINT, DIGEST, OTHER = "f" * 16, "ab" * 32, "ac" * 32
NAME = f"{PRINT}/ab/{DIGEST}.safetensors"


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}/reid" if request.param == "memory" else f"file://{tmp_path}/far away/reid"


@pytest.fixture
def bucket():
    return f"memory://{uuid.uuid4().hex}/reid/"


def there(url):
    """{name: content} of the files at a URL."""
    files, root = fsspec.url_to_fs(url)
    return {path[len(root.rstrip("/")) + 1 :]: files.cat_file(path) for path in files.find(root)}


def test_a_protocol_alone_names_its_root_and_no_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    FeatureStore(tmp_path / "a", PRINT, Remote("memory://")).save(DIGEST, features(7))
    assert list(MemoryFileSystem.store) == [f"/{NAME}"] and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_empty_url_is_refused_and_shares_nothing_in_silence(animals, call):
    status, _, err = call("index", "--gallery", animals, "--features", "", *WORDS)
    assert status == 2 and err.count("\n") == 1 and "is empty; name one" in err


def test_what_is_saved_is_there_and_is_read_where_it_is_not(url, tmp_path):
    first, second, alone = (
        FeatureStore(tmp_path / name, PRINT, remote) for name, remote in (("a", Remote(url)), ("b", Remote(url)), ("c", None))
    )
    given = features(7, keypoints=np.random.default_rng(0).random((7, 2)) * 19)
    assert DIGEST not in second and second.load(DIGEST) is None and lacking([DIGEST, OTHER], [second]) == {DIGEST, OTHER}
    first.save(DIGEST, given)
    assert there(url) == {NAME: first.path(DIGEST).read_bytes()}
    assert (
        DIGEST in second
        and DIGEST not in alone
        and lacking([DIGEST, OTHER], [second]) == {OTHER}
        and lacking([DIGEST], [alone]) == {DIGEST}
    )
    assert np.array_equal(second.load(DIGEST).keypoints, given.keypoints)
    assert second.path(DIGEST).read_bytes() == first.path(DIGEST).read_bytes()
    fsspec.url_to_fs(url)[0].rm(fsspec.url_to_fs(url)[1], recursive=True)
    assert len(second.load(DIGEST)) == 7 and lacking([DIGEST], [second]) == set()  # the copy is looked at first


def test_copies_may_be_kept_elsewhere(bucket, tmp_path):
    FeatureStore(tmp_path / "a", PRINT, Remote(bucket)).save(DIGEST, features())
    store = FeatureStore(tmp_path / "b", PRINT, Remote(bucket, tmp_path / "own"))
    assert len(store.load(DIGEST)) and store.path(DIGEST) == tmp_path / "own" / "features" / NAME and not (tmp_path / "b").exists()


def digest_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def n_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_of_copies_elsewhere_those_go_that_were_used_longest_ago(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(store_of_features, "TRIM_EVERY", 1)
    own, here = (FeatureStore(tmp_path / name, PRINT, Remote(bucket, copies)) for name, copies in (("a", tmp_path / "own"), ("b", None)))
    for number in range(4):
        own.save(digest_of(number), features(7))
        os.utime(own.path(digest_of(number)), (number, number))
    monkeypatch.setattr(store_of_features, "COPIES", n_bytes(tmp_path / "own"))
    assert len(own.load(digest_of(0))) == 7  # so that it is used last
    other = FeatureStore(tmp_path / "a", "e" * 16, Remote(bucket, tmp_path / "own"))  # by other settings
    young, old = (own.path(digest_of(3)).with_name(f".{name}.part") for name in ("young", "old"))
    young.touch()
    old.touch()
    os.utime(old, (0, 0))
    other.save(digest_of(4), features(7))
    assert n_bytes(tmp_path / "own") == store_of_features.COPIES and young.exists() and not old.exists()
    assert [own.path(digest_of(number)).exists() for number in range(4)] == [True, False, True, True]
    assert len(there(bucket)) == 5 and lacking(map(digest_of, range(4)), [own]) == set()
    assert len(own.load(digest_of(1))) == 7 and own.path(digest_of(1)).exists() and not own.path(digest_of(2)).exists()
    for number in range(9):
        here.save(digest_of(number), features(7))
    assert len(list((tmp_path / "b").rglob("*.safetensors"))) == 9  # the store itself is not bounded


def test_copies_that_others_remove_meanwhile_are_read_at_the_url(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(store_of_features, "TRIM_EVERY", 1)
    first = FeatureStore(tmp_path / "a", PRINT, Remote(bucket, tmp_path / "own"))
    first.save(digest_of(0), features(7))
    monkeypatch.setattr(store_of_features, "COPIES", 3 * n_bytes(tmp_path / "own"))
    stores = [first, *(FeatureStore(tmp_path / "a", PRINT, Remote(bucket, tmp_path / "own")) for _ in range(3))]

    def use(store):
        for number in range(40):
            store.save(digest_of(number % 8), features(7))
            assert len(store.load(digest_of(number * 3 % 8)) or ()) in (0, 7)
        return [len(store.load(digest_of(number))) for number in range(8)]

    with ThreadPoolExecutor(len(stores)) as threads:
        assert list(threads.map(use, stores)) == [[7] * 8] * 4
    assert n_bytes(tmp_path / "own") <= store_of_features.COPIES

    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", stale)
        assert len(first.load(digest_of(7))) == 7


@pytest.mark.parametrize("harm", [lambda data: data[:-7], lambda data: b"", lambda data: bytes([*data[:-5], data[-5] ^ 1, *data[-4:]])])
def test_every_damage_is_found(url, tmp_path, harm):
    FeatureStore(tmp_path / "a", PRINT, Remote(url)).save(DIGEST, features(40))
    store = FeatureStore(tmp_path / "b", PRINT, Remote(url))
    Remote(url).write(NAME, harm(there(url)[NAME]))
    with pytest.raises(DamagedFile, match=f"{url}/{NAME}"):
        store.load(DIGEST)
    assert not store.path(DIGEST).exists()  # no copy is kept of it


def test_a_disk_that_writes_in_pieces_is_written_beside_the_place(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path / "a", PRINT, Remote(f"file://{tmp_path}/far"))

    def cut(self, path, value, **options):
        with open(path, "wb") as file:
            file.write(value[:100])
        raise ConnectionResetError("connection reset by peer")

    monkeypatch.setattr(LocalFileSystem, "pipe_file", cut)
    with pytest.raises(StoreError, match=f"^cannot write file://.*{DIGEST}.*: connection reset by peer; mend that and run again"):
        store.save(DIGEST, features())
    monkeypatch.undo()
    [part] = (tmp_path / "far").rglob("*.part")
    assert DIGEST not in store and store.load(DIGEST) is None and lacking([DIGEST], [store]) == {DIGEST}
    store.save(DIGEST, features())
    assert there(f"file://{tmp_path}/far").keys() == {NAME, str(part.relative_to(tmp_path / "far"))}


def test_two_galleries_share_what_was_extracted(animals, url, tmp_path):
    answers = []
    for store, n in (("first", 16), ("second", 0)):
        with reid.open(animals, SETTINGS, cache=tmp_path / store, features=url) as opened:
            assert opened.index().n_extracted == n
            answers.append(opened.identify(animals.parent / "photos").rankings)
            with opened.with_settings(SETTINGS.replace(min_confidence=0.4)) as other:
                assert other.index().n_extracted == 0
    with reid.open(animals, SETTINGS, cache=tmp_path / "alone") as opened:
        answers.append(opened.identify(animals.parent / "photos").rankings)
    assert answers[0] == answers[1] == answers[2]
    assert len(there(url)) == 18  # those of both queries, too
    assert {name: (tmp_path / "alone" / "features" / name).read_bytes() for name in there(url)} == there(url)


def test_a_damaged_file_is_told_extracted_again_and_replaced(animals, bucket, call, tmp_path):
    words = ["index", "--gallery", animals, "--features", bucket, *WORDS]
    assert call(*words, "--cache", tmp_path / "first")[0] == 0
    whole = there(bucket)
    name = min(whole)
    Remote(bucket).write(name, whole[name][:-9])
    status, out, err = call(*words, "--cache", tmp_path / "second", "--check")
    assert status == 0 and "(1 of them now)" in out and f"{bucket}{name} is damaged; the features of " in err
    assert there(bucket) == whole
    assert call("check", "--gallery", animals, "--cache", tmp_path / "second")[0] == 0


def test_what_fails_on_the_way_is_one_line_and_the_next_run_goes_on(animals, bucket, call, tmp_path, monkeypatch):
    words = ["index", "--gallery", animals, "--cache", tmp_path / "store", "--features", bucket, *WORDS]
    put, n = MemoryFileSystem.pipe_file, 0

    def gone(self, path, value, **options):
        nonlocal n
        n += 1
        if n > 5:
            raise RuntimeError("could not connect to the endpoint\nand so on")
        put(self, path, value, **options)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "pipe_file", gone)
        status, _, err = call(*words)
    [line] = [line for line in err.splitlines() if line.startswith("reid: ")]
    assert status == 2 and line.startswith(f"reid: cannot write {bucket}") and "Traceback" not in err
    assert line.endswith(": could not connect to the endpoint; mend that and run again, what is stored stays")
    assert len(there(bucket)) == 5
    status, out, _ = call(*words)
    assert status == 0 and "(11 of them now)" in out
    for name, verb in (("ls", "list"), ("cat_file", "read")):
        with monkeypatch.context() as patched:
            patched.setattr(MemoryFileSystem, name, lambda *args, **options: (_ for _ in ()).throw(PermissionError("Access Denied")))
            status, _, err = call(*words[:3], "--cache", tmp_path / name, *words[5:])
        assert status == 2 and f"reid: cannot {verb} {bucket}" in err and ": Access Denied; mend that" in err


def test_what_is_missing_or_meaningless_is_one_line(animals, call, monkeypatch):
    def said(url, *missing):
        with monkeypatch.context() as patched:
            for name in missing:
                patched.setitem(sys.modules, name, None)
            status, _, err = call("index", "--gallery", animals, *(["--features", url] if url else []), *WORDS)
        assert status == (2 if url else 0) and "Traceback" not in err
        return err

    assert "reid: s3://b is read by fsspec, which is not installed; `pip install 'animal-reid[remote]'`" in said("s3://b", "fsspec")
    assert "reid: cannot use s3://b: Install s3fs to access S3; mend that" in said("s3://b", "s3fs")
    assert "reid: cannot use nonsense://b: Protocol not known: nonsense" in said("nonsense://b")
    assert "reid" not in said("", "fsspec")  # nobody asks for it


def test_every_command_that_takes_an_engine_takes_it():
    taken = [(name, "--features" in options(one), "--engine" in options(one)) for name, one in commands().items()]
    assert sum(features for _, features, _ in taken) == 7 and all(features == engine for _, features, engine in taken), taken


def test_gc_frees_copies_and_nothing_at_the_url(animals, bucket, call):
    words = ["index", "--gallery", animals, "--features", bucket, *WORDS]
    assert call(*words)[0] == 0
    whole, [settings] = there(bucket), (animals / ".reid" / "features").glob("*")
    age(settings, 100)
    assert "features: 16 files" in call("gc", "--gallery", animals)[1] and not settings.exists()
    assert there(bucket) == whole and len(whole) == 16
    status, out, _ = call(*words)
    assert status == 0 and "(0 of them now)" in out
