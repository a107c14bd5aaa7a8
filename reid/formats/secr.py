"""secr's text files: captures (`Session ID Occasion Detector`) and traps (`Detector X Y`), X and Y in metres of a projection that is said.

A detector is a site of the catalogue. Its place is in the columns `x` and `y` (or `easting`, `northing`) in metres, or in `latitude` and
`longitude` (degrees, WGS84), which are projected; degrees are never taken for metres. Repeated photos of an animal on an occasion at a site
are one line each, as detector type `count` wants it; `proximity` ignores the repeats."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..catalogue import Gallery
from ..catalogue.columns import DEGREES, METRES
from ..catalogue.values import counted, is_given, some
from ..errors import GalleryError, SettingsError
from ..records import PhotoRef
from .described import cell, given, photos
from .histories import ASKED, histories
from .writing import ExportOptions, Written, by_reason, csv_bytes, plain_names, write_folder

TAKES = (*ASKED, "epsg", "site")
SAME_PLACE = 1e-3  # degrees or metres by which the photos of one site may differ, beside rounding
NO_SITE = "nobody has said the site; say it in the column site, or give --site for all"
Place = tuple[float, float]


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    found = histories(gallery, options)
    refs = [_sited(ref, options.site) for ref in photos(gallery)]
    places, projection = _projected(refs, options.epsg)
    sites = plain_names({site: site for site in places}, "A-Za-z0-9.-", "-")  # no underscore
    names = plain_names({name: name for name in found.identities}, "A-Za-z0-9._-")
    left_out, lines = list(found.left_out), []
    for one in found.captures:
        site = given(_sited(one.ref, options.site), "site")
        if site not in places:
            left_out.append((one.ref.image_id, f"site {site!r} has no place; say it in latitude and longitude" if site else NO_SITE))
        else:
            lines.append((names[one.identity], one.occasion + 1, sites[site]))
    if not lines:
        raise GalleryError("no photo that counts has a site whose place is known", tuple(by_reason(left_out)))
    captures = ["# Session ID Occasion Detector", *(f"1 {name} {occasion} {site}" for name, occasion, site in sorted(lines))]
    traps = [f"# Detector X Y ({projection})", *(f"{sites[site]} {x:.2f} {y:.2f}" for site, (x, y) in sorted(places.items()))]
    changed = {("animal", name, plain) for name, plain in names.items() if name != plain}
    changed |= {("site", name, plain) for name, plain in sites.items() if name != plain}
    files = {"captures.txt": _text(captures), "traps.txt": _text(traps), "occasions.csv": found.table()}
    if changed:
        files["names.csv"] = csv_bytes(("what", "name", "written"), sorted(changed))
    written = write_folder(out, {**files})
    notes = [
        f"{counted(len({name for name, *_ in lines}), 'animal')} on {counted(len(found.occasions), 'occasion')} at "
        f"{counted(len(places), 'site')}; {found.linked}",
        *found.told({occasion - 1 for _, occasion, _ in lines}),
        f"coordinates are metres of {projection}",
        'in R: read.capthist("captures.txt", "traps.txt", detector = "count", noccasions = ' + f"{len(found.occasions)})",
        *([f"{counted(len(changed), 'name holds', 'names hold')} letters that secr does not take; names.csv maps them"] if changed else []),
    ]
    return Written(written, tuple(notes), (), len(lines), tuple(left_out))


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii")


def _sited(ref: PhotoRef, site: str | None) -> PhotoRef:
    """With this site, where the catalogue says none."""
    return ref if given(ref, "site") or not site else replace(ref, columns={**ref.columns, "site": site})


def _projected(refs: Sequence[PhotoRef], epsg: str | None) -> tuple[dict[str, Place], str]:
    """The place of each site in metres, and the projection in words. Raises GalleryError, SettingsError."""
    metres, degrees = _places(refs, METRES), _places(refs, DEGREES)
    if metres:
        if all(abs(x) <= 180 and abs(y) <= 90 for x, y in metres.values()):
            raise GalleryError("columns x and y look like degrees, and secr needs metres; call them latitude and longitude")
        if epsg is None or epsg == "auto":
            raise SettingsError("the table has x and y in metres; say of which projection, as in --epsg 32736")
        return metres, _crs(epsg)[1]
    if not degrees:
        raise GalleryError(
            "secr needs a site for each photo, and its place: give metadata.csv the column site, and latitude and longitude (degrees), "
            "or x and y (metres)"
        )
    wrong = [site for site, (north, east) in degrees.items() if abs(north) > 90 or abs(east) > 180]
    if wrong:
        raise GalleryError(f"latitude or longitude of {some(wrong)} is no number of degrees; call metres x and y")
    if epsg is None:
        raise SettingsError("secr needs metres, and the table has degrees; say --epsg auto (UTM), or a projection, as in --epsg 32736")
    north = sum(place[0] for place in degrees.values()) / len(degrees)
    east = _middle([place[1] for place in degrees.values()])
    crs, said = _crs(str((32600 if north >= 0 else 32700) + min(60, int((east + 180) // 6) + 1)) if epsg == "auto" else epsg)
    from pyproj import Transformer

    way = Transformer.from_crs(4326, crs, always_xy=True)
    found: dict[str, Place] = {}
    for site, (latitude, longitude) in degrees.items():
        x, y = way.transform(longitude, latitude)
        if not (abs(x) < 1e9 and abs(y) < 1e9):
            raise GalleryError(f"site {site!r} lies outside {said}; choose another with --epsg")
        found[site] = x, y
    return found, said


def _crs(epsg: str) -> tuple[Any, str]:
    """A projection in metres, and its name. Raises SettingsError."""
    try:
        from pyproj import CRS
        from pyproj.exceptions import CRSError
    except ImportError as error:
        raise SettingsError("projections need the package pyproj: pip install pyproj") from error
    try:
        crs = CRS.from_epsg(int(re.sub(r"^EPSG:", "", epsg.strip(), flags=re.IGNORECASE)))
    except (CRSError, ValueError) as error:
        raise SettingsError(f"--epsg {epsg} is no number of a projection, as 32736 is; or say auto for UTM") from error
    if not crs.is_projected or any(axis.unit_name != "metre" for axis in crs.axis_info):
        raise SettingsError(f"--epsg {epsg} ({crs.name}) is not a projection in metres; UTM's are 32601 to 32760, or say auto")
    return crs, f"{crs.name}, EPSG:{crs.to_epsg()}"


def _middle(east: Sequence[float]) -> float:
    """The mean of longitudes, on the side of the earth where they lie: of 179 and -179 it is 180. In [-180, 180)."""
    angles = [math.radians(one) for one in east]
    mean = math.degrees(math.atan2(sum(map(math.sin, angles)), sum(map(math.cos, angles))))
    return (mean + 180) % 360 - 180


def _places(refs: Sequence[PhotoRef], names: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, Place]:
    """Of each site that has one. Raises GalleryError for numbers that cannot be read, and for a site at two places."""
    found: dict[str, Place] = {}
    problems: dict[str, None] = {}
    for ref in refs:
        texts = [cell(ref.columns, *axis) for axis in names]
        site = given(ref, "site")
        if not site or not all(map(is_given, texts)):
            continue
        try:
            place = float(texts[0]), float(texts[1])
            if not all(map(math.isfinite, place)):
                raise ValueError
        except ValueError:
            problems[f"{ref.image_id}: {' '.join(texts)!r} are no two numbers (columns {names[0][0]}, {names[1][0]})"] = None
            continue
        first = found.setdefault(site, place)
        apart = abs(first[1] - place[1])
        apart = min(apart, 360 - apart) if names is DEGREES else apart
        if max(abs(first[0] - place[0]), apart) > SAME_PLACE:
            problems[f"{ref.image_id}: site {site!r} lies at {place}, and elsewhere at {first} (columns {names[0][0]}, {names[1][0]})"] = (
                None
            )
    if problems:
        raise GalleryError(f"{counted(len(problems), 'problem')} with the places of sites", tuple(problems))
    return found
