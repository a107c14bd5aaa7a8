"""The same few photos as other people's programs describe them, written here in each foreign format."""

import csv
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from conftest import save
from PIL import Image

SIZE = (60, 40)  # px
NAMES = ("IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg")
ANIMALS = ("Luna", "Zoë", "unknown")


def pictures(folder: Path, names=NAMES) -> Path:
    """Photos of different contents."""
    for number, name in enumerate(names):
        save(folder / name, np.full((SIZE[1], SIZE[0], 3), 20 * number + 5, np.uint8))
    return folder


def write_csv(file: Path, columns, rows, **options) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, **options)
        writer.writerow(columns)
        writer.writerows(rows)
    return file


def write_json(file: Path, value) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
    return file


def megadetector(folder: Path) -> Path:
    pictures(folder)
    images = [
        {"file": "IMG_0001.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.25, 0.5, 0.5]},
                                                {"category": "2", "conf": 0.99, "bbox": [0, 0, 0.1, 0.1]},
                                                {"category": "1", "conf": 0.05, "bbox": [0, 0, 0.1, 0.1]}]},
        {"file": "IMG_0002.jpg", "detections": []},
        {"file": "IMG_0003.jpg", "failure": "Failure image access", "detections": None},
    ]  # fmt: skip
    categories = {"1": "animal", "2": "person", "3": "vehicle"}
    value = {"info": {"format_version": "1.6"}, "detection_categories": categories, "images": images}
    return write_json(folder / "detections.json", value)


def coco(folder: Path) -> Path:
    pictures(folder)
    images = [
        {
            "id": f"i{n}",
            "file_name": name,
            "width": 60,
            "height": 40,
            "datetime": f"2022-12-31 09:52:5{n}",
            "location": "Bay",
            "seq_id": "s1",
        }
        for n, name in enumerate(NAMES)
    ]
    annotations = [
        {"id": 1, "image_id": "i0", "category_id": 1, "bbox": [6, 10, 30, 20], "area": 600, "iscrowd": 0, "identity": "Luna",
         "attributes": {"orientation": "left"}, "segmentation": [[6, 10, 36, 10, 36, 30]]},
        {"id": 2, "image_id": "i1", "category_id": 1, "bbox": [0.5, 0, 59.5, 40],
         "attributes": {"identity": "Zoë", "position": "top-left"}},
        {"id": 3, "image_id": "i2", "category_id": 0},
    ]  # fmt: skip
    categories = [{"id": 0, "name": "empty"}, {"id": 1, "name": "Caretta caretta"}]
    return write_json(folder / "coco.json", {"images": images, "annotations": annotations, "categories": categories})


def camtrap_dp(folder: Path) -> Path:
    pictures(folder / "media")
    resources = [
        {"name": name, "path": f"{name}.csv", "profile": "tabular-data-resource"} for name in ("deployments", "media", "observations")
    ]
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
    write_json(folder / "datapackage.json", {"name": "test", "profile": profile, "resources": resources})
    deployments = "deploymentID,locationID,locationName,latitude,longitude,deploymentStart,deploymentEnd"
    row = ("d1", "l1", "Old Jetty", "-3.5", "39.25", "2024-05-01T00:00:00+0300", "2024-06-01T00:00:00+0300")
    write_csv(folder / "deployments.csv", deployments.split(","), [row])
    media = "mediaID,deploymentID,captureMethod,timestamp,filePath,filePublic,fileName,fileMediatype"
    rows = [
        (f"m{n}", "d1", "activityDetection", f"2024-05-02T10:00:0{n}+0300", f"media/{name}", "false", name, "image/jpeg")
        for n, name in enumerate(NAMES)
    ]
    write_csv(folder / "media.csv", media.split(","), rows)
    columns = (
        "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,scientificName,count,lifeStage,sex,"
        "individualID,bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,classifiedBy,observationComments"
    ).split(",")
    times = ("2024-05-02T10:00:00+0300", "2024-05-02T10:00:01+0300")
    box, machine = ("0.1", "0.25", "0.5", "0.5"), ("machine", "MegaDetector")
    rows = [
        ("o0", "d1", "m0", "e1", *times, "media", "animal", "Panthera pardus", "1", "adult", "female", "Luna", *box, *machine, "=1+1"),
        ("o1", "d1", "m1", "e1", *times, "media", "animal", "Panthera pardus", "1", "NA", *[""] * 8, "a, b"),
        ("o2", "d1", "m2", "e2", *times, "media", "blank", *[""] * 12),
    ]
    write_csv(folder / "observations.csv", columns, rows)
    return folder


