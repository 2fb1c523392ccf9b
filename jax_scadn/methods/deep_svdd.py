"""Deep SVDD: codes of normal images are trained to be near a fixed centre.

Ruff et al., Deep One-Class Classification, ICML 2018 (its one-class objective). Four
stages: the range of normalised images, a pretrained autoencoder, the centre, and the
encoder. The score is the squared distance of an image's code to the centre.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jax_scadn.methods import base
from jax_scadn.networks import svdd
from jax_scadn.runtime import errors
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import learners, optimizers, protocol, random_bits

_NETWORK = "network"  # the only learner of a stage
_LEAST = 0.1  # distance of the centre's coordinates from 0

FIELDS = {
    "preset": Field("mnist", "whose", choices=("mnist", "cifar10")),
    "data.size": Field(28, "pixels, both sides; a multiple of 4 or 8", least=8),
    "model.network": Field(None, "layout", choices=tuple(svdd.LAYOUTS), type=str),
    **shared.budget("pretraining", batch_size=200, epochs=None),
    **shared.budget(batch_size=200, epochs=150),
    "pretraining.learning_rate": Field(1e-4, "of the autoencoder, Adam", above=0),
    "pretraining.weight_decay": Field(
        None, "added to the autoencoder's gradient", type=float, least=0
    ),
    "pretraining.milestone": Field(
        None, "step from which its rate is a tenth", type=int, least=0
    ),
    **shared.adam(1e-4, b1=0.9, b2=0.999),
    "optimizer.weight_decay": Field(5e-7, "added to the gradient", least=0),
    "optimizer.milestone": Field(
        None, "step from which the rate is a tenth", type=int, least=0
    ),
}
# Milestones are the authors' epochs 50 and 250 in steps, of 6,000 and 5,000 images.
PRESETS = {
    "mnist": {
        "model.network": "mnist",
        "pretraining.epochs": 150,
        "pretraining.weight_decay": 5e-4,
        "pretraining.milestone": 1500,
        "optimizer.milestone": 1500,
    },
    "cifar10": {
        "model.network": "cifar10",
        "pretraining.epochs": 350,
        "pretraining.weight_decay": 5e-7,
        "pretraining.milestone": 6250,
        "optimizer.milestone": 1250,
    },
}
COLUMNS = {
    "DSVDD": {
        "always": {"preset": "cifar10"},
        "paper": {"data.size": 32},
        "paper/one_class": {"preset": "mnist", "data.size": 28},
        "paper/cifar10": {"preset": "cifar10", "data.size": 32},
        "small": {"pretraining.steps": 300, "training.steps": 300},
        "small/one_class": {"preset": "mnist", "data.size": 28},
        "small/cifar10": {"preset": "cifar10", "data.size": 32},
    }
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where images do not fit the network."""
    multiple = svdd.multiple(config.model.network)
    if config.data.size % multiple:
        raise errors.UserError(
            f"--config.data.size={config.data.size}: must be a multiple of {multiple} "
            f"with model.network={config.model.network}"
        )


def contrast(images_bhwc: jax.Array) -> jax.Array:
    """Each image minus its mean, divided by its mean absolute value (L1)."""
    axes = {"axis": (1, 2, 3), "keepdims": True}
    centred = images_bhwc - jnp.mean(images_bhwc, **axes)
    return centred / jnp.maximum(jnp.mean(jnp.abs(centred), **axes), 1e-8)


def normalise(limits: dict[str, jax.Array], images_bhwc: jax.Array) -> jax.Array:
    """`contrast`, scaled so that training images are in [0, 1]."""
    x = contrast(images_bhwc) - limits["low"]
    return x / (limits["high"] - limits["low"])


def snapped(centre: np.ndarray) -> np.ndarray:
    """Coordinates nearer to 0 than 0.1 become -0.1 or 0.1.

    Otherwise weights of 0 would reach them.
    """
    near = np.abs(centre) < _LEAST
    return np.where(near, np.where(centre < 0, -_LEAST, _LEAST), centre)


@dataclasses.dataclass(frozen=True)
class ContrastStage:
    """The extremes of all training images after `contrast`."""

    name = "contrast"

    def features(self, context: protocol.Context, batch: protocol.Batch):
        x = contrast(batch["image"])
        return {"low": jnp.min(x, (1, 2, 3)), "high": jnp.max(x, (1, 2, 3))}

    def solve(self, key: jax.Array, features: Iterator) -> dict[str, np.ndarray]:
        """'low' and 'high', scalars."""
        batches = list(features)
        low = min(batch["low"].min() for batch in batches)
        high = max(batch["high"].max() for batch in batches)
        high = max(high, low + 1e-8)
        return {"low": np.array(low, np.float32), "high": np.array(high, np.float32)}


