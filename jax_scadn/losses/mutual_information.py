"""Mutual information between images and their latent codes (UTAD Eq. 1-4).

A discriminator T learns to distinguish pairs of feature map and code of the same image
(the joint distribution P) from pairs with the feature map of another image (the product
of the marginals, Q). T is a sigmoid of logits V, and all functions take the logits:
softplus stays finite where the log of a sigmoid does not.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def sample(key: jax.Array, mean_bl: jax.Array, log_var_bl: jax.Array) -> jax.Array:
    """z ~ q(z|x) = N(mean, exp(log_var)), differentiable in both: (B, L)."""
    noise = jax.random.normal(key, mean_bl.shape, mean_bl.dtype)
    return mean_bl + jnp.exp(log_var_bl / 2) * noise


def negative_features(features_bhwc: jax.Array) -> jax.Array:
    """F(x'): features rolled by one image, as negatives.

    Training batches are in random order, so this is a shuffle; unlike a random
    permutation it never pairs an image with itself.

    Raises:
      ValueError: a batch of one image, which has no negative.
    """
    if len(features_bhwc) < 2:
        raise ValueError(
            f"features {features_bhwc.shape}: a batch of one has no negative"
        )
    return jnp.roll(features_bhwc, 1, axis=0)


def local_pairs(features_bhwc: jax.Array, z_bl: jax.Array) -> jax.Array:
    """Each position's features with the image's code: (B, H * W, C + L)."""
    b, h, w, c = features_bhwc.shape
    features = features_bhwc.reshape(b, h * w, c)
    return jnp.concatenate([features, _tiled(z_bl, h * w)], axis=-1)


def global_pairs(features_bhwc: jax.Array, z_bl: jax.Array) -> jax.Array:
    """All features, each position with the code: (B, H * W * (C + L))."""
    return local_pairs(features_bhwc, z_bl).reshape(len(z_bl), -1)


def _tiled(z_bl: jax.Array, positions: int) -> jax.Array:
    b, latent = z_bl.shape
    return jnp.broadcast_to(z_bl[:, None], (b, positions, latent))


def discriminator_loss(joint_logits: jax.Array, product_logits: jax.Array) -> jax.Array:
    """L_T = -E_P[log T] - E_Q[log(1 - T)], Eq. 4; 2 log 2 if T is 1/2.

    Args:
      joint_logits: V of pairs (F(x), z), of any shape.
      product_logits: V of pairs (F(x'), z).
    """
    joint = jnp.mean(jax.nn.softplus(-joint_logits))
    return joint + jnp.mean(jax.nn.softplus(product_logits))


def kl_to_standard_normal(mean_bl: jax.Array, log_var_bl: jax.Array) -> jax.Array:
    """KL(q(z|x) || N(0, 1)) of each image, Eq. 2, nats: (B,)."""
    excess = jnp.square(mean_bl) + jnp.exp(log_var_bl) - log_var_bl - 1
    return jnp.sum(excess, axis=-1) / 2


def encoder_loss(
    local_loss: jax.Array,
    global_loss: jax.Array,
    kl: jax.Array,
    *,
    local_weight: jax.Array | float,
    global_weight: jax.Array | float,
    kl_weight: jax.Array | float,
) -> jax.Array:
    """-I(x; z) + beta KL, Eq. 3, with the information estimated by Eq. 4.

    Args:
      local_loss: `discriminator_loss` of the T of single positions.
      global_loss: that of the T of the entire feature map.
      kl: mean of `kl_to_standard_normal`.
      local_weight, global_weight, kl_weight: of the three terms.
    """
    return local_weight * local_loss + global_weight * global_loss + kl_weight * kl
