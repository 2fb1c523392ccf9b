"""Convolution of images, with faster forms for CPUs.

GPUs use XLA's convolution. On CPUs XLA's gradients of convolutions take up to four
times as long as matrix products of the same cost, and Winograd's algorithm needs fewer
products: there it replaces wide convolutions in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_scadn.networks.layers.cpu import winograd

# With fewer channels, the additions cost more than they save.
_WIDE = 64
_WIDE_UPSAMPLED = 32  # where four times as many products are saved
_FEW = 4  # an image's channels or a discriminator's logit

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def convolve(
    x_bhwc: jax.Array,
    kernel_hwio: jax.Array,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    upsample: int = 1,
    padding: str = "zeros",
) -> jax.Array:
    """Convolution.

    Args:
      x_bhwc: images.
      kernel_hwio: (height, width, C, K), square.
      stride: in pixels, both ways.
      pad: pixels padded on each side.
      dilation: pixels from tap to tap.
      upsample: factor of nearest upsampling before the convolution; 1 for none.
      padding: 'zeros' or 'reflect', see `reflect_pad`.

    Raises:
      ValueError: another padding.
    """
    if padding not in ("zeros", "reflect"):
        raise ValueError(f"padding {padding!r} must be 'zeros' or 'reflect'")
    if padding == "reflect" and upsample == 1:
        x_bhwc, pad, padding = reflect_pad(x_bhwc, pad), 0, "zeros"
    if upsample > 1 and kernel_hwio.shape[0] == stride == 1 and pad == 0:
        # The same for a pixel before and after it is repeated.
        return upsample_nearest(convolve(x_bhwc, kernel_hwio), upsample)
    options = (stride, pad, dilation, upsample, padding)
    on_cpu = _on_cpu(x_bhwc, kernel_hwio, *options)

    def by_xla(x_bhwc, kernel_hwio):
        return plain(x_bhwc, kernel_hwio, *options)

    if on_cpu is None:
        return by_xla(x_bhwc, kernel_hwio)
    return jax.lax.platform_dependent(x_bhwc, kernel_hwio, cpu=on_cpu, default=by_xla)


def reflect_pad(x_bhwc: jax.Array, pad: int) -> jax.Array:
    """Pads height and width by reflection, without repeating the edge."""
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
    upsample: int = 1,
    padding: str = "zeros",
) -> jax.Array:
    """`convolve` by XLA on every platform."""
    x_bhwc = upsample_nearest(x_bhwc, upsample) if upsample > 1 else x_bhwc
    if padding == "reflect":
        x_bhwc, pad = reflect_pad(x_bhwc, pad), 0
    return jax.lax.conv_general_dilated(
        x_bhwc,
        kernel_hwio,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _on_cpu(x, kernel, stride, pad, dilation, upsample, padding) -> Convolution | None:
    """A form that is faster than XLA's on a CPU, or None."""
    taps = kernel.shape[0]
    out = [
        (upsample * n + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
        for n in x.shape[1:3]
    ]
    if min(out) < taps and (stride, dilation, upsample) == (1, 1, 1):
        return functools.partial(_by_taps, pad=pad)
    if x.dtype != jnp.float32:
        return None
    if (taps, stride, pad, upsample) == (1, 1, 0, 1):
        return _by_pixel
    if kernel.shape[3] <= _FEW and (stride, dilation, upsample) == (1, 1, 1):
        return functools.partial(_row_by_row, pad=pad)
    if min(kernel.shape[2:]) < (_WIDE_UPSAMPLED if upsample == 2 else _WIDE):
        return None
    if padding == "reflect":
        options = (taps, stride, pad, dilation, upsample)
        covered = options == (5, 1, 2, 1, 2) and min(x.shape[1:3]) > 2
        return _upsampled_reflected if covered else None
    if (
        upsample == 2
        and (taps, pad) in ((3, 1), (5, 2))
        and (stride, dilation) == (1, 1)
    ):
        # One pixel of the small image is padded for one or two of the large one.
        return lambda x, kernel: winograd.convolve_upsampled(_padded(x, 1), kernel)
    if (taps, stride, upsample) == (3, 1, 1):
        fast = functools.partial(winograd.convolve_3x3, dilation=dilation)
        multiple = 2 * dilation
    elif (taps, stride, dilation, upsample) == (4, 2, 1, 1):
        fast, multiple = winograd.convolve_4x4_by_2, 2
    else:
        return None
    if any(n % multiple for n in out):
        return None
    return lambda x, kernel: fast(_padded(x, pad), kernel)


def _upsampled_reflected(x, kernel):
    """5 x 5 taps on the image upsampled by 2 and reflection-padded by two pixels.

    Repeating the edge of the small image reflects the large one, except for the outer
    of the two padded pixels: outputs that depend on it are computed separately.
    """
    repeated = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    y = winograd.convolve_upsampled(repeated, kernel)

    def outer(part, axis):
        """The middle row or column of five of the reflected large image."""
        # The five pixels across become channels: the taps along the line remain.
        b, *_, c = part.shape
        lines = jnp.moveaxis(part, axis, 2).reshape(b, -1, 5 * c)
        taps = jnp.moveaxis(kernel, axis - 1, 1).reshape(5, 5 * c, -1)
        count = lines.shape[1] - 4
        return sum(lines[:, i : i + count] @ taps[i] for i in range(5))

    def reflected(part):
        return reflect_pad(upsample_nearest(part), 2)

    y = y.at[:, 0].set(outer(reflected(x[:, :3])[:, :5], 1))
    y = y.at[:, -1].set(outer(reflected(x[:, -3:])[:, -5:], 1))
    y = y.at[:, :, 0].set(outer(reflected(x[:, :, :3])[:, :, :5], 2))
    return y.at[:, :, -1].set(outer(reflected(x[:, :, -3:])[:, :, -5:], 2))


def _by_taps(x, kernel, *, pad):
    """Sum of a matrix product for each tap of the kernel.

    Where the output is smaller than the kernel, XLA on CPUs takes about 50 times as
    long for the gradient of the input as for the rest: a step on 32 x 32 images took
    twice the time.
    """
    x = _padded(x, pad)
    height, width = (n - kernel.shape[0] + 1 for n in x.shape[1:3])
    return sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def _row_by_row(x, kernel, *, pad):
    """Sum of the results of the kernel's rows, computed as channels of one image.

    With few output channels, XLA's convolution leaves most of a CPU's lanes empty: for
    7 x 7 taps and 3 channels it takes twice the time.
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
