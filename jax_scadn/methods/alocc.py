"""ALOCC: R restores noisy images so well that D takes them for real ones.

Sabokrou et al., Adversarially Learned One-Class Classifier for Novelty Detection, CVPR
2018. D's opinion of an image ('ALOCC D'), or of its reconstruction ('ALOCC DR'), is the
score; there is no map.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import adversarial, reconstruction
from jax_scadn.methods import base
from jax_scadn.networks import alocc
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import learners, protocol, random_bits

FIELDS = {
    "preset": Field(
        "dr",
        "'d': D sees the image, 'dr': its reconstruction",
        choices=("d", "dr"),
        seen_by="scoring",
    ),
    "data.size": Field(28, "pixels, both sides", least=16),
    **shared.budget(batch_size=128, epochs=40),
    "model.width": Field(
        32, "channels of R's first layer, even", least=2, words="network width"
    ),
    "model.discriminator_width": Field(16, "channels of D's first layer", least=1),
    "model.noise": Field(0.155, "deviation of what is added to R's input", least=0),
    "loss.reconstruction_weight": Field(0.2, "of the mean of (R(x) - x)^2", least=0),
    "optimizer.learning_rate": Field(
        2e-3, "of both networks, RMSprop", above=0, words="learning rate"
    ),
    "optimizer.decay": Field(0.9, "of RMSprop's mean of squares", least=0, below=1),
    "optimizer.eps": Field(1e-10, "of RMSprop", above=0),
    "scoring.seen": Field(
        None,
        "by D: the image or its reconstruction",
        choices=("image", "reconstruction"),
        type=str,
        seen_by="scoring",
    ),
}
PRESETS = {
    "d": {"scoring.seen": "image"},
    "dr": {"scoring.seen": "reconstruction"},
}
_SMALL = {
    "model.width": 8,
    "model.discriminator_width": 8,
    "training.batch_size": 64,
    "training.steps": 60,
}
COLUMNS = {
    "ALOCC D": {"always": {"preset": "d"}, "small": _SMALL},
    "ALOCC DR": {"always": {"preset": "dr"}, "small": _SMALL},
}
_UPDATES = 2  # of R, for each of D


@dataclasses.dataclass(frozen=True)
class AloccStage:
    """The training of both networks; hashable, so that `jit` takes it as static."""

    reconstructor: alocc.Reconstructor
    discriminator: alocc.Discriminator
    shape: tuple[int, int, int]
    decay: float
    eps: float

    name = "alocc"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> AloccStage:
        """From resolved settings."""
        data, model, dtype = config.data, config.model, jnp.dtype(config.dtype)
        return cls(
            alocc.Reconstructor(data.channels, model.width, dtype),
            alocc.Discriminator(model.discriminator_width, dtype),
            (data.size, data.size, data.channels),
            config.optimizer.decay,
            config.optimizer.eps,
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """RMSprop as in TensorFlow, whose mean of squares starts at 1."""
        return optax.scale_by_rms(self.decay, self.eps, initial_scale=1.0)

    def init(self, key, context, examples) -> learners.State:
        images = jnp.zeros((1, *self.shape))
        keys = jax.random.split(random_bits.rbg(key))
        networks = {"r": self.reconstructor, "d": self.discriminator}
        variables = {
            name: network.init(key, images, train=False)
            for key, (name, network) in zip(keys, networks.items(), strict=True)
        }
        return learners.create(self.optimizer, variables)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        values = {
            "noise": config.model.noise,
            "weight": config.loss.reconstruction_weight,
            "learning_rate": config.optimizer.learning_rate,
        }
        return {name: jnp.float32(value) for name, value in values.items()}

    def step(
        self,
        state: learners.State,
        hyper: dict[str, jax.Array],
        context: protocol.Context,
        key: jax.Array,
        batch: protocol.Batch,
    ) -> tuple[learners.State, dict[str, jax.Array]]:
        """One update of D, then two of R against the new D, all with one noise."""
        images = batch["image"]
        noisy = images + hyper["noise"] * jax.random.normal(key, images.shape)
        rate = hyper["learning_rate"]
        r, d = state.learners["r"], state.learners["d"]
        restored, _ = learners.forward(
            self.reconstructor, r.params, r.batch_stats, noisy
        )

        def loss_of_d(params):
            """-log D(x) - log(1 - D(R(x + noise)))."""
            real, stats = learners.forward(
                self.discriminator, params, d.batch_stats, images
            )
            fake, stats = learners.forward(self.discriminator, params, stats, restored)
            return 2 * adversarial.mean_cross_entropy(real, fake), stats

        (value, stats), grads = jax.value_and_grad(loss_of_d, has_aux=True)(d.params)
        metrics = {"discriminator_loss": value}
        metrics["discriminator_gradient_norm"] = optax.tree.norm(grads)
        d = learners.descend(d, self.optimizer, rate, grads, stats)

        def loss_of_r(params, stats):
            """-log D(R(x + noise)) + weight * mean of (R(x + noise) - x)^2."""
            output, stats = learners.forward(self.reconstructor, params, stats, noisy)
            logits, _ = learners.forward(
                self.discriminator, d.params, d.batch_stats, output
            )
            fooled = jnp.mean(adversarial.generator_fake("nsgan", logits))
            error = reconstruction.mean_squared_error(output, images)
            return fooled + hyper["weight"] * error, (fooled, error, stats)

        for _ in range(_UPDATES):
            (value, (fooled, error, stats)), grads = jax.value_and_grad(
                loss_of_r, has_aux=True
            )(r.params, r.batch_stats)
            r = learners.descend(r, self.optimizer, rate, grads, stats)
        metrics |= {
            "reconstructor_loss": value,
            "adversarial_loss": fooled,
            "reconstruction_loss": error,
            "reconstructor_gradient_norm": optax.tree.norm(grads),
        }
        return learners.advance(state, r=r, d=d), metrics

    def result(self, state: learners.State) -> base.Variables:
        return {name: state.learners[name].variables for name in ("r", "d")}

    def reconstruct(self, result, images_bhwc: jax.Array) -> jax.Array:
        """R's output with the running statistics."""
        return self.reconstructor.apply(result["r"], images_bhwc, train=False)

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images and their reconstructions."""
        output = self.reconstruct(result, batch["image"])
        return jnp.concatenate([batch["image"], output], axis=2)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """Scores by D: minus the logit, which orders images as -D does."""

    alocc: AloccStage
    seen: str

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(AloccStage.from_config(config), config.scoring.seen)

    @property
    def title(self) -> str:
        return "ALOCC D" if self.seen == "image" else "ALOCC DR"

    @property
    def stages(self) -> tuple[AloccStage]:
        return (self.alocc,)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """Image scores only, and reconstructions."""
        trained = variables[self.alocc.name]
        output = self.alocc.reconstruct(trained, images_bhwc)
        seen = images_bhwc if self.seen == "image" else output
        logits = self.alocc.discriminator.apply(trained["d"], seen, train=False)
        pictures = {"reconstruction": output[:, None]}
        return base.Maps(None, -logits[:, None], pictures)
