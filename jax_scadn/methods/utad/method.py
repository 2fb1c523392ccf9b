"""UTAD: reconstruct an image through its impression, which is free of anomalies.

Liu et al., Unsupervised Two-Stage Anomaly Detection, arXiv 2103.11671. Stage 1 is in
`utad_impression.py`, stage 2 in `utad_expert.py`; here both score images.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import ml_collections

from jax_scadn.losses import distances
from jax_scadn.methods.utad.expert import ExpertStage
from jax_scadn.methods.utad.impression import ImpressionStage
from jax_scadn.scoring import merging

Params = Any


@dataclasses.dataclass(frozen=True)
class Utad:
    """The trained method; hashable like its stages.

    Attributes:
      impression: stage 1.
      expert: stage 2; None for the ablation without it.
      measure: the distance d of Eq. 8.
      image_score: 'mean' or 'max' of the anomaly map.
    """

    impression: ImpressionStage
    expert: ExpertStage | None
    measure: distances.Distance
    image_score: str

    maps = 1  # candidate maps of an image
    shares = 1  # an image is scored by one device

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Utad:
        """From resolved settings."""
        return cls(
            impression=ImpressionStage.from_config(config),
            expert=ExpertStage.from_config(config) if config.expert.enabled else None,
            measure=distances.Distance.from_config(config),
            image_score=config.scoring.image_score,
        )

    @property
    def stages(self) -> tuple[ImpressionStage | ExpertStage, ...]:
        """In the order of their training."""
        return (self.impression,) if not self.expert else (self.impression, self.expert)

    def inference_params(self, trained: dict[str, Params], measure: Params) -> Params:
        """What `score` needs.

        Args:
          trained: weights of each stage by its folder.
          measure: weights of the measure.
        """
        return {**trained, "measure": measure}

    def score(
        self, params: Params, mu_k: jax.Array, images_bhwc: jax.Array
    ) -> merging.Scored:
        """Anomaly maps and scores of images in [0, 1].

        The map is d(I, I^) + d(M, M~), Eq. 8, of the image I, its reconstruction I^,
        the impression M and the naive impression M~; without Expert-Net d(I, M).
        """

        def distance(pictures, others):
            return self.measure.distance(params["measure"], pictures, others)

        impressions = self._impressions(params, images_bhwc).image_bhwc
        pictures = {"impression": impressions}
        if self.expert is None:
            maps = distance(images_bhwc, impressions)
        else:
            translated = self.expert.translate(
                params[self.expert.folder], images_bhwc, impressions
            )
            pictures["naive impression"] = translated.naive_impression
            pictures["reconstruction"] = translated.reconstruction
            maps = distance(images_bhwc, translated.reconstruction)
            maps += distance(impressions, translated.naive_impression)
        candidates = {name: picture[:, None] for name, picture in pictures.items()}
        return merging.merge("max", self.image_score, mu_k, maps[:, None], candidates)

    def latent(self, params: Params, images_bhwc: jax.Array) -> jax.Array:
        """Means of the codes of images in [0, 1], (B, L)."""
        return self._impressions(params, images_bhwc).mean_bl

    def _impressions(self, params: Params, images_bhwc: jax.Array):
        return self.impression.extract(params[self.impression.folder], images_bhwc)
