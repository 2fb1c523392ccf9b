"""EfficientNet-Lite0's blocks: features of images at five resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import convolution
from jax_scadn.networks.layers import layers as layers_lib
from jax_scadn.runtime import errors


class _Repeated(NamedTuple):
    """Blocks in a row; the stride is the first one's."""

    count: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STEM = 32  # channels
_BLOCKS = (
    _Repeated(1, kernel=3, stride=1, expansion=1, channels=16),
    _Repeated(2, kernel=3, stride=2, expansion=6, channels=24),
    _Repeated(2, kernel=5, stride=2, expansion=6, channels=40),
    _Repeated(3, kernel=3, stride=2, expansion=6, channels=80),
    _Repeated(3, kernel=5, stride=1, expansion=6, channels=112),
    _Repeated(4, kernel=5, stride=2, expansion=6, channels=192),
    _Repeated(1, kernel=3, stride=1, expansion=6, channels=320),
)


class Stage(NamedTuple):
    """The output of the last block at a resolution.

    Attributes:
      block: its number, from 0.
      stride: pixels of the image for one of the features.
      channels: of the features.
    """

    block: int
    stride: int
    channels: int


STAGES = {
    "stride_2": Stage(0, 2, 16),
    "stride_4": Stage(2, 4, 24),
    "stride_8": Stage(4, 8, 40),
    "stride_16": Stage(10, 16, 112),
    "stride_32": Stage(15, 32, 320),
}
DEFAULT_STAGES = ("stride_8", "stride_16")  # of patches, in anomaly detection

_NORM = {
    "weight": "params/{}/norm/scale",
    "bias": "params/{}/norm/bias",
    "running_mean": "batch_stats/{}/norm/mean",
    "running_var": "batch_stats/{}/norm/var",
}


def check_stages(stages: Sequence[str]) -> None:
    """Raises errors.UserError unless these are names out of `STAGES`, at least one."""
    choices = ", ".join(STAGES)
    if isinstance(stages, str) or not stages:
        raise errors.UserError(f"give a list of one or more stages out of: {choices}")
    for name in stages:
        if name not in STAGES:
            raise errors.UserError(f"stage {name!r} is not one of: {choices}")


def torch_names(stages: Sequence[str]) -> dict[str, str]:
    """Where the arrays of a PyTorch state dict are in our variables.

    Args:
      stages: as for `EfficientNetLite0`.

    Returns:
      '_blocks.0._bn1.weight' -> 'params/block_0/depthwise/norm/scale' and so on for
      all variables of the network with these stages, and no others.

    Raises:
      errors.UserError: there is no such stage.
    """
    check_stages(stages)
    convolutions = [("_conv_stem", "_bn0", "stem")]
    for number, (block, _) in enumerate(_blocks(stages)):
        # Torch numbers the norms in a block by the convolutions that are there or not.
        parts = (("expand", 0), ("depthwise", 1), ("project", 2))
        for part, norm in parts[block.expansion == 1 :]:
            theirs, ours = f"_blocks.{number}", f"block_{number}/{part}"
            convolutions.append((f"{theirs}._{part}_conv", f"{theirs}._bn{norm}", ours))
    names = {}
    for conv, norm, ours in convolutions:
        names[f"{conv}.weight"] = f"params/{ours}/kernel"
        names |= {f"{norm}.{key}": name.format(ours) for key, name in _NORM.items()}
    return names


