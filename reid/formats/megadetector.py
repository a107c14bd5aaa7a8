"""MegaDetector's batch output: a row for each box of an animal. Boxes are fractions of the upright photo, corner and size.

Any format_version is read. Categories other than animals, and boxes below the threshold, are counted; a photo that failed keeps its row.
https://lila.science/megadetector-output-format"""

from __future__ import annotations

from collections import Counter

from ..catalogue.rows import FRACTION_ROUNDING
from ..catalogue.values import counted
from .source import EMPTY, OTHERS, Look, Objects, Options, Row, Source, as_json, numbers, of_rows

MEANINGS = {"path": "file", "bbox": "bbox"}


def recognises(look: Look) -> bool:
    return isinstance(look.json, dict) and "detection_categories" in look.json


def read(look: Look, options: Options) -> Source:
    value, said = look.json, Objects(str(look.path))
    named = value.get("detection_categories")
    categories = {str(key): str(name).strip().lower() for key, name in named.items()} if isinstance(named, dict) else {}
    if not categories:
        said.problem("", "detection_categories is no object that names categories")
    animals = {key for key, name in categories.items() if name not in EMPTY | OTHERS}
    rows: list[Row] = []
    passed: Counter[str] = Counter()
    for where, image in said.each(value, "images"):
        file = said.text(image, "file", where)
        if image.get("failure"):
            rows.append((where, {"file": file}))
            passed["photo that the detector could not read has no box"] += 1
            continue
        n_before = len(rows)
        for here, found in said.each(image, "detections", where):
            category, confidence = said.text(found, "category", here), found.get("conf")
            if category not in categories:
                said.problem(here, f"unknown category {category!r} (column category)")
            elif not isinstance(confidence, (int, float)) or not 0 <= confidence <= 1:
                said.problem(here, f"conf is {confidence!r}, not a number from 0 to 1 (column conf)")
            elif category not in animals:
                passed["box of a person, a vehicle or nothing was left out"] += 1
            elif confidence < options.min_confidence:
                passed[f"box below the confidence {options.min_confidence:g} was left out"] += 1
            elif (box := numbers(found.get("bbox"), 4)) is None or max(box) > 1 + FRACTION_ROUNDING:
                said.problem(here, f"bbox is {found.get('bbox')!r}, not four fractions of the photo (column bbox)")
            else:
                row = {"file": file, "bbox": as_json(box), "detection_confidence": f"{confidence:g}"}
                if categories[category] != "animal":
                    row["detection_category"] = categories[category]
                rows.append((here, row))
        if len(rows) == n_before:
            passed["photo without an animal was left out"] += 1
    notes = [f"{look.path}: {counted(n, what, _plural(what))}" for what, n in passed.items()]
    return of_rows(look, options, MEANINGS, rows, notes, said.problems)


def _plural(what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{noun}es {rest}" if noun == "box" else f"{noun}s {rest}"
