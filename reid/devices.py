"""What computes: which device, its name, and whether it is faster in half precision. torch is imported when it is asked for."""

from __future__ import annotations

import platform
from pathlib import Path

from .errors import SettingsError


def choose(wanted: str) -> str:
    """`auto` is the fastest there is; SettingsError for one that is not there."""
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted):
        raise SettingsError(f"there is no {wanted} device here; available: {', '.join(name for name, there in available.items() if there)}")
    return wanted


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


def native_bfloat16(device: str) -> bool:
    """Whether it computes in bfloat16 itself, and so is faster with it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
