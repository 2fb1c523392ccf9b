"""Autoencoders: AE-L2, AE-SSIM, and SCADN's DAE; the map is the reconstruction error.

AE-L2 and AE-SSIM: Bergmann et al., VISAPP 2019. DAE: SCADN's generator without residual
blocks on unmasked images, the baseline of its Table 2.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jax_scadn.losses import distances, reconstruction
from jax_scadn.methods import base
from jax_scadn.networks import autoencoder, generator
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import state as state_lib

LOSSES = tuple(reconstruction.LOSSES)

FIELDS = {
    "preset": Field("ae_l2", "which one", choices=("ae_l2", "ae_ssim", "dae")),
    "data.size": Field(128, "pixels, both sides", choices=(32, 64, 128, 256, 512)),
    **shared.budget(batch_size=None),
    "model.network": Field(
        None, "with a code, or SCADN's", choices=("code", "scadn"), type=str
    ),
    "model.width": Field(
        None, "channels of the first layer", least=1, type=int, words="network width"
    ),
    "model.latent": Field(100, "length of the code", least=1),
    "loss.kind": Field(None, "of training", choices=LOSSES, type=str),
    **shared.adam(None, b1=None, b2=None),
    "optimizer.decay": Field(None, "rate / (1 + decay * step)", least=0, type=float),
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
_SMALL = {
    "training.batch_size": 16,
    "training.steps": 1000,
    "optimizer.learning_rate": 1e-3,
}
_SMALL_ONE_CLASS = {"training.batch_size": 32, "training.steps": 500}
COLUMNS = {
    "AE-L2": {
        "always": {"preset": "ae_l2"},
        "paper": {"data.size": 128},
        "paper/one_class": {"data.size": 32},
        "small": _SMALL,
        "small/one_class": _SMALL_ONE_CLASS,
    },
    "AE-SSIM": {
        "always": {"preset": "ae_ssim", "scoring.distance": "ssim"},
        "paper": {"data.size": 128},
        "paper/one_class": {"data.size": 32},
        "small": _SMALL,
        "small/one_class": _SMALL_ONE_CLASS,
    },
    "DAE": {
        "always": {"preset": "dae"},
        "paper": {"data.size": 512},
        "paper/one_class": {"data.size": 32, "training.batch_size": 512},
        "small": {**_SMALL, "model.width": 16},
        "small/one_class": _SMALL_ONE_CLASS,
    },
}


@dataclasses.dataclass(frozen=True)
class AutoencoderStage:
    """The training; hashable, so that `jit` takes it as static."""

    network: autoencoder.Autoencoder | generator.Generator
    shape: tuple[int, int, int]
    loss: str
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "autoencoder"
    budget = "training"

    @classmethod
    def from_config(cls, config) -> AutoencoderStage:
        """From resolved settings."""
        data, model, adam = config.data, config.model, config.optimizer
        shape = (data.size, data.size, data.channels)
        net = generator.Generator(data.channels, model.width, ())
        if model.network == "code":
            net = autoencoder.Autoencoder(*shape[1:], model.width, model.latent)
        net = net.clone(dtype=jnp.dtype(config.dtype))
        return cls(net, shape, config.loss.kind, (adam.b1, adam.b2, adam.eps))

    def init(self, key, context, examples) -> state_lib.State:
        params = self.network.init(key, jnp.zeros((1, *self.shape)))["params"]
        return state_lib.create(optax.scale_by_adam(*self.adam), params)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        names = ("learning_rate", "decay")
        return {name: jnp.float32(config.optimizer[name]) for name in names}

    def step(self, state: state_lib.State, hyper, context, key, batch):
        """One update by the mean of (x - f(x))^2, or of 1 - SSIM(x, f(x))."""

        def loss(params):
            output = self.reconstruct(params, batch["image"])
            return reconstruction.LOSSES[self.loss](output, batch["image"])

        rate = hyper["learning_rate"] / (1 + hyper["decay"] * state.step)
        return state_lib.update(state, optax.scale_by_adam(*self.adam), rate, loss)

    def result(self, state: state_lib.State) -> base.Variables:
        return state.params

    def reconstruct(self, params, images_bhwc: jax.Array) -> jax.Array:
        """The network's output."""
        return self.network.apply({"params": params}, images_bhwc)

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images and their reconstructions."""
        output = self.reconstruct(result, batch["image"])
        return jnp.concatenate([batch["image"], output], axis=2)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The distance between an image and its reconstruction."""

    autoencoder: AutoencoderStage
    distance: distances.Distance
    image_score: str

    picture = "reconstruction"  # what images are compared with

    @classmethod
    def from_config(cls, config) -> Method:
        """From resolved settings."""
        stage = AutoencoderStage.from_config(config)
        distance = distances.Distance.from_config(config)
        return cls(stage, distance, config.scoring.image_score)

    @property
    def title(self) -> str:
        scadn = isinstance(self.autoencoder.network, generator.Generator)
        return "DAE" if scadn else f"AE-{self.autoencoder.loss.upper()}"

    @property
    def stages(self) -> tuple[AutoencoderStage]:
        return (self.autoencoder,)

    @property
    def frozen(self):
        return self.distance.frozen

    def reconstruct(self, variables, images_bhwc: jax.Array) -> jax.Array:
        """What images are compared with."""
        stage = self.autoencoder
        return stage.reconstruct(variables[stage.name], images_bhwc)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """The distance at each pixel."""
        output = self.reconstruct(variables, images_bhwc)
        maps = self.distance.between(variables[base.FROZEN])(images_bhwc, output)
        picture = jnp.clip(output, 0, 1)
        return base.Maps(maps[:, None], pictures={self.picture: picture[:, None]})
