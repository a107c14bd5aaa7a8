"""What fingerprints are made of: every number that changes a result, and everything about the machine that does."""

import ast
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import reid
from reid import devices, extractors, matchers, retrieval
from reid.errors import SettingsError
from reid.settings import ExtractSettings, MatchSettings
from reid.stages.sides import LAYOUT
from reid.store.description import constants

PACKAGE = Path(reid.__file__).parent
HALF = torch.bfloat16
NOT_OF_PHOTOS = {"extractors/classical.py": "rows of the feature benchmark, which writes them beside its figures; nothing is stored"}


def numbers(path: Path) -> set[str]:
    """Names in capitals at the top of a file that are given a number, or something that holds one, but those of its NO_EFFECT."""
    found, without, imported = set(), set(), set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            if names == ["NO_EFFECT"]:
                without = set(ast.literal_eval(node.value))
            values = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            if any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
                found |= {name for name in names if name.isupper()}
    assert without <= found | imported, f"{path}: {without - found} is no number of it"
    return found - without


def described() -> dict[str, set[str]]:
    """Of every extractor and matcher together: the names that their descriptions hold, by file."""
    found: dict[str, set[str]] = {}
    parts = [extractors.describe(ExtractSettings(extractor=name))["constants"] for name in extractors.REGISTRY]
    for matcher in matchers.MATCHERS:
        extract = ExtractSettings(extractor={"loftr": "loftr", "cosine": "embedding"}.get(matcher, "aliked-n16"))
        parts += [matchers.describe(extract, MatchSettings(matcher=matcher, verify=how))["constants"] for how in ("none", "affine")]
    parts.append({file: values for file, values in extractors.describe(ExtractSettings())["segment"].items() if file != "weights"})
    parts.append(constants(LAYOUT))  # of the fingerprint of what sides are told by
    for part in parts:
        for file, values in part.items():
            found.setdefault(file.replace(".", "/") + ".py", set()).update(values)
    return found


def test_every_number_of_an_extractor_or_matcher_is_in_its_description():
    known = described()
    files = [*(PACKAGE / "extractors").glob("*.py"), *(PACKAGE / "matchers").glob("*.py")]
    n_numbers = 0
    for path in files:
        name = path.relative_to(PACKAGE).as_posix()
        if path.name == "__init__.py" or name in NOT_OF_PHOTOS:
            continue
        n_numbers += len(numbers(path))
        assert numbers(path) <= known.get(name, set()), name
    assert n_numbers > 25


def test_numbers_of_the_packages_own_files_are_of_a_coarse_look_and_in_its_description():
    assert numbers(PACKAGE / "extractors" / "__init__.py") == {"REGISTRY"}  # sizes of descriptors, which weights have
    assert numbers(PACKAGE / "matchers" / "__init__.py") == {"COARSE_KEYPOINTS", "COARSE_LAYERS"}
    coarse = matchers.describe_coarse(ExtractSettings(), MatchSettings())
    assert (coarse["keypoints"], coarse["layers"]) == (matchers.COARSE_KEYPOINTS, matchers.COARSE_LAYERS)


def test_numbers_of_retrieval_are_in_its_description():
    described = retrieval.describe()
    n_numbers = 0
    for path in (PACKAGE / "retrieval").glob("*.py"):
        found = numbers(path)
        assert found <= set(described.get(f"retrieval.{path.stem}", ())), path
        n_numbers += len(found)
    assert n_numbers >= 20


def test_descriptions_change_with_what_changes_results_and_with_nothing_else(monkeypatch):
    def all_of(extract=ExtractSettings(), match=MatchSettings()):
        whole = extractors.describe(extract), matchers.describe(extract, match), matchers.describe_coarse(extract, match)
        return [json.dumps(one, sort_keys=True) for one in whole]

    def changed(**changes):
        own = {name: changes.pop(name) for name in list(changes) if name in ExtractSettings.__dataclass_fields__}
        return [a != b for a, b in zip(before, all_of(ExtractSettings(**own), MatchSettings(**changes)))]

    before = all_of()
    assert changed() == [False, False, False]
    assert changed(max_keypoints=300) == changed(segment=False) == changed(equalize=True) == [True, False, False]
    assert changed(depth_confidence=0.8) == changed(width_confidence=0.8) == [False, True, False]
    assert changed(verify="affine") == [False, True, True]
    assert changed(shortlist=7, coarse=False, sides="all", mirror=True, rotations=4, ratio=0.7) == [False, False, False]
    assert changed(matcher="nearest") == [False, True, True]
    before = all_of(match=MatchSettings(matcher="nearest"))
    assert changed(matcher="nearest", ratio=0.7) == [False, True, True]
    assert changed(matcher="nearest", depth_confidence=0.5) == [False, False, False]
    monkeypatch.setattr("reid.matchers.nearest.SPREAD", 0.05)
    assert changed(matcher="nearest") == [False, True, True]
    monkeypatch.setattr("reid.extractors.outline.LIKELY", 0.6)
    assert changed(matcher="nearest") == [True, True, True]
    segmented = extractors.describe(ExtractSettings(segment=True))["segment"]
    assert segmented["extractors.outline"]["LIKELY"] == 0.6


