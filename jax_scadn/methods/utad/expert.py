"""Stage 2 of UTAD: Expert-Net puts an image's details onto its impression.

It also makes an impression of the image, the naive one, which may keep an anomaly.
Read from top to bottom: state, networks, the two directions, step.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jax_scadn.losses import reconstruction
from jax_scadn.methods.utad.impression import ImpressionStage
from jax_scadn.networks import expert_net
from jax_scadn.training import optimizers, protocol, random_bits

Params = Any

_PICTURE_SCALE = 2  # weights are of L1 losses in [-1, 1], pictures are in [0, 1]


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      experts: parameters of the autoencoders of the two domains, 'image' and
        'impression'.
      optimizer: Adam's moments.
    """

    step: jax.Array
    experts: dict[str, Params]
    optimizer: optax.OptState


@flax.struct.dataclass
class Hyperparameters:
    """What varies between the runs of an ablation, as arrays and not control flow."""

    image_weight: jax.Array
    impression_weight: jax.Array
    detail_weight: jax.Array
    content_weight: jax.Array
    learning_rate: jax.Array


class Translated(NamedTuple):
    """Expert-Net's outputs for images and their impressions.

    Attributes:
      reconstruction: I^ = Dec_I(content of M, detail of I), in [0, 1].
      naive_impression: M~ = Dec_M(content of I, detail of M), in [0, 1].
      image_content: of the images.
      impression_content: of the impressions.
      image_detail: (B, D), of the images or noise.
    """

    reconstruction: jax.Array
    naive_impression: jax.Array
    image_content: jax.Array
    impression_content: jax.Array
    image_detail: jax.Array


