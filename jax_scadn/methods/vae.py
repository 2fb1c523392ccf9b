"""VAE, and gamma-VAE with gradient projection of test images.

VAE: Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014; the map is the
distance between an image and the reconstruction from the mean code. gamma-VAE: Dehaene
et al., Iterative energy-based projection on a normal data manifold for anomaly
localization, ICLR 2020, as in its public code, whose network is in truth a plain
autoencoder: there is no KL divergence. The map is the distance between an image and its
projection, see `scoring.projection`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import distances, mutual_information, reconstruction
from jax_scadn.methods import autoencoder, base
from jax_scadn.networks import vae
from jax_scadn.scoring import projection
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import random_bits
from jax_scadn.training import state as state_lib

PRESETS = {
    "vae": {"model.variational": True, "projection.steps": 0},
    "gamma_vae": {"model.variational": False, "projection.steps": 100},
}
FIELDS = {
    "preset": Field("vae", "which one", choices=tuple(PRESETS)),
    "data.size": Field(256, "pixels, both sides", choices=(16, 32, 64, 128, 256, 512)),
    **shared.budget(batch_size=64, epochs=250),
    "model.width": Field(
        16, "channels of the first layer", least=1, words="network width"
    ),
    "model.hidden": Field(2048, "units between features and code", least=1),
    "model.latent": Field(16, "length of the code", least=1),
    "model.variational": Field(
        None, "whether the code is a normal distribution", type=bool
    ),
    "loss.kl_weight": Field(
        1.0, "of the KL divergence, beside the squared error summed in [-1, 1]", least=0
    ),
    **shared.adam(5e-4, b1=0.5, b2=0.999),
    "projection.steps": Field(
        None, "of an image; 0 = none", type=int, least=0, seen_by="scoring"
    ),
    "projection.rate": Field(0.1, "of a step", above=0, seen_by="scoring"),
    "projection.weight": Field(
        0.05, "of the distance to the image", least=0, seen_by="scoring"
    ),
    "projection.through_network": Field(
        False,
        "gradient through the network, as in the paper and not in the public code",
        seen_by="scoring",
    ),
}
_SPAN = 2  # of [-1, 1], in which losses and projections are, against [0, 1]


@dataclasses.dataclass(frozen=True)
class VAEStage:
    """The training; hashable, so that `jit` takes it as static."""

    network: vae.Autoencoder
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "vae"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> VAEStage:
        """From resolved settings."""
        model, adam = config.model, config.optimizer
        network = vae.Autoencoder(
            config.data.size,
            config.data.channels,
            model.width,
            model.hidden,
            model.latent,
            model.variational,
            jnp.dtype(config.dtype),
        )
        return cls(network, (adam.b1, adam.b2, adam.eps))

    def init(self, key, context, examples) -> state_lib.NormedState:
        size, channels = self.network.size, self.network.channels
        images = jnp.zeros((1, size, size, channels))
        variables = self.network.init(random_bits.rbg(key), images, train=False)
        return state_lib.create_normed(optax.scale_by_adam(*self.adam), variables)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        return {
            "learning_rate": jnp.float32(config.optimizer.learning_rate),
            "kl_weight": jnp.float32(config.loss.kl_weight),
        }

    def step(self, state: state_lib.NormedState, hyper, context, key, batch):
        """One update by (|x - f(x)|^2 + beta KL(q(z|x), N(0, 1))) / values of an image.

        The sum is over the pixels and channels of an image in [-1, 1], the mean over
        images. Without a distribution of the code there is no KL.
        """
        images = batch["image"]

        def loss(params):
            output, updated = self.network.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                key=key,
                mutable=["batch_stats"],
            )
            error = reconstruction.mean_squared_error(output.image_bhwc, images)
            metrics = {"reconstruction_loss": error}
            value = _SPAN**2 * error
            if output.log_var_bl is not None:
                metrics["kl_loss"] = jnp.mean(
                    mutual_information.kl_to_standard_normal(
                        output.mean_bl, output.log_var_bl
                    )
                )
                value += hyper["kl_weight"] * metrics["kl_loss"] / images[0].size
            return value, (metrics, updated)

        adam = optax.scale_by_adam(*self.adam)
        return state_lib.update_with(state, adam, hyper["learning_rate"], loss)

    def result(self, state: state_lib.NormedState) -> base.Variables:
        return {"params": state.params, "batch_stats": state.batch_stats}

    def reconstruct(self, result, images_bhwc: jax.Array) -> jax.Array:
        """Images decoded from the mean code, with the running statistics."""
        return self.network.apply(result, images_bhwc, train=False).image_bhwc

    preview = autoencoder.AutoencoderStage.preview


@dataclasses.dataclass(frozen=True)
class Method(autoencoder.Method):
    """The distance between an image and its reconstruction, or its projection."""

    autoencoder: VAEStage
    steps: int
    rate: float
    weight: float
    through_network: bool

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        stage = VAEStage.from_config(config)
        distance = distances.Distance.from_config(config)
        score = config.scoring.image_score
        return cls(stage, distance, score, **config.projection)

    @property
    def title(self) -> str:
        return "gamma-VAE" if self.steps else "VAE"

    @property
    def picture(self) -> str:
        return "projection" if self.steps else "reconstruction"

    def reconstruct(self, variables, images_bhwc: jax.Array) -> jax.Array:
        """Reconstructions, or projections where `projection.steps` is not 0."""
        of_network = super().reconstruct
        if not self.steps:
            return of_network(variables, images_bhwc)

        def symmetric(x):
            """The reconstruction, both in [-1, 1]."""
            return 2 * of_network(variables, (x + 1) / 2) - 1

        options = self.steps, self.rate, self.weight, self.through_network
        projected = projection.project(symmetric, 2 * images_bhwc - 1, *options)
        return (projected + 1) / 2
