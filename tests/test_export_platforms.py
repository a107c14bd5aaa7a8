"""`reid export` to platforms: Camtrap DP, Wildbook, WildlifeDatasets."""

import csv
import io
import json
import os

import foreign
import numpy as np
import pandas as pd
import pytest
from conftest import photo, read, save
from exchange import write

from reid.errors import GalleryError, SettingsError
from reid.review.book import Card
from reid.review.browsing import _position


def test_camtrap_dp_is_filled_in_a_copy(tmp_path):
    package = foreign.camtrap_dp(tmp_path / "package")
    text = (package / "observations.csv").read_text().replace("Luna", "")
    (package / "observations.csv").write_text(text)
    save(package / "media" / "IMG_0001.jpg", np.zeros((40, 60, 3), np.uint8))
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    rows = [("../package/media/IMG_0001.jpg", "=Luna", "[6, 10, 30, 20]"), ("../package/media/IMG_0001.jpg", "Nala", "[40, 0, 10, 10]"),
            ("../package/media/IMG_0002.jpg", "Zoë", "")]  # fmt: skip
    foreign.write_csv(gallery / "metadata.csv", ("path", "identity", "bbox"), rows)
    with pytest.raises(SettingsError, match="--package"):
        write(read(gallery), "camtrap-dp", tmp_path / "out")
    written = write(read(gallery), "camtrap-dp", tmp_path / "out", package=package)
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before
    out = list(csv.DictReader(io.StringIO((tmp_path / "out" / "observations.csv").read_text())))
    assert [row["individualID"] for row in out] == ["'=Luna", "Zoë", ""]
    assert [(row["classificationMethod"], row["classifiedBy"][:5]) for row in out] == [("machine", "MegaD"), ("human", "reid "), ("", "")]
    own = list(csv.DictReader(io.StringIO(text)))
    for a, b in zip(out, own, strict=True):
        changed = ("individualID", "classificationMethod", "classifiedBy")
        assert {k: v for k, v in a.items() if k not in changed} == {k: v for k, v in b.items() if k not in changed}
    for name in ("media.csv", "deployments.csv", "datapackage.json"):
        assert (tmp_path / "out" / name).read_bytes() == (package / name).read_bytes()
    assert "individualID filled in 2 observations" in written.notes[0]
    (package / "observations.csv").write_text(text.replace("d1,m1,", "d1,m1,").replace("1,NA,,,", "1,NA,,Kiara,"))
    written = write(read(gallery), "camtrap-dp", tmp_path / "again", package=package)
    assert any("'Kiara' stays, though the catalogue says 'Zoë'" in note for note in written.notes)
    packed = foreign.zipped(package, tmp_path / "package.zip")
    write(read(gallery), "camtrap-dp", tmp_path / "of a zip", package=packed)
    assert (tmp_path / "of a zip" / "observations.csv").read_bytes() == (tmp_path / "again" / "observations.csv").read_bytes()
    with pytest.raises(SettingsError, match="is there already"):
        write(read(gallery), "camtrap-dp", package, package=package)


def test_an_observation_gets_no_animal_that_may_be_another(tmp_path):
    """Of two animals in one photo, of another species beside it, of an event: nothing is filled that is not sure."""
    package = foreign.camtrap_dp(tmp_path / "package")
    head, first, second, _ = (package / "observations.csv").read_text().splitlines()
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    rows = [
        ("../package/media/IMG_0001.jpg", "Luna", "[6, 10, 30, 20]", ""),
        ("../package/media/IMG_0002.jpg", "Zoë", "", "Panthera pardus"),
    ]
    foreign.write_csv(gallery / "metadata.csv", ("path", "identity", "bbox", "species"), rows)
    cases = {
        "two in one photo": ([second, second.replace("o1", "o9")], ["", ""]),
        "another species": ([second.replace("pardus", "tigris")], [""]),
        "another box": ([first.replace("Luna", "").replace("0.1,0.25,0.5,0.5", "0.8,0.8,0.1,0.1")], [""]),
        "two, told by their boxes": ([first.replace("Luna", ""), first.replace("Luna", "").replace("0.1,0.25", "0.5,0.5")], ["Luna", ""]),
        "an event of one": ([second.replace("m1", "").replace("10:00:00", "10:00:01")], ["Zoë"]),
        "an event of two animals": ([second.replace("m1", "")], [""]),
    }
    for name, (lines, wanted) in cases.items():
        (package / "observations.csv").write_text("\n".join([head, *lines]) + "\n")
        write(read(gallery), "camtrap-dp", tmp_path / name, package=package)
        filled = csv.DictReader(io.StringIO((tmp_path / name / "observations.csv").read_text()))
        assert [row["individualID"] for row in filled] == wanted, name


