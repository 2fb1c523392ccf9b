"""What a method is to the library, and the defaults of what it may leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scadn.scoring.merging import Scored
from jax_scadn.training import protocol

FROZEN = "frozen"  # key of pretrained networks among a method's variables

Variables = Any
Statistics = Any


class Maps(NamedTuple):
    """Candidates for the anomaly map of each image; K of them.

    Attributes:
      maps_bkhw: (B, K, H, W); None where a method has image scores only.
      scores_bk: (B, K) image scores; None: they are the mean or maximum of the map.
      pictures: (B, K, H, W, C) in [0, 1] by name, such as reconstructions.
    """

    maps_bkhw: jax.Array | None
    scores_bk: jax.Array | None = None
    pictures: Mapping[str, jax.Array] = {}


class Method:
    """A bundle of pure functions; hashable and equal where its programs are.

    The variables of a method are {FROZEN: {name: ...}, stage name: ...}. Optional,
    and absent by default:

      summary(maps)                a small tree of (b, ...), on the device: what
                                   `calibrate` needs of each training image
      calibrate(summaries)         statistics of a tree of NumPy arrays (n, ...)
      validation_error(result, context, images)   (B,) errors of images in [0, 1], for
                                   selection.keep='best'
      embeddings(variables, images)   (B, L) codes of images in [0, 1]

    Attributes:
      title: as papers write it.
      stages: what is trained or solved, one after the other.
      frozen: pretrained networks by name.
      image_score: 'mean' (the default) or 'max' of the map, where `maps` gives no
        scores.
      num_maps: K of `maps`.
      shards_per_image: into how many shards the work on an image can be split; where
        it is more than 1, `maps` takes `shared_by`, the axis of devices that share one.
    """

    title: str
    stages: Sequence[protocol.GradientStage | protocol.ClosedFormStage]
    num_maps = 1
    shards_per_image = 1

    @classmethod
    def from_config(cls, config):
        """From resolved settings."""
        raise NotImplementedError

    @property
    def frozen(self) -> Mapping[str, protocol.Pretrained]:
        return {}

    def maps(
        self,
        variables: Variables,
        images_bhwc: jax.Array,
        shared_by: str | None = None,
    ) -> Maps:
        """Anomaly maps of images in [0, 1], (B, H, W, C)."""
        raise NotImplementedError

    def select(self, statistics: Statistics, maps: Maps) -> Scored:
        """The map and the score of each image: here the only ones.

        Args:
          statistics: from `calibrate`; {} without.
          maps: of a batch.
        """
        del statistics
        only = jax.tree.map(lambda candidates: candidates[:, 0], maps)
        scores = only.scores_bk
        if scores is None:
            # Not a class attribute: it would be the default of dataclasses' fields.
            image_score = getattr(self, "image_score", "mean")
            reduce = jnp.mean if image_score == "mean" else jnp.max
            scores = reduce(only.maps_bkhw, axis=(1, 2))
        return Scored(only.maps_bkhw, scores, None, None, dict(only.pictures))


def summarises(method: Method) -> bool:
    """Whether calibration needs a pass over the training images."""
    return hasattr(method, "summary")
