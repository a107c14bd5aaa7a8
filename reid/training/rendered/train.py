"""LightGlue trained on on rendered animals: photos of one individual, whose skin says what is the same; of two of one species, of which
nothing is; and warped photographs, so that nothing is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import extractors
from ...errors import SettingsError
from ...evaluation.answers import auroc
from ...evaluation.metrics import harmonic_mean
from ...imaging.warps import Strength
from ...matchers.lightglue_network import LightGlue
from ...records import PhotoRef
from ...settings import ExtractSettings
from ...store import fingerprint
from .. import Choices, lightglue
from ..lightglue import AROUND, HELD_OUT, Network, Pairs, batch, begun
from ..loop import Forward, Plan, Task
from ..photos import Crops
from ..truth import Pair, Warped
from . import low_rank
from .conditions import Pictures
from .partners import Couple, Species
from .scenes import Scenes

N_KEYPOINTS = 320  # a photo
WARPED = 4  # every fourth pair is of a warped photograph
WARPED_SIDE = 320  # px of those
N_SPECIES, N_ALIKE, N_IMPOSTORS, N_WARPED = 6, 8, 8, 12  # that it is judged on; pairs of each of those species
POOL = "pool"  # folder of what was described, in one for all that it depends on


def stages(
    photos: Sequence[PhotoRef],
    held_out: Sequence[PhotoRef],
    choices: Choices,
    plan: Plan,
    out: Path,
    progress: Callable[[str, int, int], None],
) -> Iterator[Task]:
    """One; what it renders is kept in a folder of `out`. Raises as `lightglue.create` does."""
    if not choices.extractor:
        raise SettingsError("whose features is LightGlue trained for? Name them: --extractor aliked-n16")
    (species, warped), (others, other_warped) = drawn(photos, held_out, choices, out)
    couples: list[Couple] = []
    for done in range(N_SPECIES):
        found = others.of(HELD_OUT + done)
        couples += [one for one in found if one.same][:N_ALIKE] + [one for one in found if not one.same][:N_IMPOSTORS]
        progress("species to be judged on", done + 1, N_SPECIES)
    kept = [other_warped.pair(HELD_OUT + i) for i in range(N_WARPED)]
    torch.manual_seed(choices.seed)
    network = begun(choices, couples[0].features[0])
    low_rank.attach(network)

    def pair(number: int) -> Pair:
        rank, rest = divmod(number, WARPED)
        return warped.pair(rank) if not rest else species.pair(rank * (WARPED - 1) + rest - 1)

    def of_batch(forward: Forward, pairs: list[Pair], generator: torch.Generator) -> dict[str, Tensor]:
        *inputs, true = batch(pairs, network.with_scale_and_angle, next(network.parameters()).device)
        return lightglue.loss(forward(*inputs), inputs[2], true)

    saved = partial(low_rank.merged, network)
    yield Task("lightglue", network, pair, of_batch, lambda: validate(network, couples, kept), about(choices), saved=saved)


def extract_settings(choices: Choices) -> ExtractSettings:
    return ExtractSettings(extractor=choices.extractor, weights=choices.weights, max_keypoints=N_KEYPOINTS)


def about(choices: Choices) -> dict[str, Any]:
    """What the card says of the network."""
    digest = extractors.weights_digest(extract_settings(choices))
    return {"extractor": choices.extractor, "extractor_weights": digest, "keypoints": N_KEYPOINTS, "rank": low_rank.RANK}


def drawn(photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices, out: Path) -> list[tuple[Species, Pairs]]:
    """Rendered pairs before photos, and pairs of warped photos: of those that are learned from, and of those that are not. What is
    described is kept in a folder of `out`."""
    settings = extract_settings(choices)
    extractor = extractors.create(settings, choices.device)
    strength, side = Strength(rotation=np.deg2rad(choices.rotation)), round(WARPED_SIDE * AROUND)
    code = [file.read_text() for file in sorted(Path(__file__).parent.glob("*.py"))]
    name = fingerprint(extractors.describe(settings), choices.side, [ref.image_id for ref in (*photos, *held_out)], code)
    return [
        (
            Species(Scenes(Pictures(refs), choices.side, choices.seed + i), extractor, out / POOL / name),
            Pairs(Crops(refs, side, choices.seed + i), extractor, strength),
        )
        for i, refs in enumerate((photos, held_out))
    ]


def validate(network: Network, couples: Sequence[Couple], kept: Sequence[Warped]) -> dict[str, float]:
    """By the network that matches in use: `auroc`, how often two photos of one individual have a larger sum of confidences than two of
    different ones; `recall`, the share of the true matches of one individual's that is found; `warped`, the harmonic mean of accuracy and
    recall on warped photographs; and `score`, the harmonic mean of the three."""
    state = low_rank.merged(network)
    glue = LightGlue.of(dict(state), couples[0].features[0].descriptors.shape[1])
    glue.eval().to(next(network.parameters()).device)
    sums: tuple[list[float], list[float]] = [], []
    n_recalled = n_true = 0
    for one in couples:
        first, second = glue.encode(one.features)
        [(_, (indices, confidence))] = glue.match(first, [second])
        sums[int(one.same)].append(float(confidence.sum()))
        n_recalled += int((one.partners[0][indices[:, 0]] == indices[:, 1]).sum())
        n_true += int((one.partners[0] >= 0).sum())
    found = {"auroc": auroc(sums[1], sums[0]), "recall": n_recalled / max(1, n_true), "warped": lightglue.judged(glue, kept)["score"]}
    return found | {"score": harmonic_mean(*found.values())}
