"""Every TIFF is either read right or refused in one line."""

import itertools

import numpy as np
import pytest
import tiff_writer
from PIL import Image

from jax_scadn.data import images

HEIGHT, WIDTH = 9, 7
LAYOUTS = {  # photometric: (samples, kinds of the extra ones)
    0: ((1, ()), (2, (2,)), (2, ())),
    1: ((1, ()), (2, (0,)), (2, (2,)), (3, ())),
    2: ((3, ()), (4, ()), (4, (0,)), (4, (2,)), (5, (2, 0)), (6, (0, 0, 0))),
    3: ((1, ()),),
}
BITS = {"u": (1, 2, 4, 8, 10, 12, 14, 16, 32, 64), "i": (8, 12, 16, 32, 64),
        "f": (16, 32, 64)}  # fmt: skip


def _values(rng, bits, kind, samples):
    """Stored values up to white, and white."""
    shape = HEIGHT, WIDTH, samples
    if kind == "f":
        return rng.random(shape).astype(f"f{bits // 8}"), 1
    white = 2 ** min(bits, 16) - 1
    most = min(white, 2 ** (bits - 1) - 1) if kind == "i" else white
    values = rng.integers(0, most + 1, shape)
    values[:3] = 0  # PackBits has something to do
    return values, white


def _truth(values, white, photometric, palette):
    """(height, width, 3) in [0, 1]."""
    if photometric == 3:
        return palette[values[..., 0]] / 65535
    colours = values[..., : 3 if photometric == 2 else 1] / np.float64(white)
    colours = 1 - colours if photometric == 0 else colours
    return np.broadcast_to(colours, (*colours.shape[:2], 3))


def _predictors(bits, kind, compression):
    if compression not in ("lzw", "deflate"):
        return (1,)
    if kind == "f":
        return (1, 3)
    return (1, 2) if bits in (8, 16, 32) else (1,)


@pytest.mark.parametrize("photometric", LAYOUTS)
@pytest.mark.parametrize("compression", tiff_writer.COMPRESSIONS)
def test_all_combinations_are_read_right_or_refused(photometric, compression):
    rng = np.random.default_rng(0)
    for kind, order, planar, tile in itertools.product(
        BITS, "<>", (False, True), (None, (16, 16))
    ):
        for bits, (samples, extra) in itertools.product(
            BITS[kind], LAYOUTS[photometric]
        ):
            palette = None
            if tile and (extra or (kind == "i" and order == "<")):
                continue
            if photometric == 3:
                if bits > 8:
                    continue
                palette = rng.integers(0, 256, (2**bits, 3)) * 257
            values, white = _values(rng, bits, kind, samples)
            truth = _truth(values, white, photometric, palette)[1:8]
            for predictor in _predictors(bits, kind, compression):
                case = (kind, order, planar, tile, bits, samples, extra, predictor)
                data = tiff_writer.write(
                    values, bits, kind, order, planar, compression, predictor,
                    photometric, extra, tile=tile, palette=palette,
                )  # fmt: skip
                result = _read(data, must=_must_be_read(photometric, compression, case))
                if result is not None:
                    step = 255 if bits <= 8 else 65535
                    assert result.dtype == (np.uint8 if bits <= 8 else np.uint16), case
                    error = np.abs(images.as_float(result) - truth).max()
                    assert error <= 0.51 / step, case


def _must_be_read(photometric, compression, case):
    """Whether refusing it would be a loss."""
    kind, _, planar, _, bits, samples, extra, _ = case
    if photometric == 3 or extra or samples not in (1, 3) or kind == "i":
        return False
    colour = photometric == 2
    if samples != (3 if colour else 1):
        return False
    if bits <= 8:
        return kind == "u" and not planar and (bits == 8 or not colour)
    if photometric == 0:
        return kind == "u" and bits <= 16 and compression != "lzw"
    if compression != "lzw":
        return (kind, bits) != ("u", 64)
    return kind == "u" and bits == 16 and not planar


def _read(data, must=False, channels=3):
    try:
        return images.decode(data, "a.tif", WIDTH, channels)
    except images.UnreadableImage as error:
        message = str(error)
    assert not must, message
    assert message.startswith("a.tif cannot be read as an image: a TIFF of "), message
    assert "\n" not in message
    return None


@pytest.mark.parametrize("kind", ["u8", "u16", "u16 lzw", "rgb8", "rgb16 lzw", "f32"])
def test_turned_files_have_one_size_everywhere(tmp_path, kind):
    """Each orientation, of Pillow's pictures and of ours."""
    bits = 32 if kind == "f32" else 16 if "16" in kind else 8
    samples = 3 if "rgb" in kind else 1
    values, _ = _values(
        np.random.default_rng(1), bits, kind[0].replace("r", "u"), samples
    )
    path = tmp_path / "a.tif"
    for orientation in range(1, 9):
        path.write_bytes(
            tiff_writer.write(
                values,
                bits,
                "f" if kind == "f32" else "u",
                ">" if bits == 16 else "<",
                compression="lzw" if "lzw" in kind else "none",
                photometric=2 if samples == 3 else 1,
                tags=[(274, [orientation])],
            )
        )
        turned = values
        if orientation >= 5:
            turned = turned.swapaxes(0, 1)
        # What EXIF says of the stored first row and column.
        if orientation in (2, 3, 6, 7):
            turned = turned[:, ::-1]
        if orientation in (3, 4, 7, 8):
            turned = turned[::-1]
        assert images.dimensions(path) == turned.shape[1::-1]
        top = (turned.shape[0] - WIDTH + 1) // 2
        left = (turned.shape[1] - WIDTH + 1) // 2
        expected = turned[top : top + WIDTH, left : left + WIDTH]
        result = images.read(path, WIDTH, samples)
        if kind == "f32":
            expected = np.rint(expected * 65535)
        np.testing.assert_array_equal(result, expected, err_msg=str(orientation))


