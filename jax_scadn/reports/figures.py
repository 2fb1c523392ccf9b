"""Figures: coloured anomaly maps, overlays, contact sheets, ROC plots.

An image is (H, W), (H, W, 1) or (H, W, 3): uint8, float in [0, 1] or bool. Anomaly maps
are drawn on a fixed scale from `vmin` to `vmax`, so that figures can be compared.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import cm, colors, figure
from PIL import Image

from jax_scadn.reports import metrics
from jax_scadn.runtime import files

COLORMAP = "inferno"  # perceptually uniform, rising in brightness: also for grey

# Of a contact sheet, in pixels.
DPI, SMALLEST_CELL, LARGEST_CELL = 100, 128, 256
GAP, MARGIN, LABEL_WIDTH, HEADER, FOOTER = 8, 16, 212, 34, 78
LABEL_LETTERS, FRAME = 26, 4
PAGE = "#ededed"  # so that white images stand out

# Okabe and Ito's colours, safe for colour-blind readers.
VERMILION, GREEN, GREY = "#d55e00", "#007a5a", "#767676"
OTHERS = ("#56b4e9", "#0072b2", "#e69f00", "#009e73", "#cc79a7")


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of a contact sheet.

    Attributes:
      image: the input.
      reconstructions: images that the detector computed from it, by name.
      anomaly_map: (H, W).
      segmentation: (H, W) bool, True where the map is above its threshold.
      mask: (H, W) bool, True where anomalous, or None.
      label: file name or defect.
      score: of the image.
      anomalous: the decision; None if there is none.
    """

    image: np.ndarray
    reconstructions: Mapping[str, np.ndarray]
    anomaly_map: np.ndarray
    segmentation: np.ndarray
    mask: np.ndarray | None
    label: str
    score: float
    anomalous: bool | None

    @property
    def headings(self) -> tuple[str, ...]:
        """Lines left of the image."""
        return self.label, f"score {self.score:.4g}"


@dataclasses.dataclass(frozen=True)
class MethodsRow:
    """One image of a sheet with a column for each method.

    Attributes:
      image: the input.
      mask: (H, W) bool, True where anomalous, or None.
      label: file name or defect.
      maps: (H, W) in [0, 1], from the first to the last colour of the method's own
        scale, by method; None where it has no maps.
      anomalous: the decisions, by method.
    """

    image: np.ndarray
    mask: np.ndarray | None
    label: str
    maps: Mapping[str, np.ndarray | None]
    anomalous: Mapping[str, bool]

    @property
    def headings(self) -> tuple[str, ...]:
        """Left of the image; the decisions are the methods'."""
        return (self.label,)


