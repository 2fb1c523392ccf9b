"""SCADN: repaint striped holes with a GAN; what cannot be repainted is anomalous.

Yan et al., Learning Semantic Context from Normal Samples for Unsupervised Anomaly
Detection, AAAI 2021. Read from top to bottom: settings, networks, state, training
step, maps.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn import losses, masks, scoring
from jax_scadn.data import images as images_lib
from jax_scadn.networks import discriminator, generator

Params = Any


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      seed: of the masks; the key of a step is fold_in(key(seed), step).
      generator: parameters.
      discriminator: parameters.
      spectral: u and v of the discriminator's spectral norm.
      generator_optimizer: Adam's moments.
      discriminator_optimizer: Adam's moments.
    """

    step: jax.Array
    seed: jax.Array
    generator: Params
    discriminator: Params
    spectral: Params
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


@flax.struct.dataclass
class Hyperparameters:
    """What varies between the runs of an ablation, as arrays and not control flow."""

    mask_probabilities: jax.Array  # (masks,)
    removed_weight: jax.Array
    reconstruction_weight: jax.Array
    adversarial_weight: jax.Array
    feature_matching_weight: jax.Array
    learning_rate: jax.Array
    discriminator_learning_rate: jax.Array


@dataclasses.dataclass(frozen=True)
class Gradients:
    """One step's gradients, losses, and the spectral norm's vectors after it."""

    generator: Params
    discriminator: Params
    spectral: Params
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Scadn:
    """The fixed part of the method; hashable, so that `jit` takes it as static."""

    size: int
    channels: int
    stripe_pairs: tuple[int, ...]
    fill: float
    width: int
    dilations: tuple[int, ...]
    discriminator_width: int
    power_iterations: int
    reconstruction: str
    gan: str
    feature_matching: bool
    b1: float
    b2: float
    eps: float
    merge: str
    masks_per_call: int
    dtype: str

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Scadn:
        """From resolved settings."""
        model = config.model
        dilated = model.blocks if model.dilated_blocks == "all" else 1
        dilations = (model.dilation,) * dilated + (1,) * (model.blocks - dilated)
        return cls(
            size=config.data.size,
            channels=config.data.channels,
            stripe_pairs=tuple(config.masks.stripe_pairs),
            fill=config.masks.fill,
            width=model.width,
            dilations=dilations,
            discriminator_width=model.discriminator_width,
            power_iterations=model.power_iterations,
            reconstruction=config.loss.reconstruction,
            gan=config.loss.gan,
            feature_matching=config.loss.feature_matching_weight > 0,
            b1=config.optimizer.b1,
            b2=config.optimizer.b2,
            eps=config.optimizer.eps,
            merge=config.scoring.merge,
            masks_per_call=config.scoring.masks_per_call,
            dtype=config.dtype,
        )

    # Networks and constants.

    @functools.cached_property
    def generator(self) -> generator.Generator:
        return generator.Generator(
            self.channels, self.width, self.dilations, jnp.dtype(self.dtype)
        )

    @functools.cached_property
    def discriminator(self) -> discriminator.Discriminator:
        return discriminator.Discriminator(
            self.discriminator_width, self.power_iterations, jnp.dtype(self.dtype)
        )

    @functools.cached_property
    def masks_mhw(self):
        """The striped masks, 1 where removed."""
        return masks.striped(self.size, self.stripe_pairs)

    @property
    def adam(self) -> optax.GradientTransformation:
        """Adam without its learning rate, which is a hyperparameter of the step."""
        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps)

    # State.

    def init(self, seed: int | jax.Array) -> State:
        """Fresh weights and moments."""
        images = jnp.zeros((1, self.size, self.size, self.channels))
        key_g, key_d = jax.random.split(jax.random.key(seed))
        params_g = self.generator.init(key_g, images)["params"]
        variables_d = self.discriminator.init(key_d, images)
        return self.state_of(seed, params_g, **variables_d)

    def state_of(
        self, seed: int | jax.Array, generator: Params, params: Params, spectral: Params
    ) -> State:
        """The state before the first update, from given weights."""
        return State(
            step=jnp.zeros((), jnp.int32),
            seed=jnp.asarray(seed, jnp.uint32),
            generator=generator,
            discriminator=params,
            spectral=spectral,
            generator_optimizer=self.adam.init(generator),
            discriminator_optimizer=self.adam.init(params),
        )

    def hyperparameters(self, config: ml_collections.ConfigDict) -> Hyperparameters:
        """The step's arrays, from the settings that the method itself came from."""
        count = len(self.masks_mhw)
        probabilities = jnp.asarray(config.masks.probabilities or (1.0,) * count)
        scalars = {
            "removed_weight": config.loss.removed_weight,
            "reconstruction_weight": config.loss.reconstruction_weight,
            "adversarial_weight": config.loss.adversarial_weight,
            "feature_matching_weight": config.loss.feature_matching_weight,
            "learning_rate": config.optimizer.learning_rate,
            "discriminator_learning_rate": (
                config.optimizer.discriminator_learning_rate
            ),
        }
        return Hyperparameters(
            mask_probabilities=probabilities / jnp.sum(probabilities),
            **{name: jnp.asarray(value) for name, value in scalars.items()},
        )

    # Training.

    def step(
        self, state: State, hyper: Hyperparameters, batch: dict[str, jax.Array]
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update; each image draws one of the masks."""
        images = images_lib.as_float(batch["image"])
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        drawn = jax.random.choice(
            key, len(self.masks_mhw), (len(images),), p=hyper.mask_probabilities
        )
        return self.update(state, hyper, images, jnp.asarray(self.masks_mhw)[drawn])

    def update(
        self,
        state: State,
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        masks_bhw: jax.Array,
    ) -> tuple[State, dict[str, jax.Array]]:
        """One simultaneous update of both networks under given masks."""
        grads = self.gradients(state, hyper, images_bhwc, masks_bhw)
        params_g, optimizer_g = self._adam_step(
            hyper.learning_rate,
            grads.generator,
            state.generator_optimizer,
            state.generator,
        )
        params_d, optimizer_d = self._adam_step(
            hyper.discriminator_learning_rate,
            grads.discriminator,
            state.discriminator_optimizer,
            state.discriminator,
        )
        state = state.replace(
            step=state.step + 1,
            generator=params_g,
            discriminator=params_d,
            spectral=grads.spectral,
            generator_optimizer=optimizer_g,
            discriminator_optimizer=optimizer_d,
        )
        return state, grads.metrics

    def gradients(
        self,
        state: State,
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        masks_bhw: jax.Array,
    ) -> Gradients:
        """Gradients of both losses at the weights from before the step.

        The generator runs once. The discriminator runs three times, each with a
        power iteration: real, fake for its own loss, fake for the generator's.
        """
        masks_bhw1 = masks_bhw[..., None]
        removed = masks.remove(images_bhwc, masks_bhw1, self.fill)

        def repaint(params_g):
            return self.generator.apply({"params": params_g}, removed)

        def discriminate(params_d, spectral, images):
            (logits, features), variables = self.discriminator.apply(
                {"params": params_d, "spectral": spectral}, images, mutable=["spectral"]
            )
            return logits, features, variables["spectral"]

        fake, generator_vjp = jax.vjp(repaint, state.generator)

        def discriminator_loss(params_d):
            real_logits, real_features, spectral = discriminate(
                params_d, state.spectral, images_bhwc
            )
            fake_logits, _, spectral = discriminate(params_d, spectral, fake)
            real = jnp.mean(losses.discriminator_real(self.gan, real_logits))
            fake_ = jnp.mean(losses.discriminator_fake(self.gan, fake_logits))
            return (real + fake_) / 2, (real, fake_, real_features, spectral)

        (loss_d, (real, fake_, real_features, spectral)), grads_d = jax.value_and_grad(
            discriminator_loss, has_aux=True
        )(state.discriminator)

        def generator_loss(fake):
            logits, features, after = discriminate(state.discriminator, spectral, fake)
            adversarial = hyper.adversarial_weight * jnp.mean(
                losses.generator_fake(self.gan, logits)
            )
            reconstruction = hyper.reconstruction_weight * jnp.mean(
                losses.reconstruction(
                    self.reconstruction,
                    fake,
                    images_bhwc,
                    masks_bhw1,
                    hyper.removed_weight,
                )
            )
            loss = adversarial + reconstruction
            if self.feature_matching:
                matching = losses.feature_matching(real_features, features)
                loss += hyper.feature_matching_weight * matching
            return loss, (adversarial, reconstruction, after)

        (loss_g, (adversarial, reconstruction, spectral)), fake_grad = (
            jax.value_and_grad(generator_loss, has_aux=True)(fake)
        )
        (grads_g,) = generator_vjp(fake_grad)
        metrics = {
            "generator_loss": loss_g,
            "reconstruction_loss": reconstruction,
            "adversarial_loss": adversarial,
            "discriminator_loss": loss_d,
            "discriminator_real_loss": real,
            "discriminator_fake_loss": fake_,
            "generator_gradient_norm": optax.tree.norm(grads_g),
            "discriminator_gradient_norm": optax.tree.norm(grads_d),
        }
        return Gradients(grads_g, grads_d, spectral, metrics)

    def _adam_step(self, learning_rate, grads, moments, params):
        direction, moments = self.adam.update(grads, moments)
        params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
        return params, moments

    # Inference.

    def inference_params(self, state: State) -> Params:
        """What `candidates` needs of a training state."""
        return state.generator

    def repaint(self, params: Params, images_bhwc: jax.Array) -> jax.Array:
        """The generator's output under every mask, (M, B, H, W, C).

        `masks_per_call` masks are vmapped at a time, which bounds the memory.
        """

        def under_mask(mask_hw):
            removed = masks.remove(images_bhwc, mask_hw[None, :, :, None], self.fill)
            return self.generator.apply({"params": params}, removed)

        return jax.lax.map(
            under_mask, jnp.asarray(self.masks_mhw), batch_size=self.masks_per_call
        )

    def candidates(
        self, params: Params, images_bhwc: jax.Array, absolute: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Each scale's error map (B, K, H, W) and repainted image (B, K, H, W, C).

        The error is squared (Eq. 6), or absolute where checkpoints are selected as
        the authors' code does, and averaged over the channels.
        """
        masks_mhw = jnp.asarray(self.masks_mhw)
        repainted = self.repaint(params, images_bhwc)
        error = jnp.abs(repainted - images_bhwc[None])
        error = jnp.mean(error if absolute else jnp.square(error), axis=-1)
        return (
            scoring.scale_maps(error * masks_mhw[:, None]),
            scoring.scale_repainted(repainted, masks_mhw),
        )

    def selection_error(self, params: Params, images_bhwc: jax.Array) -> jax.Array:
        """Mean absolute error of each image's worst scale, (B,)."""
        maps, _ = self.candidates(params, images_bhwc, absolute=True)
        return jnp.max(jnp.mean(maps, axis=(2, 3)), axis=1)

    def repainted(self, params: Params, images_bhwc: jax.Array) -> jax.Array:
        """The image with every pixel repainted under the smallest stripes."""
        return self.candidates(params, images_bhwc)[1][:, -1]

    def score(
        self, params: Params, mu_k: jax.Array, images_bhwc: jax.Array
    ) -> scoring.Scored:
        """Anomaly maps and scores of images in [0, 1]."""
        return scoring.merge(self.merge, mu_k, *self.candidates(params, images_bhwc))
