"""AnoGAN: the nearest image that a GAN of normal images can make.

Schlegl et al., Unsupervised Anomaly Detection with Generative Adversarial Networks to
Guide Marker Discovery, IPMI 2017: each image's code is found by gradient descent. The
fast form trains an encoder that gives the code at once; it is in the style of Schlegl
et al., f-AnoGAN, 2019, with the GAN of the first paper and not with its own.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import adversarial as adversarial_losses
from jax_scadn.methods import base
from jax_scadn.networks import ganomaly, pyramid
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import adversarial, learners, protocol, random_bits

FIELDS = {
    "preset": Field("fast", "how codes are found", choices=("fast", "search")),
    "data.size": Field(32, "pixels, both sides", choices=(32, 64, 128, 256)),
    **shared.budget(batch_size=64, epochs=50),
    **shared.budget("encoder.training", batch_size=64, epochs=50),
    "model.inversion": Field(
        None, "of the generator", choices=("encoder", "search"), type=str
    ),
    "model.width": Field(
        64, "channels of the first layers", least=1, words="network width"
    ),
    "model.latent": Field(100, "length of the code", least=1),
    "encoder.features_weight": Field(
        1.0, "of D's features' difference in the encoder's loss", least=0
    ),
    **shared.adam(2e-4, b1=0.5, b2=0.999),
    "scoring.features_weight": Field(
        0.1,
        "lambda, of D's features in score and search",
        least=0,
        most=1,
        seen_by="scoring",
    ),
    "scoring.search_steps": Field(
        500, "of the search of a code, Adam", least=1, seen_by="scoring"
    ),
    "scoring.search_rate": Field(
        0.02, "learning rate of the search", above=0, seen_by="scoring"
    ),
}
PRESETS = {
    "fast": {"model.inversion": "encoder"},
    "search": {"model.inversion": "search"},
}
COLUMNS = {
    title: {
        "always": {"preset": preset},
        "small": {
            "model.width": 16,
            "training.steps": 500,
            "encoder.training.steps": 300,
            "scoring.search_steps": 50,
        },
    }
    for title, preset in (("f-AnoGAN", "fast"), ("AnoGAN", "search"))
}


@dataclasses.dataclass(frozen=True)
class GanStage:
    """Trains a DCGAN on normal images; hashable."""

    generator: pyramid.Decoder
    discriminator: ganomaly.Discriminator
    latent: int
    adam: tuple[float, float, float]  # b1, b2, epsilon

    name = "gan"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> GanStage:
        """From resolved settings."""
        data, model, adam = config.data, config.model, config.optimizer
        dtype = jnp.dtype(config.dtype)
        return cls(
            pyramid.Decoder(data.size, data.channels, model.width, dtype),
            ganomaly.Discriminator(model.width, dtype),
            model.latent,
            (adam.b1, adam.b2, adam.eps),
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(*self.adam)

    def init(self, key, context, examples) -> learners.State:
        images = jnp.zeros((1, *self.shape))
        codes = jnp.zeros((1, self.latent))
        networks = (self.generator, self.discriminator)
        return adversarial.create(key, self.optimizer, networks, codes, images)

    @property
    def shape(self) -> tuple[int, int, int]:
        net = self.generator
        return (net.size, net.size, net.channels)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        return {"learning_rate": jnp.float32(config.optimizer.learning_rate)}

    def step(
        self,
        state: learners.State,
        hyper: dict[str, jax.Array],
        context: protocol.Context,
        key: jax.Array,
        batch: protocol.Batch,
    ) -> tuple[learners.State, dict[str, jax.Array]]:
        """One simultaneous update; the generator's is by -log D(G(z)), z ~ N(0, 1)."""
        images = pyramid.signed(batch["image"])

        def loss(generated, logits, features, real_features):
            fooled = adversarial_losses.generator_fake("nsgan", logits)
            return jnp.mean(fooled), {}

        return adversarial.update(
            state,
            self.optimizer,
            hyper["learning_rate"],
            (self.generator, self.discriminator),
            images,
            adversarial_losses.mean_cross_entropy,
            loss,
            inputs=jax.random.normal(key, (len(images), self.latent)),
        )

    def result(self, state: learners.State) -> base.Variables:
        """The variables of both networks."""
        return {name: learner.variables for name, learner in state.learners.items()}

    def generate(self, result, codes_bl: jax.Array) -> jax.Array:
        """Images in [-1, 1]."""
        variables = result[adversarial.GENERATOR]
        return self.generator.apply(variables, codes_bl, train=False)

    def differences(
        self, result, signed_bhwc: jax.Array, codes_bl: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """G(z), x - G(z), and the difference of D's features of both."""
        variables = result[adversarial.DISCRIMINATOR]
        generated = self.generate(result, codes_bl)

        def features(images):
            return self.discriminator.apply(variables, images, train=False)[1]

        of_features = features(signed_bhwc) - features(generated)
        return generated, signed_bhwc - generated, of_features


@dataclasses.dataclass(frozen=True)
class EncoderStage:
    """Trains the encoder of the fast form against the finished GAN."""

    gan: GanStage
    encoder: pyramid.Encoder

    name = "encoder"
    budget = "encoder.training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> EncoderStage:
        """From resolved settings."""
        model = config.model
        net = pyramid.Encoder(model.width, model.latent, jnp.dtype(config.dtype))
        return cls(GanStage.from_config(config), net)

    def init(self, key, context, examples) -> learners.State:
        images = jnp.zeros((1, *self.gan.shape))
        variables = self.encoder.init(random_bits.rbg(key), images, train=False)
        return learners.create(self.gan.optimizer, {"encoder": variables})

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        return {
            "learning_rate": jnp.float32(config.optimizer.learning_rate),
            "features_weight": jnp.float32(config.encoder.features_weight),
        }

    def step(self, state, hyper, context, key, batch):
        """One update by mean (x - G(E(x)))^2 + weight mean (f(x) - f(G(E(x))))^2."""
        images = pyramid.signed(batch["image"])
        learner = state.learners["encoder"]

        def loss(params):
            (codes, _), stats = learners.forward(
                self.encoder, params, learner.batch_stats, images
            )
            _, of_images, of_features = self.gan.differences(
                context.earlier[self.gan.name], images, codes
            )
            weighted = hyper["features_weight"] * jnp.mean(jnp.square(of_features))
            return jnp.mean(jnp.square(of_images)) + weighted, stats

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(learner.params)
        learner = learners.descend(
            learner, self.gan.optimizer, hyper["learning_rate"], grads, stats
        )
        norm = optax.tree.norm(grads)
        metrics = {"encoder_loss": value, "gradient_norm": norm}
        return learners.advance(state, encoder=learner), metrics

    def result(self, state: learners.State) -> base.Variables:
        return state.learners["encoder"].variables


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """What the generator cannot make; hashable like its stages.

    Attributes:
      gan: stage 1.
      encoder: stage 2 of the fast form; None: codes are searched.
      features_weight: lambda.
      search: steps and learning rate.
    """

    gan: GanStage
    encoder: EncoderStage | None
    features_weight: float
    search: tuple[int, float]

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        scoring, fast = config.scoring, config.model.inversion == "encoder"
        return cls(
            GanStage.from_config(config),
            EncoderStage.from_config(config) if fast else None,
            scoring.features_weight,
            (scoring.search_steps, scoring.search_rate),
        )

    @property
    def title(self) -> str:
        return "f-AnoGAN" if self.encoder else "AnoGAN"

    @property
    def stages(self) -> tuple[GanStage | EncoderStage, ...]:
        return (self.gan, self.encoder) if self.encoder else (self.gan,)

    def codes(self, variables, signed_bhwc: jax.Array) -> jax.Array:
        """By the encoder, or by gradient descent on the score; (B, L)."""
        if self.encoder is not None:
            trained = variables[self.encoder.name]
            return self.encoder.encoder.apply(trained, signed_bhwc, train=False)[0]
        steps, rate = self.search
        optimizer = optax.adam(rate)

        def total(codes):
            return jnp.sum(self.scores(variables, signed_bhwc, codes)[0])

        def descend(carry, _):
            codes, moments = carry
            updates, moments = optimizer.update(jax.grad(total)(codes), moments)
            return (optax.apply_updates(codes, updates), moments), None

        # All images start from one code: a score depends on nothing but its image.
        start = jax.random.normal(jax.random.key(0), (1, self.gan.latent))
        codes = jnp.broadcast_to(start, (len(signed_bhwc), self.gan.latent))
        carry = codes, optimizer.init(codes)
        (codes, _), _ = jax.lax.scan(descend, carry, None, length=steps)
        return codes

    def scores(self, variables, signed_bhwc: jax.Array, codes_bl: jax.Array):
        """(1 - lambda) sum |x - G(z)| + lambda sum |f(x) - f(G(z))|; G(z); map."""
        generated, of_images, of_features = self.gan.differences(
            variables[self.gan.name], signed_bhwc, codes_bl
        )
        maps = jnp.sum(jnp.abs(of_images), axis=-1)
        of_features = jnp.sum(jnp.abs(of_features), axis=(1, 2, 3))
        w = self.features_weight
        scores = (1 - w) * jnp.sum(maps, axis=(1, 2)) + w * of_features
        return scores, generated, maps

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """The difference at each pixel, and image scores."""
        signed = pyramid.signed(images_bhwc)
        codes = self.codes(variables, signed)
        scores, generated, maps = self.scores(variables, signed, codes)
        pictures = {"generated": pyramid.unsigned(generated)[:, None]}
        return base.Maps(maps[:, None], scores[:, None], pictures)
