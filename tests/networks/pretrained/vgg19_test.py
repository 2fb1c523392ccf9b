import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vgg19_arrays
from sklearn import datasets

from jax_scadn.networks.pretrained import vgg19, vgg19_weights


def photograph(size):
    """A crop of a photograph that comes with scikit-learn, (1, size, size, 3)."""
    image = datasets.load_sample_image("china.jpg")[100:, 200:][::2, ::2]
    return image[None, :size, :size].astype(np.float32) / 255


def by_numpy(arrays, images_bhwc):
    """The features in float64 from the definition of each layer."""

    def convolved(x, name):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        y = np.einsum("bhwcij,ijco->bhwo", windows, arrays[f"{name}/kernel"])
        return np.maximum(y + arrays[f"{name}/bias"], 0)

    def pooled(x):
        b, h, w, c = x.shape
        x = x[:, : h // 2 * 2, : w // 2 * 2]
        return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))

    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    first = convolved(convolved(images_bhwc, "conv1_1"), "conv1_2")
    second = convolved(convolved(pooled(first), "conv2_1"), "conv2_2")
    third = pooled(second)
    for name in ("conv3_1", "conv3_2", "conv3_3", "conv3_4"):
        third = convolved(third, name)
    return first, second, third


def assert_features_equal(features, expected):
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.mean())


def test_real_weights_on_a_photograph(shared):
    path = shared / "weights" / "vgg19_conv1_1_to_conv3_4.npz"
    images = photograph(36)
    expected = by_numpy(
        dict(np.load(path)),
        255.0 * images[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    )
    params = vgg19_weights.load(path)
    features = jax.jit(vgg19.Features().apply)({"params": params}, images)
    assert_features_equal(features, expected)
    assert 100 < np.mean(features[2]) < 2000


@pytest.mark.parametrize("size", [24, 22])  # 22 pools to 11 and 5
def test_random_weights_on_a_photograph(tmp_path, size):
    arrays = vgg19_arrays.random_arrays()
    np.savez(tmp_path / "vgg.npz", source="torchvision", **arrays)
    images = photograph(size)
    normed = (images - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    params = vgg19_weights.load(tmp_path / "vgg.npz")
    features = jax.jit(vgg19.Features().apply)({"params": params}, images)
    assert_features_equal(features, by_numpy(arrays, normed))


def test_nothing_after_the_last_layer_is_computed(tmp_path):
    np.savez(tmp_path / "vgg.npz", **vgg19_arrays.random_arrays())
    params = vgg19_weights.load(tmp_path / "vgg.npz")
    images = photograph(16)
    net = vgg19.Features(("conv2_2",))
    needed = jax.eval_shape(net.init, jax.random.key(0), images)["params"]
    assert set(needed) == {"mean", "std", "conv1_1", "conv1_2", "conv2_1", "conv2_2"}
    (features,) = jax.jit(net.apply)({"params": params}, images)
    assert features.shape == (1, 8, 8, 128)
    expected = jax.jit(vgg19.Features().apply)({"params": params}, images)[1]
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-4)


def test_grey_is_repeated_for_all_colours():
    net = vgg19.Features(("conv1_1",))
    images = photograph(16)[..., :1]
    variables = net.init(jax.random.key(0), images)
    (grey,) = net.apply(variables, images)
    (colour,) = net.apply(variables, np.repeat(images, 3, axis=-1))
    np.testing.assert_array_equal(grey, colour)
    with pytest.raises(ValueError, match=r"1 or 3 channels, not \(1, 16, 16, 4\)"):
        net.apply(variables, np.zeros((1, 16, 16, 4), np.float32))


def test_computes_in_the_dtype_and_keeps_parameters_in_float32():
    images = photograph(16)
    net = vgg19.Features(("conv1_2",), jnp.bfloat16)
    variables = net.init(jax.random.key(0), images)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    (features,) = net.apply(variables, images)
    assert features.dtype == jnp.bfloat16
    (exact,) = vgg19.Features(("conv1_2",)).apply(variables, images)
    np.testing.assert_allclose(features.astype(jnp.float32), exact, atol=0.05)
