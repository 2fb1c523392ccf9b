"""Patch memory: the distance of patch features to the nearest ones of normal images.

In the way of PatchCore (Roth et al., Towards Total Recall in Industrial Anomaly
Detection, CVPR 2022): features of a frozen encoder, a greedy k-centre coreset of them,
nearest neighbours, and a re-weighted image score. The encoder is a smaller one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jax_scadn.methods import base
from jax_scadn.networks.pretrained import efficientnet_lite, weights
from jax_scadn.runtime import errors
from jax_scadn.scoring import pairwise, smoothing
from jax_scadn.settings.fields import Field
from jax_scadn.training import coreset, protocol

FIELDS = {
    "data.size": Field(224, "pixels, both sides; a multiple of 32", least=32),
    "encoder.name": Field(
        "efficientnet_lite0", "pretrained network", choices=tuple(weights.ENCODERS)
    ),
    "encoder.weights": Field(
        "", "file of its weights; '' = the pip package's", is_path=True
    ),
    "encoder.stages": Field(
        ("stride_8", "stride_16"),
        "whose features are joined, at the size of the first",
        choices=tuple(efficientnet_lite.STAGES),
    ),
    "memory.size": Field(2000, "patches in the coreset", least=1),
    "memory.candidates": Field(
        40_000, "patches that it is chosen from, at random; 0 = all", least=0
    ),
    "memory.neighbours": Field(
        9,
        "patches of the memory that weight the image score; 1 = no weight",
        least=1,
        seen_by="scoring",
    ),
    "scoring.image_score": Field(
        "reweighted",
        "'reweighted': PatchCore's, of the farthest patch; or of the anomaly map",
        choices=("reweighted", "max", "mean"),
        seen_by="scoring",
    ),
    "scoring.smoothing": Field(
        4.0, "sigma of the Gaussian over the map, pixels", least=0, seen_by="scoring"
    ),
}
COLUMNS = {
    "patch memory": {
        "paper": {"data.size": 224},
        "paper/one_class": {"data.size": 32},
    }
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where numbers do not go together."""
    size = config.data.size
    if size % 32:
        raise errors.UserError(f"--config.data.size={size}: must be a multiple of 32")
    if not config.encoder.stages:
        raise errors.UserError("--config.encoder.stages: give one or more")


@dataclasses.dataclass(frozen=True)
class EncoderWeights:
    """The frozen encoder; hashable, and equal where the file is."""

    name: str
    path: str
    stages: tuple[str, ...]

    @property
    def network(self):
        return weights.ENCODERS[self.name].network(self.stages)

    def load(self) -> protocol.Variables:
        """The encoder's variables."""
        return weights.load(self.name, self.path, self.stages)


@dataclasses.dataclass(frozen=True)
class MemoryStage:
    """Keeps a coreset of the patch features of all training images."""

    encoder: EncoderWeights
    size: int
    candidates: int

    name = "memory"

    def features(self, context: protocol.Context, batch: protocol.Batch) -> jax.Array:
        """Features of each patch, (B, H', W', D).

        Each stage's are averaged over 3 x 3 positions, and brought to the size of the
        first stage.
        """
        features = self.encoder.network.apply(context.frozen["encoder"], batch["image"])
        joined = []
        for stage in self.encoder.stages:
            x = _mean_3x3(features[stage])
            shape = (*features[self.encoder.stages[0]].shape[:3], x.shape[-1])
            joined.append(jax.image.resize(x, shape, "bilinear"))
        return jnp.concatenate(joined, axis=-1)

    def solve(
        self, key: jax.Array, features: Iterator[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """'patches': (M, D), the coreset."""
        patches = np.concatenate([x.reshape(-1, x.shape[-1]) for x in features])
        draw, choose = jax.random.split(key)
        if 0 < self.candidates < len(patches):
            seed = int(jax.random.bits(draw))
            rows = np.random.default_rng(seed).choice(
                len(patches), self.candidates, replace=False
            )
            patches = patches[np.sort(rows)]
        return {"patches": patches[coreset.greedy_k_center(choose, patches, self.size)]}


def _mean_3x3(x_bhwc: jax.Array) -> jax.Array:
    """Mean of each position and those around it that are inside of the image."""

    def total(x):
        window = (1, 3, 3, 1)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * 4, "SAME")

    return total(x_bhwc) / total(jnp.ones_like(x_bhwc[:1, :, :, :1]))


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """Scores by the distance to the memory."""

    memory: MemoryStage
    neighbours: int
    smoothing: float
    image_score: str

    title = "patch memory"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        encoder = EncoderWeights(
            config.encoder.name, config.encoder.weights, tuple(config.encoder.stages)
        )
        memory = MemoryStage(encoder, config.memory.size, config.memory.candidates)
        scoring = config.scoring
        return cls(
            memory, config.memory.neighbours, scoring.smoothing, scoring.image_score
        )

    @property
    def stages(self) -> tuple[MemoryStage]:
        return (self.memory,)

    @property
    def frozen(self):
        return {"encoder": self.memory.encoder}

    def maps(
        self,
        variables: base.Variables,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> base.Maps:
        """Distances to the nearest patches of the memory, and image scores."""
        context = protocol.Context(variables[base.FROZEN], {})
        features = self.memory.features(context, {"image": images_bhwc})
        b, h, w, d = features.shape
        patches = variables[self.memory.name]["patches"]
        squared = pairwise.squared_distances(features.reshape(-1, d), patches)
        nearest = jnp.argmin(squared, axis=1).reshape(b, h * w)
        distances = jnp.sqrt(jnp.min(squared, axis=1)).reshape(b, h * w)
        shape = (b, 1, *images_bhwc.shape[1:3])
        maps = jax.image.resize(distances.reshape(b, 1, h, w), shape, "bilinear")
        maps = smoothing.gaussian(maps, self.smoothing)
        if self.image_score != "reweighted":
            return base.Maps(maps)
        farthest = jnp.argmax(distances, axis=1)
        rows = jnp.arange(b)
        scores = self._reweighted(
            features.reshape(b, h * w, d)[rows, farthest],
            patches,
            nearest[rows, farthest],
            distances[rows, farthest],
        )
        return base.Maps(maps, scores[:, None])

    def _reweighted(self, features_bd, patches_md, nearest_b, distances_b) -> jax.Array:
        """PatchCore's Eq. 7: less where the nearest patch is itself far from others.

        s = (1 - exp(|f - m|) / sum over the neighbours n of m of exp(|f - n|)) |f - m|
        """
        if self.neighbours < 2:
            return distances_b
        between = pairwise.squared_distances(patches_md[nearest_b], patches_md)
        count = min(self.neighbours, len(patches_md))
        _, around = jax.lax.top_k(-between, count)
        difference = features_bd[:, None] - patches_md[around]
        to_them = jnp.linalg.norm(difference, axis=-1)
        # The nearest patch is among its own neighbours, but for rounding.
        share = jnp.exp(distances_b - jax.nn.logsumexp(to_them, axis=1))
        return (1 - jnp.minimum(share, 1)) * distances_b
