"""SCADN: inpaint striped holes with a GAN; what cannot be inpainted is anomalous.

Yan et al., Learning Semantic Context from Normal Samples for Unsupervised Anomaly
Detection, AAAI 2021. Read from top to bottom: state, training, scoring.
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

from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline
from jax_scadn.losses import adversarial, distances
from jax_scadn.losses import reconstruction as reconstruction_losses
from jax_scadn.networks import discriminator, generator
from jax_scadn.networks.layers.cpu import tiles
from jax_scadn.scoring import masks, merging

Params = Any

# Four images of 256 x 256: more in a call take more memory and are not faster.
_BUSY_PIXELS = 1 << 18


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

    masks_mhw: jax.Array  # 1 where removed
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

    folder = ""  # SCADN has one stage, which stands in the work directory itself

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

    # What the loop asks for, see `training.Stage`.

    def schedule(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        return config.training

    def source(self, config, train, trained, workdir) -> pipeline.Images:
        return pipeline.Images(train)

    def params(self, state: State) -> Params:
        return state.generator

    def picture(
        self, params: Params, hyper: Hyperparameters, batch: dict[str, jax.Array]
    ) -> jax.Array:
        """Images beside what the generator puts where the last mask removes."""
        images = images_lib.as_float(batch["image"])
        mask = hyper.masks_mhw[-1][None, :, :, None]
        removed = masks.apply_mask(images, mask, hyper.mask_value)
        inpainted = self.generator.apply({"params": params}, removed)
        return jnp.concatenate([images, removed, inpainted], axis=2)

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
        self, state: State, hyper: Hyperparameters, batch: dict[str, jax.Array]
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update; each image draws one of the masks."""
        images = images_lib.as_float(batch["image"])
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
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
        removed = masks.apply_mask(images_bhwc, masks_bhw1, hyper.mask_value)

        def inpaint(params_g):
            return self.generator.apply({"params": params_g}, removed)

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

    def _adam_step(self, learning_rate, grads, moments, params):
        direction, moments = self.adam.update(grads, moments)
        params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
        return params, moments