@pytest.mark.parametrize("compression", tiff_writer.COMPRESSIONS)
@pytest.mark.parametrize("bits", [8, 16])
def test_missing_or_damaged_strips_are_refused(compression, bits):
    values, _ = _values(np.random.default_rng(2), bits, "u", 1)
    data = tiff_writer.write(values, bits, compression=compression)
    assert _read(data, must=True) is not None
    entry = (279).to_bytes(2, "little") + b"\x04\0"
    one_less = data.replace(entry + b"\x02", entry + b"\x01")
    assert one_less != data
    for damaged in (data[:-40], data[:30], one_less):
        with pytest.raises(images.UnreadableImage, match=r"^a\.tif cannot be read"):
            images.decode(damaged, "a.tif", WIDTH, 1)


def test_a_preview_is_not_the_picture():
    values, _ = _values(np.random.default_rng(3), 8, "u", 3)
    data = tiff_writer.write(values, 8, photometric=2, tags=[(254, [1])])
    with pytest.raises(images.UnreadableImage, match="preview"):
        images.decode(data, "a.tif", WIDTH, 3)


@pytest.mark.parametrize("compression", tiff_writer.COMPRESSIONS)
def test_reversed_bits_are_read_right_or_refused(compression):
    rng = np.random.default_rng(6)
    read = 0
    for photometric, bits in itertools.product(LAYOUTS, (1, 2, 4, 8, 12, 16)):
        if (photometric == 2 and bits < 8) or (photometric == 3 and bits > 8):
            continue
        palette = rng.integers(0, 256, (2**bits, 3)) * 257
        values, white = _values(rng, bits, "u", 3 if photometric == 2 else 1)
        data = tiff_writer.write(
            values, bits, compression=compression, photometric=photometric,
            palette=palette if photometric == 3 else None, fill_order=2,
        )  # fmt: skip
        try:
            result = images.decode(data, "a.tif", WIDTH, 3)
        except images.UnreadableImage:
            continue
        truth = _truth(values, white, photometric, palette)[1:8]
        assert np.abs(images.as_float(result) - truth).max() <= 0.51 / 255
        read += 1
    assert read >= 9


@pytest.mark.parametrize("tag", [(262, [4]), (258, [8, 16, 8]), (339, [1, 2, 1])])
def test_what_is_not_known_is_refused(tag):
    values, _ = _values(np.random.default_rng(4), 8, "u", 3)
    data = tiff_writer.write(values, 8, photometric=2, tags=[tag])
    with pytest.raises(images.UnreadableImage, match="is of a kind that is not read"):
        images.decode(data, "a.tif", WIDTH, 3)


def test_values_below_zero_are_refused():
    data = tiff_writer.write(np.full((WIDTH, WIDTH, 1), -5), 16, "i")
    with pytest.raises(images.UnreadableImage, match="values from -5"):
        images.decode(data, "a.tif", WIDTH, 1)


def test_previews_are_no_pages(tmp_path):
    path = tmp_path / "a.tif"
    page = Image.new("L", (8, 8))
    page.save(path, save_all=True, append_images=[page, page])
    assert images.pages(path) == 3
    path.write_bytes(tiff_writer.write(np.zeros((4, 4, 1), int), 14))
    assert images.pages(path) == 1
    assert images.dimensions(path) == (4, 4)


def test_damaged_pixels_are_refused_without_a_word_of_libtiff(capfd):
    values, _ = _values(np.random.default_rng(5), 8, "u", 1)
    data = bytearray(tiff_writer.write(values, 8, compression="lzw"))
    data[12:30] = b"\xff" * 18
    with pytest.raises(images.UnreadableImage, match=r"a\.tif .*damaged pixels"):
        images.decode(bytes(data), "a.tif", WIDTH, 1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_have_their_own_white(bits):
    data = tiff_writer.write(np.full((WIDTH, WIDTH, 1), 2**bits - 1), bits)
    result = images.decode(data, "a.tif", WIDTH, 1, white=300)
    np.testing.assert_array_equal(result, np.full((WIDTH, WIDTH, 1), 65535, np.uint16))


def test_masks_of_many_bits(tmp_path):
    mask = np.zeros((8, 8, 3), int)
    mask[:, :4, 2] = 1  # the number of a class: the high bytes are all 0
    for samples, alpha in ((3, ()), (4, (2,))):
        opaque = np.full((8, 8, samples - 3), 65535)
        stored = np.concatenate([mask, opaque], axis=2)
        path = tmp_path / "a.tif"
        path.write_bytes(tiff_writer.write(stored, 16, photometric=2, extra=alpha))
        np.testing.assert_array_equal(images.anomalous_pixels(path), mask[..., 2] > 0)
    alpha_only = np.concatenate([np.full((8, 8, 1), 9), mask[..., 2:] * 65535], axis=2)
    path.write_bytes(tiff_writer.write(alpha_only, 16, extra=(2,)))
    np.testing.assert_array_equal(images.anomalous_pixels(path), mask[..., 2] > 0)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("written", ['="6"', ">6</tiff:Orientation>"])
def test_orientation_in_xmp_data(tmp_path, depth, written):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(7).integers(0, 256, (6, 8), depth)
    xmp = f"<x tiff:Orientation{written}".encode()
    Image.fromarray(values).save(path, tiffinfo={700: xmp})
    assert images.dimensions(path) == (6, 8)
    turned = np.rot90(values, -1)[1:7]
    np.testing.assert_array_equal(images.read(path, 6, 1)[..., 0], turned)