def map_colours(map_hw: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """Colours of an anomaly map, (H, W, 3) uint8; values outside the scale clip.

    Raises:
      ValueError: the scale is empty, `vmin >= vmax`.
    """
    values = _normalised(map_hw, vmin, vmax)
    return matplotlib.colormaps[COLORMAP](values, bytes=True)[..., :3]


def overlay(
    image: np.ndarray, map_hw: np.ndarray, vmin: float, vmax: float
) -> np.ndarray:
    """The image with the coloured anomaly map over it, (H, W, 3) uint8.

    Raises:
      ValueError: image and map differ in size, or `vmin >= vmax`.
    """
    image = rgb(image)
    if image.shape[:2] != map_hw.shape:
        raise ValueError(f"image {image.shape[:2]} != map {map_hw.shape}")
    # Full at half the scale: the dark half of the colours would be hard to see.
    opacity = 0.85 * np.minimum(2 * _normalised(map_hw, vmin, vmax), 1)[..., None]
    blend = image * (1 - opacity) + map_colours(map_hw, vmin, vmax) * opacity
    return np.rint(blend).astype(np.uint8)


def rgb(image: np.ndarray) -> np.ndarray:
    """An image as (H, W, 3) uint8; floats clip to [0, 1].

    Raises:
      ValueError: unsupported shape or type.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image of shape {image.shape} cannot be drawn")
    if image.dtype == bool or np.issubdtype(image.dtype, np.floating):
        image = np.rint(255 * np.clip(image.astype(np.float32), 0, 1))
    elif image.dtype != np.uint8:
        raise ValueError(f"an image of {image.dtype} cannot be drawn")
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.uint8)


def save(path: pathlib.Path, image: np.ndarray) -> None:
    """Writes an image in the format of the path's suffix."""
    with files.replacing(path) as part:
        Image.fromarray(rgb(image)).save(part)


def contact_sheet(
    rows: Sequence[Row],
    vmin: float,
    vmax: float,
    path: pathlib.Path,
) -> None:
    """Writes a sheet with one row per image, titles above and the scale below.

    Cells are 128 to 256 pixels; small images are enlarged without smoothing; 'none'
    marks missing cells.

    Args:
      rows: at least one, at most some hundreds.
      vmin, vmax: values of the first and the last colour.
      path: with a suffix that matplotlib supports, such as .png.

    Raises:
      ValueError: no rows, or `vmin >= vmax`.
    """
    grid = [_cells(row, vmin, vmax) for row in rows]
    names = dict.fromkeys(name for row in rows for name in row.reconstructions)
    columns = ["input", *names, "anomaly map", "overlay", "segmentation"]
    columns += ["mask"] * any(row.mask is not None for row in rows)
    sheet = _sheet(rows, grid, columns, FOOTER)
    width, height = sheet.get_size_inches() * DPI
    bar_width = width - LABEL_WIDTH - MARGIN
    box = (LABEL_WIDTH / width, 50 / height, bar_width / width, 12 / height)
    scale = cm.ScalarMappable(colors.Normalize(vmin, vmax), COLORMAP)
    bar = sheet.colorbar(
        scale, sheet.add_axes(box), orientation="horizontal", extend="max"
    )
    bar.set_label("anomaly map")
    bar.outline.set_visible(False)
    with files.replacing(path) as part:
        sheet.savefig(part)


def neighbours_sheet(
    rows: Sequence[Row],
    neighbours: Sequence[Sequence[np.ndarray]],
    path: pathlib.Path,
) -> None:
    """Writes each image next to its first reconstruction and its nearest neighbours.

    Args:
      rows: as in the contact sheet.
      neighbours: similar images for each row, the most similar first.
      path: with a suffix that matplotlib supports, such as .png.

    Raises:
      ValueError: no rows, or another number of lists of neighbours.
    """
    grid = []
    for row, images in zip(rows, neighbours, strict=True):
        first = itertools.islice(row.reconstructions.items(), 1)
        cells = {"input": row.image, **dict(first)}
        cells |= {f"neighbour {n}": image for n, image in enumerate(images, 1)}
        grid.append({name: _fit(rgb(cell)) for name, cell in cells.items()})
    columns = list(dict.fromkeys(name for cells in grid for name in cells))
    sheet = _sheet(rows, grid, columns, MARGIN - GAP)
    with files.replacing(path) as part:
        sheet.savefig(part)


def methods_sheet(rows: Sequence[MethodsRow], path: pathlib.Path) -> None:
    """Writes a sheet with one row per image and one column of maps per method.

    Each method has a colour scale of its own, from normal images. A frame says what the
    method decided: vermilion for anomalous, green for normal.

    Args:
      rows: at least one, of the same methods.
      path: with a suffix that matplotlib supports, such as .png.

    Raises:
      ValueError: no rows.
    """
    grid = []
    for row in rows:
        cells = {"input": _fit(rgb(row.image))}
        if row.mask is not None:
            cells["mask"] = _fit(rgb(row.mask))
        for method, map_hw in row.maps.items():
            drawn = np.full_like(cells["input"], 255)
            if map_hw is not None:
                drawn = _fit(map_colours(map_hw, 0, 1))
            cells[method] = _framed(drawn, row.anomalous[method])
        grid.append(cells)
    masks = ["mask"] * any("mask" in cells for cells in grid)
    columns = ["input", *masks, *(rows[0].maps if rows else ())]
    sheet = _sheet(rows, grid, columns, FOOTER // 2)
    width, height = sheet.get_size_inches() * DPI
    for x, color, text in (
        (LABEL_WIDTH, VERMILION, "frame: anomalous by the method's own threshold"),
        (LABEL_WIDTH + 345, GREEN, "normal"),
        (LABEL_WIDTH + 415, GREY, "white: a method without maps"),
    ):
        sheet.text(x / width, 14 / height, text, size=9, color=color)
    with files.replacing(path) as part:
        sheet.savefig(part)


def _framed(image: np.ndarray, anomalous: bool) -> np.ndarray:
    """The image with a frame in the colour of the decision."""
    color = colors.to_rgb(VERMILION if anomalous else GREEN)
    framed = np.broadcast_to(np.rint(255 * np.array(color)), image.shape)
    framed = framed.astype(np.uint8)
    inner = slice(FRAME, -FRAME)
    framed[inner, inner] = image[inner, inner]
    return framed


def roc_plot(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: pathlib.Path
) -> None:
    """Writes the ROC curves with their AUROC; the first one is emphasised.

    Args:
      curves: at least one by name, (labels, scores): (n,) true where anomalous,
        and (n,). If a class is missing, only the name is shown.
      path: with a suffix that matplotlib supports, such as .png.
    """
    plot = figure.Figure((5.2, 5.2), dpi=150, layout="constrained")
    axes = plot.add_subplot(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, linestyle=":")
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        sweep = metrics.ThresholdSweep.of(labels, scores)
        points, area = ([], []), "-"
        if sweep.has_both:
            points, area = sweep.roc(), f"{sweep.auroc():.3f}"
        style = {"color": OTHERS[index % len(OTHERS)], "linewidth": 1.3}
        if index == 0:
            style = {"color": VERMILION, "linewidth": 2.8, "zorder": 3}
        axes.plot(*points, label=f"{name}  {area}", **style)
    axes.grid(color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", title="AUROC", frameon=False)
    with files.replacing(path) as part:
        plot.savefig(part)


def _normalised(map_hw: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """Values scaled from [vmin, vmax] to [0, 1]."""
    if not vmin < vmax:
        raise ValueError(f"the scale from {vmin} to {vmax} is empty")
    return np.clip((np.asarray(map_hw, np.float64) - vmin) / (vmax - vmin), 0, 1)


def _cells(row: Row, vmin: float, vmax: float) -> dict[str, np.ndarray]:
    images = {
        "input": row.image,
        **row.reconstructions,
        "anomaly map": map_colours(row.anomaly_map, vmin, vmax),
        "overlay": overlay(row.image, row.anomaly_map, vmin, vmax),
        "segmentation": row.segmentation,
        "mask": row.mask,
    }
    return {name: _fit(rgb(cell)) for name, cell in images.items() if cell is not None}


def _sheet(
    rows: Sequence[Row | MethodsRow],
    grid: Sequence[Mapping[str, np.ndarray]],
    columns: Sequence[str],
    footer: int,
) -> figure.Figure:
    """A grid of cells with column titles; each row has label, score and decision.

    Args:
      rows: labels, scores and decisions.
      grid: the cells of each row by column; 'none' marks missing ones.
      columns: titles from left to right.
      footer: pixels left free at the bottom.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    shapes = np.array([cell.shape[:2] for cells in grid for cell in cells.values()])
    cell_height, cell_width = shapes.max(axis=0)
    width = LABEL_WIDTH + len(columns) * (cell_width + GAP) - GAP + MARGIN
    height = HEADER + len(rows) * (cell_height + GAP) + footer
    sheet = figure.Figure((width / DPI, height / DPI), dpi=DPI, facecolor=PAGE)

    def write(x: float, y: float, text: str, **style) -> None:
        """Writes at a position in pixels from the top left corner."""
        sheet.text(x / width, 1 - y / height, text, parse_math=False, **style)

    lefts = [LABEL_WIDTH + i * (cell_width + GAP) for i in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        write(left + cell_width / 2, HEADER - 10, name, ha="center", weight="bold")
    for index, (row, cells) in enumerate(zip(rows, grid, strict=True)):
        top = HEADER + index * (cell_height + GAP)
        middle = top + cell_height / 2
        write(MARGIN, middle, "\n".join(map(_short, row.headings)), size=9)
        decision = getattr(row, "anomalous", None)
        if isinstance(decision, bool):
            word, color = ("anomalous", VERMILION) if decision else ("ok", GREEN)
            write(MARGIN, middle + 18, word, size=9, weight="bold", color=color)
        for left, name in zip(lefts, columns, strict=True):
            if name in cells:
                y = height - top - cells[name].shape[0]
                sheet.figimage(cells[name], left, y, origin="upper")
            else:
                write(left + cell_width / 2, middle, "none", ha="center", color=GREY)
    return sheet


def _fit(image: np.ndarray) -> np.ndarray:
    """The image enlarged by an integer factor, or reduced, to the size of a cell."""
    side = max(image.shape[:2])
    if side > LARGEST_CELL:
        size = [max(1, round(n * LARGEST_CELL / side)) for n in image.shape[1::-1]]
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    factor = math.ceil(SMALLEST_CELL / side)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _short(label: str) -> str:
    """The end of the label, in printable characters."""
    label = label.encode("utf-8", "replace").decode()
    return label if len(label) <= LABEL_LETTERS else "…" + label[1 - LABEL_LETTERS :]
