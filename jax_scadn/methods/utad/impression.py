"""Stage 1 of UTAD: IE-Net learns impressions, free of what normal images lack.

Its encoder keeps what tells images apart (mutual information, Eq. 1-4) and its decoder
makes an image of that (Eq. 5). Read from top to bottom: state, networks, step.
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

from jax_scadn.losses import adversarial, mutual_information, reconstruction
from jax_scadn.networks import ie_net, image_discriminator, latent_discriminator
from jax_scadn.training import optimizers, protocol, random_bits

Params = Any

_LATENT_DISCRIMINATOR_WIDTH = 128  # at most, and no more than the code is long
_PAIRS = {
    "local": mutual_information.local_pairs,
    "global": mutual_information.global_pairs,
}


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      ie_net: parameters.
      batch_stats: running means and variances of its batch norms.
      discriminators: parameters of those in use: 'local', 'global', 'image'.
      ie_net_optimizer: momentum.
      discriminators_optimizer: momentum.
    """

    step: jax.Array
    ie_net: Params
    batch_stats: Params
    discriminators: dict[str, Params]
    ie_net_optimizer: optax.OptState
    discriminators_optimizer: optax.OptState


@flax.struct.dataclass
class Hyperparameters:
    """What varies between the runs of an ablation, as arrays and not control flow."""

    reconstruction_weight: jax.Array
    local_weight: jax.Array
    global_weight: jax.Array
    kl_weight: jax.Array
    image_gan_weight: jax.Array
    learning_rate: jax.Array
    discriminator_learning_rate: jax.Array


@dataclasses.dataclass(frozen=True)
class Gradients:
    """One step's gradients, losses, and the batch norms' statistics after it."""

    ie_net: Params
    discriminators: dict[str, Params]
    batch_stats: Params
    metrics: dict[str, jax.Array]


def total_loss(
    hyper: Hyperparameters, encoder: jax.Array, decoder: jax.Array, gan: jax.Array
) -> jax.Array:
    """IE-Net's loss, Eq. 6, and the image discriminator's part of the public settings.

    Args:
      hyper: the weights.
      encoder: `mutual_information.encoder_loss`, which has its weights in it.
      decoder: mean of (M - x)^2 over pixels and channels, Eq. 5.
      gan: `losses.multiscale_lsgan_generator`.
    """
    weighted = hyper.reconstruction_weight * decoder
    return encoder + weighted + hyper.image_gan_weight * gan


