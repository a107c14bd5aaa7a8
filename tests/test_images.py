import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import save
from PIL import Image

from reid import imaging as images
from reid.errors import PhotoError
from reid.records import PhotoRef

WIDTH, HEIGHT = 471, 313


def scene() -> np.ndarray:
    """A photo that looks different however it is turned: smooth, so that JPEG changes it little."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    return (np.stack((x, y, x * y), axis=2) * 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, tag, suffix):
    wanted = scene()
    undo = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}  # quarter turns counter-clockwise as stored
    stored = np.rot90(wanted, undo[tag]) if tag in (1, 3, 6, 8) else None
    if stored is None:
        flipped = {2: np.fliplr(wanted), 4: np.flipud(wanted), 5: wanted.swapaxes(0, 1), 7: np.rot90(wanted, 2).swapaxes(0, 1)}
        stored = flipped[tag]
    exif = Image.Exif()
    exif[0x0112] = tag
    path = save(tmp_path / f"photo.{suffix}", np.ascontiguousarray(stored), exif=exif, **({} if suffix == "tiff" else {"quality": 95}))
    found = images.decode(path)
    pixels, scale = found.pixels, found.scale
    assert pixels.shape == wanted.shape
    assert scale == 1
    assert images.photo_size(path) == (WIDTH, HEIGHT)
    assert np.abs(pixels.astype(int) - wanted).mean() < 3


def test_a_large_jpeg_is_decoded_small_but_not_too_small(tmp_path):
    big = cv2.resize(scene(), (4710, 3130))
    path = save(tmp_path / "big.jpg", big, quality=90)
    found = images.decode(path, at_least=640)
    pixels, scale = found.pixels, found.scale
    assert found.size == (4710, 3130)
    assert 640 <= max(pixels.shape) < 1300
    assert scale == pytest.approx(max(pixels.shape) / 4710)
    small = images.prepare(PhotoRef("big", path), 640)
    assert small.size == (640, 425)
    direct = cv2.resize(big, small.size, interpolation=cv2.INTER_AREA)
    assert np.abs(small.pixels.astype(int) - direct).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "LA", "P", "I;16", "1"])
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp", "gif"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode, suffix):
    grey = np.repeat(scene()[..., :1], 3, axis=2)
    image = (
        Image.fromarray(scene()[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(grey).convert(mode, palette=Image.Palette.ADAPTIVE)
    )
    path = tmp_path / f"photo.{suffix}"
    if mode == "I;16" and suffix in ("gif", "webp"):
        pytest.skip("Pillow writes 16 bits only to PNG and TIFF")
    try:
        image.save(path)
    except (OSError, ValueError):
        pytest.skip(f"{suffix} holds no {mode}")
    pixels = images.decode(path).pixels
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[..., 0].astype(float) - grey[..., 0]).mean() < (130 if mode == "1" else 6)
    assert abs(pixels[..., 0].mean() - grey.mean()) < 6


def test_the_first_frame_of_an_animation_counts(tmp_path):
    first, second = Image.fromarray(scene()), Image.new("RGB", (WIDTH, HEIGHT), "red")
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"moving.{suffix}"
        first.save(path, save_all=True, append_images=[second], **({"lossless": True} if suffix == "webp" else {}))
        assert np.abs(images.decode(path).pixels.astype(int) - scene()).mean() < 12


def test_heic_is_read(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = save(tmp_path / "phone.heic", scene(), quality=95)
    assert images.photo_size(path) == (WIDTH, HEIGHT)
    assert np.abs(images.decode(path).pixels.astype(int) - scene()).mean() < 4


def test_transparent_pixels_do_not_show_what_they_hide(tmp_path):
    hidden = np.dstack((scene(), np.zeros((HEIGHT, WIDTH), np.uint8)))
    assert (images.decode(save(tmp_path / "a.png", hidden)).pixels == 128).all()


def png_of(width: int, height: int) -> bytes:
    """A PNG's header that claims a size, with hardly any pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def bad_photos(folder):
    jpeg = save(folder / "good.jpg", scene()).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("not a photo")
    (folder / "huge.png").write_bytes(png_of(30_000, 30_000))
    (folder / "long.png").write_bytes(png_of(70_000, 40))
    (folder / "folder.jpg").mkdir()
    (folder / "dead.jpg").symlink_to(folder / "gone.jpg")
    save(folder / "dot.png", np.zeros((1, 1, 3), np.uint8))
    save(folder / "strip.png", np.zeros((33, 4000, 3), np.uint8))
    Image.fromarray(np.zeros((50, 50), np.float32)).save(folder / "floats.tiff")
    (folder / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n")
    return {
        "empty.jpg": "is empty", "truncated.jpg": "is damaged", "text.jpg": "not a photo", "huge.png": "300 megapixels",
        "long.png": "65535 px a side", "folder.jpg": "is a folder", "dead.jpg": "a file that is gone", "dot.png": "1 x 1 px",
        "strip.png": "too long and thin", "floats.tiff": "floating-point", "vector.eps": "not a photo", "none.jpg": "does not exist",
    }  # fmt: skip


def test_bad_photos_are_named_in_one_line(tmp_path):
    for name, said in bad_photos(tmp_path).items():
        with pytest.raises(PhotoError, match=said) as caught:
            images.prepare(PhotoRef(name, tmp_path / name), 640)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "tag"), [((9000, 400), 1), ((400, 9000), 6), ((20000, 700), 1)])
