"""The discriminators of UTAD's stage 1 in PyTorch.

Compare `latent_discriminator` and `image_discriminator` of `jax_scadn.networks`.
Images are NCHW in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class LatentDiscriminator(nn.Module):
    """Perceptron on pairs of features and a code; one logit per pair."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        layers = []
        for features in (width, width, width):
            layers += [nn.Linear(inputs, features), nn.ReLU(inplace=True)]
            inputs = features
        self.model = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return self.model(pairs)[..., 0]


class ImageDiscriminator(nn.Module):
    """Small networks of one form for an image at full, half, quarter, ... size."""

    def __init__(self, channels: int, width: int, scales: int):
        super().__init__()

        def net() -> nn.Sequential:
            layers = [nn.Conv2d(channels, width, 4, 2, 1), nn.ReLU(inplace=True)]
            for _ in range(2):
                layers += [nn.Conv2d(width, width, 4, 2, 1)]
                layers += [nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers, nn.Conv2d(width, width, 4, 2, 1))

        self.cnns = nn.ModuleList(net() for _ in range(scales))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        scores = []
        for net in self.cnns:
            scores.append(net(images))
            images = F.avg_pool2d(images, 3, 2, 1, count_include_pad=False)
        return scores
