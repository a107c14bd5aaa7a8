"""Scenes photographed several times, with the homographies between the photos: folders in the layout of HPatches or of Oxford.

HPatches (Balntas 2017, CVPR): `v_*` and `i_*`, in each 1.ppm to 6.ppm and H_1_2 to H_1_6. Oxford (Mikolajczyk 2005, IJCV): a folder a
scene, img1 to img6 and H1to2p to H1to6p. A homography takes pixels of the first photo to pixels of the other. Nothing is decoded here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError

CHANGES = ("illumination", "viewpoint")
PHOTOMETRIC = ("bikes", "leuven", "trees", "ubc")  # of Oxford: blur, light, blur, compression. The camera hardly moves, so they count as
# illumination, which in HPatches is anything but another viewpoint; bark and boat (zoom and turn), graf and wall (angle) are viewpoint
PHOTO = re.compile(r"(img)?(\d+)\.(ppm|pgm|png|jpe?g|tiff?|webp|bmp)", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """Photos of one flat or far scene."""

    name: str
    change: str  # what differs between its photos, of CHANGES
    photos: tuple[Path, ...]  # the first is the one that homographies start from
    homographies: tuple[NDArray[np.float64], ...]  # (3, 3) each, from the first photo to each of the others


def read(root: Path) -> list[Scene]:
    """The scenes in a folder, or the folder itself if it is one; other folders are passed over. Raises GalleryError."""
    if not root.is_dir():
        raise GalleryError(f"{root} is not a folder; name one with a folder per scene")
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    found = [scene for scene in map(_scene, folders) if scene is not None]
    if not found:
        raise GalleryError(
            f"{root} holds no sequence: a folder per scene, in it 1.ppm, 2.ppm, ... and H_1_2, ... (HPatches) or img1.jpg, img2.jpg, ... "
            "and H1to2p, ... (Oxford)"
        )
    return found


def _scene(folder: Path) -> Scene | None:
    """None for a folder without a first photo, or without any homography."""
    named = sorted((int(match[2]), path) for path in folder.iterdir() if (match := PHOTO.fullmatch(path.name)))
    numbers = [number for number, _ in named]
    if 1 not in numbers or not any(re.fullmatch(r"H_1_\d+|H1to\d+p", path.name) for path in folder.iterdir()):
        return None
    if len(set(numbers)) < len(numbers):
        raise GalleryError(f"{folder} has two photos of one number; leave one of them")
    files = [_homography_file(folder, number) for number in numbers if number > 1]
    name = folder.resolve().name
    photometric = name.startswith("i_") or name in PHOTOMETRIC
    photos = tuple(path for number, path in named if number >= 1)
    return Scene(name, CHANGES[0] if photometric else CHANGES[1], photos, tuple(map(_homography, files)))


def _homography_file(folder: Path, number: int) -> Path:
    names = f"H_1_{number}", f"H1to{number}p"
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise GalleryError(f"{folder} has photo {number} but no homography from photo 1 to it; it is looked for in {' or '.join(names)}")


def _homography(file: Path) -> NDArray[np.float64]:
    try:
        found = np.array(file.read_text().split(), np.float64).reshape(3, 3)
    except (OSError, ValueError) as error:
        raise GalleryError(f"{file} does not hold a homography, three rows of three numbers") from error
    if not np.isfinite(found).all() or np.linalg.matrix_rank(found) < 3:
        raise GalleryError(f"{file} holds a matrix that cannot be inverted, and so is no homography")
    return found