@dataclasses.dataclass(frozen=True)
class Scadn:
    """The trained method: multi-mask inference; hashable like its stage."""

    inpainting: InpaintingStage
    stripe_pairs: tuple[int, ...]
    mask_value: float
    merge: str
    image_score: str
    measure: distances.Distance
    masks_per_call: int  # 0: by the number of pixels

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Scadn:
        """From resolved settings."""
        return cls(
            inpainting=InpaintingStage.from_config(config),
            stripe_pairs=tuple(config.masks.stripe_pairs),
            mask_value=config.masks.mask_value,
            merge=config.scoring.merge,
            image_score=config.scoring.image_score,
            measure=distances.Distance.from_config(config),
            masks_per_call=config.scoring.masks_per_call,
        )

    @property
    def stages(self) -> tuple[InpaintingStage]:
        return (self.inpainting,)

    shares = masks.MASKS_PER_SCALE  # devices that share an image take of each scale

    @property
    def maps(self) -> int:
        """Number of scales."""
        return len(self.stripe_pairs)

    @functools.cached_property
    def masks_mhw(self):
        """The striped masks, 1 where removed."""
        return masks.striped(self.inpainting.size, self.stripe_pairs)

    def inference_params(self, trained: dict[str, Params], measure: Params) -> Params:
        """What `score` needs.

        Args:
          trained: weights of the stage by its folder.
          measure: weights of the measure.
        """
        return {"generator": trained[InpaintingStage.folder], "measure": measure}

    def inpaint(self, generator: Params, images_bhwc: jax.Array, mask_hw: jax.Array):
        """The generator's output where one mask removes pixels, (B, H, W, C)."""
        removed = masks.apply_mask(
            images_bhwc, mask_hw[None, :, :, None], self.mask_value
        )
        return self.inpainting.generator.apply({"params": generator}, removed)

    def candidates(
        self,
        params: Params,
        images_bhwc: jax.Array,
        measure: distances.Distance | None = None,
        shared_by: str | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Each scale's error map (B, K, H, W) and inpainted image (B, K, H, W, C).

        Under a mask the error is the distance between the image and the image with
        its removed pixels inpainted, taken at those pixels (Eq. 6 where the measure
        is the squared error). Some images under some vmapped masks are inpainted at a
        time, see `chunk_sizes`, which bounds the memory.

        Args:
          params: from `inference_params`.
          images_bhwc: in [0, 1].
          measure: in place of that of the settings.
          shared_by: name of the mesh's axis whose devices share the masks.
        """
        measure = measure or self.measure
        masks_mhw = self._masks_of_this_device(shared_by)
        together, vmapped = self.chunk_sizes(len(masks_mhw), images_bhwc.shape)

        def of_images(images_bhwc):
            def under_mask(mask_hw):
                mask_hw = mask_hw.astype(images_bhwc.dtype)
                inpainted = self.inpaint(params["generator"], images_bhwc, mask_hw)
                mask = mask_hw[None, :, :, None]
                filled = images_bhwc * (1 - mask) + inpainted * mask
                error = measure.distance(params["measure"], filled, images_bhwc)
                return error * mask_hw[None], inpainted

            error_mbhw, inpainted_mbhwc = jax.lax.map(
                under_mask, masks_mhw, batch_size=vmapped
            )
            return (
                merging.scale_maps(error_mbhw, self.maps),
                merging.scale_inpainted(inpainted_mbhwc, masks_mhw, self.maps),
            )

        groups = images_bhwc.reshape(-1, together, *images_bhwc.shape[1:])
        found = jax.lax.map(of_images, groups)
        maps, pictures = (array.reshape(-1, *array.shape[2:]) for array in found)
        if shared_by:
            maps = jax.lax.pmax(maps, shared_by)
            pictures = jax.lax.psum(pictures, shared_by)
        return maps, pictures

    def _masks_of_this_device(self, shared_by: str | None) -> jax.Array:
        """All masks, or as many of each scale as fall to a device; bytes."""
        # The compiler keeps some copies of what is constant in a program.
        masks_mhw = jnp.asarray(self.masks_mhw, jnp.uint8)
        if shared_by is None:
            return masks_mhw
        masks_kmhw = masks_mhw.reshape(self.maps, self.shares, *masks_mhw.shape[1:])
        count = self.shares // jax.lax.axis_size(shared_by)
        first = jax.lax.axis_index(shared_by) * count
        mine = jax.lax.dynamic_slice_in_dim(masks_kmhw, first, count, axis=1)
        return mine.reshape(-1, *masks_mhw.shape[1:])

    def chunk_sizes(self, masks: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Images, and masks of each, in one call of the generator.

        As many as keep a device busy, and the same numbers in each of the calls.

        Args:
          masks: how many there are.
          shape: of the images, (B, H, W, C).
        """
        count, height, width, _ = shape
        most = _BUSY_PIXELS // (height * width)
        of_each = self.masks_per_call or tiles.largest_divisor(masks, most)
        return tiles.largest_divisor(count, most // of_each), of_each

    def selection_error(self, generator: Params, images_bhwc: jax.Array) -> jax.Array:
        """Mean absolute error of each image's worst scale, (B,).

        By it the authors' code chooses which weights to keep.
        """
        params = {"generator": generator, "measure": {}}
        absolute = distances.Distance("absolute")
        maps, _ = self.candidates(params, images_bhwc, absolute)
        return jnp.max(jnp.mean(maps, axis=(2, 3)), axis=1)

    def score(
        self,
        params: Params,
        mu_k: jax.Array,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> merging.Scored:
        """Anomaly maps and scores of images in [0, 1]; see `candidates`."""
        maps, inpainted = self.candidates(params, images_bhwc, shared_by=shared_by)
        return merging.merge(
            self.merge, self.image_score, mu_k, maps, {"inpainted": inpainted}
        )
