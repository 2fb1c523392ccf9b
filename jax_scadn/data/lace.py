"""Synthetic images of lace with holes, broken threads and stains, and their masks.

A substitute for data that must be downloaded: one woven pattern whose phase, scale and
angle differ in every image, so that only a model of the pattern detects defects. All
shapes are distance functions of continuous coordinates (the image spans [0, 1]) and
only the noise depends on the size: an item shows the same lace at every size.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from scipy import ndimage

from jax_scadn.data import records

DEFECTS = (records.GOOD, "hole", "broken thread", "stain")
SPLITS = ("train", "test")
PERIOD = 0.32  # distance of two flowers, in image sides
MESH = 0.25  # distance of two meshes of the net, in periods
VISIBLE = 0.03  # smallest change of a value in [0, 1] that counts as a defect
NOISE = 0.012  # standard deviation of the sensor noise
# RGB of threads, ground and stains; one-channel images use their luminance.
COLOURS = np.array(
    [[0.90, 0.86, 0.78], [0.13, 0.15, 0.20], [0.36, 0.25, 0.15]], np.float32
)
LUMINANCE = np.array([[0.299], [0.587], [0.114]], np.float32)


def items(
    size: int,
    channels: int,
    seed: int = 0,
    train: int = 256,
    test_good: int = 30,
    test_per_defect: int = 20,
) -> tuple[list[records.Item], list[records.Item]]:
    """Lists (training items, test items), each rendered when it is read.

    Args:
      size: side of the square images, in pixels.
      channels: 1 (grey) or 3 (RGB).
      seed: non-negative; determines the images, not the pattern.
      train: number of training images, all good.
      test_good: number of good test images.
      test_per_defect: number of test images for each of the three defects.
    """
    if channels not in (1, 3):
        raise ValueError(f"lace has 1 or 3 channels, not {channels}")

    def item(split: str, defect: str, index: int) -> records.Item:
        key = size, channels, seed, split, defect, index
        good = defect == records.GOOD
        return records.Item(
            path=f"lace/{split}/{defect.replace(' ', '_')}/{index:03d}",
            label=records.NORMAL if good else records.ANOMALOUS,
            defect=defect,
            read_image=functools.partial(_image, *key),
            read_mask=None if good else functools.partial(_mask, *key),
        )

    tests = {defect: test_per_defect for defect in DEFECTS} | {records.GOOD: test_good}
    return (
        [item("train", records.GOOD, i) for i in range(train)],
        [item("test", defect, i) for defect, n in tests.items() for i in range(n)],
    )


def _image(*key) -> np.ndarray:
    return render(*key)[0]


def _mask(*key) -> np.ndarray:
    return render(*key)[2]


def render(
    size: int, channels: int, seed: int, split: str, defect: str, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Renders one item, and the same lace without the defect.

    Returns:
      image: (size, size, channels) uint8.
      intact: the image without the defect, with the same noise.
      mask: (size, size) bool, True where the two differ visibly; gaps narrower than
        a mesh are closed, as the ground between the threads does not change.
    """
    # Its own generator: items do not depend on which others are read.
    key = [seed, SPLITS.index(split), DEFECTS.index(defect), index]
    rng = np.random.default_rng(key)
    factor = 2 if size < 512 else 1  # large images resolve the soft thread edges
    x = (np.arange(size * factor)[None, :] + 0.5) / (size * factor)
    y = x.T
    pixel = 1 / (size * factor * PERIOD)
    u, v, thickness, light = _fabric(rng, x, y)
    light = _pool(light, factor)
    thread, ground, tint = COLOURS if channels == 3 else COLOURS @ LUMINANCE

    def colour(cover):
        return (ground + (thread - ground) * _pool(cover, factor)) * light

    intact = image = colour(_lace(u, v, thickness, pixel))
    if defect == "stain":
        image = intact + (tint * light - intact) * _pool(_stain(rng, x, y), factor)
    elif defect != records.GOOD:
        damage = _hole if defect == "hole" else _broken_thread
        gone, swell, loose = damage(rng, x, y)
        rest = _lace(u, v, thickness + np.float32(swell), pixel) * (1 - gone)
        image = colour(np.maximum(rest, loose))
    mask = _close(np.abs(image - intact).max(-1) > VISIBLE, 0.5 * MESH * PERIOD * size)
    noise = NOISE * rng.standard_normal(image.shape)
    image, intact = (np.clip(i + noise, 0, 1) * 255 + 0.5 for i in (image, intact))
    return image.astype(np.uint8), intact.astype(np.uint8), mask


