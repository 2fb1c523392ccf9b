"""Mutual information between images and their latent codes (UTAD Eq. 1-4).

A discriminator T learns to tell pairs of a feature map and the code of the same image
(the joint distribution P) from pairs whose feature map is another image's (the product
of the marginals, Q). T is a sigmoid of logits V, and everything here takes the logits:
softplus stays finite where log of a sigmoid does not.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def sample(key: jax.Array, mean_bl: jax.Array, log_var_bl: jax.Array) -> jax.Array:
    """z ~ q(z|x) = N(mean, exp(log_var)), differentiable in both: (B, L)."""
    noise = jax.random.normal(key, mean_bl.shape, mean_bl.dtype)
    return mean_bl + jnp.exp(log_var_bl / 2) * noise


def negative_features(features_bhwc: jax.Array) -> jax.Array:
    """F(x'): the features of each image's neighbour in the batch, in a ring.

    The order of a training batch is random already, so that this is a shuffle; unlike
    a random permutation it pairs no image with itself. A batch of one would.
    """
    if len(features_bhwc) < 2:
        raise ValueError(
            f"features {features_bhwc.shape}: a batch of one holds no other image"
        )
    return jnp.roll(features_bhwc, 1, axis=0)


def local_pairs(features_bhwc: jax.Array, z_bl: jax.Array) -> jax.Array:
    """Each position's features with the image's code: (B, H * W, C + L)."""
    b, h, w, c = features_bhwc.shape
    features = features_bhwc.reshape(b, h * w, c)
    return jnp.concatenate([features, _tiled(z_bl, h * w)], axis=-1)


def global_pairs(features_bhwc: jax.Array, z_bl: jax.Array) -> jax.Array:
    """The whole feature map with the code at each position: (B, H * W * (C + L))."""
    return local_pairs(features_bhwc, z_bl).reshape(len(z_bl), -1)


def _tiled(z_bl: jax.Array, positions: int) -> jax.Array:
    b, latent = z_bl.shape
    return jnp.broadcast_to(z_bl[:, None], (b, positions, latent))


def discriminator_loss(joint_logits: jax.Array, product_logits: jax.Array) -> jax.Array:
    """L_T = -E_P[log T] - E_Q[log(1 - T)], Eq. 4; 2 log 2 where T cannot tell.

    Args:
      joint_logits: V of pairs (F(x), z), of any shape.
      product_logits: V of pairs (F(x'), z).
    """
    joint = jnp.mean(jax.nn.softplus(-joint_logits))
    return joint + jnp.mean(jax.nn.softplus(product_logits))


def jensen_shannon_bound(loss: jax.Array) -> jax.Array:
    """Lower bound of the Jensen-Shannon divergence of P and Q, nats.

    E_P[log T] + E_Q[log(1 - T)] is at most 2 JSD(P || Q) - 2 log 2 for every T and
    reaches it where T = p / (p + q) (f-GAN, Nowozin et al. 2016). JSD(P || Q) is the
    mutual information with this divergence in the place of Kullback and Leibler's. It
    is at most log 2, and at most I(x; z).

    Args:
      loss: `discriminator_loss` on pairs that T was not trained on.
    """
    return math.log(2) - loss / 2


def shannon_bound(joint_logits: jax.Array, product_logits: jax.Array) -> jax.Array:
    """Lower bound of I(x; z) = KL(P || Q), Eq. 1, nats.

    1 + E_P[V] - E_Q[exp V] is at most I(x; z) for every V and reaches it where
    V = log(p / q) (Nguyen et al. 2010), which is also where `discriminator_loss` is
    smallest: T is trained with that loss, whose gradients vary less, and read with
    this bound.

    Args:
      joint_logits: V of pairs (F(x), z) that T was not trained on.
      product_logits: V of pairs (F(x'), z).
    """
    return 1 + jnp.mean(joint_logits) - jnp.mean(jnp.exp(product_logits))


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
    """-I(x; z) + beta KL, Eq. 3, with the bounds of Eq. 4 for the information.

    Args:
      local_loss: `discriminator_loss` of the T that sees single positions.
      global_loss: that of the T that sees the whole feature map.
      kl: mean of `kl_to_standard_normal`.
      local_weight, global_weight, kl_weight: of the three terms.
    """
    return local_weight * local_loss + global_weight * global_loss + kl_weight * kl