def test_a_panorama_is_named_by_its_real_size(tmp_path, size, tag):
    """Not by the size of the small copy that is decoded."""
    exif = Image.Exif()
    exif[0x0112] = tag
    path = save(tmp_path / "wide.jpg", np.zeros((size[1], size[0], 3), np.uint8), exif=exif)
    shown = size if tag == 1 else size[::-1]
    with pytest.raises(PhotoError, match=f"wide.jpg is {shown[0]} x {shown[1]} px: too long and thin"):
        images.prepare(PhotoRef("wide", path), 640)


def test_a_header_that_makes_no_sense_does_not_stop_a_photo(tmp_path):
    path = save(tmp_path / "a.jpg", scene(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    assert images.photo_size(path) == (WIDTH, HEIGHT)
    assert images.decode(path).pixels.shape == (HEIGHT, WIDTH, 3)
    assert images.facts(path).taken is None


@pytest.mark.parametrize("kind", ["file", "black", "polygon", "outside", "nothing"])
def test_a_mask_that_shows_a_speck_is_said_and_the_whole_photo_used(tmp_path, kind):
    path = save(tmp_path / "a.png", scene())
    speck = np.zeros((HEIGHT, WIDTH), np.uint8)
    speck[:10, :10] = 255
    masks = {
        "file": str(save(tmp_path / "speck.png", speck)),
        "black": str(save(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8))),
        "polygon": "[[0, 0, 10, 0, 10, 10, 0, 10]]",
        "outside": "[[900, 900, 910, 900, 910, 910, 900, 910]]",
        "nothing": json.dumps({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}),
    }
    photo = images.prepare(PhotoRef("a", path, mask=masks[kind]), 128)
    assert photo.mask is None
    [flaw] = photo.flaws
    assert "less than 1 % of the photo" in flaw


def test_a_small_animal_that_fills_its_box_is_no_speck(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((600, 800, 3), np.uint8))
    ref = PhotoRef("a", path, crop=(100, 100, 64, 48), mask="[[100, 100, 160, 100, 160, 148, 100, 148]]")
    photo = images.prepare(ref, 64)
    assert photo.flaws == () and photo.mask.mean() > 0.8


def test_two_hundred_megapixels_are_read_and_the_limit_of_pillow_is_left_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "phone.jpg"
    Image.new("L", (16320, 12240), 100).save(path, quality=30)
    assert images.prepare(PhotoRef("phone", path), 640).size == (640, 480)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("crop", [None, (101.0, 37.0, 240.0, 200.0), (17.3, 5.8, 300.4, 290.9)])
@pytest.mark.parametrize(
    ("longest", "turns"), [(640, (0, False)), (128, (0, False)), (640, (1, False)), (128, (3, True)), (128, (2, True))]
)
def test_points_come_back_to_where_they_are_on_the_upright_photo(tmp_path, crop, longest, turns):
    dots = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    places = np.array([(150, 60), (300, 75), (180, 200), (290, 180)])
    for x, y in places:
        dots[y - 6 : y + 7, x - 6 : x + 7] = 255  # centred on (x, y)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(dots)), exif=exif)
    ref = PhotoRef("turned", path, crop=crop, quarters=turns[0], mirrored=turns[1])
    photo = images.prepare(ref, longest)
    n, _, _, found = cv2.connectedComponentsWithStats((photo.pixels[..., 0] > 60).astype(np.uint8))
    assert n == 5
    weights = photo.pixels[..., 0].astype(float)
    yy, xx = np.mgrid[: photo.size[1], : photo.size[0]]
    centres = []
    for cx, cy in found[1:]:
        near = (abs(xx - cx) < 12) & (abs(yy - cy) < 12)
        centres.append([np.average(axis[near], weights=weights[near]) for axis in (xx, yy)])
    back = images.to_upright(np.array(centres), photo.size, images.photo_size(path), ref)
    distance = np.linalg.norm(back[:, None] - places[None], axis=2).min(axis=1)
    assert distance.max() < 0.5


def test_masks_from_polygons_run_lengths_and_files(tmp_path):
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[50:200, 100:300] = True
    polygon = json.dumps([[100, 50, 300, 50, 300, 200, 100, 200]])
    flat = wanted.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = json.dumps({"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, flat.size]).tolist()})
    file = save(tmp_path / "mask.png", (wanted * 255).astype(np.uint8))
    for source, tolerance in ((polygon, 0.02), (runs, 0), (runs.replace('"', "'"), 0), (str(file), 0)):
        mask = images.read_mask(source, (WIDTH, HEIGHT))
        assert (mask != wanted).sum() <= tolerance * wanted.sum()
    for bad in ("[1, 'two']", "[]", "[[]]", "[[1, 2, 3, 1e30, 4, 5]]", '{"size": [313, 471], "counts": [1000000000000]}'):
        with pytest.raises(PhotoError, match="neither COCO"):
            images.read_mask(bad, (WIDTH, HEIGHT))
    with pytest.raises(PhotoError, match="neither COCO"):
        images.read_mask(runs, (WIDTH + 1, HEIGHT))


def test_mask_images_of_every_kind(tmp_path):
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[50:200, 100:300] = True
    ones = save(tmp_path / "ones.png", wanted.astype(np.uint8))
    cut_out = save(tmp_path / "cut.png", np.dstack((scene() // 2 + 120, wanted * 255)).astype(np.uint8))
    dark = save(tmp_path / "dark.png", np.dstack((scene() // 2 + 1, wanted * 255)).astype(np.uint8))  # two thirds in the dark
    drawn = save(tmp_path / "drawn.png", np.dstack([wanted * 255] * 3 + [np.full_like(wanted, 90, np.uint8)]).astype(np.uint8))
    for path in (ones, cut_out, dark, drawn):
        assert (images.read_mask(str(path), (WIDTH, HEIGHT)) != wanted).mean() < 0.01
    with pytest.raises(PhotoError, match="shows no animal"):
        images.read_mask(str(save(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8))), (WIDTH, HEIGHT))


def test_sixteen_bits_of_which_twelve_are_used(tmp_path):
    path = tmp_path / "camera.png"
    Image.fromarray(scene()[..., 0].astype(np.uint16) * 16).save(path)
    assert np.abs(images.decode(path).pixels[..., 0].astype(int) - scene()[..., 0]).max() <= 1


def test_a_mask_is_cropped_and_resized_with_its_photo(tmp_path):
    path = save(tmp_path / "a.png", scene())
    ref = PhotoRef("a", path, crop=(100, 50, 200, 150), mask=json.dumps([[100, 50, 200, 50, 200, 200, 100, 200]]))
    photo = images.prepare(ref, 100)
    assert photo.size == (100, 75)
    assert photo.mask is not None
    assert photo.mask[:, :49].all()
    assert not photo.mask[:, 51:].any()


def test_a_small_photo_is_enlarged_where_it_may_be(tmp_path):
    """Its mask with it; what is drawn at a place stays there."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 30:40] = 255
    ref = PhotoRef("small", save(tmp_path / "small.png", pixels), mask="[[30, 10, 40, 10, 40, 20, 30, 20]]")
    assert images.prepare(ref, 240).size == (60, 40)
    photo = images.prepare(ref, 240, enlarge=True)
    assert photo.size == (240, 160)
    bright = photo.pixels[..., 0] > 128
    assert (bright[40:80, 120:160]).mean() > 0.95 and bright.sum() < 1.1 * 40 * 40
    assert (photo.mask & bright).sum() > 0.8 * bright.sum()
    corner = images.to_upright(np.array([[119.5, 39.5]]), photo.size, (60, 40), ref)
    assert corner[0].tolist() == pytest.approx([29.5, 9.5])
    assert images.prepare(ref, 48, enlarge=True).size == (48, 32)


def test_evened_out_photos_show_the_pattern_in_the_dark():
    """A dim checkerboard under a shadow: contrast rises everywhere, the pattern and the colour stay."""
    yy, xx = np.mgrid[:160, :240]
    board = ((xx // 12 + yy // 12) % 2).astype(float)
    shadow = np.linspace(0.2, 1, 240)[None]
    pixels = np.stack([(20 + 25 * board) * shadow, (22 + 30 * board) * shadow, (30 + 20 * board) * shadow], axis=-1).astype(np.uint8)
    even = images.equalized(pixels)
    assert even.shape == pixels.shape and even.dtype == np.uint8
    for columns in (slice(0, 60), slice(180, 240)):
        before, after = (image[:, columns].astype(float).mean(axis=2) for image in (pixels, even))
        contrast = [abs(image[board[:, columns] == 1].mean() - image[board[:, columns] == 0].mean()) for image in (before, after)]
        assert contrast[1] > 1.5 * contrast[0]
    assert np.array_equal(even, images.equalized(pixels))
    assert np.array_equal(pixels[0, 0], [4, 4, 6])  # the original is left alone


def test_quality_tells_a_good_photo_from_a_bad_one(tmp_path):
    light = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    sharp = np.kron(light, np.ones((10, 10, 1), np.uint8))
    bad = {
        "sharp": (sharp, ()),
        "blurred": (cv2.GaussianBlur(sharp, (0, 0), 12), ("blurred", "low in contrast")),
        "dark": ((sharp * 0.3).astype(np.uint8), ("dark", "low in contrast")),
        "overexposed": ((sharp * 0.4 + 153).astype(np.uint8), ("overexposed",)),
        "small": (sharp[:200, :200], ("small (200 px)",)),
    }
    for name, (pixels, words) in bad.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        seen = images.quality(PhotoRef(name, tmp_path / f"{name}.png"))
        assert set(words) - set(images.shortcomings(seen)) == set() and (words or not images.shortcomings(seen)), (name, seen)
        assert seen.pixels == max(pixels.shape[:2])
        assert seen.brightness == pytest.approx(pixels.mean() / 255, abs=0.02)
    boxed = PhotoRef("box", tmp_path / "sharp.png", crop=(0, 0, 100, 80))
    assert images.quality(boxed).pixels == 100
    beyond = PhotoRef("beyond", tmp_path / "sharp.png", crop=(300, 200, 400, 300))  # 100 x 100 px of it are on the photo
    assert "small (100 px)" in images.shortcomings(images.quality(beyond))
