"""Gradients of convolutions with few channels on one side, for CPUs.

The first and the last layer of a network have the image's few channels on one side and
large kernels. XLA's own gradients of them run at a fifth of the speed of its matrix
products there. With the taps of the kernel and the few channels as one axis, and the
pixels as the other, they are such products:

    of the kernel:  patches @ pixels       (taps few, pixels) @ (pixels, many)
    of the image:   patches^T @ kernel     (taps few, pixels)^T @ (taps few, many)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scadn.networks import strips


@jax.custom_vjp
def convolve(x_bhwc: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution by XLA without padding, with gradients by matrix products.

    Args:
      x_bhwc: images or features.
      kernel: (taps, taps, C, K).
    """
    return _by_xla(x_bhwc, kernel)


def _by_xla(x_bhwc, kernel):
    return jax.lax.conv_general_dilated(
        x_bhwc, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _forward(x_bhwc, kernel):
    return convolve(x_bhwc, kernel), (x_bhwc, kernel)


def _backward(saved, y_bar):
    x_bhwc, kernel = saved
    _, _, inputs, outputs = kernel.shape
    if outputs < inputs:
        return _to_few(x_bhwc, kernel, y_bar)
    # Of the image by XLA: nobody asks for it where the layer is the first one.
    (of_x,) = jax.linear_transpose(lambda x: _by_xla(x, kernel), x_bhwc)(y_bar)
    return of_x, _from_few(x_bhwc, kernel, y_bar)


convolve.defvjp(_forward, _backward)


def _from_few(x_bhwc: jax.Array, kernel: jax.Array, y_bar: jax.Array) -> jax.Array:
    """The kernel's gradient, by patches of what goes in."""
    taps = kernel.shape[0]
    parts = _strips(y_bar.shape, taps, x_bhwc.shape[-1])

    def add(strip, of_kernel):
        patches = _patches(parts.take(x_bhwc, strip, 1, overlap=taps - 1), taps)
        return of_kernel + patches @ _rows(parts.take(y_bar, strip, 1))

    zeros = jnp.zeros((taps**2 * kernel.shape[2], kernel.shape[3]))
    return parts.fold(add, zeros).reshape(kernel.shape)


def _to_few(x_bhwc: jax.Array, kernel: jax.Array, y_bar: jax.Array):
    """Both gradients, by patches of what comes back.

    A pixel of x takes part in the outputs above and left of it: their patches are those
    of the kernel turned by 180 degrees.
    """
    taps, _, inputs, outputs = kernel.shape
    around = (taps - 1, taps - 1)
    y_bar = jnp.pad(y_bar, ((0, 0), around, around, (0, 0)))
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    weights = turned.reshape(-1, inputs)
    parts = _strips(x_bhwc.shape, taps, outputs)

    def add(strip, sums):
        of_x, of_weights = sums
        patches = _patches(parts.take(y_bar, strip, 1, overlap=taps - 1), taps)
        x = parts.take(x_bhwc, strip, 1)
        of_strip = (patches.T @ weights).reshape(x.shape)
        return parts.put(of_x, strip, 1, of_strip), of_weights + patches @ _rows(x)

    zeros = jnp.zeros_like(x_bhwc), jnp.zeros_like(weights)
    of_x, of_weights = parts.fold(add, zeros)
    of_turned = of_weights.reshape(turned.shape)
    return of_x, of_turned.transpose(0, 1, 3, 2)[::-1, ::-1]


def _strips(shape: tuple[int, ...], taps: int, few: int) -> strips.Strips:
    """Of images of that shape, each pixel of which becomes a patch."""
    b, h, w, _ = shape
    return strips.Strips.of(b, h, 4 * taps**2 * few * w, 0)


def _patches(x_bhwc: jax.Array, taps: int) -> jax.Array:
    """(taps * taps * C, pixels): column by column the C-channel squares of an image."""
    x = x_bhwc.transpose(3, 0, 1, 2)
    h, w = (n - taps + 1 for n in x.shape[2:])
    squares = [x[:, :, i : i + h, j : j + w] for i in range(taps) for j in range(taps)]
    return jnp.concatenate(squares).reshape(taps**2 * x.shape[0], -1)


def _rows(x_bhwc: jax.Array) -> jax.Array:
    return x_bhwc.reshape(-1, x_bhwc.shape[-1])
