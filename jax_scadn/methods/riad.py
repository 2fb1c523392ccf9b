"""RIAD: reconstruction by inpainting of disjoint sets of cells.

Zavrtanik et al., Reconstruction by inpainting for visual anomaly detection, Pattern
Recognition 112, 2021. An image is a grid of k x k-pixel cells, divided at random into n
sets; each set is masked once and inpainted from the others.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jax_scadn.losses import gradient_similarity, reconstruction
from jax_scadn.methods import base
from jax_scadn.networks import unet
from jax_scadn.runtime import errors
from jax_scadn.scoring import partitions, smoothing
from jax_scadn.settings import base as shared
from jax_scadn.settings.fields import Field
from jax_scadn.training import optimizers, random_bits
from jax_scadn.training import state as state_lib

WEIGHTS = ("squared_weight", "msgms_weight", "ssim_weight")
FIELDS = {
    "data.size": Field(256, "pixels, both sides; see `check` for multiples", least=32),
    **shared.budget(batch_size=4, epochs=300),
    "model.width": Field(
        64, "channels of the first layer", least=1, words="network width"
    ),
    "model.halvings": Field(4, "of the image's size in the U-Net", least=1),
    "masks.cells": Field((2, 4, 8, 16), "k, sides of a cell, pixels", least=1),
    "masks.sets": Field(3, "n, sets of cells", least=2),
    "masks.mask_value": Field(0.5, "of masked pixels", least=0, most=1),
    "loss.squared_weight": Field(1.0, "of the squared error in [0, 1]", least=0),
    "loss.msgms_weight": Field(1.0, "of 1 - MSGMS", least=0),
    "loss.ssim_weight": Field(1.0, "of 1 - SSIM", least=0),
    **shared.adam(1e-4, b1=0.9, b2=0.999),
    "optimizer.weight_decay": Field(1e-5, "added to the gradient", least=0),
    "scoring.smoothing": Field(
        21, "side of the mean over the map, pixels; odd", least=1, seen_by="scoring"
    ),
    "scoring.image_score": dataclasses.replace(
        shared.FIELDS["scoring.image_score"], default="max"
    ),
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where numbers do not go together."""
    size, cells, sets = config.data.size, config.masks.cells, config.masks.sets
    # The U-Net halves the image, and so does MSGMS.
    multiple = 1 << max(config.model.halvings, gradient_similarity.SCALES - 1)
    if size % multiple:
        raise errors.UserError(
            f"--config.data.size={size}: must be a multiple of {multiple}"
        )
    if not cells:
        raise errors.UserError("--config.masks.cells: give one or more")
    for cell in cells:
        if size % cell or (size // cell) ** 2 < sets:
            raise errors.UserError(
                f"--config.masks.cells={tuple(cells)}: {cell} must divide "
                f"data.size={size} into {sets} cells or more"
            )
    if not any(config.loss[name] for name in WEIGHTS):
        raise errors.UserError("--config.loss: one weight or more must be above 0")
    if config.scoring.smoothing % 2 == 0:
        raise errors.UserError(
            f"--config.scoring.smoothing={config.scoring.smoothing}: must be odd"
        )


@dataclasses.dataclass(frozen=True)
class InpaintingStage:
    """The training; hashable, so that `jit` takes it as static."""

    network: unet.UNet
    size: int
    cells: tuple[int, ...]
    sets: int
    mask_value: float
    adam: tuple[float, float, float, float]  # b1, b2, epsilon, weight decay

    name = "inpainting"
    budget = "training"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> InpaintingStage:
        """From resolved settings."""
        dtype, adam, model = jnp.dtype(config.dtype), config.optimizer, config.model
        return cls(
            unet.UNet(config.data.channels, model.width, model.halvings, dtype),
            config.data.size,
            tuple(config.masks.cells),
            config.masks.sets,
            config.masks.mask_value,
            (adam.b1, adam.b2, adam.eps, adam.weight_decay),
        )

    def init(self, key, context, examples) -> state_lib.NormedState:
        images = jnp.zeros((1, self.size, self.size, self.network.channels))
        variables = self.network.init(random_bits.rbg(key), images, train=False)
        return state_lib.create_normed(optimizers.adam(*self.adam), variables)

    def hyperparameters(self, config, total_steps: int) -> dict[str, jax.Array]:
        weights = {name: jnp.float32(config.loss[name]) for name in WEIGHTS}
        return {"learning_rate": jnp.float32(config.optimizer.learning_rate), **weights}

    def step(self, state: state_lib.NormedState, hyper, context, key, batch):
        """One update by (x - r)^2 + 1 - MSGMS(x, r) + 1 - SSIM(x, r), r inpainted.

        Each step draws a cell size and a partition. Batch norms see the copies of a
        batch with all n sets masked; in public code the sets come one after the other.
        """
        images = batch["image"]
        masks_nhw = partitions.draw_any(key, self.size, self.cells, self.sets)

        def loss(params):
            output, updated = self.network.apply(
                {"params": params, "batch_stats": state.batch_stats},
                partitions.masked_copies(images, masks_nhw, self.mask_value),
                train=True,
                mutable=["batch_stats"],
            )
            inpainted = partitions.assemble(output, masks_nhw)
            terms = {
                "squared": reconstruction.mean_squared_error(inpainted, images),
                "msgms": gradient_similarity.msgms_loss(inpainted, images),
                "ssim": reconstruction.mean_ssim_loss(inpainted, images),
            }
            value = sum(hyper[f"{name}_weight"] * term for name, term in terms.items())
            metrics = {f"{name}_loss": term for name, term in terms.items()}
            return value, (metrics, updated)

        adam = optimizers.adam(*self.adam)
        return state_lib.update_with(state, adam, hyper["learning_rate"], loss)

    def result(self, state: state_lib.NormedState) -> base.Variables:
        return {"params": state.params, "batch_stats": state.batch_stats}

    @functools.cached_property
    def test_masks(self) -> np.ndarray:
        """Partitions for scoring, the same for all images: (K, n, H, W) bytes."""
        with jax.ensure_compile_time_eval():
            key = jax.random.key(0)
            masks_knhw = [
                partitions.draw(jax.random.fold_in(key, k), self.size, k, self.sets)
                for k in self.cells
            ]
            return np.stack(masks_knhw).astype(np.uint8)

    def inpaint(self, result, images_bhwc: jax.Array) -> jax.Array:
        """Images inpainted entirely, with each size of cells: (K, B, H, W, C)."""

        def with_partition(masks_nhw):
            copies = partitions.masked_copies(images_bhwc, masks_nhw, self.mask_value)
            output = self.network.apply(result, copies, train=False)
            return partitions.assemble(output, masks_nhw)

        return jax.lax.map(with_partition, jnp.asarray(self.test_masks))

    def preview(self, result, hyper, context, batch) -> jax.Array:
        """Images, and inpainted ones by the size of cells."""
        inpainted = self.inpaint(result, batch["image"])
        return jnp.concatenate([batch["image"], *inpainted], axis=2)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """1 - MSGMS of an image and itself inpainted, the mean over sizes of cells."""

    inpainting: InpaintingStage
    smoothing: int
    image_score: str

    title = "RIAD"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        scoring = config.scoring
        stage = InpaintingStage.from_config(config)
        return cls(stage, scoring.smoothing, scoring.image_score)

    @property
    def stages(self) -> tuple[InpaintingStage]:
        return (self.inpainting,)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """The smoothed mean of 1 - MSGMS, and the mean inpainted image."""
        stage = self.inpainting
        inpainted = stage.inpaint(variables[stage.name], images_bhwc)
        similarity = [
            gradient_similarity.msgms_map(images_bhwc, one) for one in inpainted
        ]
        maps = smoothing.mean(sum(similarity) / len(similarity), self.smoothing)
        picture = jnp.mean(inpainted, axis=0)
        return base.Maps(maps[:, None], pictures={"inpainted": picture[:, None]})
