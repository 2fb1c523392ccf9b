"""Skip-GANomaly: a U-Net reconstructs, and a discriminator compares.

Akcay et al., Skip-GANomaly: Skip Connected and Adversarially Trained Encoder-Decoder
Anomaly Detection, IJCNN 2019. The discriminator is GANomaly's. Batch norms score with
their running statistics. The published numbers are of each test batch's own.
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
from jax_scadn.networks import ganomaly, pyramid, skip_unet
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import adversarial, learners, protocol

WEIGHTS = ("adversarial", "context", "features")
FIELDS = {
    "data.size": Field(32, "pixels, both sides", choices=(32, 64, 128, 256)),
    **shared.budget(batch_size=64, epochs=15),
    "model.width": Field(
        64, "channels of the first layers", least=1, words="network width"
    ),
    "loss.adversarial_weight": Field(1.0, "of -log D(G(x))", least=0),
    "loss.context_weight": Field(40.0, "of the images' L1 difference", least=0),
    "loss.features_weight": Field(1.0, "of D's features' difference", least=0),
    **shared.adam(2e-4, b1=0.5, b2=0.999),
    "scoring.features_weight": Field(
        0.1,
        "of D's features in the score; the rest is the images' difference",
        least=0,
        most=1,
        seen_by="scoring",
    ),
}
COLUMNS = {"SkipGA": {"small": {"model.width": 16, "training.steps": 200}}}


@dataclasses.dataclass(frozen=True)
class SkipStage:
    """The training of both networks; hashable, so that `jit` takes it as static."""

    generator: skip_unet.SkipUNet
    discriminator: ganomaly.Discriminator
    shape: tuple[int, int, int]
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "skip_ganomaly"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> SkipStage:
        """From resolved settings."""
        data, adam, width = config.data, config.optimizer, config.model.width
        dtype = jnp.dtype(config.dtype)
        return cls(
            skip_unet.SkipUNet(data.channels, width, dtype),
            ganomaly.Discriminator(width, dtype),
            (data.size, data.size, data.channels),
            (adam.b1, adam.b2, adam.eps),
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(*self.adam)

    def init(self, key, context, examples) -> learners.State:
        images = jnp.zeros((1, *self.shape))
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

        adversarial: mean of -log D(G(x)); context: mean of |x - G(x)|; features: mean
        of (D's features of x - those of G(x))^2.
        """
        images = pyramid.signed(batch["image"])

        def loss(generated, logits, features, real_features):
            fooled = adversarial_losses.generator_fake("nsgan", logits)
            error = reconstruction.absolute_error(generated, images)
            terms = {
                "adversarial": jnp.mean(fooled),
                "context": jnp.mean(error),
                "features": jnp.mean(jnp.square(features - real_features)),
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
        )

    def result(self, state: learners.State) -> base.Variables:
        """The variables of both networks."""
        return {name: learner.variables for name, learner in state.learners.items()}

    def generate(self, result, signed_bhwc: jax.Array) -> jax.Array:
        """Reconstructions, in [-1, 1] like the images."""
        variables = result[adversarial.GENERATOR]
        return self.generator.apply(variables, signed_bhwc, train=False)

    def compared(self, result, signed_bhwc: jax.Array) -> jax.Array:
        """The discriminator's features of images in [-1, 1]."""
        variables = result[adversarial.DISCRIMINATOR]
        return self.discriminator.apply(variables, signed_bhwc, train=False)[1]

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images and their reconstructions."""
        output = self.generate(result, pyramid.signed(batch["image"]))
        return jnp.concatenate([batch["image"], pyramid.unsigned(output)], axis=2)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """Differences of images and of features; hashable like its stage."""

    skip: SkipStage
    features_weight: float

    title = "SkipGA"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(SkipStage.from_config(config), config.scoring.features_weight)

    @property
    def stages(self) -> tuple[SkipStage]:
        return (self.skip,)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """The squared difference of each pixel in [-1, 1]; and image scores.

        A score is (1 - w) mean of (x - G(x))^2 + w mean of (f(x) - f(G(x)))^2.
        """
        trained, images = variables[self.skip.name], pyramid.signed(images_bhwc)
        output = self.skip.generate(trained, images)
        maps = jnp.mean(jnp.square(images - output), axis=-1)
        features = self.skip.compared(trained, images)
        difference = features - self.skip.compared(trained, output)
        of_features = jnp.mean(jnp.square(difference), axis=(1, 2, 3))
        of_images = jnp.mean(maps, axis=(1, 2))
        w = self.features_weight
        scores = (1 - w) * of_images + w * of_features
        pictures = {"reconstruction": pyramid.unsigned(output)[:, None]}
        return base.Maps(maps[:, None], scores[:, None], pictures)
