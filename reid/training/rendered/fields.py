"""Random fields: what bodies, coats, light and backgrounds are made of. They wrap around at their edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]
Rng = np.random.Generator


def noise(rng: Rng, shape: tuple[int, int], wave: float, *, band: float = 0.0, slope: float = 0.0, stretch: float = 1.0) -> Field:
    """(H, W) of mean 0 and deviation 1. Waves of `wave` px and longer; with a `band` only those, so many parts of it to either side; with
    a `slope` shorter ones, too, whose amplitude falls by this power. Waves are `stretch` times as long along the columns."""
    height, width = shape
    frequency = np.hypot(fft.fftfreq(height)[:, None] * stretch, fft.rfftfreq(width)[None]).astype(np.float32) * wave
    if band:
        weight = np.exp(-0.5 * ((frequency - 1) / band) ** 2)
    else:
        weight = (1 + frequency**2) ** (-0.5 * (1 + slope)) if slope else np.exp(-(frequency**2))
    weight[0, 0] = 0
    found = fft.irfft2(fft.rfft2(rng.standard_normal(shape, np.float32)) * weight, s=shape)
    return (found / (found.std() + 1e-9)).astype(np.float32)  # type: ignore[no-any-return]


def step(low: float, high: float, value: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth in between; falling where `low` is the higher."""
    share = np.clip((value - low) / (high - low), 0, 1).astype(np.float32)
    found: Field = share * share * (3 - 2 * share)
    return found


def mix(first: Field | tuple[float, ...], second: Field | tuple[float, ...], share: Field) -> Field:
    """(H, W, 3): `first` where the share (H, W) is 0, `second` where it is 1; colours or pictures."""
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    found: Field = a + (b - a) * share[..., None]
    return found
