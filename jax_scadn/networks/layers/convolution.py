"""Convolution of images: what it is, and how it is computed where.

GPUs get XLA's own convolution. On CPUs XLA's gradients of convolutions take up to four
times as long as matrix products of the same cost, and minimal filtering needs fewer
products: there it takes the place of wide convolutions in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_scadn.networks.layers.cpu import winograd

# Fewer channels than these leave so few products that the sums around them are dearer.
_WIDE = 64
_WIDE_ON_TWICE = 32  # where four times as many products are spared
_FEW = 4  # an image's channels or a discriminator's logit

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def convolve(
    x_bhwc: jax.Array,
    kernel_hwio: jax.Array,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    twice: bool = False,
    mirror: bool = False,
) -> jax.Array:
    """Convolution.

    Args:
      x_bhwc: images.
      kernel_hwio: (height, width, C, K), square.
      stride: in pixels, both ways.
      pad: pixels on each side, which are zeros.
      dilation: pixels from tap to tap.
      twice: the image is first enlarged to twice its size by nearest upsampling.
      mirror: what is padded are no zeros, but the image's own pixels, see
        `reflect_pad`.
    """
    if mirror and not twice:
        x_bhwc, pad, mirror = reflect_pad(x_bhwc, pad), 0, False
    if twice and kernel_hwio.shape[0] == stride == 1 and pad == 0:
        # The same for a pixel before and after it is repeated.
        return upsample_nearest(convolve(x_bhwc, kernel_hwio))
    how = (stride, pad, dilation, twice, mirror)
    on_cpu = _on_cpu(x_bhwc, kernel_hwio, *how)

    def by_xla(x_bhwc, kernel_hwio):
        return plain(x_bhwc, kernel_hwio, *how)

    if on_cpu is None:
        return by_xla(x_bhwc, kernel_hwio)
    return jax.lax.platform_dependent(x_bhwc, kernel_hwio, cpu=on_cpu, default=by_xla)


def reflect_pad(x_bhwc: jax.Array, pad: int) -> jax.Array:
    """Pads height and width by mirroring, without repeating the edge."""
    return jnp.pad(x_bhwc, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def upsample_nearest(x_bhwc: jax.Array, factor: int = 2) -> jax.Array:
    """Repeats each pixel `factor` times in height and width."""
    b, h, w, c = x_bhwc.shape
    x = jnp.broadcast_to(x_bhwc[:, :, None, :, None], (b, h, factor, w, factor, c))
    return x.reshape(b, h * factor, w * factor, c)


def plain(
    x_bhwc: jax.Array,
    kernel_hwio: jax.Array,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    twice: bool = False,
    mirror: bool = False,
) -> jax.Array:
    """`convolve` by XLA on every platform."""
    x_bhwc = upsample_nearest(x_bhwc) if twice else x_bhwc
    if mirror:
        x_bhwc, pad = reflect_pad(x_bhwc, pad), 0
    return jax.lax.conv_general_dilated(
        x_bhwc,
        kernel_hwio,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _on_cpu(x, kernel, stride, pad, dilation, twice, mirror) -> Convolution | None:
    """What is faster than XLA's convolution on a CPU, if anything is."""
    taps = kernel.shape[0]
    enlarged = 2 if twice else 1
    out = [
        (enlarged * n + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
        for n in x.shape[1:3]
    ]
    if min(out) < taps and (stride, dilation, twice) == (1, 1, False):
        return functools.partial(_by_taps, pad=pad)
    if x.dtype != jnp.float32:
        return None
    if (taps, stride, pad, twice) == (1, 1, 0, False):
        return _by_pixel
    if kernel.shape[3] <= _FEW and (stride, dilation, twice) == (1, 1, False):
        return functools.partial(_row_by_row, pad=pad)
    if min(kernel.shape[2:]) < (_WIDE_ON_TWICE if twice else _WIDE):
        return None
    if mirror:
        alike = (taps, stride, pad, dilation) == (5, 1, 2, 1) and min(x.shape[1:3]) > 2
        return _twice_mirrored if alike else None
    if twice and (taps, pad) in ((3, 1), (5, 2)) and (stride, dilation) == (1, 1):
        # One pixel of the small image is padded for one or two of the large one.
        return lambda x, kernel: winograd.convolve_on_twice(_padded(x, 1), kernel)
    if (taps, stride, twice) == (3, 1, False):
        fast = functools.partial(winograd.convolve_3x3, dilation=dilation)
        multiple = 2 * dilation
    elif (taps, stride, dilation, twice) == (4, 2, 1, False):
        fast, multiple = winograd.convolve_4x4_by_2, 2
    else:
        return None
    if any(n % multiple for n in out):
        return None
    return lambda x, kernel: fast(_padded(x, pad), kernel)


def _twice_mirrored(x, kernel):
    """5 x 5 taps on the image enlarged to twice its size and padded by two pixels.

    Repeating the edge of the small image is mirroring the large one, but for the outer
    one of the two pixels: what sees that is computed apart.
    """
    repeated = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    y = winograd.convolve_on_twice(repeated, kernel)

    def outer(part, axis):
        """The row or column in the middle of five of the mirrored large image."""
        # The five pixels across become channels: the taps along it are left.
        b, *_, c = part.shape
        lines = jnp.moveaxis(part, axis, 2).reshape(b, -1, 5 * c)
        taps = jnp.moveaxis(kernel, axis - 1, 1).reshape(5, 5 * c, -1)
        count = lines.shape[1] - 4
        return sum(lines[:, i : i + count] @ taps[i] for i in range(5))

    def mirrored(part):
        return reflect_pad(upsample_nearest(part), 2)

    y = y.at[:, 0].set(outer(mirrored(x[:, :3])[:, :5], 1))
    y = y.at[:, -1].set(outer(mirrored(x[:, -3:])[:, -5:], 1))
    y = y.at[:, :, 0].set(outer(mirrored(x[:, :, :3])[:, :, :5], 2))
    return y.at[:, :, -1].set(outer(mirrored(x[:, :, -3:])[:, :, -5:], 2))


def _by_taps(x, kernel, *, pad):
    """The sum over the kernel's taps of matrix products.

    Where the output is smaller than the kernel, XLA on CPUs takes about 50 times as
    long for the gradient of the input as for anything else: a step on 32 x 32 images
    took twice the time.
    """
    x = _padded(x, pad)
    height, width = (n - kernel.shape[0] + 1 for n in x.shape[1:3])
    return sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def _row_by_row(x, kernel, *, pad):
    """What each row of the kernel gives, as channels of one image, and then their sum.

    Where few channels come out, XLA's own convolution leaves most of a CPU's lanes
    empty: for 7 x 7 taps and 3 channels it takes twice the time.
    """
    rows, columns, inputs, outputs = kernel.shape
    row = kernel.transpose(1, 2, 0, 3).reshape(1, columns, inputs, rows * outputs)
    y = plain(_padded(x, pad), row)
    height = y.shape[1] - rows + 1
    return sum(
        y[:, i : i + height, :, i * outputs : (i + 1) * outputs] for i in range(rows)
    )


def _by_pixel(x, kernel):
    """1 x 1 taps: a matrix product."""
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:3], -1)


def _padded(x_bhwc: jax.Array, pad: int) -> jax.Array:
    return jnp.pad(x_bhwc, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
