"""GANomaly: the code of an image and that of its reconstruction are to be the same.

Akcay et al., GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training, ACCV
2018. The score is their mean squared difference; there is no map. Batch norms score
with their running statistics. The published numbers are of each test batch's own.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import adversarial as adversarial_losses
from jax_scadn.losses import reconstruction
from jax_scadn.methods import base
from jax_scadn.networks import ganomaly, pyramid
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import adversarial, learners, protocol

WEIGHTS = ("adversarial", "context", "code")
FIELDS = {
    "data.size": Field(32, "pixels, both sides", choices=(32, 64, 128, 256)),
    **shared.budget(batch_size=64, epochs=15),
    "model.width": Field(
        64, "channels of the first layers", least=1, words="network width"
    ),
    "model.latent": Field(100, "length of the codes", least=1),
    "loss.adversarial_weight": Field(1.0, "of D's features' difference", least=0),
    "loss.context_weight": Field(50.0, "of the images' L1 difference", least=0),
    "loss.code_weight": Field(1.0, "of the codes' difference", least=0),
    **shared.adam(2e-4, b1=0.5, b2=0.999),
}
COLUMNS = {"GANomaly": {"small": {"model.width": 16, "training.steps": 300}}}


@dataclasses.dataclass(frozen=True)
class GanomalyStage:
    """The training of both networks; hashable, so that `jit` takes it as static."""

    generator: ganomaly.Generator
    discriminator: ganomaly.Discriminator
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "ganomaly"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> GanomalyStage:
        """From resolved settings."""
        data, model, adam = config.data, config.model, config.optimizer
        dtype = jnp.dtype(config.dtype)
        return cls(
            ganomaly.Generator(
                data.size, data.channels, model.width, model.latent, dtype
            ),
            ganomaly.Discriminator(model.width, dtype),
            (adam.b1, adam.b2, adam.eps),
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(*self.adam)

    def init(self, key, context, examples) -> learners.State:
        size, channels = self.generator.size, self.generator.channels
        images = jnp.zeros((1, size, size, channels))
        networks = (self.generator, self.discriminator)
        return adversarial.create(key, self.optimizer, networks, images, images)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        values = {name: config.loss[f"{name}_weight"] for name in WEIGHTS}
        values["learning_rate"] = config.optimizer.learning_rate
        return {name: jnp.float32(value) for name, value in values.items()}

    def step(
        self,
        state: learners.State,
        hyper: dict[str, jax.Array],
        context: protocol.Context,
        key: jax.Array,
        batch: protocol.Batch,
    ) -> tuple[learners.State, dict[str, jax.Array]]:
        """One simultaneous update; the generator's loss is a weighted sum of three.

        adversarial: mean of (D's features of x - those of G(x))^2; context: mean of
        |x - G(x)|; code: mean of (code of x - code of G(x))^2.
        """
        images = pyramid.signed(batch["image"])

        def loss(generated, logits, features, real_features):
            error = reconstruction.absolute_error(generated.image_bhwc, images)
            terms = {
                "adversarial": jnp.mean(jnp.square(features - real_features)),
                "context": jnp.mean(error),
                "code": jnp.mean(code_error(generated)),
            }
            return sum(hyper[name] * term for name, term in terms.items()), terms

        return adversarial.update(
            state,
            self.optimizer,
            hyper["learning_rate"],
            (self.generator, self.discriminator),
            images,
            adversarial_losses.mean_cross_entropy,
            loss,
            image_of=lambda generated: generated.image_bhwc,
        )

    def result(self, state: learners.State) -> base.Variables:
        """The generator's variables."""
        return state.learners[adversarial.GENERATOR].variables

    def generate(self, result, images_bhwc: jax.Array) -> ganomaly.Generated:
        """The generator's outputs for images in [0, 1]; its own is in [-1, 1]."""
        return self.generator.apply(result, pyramid.signed(images_bhwc), train=False)

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images and their reconstructions."""
        output = pyramid.unsigned(self.generate(result, batch["image"]).image_bhwc)
        return jnp.concatenate([batch["image"], output], axis=2)


def code_error(generated: ganomaly.Generated) -> jax.Array:
    """Mean squared difference of the two codes of each image, (B,)."""
    difference = generated.code_again_bl - generated.code_bl
    return jnp.mean(jnp.square(difference), axis=1)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The mean squared difference of two codes; no maps."""

    ganomaly: GanomalyStage

    title = "GANomaly"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(GanomalyStage.from_config(config))

    @property
    def stages(self) -> tuple[GanomalyStage]:
        return (self.ganomaly,)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """Image scores only, and reconstructions."""
        generated = self.ganomaly.generate(variables[self.ganomaly.name], images_bhwc)
        scores = code_error(generated)
        output = pyramid.unsigned(generated.image_bhwc)
        pictures = {"reconstruction": output[:, None]}
        return base.Maps(None, scores[:, None], pictures)

    def embeddings(self, variables, images_bhwc: jax.Array) -> jax.Array:
        """Codes of images in [0, 1], (B, L)."""
        generated = self.ganomaly.generate(variables[self.ganomaly.name], images_bhwc)
        return generated.code_bl
