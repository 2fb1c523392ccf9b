"""Generator and discriminator: their state, and one update of both at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax

from jax_scadn.training import learners, random_bits

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
Metrics = dict[str, jax.Array]


def create(
    key: jax.Array,
    optimizer: optax.GradientTransformation,
    networks: tuple[nn.Module, nn.Module],
    inputs: jax.Array,
    images_bhwc: jax.Array,
) -> learners.State:
    """The state before the first update.

    Args:
      key: of the weights.
      optimizer: of both networks.
      networks: generator and discriminator.
      inputs: an example of the generator's.
      images_bhwc: an example of the discriminator's.
    """
    generator, discriminator = networks
    key_g, key_d = jax.random.split(random_bits.rbg(key))
    variables = {
        GENERATOR: generator.init(key_g, inputs, train=False),
        DISCRIMINATOR: discriminator.init(key_d, images_bhwc, train=False),
    }
    return learners.create(optimizer, variables)


def update(
    state: learners.State,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
    networks: tuple[nn.Module, nn.Module],
    images_bhwc: jax.Array,
    discriminator_loss: Callable[[jax.Array, jax.Array], jax.Array],
    generator_loss: Callable[..., tuple[jax.Array, Metrics]],
    inputs: jax.Array | None = None,
    image_of: Callable[[Any], jax.Array] = lambda generated: generated,
) -> tuple[learners.State, Metrics]:
    """The state after the update, and metrics.

    Both gradients are at the weights from before. The generator runs once: the gradient
    of its loss with respect to its outputs is pulled back.

    Args:
      state: its learners are 'generator' and 'discriminator'.
      optimizer: of both, without a rate.
      learning_rate: of both.
      networks: the generator, and the discriminator, which gives logits and features of
        images.
      images_bhwc: real ones, as both networks take them.
      discriminator_loss: of the logits of real and of generated images.
      generator_loss: of the outputs, the logits and the features of the generated
        images, and the features of the real ones; gives the loss and its terms.
      inputs: of the generator; None: the images.
      image_of: the generated images of the generator's outputs.
    """
    generator, discriminator = networks
    g, d = state.learners[GENERATOR], state.learners[DISCRIMINATOR]
    inputs = images_bhwc if inputs is None else inputs

    def generate(params):
        return learners.forward(generator, params, g.batch_stats, inputs)

    def discriminate(params, batch_stats, images):
        return learners.forward(discriminator, params, batch_stats, images)

    generated, pull_back, stats_g = jax.vjp(generate, g.params, has_aux=True)

    def loss_of_d(params):
        (real, features), stats = discriminate(params, d.batch_stats, images_bhwc)
        (fake, _), stats = discriminate(params, stats, image_of(generated))
        return discriminator_loss(real, fake), (features, stats)

    (loss_d, (real_features, stats_d)), grads_d = jax.value_and_grad(
        loss_of_d, has_aux=True
    )(d.params)

    def loss_of_g(generated) -> tuple[jax.Array, Any]:
        seen = image_of(generated)
        (logits, features), _ = discriminate(d.params, d.batch_stats, seen)
        return generator_loss(generated, logits, features, real_features)

    (loss_g, terms), grads = jax.value_and_grad(loss_of_g, has_aux=True)(generated)
    (grads_g,) = pull_back(grads)
    metrics = {
        "generator_loss": loss_g,
        **{f"{name}_loss": term for name, term in terms.items()},
        "discriminator_loss": loss_d,
        "generator_gradient_norm": optax.tree.norm(grads_g),
        "discriminator_gradient_norm": optax.tree.norm(grads_d),
    }

    def descend(learner, grads, stats):
        return learners.descend(learner, optimizer, learning_rate, grads, stats)

    changed = {
        GENERATOR: descend(g, grads_g, stats_g),
        DISCRIMINATOR: descend(d, grads_d, stats_d),
    }
    return learners.advance(state, **changed), metrics