def _fabric(rng, x, y):
    """Pattern coordinates in periods, thread thickness and illumination."""
    period = PERIOD * rng.uniform(0.85, 1.15)
    angle = np.deg2rad(rng.uniform(-8, 8))
    shift = rng.uniform((0, 0), (1, np.sqrt(3)))  # the pattern repeats after that
    cos, sin = np.cos(angle) / period, np.sin(angle) / period
    dx, dy = x + 0.009 * _waves(rng, x, y, 1.6), y + 0.009 * _waves(rng, x, y, 1.6)
    u, v = cos * dx + sin * dy + shift[0], cos * dy - sin * dx + shift[1]
    thickness = rng.uniform(0.9, 1.1) + 0.1 * _waves(rng, x, y, 3)
    slope = rng.uniform(-0.12, 0.12, 2)
    light = rng.uniform(0.88, 1.12) * (1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5))
    # Single precision from here on: twice as fast, and finer than any pixel.
    return [field.astype(np.float32) for field in (u, v, thickness, light)]


def _lace(u, v, thickness, pixel: float) -> np.ndarray:
    """Thread coverage of each pixel: flowers of six petals in a hexagonal net.

    `u`, `v` and the width of a pixel are in periods; `thickness` scales all threads.
    """
    soft = max(0.008, 0.75 * pixel)

    def thread(distance, half_width):
        return _step((half_width * thickness - np.abs(distance)) / soft)

    lace = thread(MESH * (0.5 - _along(*_hexagon(u / MESH, v / MESH), 0)), 0.0115)
    u, v = _hexagon(u, v)
    radius2 = u * u + v * v
    # Petals point to the corners of the hexagon, away from the next flowers.
    along = _along(u, v, 30)
    across2 = np.maximum(radius2 - along * along, 0)
    a, b = 0.15, 0.088  # half axes of a petal
    offset2 = (along - 0.265) ** 2
    level = np.sqrt(offset2 / a**2 + across2 / b**2)
    slope = np.sqrt(offset2 / a**4 + across2 / b**4) + 1e-6
    petal = level * (level - 1) / slope  # about the distance to the ellipse
    # Petals are woven in ribs, threads are twisted; coarse pixels show the mean.
    rib, twist = 0.05, 0.035
    detail = float(np.clip(twist / pixel / 2 - 1, 0, 1))
    woven = 0.8 + 0.2 * detail * np.cos(2 * np.pi / rib * (along + np.sqrt(across2)))
    lace += _step(-petal / soft) * (woven - lace)
    lace = np.maximum(lace, thread(petal, 0.018))
    # The centre of a flower: an open ring with a knot.
    radius = np.sqrt(radius2)
    lace *= _step((radius - 0.1) / soft)
    lace = np.maximum(lace, thread(radius - 0.1, 0.022))
    lace = np.maximum(lace, thread(radius, 0.04))
    # Small rings half-way between two flowers.
    along = _along(u, v, 0)
    ring = np.sqrt((0.5 - along) ** 2 + np.maximum(radius2 - along * along, 0))
    lace *= _step((ring - 0.055) / soft)
    lace = np.maximum(lace, thread(ring - 0.055, 0.016))
    return lace * (0.94 + 0.1 * detail * np.cos(2 * np.pi / twist * (1.7 * u + v)))


def _hole(rng, x, y):
    """(gone, swell, loose): a ragged blob without threads, bunched ones around it."""
    outside = _blob(rng, x, y, rng.uniform(0.022, 0.08))
    gone = _step(-(outside + 0.012 * _waves(rng, x, y, 14, 8)) / 0.006)
    return gone, 0.9 * np.exp(-((outside / 0.022) ** 2)), 0


def _broken_thread(rng, x, y):
    """(gone, swell, loose): a line of broken threads, with curled ends over it."""
    run = _curve(rng, bend=rng.uniform(-1.2, 1.2), length=rng.uniform(0.3, 0.5))
    run = np.clip(run - run.mean(0) + rng.uniform(0.3, 0.7, 2), 0.05, 0.95)
    ragged = _distance(x, y, run, reach=0.08) + 0.01 * _waves(rng, x, y, 14, 8)
    gone = _step((rng.uniform(0.03, 0.044) - ragged) / 0.006)
    loose = np.zeros_like(gone)
    for start in rng.choice(run, 3, replace=False):
        bend = rng.choice([-1, 1]) * rng.uniform(1, 5)
        curl = start + _curve(rng, bend, length=rng.uniform(0.08, 0.25))
        end = _distance(x, y, curl, reach=0.03)
        loose = np.maximum(loose, _step((0.0055 - end) / 0.004))
    return gone, 0, loose


