"""Features by the content of a photo: <folder>/features/<fingerprint>/<digest[:2]>/<digest>.safetensors."""

from __future__ import annotations

import numpy as np

from ..records import Features
from .files import ByPhoto, DamagedFile, Tensors, read_tensors, write_tensors


class FeatureStore(ByPhoto):
    """Features of one fingerprint (extractor, preparation, weights, format) by the digest of their photo.

    Descriptors are kept as whole numbers, each scaled so that its largest value is 127: a unit vector again when it is read, within a
    cosine of 0.9995 of what it was, at half the size. What is matched is always what was read."""

    kind = "features"

    def load(self, digest: str) -> Features | None:
        """The stored features; None if there are none. Raises DamagedFile."""
        import torch

        try:
            tensors, metadata = read_tensors(self.path(digest))
            width, height = metadata["size"]
            whole = torch.from_numpy(tensors["descriptors"]).float()  # NumPy takes five times as long
            descriptors = (whole / whole.norm(dim=1, keepdim=True).clamp(min=1)).half().numpy()
            descriptors.flags.writeable = False
            return Features(metadata["kind"], (width, height), **(tensors | {"descriptors": descriptors}))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DamagedFile(self.path(digest)) from error

    def save(self, digest: str, features: Features) -> None:
        largest = np.abs(features.descriptors).max(axis=1, keepdims=True, initial=1e-6).astype(np.float32)
        descriptors = np.rint(features.descriptors / largest * 127).astype(np.int8)
        tensors: Tensors = {"keypoints": features.keypoints, "scores": features.scores, "descriptors": descriptors}
        if features.scales is not None and features.angles is not None:
            tensors |= {"scales": features.scales, "angles": features.angles}
        write_tensors(self.path(digest), tensors, {"kind": features.kind, "size": features.size})

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)