class EfficientNetLite0(nn.Module):
    """What blocks of EfficientNet-Lite0 see in images; inference only.

    MobileNet's inverted residual blocks without squeeze and excitation, with ReLU6.
    Batch norms use their stored statistics, in the collection `batch_stats`.

    Padding is TensorFlow's 'SAME' of the size at hand: zeros, the odd one at the bottom
    and the right. The PyTorch package pads as for 224 pixels whatever the image's
    size, which is the same where height and width are multiples of 32. At other sizes
    this network is equal to the package's with `image_size=None`, and to TensorFlow's.

    Source: Tan and Le 2019 (EfficientNet-B0's blocks); TensorFlow's EfficientNet-Lite,
    2020. Equal to PyPI's `efficientnet-lite-pytorch` number by number.

    Attributes:
      stages: names out of `STAGES`. Blocks after the deepest one are not computed and
        have no parameters.
      dtype: of the computation.
    """

    stages: tuple[str, ...] = DEFAULT_STAGES
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> dict[str, jax.Array]:
        """Features by the names of their stages.

        Args:
          images_bhwc: (B, H, W, 1 or 3), floats in [0, 1], RGB; grey is taken for all
            three colours.

        Returns:
          For each stage (B, ceil(H / stride), ceil(W / stride), channels), in float32
          or, computed in float64, in float64. Take them by name: jit sorts the dict.

        Raises:
          errors.UserError: there is no such stage.
          ValueError: these are no such images.
        """
        check_stages(self.stages)
        if images_bhwc.ndim != 4 or images_bhwc.shape[-1] not in (1, 3):
            raise ValueError(
                f"images are (B, H, W, 1 or 3), not of shape {images_bhwc.shape}"
            )
        if not jnp.issubdtype(images_bhwc.dtype, jnp.floating):
            raise ValueError(f"images are floats in [0, 1], not {images_bhwc.dtype}")
        colours_bhwc = jnp.broadcast_to(images_bhwc, (*images_bhwc.shape[:3], 3))
        x = (255 * layers_lib.at_least_float32(colours_bhwc) - 127) / 128
        stem = _ConvNorm(_STEM, 3, stride=2, dtype=self.dtype, name="stem")
        x = stem(x.astype(self.dtype))
        outputs = []
        for number, (block, stride) in enumerate(_blocks(self.stages)):
            x = _Block(
                block.channels,
                block.kernel,
                stride,
                block.expansion,
                self.dtype,
                name=f"block_{number}",
            )(x)
            outputs.append(x)
        return {
            name: layers_lib.at_least_float32(outputs[STAGES[name].block])
            for name in self.stages
        }


class _Block(nn.Module):
    """An inverted residual block: wide inside, narrow at its ends, which have no ReLU.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), channels); what comes in is
    added where the shape stays the same.
    """

    channels: int
    kernel: int
    stride: int
    expansion: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        inputs = x_bhwc.shape[-1]
        wide = self.expansion * inputs
        x = x_bhwc
        if self.expansion != 1:
            x = _ConvNorm(wide, 1, dtype=self.dtype, name="expand")(x)
        x = _ConvNorm(
            wide,
            self.kernel,
            self.stride,
            depthwise=True,
            dtype=self.dtype,
            name="depthwise",
        )(x)
        x = _ConvNorm(self.channels, 1, relu6=False, dtype=self.dtype, name="project")(
            x
        )
        return x + x_bhwc if (self.stride, inputs) == (1, self.channels) else x


class _ConvNorm(nn.Module):
    """Convolution without bias, batch norm (eps 1e-3), and a ReLU6 unless told not."""

    features: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        inputs = 1 if self.depthwise else x_bhwc.shape[-1]
        shape = (self.kernel, self.kernel, inputs, self.features)
        kernel = self.param("kernel", layers_lib.HE_INIT, shape).astype(self.dtype)
        if self.depthwise:
            x = _depthwise(x_bhwc, kernel, self.stride)
        elif self.kernel == 1:
            x = convolution.convolve(x_bhwc, kernel)
        else:
            x = _by_xla(x_bhwc, kernel, self.stride)
        x = layers_lib.BatchNorm(name="norm")(x, train=False)
        return nn.relu6(x) if self.relu6 else x


def _blocks(stages: Sequence[str]) -> list[tuple[_Repeated, int]]:
    """What is needed for the stages: the block and its own stride, in order."""
    blocks = [
        (row, row.stride if position == 0 else 1)
        for row in _BLOCKS
        for position in range(row.count)
    ]
    return blocks[: max(STAGES[name].block for name in stages) + 1]


def _depthwise(x_bhwc: jax.Array, kernel_hw1c: jax.Array, stride: int) -> jax.Array:
    """Each channel by its own taps; padded as 'SAME'.

    On CPUs XLA's grouped convolution takes 20 to 50 times as long as the sum over the
    taps, which becomes one loop.
    """
    return jax.lax.platform_dependent(
        x_bhwc,
        kernel_hw1c,
        cpu=lambda x, kernel: _sum_over_taps(x, kernel, stride),
        default=lambda x, kernel: _by_xla(x, kernel, stride, groups=x.shape[-1]),
    )


def _by_xla(x_bhwc, kernel_hwio, stride, groups=1):
    return jax.lax.conv_general_dilated(
        x_bhwc,
        kernel_hwio,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _sum_over_taps(x_bhwc, kernel_hw1c, stride):
    taps = kernel_hw1c.shape[:2]
    strides = (stride, stride)
    pads = jax.lax.padtype_to_pads(x_bhwc.shape[1:3], taps, strides, "SAME")
    height, width = (-(-n // stride) for n in x_bhwc.shape[1:3])
    x = jnp.pad(x_bhwc, ((0, 0), *pads, (0, 0)))
    return sum(
        x[:, i : i + stride * height : stride, j : j + stride * width : stride]
        * kernel_hw1c[None, i : i + 1, j]
        for i in range(taps[0])
        for j in range(taps[1])
    )
