"""Every form of a convolution and its gradients equal the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.layers import convolution, layers
from jax_scadn.networks.layers.cpu import winograd

pytestmark = pytest.mark.jax_version

WIDE = 64

# (size, taps) and options of convolutions with a form for CPUs.
FAST = {
    "3x3": ((8, 3), {"pad": 1}),
    "3x3 unpadded": ((6, 3), {}),
    "dilated": ((12, 3), {"dilation": 2}),
    "dilated by 3": ((12, 3), {"dilation": 3, "pad": 3}),
    "4x4 by 2": ((12, 4), {"stride": 2, "pad": 1}),
    "upsampled": ((5, 3), {"pad": 1, "upsample": 2}),
    "upsampled, even": ((4, 3), {"pad": 1, "upsample": 2}),
    "1x1, narrow": ((4, 1, (3, 8)), {}),
    "1x1, upsampled": ((4, 1), {"upsample": 2}),
    "5x5, upsampled": ((5, 5), {"pad": 2, "upsample": 2}),
    "narrow, upsampled": ((4, 5, (32, 33)), {"pad": 2, "upsample": 2}),
    "5x5, upsampled, reflected": (
        (5, 5),
        {"pad": 2, "upsample": 2, "padding": "reflect"},
    ),
    "reflected, as small as possible": (
        (3, 5),
        {"pad": 2, "upsample": 2, "padding": "reflect"},
    ),
    "3x3, reflected": ((8, 3), {"pad": 1, "padding": "reflect"}),
    "smaller than its kernel": ((4, 4), {"pad": 1}),
}
# On CPUs each row of the kernel becomes a channel.
ROW_BY_ROW = {
    "7x7 to an image": ((12, 7, (16, 3)), {"pad": 3}),
    "7x7 to an image, reflected": ((12, 7, (16, 3)), {"pad": 3, "padding": "reflect"}),
    "4x4 to a logit": ((8, 4, (WIDE, 1)), {"pad": 1}),
}
PLAIN = {
    "4x4 by 2 to an image": ((12, 4, (16, 3)), {"stride": 2, "pad": 1}),
    "odd": ((7, 3), {"pad": 1}),
    "odd for its dilation": ((10, 3), {"dilation": 2}),
    "odd, by 2": ((6, 4), {"stride": 2, "pad": 1}),
    "7x7": ((12, 7), {"pad": 3}),
    "4x4": ((8, 4), {"pad": 1}),
    "3x3, upsampled, reflected": (
        (5, 3),
        {"pad": 1, "upsample": 2, "padding": "reflect"},
    ),
    "5x5, upsampled, less padded": ((5, 5), {"pad": 1, "upsample": 2}),
}


def arrays(size, taps, channels=(WIDE, WIDE + 1)):
    x = jax.random.normal(jax.random.key(0), (2, size, size + 12, channels[0]))
    kernel = jax.random.normal(jax.random.key(1), (taps, taps, *channels))
    return x, kernel / (taps * channels[0] ** 0.5)


def reference(x, kernel, stride=1, pad=0, dilation=1, upsample=1, padding="zeros"):
    """XLA's convolution, in float32."""
    x = jnp.repeat(jnp.repeat(x, upsample, axis=1), upsample, axis=2)
    if padding == "reflect":
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        pad = 0
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def program(options, *arguments, platform="cpu"):
    """The program that a platform compiles, as text."""
    traced = jax.jit(functools.partial(convolution.convolve, **options)).trace(
        *arguments
    )
    return traced.lower(lowering_platforms=(platform,)).as_text()


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=2e-5 * float(expected.std()))


@pytest.mark.parametrize("name", [*FAST, *ROW_BY_ROW, *PLAIN])
def test_value_and_gradients_are_those_of_the_plain_convolution(name):
    shape, options = (FAST | ROW_BY_ROW | PLAIN)[name]
    x, kernel = arrays(*shape)
    ours = functools.partial(convolution.convolve, **options)
    expected = reference(x, kernel, **options)
    slope = jax.random.normal(jax.random.key(2), expected.shape)

    def value_and_slopes(function, x, kernel):
        y, pull_back = jax.vjp(function, x, kernel)
        return y, *pull_back(slope)

    compiled = jax.jit(value_and_slopes, static_argnums=0)
    theirs = compiled(functools.partial(reference, **options), x, kernel)
    for actual, wanted in zip(compiled(ours, x, kernel), theirs, strict=True):
        assert actual.shape == wanted.shape
        assert_close(actual, wanted)


@pytest.mark.parametrize("name", [*FAST, *PLAIN])
def test_cpus_use_their_own_form_and_gpus_the_convolution(name):
    shape, options = (FAST | PLAIN)[name]
    x, kernel = arrays(*shape)
    assert ("convolution" in program(options, x, kernel)) == (name in PLAIN)
    assert "convolution" in program(options, x, kernel, platform="cuda")


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_few_channels_are_computed_row_by_row_on_a_cpu(name):
    shape, options = ROW_BY_ROW[name]
    x, kernel = arrays(*shape)
    rows, columns, inputs, outputs = kernel.shape
    kernel_of_rows = f"tensor<1x{columns}x{inputs}x{rows * outputs}xf32>"
    assert kernel_of_rows in program(options, x, kernel)
    assert kernel_of_rows not in program(options, x, kernel, platform="cuda")


def test_narrow_and_bfloat16_convolutions_stay_plain():
    shape, options = FAST["3x3"]
    assert "convolution" in program(options, *arrays(*shape, channels=(WIDE - 1, WIDE)))
    assert "convolution" in program(options, *arrays(*shape, channels=(WIDE, WIDE - 1)))
    half = [array.astype(jnp.bfloat16) for array in arrays(*shape)]
    assert "convolution" in program(options, *half)


def test_variants_with_different_kernels():
    """As in an ablation whose variants are trained in one batch."""
    shape, options = FAST["dilated"]
    x, kernel = arrays(*shape)
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel**2])

    def slope(x, kernel):
        return jax.grad(lambda k: jnp.mean(convolution.convolve(x, k, **options) ** 2))(
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
        (winograd.THREE_TAPS_UPSAMPLED, 2, 1),
        (winograd.FIVE_TAPS_UPSAMPLED, 2, 0),
    ],
)
def test_filters_are_exact_in_one_dimension(algorithm, repeats, first):
    """Integers and halves: exactly the correlation."""
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


def test_other_upsampling_and_padding():
    x, kernel = arrays(4, 3)
    options = {"pad": 1, "upsample": 3, "padding": "reflect"}
    actual = jax.jit(functools.partial(convolution.convolve, **options))(x, kernel)
    assert_close(actual, reference(x, kernel, **options))
    with pytest.raises(ValueError, match="'mirror' must be 'zeros' or 'reflect'"):
        convolution.convolve(x, kernel, padding="mirror")


def test_the_layer_passes_on_all_of_its_fields():
    options = {
        "stride": 2,
        "pad": 2,
        "dilation": 2,
        "upsample": 2,
        "padding": "reflect",
    }
    layer = layers.Conv(WIDE, 3, **options)
    x, _ = arrays(8, 3)
    variables = layer.init(jax.random.key(0), x)
    expected = reference(x, variables["params"]["conv"]["kernel"], **options)
    assert_close(layer.apply(variables, x), expected)
