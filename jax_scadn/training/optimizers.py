"""PyTorch's SGD and Adam as directions; their learning rates are left to the step.

Weight decay is added to the gradient before momentum or moments see it, as in
PyTorch's `torch.optim.SGD` and `Adam` (and not as in AdamW).
"""

from __future__ import annotations

from typing import Any

import jax
import optax


def sgd(momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """velocity <- momentum * velocity + gradient + weight_decay * weight."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum)
    )


def adam(
    b1: float, b2: float, eps: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adam on gradient + weight_decay * weight."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
    )


def descend(
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    grads: Any,
    moments: optax.OptState,
    params: Any,
) -> tuple[Any, optax.OptState]:
    """One update: params - learning_rate * direction, and the moments after it."""
    direction, moments = optimizer.update(grads, moments, params)
    params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
    return params, moments


def halved(learning_rate: jax.Array | float, step: jax.Array, every: int) -> jax.Array:
    """The rate of the update after `step` others, halved after each `every`."""
    return learning_rate * 0.5 ** (step // every)