def _stain(rng, x, y) -> np.ndarray:
    """Opacity of a translucent stain with a darker rim, like coffee."""
    outside = _blob(rng, x, y, rng.uniform(0.03, 0.11))
    rim = 0.15 * np.exp(-(((outside + 0.02) / 0.015) ** 2))
    return _step(-outside / 0.02) * (rng.uniform(0.5, 0.7) + rim)


def _blob(rng, x, y, area: float) -> np.ndarray:
    """Approximate signed distance to an uneven ellipse that covers `area`."""
    radius = np.sqrt(area / np.pi)
    centre = rng.uniform(radius + 0.06, 0.94 - radius, 2)
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    distance = np.hypot((x - centre[0]) * stretch, (y - centre[1]) / stretch)
    return distance - radius * (1 + 0.12 * _waves(rng, x, y, 2.5))


def _curve(rng, bend: float, length: float) -> np.ndarray:
    """17 points from the origin, turning by `bend` radians with growing curvature."""
    angle = rng.uniform(0, 2 * np.pi) + bend * np.linspace(0, 1, 16) ** 1.5
    steps = length / 16 * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])


def _distance(x, y, points: np.ndarray, reach: float) -> np.ndarray:
    """Distance to a polyline, at most `reach`; computed only near the polyline."""
    result = np.full((y.size, x.size), reach)
    edges = points.min(0) - reach, points.max(0) + reach
    columns, rows = (slice(*np.searchsorted(x[0], e)) for e in np.transpose(edges))
    window, x, y = result[rows, columns], x[:, columns], y[rows]
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        dx, dy, ex, ey = x - ax, y - ay, bx - ax, by - ay
        t = np.clip((dx * ex + dy * ey) / (ex * ex + ey * ey), 0, 1)
        np.minimum(window, np.hypot(dx - t * ex, dy - t * ey), out=window)
    return result


def _waves(rng, x, y, frequency: float, count: int = 3) -> np.ndarray:
    """A smooth random field of unit variance, with about `frequency` waves per side."""
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count, 1))
    k = 2 * np.pi * frequency * rng.uniform(0.6, 1.4, (count, 1))
    a, b = k * np.cos(angle) * x.ravel() + phase, k * np.sin(angle) * y.ravel()
    # cos(a + b) = cos a cos b - sin a sin b: one matrix product for all waves.
    columns, rows = np.r_[np.cos(a), np.sin(a)], np.r_[np.cos(b), -np.sin(b)]
    return np.sqrt(2 / count) * rows.T @ columns


def _hexagon(u, v) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates relative to the nearest point of the unit triangular lattice."""
    height = math.sqrt(3)
    u1, v1 = u - np.round(u), v - height * np.round(v / height)
    # The other half of the points is at the centres of the rectangles.
    u2, v2 = u1 - np.copysign(0.5, u1), v1 - np.copysign(height / 2, v1)
    nearer = u1 * u1 + v1 * v1 < u2 * u2 + v2 * v2
    return np.where(nearer, u1, u2), np.where(nearer, v1, v2)


def _along(u, v, degrees: float) -> np.ndarray:
    """Largest extent along any of the six directions degrees + 60 k."""
    turns = [math.radians(degrees + k) for k in (0, 60, 120)]
    extents = (np.abs(u * math.cos(a) + v * math.sin(a)) for a in turns)
    return functools.reduce(np.maximum, extents)


def _step(x: np.ndarray) -> np.ndarray:
    """Rises smoothly from 0 at x = -1 to 1 at x = 1."""
    t = np.clip(0.5 + 0.5 * x, 0, 1)
    return t * t * (3 - 2 * t)


def _pool(field: np.ndarray, factor: int) -> np.ndarray:
    """Averages (n * factor, n * factor) to (n, n, 1)."""
    starts = itertools.product(range(factor), repeat=2)
    return sum(field[i::factor, j::factor, None] for i, j in starts) / factor**2


def _close(mask: np.ndarray, radius: float) -> np.ndarray:
    """Closes gaps narrower than 2 * radius and fills holes; True pixels stay True."""
    if not mask.any():
        return mask
    pad = int(np.ceil(radius)) + 1
    padded = np.pad(mask, pad)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    return ndimage.binary_fill_holes(closed[pad:-pad, pad:-pad])
