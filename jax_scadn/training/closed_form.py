"""Stages without gradients: features of every training image, then a solution."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, sharding
from jax_scadn.training import protocol


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features(stage, mesh, context, images):
    def features(context, images):
        return stage.features(context, {"image": images_lib.as_float(images)})

    return sharding.shard_map_images(mesh, features, replicated=1)(context, images)


def fit(
    stage: protocol.ClosedFormStage,
    train: records.Split,
    context: protocol.Context,
    seed: int,
    images_per_call: int,
) -> Any:
    """The stage's result.

    Args:
      stage: what to solve.
      train: normal images; each is seen once, and none is left out.
      context: see `protocol.Context`.
      seed: of `solve`'s key.
      images_per_call: images whose features are computed together.
    """
    mesh, batch_size = sharding.scoring_mesh(images_per_call)
    sharding.warm_up_collectives(mesh)
    context = sharding.replicate(mesh, context)

    def batches():
        for batch in pipeline.padded_batches(train, batch_size):
            images = sharding.shard_batch(mesh, batch["image"])
            features = distributed.gather_to_host(
                _features(stage, mesh, context, images)
            )
            yield jax.tree.map(lambda x, kept=batch["_mask"]: x[kept], features)

    return stage.solve(jax.random.key(seed), batches())
