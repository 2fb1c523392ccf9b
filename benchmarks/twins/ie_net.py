"""UTAD's IE-Net in PyTorch; compare `jax_scadn.networks.ie_net`.

Images are NCHW in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class InceptionBlock(nn.Module):
    """Four branches of `features` channels each, side by side."""

    def __init__(self, inputs: int, features: int):
        super().__init__()

        def branch(kernel: int, *before: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                *before,
                nn.Conv2d(inputs, features, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(features, eps=1e-3, momentum=0.1),
                nn.LeakyReLU(0.1, inplace=True),
            )

        self.block1x1 = branch(1)
        self.block3x3 = branch(3)
        self.block5x5 = branch(5)
        self.block_mp = branch(1, nn.MaxPool2d(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = self.block1x1, self.block3x3, self.block5x5, self.block_mp
        return torch.cat([branch(x) for branch in branches], 1)


class IENet(nn.Module):
    """Encoder and decoder of inception blocks, and a head for the code."""

    def __init__(self, settings: dict):
        super().__init__()
        channels = settings["data.channels"]
        latent = settings["impression.latent"]
        inputs, encoder = channels, []
        for features, pool in zip(
            settings["impression.features"], settings["impression.pools"], strict=True
        ):
            encoder += [InceptionBlock(inputs, features), nn.MaxPool2d(pool)]
            inputs = 4 * features
        self.encoder_f = nn.Sequential(*encoder)
        head = settings["impression.head_features"]
        self.encoder_g = nn.Sequential(
            nn.Conv2d(inputs, head, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(head, inputs, 3, padding=1),
        )
        self.encoder_mean = nn.Linear(inputs, latent)
        self.encoder_log_var = nn.Linear(inputs, latent)
        *inner, last = settings["impression.upsamplings"]
        # The last upsampling is delayed until few channels are left, as in our network.
        waits = [nn.Upsample(scale_factor=factor) for factor in inner] + [nn.Identity()]
        decoder = []
        for features, upsample in zip(
            settings["impression.decoder_features"], waits, strict=True
        ):
            decoder += [InceptionBlock(inputs, features), upsample]
            inputs = 4 * features
        decoder.append(nn.Conv2d(inputs, channels, 1, bias=False))
        self.decoder = nn.Sequential(*decoder)
        self.last = last

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Impression, features, mean and log-variance of the code."""
        x = self.encoder_f(images)
        features = F.max_pool2d(x, 2)
        code = self.encoder_g(features).mean((2, 3))
        impression = F.interpolate(self.decoder(x).sigmoid(), scale_factor=self.last)
        return (
            impression,
            features,
            self.encoder_mean(code),
            self.encoder_log_var(code),
        )
