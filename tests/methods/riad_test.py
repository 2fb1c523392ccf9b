"""RIAD's settings, step and partitions for scoring."""

import contract
import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.losses import gradient_similarity
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.size": 100}, "data.size=100: must be a multiple of 16"),
        (
            {"data.size": 36, "model.halvings": 1},
            "data.size=36: must be a multiple of 8",
        ),
        ({"masks.cells": (2, 3)}, "3 must divide data.size=256 into 3 cells or more"),
        ({"masks.cells": (256,)}, "256 must divide data.size=256 into 3 cells or more"),
        ({"masks.cells": ()}, "masks.cells: give one or more"),
        ({"scoring.smoothing": 20}, "scoring.smoothing=20: must be odd"),
        (
            {f"loss.{name}_weight": 0.0 for name in ("squared", "msgms", "ssim")},
            "one weight or more must be above 0",
        ),
    ],
)
def test_settings_that_do_not_go_together(changes, message):
    config = methods.default("riad")
    for field, value in changes.items():
        resolve.put(config, field, value)
    with pytest.raises(errors.UserError, match=message):
        methods.resolve(config)


def method_of(**changes):
    return methods.create(contract.resolved("riad", **changes))


def test_scoring_masks_tile_the_image_once_for_each_size_of_cells():
    (stage,) = method_of().stages
    masks = jax.jit(lambda: stage.test_masks)()  # the same within a traced function
    assert masks.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(masks.sum(axis=1), 1)
    np.testing.assert_array_equal(method_of().stages[0].test_masks, masks)
    cells = np.asarray(masks[1]).reshape(3, 4, 8, 4, 8)
    assert not np.ptp(cells, axis=(2, 4)).any()


@pytest.mark.slow
def test_the_map_is_the_smoothed_mean_over_sizes_of_cells(monkeypatch):
    """A network that does nothing: masked cells are grey."""
    method = method_of(scoring__smoothing=1)
    (stage,) = method.stages
    apply = lambda _, variables, x, train: x  # noqa: E731
    monkeypatch.setattr(type(stage.network), "apply", apply)
    images = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    maps = jax.jit(method.maps)({"inpainting": {}}, images)
    grey = np.full_like(images, 0.5)
    expected = jax.jit(gradient_similarity.msgms_map)(images, grey)
    np.testing.assert_allclose(maps.maps_bkhw[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(maps.pictures["inpainted"][:, 0], grey)
    smoothed = method_of(scoring__smoothing=3)
    again = jax.jit(smoothed.maps)({"inpainting": {}}, images).maps_bkhw[:, 0]
    middle = np.asarray(expected)[:, 4:7, 4:7].mean((1, 2))
    np.testing.assert_allclose(again[:, 5, 5], middle, rtol=1e-4)
