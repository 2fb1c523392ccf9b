"""Figures, checked by their pixels."""

import dataclasses
import pathlib

import matplotlib
import numpy as np
import pytest
from PIL import Image

from jax_scadn.reports import figures

FIRST = np.array([0, 0, 3])  # of inferno
LAST = np.array([252, 254, 164])


def row(size=32, channels=3, mask=True, **changes):
    image = np.linspace(0, 1, size * size * channels).reshape(size, size, channels)
    fields = {
        "image": image,
        "reconstructions": {"inpainted": image[::-1]},
        "anomaly_map": image[..., 0],
        "segmentation": image[..., 0] > 0.8,
        "mask": image[..., 0] > 0.9 if mask else None,
        "label": "hole/000.png",
        "score": 0.0123,
        "anomalous": True,
    }
    return figures.Row(**fields | changes)


def sheet(tmp_path, *args, **kwargs):
    path = tmp_path / "sheet.png"
    figures.contact_sheet(*args, path=path, **kwargs)
    return np.asarray(Image.open(path).convert("RGB"))


def positions(picture, part):
    """Positions of exact copies of `part` in `picture`."""
    starts = np.argwhere((picture == part[0, 0]).all(-1))
    height, width = part.shape[:2]
    return [
        (y, x)
        for y, x in starts.tolist()
        if np.array_equal(picture[y : y + height, x : x + width], part)
    ]


def contains(picture, part):
    return bool(positions(picture, part))


def test_map_colours_span_the_scale_and_clip():
    colours = figures.map_colours(np.array([[-1.0, 0.5, 0.75, 1.0, 9.0]]), 0.5, 1.0)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours[0, :2], [FIRST, FIRST])
    np.testing.assert_array_equal(colours[0, 3:], [LAST, LAST])
    middle = np.array(matplotlib.colormaps["inferno"](0.5)[:3]) * 255
    np.testing.assert_allclose(colours[0, 2], middle, atol=1)


def test_map_colours_rise_in_brightness():
    colours = figures.map_colours(np.linspace(0, 1, 50)[None], 0, 1)[0]
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) > 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_of_an_empty_map_is_the_image(channels):
    image = np.random.default_rng(0).random((6, 5, channels))
    expected = np.broadcast_to(np.rint(image * 255), (6, 5, 3))
    shown = figures.overlay(image, np.zeros((6, 5)), 0, 1)
    np.testing.assert_array_equal(shown, expected)
    eight_bits = np.rint(image * 255).astype(np.uint8)
    shown = figures.overlay(eight_bits, np.full((6, 5), -3.0), 0, 1)
    np.testing.assert_array_equal(shown, expected)


def test_overlay_shows_the_map_and_the_image():
    image = np.zeros((1, 2, 1))
    image[0, 1] = 1
    shown = figures.overlay(image, np.ones((1, 2)), 0, 1).astype(int)
    colours = figures.map_colours(np.ones((1, 2)), 0, 1)
    assert np.abs(shown - colours).max() < 50
    assert np.all(shown[0, 1] > shown[0, 0])


def test_images_of_all_kinds_become_rgb():
    grey = np.array([[0.0, 0.5, 1.5]])
    expected = np.repeat([[[0], [128], [255]]], 3, axis=-1)
    np.testing.assert_array_equal(figures.rgb(grey), expected)
    np.testing.assert_array_equal(figures.rgb(grey[..., None]), expected)
    np.testing.assert_array_equal(figures.rgb(expected.astype(np.uint8)), expected)
    mask = np.array([[False, True]])
    np.testing.assert_array_equal(figures.rgb(mask)[0, :, 0], [0, 255])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2)), r"\(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 3\)"),
        (np.zeros((4, 4), np.uint16), "uint16"),
    ],
)
def test_other_shapes_and_types_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        figures.rgb(image)


def test_empty_scales_and_other_sizes_are_refused():
    with pytest.raises(ValueError, match="from 1 to 1 is empty"):
        figures.map_colours(np.zeros((2, 2)), 1, 1)
    with pytest.raises(ValueError, match=r"\(2, 2\) != map \(2, 3\)"):
        figures.overlay(np.zeros((2, 2, 1)), np.zeros((2, 3)), 0, 1)


