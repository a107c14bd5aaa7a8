"""Other people's files, a file a format: what they say about photos comes in, what the catalogue knows goes out. No torch.

A reader has `recognises(look)` and `read(look, options) -> Source`; a writer has `write(gallery, out, options) -> Written`, and `TAKES`,
the options of an export that it reads. A new format is one file and one line here.
"""

from __future__ import annotations

READERS = {  # in the order in which a source is shown to them; the last takes what is left
    "camtrap-dp": "camtrap_dp",
    "hotspotter": "hotspotter",
    "megadetector": "megadetector",
    "coco": "coco",
    "json": "catalogue_json",
    "wildbook": "wildbook",
    "table": "spreadsheets",
    "photos": "photos",
    "folders": "folders",
}
WRITERS = {
    "csv": "spreadsheets",
    "xlsx": "spreadsheets",
    "wildlife-datasets": "wildlife_datasets",
    "camtrap-dp": "camtrap_dp",
    "wildbook": "wildbook",
    "mark": "mark",
    "rmark": "rmark",
    "secr": "secr",
    "camtrapr": "camtrapr",
    "coco": "coco",
    "json": "catalogue_json",
}