@dataclasses.dataclass(frozen=True)
class ImpressionStage:
    """The training of IE-Net; hashable, so that `jit` takes it as static."""

    size: int
    channels: int
    features: tuple[int, ...]
    pools: tuple[int, ...]
    decoder_features: tuple[int, ...]
    upsamplings: tuple[int, ...]
    head_features: int
    latent: int
    mutual_information: bool
    image_gan: bool
    image_discriminator_width: int
    image_discriminator_scales: int
    momentum: float
    weight_decay: float
    dtype: str

    name = "impression"
    budget = "impression.training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> ImpressionStage:
        """From resolved settings."""
        impression = config.impression
        return cls(
            size=config.data.size,
            channels=config.data.channels,
            features=tuple(impression.features),
            pools=tuple(impression.pools),
            decoder_features=tuple(impression.decoder_features),
            upsamplings=tuple(impression.upsamplings),
            head_features=impression.head_features,
            latent=impression.latent,
            mutual_information=max(impression.local_weight, impression.global_weight)
            > 0,
            image_gan=impression.image_gan_weight > 0,
            image_discriminator_width=impression.image_discriminator_width,
            image_discriminator_scales=impression.image_discriminator_scales,
            momentum=impression.momentum,
            weight_decay=impression.weight_decay,
            dtype=config.dtype,
        )

    @functools.cached_property
    def ie_net(self) -> ie_net.IENet:
        return ie_net.IENet(
            self.channels,
            self.features,
            self.pools,
            self.decoder_features,
            self.upsamplings,
            self.head_features,
            self.latent,
            jnp.dtype(self.dtype),
        )

    @functools.cached_property
    def latent_discriminator(self) -> latent_discriminator.LatentDiscriminator:
        """T, of the local pairs and, with other weights, of the global ones."""
        return latent_discriminator.LatentDiscriminator(
            min(_LATENT_DISCRIMINATOR_WIDTH, self.latent), jnp.dtype(self.dtype)
        )

    @functools.cached_property
    def image_discriminator(self) -> image_discriminator.MultiScaleDiscriminator:
        return image_discriminator.MultiScaleDiscriminator(
            self.image_discriminator_width,
            self.image_discriminator_scales,
            jnp.dtype(self.dtype),
        )

    @property
    def sgd(self) -> optax.GradientTransformation:
        return optimizers.sgd(self.momentum, self.weight_decay)

    # What the loop asks for, see `protocol.GradientStage`.

    def result(self, state: State) -> Params:
        """IE-Net's variables: 'params' and 'batch_stats'."""
        return {"params": state.ie_net, "batch_stats": state.batch_stats}

    def preview(
        self,
        result: Params,
        hyper: Hyperparameters,
        context: protocol.Context,
        batch: protocol.Batch,
    ) -> jax.Array:
        """Images and their impressions."""
        impressions = self.extract(result, batch["image"]).image_bhwc
        return jnp.concatenate([batch["image"], impressions], axis=2)

    def extract(self, params: Params, images_bhwc: jax.Array) -> ie_net.Impression:
        """Impressions, features and codes, with the running statistics."""
        return self.ie_net.apply(params, images_bhwc, train=False)

    # State.

    def init(
        self, key: jax.Array, context: protocol.Context, examples: protocol.Batch
    ) -> State:
        """Fresh weights and momentum.

        They are drawn by XLA's own generator: with JAX's default one a CPU core takes
        a second to compile each parameter's draw, and there are dozens.
        """
        images = jnp.zeros((1, self.size, self.size, self.channels))
        keys = jax.random.split(random_bits.rbg(key), 4)
        outputs, variables = self.ie_net.init_with_output(keys[0], images, train=False)
        discriminators = {}
        if self.mutual_information:
            for key, (name, pairs) in zip(keys[1:], _PAIRS.items(), strict=False):
                seen = pairs(outputs.features_bhwc, outputs.mean_bl)
                discriminators[name] = self.latent_discriminator.init(key, seen)
        if self.image_gan:
            discriminators["image"] = self.image_discriminator.init(keys[3], images)
        discriminators = {name: v["params"] for name, v in discriminators.items()}
        return State(
            step=jnp.zeros((), jnp.int32),
            ie_net=variables["params"],
            batch_stats=variables["batch_stats"],
            discriminators=discriminators,
            ie_net_optimizer=self.sgd.init(variables["params"]),
            discriminators_optimizer=self.sgd.init(discriminators),
        )

    def hyperparameters(
        self, config: ml_collections.ConfigDict, total_steps: int = 0
    ) -> Hyperparameters:
        """The step's arrays, from the settings that the stage itself came from."""
        return Hyperparameters(
            **{
                field.name: jnp.asarray(config.impression[field.name], jnp.float32)
                for field in dataclasses.fields(Hyperparameters)
            }
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
        """One simultaneous update of IE-Net and of the discriminators."""
        grads = self.gradients(state, hyper, batch["image"], key)
        params, optimizer = optimizers.descend(
            self.sgd,
            hyper.learning_rate,
            grads.ie_net,
            state.ie_net_optimizer,
            state.ie_net,
        )
        discriminators, discriminators_optimizer = optimizers.descend(
            self.sgd,
            hyper.discriminator_learning_rate,
            grads.discriminators,
            state.discriminators_optimizer,
            state.discriminators,
        )
        state = state.replace(
            step=state.step + 1,
            ie_net=params,
            batch_stats=grads.batch_stats,
            discriminators=discriminators,
            ie_net_optimizer=optimizer,
            discriminators_optimizer=discriminators_optimizer,
        )
        return state, grads.metrics

    def gradients(
        self,
        state: State,
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        key: jax.Array,
    ) -> Gradients:
        """Gradients of all losses at the weights from before the step.

        IE-Net runs once: both losses take its outputs, and the gradient of its own
        loss with respect to them is pulled back.
        """

        def extract(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, updated = self.ie_net.apply(
                variables, images_bhwc, train=True, mutable=["batch_stats"]
            )
            return outputs, updated["batch_stats"]

        outputs, pull_back, batch_stats = jax.vjp(extract, state.ie_net, has_aux=True)

        def discriminators_loss(discriminators):
            terms = self.information_losses(discriminators, outputs, key)
            if self.image_gan:
                terms["image"] = adversarial.multiscale_lsgan_discriminator(
                    self._image_scores(discriminators, images_bhwc),
                    self._image_scores(discriminators, outputs.image_bhwc),
                )
            return sum(terms.values(), start=jnp.zeros(())), terms

        def ie_net_loss(outputs):
            kl = mutual_information.kl_to_standard_normal(
                outputs.mean_bl, outputs.log_var_bl
            )
            error = reconstruction.squared_error(outputs.image_bhwc, images_bhwc)
            # Per element of the code, as the error is per pixel: the sum over all 128,
            # with the public weight of 0.1, silences the code within a hundred steps.
            terms = {
                "reconstruction": jnp.mean(error),
                "kl": jnp.mean(kl) / self.latent,
            }
            terms |= self.information_losses(state.discriminators, outputs, key)
            if self.image_gan:
                terms["image_gan"] = adversarial.multiscale_lsgan_generator(
                    self._image_scores(state.discriminators, outputs.image_bhwc)
                )
            encoder = mutual_information.encoder_loss(
                terms.get("local", 0.0),
                terms.get("global", 0.0),
                terms["kl"],
                local_weight=hyper.local_weight,
                global_weight=hyper.global_weight,
                kl_weight=hyper.kl_weight,
            )
            gan = terms.get("image_gan", 0.0)
            loss = total_loss(hyper, encoder, terms["reconstruction"], gan)
            return loss, terms

        grads_d, terms_d = jax.grad(discriminators_loss, has_aux=True)(
            state.discriminators
        )
        (loss, terms), grads_outputs = jax.value_and_grad(ie_net_loss, has_aux=True)(
            outputs
        )
        (grads,) = pull_back(grads_outputs)
        metrics = {"ie_net_loss": loss}
        metrics |= {f"{name}_loss": value for name, value in terms.items()}
        if self.image_gan:
            metrics["image_discriminator_loss"] = terms_d["image"]
        metrics["ie_net_gradient_norm"] = optax.tree.norm(grads)
        return Gradients(grads, grads_d, batch_stats, metrics)

    def information_losses(
        self, discriminators: dict[str, Params], outputs: ie_net.Impression, key
    ) -> dict[str, jax.Array]:
        """L_T of the local and of the global pairs, Eq. 4; empty without them."""
        if not self.mutual_information:
            return {}
        z = mutual_information.sample(key, outputs.mean_bl, outputs.log_var_bl)
        features = outputs.features_bhwc
        another = mutual_information.negative_features(features)

        def loss(name, pairs):
            variables = {"params": discriminators[name]}
            logits = functools.partial(self.latent_discriminator.apply, variables)
            return mutual_information.discriminator_loss(
                logits(pairs(features, z)), logits(pairs(another, z))
            )

        return {name: loss(name, pairs) for name, pairs in _PAIRS.items()}

    def _image_scores(self, discriminators, images_bhwc) -> tuple[jax.Array, ...]:
        variables = {"params": discriminators["image"]}
        return self.image_discriminator.apply(variables, images_bhwc)
