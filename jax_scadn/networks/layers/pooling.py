"""Max pooling, with a gradient that is fast on CPUs.

On CPUs XLA scatters the gradients window by window on one core: two thirds of the step
of an IE-Net. With the position of each window's maximum stored, the gradient is a sum
over the window's pixels that all cores compute. GPUs use XLA's.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


def max_pool(x_bhwc: jax.Array, window: int, stride: int = 1, pad: int = 0):
    """The maximum of each square window; of equal pixels the first counts.

    Args:
      x_bhwc: images or features.
      window: side of the windows, pixels.
      stride: from window to window: 1 or `window`.
      pad: pixels padded on each side, which are never the maximum.

    Returns:
      (B, H', W', C); rows and columns that do not fill a window are dropped.

    Raises:
      ValueError: another stride, or a window of more than 15 x 15 pixels.
    """
    if stride not in (1, window) or window > 15:
        raise ValueError(
            f"stride {stride} must be 1 or the window, {window}, of at most 15 pixels"
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
    """The maxima, and the position of each in its window."""
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
    scatter = _scatter_disjoint if stride == window else _gather_overlapping
    x_bar = scatter(which, y_bar, window)
    # Pixels that do not fill a window have gradient 0.
    rest = [
        (0, max(0, n + pad - m)) for n, m in zip((h, w), x_bar.shape[1:3], strict=True)
    ]
    x_bar = jnp.pad(x_bar, ((0, 0), *rest, (0, 0)))
    return (x_bar[:, pad : pad + h, pad : pad + w],)


def _scatter_disjoint(which, y_bar, window):
    """Windows that do not overlap: each pixel belongs to one."""
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


def _gather_overlapping(which, y_bar, window):
    """Gathers, per pixel, the gradients of the windows whose maximum it is."""
    reach = window - 1
    sides = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    y_bar = jnp.pad(y_bar, sides)
    which = jnp.pad(which, sides, constant_values=window**2)
    h, w = (n - reach for n in y_bar.shape[1:3])
    x_bar = 0
    for i in range(window):
        for j in range(window):
            top, left = reach - i, reach - j
            window_at = slice(None), slice(top, top + h), slice(left, left + w)
            x_bar += jnp.where(which[window_at] == i * window + j, y_bar[window_at], 0)
    return x_bar


_max_pool.defvjp(_forward, _backward)