def wildbook(folder: Path, name: str = "sheet.xlsx") -> Path:
    from openpyxl import Workbook

    pictures(folder)
    book = Workbook()
    columns = ("Encounter.mediaAsset0", "Encounter.mediaAsset1", "Encounter.genus", "Encounter.specificEpithet", "Encounter.year",
               "Encounter.month", "Encounter.day", "Encounter.hour", "Encounter.minutes", "Encounter.locationID", "Encounter.submitterID",
               "MarkedIndividual.individualID", "Encounter.sightingID", "Encounter.sex")  # fmt: skip
    book.active.append(columns)
    book.active.append((NAMES[0], NAMES[1], "Rhincodon", "typus", 2021, 11, 28, 10, 5, "Ningaloo", "me", "Luna", "S-1", "female"))
    book.active.append((NAMES[2], None, "Rhincodon", "typus", 2021, None, None, None, None, "Ningaloo", "me", None, None, None))
    book.save(folder / name)
    return folder / name


def hotspotter(folder: Path) -> Path:
    pictures(folder / "images")
    tables = {
        "chip_table.csv": "# chip table\n# NumData 2\n#  ChipID,  ImgID,  NameID,  roi[tl_x  tl_y  w  h],  theta\n"
        "   1, 1, 2, [6 10 30 20], 0.00\n   2, 2, 1, [0 0 60 40], 0.50\n",
        "image_table.csv": "# image table\n# NumData 2\n# gid, gname, aif\n  1, IMG_0001.jpg, 1\n  2, IMG_0002.jpg, 1\n",
        "name_table.csv": "# name table\n# NumData 2\n# nid, name\n  1, ____\n  2, Luna\n",
    }
    for name, text in tables.items():
        (folder / "_hsdb").mkdir(exist_ok=True)
        (folder / "_hsdb" / name).write_text(text)
    return folder


def table(folder: Path) -> Path:
    pictures(folder)
    rows = [(NAMES[0], "Luna", "28/11/2021 10:15", "L", "6,10,30,20"), (NAMES[1], "Zoë", "2.12.2021", "", ""), (NAMES[2], "?", "", "R", "")]
    return write_csv(folder / "photos.csv", ("File name", "Individual", "Date taken", "Flank", "bbox"), rows, delimiter=";")


SAMPLES = {
    "megadetector": megadetector, "coco": coco, "camtrap-dp": camtrap_dp, "wildbook": wildbook, "hotspotter": hotspotter, "table": table,
}  # fmt: skip


def zipped(folder: Path, file: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder).as_posix())
        for name, data in more.items():
            packed.writestr(name, data)
    return file


def xmp_packet(*, hierarchical=(), tags=(), subject=()) -> str:
    """As digiKam writes it."""

    def bag(name, words, kind):
        items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
        return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>" if words else ""

    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        + bag("digiKam:TagsList", tags, "Seq") + bag("lr:hierarchicalSubject", hierarchical, "Bag") + bag("dc:subject", subject, "Bag")
        + '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )  # fmt: skip


def with_header(path: Path, *, shade: int = 0, exif: Image.Exif | None = None, xmp: str = "") -> Path:
    """A JPEG with EXIF, and XMP in a segment of its own."""
    save(path, np.full((SIZE[1], SIZE[0], 3), shade, np.uint8), **({"exif": exif} if exif is not None else {}))
    if xmp:
        data = path.read_bytes()
        body = b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()
        path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])
    return path
