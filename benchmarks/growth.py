"""Cost of scoring by pixels and masks, and its bounds.

    python -m benchmarks.growth --picture=docs/growth.png

One image, full-width networks with drawn weights. Each round calls every point once.
Draws seconds against pixels and against masks with a fitted line; and each kind of
convolution in the generator, in XLA's form and in ours, with the machine's roofline.
Operations are those of the plain convolution: a filter that needs fewer of them can lie
above the roof.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib import figure

from benchmarks import cases, ours
from jax_scadn import methods
from jax_scadn.networks.layers import convolution, layers
from jax_scadn.reports import figures, tables
from jax_scadn.runtime import cli, files

_CALLS = flags.DEFINE_integer("calls", 5, "Calls of each point.", lower_bound=1)
_PICTURE = flags.DEFINE_string("picture", "runs/benchmarks/growth.png", "File to draw.")

_SIZES = (128, 192, 256, 384, 512)  # with twelve masks
_MASKS = (4, 8, 12, 16)  # at 256 x 256 pixels
_STRIPE_PAIRS = (2, 4, 8, 16)  # one per scale of four masks
_BUSY = (4, 256)  # images and their size, for single convolutions
_NUMBERS = 1 << 25  # 128 MiB, more than fits into a cache


class Convolution(NamedTuple):
    """A kind of convolution in the generator.

    Attributes:
      name: of the first layer of this kind.
      layer: the layer, unbound.
      shape: of its input, (B, H, W, C).
      count: number of layers of this kind.
    """

    name: str
    layer: layers.Conv
    shape: tuple[int, ...]
    count: int


class Line(NamedTuple):
    """A straight line fitted to points.

    Attributes:
      slope: of y against x.
      start: value at x = 0.
      off: largest relative deviation of a point from the line.
    """

    slope: float
    start: float
    off: float


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Least squares of relative deviations: small values count like large ones."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    off = np.max(np.abs(y / (slope * x + start) - 1))
    return Line(float(slope), float(start), float(off))


def convolutions(batch: int, size: int) -> list[Convolution]:
    """The kinds of convolutions in the full-width generator."""
    (stage,) = methods.create(cases.Case("scadn-score", size, batch).settings).stages
    kinds: dict[Any, Convolution] = {}

    def watch(call, arguments, options, context):
        layer = context.module
        if isinstance(layer, layers.Conv):
            (x,) = arguments
            fields = (layer.features, layer.kernel, layer.stride, layer.pad)
            kind = (x.shape, fields, layer.dilation, layer.upsample)
            name = ".".join(layer.path)
            before = kinds.get(kind, Convolution(name, layer.clone(), x.shape, 0))
            kinds[kind] = before._replace(count=before.count + 1)
        return call(*arguments, **options)

    with nn.intercept_methods(watch):
        images = jnp.zeros((batch, size, size, stage.channels))
        jax.eval_shape(stage.generator.init, jax.random.key(0), images)
    return list(kinds.values())


def rates(kind: Convolution, rounds: int) -> dict[str, Any]:
    """Row of one convolution: 10^9 operations a second in both forms, and per byte.

    The gradients are with respect to image and kernel, without the forward value.
    """
    layer = kind.layer
    inputs = kind.shape[-1]
    x = jax.random.normal(jax.random.key(0), kind.shape)
    kernel = jax.random.normal(
        jax.random.key(1), (layer.kernel, layer.kernel, inputs, layer.features)
    )
    options = (layer.stride, layer.pad, layer.dilation, layer.upsample)
    forms = {
        name: lambda x, k, form=form: form(x, k, *options)
        for name, form in (("XLA", convolution.plain), ("ours", convolution.convolve))
    }
    output = jax.eval_shape(forms["ours"], x, kernel)
    slope = jnp.ones(output.shape)
    operations = 2 * output.size * kernel.size // layer.features
    calls = {}
    for name, form in forms.items():
        value = jax.jit(form)
        gradients = jax.jit(lambda x, k, form=form: jax.vjp(form, x, k)[1](slope))
        calls[name] = operations, functools.partial(value, x, kernel)
        calls[f"{name}, gradients"] = (
            2 * operations,
            functools.partial(gradients, x, kernel),
        )
    seconds = in_turn([call for _, call in calls.values()], rounds)
    return {
        "convolution": kind.name,
        "times": kind.count,
        "operations per byte": operations / (4 * (x.size + kernel.size + output.size)),
        **{
            f"{name}, GFLOP/s": count / taken / 1e9
            for (name, (count, _)), taken in zip(calls.items(), seconds, strict=True)
        },
    }


def in_turn(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Median seconds of each call; each round calls all of them once."""
    for call in calls:
        jax.block_until_ready(call())
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, seconds in zip(calls, samples, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in samples]


