"""Info bars of camera traps and borders of scans: told from the picture and left out of it; skies and darkness are not."""

import json

import cv2
import numpy as np
import pytest
from conftest import draw_animal, save
from PIL import Image, ImageDraw, ImageFont

import reid
from reid import extractors, imaging, stages
from reid.imaging.borders import LEFT_OUT, picture
from reid.records import PhotoRef
from reid.report.pictures import OUTLINE
from reid.review.pictures import outline
from reid.settings import ExtractSettings, Settings

SIZE = (641, 483)
BARS = {  # background, text, logo, share of the height, at the top
    "black": ((0, 0, 0), (255, 255, 255), None, 0.06, True),
    "white": ((255, 255, 255), (0, 0, 0), (200, 40, 20), 0.08, False),
    "grey": ((128, 128, 128), (250, 250, 250), (230, 170, 30), 0.04, False),
    "dark": ((20, 20, 22), (250, 190, 40), (230, 170, 30), 0.05, False),
}


def whole(pixels):
    return 0, 0, pixels.shape[1], pixels.shape[0]


def barred(kind, pixels):
    """The photo with a bar drawn onto it, and the rows that are left of it."""
    background, text, logo, share, top = BARS[kind]
    image = Image.fromarray(pixels)
    width, height = image.size
    n = round(share * height)
    start = 0 if top else height - n
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, start, width, start + n - 1), fill=background)
    font = ImageFont.load_default(0.6 * n)
    for x, words in ((0.12, "TRAIL CAM 7"), (0.5, "21°C"), (0.66, "2021-08-14 05:31:07")):
        pen.text((x * width, start + n / 2), words, fill=text, font=font, anchor="lm")
    if logo:
        pen.ellipse((0.02 * width, start + 0.1 * n, 0.02 * width + 0.8 * n, start + 0.9 * n), fill=logo)
    return np.asarray(image), ((n, height) if top else (0, height - n))


def as_jpeg(pixels, path, quality=80):
    return np.asarray(Image.open(save(path / "photo.jpg", pixels, quality=quality, compress_level=None)))


@pytest.mark.parametrize("kind", BARS)
def test_an_info_bar_is_told_wherever_the_photo_is_turned(kind, tmp_path):
    for animal in range(3):
        drawn, (top, bottom) = barred(kind, draw_animal(animal, 0, SIZE))
        pixels = as_jpeg(drawn, tmp_path)
        x0, y0, x1, y1 = picture(pixels)
        assert (x0, x1) == (0, SIZE[0]) and 0 <= y0 - top <= 4 * (top > 0) and 0 <= bottom - y1 <= 4 * (bottom < SIZE[1])
        assert picture(np.rot90(pixels)) == (y0, SIZE[0] - x1, y1, SIZE[0] - x0)  # a camera on its side


