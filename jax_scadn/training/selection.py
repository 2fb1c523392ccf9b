"""Checkpoint selection by error on normal images."""

from __future__ import annotations

import functools
from typing import Any

import jax
import ml_collections
import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, sharding
from jax_scadn.training import protocol


@functools.partial(jax.jit, static_argnums=(0, 1))
def _error(method, mesh, result, context, images):
    error = sharding.shard_map_images(mesh, method.validation_error, replicated=2)
    return error(result, context, images_lib.as_float(images))


class Selection:
    """Measures the weights every few epochs.

    Args:
      config: resolved settings.
      method: whose `validation_error(result, context, images)` gives (B,) errors.
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

    def error(self, result: Any, context: protocol.Context) -> float:
        """Mean error over the normal images."""
        sharding.warm_up_collectives(self._mesh)
        result, context = sharding.replicate(self._mesh, (result, context))
        total = 0.0
        for batch in pipeline.padded_batches(self._images, self._batch_size):
            images = sharding.shard_batch(self._mesh, batch["image"])
            error = _error(self._method, self._mesh, result, context, images)
            error = distributed.gather_to_host(error)[batch["_mask"]]
            total += float(np.sum(error, dtype=np.float64))
        return total / len(self._images)
