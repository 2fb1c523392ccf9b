import jax
import numpy as np

from jax_scadn.training import coreset


def test_each_point_is_the_farthest_from_those_before():
    points = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    chosen = coreset.greedy_k_center(jax.random.key(0), points, 12)
    assert len(set(chosen.tolist())) == 12
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for count in range(1, 12):
        nearest = distances[:, chosen[:count]].min(axis=1)
        assert nearest[chosen[count]] >= nearest.max() * (1 - 1e-5)


def test_projected_features_still_cover_all_clusters():
    rng = np.random.default_rng(1)
    centres = 10 * rng.normal(size=(6, 300))
    points = np.repeat(centres, 50, axis=0) + rng.normal(size=(300, 300))
    chosen = coreset.greedy_k_center(jax.random.key(0), points.astype(np.float32), 6)
    assert sorted(chosen // 50) == list(range(6))


def test_at_most_all_points_are_chosen():
    points = np.eye(4, dtype=np.float32)
    assert sorted(coreset.greedy_k_center(jax.random.key(0), points, 9)) == [0, 1, 2, 3]
