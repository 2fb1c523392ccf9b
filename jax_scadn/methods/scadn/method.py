"""SCADN: inpaint masked stripes with a GAN; what cannot be inpainted is anomalous.

Yan et al., Learning Semantic Context from Normal Samples for Unsupervised Anomaly
Detection, AAAI 2021. `inpainting.py` trains, here images are scored.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jax_scadn.losses import distances
from jax_scadn.methods import base
from jax_scadn.methods.scadn.inpainting import InpaintingStage
from jax_scadn.networks.layers.cpu import tiles
from jax_scadn.scoring import masks, merging
from jax_scadn.training import protocol

Params = Any

# Four images of 256 x 256: more in a call take more memory and are not faster.
_BUSY_PIXELS = 1 << 18


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The trained method: multi-mask inference; hashable like its stage."""

    inpainting: InpaintingStage
    stripe_pairs: tuple[int, ...]
    mask_value: float
    merge: str
    image_score: str
    distance: distances.Distance
    masks_per_call: int  # 0: by the number of pixels

    title = "SCADN"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(
            inpainting=InpaintingStage.from_config(config),
            stripe_pairs=tuple(config.masks.stripe_pairs),
            mask_value=config.masks.mask_value,
            merge=config.scoring.merge,
            image_score=config.scoring.image_score,
            distance=distances.Distance.from_config(config),
            masks_per_call=config.scoring.masks_per_call,
        )

    @property
    def stages(self) -> tuple[InpaintingStage]:
        return (self.inpainting,)

    # Devices that share an image take masks of each scale.
    shards_per_image = masks.MASKS_PER_SCALE

    @property
    def frozen(self):
        return self.distance.frozen

    @property
    def num_maps(self) -> int:
        """Number of scales."""
        return len(self.stripe_pairs)

    @functools.cached_property
    def masks_mhw(self):
        """The striped masks, 1 where masked."""
        return masks.striped(self.inpainting.size, self.stripe_pairs)

    def inpaint(self, generator: Params, images_bhwc: jax.Array, mask_hw: jax.Array):
        """The generator's output under one mask, (B, H, W, C)."""
        masked = masks.apply_mask(
            images_bhwc, mask_hw[None, :, :, None], self.mask_value
        )
        return self.inpainting.generator.apply({"params": generator}, masked)

    def candidates(
        self,
        generator: Params,
        images_bhwc: jax.Array,
        distance: Callable[[jax.Array, jax.Array], jax.Array],
        shared_by: str | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Each scale's error map (B, K, H, W) and inpainted image (B, K, H, W, C).

        Under a mask the error is the distance between the image and the image with
        its masked pixels inpainted, taken at those pixels (Eq. 6 where the distance
        is the squared error). Some images under some vmapped masks are inpainted at a
        time, see `chunk_sizes`, which bounds the memory.

        Args:
          generator: parameters.
          images_bhwc: in [0, 1].
          distance: of inpainted images and images, (B, H, W).
          shared_by: name of the mesh's axis whose devices share the masks.
        """
        masks_mhw = self._masks_of_this_device(shared_by)
        together, vmapped = self.chunk_sizes(len(masks_mhw), images_bhwc.shape)

        def of_images(images_bhwc):
            def under_mask(mask_hw):
                mask_hw = mask_hw.astype(images_bhwc.dtype)
                inpainted = self.inpaint(generator, images_bhwc, mask_hw)
                mask = mask_hw[None, :, :, None]
                filled = images_bhwc * (1 - mask) + inpainted * mask
                error = distance(filled, images_bhwc)
                return error * mask_hw[None], inpainted

            error_mbhw, inpainted_mbhwc = jax.lax.map(
                under_mask, masks_mhw, batch_size=vmapped
            )
            return (
                merging.scale_maps(error_mbhw, self.num_maps),
                merging.scale_inpainted(inpainted_mbhwc, masks_mhw, self.num_maps),
            )

        groups = images_bhwc.reshape(-1, together, *images_bhwc.shape[1:])
        mapped = jax.lax.map(of_images, groups)
        maps, pictures = (array.reshape(-1, *array.shape[2:]) for array in mapped)
        if shared_by:
            maps = jax.lax.pmax(maps, shared_by)
            pictures = jax.lax.psum(pictures, shared_by)
        return maps, pictures

    def _masks_of_this_device(self, shared_by: str | None) -> jax.Array:
        """All masks, or as many of each scale as fall to a device; bytes."""
        # The compiler keeps some copies of what is constant in a program.
        masks_mhw = jnp.asarray(self.masks_mhw, jnp.uint8)
        if shared_by is None:
            return masks_mhw
        shape = (self.num_maps, self.shards_per_image, *masks_mhw.shape[1:])
        masks_kmhw = masks_mhw.reshape(shape)
        count = self.shards_per_image // jax.lax.axis_size(shared_by)
        first = jax.lax.axis_index(shared_by) * count
        mine = jax.lax.dynamic_slice_in_dim(masks_kmhw, first, count, axis=1)
        return mine.reshape(-1, *masks_mhw.shape[1:])

    def chunk_sizes(self, masks: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Images, and masks of each, in one call of the generator.

        As many as keep a device busy, and the same numbers in each of the calls.

        Args:
          masks: how many there are.
          shape: of the images, (B, H, W, C).
        """
        count, height, width, _ = shape
        most = _BUSY_PIXELS // (height * width)
        of_each = self.masks_per_call or tiles.largest_divisor(masks, most)
        return tiles.largest_divisor(count, most // of_each), of_each

    def validation_error(
        self, result: Params, context: protocol.Context, images_bhwc: jax.Array
    ) -> jax.Array:
        """Mean absolute error of each image's worst scale, (B,).

        By it the authors' code chooses which weights to keep.
        """
        maps, _ = self.candidates(result, images_bhwc, distances.absolute)
        return jnp.max(jnp.mean(maps, axis=(2, 3)), axis=1)

    def maps(
        self,
        variables: base.Variables,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> base.Maps:
        """The map of each scale; see `candidates`."""
        distance = self.distance.between(variables[base.FROZEN])
        maps, inpainted = self.candidates(
            variables[self.inpainting.name], images_bhwc, distance, shared_by
        )
        return base.Maps(maps, pictures={"inpainted": inpainted})

    def summary(self, maps: base.Maps) -> jax.Array:
        """Mean of each scale's map, (B, K)."""
        return jnp.mean(maps.maps_bkhw, axis=(2, 3))

    def calibrate(self, summaries: np.ndarray) -> dict[str, np.ndarray]:
        """mu, the mean error of each scale on normal training images (Eq. 9)."""
        mu = np.mean(summaries, axis=0, dtype=np.float64)
        return {"mu": mu.astype(np.float32)}

    def select(self, statistics: base.Statistics, maps: base.Maps) -> merging.Scored:
        """The map of one scale, or of all merged, Eq. 8 and 9."""
        return merging.merge(
            self.merge,
            self.image_score,
            statistics["mu"],
            maps.maps_bkhw,
            maps.pictures,
        )
