"""A timed training loop for given settings, as in `jax_scadn.training`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_scadn import methods
from jax_scadn.data import pipeline, sources
from jax_scadn.training import loop, protocol


class Loop:
    """A training of one stage.

    Args:
      config: resolved settings.

    Attributes:
      stage: the trained stage.
      hyper: its hyperparameters, on the device.
      seed: of the run, on the device.
      state: on the device; each call continues from it.
      source: all training images.
      batches: an endless iterator of batches on the host.
    """

    def __init__(self, config):
        (self.stage,) = methods.create(config).stages
        self.hyper = jax.device_put(self.stage.hyperparameters(config))
        self.seed = jax.device_put(np.uint32(config.seed))
        self.source = pipeline.Images(sources.load(config.data, config.seed).train)
        examples = pipeline.first(self.source, 4)
        self.state = loop.init(self.stage, self.seed, protocol.EMPTY, examples)
        self.batches = pipeline.training_iterator(
            self.source,
            config.training.batch_size,
            config.seed,
            config.data.flip,
            config.data.threads,
        )

    def seconds(self, steps: int, next_batch: Callable[[], Any] | None = None) -> float:
        """Seconds of that many steps; losses are fetched one step late.

        Args:
          steps: at least one.
          next_batch: returns the batch of each step; None = from `batches`.
        """
        next_batch = next_batch or self.batches.__next__
        start = time.perf_counter()
        late = {}
        for _ in range(steps):
            batch = jax.device_put(next_batch())
            self.state, metrics = loop.train_step(
                self.stage, self.state, self.hyper, protocol.EMPTY, self.seed, batch
            )
            jax.device_get(late)
            late = metrics
        jax.block_until_ready(self.state)
        return time.perf_counter() - start
