import jax.numpy as jnp
import numpy as np

from jax_scadn.scoring import masks, merging


def test_scale_maps_take_the_largest_error_of_each_scale():
    error = np.zeros((8, 1, 1, 2), np.float32)
    error[:4, 0, 0, 0] = [1, 5, 2, 0]
    error[4:, 0, 0, 1] = [3, 0, 0, 4]
    maps = merging.scale_maps(jnp.asarray(error), 2)
    assert maps.shape == (1, 2, 1, 2)
    np.testing.assert_array_equal(maps[0, :, 0], [[5, 0], [0, 4]])


def test_inpainted_images_consist_of_masked_pixels():
    striped = masks.striped(32, (2, 4))
    # The right value where the pixel is masked, a wrong one where it is visible.
    inpainted = np.where(striped[:, None, :, :, None] == 1, 0.25, 99.0)
    pictures = merging.scale_inpainted(jnp.asarray(inpainted), jnp.asarray(striped), 2)
    assert pictures.shape == (1, 2, 32, 32, 1)
    np.testing.assert_allclose(pictures, 0.25)


MAPS = jnp.array([[[[1.0, 3.0]], [[2.0, 2.5]]], [[[4.0, 4.0]], [[0.0, 2.0]]]])
PICTURES = {"inpainted": jnp.arange(8.0).reshape(2, 2, 1, 2, 1)}


def test_max_takes_the_largest_mean():
    scored = merging.merge("max", "mean", jnp.zeros(2), MAPS, PICTURES)
    np.testing.assert_array_equal(scored.scales, [1, 0])
    np.testing.assert_array_equal(scored.scores, [2.25, 4.0])
    np.testing.assert_array_equal(scored.maps[0], MAPS[0, 1])
    np.testing.assert_array_equal(
        scored.pictures["inpainted"][1], PICTURES["inpainted"][1, 0]
    )


def test_max_mu_subtracts_mu_for_the_choice_but_not_from_the_score():
    scored = merging.merge("max_mu", "max", jnp.array([0.0, 1.0]), MAPS, PICTURES)
    np.testing.assert_array_equal(scored.scales, [0, 0])
    np.testing.assert_array_equal(scored.scores, [3.0, 4.0])  # the maps' maxima
    scored = merging.merge("max_mu", "mean", jnp.array([0.0, 1.0]), MAPS, PICTURES)
    np.testing.assert_array_equal(scored.scores, [2.0, 4.0])


def test_mean_averages_maps_and_pictures():
    scored = merging.merge("mean", "mean", jnp.zeros(2), MAPS, PICTURES)
    np.testing.assert_array_equal(scored.scales, [-1, -1])
    np.testing.assert_array_equal(scored.maps[0], [[1.5, 2.75]])
    np.testing.assert_array_equal(scored.scores, [2.125, 2.5])
    mean = PICTURES["inpainted"][0].mean(axis=0)
    np.testing.assert_array_equal(scored.pictures["inpainted"][0], mean)
