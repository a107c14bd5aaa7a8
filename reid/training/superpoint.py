"""SuperPoint's training (DeTone et al. 2018, arXiv 1712.07629), with the constants of its open implementation (rpautrat/SuperPoint).

Three stages. MagicPoint, which is SuperPoint without use of its descriptors, learns corners on drawn shapes. Homographic adaptation labels
crops of the photos by what it detects under a hundred warps of each. Then detector and descriptor learn together, from MagicPoint on, on
labelled crops and their warps. The recipe adapts twice: here a second round is another run that begins with the first one's weights,
since on few photos detections grow fewer with each round.

The descriptors' loss is not the paper's. Its hinge pulls all cells within 8 px of a place together and pushes others apart by a fixed
margin, which takes some 10^6 pairs to tell places apart: in 200 steps from MagicPoint on it only lost (0.165 to 0.119 on the held-out
pairs). Here a place is told from all others by cross-entropy, which teaches from the first step and has nothing to weigh.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .. import weights
from ..errors import SettingsError
from ..extractors.cells import CELL, peaks, sample
from ..extractors.superpoint import SuperPoint, heatmap, load_network
from ..imaging import noise, warps
from ..imaging.geometry import visible
from ..imaging.warps import Matrix, Patch, Strength
from ..records import PhotoRef
from ..store import DamagedFile, fingerprint, read_tensors, write_tensors
from . import Choices, goodpoint, shapes, validation
from .loop import Forward, Plan, Task, in_precision
from .pairs import Warped
from .photos import Crops

NONE, DROPPED = CELL**2, -1  # classes of cells: without a keypoint, and not learned from
RADIUS = 3  # px, of the suppression among detections: nearest to the recipe's boxes of 4 px
DRAWN = 4  # drawings in place of a pair, which has as many pixels
DRAWN_WARPS, DRAWN_MARGIN = Patch(share=0.8), 2  # of drawings; px at the border of a warp that are not learned from
CORRECT, LEAST = 4.0, 0.001  # px from a corner within which a detection is right; its least score
NONE_AT_FIRST = 7.0  # logit of "no keypoint" before anything is learned, where the others are 0 and spread by 1: 9 cells in 10 have none
N_DRAWN = 90  # drawings that MagicPoint is judged on, once plain and once disturbed
N_WARPS, AT_ONCE = 100, 10  # warps of a photo, the identity among them; that go through the network together
ADAPTATION, MARGIN = Patch(rotation=np.pi), 3  # px at the border of a warp where nothing is detected
THRESHOLD = 0.015  # of a label; 1/65 is even chance
PER_PHOTO, VIEWS = 4, 32  # crops of a photo that are labelled at most, and pairs that a crop makes at least
TEMPERATURE = 0.1  # by which likenesses are divided where a place is told from others


@dataclass(frozen=True)
class Drawing:
    """A drawing and where its corners are."""

    image: NDArray[np.float32]  # (H, W) light in 0..1
    corners: NDArray[np.float64]  # (N, 2) px
    valid: NDArray[np.bool_]  # (H, W) where detections count


@dataclass(frozen=True)
class Labelled:
    """Images, and which pixel of each cell is a keypoint."""

    images: NDArray[np.float32]  # (N, H, W) light in 0..1
    cells: NDArray[np.int64]  # (N, H/8, W/8) row-major number of the pixel in its cell, NONE or DROPPED
    homography: Matrix | None = None  # takes points of the first image to the second, where they are a pair


def classes(points: NDArray[np.float64], valid: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(H/8, W/8) the class of each cell of an image, of keypoints (N, 2) px and the pixels that are valid (H, W). Of several keypoints in a
    cell any one is taken; a cell with an invalid pixel is dropped."""
    height, width = valid.shape
    found = np.full((height // CELL, width // CELL), NONE, np.int64)
    columns, rows = np.rint(rng.permutation(points)).astype(int).T
    there = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    columns, rows = columns[there], rows[there]
    found[rows // CELL, columns // CELL] = rows % CELL * CELL + columns % CELL
    found[~valid.reshape(height // CELL, CELL, width // CELL, CELL).all(axis=(1, 3))] = DROPPED
    return found


def drawing(seed: int, number: int, disturbed: bool = True) -> Drawing:
    """The drawing of this number, as drawn or warped and dimmed, blurred and so on."""
    image, corners = shapes.draw(seed, number)
    if not disturbed:
        return Drawing(image / np.float32(255), corners, np.ones(image.shape, bool))
    rng, size = np.random.default_rng((seed, number, 1)), shapes.SIZE
    way = warps.patch(rng, size, DRAWN_WARPS)
    image = noise.all_of(noise.ON_SHAPES, warps.warp(image, way), rng)
    corners = warps.project(corners, warps.inverse(way))
    valid = warps.valid(way, size, size, DRAWN_MARGIN)
    columns, rows = np.rint(corners).astype(int).clip(0, np.array(size) - 1).T
    seen = valid[rows, columns] & visible(corners, np.eye(3), size)
    return Drawing((np.where(warps.valid(way, size, size), image, 0) / 255).astype(np.float32), corners[seen], valid)


def drawings(number: int, seed: int) -> Labelled:
    """Those that stand in place of the pair of this number."""
    found = [drawing(seed, DRAWN * number + i) for i in range(DRAWN)]
    rng = np.random.default_rng((seed, number, 2))
    return Labelled(np.stack([one.image for one in found]), np.stack([classes(one.corners, one.valid, rng) for one in found]))


def detector_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Cross-entropy of [B x 65 x h x w] logits, mean over the cells [B x h x w] that are not dropped."""
    total = F.cross_entropy(logits, cells, ignore_index=DROPPED, reduction="sum")
    return total / (cells != DROPPED).sum().clamp(min=1)


def descriptor_loss(descriptors: Tensor, valid: Tensor, homography: Matrix) -> Tensor:
    """Cross-entropy of telling a place from all others by the descriptors [2 x 256 x h x w] of a pair (InfoNCE, van den Oord et al. 2018,
    arXiv 1807.03748): of each centre of a cell that the other image shows, among that place there, read bilinearly, and the cells there
    that lie elsewhere. The mean over both images' centres; cells count that are in `valid` [2 x h x w]."""
    height, width = valid.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    centres = np.stack((columns, rows), axis=2).reshape(-1, 2) * float(CELL) + (CELL - 1) / 2
    terms = []
    for own, other, ok, there, way in (
        (*descriptors, *valid, homography),
        (*descriptors.flip(0), *valid.flip(0), warps.inverse(homography)),
    ):
        places = warps.project(centres, way)
        cells = torch.from_numpy(np.rint((places - (CELL - 1) / 2) / CELL)).long().to(valid.device)
        inside = ((cells >= 0) & (cells < cells.new_tensor([width, height]))).all(dim=1)
        column, row = (cells * inside[:, None]).unbind(dim=1)
        seen = ok.flatten() & inside & there[row, column]
        places_seen = torch.from_numpy(places).float().to(valid.device)[seen]
        ours = own.flatten(1).T[seen]
        right = (ours * sample(other, places_seen)).sum(dim=1, keepdim=True)
        apart = torch.cdist(places_seen, torch.from_numpy(centres).float().to(valid.device))
        wrong = (ours @ other.flatten(1)).masked_fill((apart < CELL) | ~there.flatten(), -torch.inf)
        logits = torch.cat((right, wrong), dim=1) / TEMPERATURE
        terms.append(logits.logsumexp(dim=1) - logits[:, 0])
    found = torch.cat(terms)
    return found.sum() / max(1, len(found))


def adapt(detect: Callable[[Tensor], Tensor], image: NDArray[np.float32], ways: Sequence[Matrix]) -> NDArray[np.float32]:
    """(H, W) homographic adaptation: the mean of what is detected on the warps of an image (H, W), each un-warped; 0 where none shows it.

    `detect` takes [B x 1 x H x W] to score maps [B x H x W]."""
    size = image.shape[1], image.shape[0]
    total, count = np.zeros_like(image), np.zeros_like(image)
    for start in range(0, len(ways), AT_ONCE):
        some = ways[start : start + AT_ONCE]
        warped = torch.from_numpy(np.stack([warps.warp(image, way) for way in some]))
        for way, scores in zip(some, detect(warped[:, None]).cpu().numpy()):
            seen, back = warps.valid(way, size, size, MARGIN).astype(np.float32), warps.inverse(way)
            total += warps.warp(scores * seen, back)
            count += warps.warp(seen, back)
    return np.divide(total, count, out=np.zeros_like(image), where=count >= 1)


def label(detect: Callable[[Tensor], Tensor], image: NDArray[np.float32], ways: Sequence[Matrix]) -> NDArray[np.float64]:
    """(N, 2) px: the keypoints of an image (H, W) by homographic adaptation."""
    scores = torch.from_numpy(adapt(detect, image, ways))
    keypoints, _ = peaks(scores, scores > THRESHOLD, RADIUS)
    return keypoints.double().numpy()


def n_labelled(n_pairs: int, n_photos: int) -> int:
    """Crops that are labelled for a run of so many pairs: labelling takes as long as learning otherwise."""
    return max(1, min(n_pairs // VIEWS, PER_PHOTO * n_photos))


def labels(
    detect: Callable[[Tensor], Tensor], crops: Crops, n: int, folder: Path, progress: Callable[[str, int, int], None]
) -> list[NDArray[np.float64]]:
    """Keypoints (N, 2) px of the first `n` crops. They are kept in `folder` by what a crop shows, and not computed again."""
    rng, size = np.random.default_rng((crops.seed, 3)), (crops.side, crops.side)
    ways = [np.eye(3), *(warps.patch(rng, size, ADAPTATION) for _ in range(N_WARPS - 1))]
    found = []
    for number in range(n):
        progress("labelled crops", number, n)
        light, _ = crops.crop(number)
        file = folder / f"{hashlib.sha256(light.tobytes()).hexdigest()}.safetensors"
        try:
            points = read_tensors(file)[0]["keypoints"]
        except (FileNotFoundError, DamagedFile):
            points = label(detect, light / np.float32(255), ways)
            write_tensors(file, {"keypoints": points}, {})
        found.append(points)
    progress("labelled crops", n, n)
    return found


def view(crops: Crops, place: int, limits: Patch, rng: np.random.Generator) -> Warped:
    """The crop of this number and a warp of it, both dimmed, blurred and so on."""
    light, mask = crops.crop(place)
    size = light.shape[1], light.shape[0]
    way = warps.patch(rng, size, limits)
    images = [noise.all_of(noise.ON_PHOTOS, image, rng) for image in (light, warps.warp(light, way))]
    images[1] = np.where(warps.valid(way, size, size), images[1], 0)
    there = warps.valid(way, size, size, MARGIN) & (warps.warp(mask.astype(np.uint8), way) > 0)
    return Warped((np.stack(images) / 255).astype(np.float32), np.stack((mask, there)), warps.inverse(way))


def pair(number: int, crops: Crops, known: Sequence[NDArray[np.float64]], limits: Patch) -> Labelled:
    """The pair of this number, of one of the crops whose keypoints are known."""
    rng = np.random.default_rng((crops.seed, number, 4))
    place = int(rng.integers(len(known)))
    one = view(crops, place, limits, rng)
    points = known[place], warps.project(known[place], one.homography)
    return Labelled(one.images, np.stack([classes(own, valid, rng) for own, valid in zip(points, one.valid)]), one.homography)


def average_precision(found: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], corners: Sequence[NDArray[np.float64]]) -> float:
    """The area under precision over recall, of the detections in several images: points (N, 2) px with scores (N,), best first. One is
    right if a corner lies within 4 px that no better one has taken."""
    right: list[bool] = []
    for (points, _), there in zip(found, corners):
        apart = np.linalg.norm(points[:, None] - there[None], axis=2)
        for row in range(len(points)):
            nearest = int(apart[row].argmin()) if len(there) else 0
            right.append(bool(len(there)) and bool(apart[row, nearest] <= CORRECT))
            if right[-1]:
                apart[:, nearest] = np.inf
    order = np.argsort(-np.concatenate([scores for _, scores in found]), kind="stable")
    hits = np.array(right, bool)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    n = sum(map(len, corners))
    return float(precision[hits].sum() / n) if n else float("nan")


def detections(scores: Tensor, valid: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 2) px and scores (N,) of a score map [H x W], best first."""
    points, values = peaks(scores, valid & (scores > LEAST), RADIUS)
    order = values.argsort(descending=True, stable=True)
    return points[order].cpu().double().numpy(), values[order].cpu().double().numpy()


def beginner(seed: int) -> SuperPoint:
    """A network that has learned nothing but that most cells have no keypoint: batch norm on the logits would take thousands of steps to
    learn as much (the recipe takes 50,000 of them)."""
    torch.manual_seed(seed)
    network = SuperPoint()
    bias = network.get_parameter("detector.1.bn.bias")
    torch.nn.init.constant_(bias[NONE:], NONE_AT_FIRST)
    return network


def magicpoint(seed: int, own: SuperPoint) -> Task:
    """The task of training a detector of corners on drawings, judged by its average precision on others, plain and disturbed."""
    held_out = [[drawing(seed, validation.HELD_OUT + i, disturbed) for i in range(N_DRAWN)] for disturbed in (False, True)]

    def of_batch(forward: Forward, batch: list[Labelled], generator: torch.Generator) -> dict[str, Tensor]:
        device = next(own.parameters()).device
        logits, _ = forward(torch.from_numpy(np.concatenate([one.images for one in batch])[:, None]).to(device))
        return {"loss": detector_loss(logits, torch.from_numpy(np.concatenate([one.cells for one in batch])).to(device))}

    def precision(drawn: Sequence[Drawing]) -> float:
        device, found = next(own.parameters()).device, []
        for one in drawn:
            [scores] = heatmap(own(torch.from_numpy(one.image)[None, None].to(device))[0])
            found.append(detections(scores, torch.from_numpy(one.valid).to(device)))
        return average_precision(found, [one.corners for one in drawn])

    def of_held_out() -> dict[str, float]:
        plain, disturbed = map(precision, held_out)
        return {"plain": plain, "disturbed": disturbed, "score": (plain + disturbed) / 2}

    about = {"drawings": DRAWN}
    return Task("magicpoint", own, partial(drawings, seed=seed), of_batch, of_held_out, about, folder="magicpoint")


def joint(crops: Crops, others: Crops, known: Sequence[NDArray[np.float64]], limits: Patch, own: SuperPoint) -> Task:
    """The task of training detector and descriptor on pairs of crops whose keypoints are known, judged on pairs from `others`."""
    recipe = goodpoint.Recipe(Strength(rotation=limits.rotation))
    numbers = range(validation.HELD_OUT, validation.HELD_OUT + validation.N_HELD_OUT)
    held_out = [goodpoint.pair(others, number, recipe) for number in numbers]

    def of_batch(forward: Forward, batch: list[Labelled], generator: torch.Generator) -> dict[str, Tensor]:
        device = next(own.parameters()).device
        logits, descriptors = forward(torch.from_numpy(np.concatenate([one.images for one in batch])[:, None]).to(device))
        cells = torch.from_numpy(np.concatenate([one.cells for one in batch])).to(device)
        detector = detector_loss(logits[::2], cells[::2]) + detector_loss(logits[1::2], cells[1::2])
        terms = []
        for number, one in enumerate(batch):
            assert one.homography is not None
            place = slice(2 * number, 2 * number + 2)
            terms.append(descriptor_loss(descriptors[place], cells[place] != DROPPED, one.homography))
        descriptor = torch.stack(terms).mean()
        return {"loss": detector + descriptor, "detector": detector, "descriptor": descriptor}

    of_pair = partial(pair, crops=crops, known=known, limits=limits)
    about = {"n_crops": len(known), "n_labels": sum(map(len, known))}
    return Task("superpoint", own, of_pair, of_batch, partial(validation.judge_dense, own, heatmap, held_out), about)


def stages(
    photos: Sequence[PhotoRef],
    held_out: Sequence[PhotoRef],
    choices: Choices,
    plan: Plan,
    out: Path,
    progress: Callable[[str, int, int], None],
) -> Iterator[Task]:
    """MagicPoint, where it begins with "scratch", in `out`/magicpoint; then the photos are labelled, in `out`/labels, by it or by what it
    begins with: "superpoint" or "shipped", the open weights, or a file of weights of either network. Then SuperPoint, in `out`."""
    begin = choices.begin
    if begin == "scratch":
        yield magicpoint(choices.seed, _channels_last(beginner(choices.seed)))
        begin = str(out / "magicpoint" / "magicpoint.safetensors")
    file = "" if begin in ("superpoint", "shipped") else begin
    name = "magicpoint" if file and weights.card(Path(file))["network"] == "magicpoint" else "superpoint"
    own = _channels_last(load_network(file, name)).to(plan.device)
    crops, others = Crops(photos, choices.side, choices.seed), Crops(held_out, choices.side, choices.seed + 1)
    forward = in_precision(own, plan)

    @torch.inference_mode()
    def detect(images: Tensor) -> Tensor:
        return heatmap(forward(images.to(plan.device))[0])

    made_by = fingerprint(weights.digest("superpoint", file), plan.precision, choices.seed, choices.side, N_WARPS, THRESHOLD, RADIUS)
    known = labels(detect, crops, n_labelled(plan.steps * plan.batch, len(photos)), out / "labels" / made_by, progress)
    if not any(map(len, known)):
        raise SettingsError("no keypoint was found on the photos to learn from; train longer (--steps), or add --begin superpoint")
    yield joint(crops, others, known, Patch(rotation=np.deg2rad(choices.rotation)), own)


def _channels_last(network: SuperPoint) -> SuperPoint:
    """In the layout in which processors are faster."""
    torch.nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
