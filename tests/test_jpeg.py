"""JPEGs that are not whole: what lacks little is used and said, what lacks much is named, and of whole ones nothing is said."""

import io

import numpy as np
import pytest
from conftest import draw_animal
from PIL import Image

from reid import imaging
from reid.errors import PhotoError
from reid.imaging.jpeg import DAMAGED, TRUNCATED
from reid.records import PhotoRef

WAYS = {
    "baseline": {"quality": 90}, "optimized": {"quality": 75, "optimize": True}, "progressive": {"quality": 90, "progressive": True},
    "coarse": {"quality": 40, "progressive": True}, "full colour": {"quality": 95, "subsampling": 0},
    "restarts": {"quality": 85, "restart_marker_rows": 1}, "many restarts": {"quality": 85, "restart_marker_blocks": 5},
}  # fmt: skip
each_way = pytest.mark.parametrize("way", WAYS)


def encoded(way, pixels=None, mode="RGB"):
    stream = io.BytesIO()
    image = Image.fromarray(draw_animal(1, 0) if pixels is None else pixels)
    image.convert(mode).save(stream, "JPEG", **WAYS[way])
    return stream.getvalue()


def decoded(folder, data, at_least=None):
    path = folder / "photo.jpg"
    path.write_bytes(data)
    return imaging.decode(path, at_least)


def flat():
    """A cut-out animal on black, with white below: long runs of nothing."""
    pixels = draw_animal(1, 0)
    pixels[:, :150] = 0
    pixels[130:] = 255
    return pixels


@each_way
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_of_whole_photos_nothing_is_said_and_nothing_changes(tmp_path, way, mode):
    for pixels in (None, flat(), np.zeros((70, 90, 3), np.uint8)):
        data = encoded(way, pixels, mode)
        for behind in (b"", b"a phone's trailer \xff\xd9" * 9):
            found = decoded(tmp_path, data + behind)
            assert found.flaws == ()
            assert np.array_equal(found.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        assert decoded(tmp_path, data, at_least=60).flaws == ()


@each_way
def test_a_little_is_forgiven_at_the_end(tmp_path, way):
    data = encoded(way)
    whole = decoded(tmp_path, data).pixels
    for cut in (data[:-2], data[:-3], data[: int(len(data) * 0.99)]):
        for at_least in (None, 100):
            found = decoded(tmp_path, cut, at_least)
            assert found.flaws == (TRUNCATED,)
        pixels = decoded(tmp_path, cut).pixels
        assert pixels.shape == whole.shape
        assert np.abs(pixels.astype(int) - whole)[:200].mean() < 2


@each_way
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_much_is_not(tmp_path, way, share):
    data = encoded(way)
    with pytest.raises(PhotoError, match=r"photo\.jpg is damaged"):
        decoded(tmp_path, data[: int(len(data) * share)])


def test_a_progressive_photo_is_judged_by_the_rows_that_its_last_scan_reaches(tmp_path):
    data = encoded("coarse")
    start = data.rfind(b"\xff\xda")
    assert decoded(tmp_path, data[: start + int((len(data) - start) * 0.8)]).flaws == (TRUNCATED,)
    with pytest.raises(PhotoError, match="much of the whole photo"):
        decoded(tmp_path, data[: start + int((len(data) - start) * 0.2)])


@pytest.mark.parametrize("size", [(64, 48), (120, 40), (40, 300)])
def test_small_photos_are_judged_by_their_rows_too(tmp_path, size):
    data = encoded("baseline", draw_animal(2, 0, size))
    assert decoded(tmp_path, data[:-2]).flaws == (TRUNCATED,)
    with pytest.raises(PhotoError, match="its end is missing"):
        decoded(tmp_path, data[: len(data) // 2])


@each_way
@pytest.mark.parametrize("n", [40, 512])
def test_zeroed_bytes_in_the_middle_are_said(tmp_path, way, n):
    data = bytearray(encoded(way))
    place = len(data) * 3 // 5  # of a progressive photo, in a scan of coefficients
    data[place : place + n] = bytes(n)
    found = decoded(tmp_path, bytes(data))
    assert found.flaws == (DAMAGED,)
    assert found.pixels.shape == (241, 313, 3)


def test_what_libjpeg_would_warn_of_is_said(tmp_path):
    """Bits too many or too few, and markers where none can be."""
    data = encoded("baseline")
    place = len(data) // 2
    more, fewer = data[:place] + data[place - 200 :], data[:place] + data[place + 200 :]
    marker = data[:place] + b"\xff\xc8\x12\xff\xff\xc0" + data[place + 6 :]
    for torn in (more, fewer, marker):
        found = decoded(tmp_path, torn)
        assert found.flaws == (DAMAGED,)
        assert np.abs(found.pixels[:80].astype(int) - decoded(tmp_path, data).pixels[:80]).mean() < 1


def test_restarts_out_of_their_order_are_said(tmp_path):
    data = encoded("restarts")
    assert decoded(tmp_path, data.replace(b"\xff\xd3", b"\xff\xd5", 1)).flaws == (DAMAGED,)


def test_flaws_come_with_the_prepared_photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded("baseline")[:-2])
    assert imaging.prepare(PhotoRef("photo", path), 128).flaws == (TRUNCATED,)


@each_way
def test_whatever_a_file_holds_it_is_a_photo_or_named(tmp_path, way):
    whole = encoded(way, draw_animal(1, 0, (64, 48)))
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(2, len(data), 3):
            data[place] = rng.integers(256)
        try:
            assert decoded(tmp_path, bytes(data)).pixels.ndim == 3
        except PhotoError:  # and no other error
            pass
