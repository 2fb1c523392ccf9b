"""Gradient projection of images onto what an autoencoder reconstructs.

Dehaene et al., Iterative energy-based projection on a normal data manifold for anomaly
localization, ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def project(
    reconstruct: Callable[[jax.Array], jax.Array],
    images_bhwc: jax.Array,
    steps: int,
    rate: float,
    weight: float,
    through_network: bool = False,
) -> jax.Array:
    """The images after some steps towards their reconstructions.

    From x_0, the image, with f the reconstruction of x,

      E(x) = sum (x - f)^2 + weight * sum |x - x_0|
      x <- x - rate * dE/dx * (x - f)^2

    where the last product, by pixel and channel, keeps what is reconstructed well.

    Args:
      reconstruct: (B, H, W, C) -> (B, H, W, C), each image by itself.
      images_bhwc: x_0.
      steps: how many.
      rate: of a step.
      weight: of the distance to the image.
      through_network: whether dE/dx has the gradient of f, as in the paper; not so in
        the public code, where f is taken as a constant.

    Returns:
      (B, H, W, C); not clipped.
    """

    def squared_error(x):
        f = reconstruct(x)
        f = f if through_network else jax.lax.stop_gradient(f)
        return jnp.sum(jnp.square(x - f)), f

    def step(x, _):
        slope, f = jax.grad(squared_error, has_aux=True)(x)
        # Not by `grad`, for which the slope of |x| at 0 is 1.
        slope += weight * jnp.sign(x - images_bhwc)
        return x - rate * slope * jnp.square(x - f), None

    projected, _ = jax.lax.scan(step, images_bhwc, length=steps)
    return projected
