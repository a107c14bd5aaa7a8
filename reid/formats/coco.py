"""COCO and COCO Camera Traps: images, annotations and categories in one JSON file. Boxes are pixels, corner and size.

An identity stands where people put it: `annotations[].identity`, `individual_id`, or in its `attributes`; both of the first are
written. `seq_id` of camera traps stays a column: a sequence is shorter than an encounter."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import imaging
from ..catalogue import Gallery
from ..catalogue.values import counted
from ..errors import PhotoError
from ..store import write_atomically
from .described import described
from .source import EMPTY, OTHERS, Look, Objects, Options, Row, Source, as_json, numbers, of_rows
from .writing import ExportOptions, Written

TAKES: tuple[str, ...] = ()
IDENTITY = ("identity", "individual_id", "individual", "individualID", "animal_id")
ORIENTATION = ("orientation", "position", "viewpoint", "side")
DATE = ("datetime", "date", "date_captured")
MEANINGS = {
    "path": "file_name", "identity": "identity", "image_id": "reid_id", "date": "date", "orientation": "orientation",
    "encounter": "encounter", "bbox": "bbox", "segmentation": "segmentation", "species": "category", "site": "location", "split": "split",
}  # fmt: skip
IMAGE = frozenset(("id", "file_name", "path", "width", "height", "license", "flickr_url", "coco_url", "location", *DATE))
ANNOTATION = frozenset(
    ("id", "image_id", "category_id", "bbox", "bbox_relative", "area", "iscrowd", "segmentation", "attributes", *IDENTITY, *ORIENTATION)
)


def recognises(look: Look) -> bool:
    return isinstance(look.json, dict) and {"images", "annotations"} <= look.json.keys()


def read(look: Look, options: Options) -> Source:
    value, said = look.json, Objects(str(look.path))
    categories = {said.text(one, "id", where): said.text(one, "name", where) for where, one in said.each(value, "categories")}
    images: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for where, image in said.each(value, "images"):
        key = said.text(image, "id", where)
        if not key or key in images:
            said.problem(where, f"id {key!r} stands in {images[key][0]} already (column id)" if key else "no id (column id)")
        images[key] = where, image
    rows: list[Row] = []
    passed: Counter[str] = Counter()
    seen: set[str] = set()
    for where, one in said.each(value, "annotations"):
        key, category = said.text(one, "image_id", where), said.text(one, "category_id", where)
        seen.add(key)
        if key not in images:
            said.problem(where, f"there is no image {key!r} (column image_id)")
        elif category and categories and category not in categories:
            said.problem(where, f"there is no category {category!r} (column category_id)")
        elif (name := categories.get(category, "").strip()).lower() in EMPTY | OTHERS:
            passed[name.lower()] += 1
        else:
            row = {**_of_image(said, *images[key]), **_of_annotation(said, where, one)}
            rows.append((where, row if not name or name.lower() == "animal" else {"category": name, **row}))
    notes = [f"{look.path}: {counted(n, 'annotation')} of category {name!r} left out" for name, n in passed.items()]
    if n_bare := len(images.keys() - seen):
        notes.append(f"{look.path}: {counted(n_bare, 'image')} without an annotation left out")
    return of_rows(look, options, MEANINGS, rows, notes, said.problems)


def _first(said: Objects, where: str, names: tuple[str, ...], *objects: Mapping[str, Any]) -> str:
    return next((text for one in objects for name in names if (text := said.text(one, name, where))), "")


def _of_image(said: Objects, where: str, image: Mapping[str, Any]) -> dict[str, str]:
    row = {
        "file_name": _first(said, where, ("path", "file_name"), image),
        "date": _first(said, where, DATE, image),
        "location": said.text(image, "location", where),
    }
    return row | {name: said.text(image, name, where) for name in image if name not in IMAGE and name not in MEANINGS.values()}


def _of_annotation(said: Objects, where: str, one: Mapping[str, Any]) -> dict[str, str]:
    attributes = one.get("attributes") if isinstance(one.get("attributes"), dict) else {}
    assert isinstance(attributes, dict)
    row = {"identity": _first(said, where, IDENTITY, one, attributes), "orientation": _first(said, where, ORIENTATION, one, attributes)}
    box = one.get("bbox")
    if box not in (None, []):
        found = numbers(box, 4)
        if found is None:
            said.problem(where, f"bbox is {box!r}, not four numbers (column bbox)")
        else:
            row["bbox"] = as_json(found)
    if one.get("segmentation"):
        row["segmentation"] = json.dumps(one["segmentation"])
    taken = {*IDENTITY, *ORIENTATION}
    more = {name: said.text(attributes, name, where) for name in attributes if name not in taken}
    return row | more | {name: said.text(one, name, where) for name in one if name not in ANNOTATION}


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    _, rows = described(gallery)
    species = sorted({row["species"] or "animal" for row in rows})
    categories = {name: number for number, name in enumerate(species, start=1)}
    images: dict[str, dict[str, object]] = {}
    annotations: list[dict[str, object]] = []
    n_masks = 0
    for ref, row in zip((*gallery.references, *gallery.queries), rows, strict=True):
        if row["path"] not in images:
            try:
                width, height = imaging.photo_size(ref.path)
            except PhotoError as error:
                return Written((), (), (str(error),))
            about = {"datetime": row["date"], "location": row["site"]}
            images[row["path"]] = {
                "id": len(images) + 1, "file_name": row["path"], "width": width, "height": height, **{k: v for k, v in about.items() if v}
            }  # fmt: skip
        kept = {"reid_id": row["image_id"], **{k: v for k, v in row.items() if k not in MEANINGS and k not in ("path", "mask")}}
        attributes = {k: v for k, v in kept.items() if v}
        attributes |= {k: row[k] for k in ("identity", "orientation", "encounter", "split") if row[k]}
        one: dict[str, object] = {
            "id": len(annotations) + 1, "image_id": images[row["path"]]["id"], "category_id": categories[row["species"] or "animal"],
            "iscrowd": 0, "identity": row["identity"], "attributes": attributes,
        }  # fmt: skip
        if ref.crop is not None:
            one |= {"bbox": list(ref.crop), "area": ref.crop[2] * ref.crop[3]}
        if row["segmentation"]:
            outline = json.loads(row["segmentation"]) if '"' in row["segmentation"] or row["segmentation"][0] == "[" else None
            one["segmentation"] = [outline] if isinstance(outline, list) and outline and not isinstance(outline[0], list) else outline
        n_masks += bool(row["mask"])
        annotations.append(one)
    value = {
        "info": {"description": "written by reid"},
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    write_atomically(out, (json.dumps(value, indent=1) + "\n").encode())
    notes = [f"{counted(n_masks, 'mask is an image', 'masks are images')} and stand{'s' * (n_masks == 1)} not in it"] if n_masks else []
    return Written((out,), tuple(notes), n_photos=len(rows))
