"""Layers shared by the networks; float32 parameters, computation in `dtype`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import convolution

WEIGHT_INIT = nn.initializers.normal(0.02)
HE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# PyTorch's default: U(-1 / sqrt n, 1 / sqrt n) with n inputs of each output.
PYTORCH_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

BATCH_NORM_EPS = 1e-3  # UTAD's
BATCH_NORM_MOMENTUM = 0.1  # weight of the newest batch, as PyTorch counts
LAYER_NORM_EPS = 1e-5
LAYER_NORM_DDOF = 1  # the unbiased standard deviation


def at_least_float32(x: jax.Array) -> jax.Array:
    """Casts narrower floats to float32, in which norms and outputs are computed.

    float64 is kept, so that an entire network can be checked in float64.
    """
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def instance_norm(x_bhwc: jax.Array, eps: float = 1e-5) -> jax.Array:
    """Normalises each channel of each image over its pixels, in float32.

    Biased variance, no affine parameters, no running statistics.
    """
    x = at_least_float32(x_bhwc)
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2), keepdims=True)
    return ((x - mean) * jax.lax.rsqrt(variance + eps)).astype(x_bhwc.dtype)


def adaptive_instance_norm(
    x_bhwc: jax.Array, mean_bc: jax.Array, std_bc: jax.Array
) -> jax.Array:
    """Instance norm with a given mean and standard deviation after it (UTAD Eq. 7).

    Args:
      x_bhwc: features.
      mean_bc: of each channel of each image.
      std_bc: the same.
    """
    shape = (x_bhwc.shape[0], x_bhwc.shape[-1])
    if not mean_bc.shape == std_bc.shape == shape:
        raise ValueError(
            f"mean {mean_bc.shape} and std {std_bc.shape} must have shape {shape}"
        )
    normed = instance_norm(at_least_float32(x_bhwc))
    y = normed * std_bc[:, None, None] + mean_bc[:, None, None]
    return y.astype(x_bhwc.dtype)


class BatchNorm(nn.Module, kw_only=True):
    """Normalises each channel over the batch and its pixels, in float32.

    Training uses the mean and the biased variance of the batch and updates the
    collection `batch_stats` with the mean and the unbiased variance; evaluation uses
    `batch_stats`.

    Source: Ioffe and Szegedy 2015, in the form of PyTorch's BatchNorm2d. (Flax's own
    stores the biased variance.)

    Attributes:
      affine: whether a scale and a shift of each channel follow.
      eps: added to the variance; None = `BATCH_NORM_EPS`, PyTorch's default is 1e-5.
    """

    affine: bool = True
    eps: float | None = None

    @nn.compact
    def __call__(self, x_bhwc: jax.Array, train: bool) -> jax.Array:
        channels = x_bhwc.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (channels,))
        x = at_least_float32(x_bhwc)
        mean, variance = running_mean.value, running_variance.value
        if train:
            mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
            if not self.is_initializing():
                count = x.size // channels
                unbiased = variance * (count / (count - 1))
                running_mean.value = _moved(running_mean.value, mean)
                running_variance.value = _moved(running_variance.value, unbiased)
        eps = BATCH_NORM_EPS if self.eps is None else self.eps
        factor = jax.lax.rsqrt(variance + eps)
        if self.affine:
            factor = self.param("scale", nn.initializers.ones, (channels,)) * factor
        y = (x - _channels(mean)) * _channels(factor)
        if self.affine:
            y += _channels(self.param("bias", nn.initializers.zeros, (channels,)))
        return y.astype(x_bhwc.dtype)


def _moved(running: jax.Array, newest: jax.Array) -> jax.Array:
    return running + BATCH_NORM_MOMENTUM * (newest - running)


def _channels(values_c: jax.Array) -> jax.Array:
    return values_c[None, None, None]


class LayerNorm(nn.Module):
    """Normalises each image over its pixels and channels together, in float32.

    (x - mean) / (std + eps) with the unbiased standard deviation, followed by a scale
    and a shift for each channel.

    Source: MUNIT, Huang et al. 2018. (Flax's own normalises each pixel separately.)
    """

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        channels = x_bhwc.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = at_least_float32(x_bhwc)
        image = {"axis": (1, 2, 3), "keepdims": True}
        variance = jnp.var(x, ddof=LAYER_NORM_DDOF, **image)
        # The slope of the root is infinite at 0, the variance of a constant.
        std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(jnp.float32).tiny))
        normed = (x - jnp.mean(x, **image)) / (std + LAYER_NORM_EPS)
        y = normed * _channels(scale) + _channels(bias)
        return y.astype(x_bhwc.dtype)


class Conv(nn.Module):
    """`convolution.convolve`; initial bias 0, weights from N(0, 0.02)."""

    features: int
    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1
    upsample: int = 1
    padding: str = "zeros"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = WEIGHT_INIT
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        def convolve(x_bhwc, kernel_hwio, *_, **__):
            return convolution.convolve(
                x_bhwc,
                kernel_hwio,
                self.stride,
                self.pad,
                self.dilation,
                self.upsample,
                self.padding,
            )

        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            conv_general_dilated=convolve,
            name="conv",
        )(x_bhwc)


class SpectralConv(nn.Module):
    """Convolution without bias whose kernel is divided by its largest singular value.

    The kernel W is treated as an (out, in * height * width) matrix. Its singular
    vectors u and v are estimated by power iteration, v = W^T u / |W^T u| and
    u = W v / |W v|, and sigma = u . W v; the gradient takes u and v as constants.
    They are kept in the collection `spectral`: a forward pass in which it is mutable
    runs `power_iterations`, others run none.

    Source: Miyato et al. 2018, in the form of PyTorch's `nn.utils.spectral_norm`.
    """

    features: int
    kernel: int = 4
    stride: int = 1
    pad: int = 1
    power_iterations: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        inputs = x_bhwc.shape[-1]
        kernel = self.param(
            "kernel", WEIGHT_INIT, (self.kernel, self.kernel, inputs, self.features)
        )
        matrix = kernel.transpose(3, 2, 0, 1).reshape(self.features, -1)
        u = self.variable("spectral", "u", self._random_unit, "u", matrix.shape[0])
        v = self.variable("spectral", "v", self._random_unit, "v", matrix.shape[1])
        if self.is_mutable_collection("spectral") and not self.is_initializing():
            fixed = jax.lax.stop_gradient(matrix)
            for _ in range(self.power_iterations):
                v.value = normalise(fixed.T @ u.value)
                u.value = normalise(fixed @ v.value)
        sigma = u.value @ (matrix @ v.value)
        kernel = (kernel / sigma).astype(self.dtype)
        x = x_bhwc.astype(self.dtype)
        return convolution.convolve(x, kernel, self.stride, self.pad)

    def _random_unit(self, stream: str, length: int) -> jax.Array:
        key = jax.random.fold_in(self.make_rng("params"), ord(stream))
        return normalise(jax.random.normal(key, (length,)))


def normalise(vector: jax.Array, eps: float = 1e-12) -> jax.Array:
    """The vector divided by its L2 norm, or by eps if that is larger."""
    return vector / jnp.maximum(jnp.linalg.norm(vector), eps)