def test_wildbook_needs_what_it_needs(season, tmp_path):
    written = write(read(season), "wildbook", tmp_path / "w")
    assert written.problems and all("needs a species (column species); write it, or give --species" in text for text in written.problems)
    assert not (tmp_path / "w").exists()
    (season / "a_b (1).png").write_bytes((season / "a.png").read_bytes())
    text = (season / "metadata.csv").read_text().replace("identity,", "identity,sex,", 1).replace("Luna,", "Luna,female,").replace(
        "=Zoë*/,", "=Zoë*/,,").replace("Nala b,", "Nala b,,").replace("unknown,", "unknown,,")  # fmt: skip
    (season / "metadata.csv").write_text(text + "a_b (1).png,Luna,female,2019-05-01,left,Jetty,,\n")
    written = write(read(season), "wildbook", tmp_path / "w", species="Chelonia mydas", submitter="me", copy=True)
    sheet = pd.read_excel(tmp_path / "w" / "encounters.xlsx")
    luna = sheet[sheet["MarkedIndividual.individualID"] == "Luna"]
    assert (
        set(luna["Encounter.sex"]) == {"female"}
        and set(sheet["Encounter.state"]) == {"unapproved"}
        and set(sheet["Encounter.submitterID"]) == {"me"}
    )
    names = {row["path"]: row["file"] for row in csv.DictReader(io.StringIO((tmp_path / "w" / "names.csv").read_text()))}
    assert luna["Encounter.decimalLatitude"].tolist()[:1] == [-3.5]  # a number, not text
    assert names["a_b (1).png"] == "a b 1.png" and "1 of 8 photos go there under such a name" in written.notes[0]
    assert sorted(path.name for path in (tmp_path / "w" / "photos").iterdir()) == sorted(names.values())
    (season / "metadata.csv").write_text(text.replace("-3.50", "inf"))
    write(read(season), "wildbook", tmp_path / "odd", species="Chelonia mydas", submitter="me")
    assert "inf" in pd.read_excel(tmp_path / "odd" / "encounters.xlsx", dtype=str)["Encounter.decimalLatitude"].tolist()  # as it stands
    (season / "metadata.csv").write_text(text.replace("Luna,female", "Luna,cow"))
    assert (
        "sex 'cow' is none of male, female, unknown (column sex)"
        in write(read(season), "wildbook", tmp_path / "v", species="C m").problems[0]
    )


def test_wildbook_takes_200_encounters_a_sheet(tmp_path):
    photo(tmp_path / "g" / "a.png")
    rows = [("a.png", f"x{n}", 2020, f"e{n}", f"[{n % 20}, {n // 20}, 20, 20]", "Bay") for n in range(201)]
    foreign.write_csv(tmp_path / "g" / "metadata.csv", ("path", "identity", "date", "encounter", "bbox", "site"), rows)
    write(read(tmp_path / "g"), "wildbook", tmp_path / "w", species="Chelonia mydas")
    assert [len(pd.read_excel(tmp_path / "w" / f"encounters-{n}.xlsx")) for n in (1, 2)] == [200, 1]


def test_wildlife_datasets_is_told_what_it_refuses(tmp_path):
    for name in ("Ω.png", "b.webp"):
        photo(tmp_path / "g" / "x" / name)
    written = write(read(tmp_path / "g"), "wildlife-datasets", tmp_path / "o.csv")
    assert "not ISO-8859-1: x/Ω.png; rename it" in written.notes[0] and "may not read x/b.webp" in written.notes[1]


def test_a_package_that_names_files_outside_it_gets_none_of_them(tmp_path):
    """A resource with an absolute path, or one that leads out, is neither read nor written in its place."""
    package = foreign.camtrap_dp(tmp_path / "package")
    secret = save(tmp_path / "secret.csv", np.zeros((4, 4, 3), np.uint8), format="PNG")
    os.chmod(secret, 0o600)
    before = secret.stat()
    about = json.loads((package / "datapackage.json").read_text())
    about["resources"] += [{"name": "a", "path": str(secret)}, {"name": "b", "path": "../secret.csv"}]
    (package / "datapackage.json").write_text(json.dumps(about))
    gallery = tmp_path / "gallery"
    photo(gallery / "luna" / "a.png")
    written = write(read(gallery), "camtrap-dp", tmp_path / "out", package=package)
    assert (secret.stat().st_mode, secret.stat().st_ino) == (before.st_mode, before.st_ino)
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {path.name for path in written.files}
    assert "secret.csv" not in {path.name for path in written.files}


