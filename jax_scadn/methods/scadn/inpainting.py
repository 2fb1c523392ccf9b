"""The training of SCADN: inpaint masked stripes against a PatchGAN discriminator.

Read from top to bottom: state, gradients, step.
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

from jax_scadn.losses import adversarial
from jax_scadn.losses import reconstruction as reconstruction_losses
from jax_scadn.networks import discriminator, generator
from jax_scadn.scoring import masks
from jax_scadn.training import optimizers, protocol

Params = Any


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      generator: parameters.
      discriminator: parameters.
      spectral: u and v of the discriminator's spectral norm.
      generator_optimizer: Adam's moments.
      discriminator_optimizer: Adam's moments.
    """

    step: jax.Array
    generator: Params
    discriminator: Params
    spectral: Params
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


@flax.struct.dataclass
class Hyperparameters:
    """What varies between the runs of an ablation, as arrays and not control flow."""

    masks_mhw: jax.Array  # 1 where masked
    mask_probabilities: jax.Array  # (masks,)
    mask_value: jax.Array  # value of masked pixels
    masked_weight: jax.Array
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
class InpaintingStage:
    """The training of SCADN; hashable, so that `jit` takes it as static."""

    channels: int
    size: int
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
    dtype: str

    name = "inpainting"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> InpaintingStage:
        """From resolved settings."""
        model = config.model
        dilated = model.blocks if model.dilated_blocks == "all" else 1
        dilations = (model.dilation,) * dilated + (1,) * (model.blocks - dilated)
        return cls(
            channels=config.data.channels,
            size=config.data.size,
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
            dtype=config.dtype,
        )

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

    @property
    def adam(self) -> optax.GradientTransformation:
        """Adam without its learning rate, which is a hyperparameter of the step."""
        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps)

    # What the loop asks for, see `protocol.GradientStage`.

    def result(self, state: State) -> Params:
        """The generator's parameters."""
        return state.generator

    def preview(
        self,
        result: Params,
        hyper: Hyperparameters,
        context: protocol.Context,
        batch: protocol.Batch,
    ) -> jax.Array:
        """Images, the same under the last mask, and inpainted."""
        images = batch["image"]
        mask = hyper.masks_mhw[-1][None, :, :, None]
        masked = masks.apply_mask(images, mask, hyper.mask_value)
        inpainted = self.generator.apply({"params": result}, masked)
        return jnp.concatenate([images, masked, inpainted], axis=2)

    # State.

    def init(
        self, key: jax.Array, context: protocol.Context, examples: protocol.Batch
    ) -> State:
        """Fresh weights and moments."""
        images = jnp.zeros((1, self.size, self.size, self.channels))
        key_g, key_d = jax.random.split(key)
        params_g = self.generator.init(key_g, images)["params"]
        variables_d = self.discriminator.init(key_d, images)
        return self.state_of(params_g, **variables_d)

    def state_of(self, generator: Params, params: Params, spectral: Params) -> State:
        """The state before the first update, from given weights."""
        return State(
            step=jnp.zeros((), jnp.int32),
            generator=generator,
            discriminator=params,
            spectral=spectral,
            generator_optimizer=self.adam.init(generator),
            discriminator_optimizer=self.adam.init(params),
        )

    def hyperparameters(
        self, config: ml_collections.ConfigDict, total_steps: int = 0
    ) -> Hyperparameters:
        """The step's arrays, from the settings that the stage itself came from."""
        masks_mhw = masks.striped(config.data.size, config.masks.stripe_pairs)
        probabilities = config.masks.probabilities or (1.0,) * len(masks_mhw)
        probabilities = jnp.asarray(probabilities)
        scalars = {
            "mask_value": config.masks.mask_value,
            "masked_weight": config.loss.masked_weight,
            "reconstruction_weight": config.loss.reconstruction_weight,
            "adversarial_weight": config.loss.adversarial_weight,
            "feature_matching_weight": config.loss.feature_matching_weight,
            "learning_rate": config.optimizer.learning_rate,
            "discriminator_learning_rate": (
                config.optimizer.discriminator_learning_rate
            ),
        }
        return Hyperparameters(
            masks_mhw=jnp.asarray(masks_mhw),
            mask_probabilities=probabilities / jnp.sum(probabilities),
            **{name: jnp.asarray(value) for name, value in scalars.items()},
        )

    # Training.

    def step(
        self,
        state: State,
        hyper: Hyperparameters,
        context: protocol.Context,
        key: jax.Array,
        batch: protocol.Batch,
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update; each image draws one of the masks."""
        images = batch["image"]
        drawn = jax.random.choice(
            key, len(hyper.masks_mhw), (len(images),), p=hyper.mask_probabilities
        )
        return self.update(state, hyper, images, hyper.masks_mhw[drawn])

    def update(
        self,
        state: State,
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        masks_bhw: jax.Array,
    ) -> tuple[State, dict[str, jax.Array]]:
        """One simultaneous update of both networks under given masks."""
        grads = self.gradients(state, hyper, images_bhwc, masks_bhw)
        return self.descend(state, hyper, grads), grads.metrics

    def descend(self, state: State, hyper: Hyperparameters, grads: Gradients) -> State:
        """The state after a step of both optimizers along the gradients."""
        params_g, optimizer_g = optimizers.descend(
            self.adam,
            hyper.learning_rate,
            grads.generator,
            state.generator_optimizer,
            state.generator,
        )
        params_d, optimizer_d = optimizers.descend(
            self.adam,
            hyper.discriminator_learning_rate,
            grads.discriminator,
            state.discriminator_optimizer,
            state.discriminator,
        )
        return state.replace(
            step=state.step + 1,
            generator=params_g,
            discriminator=params_d,
            spectral=grads.spectral,
            generator_optimizer=optimizer_g,
            discriminator_optimizer=optimizer_d,
        )

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
        masked = masks.apply_mask(images_bhwc, masks_bhw1, hyper.mask_value)

        def inpaint(params_g):
            return self.generator.apply({"params": params_g}, masked)

        def discriminate(params_d, spectral, images):
            (logits, features), variables = self.discriminator.apply(
                {"params": params_d, "spectral": spectral}, images, mutable=["spectral"]
            )
            return logits, features, variables["spectral"]

        fake, generator_vjp = jax.vjp(inpaint, state.generator)

        def discriminator_loss(params_d):
            real_logits, real_features, spectral = discriminate(
                params_d, state.spectral, images_bhwc
            )
            fake_logits, _, spectral = discriminate(params_d, spectral, fake)
            real = jnp.mean(adversarial.discriminator_real(self.gan, real_logits))
            fake_ = jnp.mean(adversarial.discriminator_fake(self.gan, fake_logits))
            return (real + fake_) / 2, (real, fake_, real_features, spectral)

        (loss_d, (real, fake_, real_features, spectral)), grads_d = jax.value_and_grad(
            discriminator_loss, has_aux=True
        )(state.discriminator)

        def generator_loss(fake):
            logits, features, after = discriminate(state.discriminator, spectral, fake)
            adversarial_ = hyper.adversarial_weight * jnp.mean(
                adversarial.generator_fake(self.gan, logits)
            )
            reconstruction = hyper.reconstruction_weight * jnp.mean(
                reconstruction_losses.masked(
                    self.reconstruction,
                    fake,
                    images_bhwc,
                    masks_bhw1,
                    hyper.masked_weight,
                )
            )
            loss = adversarial_ + reconstruction
            if self.feature_matching:
                matching = adversarial.feature_matching(real_features, features)
                loss += hyper.feature_matching_weight * matching
            return loss, (adversarial_, reconstruction, after)

        (loss_g, (adversarial_, reconstruction, spectral)), fake_grad = (
            jax.value_and_grad(generator_loss, has_aux=True)(fake)
        )
        (grads_g,) = generator_vjp(fake_grad)
        metrics = {
            "generator_loss": loss_g,
            "reconstruction_loss": reconstruction,
            "adversarial_loss": adversarial_,
            "discriminator_loss": loss_d,
            "discriminator_real_loss": real,
            "discriminator_fake_loss": fake_,
            "generator_gradient_norm": optax.tree.norm(grads_g),
            "discriminator_gradient_norm": optax.tree.norm(grads_d),
        }
        return Gradients(grads_g, grads_d, spectral, metrics)