@pytest.fixture
def amx(monkeypatch):
    """A processor that has every instruction set but the last."""
    for name, test in devices.INSTRUCTION_SETS.items():
        if test:
            monkeypatch.setattr(torch.cpu, test, lambda name=name: name != "AVX512_CORE_AMX_FP16", raising=False)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    return monkeypatch


def test_half_precision_is_described_with_the_instructions_in_force(amx):
    assert devices.numerics("cpu", HALF) == "cpu bfloat16 AVX512_CORE_AMX AVX512"
    for cap, most in (
        ("AVX512_CORE_BF16", "AVX512_CORE_BF16"), ("avx512_core_bf16", "AVX512_CORE_BF16"), ("AVX512_CORE_FP16", "AVX512_CORE_BF16"),
        ("AVX512_CORE", "AVX512_CORE"), ("AVX2_VNNI", "AVX2"), ("ALL", "AVX512_CORE_AMX"), ("nonsense", "AVX512_CORE_AMX"),
    ):  # fmt: skip
        amx.setenv("ONEDNN_MAX_CPU_ISA", cap)
        assert devices.numerics("cpu", HALF) == f"cpu bfloat16 {most} AVX512", cap
    amx.delenv("ONEDNN_MAX_CPU_ISA")
    amx.setenv("DNNL_MAX_CPU_ISA", "AVX2")  # its older name
    amx.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert devices.numerics("cpu", HALF) == "cpu bfloat16 AVX2 AVX2"
    assert devices.numerics("cpu", torch.float32) == "cpu float32"  # the same on all, to the last digits


def test_a_processor_computes_in_half_precision_only_with_instructions_for_it(amx):
    fast, full = MatchSettings(), MatchSettings(precision="full")
    assert matchers.numerics(fast, "cpu") == "cpu bfloat16 AVX512_CORE_AMX AVX512"
    assert matchers.numerics(full, "cpu") == matchers.numerics(MatchSettings(matcher="nearest"), "cpu") == "cpu float32"
    amx.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert matchers.dtype(fast, "cpu") == torch.float32  # else it would be emulated, at a fifth of the speed
    assert matchers.numerics(fast, "cpu") == "cpu float32"


def test_a_gpu_that_emulates_bfloat16_does_not_compute_in_it_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not devices.native_bfloat16("cuda")


def test_a_gpus_features_and_matches_are_not_a_processors(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    aliked, disk, sift = (ExtractSettings(extractor=name) for name in ("aliked-n16", "disk", "sift"))
    assert extractors.numerics(aliked, "cuda") == "cuda float16 sm_90"
    assert extractors.numerics(aliked, "cpu") == "cpu float32"
    assert extractors.numerics(disk, "cuda") == "cuda float32"
    assert extractors.numerics(sift, "cuda") == extractors.numerics(sift, "cpu") == "cpu float32"  # OpenCV's, on the processor
    assert matchers.numerics(MatchSettings(), "cuda") == "cuda float16 sm_90"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert matchers.numerics(MatchSettings(), "cuda") == "cuda float32"


def test_float32_on_a_gpu_is_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert devices.choose("cpu") == "cpu" and torch.backends.cudnn.allow_tf32
    assert devices.choose("auto") == "cuda" and not torch.backends.cudnn.allow_tf32


def test_work_that_the_memory_is_too_small_for_is_done_in_halves():
    done = []

    def work(items, most):
        done.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return [2 * item for item in items]

    assert devices.in_halves(lambda items: work(items, 3), [1, 2, 3, 4, 5], "way out") == [2, 4, 6, 8, 10]
    assert done == [5, 2, 3]
    assert devices.in_halves(lambda items: work(items, 3), [], "way out") == []
    with pytest.raises(SettingsError, match=r"^the device's memory is too small \(CUDA out of memory\); take fewer$"):
        devices.in_halves(lambda items: work(items, 2), [1, 2, 3, 4, 5, 6], "take fewer")
    with pytest.raises(SettingsError, match="take fewer"):
        devices.in_halves(lambda items: work(items, 0), [1], "take fewer")


def test_items_are_worked_at_by_threads_that_compute_alone(threads):
    threads(2)
    at_work = threading.Barrier(2, timeout=30)

    def work(item):
        at_work.wait()  # for the other thread, which is at work at the same time
        return item, torch.get_num_threads()

    assert list(devices.abreast(work, [3, 1, 2, 0])) == [(3, 1), (1, 1), (2, 1), (0, 1)]
    with ThreadPoolExecutor(1) as pool:
        assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == 2  # this thread, and those that begin later
    assert list(devices.abreast(lambda item: torch.get_num_threads(), [1])) == [2]  # one item has all threads


def test_what_goes_wrong_beside_others_is_told_and_stops_them(threads):
    threads(2)
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("bad")
        time.sleep(0.01)
        return item

    with pytest.raises(ValueError, match="bad"):
        list(devices.abreast(work, range(1000)))
    assert len(begun) < 900
    assert torch.get_num_threads() == 2


def test_photos_are_extracted_in_halves_where_the_memory_is_too_small():
    class Hungry(extractors.Extractor):
        def _together(self, photos):
            if len(photos) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried")
            return list(photos)

    most = 3
    assert Hungry().extract_all([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6]
    assert Hungry().extract(7) == 7
    most = 2
    with pytest.raises(SettingsError, match=r"take smaller photos \(--resize\), or let the processor compute \(--device cpu\)"):
        Hungry().extract_all([1, 2, 3, 4, 5, 6])
