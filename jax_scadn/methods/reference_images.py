"""Reference images: the distance to the mean or to the nearest training image.

Closed-form baselines, hard to beat where parts are aligned. The map is the squared
difference, averaged over channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jax_scadn.methods import base
from jax_scadn.settings.fields import Field
from jax_scadn.training import protocol

KINDS = ("mean", "nearest")
FIELDS = {
    "reference.kind": Field(
        "nearest", "which training image is the reference", choices=KINDS
    ),
}
COLUMNS = {
    f"{kind} image": {"always": {"reference.kind": kind}, "paper": {"data.size": 256}}
    for kind in KINDS
}
_LEVELS = 65535  # images are kept as 16 bit, which 8 bit are exact in


@dataclasses.dataclass(frozen=True)
class ReferenceStage:
    """Takes the mean of the training images, or keeps all of them."""

    kind: str

    name = "reference"

    def features(self, context: protocol.Context, batch: protocol.Batch) -> jax.Array:
        """The images as they are, 16 bit."""
        return _levels(batch["image"])

    def solve(
        self, key: jax.Array, features: Iterator[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """'mean': (H, W, C) float32 in [0, 1]; 'images': (n, H, W, C) uint16."""
        images = np.concatenate(list(features))
        mean = np.mean(images, axis=0, dtype=np.float64) / _LEVELS
        result = {"mean": mean.astype(np.float32)}
        if self.kind == "nearest":
            result["images"] = images
        return result


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """Squared difference to one reference image."""

    kind: str
    image_score: str

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(config.reference.kind, config.scoring.image_score)

    @property
    def title(self) -> str:
        return f"{self.kind} image"

    @property
    def stages(self) -> tuple[ReferenceStage]:
        return (ReferenceStage(self.kind),)

    def maps(
        self,
        variables: base.Variables,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> base.Maps:
        """Squared differences to the reference."""
        fitted = variables[ReferenceStage.name]
        if self.kind == "nearest":
            # Of whole numbers: where levels are equal the map is 0, and equal
            # differences are equal values.
            nearest = fitted["images"][_nearest(fitted, images_bhwc)].astype(jnp.int32)
            levels = _levels(images_bhwc).astype(jnp.int32)
            difference = (levels - nearest).astype(jnp.float32) / _LEVELS
            reference = nearest.astype(jnp.float32) / _LEVELS
        else:
            reference = jnp.broadcast_to(fitted["mean"][None], images_bhwc.shape)
            difference = images_bhwc - reference
        maps = jnp.mean(jnp.square(difference), axis=-1)
        return base.Maps(maps[:, None], pictures={"reference": reference[:, None]})


def _levels(images_bhwc: jax.Array) -> jax.Array:
    """Images in [0, 1] as 16 bit."""
    return jnp.round(images_bhwc * _LEVELS).astype(jnp.uint16)


def _nearest(fitted: dict[str, jax.Array], images_bhwc: jax.Array) -> jax.Array:
    """Index of the training image at the smallest squared L2 distance of each image."""

    def centred(images):
        # Differences to the mean are small, and so are the rounding errors of products.
        return (images - fitted["mean"][None]).reshape(len(images), -1)

    references = fitted["images"].astype(jnp.float32) / _LEVELS
    a, b = centred(images_bhwc), centred(references)
    products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.sum(jnp.square(b), axis=1)[None] - 2 * products
    return jnp.argmin(distances, axis=1)
