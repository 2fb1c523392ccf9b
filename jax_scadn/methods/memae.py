"""MemAE: an autoencoder that decodes from a memory of normal codes.

Gong et al., Memorizing Normality to Detect Anomaly: Memory-Augmented Deep Autoencoder
for Unsupervised Anomaly Detection, ICCV 2019; as the baseline of SCADN, whose generator
without residual blocks (DAE) has the memory between encoder and decoder.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import attention, distances, reconstruction
from jax_scadn.methods import autoencoder, base
from jax_scadn.networks import generator, memory
from jax_scadn.runtime import errors
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import state as state_lib

PRESETS = {
    "paper": {"memory.similarity": "cosine", "memory.shrinkage": 1.0},
    "code": {"memory.similarity": "product", "memory.shrinkage": 5.0},
}
FIELDS = {
    "preset": Field(
        "paper",
        "the memory of the paper, or of its authors' code",
        choices=tuple(PRESETS),
    ),
    "data.size": Field(512, "pixels, both sides; a multiple of 8", least=16),
    **shared.budget(),
    "model.width": Field(
        64, "channels of the first layer", least=1, words="network width"
    ),
    "memory.size": Field(2000, "N, codes in the memory", least=2),
    "memory.similarity": Field(
        None, "of codes and items", choices=memory.SIMILARITIES, type=str
    ),
    "memory.shrinkage": Field(
        None, "weights below this / N become 0; the paper: 1 to 3", least=0, type=float
    ),
    "loss.entropy_weight": Field(2e-4, "of the entropy of the weights", least=0),
    **shared.adam(1e-4, b1=0.0, b2=0.9),
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where numbers do not go together."""
    size, addressed = config.data.size, config.memory
    if size % 8:
        raise errors.UserError(f"--config.data.size={size}: must be a multiple of 8")
    if addressed.shrinkage >= addressed.size:
        raise errors.UserError(
            f"--config.memory.shrinkage={addressed.shrinkage}: must be below "
            f"memory.size={addressed.size}, or every weight becomes 0"
        )


@dataclasses.dataclass(frozen=True)
class MemoryStage:
    """The training; hashable, so that `jit` takes it as static."""

    network: generator.MemoryGenerator
    size: int
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "memory_autoencoder"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> MemoryStage:
        """From resolved settings."""
        adam, addressed = config.optimizer, config.memory
        network = generator.MemoryGenerator(
            config.data.channels,
            config.model.width,
            dtype=jnp.dtype(config.dtype),
            items=addressed.size,
            similarity=addressed.similarity,
            shrinkage=addressed.shrinkage,
        )
        return cls(network, config.data.size, (adam.b1, adam.b2, adam.eps))

    def init(self, key, context, examples) -> state_lib.State:
        images = jnp.zeros((1, self.size, self.size, self.network.channels))
        params = self.network.init(key, images)["params"]
        return state_lib.create(optax.scale_by_adam(*self.adam), params)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        return {
            "learning_rate": jnp.float32(config.optimizer.learning_rate),
            "entropy_weight": jnp.float32(config.loss.entropy_weight),
        }

    def step(self, state: state_lib.State, hyper, context, key, batch):
        """One update by the mean of (x - f(x))^2 + alpha E, E the weights' entropy.

        `items_used` is the mean number of items whose weight is not 0. Where it is 0,
        no gradient reaches the memory: lower `memory.shrinkage`.
        """

        def loss(params):
            output, weights = self.network.apply({"params": params}, batch["image"])
            error = reconstruction.mean_squared_error(output, batch["image"])
            entropy = attention.entropy(weights)
            metrics = {
                "reconstruction_loss": error,
                "entropy_loss": entropy,
                "items_used": jnp.mean(jnp.sum(weights > 0, axis=-1)),
            }
            return error + hyper["entropy_weight"] * entropy, (metrics, {})

        adam = optax.scale_by_adam(*self.adam)
        return state_lib.update_with(state, adam, hyper["learning_rate"], loss)

    def result(self, state: state_lib.State) -> base.Variables:
        return state.params

    def reconstruct(self, params, images_bhwc: jax.Array) -> jax.Array:
        """Images decoded from the memory."""
        return self.network.apply({"params": params}, images_bhwc)[0]

    preview = autoencoder.AutoencoderStage.preview


@dataclasses.dataclass(frozen=True)
class Method(autoencoder.Method):
    """The distance between an image and its reconstruction."""

    autoencoder: MemoryStage
    title = "MemAE"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        stage = MemoryStage.from_config(config)
        distance = distances.Distance.from_config(config)
        return cls(stage, distance, config.scoring.image_score)
