"""Every form of a convolution is the plain one, and so are its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.layers import convolution, layers
from jax_scadn.networks.layers.cpu import winograd

pytestmark = pytest.mark.jax_version

WIDE = 64

# (size, taps), and how: what a CPU computes in a form of its own.
FAST = {
    "3x3": ((8, 3), {"pad": 1}),
    "3x3 unpadded": ((6, 3), {}),
    "dilated": ((12, 3), {"dilation": 2}),
    "dilated by 3": ((12, 3), {"dilation": 3, "pad": 3}),
    "4x4 by 2": ((12, 4), {"stride": 2, "pad": 1}),
    "enlarged": ((5, 3), {"pad": 1, "twice": True}),
    "enlarged, even": ((4, 3), {"pad": 1, "twice": True}),
    "1x1, narrow": ((4, 1, (3, 8)), {}),
    "1x1, enlarged": ((4, 1), {"twice": True}),
    "5x5, enlarged": ((5, 5), {"pad": 2, "twice": True}),
    "narrow, enlarged": ((4, 5, (32, 33)), {"pad": 2, "twice": True}),
    "5x5, enlarged, mirrored": ((5, 5), {"pad": 2, "twice": True, "mirror": True}),
    "mirrored, as small as may be": ((3, 5), {"pad": 2, "twice": True, "mirror": True}),
    "3x3, mirrored": ((8, 3), {"pad": 1, "mirror": True}),
    "smaller than its kernel": ((4, 4), {"pad": 1}),
}
# A CPU has a channel for each row of the kernel.
ROW_BY_ROW = {
    "7x7 to an image": ((12, 7, (16, 3)), {"pad": 3}),
    "7x7 to an image, mirrored": ((12, 7, (16, 3)), {"pad": 3, "mirror": True}),
    "4x4 to a logit": ((8, 4, (WIDE, 1)), {"pad": 1}),
}
PLAIN = {
    "4x4 by 2 to an image": ((12, 4, (16, 3)), {"stride": 2, "pad": 1}),
    "odd": ((7, 3), {"pad": 1}),
    "odd for its dilation": ((10, 3), {"dilation": 2}),
    "odd, by 2": ((6, 4), {"stride": 2, "pad": 1}),
    "7x7": ((12, 7), {"pad": 3}),
    "4x4": ((8, 4), {"pad": 1}),
    "3x3, enlarged, mirrored": ((5, 3), {"pad": 1, "twice": True, "mirror": True}),
    "5x5, enlarged, less padded": ((5, 5), {"pad": 1, "twice": True}),
}


def arrays(size, taps, channels=(WIDE, WIDE + 1)):
    x = jax.random.normal(jax.random.key(0), (2, size, size + 12, channels[0]))
    kernel = jax.random.normal(jax.random.key(1), (taps, taps, *channels))
    return x, kernel / (taps * channels[0] ** 0.5)


def reference(x, kernel, stride=1, pad=0, dilation=1, twice=False, mirror=False):
    """XLA's convolution, in float32."""
    if twice:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    if mirror:
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        pad = 0
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def program(how, *arguments, platform="cpu"):
    """The compiler's input on that platform."""
    traced = jax.jit(functools.partial(convolution.convolve, **how)).trace(*arguments)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=2e-5 * float(expected.std()))


@pytest.mark.parametrize("name", [*FAST, *ROW_BY_ROW, *PLAIN])
def test_value_and_gradients_are_those_of_the_plain_convolution(name):
    shape, how = (FAST | ROW_BY_ROW | PLAIN)[name]
    x, kernel = arrays(*shape)
    ours = functools.partial(convolution.convolve, **how)
    expected = reference(x, kernel, **how)
    slope = jax.random.normal(jax.random.key(2), expected.shape)

    def value_and_slopes(function, x, kernel):
        y, pull_back = jax.vjp(function, x, kernel)
        return y, *pull_back(slope)

    compiled = jax.jit(value_and_slopes, static_argnums=0)
    theirs = compiled(functools.partial(reference, **how), x, kernel)
    for actual, wanted in zip(compiled(ours, x, kernel), theirs, strict=True):
        assert actual.shape == wanted.shape
        assert_close(actual, wanted)


@pytest.mark.parametrize("name", [*FAST, *PLAIN])
def test_a_cpu_has_its_own_form_and_a_gpu_the_convolution(name):
    shape, how = (FAST | PLAIN)[name]
    x, kernel = arrays(*shape)
    assert ("convolution" in program(how, x, kernel)) == (name in PLAIN)
    assert "convolution" in program(how, x, kernel, platform="cuda")


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_few_channels_come_out_row_by_row_on_a_cpu(name):
    shape, how = ROW_BY_ROW[name]
    x, kernel = arrays(*shape)
    rows, columns, inputs, outputs = kernel.shape
    of_rows = f"tensor<1x{columns}x{inputs}x{rows * outputs}xf32>"
    assert of_rows in program(how, x, kernel)
    assert of_rows not in program(how, x, kernel, platform="cuda")


def test_narrow_and_bfloat16_convolutions_stay_plain():
    shape, how = FAST["3x3"]
    assert "convolution" in program(how, *arrays(*shape, channels=(WIDE - 1, WIDE)))
    assert "convolution" in program(how, *arrays(*shape, channels=(WIDE, WIDE - 1)))
    half = [array.astype(jnp.bfloat16) for array in arrays(*shape)]
    assert "convolution" in program(how, *half)


def test_variants_with_kernels_of_their_own():
    """As in an ablation whose variants are trained in one batch."""
    shape, how = FAST["dilated"]
    x, kernel = arrays(*shape)
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel**2])

    def slope(x, kernel):
        return jax.grad(lambda k: jnp.mean(convolution.convolve(x, k, **how) ** 2))(
            kernel
        )

    together = jax.jit(jax.vmap(slope))(xs, kernels)
    for index in range(2):
        assert_close(together[index], jax.jit(slope)(xs[index], kernels[index]))


@pytest.mark.parametrize(
    ("algorithm", "repeats", "first"),
    [
        (winograd.THREE_TAPS, 1, 0),
        (winograd.TWO_TAPS, 1, 0),
        (winograd.THREE_TAPS_ON_TWICE, 2, 1),
        (winograd.FIVE_TAPS_ON_TWICE, 2, 0),
    ],
)
def test_filters_are_exact_in_one_dimension(algorithm, repeats, first):
    """Whole numbers and halves: every digit is the correlation's."""
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, algorithm.inputs)
    taps = rng.integers(-9, 9, len(algorithm.kernel[0]))
    products = (np.array(algorithm.kernel) @ taps) * (np.array(algorithm.data) @ x)
    inputs = np.repeat(x, repeats)[first:]
    expected = np.correlate(inputs, taps, "valid")[: algorithm.outputs]
    np.testing.assert_array_equal(np.array(algorithm.output) @ products, expected)
    assert len(products) < algorithm.outputs * len(taps)


def test_upsample_repeats_pixels():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    np.testing.assert_array_equal(convolution.upsample_nearest(x)[0, ..., 0], expected)


def test_the_layer_hands_on_all_of_its_fields():
    layer = layers.Conv(WIDE, 3, stride=2, pad=2, dilation=2, twice=True, mirror=True)
    x, _ = arrays(8, 3)
    variables = layer.init(jax.random.key(0), x)
    expected = reference(x, variables["params"]["conv"]["kernel"], 2, 2, 2, True, True)
    assert_close(layer.apply(variables, x), expected)