def test_borders_are_told_and_a_bar_within_them(tmp_path):
    inner, (top, bottom) = barred("black", draw_animal(4, 0, SIZE))
    scan = cv2.copyMakeBorder(draw_animal(4, 0, SIZE), 20, 30, 25, 15, cv2.BORDER_CONSTANT, value=(248, 246, 240))
    letterbox = cv2.copyMakeBorder(inner, 60, 60, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    np.testing.assert_allclose(picture(as_jpeg(scan, tmp_path)), (25, 20, 25 + SIZE[0], 20 + SIZE[1]), atol=4)
    np.testing.assert_allclose(picture(as_jpeg(letterbox, tmp_path)), (0, 60 + top, SIZE[0], 60 + bottom), atol=4)


def test_skies_snow_sea_and_night_are_part_of_the_picture(tmp_path):
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    away = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    for animal in range(3):
        pixels = draw_animal(animal, 1, SIZE)
        for name, place, colour in (
            ("a white sky above hills", y < 60 + 12 * np.sin(x / 40), 255),
            ("a white sky above a sea that is not level", y < 60 + 0.03 * x, 255),
            ("a white sky above a level sea", y < 60, 255),
            ("snow below", y > 400 + 9 * np.cos(x / 30), 255),
            ("a level dark bank", y > 440, 0),
            ("black corners", away > 0.5, 0),
        ):
            shown = as_jpeg(np.where(place[..., None], np.uint8(colour), pixels), tmp_path)
            assert picture(shown) == whole(shown), name
        for name, light in (("dusk", np.clip(y / height * 4 - 0.3, 0, 1)), ("flash", np.clip(1.5 - 3 * away, 0, 1))):
            shown = as_jpeg((pixels * light[..., None]).astype(np.uint8), tmp_path)
            assert picture(shown) == whole(shown), name
    for flat in (np.zeros((200, 300, 3), np.uint8), np.full((40, 33, 3), 255, np.uint8)):
        assert picture(flat) == whole(flat)


def test_a_head_above_a_straight_back_is_not_cut_off(tmp_path):
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    for background in (0, 128, 255):
        for share in (0.1, 0.2, 0.25):
            body = (y >= 70) & (y < 400) & (x >= 40) & (x < width - 40)
            head = (y >= 2) & (y < 90) & (x >= 40) & (x < 40 + share * width)
            shown = as_jpeg(np.where((body | head)[..., None], draw_animal(3, 0, SIZE), np.uint8(background)), tmp_path)
            assert picture(shown)[1] <= 2 and picture(np.rot90(shown, 2))[3] >= height - 2, (background, share)


def test_nothing_is_described_on_a_bar_and_it_is_said_once(tmp_path):
    notes = []

    class Notes(reid.Listener):
        def note(self, text):
            notes.append(text)

    drawn, (_, bottom) = barred("white", draw_animal(1, 0, SIZE))
    path = save(tmp_path / "barred.png", drawn)
    own = save(tmp_path / "mask.png", np.where(np.arange(SIZE[0]) < 300, np.uint8(255), np.zeros((SIZE[1], 1), np.uint8)))
    refs = [
        PhotoRef("barred.png", path),
        PhotoRef("masked.png", path, mask=str(own)),
        PhotoRef("plain.png", save(tmp_path / "p.png", draw_animal(2, 0))),
    ]
    settings = Settings.of(
        extractor="sift", matcher="nearest", fuse="glampoints+nearest", segment=False, resize=SIZE[0], max_keypoints=2000
    )
    work = stages.Workspace(settings, tmp_path / "cache", Notes())
    items, failures, _ = stages.extract(stages.read(refs, work.digests, work.listener)[0], work.pipelines)
    assert not failures and notes == [f"barred.png, masked.png: {LEFT_OUT}"]
    for pipeline in work.pipelines:
        points = [pipeline.load(item).keypoints for item in items]
        assert len(points[0]) and points[0][:, 1].max() < bottom and points[1][:, 0].max() < 300 and points[1][:, 1].max() < bottom
    assert work.first.prepare(refs[2]).mask is None


def test_an_animal_is_looked_for_beside_a_bar(tmp_path, monkeypatch):
    from types import SimpleNamespace

    drawn, (top, _) = barred("black", draw_animal(1, 0, SIZE))
    ref = PhotoRef("a", save(tmp_path / "a.png", drawn))
    work = stages.Workspace(Settings.of(resize=SIZE[0]), tmp_path / "cache", reid.Listener())
    for found in (None, np.ones(drawn.shape[:2], bool)):
        monkeypatch.setattr("reid.extractors.segmenter", lambda device, found=found: SimpleNamespace(foreground=lambda pixels: found))
        photo = work.first.prepare(ref)
        _, said = outline(ref, work)
        assert said.endswith(LEFT_OUT) and ("no animal can be made out" in said) == (found is None)
        assert not photo.mask[:top].any() and photo.mask[top + 4 :].all() and len(photo.flaws) == 1 + (found is None)


def test_a_mask_that_lies_on_a_band_is_kept_if_somebody_gave_it_and_is_no_animal_if_not(tmp_path, monkeypatch):
    from types import SimpleNamespace

    drawn, (top, _) = barred("black", draw_animal(1, 0, SIZE))
    path = save(tmp_path / "a.png", drawn)
    on_bar = np.arange(SIZE[1])[:, None] < np.full(SIZE[0], top + 6)  # and the rim around it
    given = save(tmp_path / "mask.png", np.where(on_bar, np.uint8(255), np.uint8(0)))
    work = stages.Workspace(Settings.of(resize=SIZE[0]), tmp_path / "cache", reid.Listener())
    photo = work.first.prepare(PhotoRef("a", path, mask=str(given)))
    assert np.array_equal(photo.mask, on_bar) and not photo.flaws
    monkeypatch.setattr("reid.extractors.segmenter", lambda device: SimpleNamespace(foreground=lambda pixels: on_bar.copy()))
    photo = work.first.prepare(PhotoRef("a", path))
    assert not photo.mask[:top].any() and photo.mask[top + 4 :].all() and photo.flaws == (LEFT_OUT, stages.pipeline.NO_ANIMAL)


def test_a_picture_of_a_pair_shows_what_is_left(tmp_path, call):
    drawn, (_, bottom) = barred("white", draw_animal(1, 0, SIZE))
    photos = [save(tmp_path / "barred.png", drawn), save(tmp_path / "plain.png", draw_animal(1, 1, SIZE))]
    found = []
    for words in ((), ("--outline",)):
        given = ("--extractor", "sift", "--matcher", "nearest", "--no-segment", "--out", tmp_path / "pair.png", *words)
        assert call("show", *photos, *given)[0] == 0
        found.append(np.asarray(Image.open(tmp_path / "pair.png")).astype(int))
    rows, columns = np.argwhere((found[0] != found[1]).any(axis=2)).T
    assert (found[1] == OUTLINE).all(axis=2).sum() > 1000 and columns.max() < found[0].shape[1] // 2  # nothing is left out of the other
    assert rows.max() - 54 == pytest.approx(bottom * 480 / SIZE[1], abs=6) and columns.max() - columns.min() > 600


def test_a_bar_is_no_part_of_what_a_photo_can_show(tmp_path):
    bright = draw_animal(1, 0, SIZE)
    black = np.zeros((60, SIZE[0], 3), np.uint8)
    plain, boxed = (
        imaging.quality(PhotoRef("a", save(tmp_path / f"{k}.png", one)))
        for k, one in enumerate((bright, np.vstack([black, bright, black])))
    )
    assert boxed.brightness == pytest.approx(plain.brightness, abs=0.01) and boxed.contrast == pytest.approx(plain.contrast, abs=0.01)
    tall = imaging.quality(
        PhotoRef(
            "a",
            save(tmp_path / "tall.png", np.hstack([np.zeros((SIZE[1], 100, 3), np.uint8), bright, np.zeros((SIZE[1], 100, 3), np.uint8)])),
        )
    )
    assert SIZE[0] - 10 <= tall.pixels <= SIZE[0]


def test_what_tells_a_bar_is_in_the_description(monkeypatch):
    before = json.dumps(extractors.describe(ExtractSettings()), sort_keys=True)
    monkeypatch.setattr("reid.imaging.borders.STRAIGHT", 0.9)
    assert json.dumps(extractors.describe(ExtractSettings()), sort_keys=True) != before
