"""Which weights to keep: those with the lowest error on normal training images."""

from __future__ import annotations

import functools
from typing import Any

import jax
import ml_collections
import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, sharding


@functools.partial(jax.jit, static_argnums=(0, 1))
def _error(method, mesh, params, images):
    error = sharding.shard_map_images(mesh, method.selection_error, replicated=1)
    return error(params, images_lib.as_float(images))


class Selection:
    """Measures the weights every few epochs.

    Args:
      config: resolved settings.
      method: whose `selection_error(params, images)` gives (B,) errors.
      train: normal training images.
      batch_size: of the training.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        method,
        train: records.Split,
        batch_size: int,
    ):
        self.wanted = config.selection.keep == "best"
        self._every = 0
        if not self.wanted:
            return
        epoch = pipeline.batches_per_epoch(len(train), batch_size)
        self._every = config.selection.every_epochs * epoch
        self._method = method
        self._images = train.first(config.selection.images)
        self._mesh, self._batch_size = sharding.scoring_mesh(
            config.scoring.images_per_call
        )

    def due(self, step: int) -> bool:
        """Whether the weights are to be measured after that many updates."""
        return self._every > 0 and step % self._every == 0

    def error(self, params: Any) -> float:
        """Mean error over the normal images."""
        sharding.warm_up_collectives(self._mesh)
        params = sharding.replicate(self._mesh, params)
        total = 0.0
        for batch in pipeline.padded_batches(self._images, self._batch_size):
            images = sharding.shard_batch(self._mesh, batch["image"])
            error = _error(self._method, self._mesh, params, images)
            error = distributed.gather_to_host(error)[batch["_mask"]]
            total += float(np.sum(error, dtype=np.float64))
        return total / len(self._images)
