"""Calibrations that are kept: several galleries may share a folder, and a gallery goes on growing.

    <folder>/calibration/<fingerprint>/<name of its labels>.json

Each belongs to the photos and labels that it was learned from; the one that shares most with a gallery is that gallery's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import weights
from ..decision import Calibration
from ..records import Indexed
from ..scoring import ImpostorDistribution
from ..settings import GROUP_OF, PRESETS, Settings
from ..store import DamagedFile, JsonStore, fingerprint
from .identify import Judges
from .leave_one_out import labels, learn
from .select import Stage
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
        name = fingerprint(found.calibration.labels)
        losses = {stage.name: n for stage, n in (found.losses or {}).items()}
        kept = {
            "calibration": found.calibration.as_json(),
            "impostors": found.impostors.as_json(),
            "losses": losses,
            "settings": _settings(work),
        }
        work.results(_kind(work)).save(name, kept)
        before = [one for one in before if one[1] != name]
    for shared, name, _ in before:
        if shared >= KEPT_LABELS:
            work.results(_kind(work)).delete(name)
    return found


def judges(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Judges:
    """The gallery's calibration and the impostor distribution that it was learned with; the present distribution alone, and a note, where
    the gallery has changed by a quarter since, in photos or in labels."""
    stored = _stored(references, work)
    if not stored:
        _tell_of_others(references, work)
        return Judges(impostors)
    shared, _, found = max(stored, key=lambda one: one[:2])
    assert found.calibration is not None
    if shared >= KEPT_LABELS:
        return found
    n_before, now = len(found.calibration.labels), set(labels(references))
    n_kept = sum(label in now for label in found.calibration.labels)
    if n_kept:
        work.listener.note(
            f"the gallery was calibrated with {n_before} photos, of which {n_kept} are among its {len(references)} under the same label; "
            "run `reid calibrate` again"
        )
    return Judges(impostors)


def tell_preparation(work: Workspace) -> None:
    """A note where what an embedding was learned of was prepared otherwise than photos are here."""
    for extract in (one.settings.extract for one in work.extractors if one.settings.extract.extractor == "embedding"):
        card = weights.card(Path(extract.weights)) if extract.weights else {}
        learned = {name: value for name, value in card.get("settings", {}).items() if value != getattr(extract, name)}
        if learned:
            here = {name: getattr(extract, name) for name in learned}
            work.listener.note(
                f"{extract.weights} was learned of photos {_as_options(learned)}, and here they are prepared {_as_options(here)}: it tells "
                "animals apart less well; give the same options, or train it again"
            )


def _tell_of_others(references: Sequence[Indexed], work: Workspace) -> None:
    """A note where these photos were calibrated with other settings, the most like these, or by another version or device."""
    own, now = set(labels(references)), _settings(work)
    others: list[dict[str, object]] = []
    for file in sorted((work.folder / "calibration").glob("*/*.json")):
        try:
            found = JsonStore(file.parent).load(file.stem, lambda value: (set(value["calibration"]["labels"]), dict(value["settings"])))
        except DamagedFile:
            continue  # or of an earlier version
        if found is not None and len(own & found[0]) >= KEPT_LABELS * max(len(own), len(found[0])):
            others.append({name: found[1].get(name) for name in now if found[1].get(name) != now[name]})
    before = min(others, key=len, default=None)
    if before is not None and not before:
        work.listener.note("the gallery was calibrated on another device or by another version; run `reid calibrate` again")
    elif before:
        here = {name: now[name] for name in before}
        work.listener.note(
            f"the gallery is calibrated {_as_typed(before, here)}, and so there are no probabilities here; give the same options, or run "
            f"`reid calibrate` with those of this command, {_as_typed(here, before)}"
        )


def _settings(work: Workspace) -> dict[str, object]:
    """Those that a calibration belongs to, by their flat names."""
    return {name: work.settings.get(name) for name, group in GROUP_OF.items() if group in ("extract", "match", "score")}


def _as_typed(settings: Mapping[str, object], others: Mapping[str, object]) -> str:
    """What sets these settings apart from the others, of the same names: a preset, where it is that, else option by option."""
    for name, preset in PRESETS.items():
        for one, other, word in ((settings, others, "with"), (others, settings, "without")):
            if preset and one == preset and all(value == Settings().get(key) for key, value in other.items()):
                return f"{word} --preset {name}"
    return _as_options(settings)


def _as_options(settings: Mapping[str, object]) -> str:
    said = []
    for name, value in settings.items():
        option = f"--{'encounter' if name == 'encounters' else name.replace('_', '-')}"
        said.append(f"{'with' if value else 'without'} {option}" if isinstance(value, bool) or value == "" else f"with {option} {value}")
    return ", ".join(said)


def _stored(references: Sequence[Indexed], work: Workspace) -> list[tuple[float, str, Judges]]:
    """Every calibration of these settings: the share of labels that it has in common with the gallery, its name, and itself."""
    own = set(labels(references))
    found = []
    for name in work.results(_kind(work)).names():
        one = work.known(_kind(work), name, _read, "it is not used; run `reid calibrate` again")
        if one is not None and one.calibration is not None:  # none where another process has replaced it
            known = set(one.calibration.labels)
            found.append((len(own & known) / max(len(known), len(own), 1), name, one))
    return found


def _read(value: Mapping[str, Any]) -> Judges:
    losses = {Stage[name]: int(n) for name, n in value.get("losses", {}).items()}  # an earlier version kept them elsewhere
    return Judges(ImpostorDistribution.from_json(value["impostors"]), Calibration.from_json(value["calibration"]), losses or None)


def _kind(work: Workspace) -> str:
    return f"calibration/{work.fingerprints.of_calibration}"
