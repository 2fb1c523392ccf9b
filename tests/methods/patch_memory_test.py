"""Distances and image scores of a memory of two patches, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.methods import patch_memory

PATCHES = np.float32([[0, 0], [3, 4]])
# Distances to the nearest patch: 1, 0, 0 and 2.
FEATURES = np.float32([[[[1, 0], [0, 0]], [[3, 4], [3, 6]]]])


@pytest.fixture
def select(monkeypatch):
    """Map and score of `FEATURES`, which stand in for the encoder's."""
    stage = patch_memory.MemoryStage
    monkeypatch.setattr(stage, "features", lambda self, _, batch: batch["image"])

    def select(image_score, neighbours=1):
        config = methods.default("patch_memory")
        config.scoring.image_score = image_score
        config.scoring.smoothing = 0.0
        config.memory.neighbours = neighbours
        method = methods.create(methods.resolve(config))
        variables = {"frozen": {}, "memory": {"patches": jnp.asarray(PATCHES)}}
        maps = jax.jit(method.maps)(variables, FEATURES)
        return method.select({}, maps)

    return select


def test_the_map_is_the_distance_to_the_nearest_patch(select):
    maps = select("reweighted").maps
    np.testing.assert_allclose(maps, [[[1, 0], [0, 2]]], atol=1e-6)


@pytest.mark.parametrize(("score", "expected"), [("max", 2.0), ("mean", 0.75)])
def test_scores_of_the_map(select, score, expected):
    np.testing.assert_allclose(select(score).scores, [expected], rtol=1e-6)


def test_reweighted_scores(select):
    np.testing.assert_allclose(select("reweighted").scores, [2], rtol=1e-6)
    # (3, 6) is 2 from (3, 4) and sqrt(45) from (0, 0).
    weight = 1 - np.exp(2) / (np.exp(2) + np.exp(np.sqrt(45)))
    scores = select("reweighted", neighbours=2).scores
    np.testing.assert_allclose(scores, [2 * weight], rtol=1e-6)