@dataclasses.dataclass(frozen=True)
class ExpertStage:
    """The training of Expert-Net; hashable, so that `jit` takes it as static.

    Each step computes the impressions of its images by the IE-Net of stage 1.
    """

    impression: ImpressionStage
    size: int
    channels: int
    guidance: str
    width: int
    blocks: int
    detail: int
    mlp_width: int
    detail_loss: bool
    content_loss: bool
    b1: float
    b2: float
    eps: float
    weight_decay: float
    halve_every: int
    dtype: str

    name = "expert"
    budget = "expert.training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> ExpertStage:
        """From resolved settings."""
        expert = config.expert
        return cls(
            impression=ImpressionStage.from_config(config),
            size=config.data.size,
            channels=config.data.channels,
            guidance=expert.guidance,
            width=expert.width,
            blocks=expert.blocks,
            detail=expert.detail,
            mlp_width=expert.mlp_width,
            detail_loss=expert.detail_weight > 0 and expert.guidance == "detail",
            content_loss=expert.content_weight > 0,
            b1=expert.b1,
            b2=expert.b2,
            eps=expert.eps,
            weight_decay=expert.weight_decay,
            halve_every=expert.halve_every,
            dtype=config.dtype,
        )

    @functools.cached_property
    def autoencoder(self) -> expert_net.AdaINAutoencoder:
        """That of either domain; they differ in their parameters."""
        return expert_net.AdaINAutoencoder(
            self.channels,
            self.width,
            self.blocks,
            self.detail,
            self.mlp_width,
            jnp.dtype(self.dtype),
        )

    @property
    def adam(self) -> optax.GradientTransformation:
        return optimizers.adam(self.b1, self.b2, self.eps, self.weight_decay)

    # What the loop asks for, see `protocol.GradientStage`.

    def result(self, state: State) -> Params:
        return state.experts

    def preview(
        self,
        result: Params,
        hyper: Hyperparameters,
        context: protocol.Context,
        batch: protocol.Batch,
    ) -> jax.Array:
        """Images, impressions, naive impressions and reconstructions, side by side."""
        images = batch["image"]
        impressions = self._impressions(context, images)
        translated = self.translate(result, images, impressions)
        return jnp.concatenate(
            [
                images,
                impressions,
                translated.naive_impression,
                translated.reconstruction,
            ],
            axis=2,
        )

    def _impressions(self, context: protocol.Context, images_bhwc: jax.Array):
        ie_net = context.earlier[self.impression.name]
        return self.impression.extract(ie_net, images_bhwc).image_bhwc

    # State.

    def init(
        self, key: jax.Array, context: protocol.Context, examples: protocol.Batch
    ) -> State:
        """Fresh weights, drawn as in `ImpressionStage.init`, and moments."""
        images = jnp.zeros((1, self.size, self.size, self.channels))
        keys = jax.random.split(random_bits.rbg(key), 2)
        experts = {
            domain: self.autoencoder.init(key, images)["params"]
            for domain, key in zip(("image", "impression"), keys, strict=True)
        }
        return State(
            step=jnp.zeros((), jnp.int32),
            experts=experts,
            optimizer=self.adam.init(experts),
        )

    def hyperparameters(
        self, config: ml_collections.ConfigDict, total_steps: int = 0
    ) -> Hyperparameters:
        """The step's arrays, from the settings that the stage itself came from."""
        return Hyperparameters(
            **{
                field.name: jnp.asarray(config.expert[field.name], jnp.float32)
                for field in dataclasses.fields(Hyperparameters)
            }
        )

    # The two directions.

    def translate(
        self,
        experts: dict[str, Params],
        images_bhwc: jax.Array,
        impressions_bhwc: jax.Array,
        key: jax.Array | None = None,
    ) -> Translated:
        """From impressions to images and from images to impressions.

        Without guidance the decoders get noise in place of details. In
        training each image draws its own; without a key all images of all calls get
        the same, so that a score depends on nothing but its image.

        Args:
          experts: parameters of both autoencoders.
          images_bhwc: in [0, 1].
          impressions_bhwc: in [0, 1].
          key: of the noise in training.
        """
        if self.guidance == "noise":
            draws = 1 if key is None else len(images_bhwc)
            key = jax.random.key(0) if key is None else key
            noise = jax.random.normal(key, (2, draws, self.detail))
            shape = (2, len(images_bhwc), self.detail)
            image_detail, impression_detail = jnp.broadcast_to(noise, shape)
        else:
            image_detail = self._detail(experts["image"], images_bhwc)
            impression_detail = self._detail(experts["impression"], impressions_bhwc)
        image_content = self._content(experts["image"], images_bhwc)
        impression_content = self._content(experts["impression"], impressions_bhwc)
        return Translated(
            self._decode(experts["image"], impression_content, image_detail),
            self._decode(experts["impression"], image_content, impression_detail),
            image_content,
            impression_content,
            image_detail,
        )

    def _content(self, expert: Params, pictures_bhwc: jax.Array) -> jax.Array:
        net = self.autoencoder
        variables = {"params": expert}
        return net.apply(variables, pictures_bhwc, method=net.encode_content)

    def _detail(self, expert: Params, pictures_bhwc: jax.Array) -> jax.Array:
        net = self.autoencoder
        variables = {"params": expert}
        return net.apply(variables, pictures_bhwc, method=net.encode_detail)

    def _decode(self, expert: Params, content, detail) -> jax.Array:
        net = self.autoencoder
        return net.apply({"params": expert}, content, detail, method=net.decode)

    # Training.

    def step(
        self,
        state: State,
        hyper: Hyperparameters,
        context: protocol.Context,
        key: jax.Array,
        batch: protocol.Batch,
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update of both autoencoders."""
        images = batch["image"]
        impressions = self._impressions(context, images)
        return self.update(state, hyper, images, impressions, key)

    def update(
        self,
        state: State,
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        impressions_bhwc: jax.Array,
        key: jax.Array,
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update with given impressions."""
        loss = functools.partial(
            self.loss,
            hyper=hyper,
            images_bhwc=images_bhwc,
            impressions_bhwc=impressions_bhwc,
        )
        grads, metrics = jax.grad(loss, has_aux=True)(state.experts, key=key)
        experts, optimizer = optimizers.descend(
            self.adam,
            optimizers.halved(hyper.learning_rate, state.step, self.halve_every),
            grads,
            state.optimizer,
            state.experts,
        )
        state = state.replace(step=state.step + 1, experts=experts, optimizer=optimizer)
        metrics["expert_gradient_norm"] = optax.tree.norm(grads)
        return state, metrics

    def loss(
        self,
        experts: dict[str, Params],
        hyper: Hyperparameters,
        images_bhwc: jax.Array,
        impressions_bhwc: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum of both directions' L1 losses, and its terms.

        Outputs match their targets, and their details and contents those that they were
        decoded from.
        """
        translated = self.translate(experts, images_bhwc, impressions_bhwc, key)
        image = _l1(translated.reconstruction, images_bhwc) * _PICTURE_SCALE
        impression = _l1(translated.naive_impression, impressions_bhwc) * _PICTURE_SCALE
        loss = hyper.image_weight * image + hyper.impression_weight * impression
        metrics = {"reconstruction_loss": image, "naive_impression_loss": impression}
        if self.detail_loss:
            detail = self._detail(experts["image"], translated.reconstruction)
            metrics["detail_loss"] = _l1(detail, translated.image_detail)
            loss += hyper.detail_weight * metrics["detail_loss"]
        if self.content_loss:
            of_reconstruction = self._content(
                experts["image"], translated.reconstruction
            )
            of_naive = self._content(experts["impression"], translated.naive_impression)
            metrics["content_loss"] = _l1(
                of_reconstruction, translated.impression_content
            ) + _l1(of_naive, translated.image_content)
            loss += hyper.content_weight * metrics["content_loss"]
        return loss, {"expert_loss": loss, **metrics}


def _l1(output: jax.Array, target: jax.Array) -> jax.Array:
    error = reconstruction.absolute_error(output, target)
    return jnp.mean(error, dtype=jnp.float32)  # contents may be bfloat16