def test_save_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "new" / "map.png"
    figures.save(path, np.zeros((3, 4, 3), np.uint8))
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    figures.save(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    figures.save(path, np.zeros((3, 4), bool))
    old = path.read_bytes()

    def fail_half_way(self, file):
        pathlib.Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        figures.save(path, np.ones((3, 4), bool))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_sheet_grows_with_rows_and_columns(tmp_path):
    one = sheet(tmp_path, [row()], 0, 1)
    three = sheet(tmp_path, [row()] * 3, 0, 1)
    assert three.shape[0] - one.shape[0] >= 2 * 128
    assert three.shape[1] == one.shape[1]
    fewer = sheet(tmp_path, [row(reconstructions={})], 0, 1)
    assert one.shape[1] - fewer.shape[1] >= 128
    unmasked = sheet(tmp_path, [row(mask=False)], 0, 1)
    assert one.shape[1] - unmasked.shape[1] >= 128
    some = sheet(tmp_path, [row(), row(mask=False, reconstructions={})], 0, 1)
    assert some.shape[1] == one.shape[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_sheet_shows_small_images_without_smoothing(tmp_path, channels):
    one = row(size=48, channels=channels)
    picture = sheet(tmp_path, [row(mask=False), one], 0, 1)
    for part in (
        figures.rgb(one.image),
        figures.rgb(one.reconstructions["inpainted"]),
        figures.map_colours(one.anomaly_map, 0, 1),
        figures.overlay(one.image, one.anomaly_map, 0, 1),
        figures.rgb(one.segmentation),
        figures.rgb(one.mask),
    ):
        assert contains(picture, np.kron(part, np.ones((3, 3, 1), np.uint8)))


def test_sheet_reduces_large_images(tmp_path):
    small = sheet(tmp_path, [row(mask=False, reconstructions={})], 0, 1)
    picture = sheet(tmp_path, [row(size=600, mask=False, reconstructions={})], 0, 1)
    assert picture.shape[0] - small.shape[0] == 128
    assert picture.shape[1] - small.shape[1] == 4 * 128


def test_sheet_takes_strange_labels(tmp_path):
    # Too long, not UTF-8, and not a formula, although it has dollars and a backslash.
    label = "long/" * 9 + b"br\xfcck/$\\frac$.png".decode("utf-8", "surrogateescape")
    plain, strange = (sheet(tmp_path, [row(label=text)], 0, 1) for text in ("", label))
    assert plain.shape == strange.shape
    written = np.argwhere((plain != strange).any((0, 2)))
    assert 16 <= written.min() < written.max() < 212  # left of the first cell


def test_sheet_colours_the_decision(tmp_path):
    def count(anomalous, color):
        picture = sheet(tmp_path, [row(anomalous=anomalous)], 0, 1)[:, :200]
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        return np.count_nonzero((picture == wanted).all(-1))

    assert count(True, figures.VERMILION) > 20 > count(False, figures.VERMILION)
    assert count(False, figures.GREEN) > 5 > count(None, figures.GREEN)


def test_empty_sheets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        sheet(tmp_path, [], 0, 1)
    with pytest.raises(ValueError, match="at least one row"):
        neighbours(tmp_path, [], [])
    with pytest.raises(ValueError, match="longer"):
        neighbours(tmp_path, [row()], [[row().image]] * 2)


def neighbours(tmp_path, rows, images):
    path = tmp_path / "neighbours.png"
    figures.neighbours_sheet(rows, images, path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_neighbours_follow_the_image_and_its_first_reconstruction(tmp_path):
    one = row(size=64)
    first, second = one.image[:, ::-1], one.image[..., ::-1]
    images = {"impression": one.image**2, "reconstruction": one.image**3}
    one = dataclasses.replace(one, reconstructions=images)
    picture = neighbours(tmp_path, [one, one], [[first, second], [first, second]])
    lefts = []
    for image in (one.image, images["impression"], first, second):
        part = np.kron(figures.rgb(image), np.ones((2, 2, 1), np.uint8))
        upper, lower = positions(picture, part)
        assert upper[1] == lower[1]
        lefts.append(upper[1])
    assert lefts == sorted(lefts)
    large = np.kron(figures.rgb(images["reconstruction"]), np.ones((2, 2, 1), np.uint8))
    assert not contains(picture, large)
    fewer = neighbours(tmp_path, [one], [[first]])
    assert picture.shape[1] - fewer.shape[1] == 128 + figures.GAP
    without = dataclasses.replace(one, reconstructions={})
    narrow = neighbours(tmp_path, [without], [[first]])
    assert fewer.shape[1] - narrow.shape[1] == 128 + figures.GAP


def test_roc_plot_names_every_curve_and_emphasises_the_first(tmp_path):
    path = tmp_path / "roc.svg"
    labels = np.array([0, 1, 0, 1])
    curves = {
        "SCADN": (labels, np.array([0.1, 0.9, 0.2, 0.8])),
        "mean image": (labels, np.array([0.1, 0.9, 0.9, 0.05])),
        "one class": (labels[::2], np.array([0.1, 0.2])),
    }
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figures.roc_plot(curves, path)
    text = path.read_text()
    for name in ("SCADN  1.000", "mean image  0.375", "one class  -"):
        assert name in text
    assert text.count(f"stroke: {figures.VERMILION}; stroke-width: 2.8") == 2
    assert text.count(f"stroke: {figures.OTHERS[1]}; stroke-width: 1.3") == 2
    assert list(tmp_path.iterdir()) == [path]


def test_methods_have_columns_of_maps_with_a_frame(tmp_path):
    path = tmp_path / "sheet.png"
    rows = [
        figures.MethodsRow(
            image=np.zeros((64, 64, 1)),
            mask=np.ones((64, 64), bool) if masked else None,
            label="hole 3",
            maps={"first": np.full((64, 64), 0.5), "without": None},
            anomalous={"first": True, "without": masked},
        )
        for masked in (True, False)
    ]
    figures.methods_sheet(rows, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    left = figures.LABEL_WIDTH + 2 * (128 + figures.GAP)
    cells = {
        (row, column): pixels[
            figures.HEADER + row * (128 + figures.GAP) :,
            left + column * (128 + figures.GAP) :,
        ][:128, :128]
        for row in range(2)
        for column in range(2)
    }
    colour = figures.map_colours(np.full((1, 1), 0.5), 0, 1)[0, 0]
    anomalous, normal = (213, 94, 0), (0, 122, 90)
    for place, frame, inner in (
        ((0, 0), anomalous, colour),
        ((1, 0), anomalous, colour),
        ((0, 1), anomalous, (255, 255, 255)),
        ((1, 1), normal, (255, 255, 255)),
    ):
        assert tuple(cells[place][0, 0]) == tuple(cells[place][-1, -1]) == frame
        assert tuple(cells[place][64, 64]) == tuple(inner)
    with pytest.raises(ValueError, match="at least one row"):
        figures.methods_sheet([], path)
