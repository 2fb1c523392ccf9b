import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jax_scadn.data import images
from jax_scadn.runtime import errors


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _write(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_eight_bit_equals_pillow_resize_and_torchvision_crop(tmp_path, rng):
    array = rng.integers(0, 256, (50, 93, 3), np.uint8)
    path = _write(tmp_path / "a.png", array)
    # torchvision: the longer side is int(32 * 93 / 50) = 59 and the crop starts at
    # round(27 / 2) = 14.
    resized = Image.fromarray(array).resize((59, 32), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[:, 14:46]
    result = images.read(path, 32, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(images.from_array(array, 32, 3), expected)


def test_upsampling_is_bilinear_with_half_pixel_centres(tmp_path):
    path = _write(tmp_path / "a.png", np.array([[0, 100], [100, 200]], np.uint8))
    line = np.array([0, 25, 75, 100])
    np.testing.assert_array_equal(images.read(path, 4, 1)[..., 0], line[:, None] + line)


@pytest.mark.parametrize(
    ("mode", "grey"),
    [("L", 102), ("LA", 102), ("RGB", 102), ("RGBA", 102), ("P", 102), ("1", 255)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(tmp_path, mode, grey, channels):
    image = Image.new("RGB", (8, 8), (102, 102, 102))
    if mode == "1":
        image = Image.new("1", (8, 8), 1)
    image = image.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(7)
    image.save(tmp_path / "a.png")
    result = images.read(tmp_path / "a.png", 8, channels)
    np.testing.assert_array_equal(result, np.full((8, 8, channels), grey, np.uint8))


def test_palette_with_alpha_values_does_not_warn(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    result = images.read(tmp_path / "a.png", 8, 3)
    np.testing.assert_array_equal(result[0, 0], [10, 20, 30])


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_is_scaled_and_not_clipped(tmp_path, ending, rng):
    array = rng.integers(0, 65536, (8, 8), np.uint16)
    path = _write(tmp_path / f"a.{ending}", array)
    result = images.read(path, 8, 3)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, np.repeat(array[..., None], 3, axis=2))
    np.testing.assert_allclose(
        images.as_float(result)[..., 0], array / 65535, rtol=1e-6
    )


def test_other_deep_modes(tmp_path):
    array = np.full((8, 8), 40000, np.uint16)
    big_endian = Image.frombytes("I;16B", (8, 8), array.astype(">u2").tobytes())
    big_endian.save(tmp_path / "big.tif")
    _write(tmp_path / "int.tif", array.astype(np.int32))
    _write(tmp_path / "float.tif", (array / 65535).astype(np.float32))
    for name in ("big", "int", "float"):
        result = images.read(tmp_path / f"{name}.tif", 4, 1)
        np.testing.assert_array_equal(result, np.full((4, 4, 1), 40000, np.uint16))


@pytest.mark.parametrize("values", [[-1, 5], [0, 70000]])
def test_values_outside_sixteen_bit_are_refused(tmp_path, values):
    path = _write(tmp_path / "a.tif", np.array([values, values], np.int32))
    with pytest.raises(images.UnreadableImage, match=r"a\.tif.*outside \[0, 65535\]"):
        images.read(path, 8, 1)


def test_sixteen_bit_resizes_as_eight_bit_does(tmp_path, rng):
    eight = rng.integers(0, 256, (40, 61), np.uint8)
    deep = images.from_array(eight.astype(np.uint16) * 257, 16, 1)
    # Pillow rounds 8-bit images after each of its two passes.
    np.testing.assert_allclose(deep / 257, images.from_array(eight, 16, 1), atol=1.01)


def test_exif_orientation(tmp_path):
    image = Image.fromarray(np.array([[10] * 8, [200] * 8], np.uint8).repeat(4, axis=0))
    exif = image.getexif()
    exif[0x0112] = 6  # rotated camera: the first row is the right side
    image.crop((0, 0, 8, 6)).save(tmp_path / "a.png", exif=exif)
    assert images.dimensions(tmp_path / "a.png") == (6, 8)
    row = images.read(tmp_path / "a.png", 6, 1)[3, :, 0]
    np.testing.assert_array_equal(row, [200, 200, 10, 10, 10, 10])


@pytest.mark.parametrize("white", [1, 255])
def test_mask_is_binary_nearest_in_the_images_geometry(tmp_path, white):
    mask = np.zeros((8, 12), np.uint8)
    mask[2:4, 2:6] = white
    mask[7, 9] = white  # one pixel, sampled by nearest neighbour
    path = _write(tmp_path / "a.png", mask)
    expected = np.zeros((4, 4), bool)  # (4, 6) before cropping
    expected[1, 0:2] = expected[3, 3] = True
    result = images.read_mask(path, 4)
    assert result.dtype == bool
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "I;16"])
def test_mask_modes(tmp_path, mode):
    image = Image.new(mode, (8, 8))
    # A faint blue would be 0 in grey; alpha alone marks nothing.
    colour = {"1": 1, "RGB": (0, 0, 1), "RGBA": (0, 0, 1, 255), "I;16": 1}[mode]
    image.paste(colour, (0, 0, 4, 8))
    image.save(tmp_path / "a.png")
    expected = np.zeros((8, 8), bool)
    expected[:, :4] = True
    np.testing.assert_array_equal(images.read_mask(tmp_path / "a.png", 8), expected)


DEFECT = np.pad(np.full((16, 16), 255, np.uint8), ((30, 34), (40, 24)))


def _transparent(color):
    return Image.merge("RGBA", [*Image.new("RGB", (80, 80), color).split(), _grey()])


def _grey(values=DEFECT):
    return Image.fromarray(values)


def _palette(colors):
    image = _grey(DEFECT // 255).convert("P")
    image.putpalette(colors)
    return image


@pytest.mark.parametrize(
    ("mask", "suffix"),
    [
        (_grey(), "png"),
        (_grey(DEFECT // 255), "png"),
        (_grey(np.where(DEFECT, 1 + np.arange(80, dtype=np.uint8) % 3, 0)), "png"),
        (_grey().convert("RGB"), "png"),
        (Image.merge("RGB", [_grey(), _grey(0 * DEFECT), _grey(0 * DEFECT)]), "png"),
        (_grey().convert("1"), "png"),
        (_palette([0, 0, 0, 128, 0, 0]), "png"),
        (_palette([0, 0, 0, 0, 0, 64]), "png"),
        (_transparent("black"), "png"),
        (_transparent("white"), "png"),
        (_grey((DEFECT // 255).astype(np.uint16)), "png"),
        (_grey(DEFECT.astype(np.uint16) * 257), "tiff"),
        (_grey(), "jpg"),
        (_grey().resize((20, 20)).resize((80, 80)), "png"),
    ],
)
def test_one_defect_however_its_mask_is_saved(tmp_path, mask, suffix):
    path = tmp_path / f"mask.{suffix}"
    mask.save(path)
    read = images.read_mask(path, 80)
    smooth = len(np.unique(np.asarray(mask))) > 4 or suffix == "jpg"
    assert abs(int(read.sum()) - 256) <= (16 if smooth else 0)
    if not smooth:
        np.testing.assert_array_equal(read, DEFECT > 0)


def test_a_defect_smaller_than_a_pixel_stays(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[1, 1] = 255
    read = images.read_mask(_write(tmp_path / "a.png", mask), 8)
    assert np.argwhere(read).tolist() == [[0, 0]]


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_damaged_files_are_named(tmp_path, ending, rng):
    path = tmp_path / f"part.{ending}"
    _write(path, rng.integers(0, 256, (64, 64, 3), np.uint8))
    complete = path.read_bytes()
    for data in (complete[: len(complete) // 2], b"", b"not an image"):
        path.write_bytes(data)
        for read in (
            lambda: images.read(path, 32, 3),
            lambda: images.read_mask(path, 8),
        ):
            with pytest.raises(
                images.UnreadableImage, match=rf"part\.{ending}"
            ) as info:
                read()
            assert info.value.path == str(path)
            assert "\n" not in str(info.value)
            assert "BytesIO" not in str(info.value)


def test_missing_file_is_named(tmp_path):
    for read in (images.dimensions, lambda path: images.read(path, 8, 1)):
        with pytest.raises(images.UnreadableImage, match=r"gone\.png.*No such file"):
            read(tmp_path / "gone.png")


def test_decode_reads_bytes():
    file = io.BytesIO()
    Image.new("L", (8, 8), 50).save(file, "PNG")
    result = images.decode(file.getvalue(), "x", 8, 1)
    np.testing.assert_array_equal(result, np.full((8, 8, 1), 50, np.uint8))


def test_from_array_types_agree(rng):
    array = rng.integers(0, 256, (8, 8, 3), np.uint8)
    exact = array[..., :1].repeat(3, axis=2)
    eight = images.as_float(images.from_array(exact, 8, 1))
    for other in (exact.astype(np.uint16) * 257, exact / 255, exact[..., 0] / 255):
        result = images.from_array(other, 8, 1)
        assert result.dtype == np.uint16
        np.testing.assert_allclose(images.as_float(result), eight, atol=1e-4)
    alpha = np.concatenate([array, array[..., :1]], axis=2)
    np.testing.assert_array_equal(images.from_array(alpha, 8, 3), array)
    deep = images.from_array(alpha.astype(np.uint16) * 257, 8, 3)
    np.testing.assert_array_equal(deep, array.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.full((4, 4), 1.5), "1.5"),
        (np.full((4, 4), np.nan), "nan"),
    ],
)
def test_from_array_refuses(array, problem):
    with pytest.raises(errors.UserError, match=problem):
        images.from_array(array, 4, 1)


def test_as_float_on_numpy_and_under_jit():
    arrays = [
        np.array([0, 51, 255], np.uint8),
        np.array([0, 13107, 65535], np.uint16),
        np.array([0, 0.2, 1], np.float32),
    ]
    for array in arrays:
        for result in (images.as_float(array), jax.jit(images.as_float)(array)):
            assert result.dtype == np.float32
            np.testing.assert_allclose(result, [0, 0.2, 1], rtol=1e-6)
    assert images.as_float(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    with pytest.raises(TypeError, match="int32"):
        images.as_float(np.zeros(2, np.int32))


def test_stack_scales_eight_bit_among_sixteen():
    eight, sixteen = np.full((2, 2, 1), 51, np.uint8), np.full((2, 2, 1), 7, np.uint16)
    assert images.stack([eight, eight]).dtype == np.uint8
    mixed = images.stack([eight, sixteen])
    assert mixed.dtype == np.uint16
    np.testing.assert_array_equal(mixed[:, 0, 0, 0], [51 * 257, 7])
