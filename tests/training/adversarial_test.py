"""The simultaneous update of two networks, against gradients of the full losses."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_scadn.networks.layers import layers
from jax_scadn.training import adversarial, learners


class Output(NamedTuple):
    image_bhwc: jax.Array


class Generator(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = layers.BatchNorm(name="norm")(nn.Dense(2, name="dense")(x), train)
        return Output(x)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = layers.BatchNorm(name="norm")(nn.Dense(3, name="dense")(x), train)
        return jnp.sum(x, axis=(1, 2, 3)), x


def d_loss(real, fake):
    return jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake))


def g_loss(output, logits, features, real_features):
    terms = {
        "gan": jnp.mean(jnp.square(logits - 1)),
        "matching": jnp.mean(jnp.square(features - real_features)),
    }
    return terms["gan"] + 2 * terms["matching"], terms


def test_update_follows_both_gradients_from_before_it():
    networks = Generator(), Discriminator()
    images = jax.random.normal(jax.random.key(0), (4, 2, 2, 2))
    keys = jax.random.split(jax.random.key(1))
    names = adversarial.GENERATOR, adversarial.DISCRIMINATOR
    variables = {
        name: network.init(key, images, train=False)
        for name, network, key in zip(names, networks, keys, strict=True)
    }
    optimizer = optax.identity()
    state = learners.create(optimizer, variables)
    after, metrics = jax.jit(
        lambda state: adversarial.update(
            state,
            optimizer,
            0.1,
            networks,
            images,
            d_loss,
            g_loss,
            image_of=lambda output: output.image_bhwc,
        )
    )(state)
    g, d = (state.learners[name] for name in names)

    def run(network, params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        return network.apply(variables, x, train=True, mutable=["batch_stats"])

    def full_g(params):
        (fake,), _ = run(networks[0], params, g.batch_stats, images)
        (logits, features), _ = run(networks[1], d.params, d.batch_stats, fake)
        (_, real), _ = run(networks[1], d.params, d.batch_stats, images)
        return g_loss(None, logits, features, real)[0]

    def full_d(params):
        (fake,), _ = run(networks[0], g.params, g.batch_stats, images)
        (real, _), stats = run(networks[1], params, d.batch_stats, images)
        (fake, _), stats = run(networks[1], params, stats["batch_stats"], fake)
        return d_loss(real, fake), stats["batch_stats"]

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    value, grads = jax.value_and_grad(full_g)(g.params)
    close(metrics["generator_loss"], value)
    moved = jax.tree.map(lambda p, x: p - 0.1 * x, g.params, grads)
    jax.tree.map(close, after.learners[names[0]].params, moved)
    (value, stats), grads = jax.value_and_grad(full_d, has_aux=True)(d.params)
    close(metrics["discriminator_loss"], value)
    moved = jax.tree.map(lambda p, x: p - 0.1 * x, d.params, grads)
    jax.tree.map(close, after.learners[names[1]].params, moved)
    # Of the real images first, then of the generated ones.
    jax.tree.map(close, after.learners[names[1]].batch_stats, stats)
    assert after.step == 1
    assert {"gan_loss", "matching_loss"} < set(metrics)