def test_photos_of_nobody_are_not_one_animal_in_wildbook(tmp_path):
    rows = [
        (f"{name}.png", identity, "2021-06-01", "e1")
        for name, identity in (("a", "unknown"), ("b", "unknown"), ("c", "Luna"), ("d", "Luna"))
    ]
    for name, *_ in rows:
        photo(tmp_path / "gallery" / name)
    foreign.write_csv(tmp_path / "gallery" / "metadata.csv", ("path", "identity", "date", "encounter"), rows)
    write(read(tmp_path / "gallery"), "wildbook", tmp_path / "w", species="Chelonia mydas", site="Reef", submitter="me")
    sheet = pd.read_excel(tmp_path / "w" / "encounters.xlsx")
    assert len(sheet) == 3 and sheet["MarkedIndividual.individualID"].notna().sum() == 1


def test_a_cell_that_says_that_nothing_is_known_is_blank_for_others(root, tmp_path):
    """A site called NA would be a station, a detector, a place at Wildbook; a species called - would be another one than the package's."""
    rows = [("a.png", "Luna", "2020-05-01 10:00", "left", "NA", "unknown", -3.5, 39.25),
            ("b.png", "Luna", "2021-05-01 10:00", "left", "-", "?", -3.5, 39.25)]  # fmt: skip
    columns = ("path", "identity", "date", "orientation", "site", "species", "latitude", "longitude")
    foreign.write_csv(root / "metadata.csv", columns, rows)
    found, none = read(root), "nobody has said site, species, which a record table needs"
    with pytest.raises(GalleryError) as caught:
        write(found, "camtrapr", tmp_path / "o" / "r.csv")
    assert none in caught.value.problems[0]
    write(found, "camtrapr", tmp_path / "o" / "r.csv", site="Reef", species="Chelonia mydas")
    with open(tmp_path / "o" / "r.csv") as file:
        assert [(row["Station"], row["Species"]) for row in csv.DictReader(file)] == [("Reef", "Chelonia mydas")] * 2
    [no_species, no_site] = write(found, "wildbook", tmp_path / "w").problems
    assert "Wildbook needs a species" in no_species and "Wildbook needs a site" in no_site
    for form in ("csv", "json", "coco", "wildlife-datasets"):
        write(found, form, tmp_path / "o" / form)
        text = (tmp_path / "o" / form).read_text()
        assert not [word for word in ("NA", "unknown", "?") if word in text] and "species" not in text
    pytest.importorskip("pyproj")
    write(found, "secr", tmp_path / "s", occasions="year", side="left", epsg="auto", site="Reef")
    assert (tmp_path / "s" / "captures.txt").read_text().splitlines()[1:] == ["1 Luna 1 Reef", "1 Luna 2 Reef"]


def test_a_species_that_is_not_known_is_no_other_one(tmp_path):
    package = foreign.camtrap_dp(tmp_path / "package")
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    foreign.write_csv(gallery / "metadata.csv", ("path", "identity", "species"), [("../package/media/IMG_0002.jpg", "Zoë", "NA")])
    write(read(gallery), "camtrap-dp", tmp_path / "out", package=package)
    with open(tmp_path / "out" / "observations.csv") as file:
        assert "Zoë" in [row["individualID"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("names", [("latitude", "Longitude"), ("decimalLatitude", "decimalLongitude"), ("lat", "long"), ("lat", "lng"),
                                   ("gps_latitude", "GPS Longitude")])  # fmt: skip
def test_a_place_has_the_same_names_for_all_who_read_it(root, tmp_path, names):
    row = ("a.png", "Luna", "2020-05-01", "left", "Reef", "Chelonia mydas", -3.5, 39.25)
    foreign.write_csv(root / "metadata.csv", ("path", "identity", "date", "orientation", "site", "species", *names), [row])
    found = read(root)
    assert not [note for note in found.notes if "further column" in note]
    assert _position(Card("1", found.references[0], None, "Luna")) == (-3.5, 39.25)
    write(found, "wildbook", tmp_path / "w")
    sheet = pd.read_excel(tmp_path / "w" / "encounters.xlsx")
    assert sheet[["Encounter.decimalLatitude", "Encounter.decimalLongitude"]].values.tolist() == [[-3.5, 39.25]]
    pytest.importorskip("pyproj")
    write(found, "secr", tmp_path / "s", occasions="year", side="left", epsg="auto")
    assert (tmp_path / "s" / "traps.txt").read_text().splitlines()[1].split()[0] == "Reef"
