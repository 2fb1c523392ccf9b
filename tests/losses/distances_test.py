import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import vgg19_arrays
from PIL import Image
from scipy import ndimage

from jax_scadn.losses import distances
from jax_scadn.networks.pretrained import vgg19
from jax_scadn.runtime import errors, sharding
from jax_scadn.settings import base

NORMALISATIONS = base.FIELDS["scoring.normalisation"].choices

SHAPE = (2, 32, 24, 3)


@functools.partial(jax.jit, static_argnums=0)
def compute(distance, params, a_bhwc, b_bhwc):
    return distance.distance(params, a_bhwc, b_bhwc)


def pair(seed=0, shape=SHAPE):
    """Two smooth, slightly different images."""
    rng = np.random.default_rng(seed)
    a = ndimage.gaussian_filter(rng.random(shape), (0, 2, 2, 0)).astype(np.float32)
    return a, (a + 0.1 * rng.random(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Path of random VGG-19 weights."""
    path = tmp_path_factory.mktemp("weights") / "vgg19.npz"
    np.savez(path, **vgg19_arrays.random_arrays())
    return str(path)


@pytest.fixture(scope="module")
def params(weights):
    """Parameters of 'pm'."""
    return distances.Distance("pm").load_params(weights)


def only(params, layer):
    """The parameters of one layer's distance."""
    return params | {"scales": params["scales"][vgg19.LAYERS.index(layer)][None]}


def test_pixel_differences_by_hand():
    a = np.array([0.5, 1.0, 0.0, 0.0], np.float32).reshape(1, 1, 2, 2)
    b = np.array([0.0, 0.0, 0.0, 0.5], np.float32).reshape(1, 1, 2, 2)
    squared = compute(distances.Distance("squared"), {}, a, b)
    absolute = compute(distances.Distance("absolute"), {}, a, b)
    np.testing.assert_allclose(squared, [[[0.625, 0.125]]])
    np.testing.assert_allclose(absolute, [[[0.75, 0.25]]])


def test_ssim_is_the_usual_formula():
    a, b = pair()

    def blur(x):
        return ndimage.gaussian_filter(x, (0, 1.5, 1.5, 0), truncate=5 / 1.5)

    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = blur(a64), blur(b64)
    variances = blur(a64**2) - mean_a**2 + blur(b64**2) - mean_b**2
    covariance = blur(a64 * b64) - mean_a * mean_b
    ssim = ((2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_a**2 + mean_b**2 + 1e-4) * (variances + 9e-4)
    )
    ours = compute(distances.Distance("ssim"), {}, a, b)
    np.testing.assert_allclose(ours, ((1 - ssim) / 2).mean(-1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", base.FIELDS["scoring.distance"].choices)
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_have_the_images_size_and_are_0_for_equal_images(params, name, channels):
    distance = distances.Distance(name)
    shape = (1, 70, 50, channels)
    a, _ = pair(shape=shape)
    b = a.copy()
    b[:, :4, :4] = 1 - b[:, :4, :4]
    params = only(params, name) if name in vgg19.LAYERS else params
    np.testing.assert_array_equal(compute(distance, params, a, a), 0)
    maps = np.asarray(compute(distance, params, a, b))
    assert (maps.shape, maps.dtype) == (shape[:3], np.float32)
    assert maps.min() >= 0
    assert np.all(maps[:, :2, :2] > 0)
    np.testing.assert_array_equal(maps[:, 40:, 40:], 0)


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("relative", [1 / (3.5 + 2), 0, 2 / (1 + 2), 0]),
        ("layer", [0.5, 0, 1, 0]),
        ("unit", [1 - 24 / 25, 0, 0.5, 0]),
        ("none", [1, 0, 2, 0]),
    ],
)
def test_feature_distances_by_hand(normalisation, expected):
    a = np.array([[3, 4], [0, 2], [4, 0], [0, 0]], np.float32)[None, None]
    b = np.array([[4, 3], [0, 2], [0, 0], [0, 0]], np.float32)[None, None]
    ours = distances.feature_distance(normalisation, a, b, 2.0)
    np.testing.assert_allclose(ours, np.array([[expected]]), atol=1e-6)
    back = distances.feature_distance(normalisation, b, a, 2.0)
    np.testing.assert_array_equal(ours, back)
    rough = [jnp.asarray(x, jnp.bfloat16) for x in (a, b)]
    np.testing.assert_array_equal(
        distances.feature_distance(normalisation, *rough, 2.0), ours
    )


def test_perceptual_distance_is_the_weighted_sum_of_its_layers(params):
    a, b = pair()
    layer_weights = (0.5, 2.0, 3.0)
    expected = sum(
        weight * compute(distances.Distance(layer), only(params, layer), a, b)
        for weight, layer in zip(layer_weights, vgg19.LAYERS, strict=True)
    )
    ours = compute(distances.Distance("pm", layer_weights), params, a, b)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("layer", vgg19.LAYERS)
def test_a_layers_distance_is_upsampled_bilinearly(params, layer):
    a, b = pair()
    net = vgg19.Features((layer,))
    (features_a,) = net.apply({"params": params["vgg19"]}, a)
    (features_b,) = net.apply({"params": params["vgg19"]}, b)
    coarse = np.abs(np.asarray(features_a) - np.asarray(features_b)).mean(-1)
    factor = SHAPE[1] // coarse.shape[1]
    y, x = ((np.arange(n) + 0.5) / factor - 0.5 for n in SHAPE[1:3])
    grid = np.meshgrid(y, x, indexing="ij")
    expected = [
        ndimage.map_coordinates(one, grid, order=1, mode="nearest") for one in coarse
    ]
    distance = distances.Distance(layer, normalisation="none")
    ours = compute(distance, only(params, layer), a, b)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def scaled_params(tmp_path_factory, weights):
    """The same network with scaled kernels, as if trained on other units."""
    arrays, scale = dict(np.load(weights)), 1.0
    for i, name in enumerate(vgg19.CONVOLUTIONS):
        factor = (0.1, 3.0)[i % 2]
        scale *= factor
        arrays[f"{name}/kernel"] = arrays[f"{name}/kernel"] * np.float32(factor)
        arrays[f"{name}/bias"] = arrays[f"{name}/bias"] * np.float32(scale)
    path = tmp_path_factory.mktemp("weights") / "scaled.npz"
    np.savez(path, **arrays)
    return distances.Distance("pm").load_params(str(path))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_sources_whose_features_differ_in_scale_agree(
    params, scaled_params, normalisation
):
    distance = distances.Distance("pm", normalisation=normalisation)
    a, b = pair()
    ours = compute(distance, params, a, b)
    scaled = compute(distance, scaled_params, a, b)
    same = np.allclose(scaled, ours, rtol=1e-3)
    assert same == (normalisation != "none")


def test_parameters_are_only_what_the_distance_needs(weights, params):
    assert distances.Distance("ssim").load_params() == {}
    assert distances.Distance("ssim").init() == {}
    first = distances.Distance("conv1_2").load_params(weights)
    assert set(first["vgg19"]) == {"mean", "std", "conv1_1", "conv1_2"}
    np.testing.assert_allclose(first["scales"], params["scales"][:1], rtol=1e-5)

    def shapes(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    for name, loaded in (("conv1_2", first), ("pm", params)):
        assert shapes(jax.eval_shape(distances.Distance(name).init)) == shapes(loaded)


def test_missing_weights_are_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(errors.UserError, match="this distance needs VGG-19's weights"):
        distances.Distance("pm").load_params("")


def test_settings():
    config = ml_collections.ConfigDict({"dtype": "bfloat16", "scoring": {}})
    config.vgg_weights = "vgg19.npz"
    config.scoring.distance = "pm"
    config.scoring.layer_weights = [1.0, 0.5, 0.25]  # as from JSON
    config.scoring.normalisation = "layer"
    distance = distances.Distance.from_config(config)
    assert distance == distances.Distance(
        "pm", (1.0, 0.5, 0.25), "layer", "bfloat16", "vgg19.npz"
    )
    assert hash(distance) == hash(dataclasses.replace(distance))
    assert distance.uses_vgg
    assert not distances.Distance("squared").uses_vgg


def test_bfloat16_is_close_and_its_maps_are_float32(params):
    a, b = pair()
    exact = compute(distances.Distance("pm"), params, a, b)
    maps = compute(distances.Distance("pm", dtype="bfloat16"), params, a, b)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, exact, atol=0.05 * float(exact.max()))
    assert not np.allclose(maps, exact, rtol=1e-5)


@pytest.mark.parametrize("name", ["ssim", "pm"])
def test_under_vmap_and_shard_map(params, name):
    distance = distances.Distance(name)
    a, b = pair()
    others_mbhwc = np.stack([b, a, b / 2])
    expected = [compute(distance, params, a, other) for other in others_mbhwc]

    def compared(params, a_bhwc):
        return jax.vmap(
            lambda other: distance.distance(params, a_bhwc, other), out_axes=1
        )(others_mbhwc)

    mesh = sharding.mesh(1)
    ours = jax.jit(sharding.shard_map_images(mesh, compared, 1))(params, a)
    np.testing.assert_allclose(np.swapaxes(ours, 0, 1), expected, rtol=1e-3, atol=1e-5)


def test_shapes_have_to_agree():
    a, b = np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 1\) != \(1, 8, 8, 3\)"):
        distances.Distance("squared").distance({}, a, b)


def test_a_real_defect_stands_out(shared):
    """A chipped bottle against a good one, by the perceptual distance."""
    folder = shared / "data" / "mvtec_ad" / "bottle"

    def read(path):
        image = Image.open(folder / path).convert("RGB").resize((64, 64))
        return np.asarray(image, np.float32)[None] / 255

    defect = read("ground_truth/broken_large/000_mask.png")[0, ..., 0] > 0.5
    distance = distances.Distance("pm")
    path = shared / "weights" / "vgg19_conv1_1_to_conv3_4.npz"
    params = distance.load_params(str(path))
    np.testing.assert_allclose(params["scales"], [107, 103, 428], rtol=0.1)
    good = read("train/good/000.png")
    maps = compute(distance, params, read("test/broken_large/000.png"), good)[0]
    assert np.mean(maps[defect]) > 2 * np.mean(maps[~defect])
