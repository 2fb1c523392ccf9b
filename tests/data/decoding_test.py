"""Damaged files, further pages, colours of 16 bit, white and very large pictures."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from jax_scadn.data import decoding, images
from jax_scadn.runtime import errors

FORMATS = {
    "png": {},
    "jpeg": {},
    "jpeg progressive": {"progressive": True},
    "bmp": {},
    "gif": {},
    "webp": {},
    "webp lossless": {"lossless": True},
    "tiff": {},
    "tiff lzw": {"compression": "tiff_lzw"},
    "tiff deflate": {"compression": "tiff_adobe_deflate"},
    "tiff jpeg": {"compression": "jpeg"},
    "jpeg2000": {},
    "ppm": {},
    "tga": {},
}


@pytest.fixture
def picture():
    rows, columns = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).integers(0, 30, (40, 48, 1))
    colours = np.dstack([rows * 4, columns * 4, rows + columns]) + noise
    return np.clip(colours, 0, 255).astype(np.uint8)


@pytest.fixture
def limit():
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


def _encoded(picture, name, **settings):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, name.split()[0].upper(), **settings)
    return file.getvalue()


def _png(values, colour_type):
    """A PNG of 16 bit; Pillow does not write those in colours."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body
        + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_cut_files_are_refused_or_whole(picture, name, capfd):
    data = _encoded(picture, name, **FORMATS[name])
    whole = images.decode(data, "a", 32, 3)
    refused = 0
    for left in (*range(len(data) - 12, len(data)), *range(0, len(data), 200)):
        try:
            result = images.decode(data[:left], "a", 32, 3)
        except images.UnreadableImage as error:
            message = str(error)
            refused += 1
        else:
            message = ""
            np.testing.assert_array_equal(result, whole)
        assert "\n" not in message
    assert refused > len(data) // 200 - 3
    assert capfd.readouterr() == ("", "")


def test_a_png_with_a_wrong_checksum_is_refused(picture):
    data = bytearray(_encoded(picture, "png"))
    data[data.index(b"IEND") - 5] ^= 1  # the last byte of the pixels' checksum
    with pytest.raises(images.UnreadableImage, match=r"^a cannot .*wrong checksum"):
        images.decode(bytes(data), "a", 32, 3)


def test_a_jpeg_without_its_end_is_refused_although_it_has_a_thumbnail(picture):
    exif = b"Exif\0\0" + _encoded(picture[:8, :8], "jpeg")
    data = _encoded(picture, "jpeg")
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    data = data[:2] + segment + data[2:]
    images.decode(data + b"\0" * 9, "a", 32, 3)  # bytes behind its end do not harm
    for cut in (2, 300):
        with pytest.raises(images.UnreadableImage, match="its end is missing"):
            images.decode(data[:-cut], "a", 32, 3)


def test_damage_that_pillow_only_warns_of_is_an_error(picture):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0"
    data = _encoded(picture, "jpeg", exif=exif)
    with pytest.raises(images.UnreadableImage, match=r"^a cannot .*EXIF"):
        images.decode(data, "a", 32, 3)


@pytest.mark.parametrize(("colour_type", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_png_colours_keep_sixteen_bit(colour_type, samples):
    values = np.random.default_rng(1).integers(0, 65536, (8, 8, samples), np.uint16)
    data = _png(values, colour_type)
    colours = values[..., :3] if samples > 2 else values[..., [0, 0, 0]]
    np.testing.assert_array_equal(images.decode(data, "a", 8, 3), colours)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("tiff", {}), ("gif", {}), ("png", {}), ("webp", {"lossless": True})],
)
def test_pages_are_counted_and_the_first_is_read(tmp_path, picture, name, settings):
    path = tmp_path / f"a.{name}"
    first = Image.fromarray(picture).convert("L")
    others = [first.transpose(turn) for turn in (0, 1)]
    first.convert("RGB").save(path)
    assert images.pages(path) == 1
    first.save(path, save_all=True, append_images=others, **settings)
    assert images.pages(path) == 3
    np.testing.assert_array_equal(
        images.read(path, 40, 1), images.from_array(first, 40, 1)
    )


def test_pages_of_what_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(images.UnreadableImage, match=r"a\.png"):
        images.pages(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_white_of_cameras(tmp_path, bits, ending):
    white = 2**bits - 1
    values = np.array([[0, white // 3], [2 * white // 3, white]], np.uint16)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(values).save(path)
    expected = np.rint(values.astype(np.float32) * (65535 / white))[..., None]
    np.testing.assert_array_equal(images.read(path, 2, 1, white), expected)
    np.testing.assert_array_equal(images.from_array(values, 2, 1, white), expected)
    assert images.brightest(path) == white
    problem = rf"outside \[0, {white - 1}\], see --config\.data\.white"
    with pytest.raises(images.UnreadableImage, match=problem):
        images.read(path, 2, 1, white - 1)
    with pytest.raises(errors.UserError, match=problem):
        images.from_array(values, 2, 1, white - 1)


def test_white_is_not_of_eight_bit_and_floats(tmp_path):
    eight, floats = np.full((2, 2), 200, np.uint8), np.full((2, 2), 0.5, np.float32)
    for name, array in (("a.png", eight), ("b.tif", floats)):
        Image.fromarray(array).save(tmp_path / name)
        assert images.brightest(tmp_path / name) is None
        for white in (1, 65535):
            result = images.read(tmp_path / name, 2, 1, white)
            np.testing.assert_array_equal(result, images.from_array(array, 2, 1, white))
            assert images.as_float(result).max() > 0.4


@pytest.mark.parametrize("name", ["png", "tiff", "16 bit tiff"])
def test_max_megapixels(tmp_path, limit, name):
    depth = np.uint16 if "16" in name else np.uint8
    path = tmp_path / "a"
    Image.fromarray(np.zeros((1100, 1000), depth)).save(path, name.split()[-1].upper())
    images.allow(1)
    problem = r"a cannot .*more than 1 megapixels: raise --config\.data\.max_megapixels"
    with pytest.raises(images.UnreadableImage, match=problem):
        images.read(path, 8, 1)
    images.allow(3)
    assert not images.read(path, 8, 1).any()


def test_the_default_limit_is_pillows(limit):
    before = Image.MAX_IMAGE_PIXELS
    images.allow(decoding.DEFAULT_MEGAPIXELS)
    assert pytest.approx(before, rel=1e-3) == Image.MAX_IMAGE_PIXELS


def test_damage_is_told_in_threads_too(picture):
    data, messages = _encoded(picture, "png")[:-300], []

    def read():
        with pytest.raises(images.UnreadableImage) as info:
            images.decode(data, threading.current_thread().name, 32, 3)
        messages.append(str(info.value).split()[0])

    threads = [threading.Thread(target=read, name=f"t{i}") for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(messages) == ["t0", "t1", "t2", "t3"]
