"""Autoencoders: AE-L2, AE-SSIM, and SCADN's DAE; the map is the reconstruction error.

AE-L2 and AE-SSIM: Bergmann et al., VISAPP 2019. DAE: SCADN's generator without residual
blocks on unmasked images, the baseline of its Table 2.
"""

from __future__ import annotations

import dataclasses

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import distances
from jax_scadn.methods import base
from jax_scadn.networks import autoencoder, generator
from jax_scadn.runtime import errors
from jax_scadn.settings.fields import Field
from jax_scadn.training import optimizers

FIELDS = {
    "preset": Field("ae_l2", "which one", choices=("ae_l2", "ae_ssim", "dae")),
    "data.size": Field(128, "pixels, both sides; 8 * 2^n", least=24),
    "training.batch_size": Field(None, "images, over all devices", least=1, type=int),
    "model.network": Field(
        None,
        "'code': of one pixel; 'scadn': SCADN's generator",
        choices=("code", "scadn"),
        type=str,
    ),
    "model.width": Field(None, "channels of the first layer", least=1, type=int),
    "model.latent": Field(100, "length of the code", least=1),
    "loss.kind": Field(
        None, "what training minimises", choices=("l2", "ssim"), type=str
    ),
    "optimizer.learning_rate": Field(None, "of Adam", above=0, type=float),
    "optimizer.decay": Field(None, "rate / (1 + decay * step)", least=0, type=float),
    "optimizer.b1": Field(None, "of Adam", least=0, below=1, type=float),
    "optimizer.b2": Field(None, "of Adam", least=0, below=1, type=float),
    "optimizer.eps": Field(1e-8, "of Adam", above=0),
}
_AE = {
    "training.batch_size": 128,
    "model.network": "code",
    "model.width": 32,
    "optimizer.learning_rate": 2e-4,
    "optimizer.decay": 1e-5,
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.999,
}
PRESETS = {
    "ae_l2": {**_AE, "loss.kind": "l2"},
    "ae_ssim": {**_AE, "loss.kind": "ssim"},
    "dae": {
        "training.batch_size": 4,
        "model.network": "scadn",
        "model.width": 64,
        "loss.kind": "l2",
        "optimizer.learning_rate": 1e-4,
        "optimizer.decay": 0.0,
        "optimizer.b1": 0.0,
        "optimizer.b2": 0.9,
    },
}
_BORDER = 5  # pixels where SSIM's window of 11 would leave the image


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where the size does not fit the network."""
    size, halvings = config.data.size, config.data.size // autoencoder.SMALLEST
    fits = size % 8 == 0
    if config.model.network == "code":
        fits = fits and halvings >= 4 and halvings & (halvings - 1) == 0
    if not fits:
        raise errors.UserError(
            f"--config.data.size={size}: must be 32, 64, 128 and so on; for "
            "model.network=scadn a multiple of 8"
        )


@flax.struct.dataclass
class State:
    """Parameters, Adam's moments, and the number of finished updates."""

    step: jax.Array
    params: base.Variables
    optimizer: optax.OptState


@dataclasses.dataclass(frozen=True)
class AutoencoderStage:
    """The training; hashable, so that `jit` takes it as static."""

    network: autoencoder.Autoencoder | generator.Generator
    shape: tuple[int, int, int]
    loss: str
    b1: float
    b2: float
    eps: float

    name = "autoencoder"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> AutoencoderStage:
        """From resolved settings."""
        model, size, channels = config.model, config.data.size, config.data.channels
        dtype = jnp.dtype(config.dtype)
        network = generator.Generator(channels, model.width, (), dtype)
        if model.network == "code":
            network = autoencoder.Autoencoder(
                channels, size, model.width, model.latent, dtype
            )
        adam = (config.optimizer[name] for name in ("b1", "b2", "eps"))
        return cls(network, (size, size, channels), config.loss.kind, *adam)

    @property
    def adam(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(self.b1, self.b2, self.eps)

    def budget(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        return config.training

    def init(self, key, context, examples) -> State:
        params = self.network.init(key, jnp.zeros((1, *self.shape)))["params"]
        return State(jnp.zeros((), jnp.int32), params, self.adam.init(params))

    def hyperparameters(self, config, total_steps: int = 0) -> dict[str, jax.Array]:
        names = ("learning_rate", "decay")
        return {name: jnp.float32(config.optimizer[name]) for name in names}

    def result(self, state: State) -> base.Variables:
        return state.params

    def reconstruct(self, params, images_bhwc: jax.Array) -> jax.Array:
        """The network's output."""
        return self.network.apply({"params": params}, images_bhwc)

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images and their reconstructions."""
        made = self.reconstruct(result, batch["image"])
        return jnp.concatenate([batch["image"], made], axis=2)

    def step(self, state: State, hyper, context, key, batch):
        """One update by the mean of (x - f(x))^2, or of 1 - SSIM(x, f(x))."""

        def loss(params):
            output = self.reconstruct(params, batch["image"])
            if self.loss == "l2":
                return jnp.mean(jnp.square(output - batch["image"]))
            error = 2 * distances.structural_dissimilarity(output, batch["image"])
            return jnp.mean(error[:, _BORDER:-_BORDER, _BORDER:-_BORDER])

        value, grads = jax.value_and_grad(loss)(state.params)
        rate = hyper["learning_rate"] / (1 + hyper["decay"] * state.step)
        params, moments = optimizers.descend(
            self.adam, rate, grads, state.optimizer, state.params
        )
        metrics = {
            "reconstruction_loss": value,
            "gradient_norm": optax.tree.norm(grads),
        }
        return State(state.step + 1, params, moments), metrics


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The distance between an image and its reconstruction."""

    autoencoder: AutoencoderStage
    distance: distances.Distance
    image_score: str

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        stage = AutoencoderStage.from_config(config)
        distance = distances.Distance.from_config(config)
        return cls(stage, distance, config.scoring.image_score)

    @property
    def title(self) -> str:
        if isinstance(self.autoencoder.network, generator.Generator):
            return "DAE"
        return "AE-SSIM" if self.autoencoder.loss == "ssim" else "AE-L2"

    @property
    def stages(self) -> tuple[AutoencoderStage]:
        return (self.autoencoder,)

    @property
    def frozen(self):
        return self.distance.frozen

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """The distance at each pixel."""
        params = variables[self.autoencoder.name]
        made = self.autoencoder.reconstruct(params, images_bhwc)
        maps = self.distance.between(variables[base.FROZEN])(images_bhwc, made)
        return base.Maps(maps[:, None], pictures={"reconstruction": made[:, None]})
