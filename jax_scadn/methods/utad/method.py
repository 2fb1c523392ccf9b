"""UTAD: reconstruct an image through its impression, which is free of anomalies.

Liu et al., Unsupervised Two-Stage Anomaly Detection, arXiv 2103.11671. Stage 1 is in
`impression.py`, stage 2 in `expert.py`; here both score images.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import ml_collections

from jax_scadn.losses import distances
from jax_scadn.methods import base
from jax_scadn.methods.utad.expert import ExpertStage
from jax_scadn.methods.utad.impression import ImpressionStage

Params = Any


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """The trained method; hashable like its stages.

    Attributes:
      impression: stage 1.
      expert: stage 2; None for the ablation without it.
      distance: d of Eq. 8.
      image_score: 'mean' or 'max' of the anomaly map.
    """

    impression: ImpressionStage
    expert: ExpertStage | None
    distance: distances.Distance
    image_score: str

    title = "UTAD"

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        return cls(
            impression=ImpressionStage.from_config(config),
            expert=ExpertStage.from_config(config) if config.expert.enabled else None,
            distance=distances.Distance.from_config(config),
            image_score=config.scoring.image_score,
        )

    @property
    def stages(self) -> tuple[ImpressionStage | ExpertStage, ...]:
        """In the order of their training."""
        return (self.impression,) if not self.expert else (self.impression, self.expert)

    @property
    def frozen(self):
        return self.distance.frozen

    def maps(
        self,
        variables: base.Variables,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> base.Maps:
        """d(I, I^) + d(M, M~), Eq. 8.

        Of the image I, its reconstruction I^, the impression M and the naive
        impression M~; without Expert-Net d(I, M).
        """
        distance = self.distance.between(variables[base.FROZEN])
        impressions = self._impressions(variables, images_bhwc).image_bhwc
        pictures = {"impression": impressions}
        if self.expert is None:
            maps = distance(images_bhwc, impressions)
        else:
            translated = self.expert.translate(
                variables[self.expert.name], images_bhwc, impressions
            )
            pictures["naive impression"] = translated.naive_impression
            pictures["reconstruction"] = translated.reconstruction
            maps = distance(images_bhwc, translated.reconstruction)
            maps += distance(impressions, translated.naive_impression)
        candidates = {name: picture[:, None] for name, picture in pictures.items()}
        return base.Maps(maps[:, None], pictures=candidates)

    def embeddings(
        self, variables: base.Variables, images_bhwc: jax.Array
    ) -> jax.Array:
        """Means of the codes of images in [0, 1], (B, L)."""
        return self._impressions(variables, images_bhwc).mean_bl

    def _impressions(self, variables: base.Variables, images_bhwc: jax.Array):
        return self.impression.extract(variables[self.impression.name], images_bhwc)
