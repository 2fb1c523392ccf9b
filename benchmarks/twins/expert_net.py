"""UTAD's Expert-Net in PyTorch; compare `jax_scadn.networks.expert_net`.

Images are NCHW: in [-1, 1] inside the autoencoder, in [0, 1] outside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    """Over an image's pixels and channels, as in MUNIT."""

    def __init__(self, features: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(features))
        self.beta = nn.Parameter(torch.empty(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
        normed = (x - mean) / (std + 1e-5)
        return normed * self.gamma[:, None, None] + self.beta[:, None, None]


class ConvBlock(nn.Module):
    """Convolution padded by reflection, then an optional norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm=None
    ):
        super().__init__()
        self.pad = nn.ReflectionPad2d((kernel - 1) // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.pad(x))
        return x if self.norm is None else self.norm(x)


class ResidualBlock(nn.Module):
    """x + norm(conv(ReLU(norm(conv(x))))) with norms given to `forward`."""

    def __init__(self, features: int):
        super().__init__()
        self.model = nn.Sequential(
            ConvBlock(features, features, 3), ConvBlock(features, features, 3)
        )

    def forward(self, x: torch.Tensor, norms) -> torch.Tensor:
        first, second = self.model
        first_norm, second_norm = norms
        return x + second_norm(second(first_norm(first(x)).relu()))


class ResidualBlocks(nn.Module):
    """A chain of residual blocks; AdaIN if means and deviations are given."""

    def __init__(self, features: int, blocks: int):
        super().__init__()
        self.model = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))

    def forward(self, x: torch.Tensor, adain: torch.Tensor | None = None):
        for i, block in enumerate(self.model):
            norms = [F.instance_norm, F.instance_norm]
            if adain is not None:
                norms = [_adain(adain[:, 2 * i + j]) for j in (0, 1)]
            x = block(x, norms)
        return x


def _adain(mean_and_std: torch.Tensor) -> Callable:
    mean, std = mean_and_std[..., None, None].unbind(1)
    return lambda x: F.instance_norm(x) * std + mean


class ContentEncoder(nn.Module):
    """Image -> feature map of a quarter of the size with 4 * width channels."""

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> ConvBlock:
            return ConvBlock(
                inputs, outputs, kernel, stride, nn.InstanceNorm2d(outputs)
            )

        self.model = nn.ModuleList(
            [
                conv(channels, width, 7, 1),
                conv(width, 2 * width, 4, 2),
                conv(2 * width, 4 * width, 4, 2),
                ResidualBlocks(4 * width, blocks),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *convolutions, blocks = self.model
        for conv in convolutions:
            x = conv(x).relu()
        return blocks(x)


class DetailEncoder(nn.Module):
    """Image -> detail vector."""

    def __init__(self, channels: int, width: int, detail: int):
        super().__init__()
        layers = [ConvBlock(channels, width, 7)]
        inputs = width
        for i in (1, 2, 3, 4):
            outputs = width << min(i, 2)
            layers.append(ConvBlock(inputs, outputs, 4, 2))
            inputs = outputs
        average = nn.AdaptiveAvgPool2d(1)
        self.model = nn.ModuleList([*layers, average, nn.Conv2d(inputs, detail, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *convolutions, average, output = self.model
        for conv in convolutions:
            x = conv(x).relu()
        return output(average(x)).flatten(1)


class Decoder(nn.Module):
    """Content map and parameters of AdaIN -> image in [-1, 1]."""

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()
        features = 4 * width

        def upsampled(inputs: int) -> ConvBlock:
            outputs = inputs // 2
            return ConvBlock(inputs, outputs, 5, norm=LayerNorm(outputs))

        self.model = nn.ModuleList(
            [
                ResidualBlocks(features, blocks),
                nn.Upsample(scale_factor=2),
                upsampled(features),
                nn.Upsample(scale_factor=2),
                upsampled(features // 2),
                ConvBlock(width, channels, 7),
            ]
        )

    def forward(self, content: torch.Tensor, adain: torch.Tensor) -> torch.Tensor:
        blocks, double, first, double_again, second, output = self.model
        x = first(double(blocks(content, adain))).relu()
        return output(second(double_again(x)).relu()).tanh()


class Linear(nn.Module):
    """The authors' name for a layer of the perceptron."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


class Perceptron(nn.Module):
    """Detail vector -> mean and standard deviation of each AdaIN."""

    def __init__(self, detail: int, width: int, blocks: int, features: int):
        super().__init__()
        self.shape = 2 * blocks, 2, features
        outputs = 4 * blocks * features
        self.model = nn.ModuleList(
            [Linear(detail, width), Linear(width, width), Linear(width, outputs)]
        )

    def forward(self, detail: torch.Tensor) -> torch.Tensor:
        first, second, last = self.model
        return last(second(first(detail).relu()).relu()).unflatten(1, self.shape)


class AdaINAutoencoder(nn.Module):
    """Content encoder, detail encoder and decoder of one domain."""

    def __init__(self, settings: dict):
        super().__init__()
        channels = settings["data.channels"]
        width, blocks = settings["expert.width"], settings["expert.blocks"]
        detail = settings["expert.detail"]
        self.enc = ContentEncoder(channels, width, blocks)
        self.enc_detail = DetailEncoder(channels, width, detail)
        self.dec = Decoder(channels, width, blocks)
        self.mlp = Perceptron(detail, settings["expert.mlp_width"], blocks, 4 * width)

    def content(self, images: torch.Tensor) -> torch.Tensor:
        return self.enc(2 * images - 1)

    def detail(self, images: torch.Tensor) -> torch.Tensor:
        return self.enc_detail(2 * images - 1)

    def decode(self, content: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
        return (self.dec(content, self.mlp(detail)) + 1) / 2
