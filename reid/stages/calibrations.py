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
from ..settings import GROUP_OF
from ..store import fingerprint, write_atomically
from .identify import Judges
from .leave_one_out import labels, learn
from .workspace import Workspace

KEPT_LABELS = 0.75  # share of a calibration's photos that must still be there under their labels, and of the gallery's that it knew


def calibrate(
    references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution, decisions: Mapping[str, object] | None = None
) -> Judges | None:
    """`learn` it and keep it for the gallery, in the place of what the gallery had; None where there is nothing to learn from. `decisions`
    says which decisions of people the labels rest on (`Labels.about`)."""
    found = learn(references, work, impostors)
    if found is not None and found.calibration is not None:
        found = replace(found, calibration=replace(found.calibration, decisions=decisions))
    before = _stored(references, work)
    if found is not None and found.calibration is not None:
        file = _folder(work) / f"{fingerprint(found.calibration.labels)}.json"
        kept = {"calibration": found.calibration.as_json(), "impostors": found.impostors.as_json(), "settings": _settings(work)}
        write_atomically(file, json.dumps(kept).encode())
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
        _tell_of_others(references, work)
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


def _tell_of_others(references: Sequence[Indexed], work: Workspace) -> None:
    """A note where these photos were calibrated with other settings, the most like these."""
    own, now = set(labels(references)), _settings(work)
    others: list[dict[str, object]] = []
    for file in sorted((work.folder / "calibration").glob("*/*.json")):
        try:
            value = json.loads(file.read_text())
            known, then = set(value["calibration"]["labels"]), value["settings"]
            if len(own & known) >= KEPT_LABELS * max(len(own), len(known)):
                others.append({name: then[name] for name in now if then[name] != now[name]})
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of an earlier version, damaged, or replaced by another process
    if others and (before := min(others, key=len)):
        here = {name: now[name] for name in before}
        work.listener.note(
            f"the gallery is calibrated {_as_options(before)}, and so there are no probabilities here; run `reid calibrate` with the "
            f"options of this command, {_as_options(here)}"
        )


def _settings(work: Workspace) -> dict[str, object]:
    """Those that a calibration belongs to, by their flat names."""
    return {name: work.settings.get(name) for name, group in GROUP_OF.items() if group in ("extract", "match", "score")}


def _as_options(settings: Mapping[str, object]) -> str:
    said = []
    for name, value in settings.items():
        option = f"--{'encounter' if name == 'encounters' else name.replace('_', '-')}"
        said.append(f"{'with' if value else 'without'} {option}" if isinstance(value, bool) else f"with {option} {value}")
    return ", ".join(said)


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
