import numpy as np
import pytest
from PIL import Image

from jax_scadn.data import fitting, images

NEAREST = Image.Resampling.NEAREST
# 8 wide and 4 high: columns 0 to 7.
WIDE = np.tile(np.arange(8, dtype=np.uint8), (4, 1))


def fitted(array, size, how):
    return np.asarray(fitting.fit(Image.fromarray(array), size, NEAREST, how))


def test_squash_shows_all_of_both_sides():
    squashed = fitted(WIDE, 4, "squash")
    np.testing.assert_array_equal(squashed, np.tile([1, 3, 5, 7], (4, 1)))


def test_pad_shows_all_and_reflects_the_shorter_side():
    tall = WIDE.T * 10
    padded = fitted(tall, 8, "pad")
    np.testing.assert_array_equal(padded[:, 2:6], tall)
    np.testing.assert_array_equal(padded[:, :2], tall[:, [1, 0]])
    np.testing.assert_array_equal(padded[:, 6:], tall[:, [3, 2]])
    assert (fitted(tall + 1, 8, "zeros")[:, [0, 1, 6, 7]] == 0).all()


def test_crop_shows_the_centre():
    np.testing.assert_array_equal(fitted(WIDE, 4, "crop"), WIDE[:, 2:6])


@pytest.mark.parametrize("shape", [(5, 5), (1, 300), (300, 1), (7, 5), (4, 9, 3)])
@pytest.mark.parametrize("how", ["squash", "pad", "crop"])
def test_every_shape_becomes_square(shape, how):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert fitted(array, 6, how).shape == (6, 6, *shape[2:])


def test_squares_are_the_same_in_each_way():
    square = np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)
    for how in ("pad", "crop"):
        np.testing.assert_array_equal(
            fitted(square, 6, how), fitted(square, 6, "squash")
        )


def test_what_is_not_seen():
    assert fitting.unseen((16, 9), "crop") == pytest.approx(7 / 16)
    assert fitting.unseen((9, 16), "crop") == pytest.approx(7 / 16)
    assert fitting.unseen((16, 9), "squash") == fitting.unseen((9, 9), "crop") == 0


@pytest.mark.parametrize("how", ["squash", "pad", "crop"])
def test_masks_lie_on_their_images(tmp_path, how):
    """A white defect in black: the mask of the image is where the image is white."""
    array = np.zeros((32, 64), np.uint8)
    array[8:16, 28:36] = 255
    array[20:28, :8] = 255  # at the end
    Image.fromarray(array).save(tmp_path / "a.png")
    image = images.read(tmp_path / "a.png", 32, 1, fit=how)[..., 0]
    mask = images.read_mask(tmp_path / "a.png", 32, how)
    in_the_picture = np.ones((32, 32), bool)
    if how == "pad":  # what is padded is normal, whatever it shows
        in_the_picture[:8] = in_the_picture[24:] = False
    clear = (image == 0) | (image == 255)
    np.testing.assert_array_equal(
        mask[clear], (image > 127)[clear] & in_the_picture[clear]
    )
    ends = {"squash": 32, "pad": 16, "crop": 0}
    assert abs(int(mask[:, :4].sum()) - ends[how]) <= 4


@pytest.mark.parametrize("how", ["squash", "pad", "crop"])
def test_files_and_arrays_of_8_and_16_bit_are_fitted_alike(tmp_path, how):
    array = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    eight = images.from_array(array, 16, 1, fit=how)
    deep = images.from_array(array.astype(np.uint16) * 257, 16, 1, fit=how)
    np.testing.assert_array_equal(
        images.read(tmp_path / "a.png", 16, 1, fit=how), eight
    )
    np.testing.assert_allclose(deep / 257, eight, atol=1.01)
