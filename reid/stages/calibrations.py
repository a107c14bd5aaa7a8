"""Calibrations that are kept: several galleries may share a folder, and a gallery goes on growing.

    <folder>/calibration/<fingerprint>/<name of its labels>.json

Each belongs to the photos and labels that it was learned from; the one that shares most with a gallery is that gallery's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..decision import Calibration
from ..records import Indexed
from ..scoring import ImpostorDistribution
from ..store import fingerprint, write_atomically
from .identify import Judges
from .leave_one_out import labels, learn
from .workspace import Workspace

KEPT_LABELS = 0.75  # share of a calibration's photos that must still be there under their labels, and of the gallery's that it knew


def calibrate(
    references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution, decisions: Mapping[str, object] | None = None
) -> Calibration | None:
    """`learn` it and keep it for the gallery, in the place of what the gallery had; None where there is nothing to learn from. `decisions`
    says which decisions of people the labels rest on (`Labels.about`)."""
    found = learn(references, work, impostors)
    found = found and replace(found, decisions=decisions)
    before = _stored(references, work)
    if found is not None:
        file = _folder(work) / f"{fingerprint(found.labels)}.json"
        write_atomically(file, json.dumps({"calibration": found.as_json(), "impostors": impostors.as_json()}).encode())
        before = [one for one in before if one[1] != file]
    for shared, file, _ in before:
        if shared >= KEPT_LABELS:
            file.unlink(missing_ok=True)
    return found


def judges(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Judges:
    """The gallery's calibration and the impostor distribution that it was learned with; the present distribution alone, and a note, where
    the gallery has changed by a quarter since, in photos or in labels."""
    stored = _stored(references, work)
    if not stored:
        return Judges(impostors)
    shared, _, found = max(stored, key=lambda one: (one[0], one[1].name))
    assert found.calibration is not None
    if shared >= KEPT_LABELS:
        return found
    n_before = len(found.calibration.labels)
    n_kept = len(set(found.calibration.labels) & set(labels(references)))
    if n_kept:
        work.listener.note(
            f"the gallery was calibrated with {n_before} photos, of which {n_kept} are among its {len(references)} under the same label; "
            "run `reid calibrate` again"
        )
    return Judges(impostors)


def _stored(references: Sequence[Indexed], work: Workspace) -> list[tuple[float, Path, Judges]]:
    """Every calibration of these settings: the share of labels that it has in common with the gallery, its file, and itself."""
    own = set(labels(references))
    found = []
    for file in sorted(_folder(work).glob("*.json")):
        try:
            value = json.loads(file.read_text())
            one = Judges(ImpostorDistribution.from_json(value["impostors"]), Calibration.from_json(value["calibration"]))
        except FileNotFoundError:
            continue  # replaced by another process
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            work.listener.note(f"{file} is damaged and not used; run `reid calibrate` again")
            continue
        assert one.calibration is not None
        known = one.calibration.labels
        found.append((len(own & set(known)) / max(len(known), len(references), 1), file, one))
    return found


def _folder(work: Workspace) -> Path:
    return work.folder / "calibration" / work.fingerprints.of_calibration
