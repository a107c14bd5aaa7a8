"""LightGlue trained on on a gallery's own animals: pairs of one, of two that look alike, of rendered ones, and warped photographs. Animals
that are not learned from choose the weights, so that those which know the others by heart are left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...matchers import dtype, strongest
from ...matchers.lightglue_network import LightGlue
from ...records import PhotoRef
from ...session import Session
from ...weights import learned_of
from .. import Choices, lightglue
from ..lightglue import Network, batch, begun
from ..loop import Forward, Plan, Task
from ..rendered import low_rank
from ..rendered.train import N_KEYPOINTS, about, drawn
from ..truth import Pair
from .pairs import Progress, Trial, described, divided, mine

KINDS = 4  # pairs of one animal, of two, of rendered ones and of a warped photograph have their turn
PATIENCE = 4  # validations without better weights, after which it ends


def stages(
    photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices, plan: Plan, out: Path, progress: Progress
) -> Iterator[Task]:
    """One; the photos, some of them held out, are those that can be used, and of them only those of `divided` are taken. What it renders
    is kept in a folder of `out`. Raises GalleryError, see `pairs.divided` and `pairs.mine`, and as `lightglue.create` does."""
    session = choices.gallery
    assert session is not None
    usable = {ref.image_id for ref in (*photos, *held_out)}
    knows = partial(session.work.first.knows, of_file=session.work.digests.of_file)
    learned, left_out = divided([item for item in session.references if item.ref.image_id in usable], knows)
    mined = mine(session, learned, left_out, progress)
    (species, warped), _ = drawn([item.ref for item in learned], [item.ref for item in left_out], choices, out)
    alike = list(mined.alike.values())
    torch.manual_seed(choices.seed)
    network = begun(choices, session.work.first.load(learned[0]))
    low_rank.attach(network)
    network.to(choices.device)  # step 0 is judged again by the loop, and is to be no better than itself

    def pair(number: int) -> Pair:
        rank, kind = divmod(number, KINDS)
        if kind in (0, 1):
            return species.pair(rank) if kind == 0 else warped.pair(rank)
        rng = np.random.default_rng((choices.seed, number))
        same = kind == 3 or not mined.impostors
        looks = alike[int(rng.integers(len(alike)))] if same else mined.impostors
        return described(looks[int(rng.integers(len(looks)))], same, session, N_KEYPOINTS)

    def of_batch(forward: Forward, pairs: list[Pair], generator: torch.Generator) -> dict[str, Tensor]:
        *inputs, true = batch(pairs, network.with_scale_and_angle, next(network.parameters()).device)
        return lightglue.loss(forward(*inputs), inputs[2], true)

    files = {session.work.digests.of_file(item.ref.path) for item in learned}
    judge = Judge(mined.trials, session)
    before = judge.figures(network)
    n_alike = sum(map(len, alike))
    learned_from = {"n_photos": len(learned), "n_animals": len(alike), "n_alike": n_alike, "n_impostors": len(mined.impostors)}
    not_from = {"n_held_out": len(left_out), "n_animals_left_out": len(set(judge.animals))}
    card = {**about(choices), **learned_from, **not_from, "pairs": mined.fingerprint()}

    def saved() -> dict[str, Tensor]:
        """With the photos that are known by heart, if anything was learned, and those that were known before."""
        is_new = any(value.any() for name, value in network.state_dict().items() if name.endswith(".up"))
        known = session.work.first.learned | (files if is_new else set())
        marks = learned_of(sorted(known)) if known else {}
        return low_rank.merged(network) | {name: torch.from_numpy(rows.copy()) for name, rows in marks.items()}

    yield Task(
        "lightglue", network, pair, of_batch, lambda: judge.better(before, judge.figures(network)), card,
        saved=saved, patience=PATIENCE,
    )  # fmt: skip


class Judge:
    """How well photos of animals that are left out find their own among others, by the network that matches in use, as it does there."""

    def __init__(self, trials: Sequence[Trial], session: Session):
        self.trials = [one for one in trials if one.others]
        self.animals = np.array([str(one.photo.ref.identity) for one in self.trials])
        self.match = session.settings.match
        items = {item.digest: item for one in self.trials for item in (one.photo, *one.own, *one.others)}
        self.photos = {digest: strongest(session.work.first.load(item), N_KEYPOINTS) for digest, item in items.items()}

    def figures(self, network: Network) -> NDArray[np.float64]:
        """(T, 2) of each photo: whether one of its own animal has the largest sum of confidences, and of all sums with other animals, of
        any photo, the share that its own photos' exceed."""
        first, device = next(iter(self.photos.values())), next(network.parameters()).device
        glue = LightGlue.of(dict(low_rank.merged(network)), first.descriptors.shape[1]).eval().to(device)
        glue.lower_precision(dtype(self.match, device.type))
        early = self.match.depth_confidence, self.match.width_confidence
        encoded = dict(zip(self.photos, glue.encode(list(self.photos.values()))))
        sums = []
        for one in self.trials:
            found = glue.match(encoded[one.photo.digest], [encoded[item.digest] for item in (*one.own, *one.others)], *early)
            totals = np.array([float(confidence.sum()) for _, (_, confidence) in sorted(found, key=lambda pair: pair[0])])
            sums.append((totals[: len(one.own)], totals[len(one.own) :]))
        others = np.concatenate([impostors for _, impostors in sums])
        return np.array([(own.max() > impostors.max(), np.mean(own[:, None] > others)) for own, impostors in sums])

    def better(self, before: NDArray[np.float64], now: NDArray[np.float64]) -> dict[str, float]:
        """`top1` and `auroc`; and `score`, by how much their mean exceeds what it was `before`, less a standard error over animals, so that
        what is above nothing is more than chance."""
        gained = (now - before).mean(axis=1)
        each = np.array([gained[self.animals == animal].mean() for animal in np.unique(self.animals)])
        top1, auroc = now.mean(axis=0)
        return {"top1": float(top1), "auroc": float(auroc), "score": float(each.mean() - each.std(ddof=1) / len(each) ** 0.5)}