def peak(rounds: int) -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second of a large sum."""
    square, long = jnp.ones((2048, 2048)), jnp.ones(_NUMBERS)
    product, total = jax.jit(jnp.matmul), jax.jit(jnp.add)
    calls = [lambda: product(square, square), lambda: total(long, long)]
    of_product, of_sum = in_turn(calls, 2 * rounds)
    return 2 * 2048**3 / of_product, 3 * 4 * _NUMBERS / of_sum


def _scoring(size: int, masks: int) -> Callable[[], Any]:
    pairs = _STRIPE_PAIRS[: masks // 4]
    case = cases.Case("scadn-score", size, 1, (("masks.stripe_pairs", pairs),))
    model, image = ours.scoring_detector(case), ours.inputs(case)["image"]
    return lambda: model.score_batch(image)


def _measure(points: Sequence[tuple[int, int]], rounds: int) -> list[dict[str, float]]:
    """A row for each (size, masks)."""
    seconds = in_turn([_scoring(*point) for point in points], rounds)
    return [
        {"size": size, "masks": masks, "s": taken, "s per megapixel and mask":
         taken / masks / size**2 * 1e6}
        for (size, masks), taken in zip(points, seconds, strict=True)
    ]  # fmt: skip


def _draw_line(axes, x, y, label: str) -> Line:
    fitted = line(x, y)
    axes.plot(x, y, "o", color=figures.VERMILION)
    ends = np.array([0, max(x)])
    axes.plot(ends, fitted.slope * ends + fitted.start, color="#8a8a8a", zorder=0)
    axes.set(xlabel=label, ylabel="s", xlim=(0, None), ylim=(0, None))
    axes.set_title(f"off the line by {fitted.off:.0%} at most", fontsize=9)
    return fitted


def _draw_roofline(axes, rows, roof: float, bandwidth: float) -> None:
    x = [row["operations per byte"] for row in rows]
    ends = np.geomspace(min(x) / 2, max(x) * 2)
    axes.plot(ends, np.minimum(roof, bandwidth * ends) / 1e9, color="#8a8a8a")
    for column, marker, color in (
        ("XLA, GFLOP/s", "x", "#0072b2"),
        ("ours, GFLOP/s", "o", figures.VERMILION),
    ):
        y = [row[column] for row in rows]
        axes.loglog(x, y, marker, color=color, label=column.partition(",")[0])
    for number, row in enumerate(rows):
        at = row["operations per byte"], row["ours, GFLOP/s"]
        offset = (4, 4) if number % 2 else (4, -9)
        axes.annotate(
            row["convolution"], at, offset, textcoords="offset points", fontsize=6
        )
    axes.set(xlabel="operations of the convolution per byte", ylabel="GFLOP/s")
    axes.legend(frameon=False, fontsize=8)


def main(_) -> None:
    rounds = _CALLS.value
    pixels = _measure([(size, 12) for size in _SIZES], rounds)
    masks = _measure([(256, count) for count in _MASKS], rounds)
    roof, bandwidth = peak(rounds)
    kinds = [rates(kind, rounds) for kind in convolutions(*_BUSY)]

    plot = figure.Figure((11, 3.6), dpi=120, layout="constrained")
    by_pixels, by_masks, roofline = plot.subplots(1, 3)
    area = [row["size"] ** 2 / 1e6 for row in pixels]
    _draw_line(by_pixels, area, [row["s"] for row in pixels], "megapixels, 12 masks")
    counts = [row["masks"] for row in masks]
    _draw_line(by_masks, counts, [row["s"] for row in masks], "masks, 256 x 256")
    _draw_roofline(roofline, kinds, roof, bandwidth)
    path = pathlib.Path(_PICTURE.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        plot.savefig(file)

    print(f"JAX {jax.__version__}, matrix product {roof / 1e9:.0f} GFLOP/s, "
          f"memory {bandwidth / 1e9:.0f} GB/s")  # fmt: skip
    for rows in (pixels, masks, kinds):
        print(tables.markdown(rows) + "\n")
    for name, x, rows in (("pixels", area, pixels), ("masks", counts, masks)):
        off = line(x, [row["s"] for row in rows]).off
        print(f"against {name}: at most {off:.1%} off a straight line")
    print(f"figure: {path}")


if __name__ == "__main__":
    cli.run(main)
