"""Max pooling, with a gradient that is fast on CPUs.

There XLA's own scatters the slopes window by window on one core: two thirds of the step
of an IE-Net. Remembering which pixel of a window was the largest, the gradient is a sum
over the window's pixels that all cores compute. GPUs keep XLA's.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


def max_pool(x_bhwc: jax.Array, window: int, stride: int = 1, pad: int = 0):
    """The maximum of each square of `window` pixels; of equal ones the first counts.

    Args:
      x_bhwc: images or features.
      window: side of the squares, pixels.
      stride: from square to square: 1, or `window`.
      pad: pixels on each side that are no maximum.

    Returns:
      (B, H', W', C); rows and columns that fill no square are left out.

    Raises:
      ValueError: another stride, or a window of more than 15 x 15 pixels.
    """
    if stride not in (1, window) or window > 15:
        raise ValueError(
            f"stride {stride} is to be 1 or the window, {window}, of 15 pixels at most"
        )
    plain = functools.partial(
        nn.max_pool,
        window_shape=(window, window),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
    )
    on_cpu = functools.partial(_max_pool, window=window, stride=stride, pad=pad)
    return jax.lax.platform_dependent(x_bhwc, cpu=on_cpu, default=plain)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x_bhwc, window, stride, pad):
    return _forward(x_bhwc, window, stride, pad)[0]


def _forward(x_bhwc, window, stride, pad):
    """The maxima, and which pixel of its square each of them is."""
    sides = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    x = jnp.pad(x_bhwc, sides, constant_values=-jnp.inf)
    h, w = (n - (n - window) % stride for n in x.shape[1:3])
    pixels = [
        x[:, i : h - window + i + 1 : stride, j : w - window + j + 1 : stride]
        for i in range(window)
        for j in range(window)
    ]
    largest, which = pixels[0], jnp.zeros(pixels[0].shape, jnp.uint8)
    for number, pixel in enumerate(pixels[1:], start=1):
        which = jnp.where(pixel > largest, jnp.uint8(number), which)
        largest = jnp.maximum(largest, pixel)  # a NaN stays one
    return largest, (which, x_bhwc.shape)


def _backward(window, stride, pad, saved, y_bar):
    which, (_, h, w, _) = saved
    spread = _spread if stride == window else _sum_of_shifted
    x_bar = spread(which, y_bar, window)
    # Pixels that fill no square have no part in any.
    rest = [
        (0, max(0, n + pad - m)) for n, m in zip((h, w), x_bar.shape[1:3], strict=True)
    ]
    x_bar = jnp.pad(x_bar, ((0, 0), *rest, (0, 0)))
    return (x_bar[:, pad : pad + h, pad : pad + w],)


def _spread(which, y_bar, window):
    """Squares that do not overlap: each pixel belongs to one."""
    x_bar = jnp.stack(
        [
            jnp.stack(
                [jnp.where(which == i * window + j, y_bar, 0) for j in range(window)],
                axis=3,
            )
            for i in range(window)
        ],
        axis=2,
    )
    b, high, _, wide, _, c = x_bar.shape
    return x_bar.reshape(b, high * window, wide * window, c)


def _sum_of_shifted(which, y_bar, window):
    """Squares at each pixel: a pixel asks all that it is in whether it is theirs."""
    reach = window - 1
    sides = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    y_bar = jnp.pad(y_bar, sides)
    which = jnp.pad(which, sides, constant_values=window**2)
    h, w = (n - reach for n in y_bar.shape[1:3])
    x_bar = 0
    for i in range(window):
        for j in range(window):
            top, left = reach - i, reach - j
            square = slice(None), slice(top, top + h), slice(left, left + w)
            x_bar += jnp.where(which[square] == i * window + j, y_bar[square], 0)
    return x_bar


_max_pool.defvjp(_forward, _backward)
