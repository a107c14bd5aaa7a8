"""A drawn herd that is large enough to be calibrated on."""

from conftest import draw_animal, save

import reid
from reid import stages
from reid.records import Query
from reid.settings import Settings

N = 24  # animals of the herd
FAST = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=150, resize=320)


class Notes(reid.Listener):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def herd_at(root):
    """Animals met twice, two photos each time; a folder a photo would not tell encounters, a table does."""
    rows = ["path,identity,encounter"]
    for identity in range(N):
        for view in range(4):
            save(root / f"{identity}-{view}.png", draw_animal(identity, view))
            rows.append(f"{identity}-{view}.png,animal-{identity},{identity}-{view // 2}")
    (root / "metadata.csv").write_text("\n".join(rows))
    return root


def calibrate(root, settings=FAST, **options):
    with reid.open(root, settings, **options) as opened:
        return opened.calibrate()


def judged(opened, photos, references=None, judges=None):
    """The answers to PhotoRefs among references."""
    items, _ = stages.read(photos, opened.work.digests, opened.work.listener)
    return [
        stages.identify(Query(item.ref.image_id, (item,)), references or opened.references, opened.work, judges or opened.judges)
        for item in items
    ]