@dataclasses.dataclass(frozen=True)
class TrainedStage:
    """What the two trained stages share; hashable."""

    network: svdd.Autoencoder | svdd.Encoder
    shape: tuple[int, int, int]
    adam: tuple[float, float, float]  # b1, b2, epsilon
    weight_decay: float

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict):
        """From resolved settings."""
        data, adam = config.data, config.optimizer
        decay = config[cls.optimizer_section].weight_decay
        betas = (adam.b1, adam.b2, adam.eps)
        shape = (data.size, data.size, data.channels)
        return cls(cls.network_of(config), shape, betas, decay)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optimizers.adam(*self.adam, self.weight_decay)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        section = config[self.optimizer_section]
        names = ("learning_rate", "milestone")
        return {name: jnp.float32(section[name]) for name in names}

    def update(self, state, hyper, loss) -> tuple[learners.State, dict]:
        """One update by a loss of an output in training, with its metrics."""
        learner = state.learners[_NETWORK]

        def of_params(params):
            return loss(functools.partial(learners.forward, self.network, params))

        (value, stats), grads = jax.value_and_grad(of_params, has_aux=True)(
            learner.params
        )
        reached = state.step >= hyper["milestone"]
        rate = hyper["learning_rate"] * jnp.where(reached, 0.1, 1.0)
        learner = learners.descend(learner, self.optimizer, rate, grads, stats)
        metrics = {f"{self.name}_loss": value, "gradient_norm": optax.tree.norm(grads)}
        return learners.advance(state, network=learner), metrics

    def result(self, state: learners.State) -> base.Variables:
        return state.learners[_NETWORK].variables


class PretrainingStage(TrainedStage):
    """Trains an autoencoder, whose encoder the next stage starts from."""

    name = "autoencoder"
    budget = "pretraining"
    optimizer_section = "pretraining"

    @staticmethod
    def network_of(config) -> svdd.Autoencoder:
        data, dtype = config.data, jnp.dtype(config.dtype)
        return svdd.Autoencoder(config.model.network, data.size, data.channels, dtype)

    def init(self, key, context, examples) -> learners.State:
        images = jnp.zeros((1, *self.shape))
        variables = self.network.init(random_bits.rbg(key), images, train=False)
        return learners.create(self.optimizer, {_NETWORK: variables})

    def step(self, state, hyper, context, key, batch):
        """One update by the mean over images of the sum of (x - f(x))^2."""
        images = normalise(context.earlier["contrast"], batch["image"])

        def loss(forward):
            stats = state.learners[_NETWORK].batch_stats
            output, stats = forward(stats, images)
            return jnp.mean(jnp.sum(jnp.square(output - images), (1, 2, 3))), stats

        return self.update(state, hyper, loss)


@dataclasses.dataclass(frozen=True)
class CentreStage:
    """The mean code of all training images, snapped."""

    encoder: svdd.Encoder

    name = "centre"

    def features(self, context: protocol.Context, batch: protocol.Batch) -> jax.Array:
        images = normalise(context.earlier["contrast"], batch["image"])
        return self.encoder.apply(encoder_of(context), images, train=False)

    def solve(self, key: jax.Array, features: Iterator) -> dict[str, np.ndarray]:
        """'centre': (L,)."""
        codes = np.concatenate(list(features))
        centre = snapped(np.mean(codes, axis=0, dtype=np.float64))
        return {"centre": centre.astype(np.float32)}


def encoder_of(context: protocol.Context) -> base.Variables:
    """The pretrained encoder's variables."""
    variables = context.earlier[PretrainingStage.name]
    return {name: collection["encoder"] for name, collection in variables.items()}


class SvddStage(TrainedStage):
    """Trains the encoder towards the centre."""

    name = "svdd"
    budget = "training"
    optimizer_section = "optimizer"

    @staticmethod
    def network_of(config) -> svdd.Encoder:
        return svdd.Encoder(config.model.network, jnp.dtype(config.dtype))

    def init(self, key, context, examples) -> learners.State:
        return learners.create(self.optimizer, {_NETWORK: encoder_of(context)})

    def step(self, state, hyper, context, key, batch):
        """One update by the mean of |f(x) - c|^2."""
        images = normalise(context.earlier["contrast"], batch["image"])
        centre = context.earlier[CentreStage.name]["centre"]

        def loss(forward):
            codes, stats = forward(state.learners[_NETWORK].batch_stats, images)
            return jnp.mean(squared_distance(codes, centre)), stats

        return self.update(state, hyper, loss)


def squared_distance(codes_bl: jax.Array, centre_l: jax.Array) -> jax.Array:
    """Of each code to the centre, (B,)."""
    return jnp.sum(jnp.square(codes_bl - centre_l[None]), axis=1)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The squared distance to the centre; no maps."""

    pretraining: PretrainingStage
    svdd: SvddStage

    title = "DSVDD"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(PretrainingStage.from_config(config), SvddStage.from_config(config))

    @property
    def stages(self):
        centre = CentreStage(self.svdd.network)
        return (ContrastStage(), self.pretraining, centre, self.svdd)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """Image scores only."""
        codes = self.embeddings(variables, images_bhwc)
        scores = squared_distance(codes, variables[CentreStage.name]["centre"])
        return base.Maps(None, scores[:, None])

    def embeddings(self, variables, images_bhwc: jax.Array) -> jax.Array:
        """Codes of images in [0, 1], (B, L)."""
        images = normalise(variables[ContrastStage.name], images_bhwc)
        return self.svdd.network.apply(variables[SvddStage.name], images, train=False)
