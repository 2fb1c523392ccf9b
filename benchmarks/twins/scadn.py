"""SCADN's networks, training step and scoring in PyTorch, with the preset `reference`.

Compare `jax_scadn.networks` and `jax_scadn.methods.scadn`. Images are NCHW.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twins import gradients

Tensors = dict[str, torch.Tensor]


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(dilated conv(x))))), padded by reflection."""

    def __init__(self, features: int, dilation: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(dilation),
            nn.Conv2d(features, features, 3, dilation=dilation),
            nn.InstanceNorm2d(features),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(features, features, 3),
            nn.InstanceNorm2d(features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Encoder to an eighth of the size, residual blocks, decoder; output in [0, 1]."""

    def __init__(self, channels: int, width: int, blocks: int, dilation: int):
        super().__init__()

        def normed(*convolution: nn.Module) -> list[nn.Module]:
            features = convolution[-1].out_channels
            norm = nn.InstanceNorm2d(features)
            return [*convolution, norm, nn.ReLU(inplace=True)]

        encoder = normed(nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7))
        for i in (1, 2, 3):
            features = width << i
            encoder += normed(nn.Conv2d(features // 2, features, 4, 2, 1))
        decoder = []
        for i in (2, 1, 0):
            features = width << i
            upsample = nn.Upsample(scale_factor=2)
            decoder += normed(upsample, nn.Conv2d(features * 2, features, 3, 1, 1))
        decoder += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7)]
        self.encoder = nn.Sequential(*encoder)
        self.middle = nn.Sequential(
            *(ResidualBlock(8 * width, dilation) for _ in range(blocks))
        )
        self.decoder = nn.Sequential(*decoder)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (self.decoder(self.middle(self.encoder(images))).tanh() + 1) / 2


class SpectralConv(nn.Module):
    """4x4 convolution without bias whose kernel is divided by its spectral norm.

    As `nn.utils.spectral_norm` in training, without its hook.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs, 4, 4))
        self.register_buffer("weight_u", torch.empty(outputs))
        self.register_buffer("weight_v", torch.empty(inputs * 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        matrix = self.weight_orig.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.t() @ self.weight_u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            self.weight_v.copy_(v)
            self.weight_u.copy_(u)
        sigma = u @ (matrix @ v)
        return F.conv2d(x, self.weight_orig / sigma, stride=self.stride, padding=1)


class Discriminator(nn.Module):
    """Five 4x4 convolutions; one logit for each patch."""

    def __init__(self, channels: int, width: int):
        super().__init__()

        def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            conv = SpectralConv(inputs, outputs, stride)
            return nn.Sequential(conv, nn.LeakyReLU(0.2, inplace=True))

        self.conv1 = layer(channels, width, 2)
        self.conv2 = layer(width, 2 * width, 2)
        self.conv3 = layer(2 * width, 4 * width, 2)
        self.conv4 = layer(4 * width, 8 * width, 1)
        self.conv5 = nn.Sequential(SpectralConv(8 * width, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.conv4(self.conv3(self.conv2(self.conv1(images))))
        return self.conv5(x)


def generator(settings: dict) -> Generator:
    """With the sizes of resolved settings."""
    return Generator(
        settings["data.channels"],
        settings["model.width"],
        settings["model.blocks"],
        settings["model.dilation"],
    )


class Training(nn.Module):
    """Both networks, their optimizers and one simultaneous update."""

    differentiated = "loss"

    def __init__(self, settings: dict, masks_mhw: torch.Tensor):
        super().__init__()
        self.settings = settings
        self.masks = masks_mhw[:, None]
        self.generator = generator(settings)
        self.discriminator = Discriminator(
            settings["data.channels"], settings["model.discriminator_width"]
        )

    def optimize(self) -> None:
        """Creates the optimizers, once the parameters are in their final layout."""
        settings = self.settings
        betas = settings["optimizer.b1"], settings["optimizer.b2"]
        rates = {
            self.generator: settings["optimizer.learning_rate"],
            self.discriminator: settings["optimizer.discriminator_learning_rate"],
        }
        self.optimizers = [
            torch.optim.Adam(
                net.parameters(), rate, betas, settings["optimizer.eps"], fused=True
            )
            for net, rate in rates.items()
        ]

    def random(self, batch: int) -> Tensors:
        """Random draws of a step: the mask of each image, in JAX's integer type."""
        return {"drawn": torch.randint(len(self.masks), (batch,), dtype=torch.int32)}

    def forward(self, images_u8: torch.Tensor, drawn: torch.Tensor) -> Tensors:
        """All losses; the sum of those of the two networks is `loss`."""
        images, masks = images_u8.float() / 255, self.masks[drawn]
        settings = self.settings
        removed = images * (1 - masks) + settings["masks.mask_value"] * masks
        fake = self.generator(removed)
        real = F.softplus(-self.discriminator(images)).mean()
        fake_ = F.softplus(self.discriminator(fake.detach())).mean()
        logits = gradients.frozen(self.discriminator, fake)
        adversarial = F.softplus(-logits).mean() * settings["loss.adversarial_weight"]
        weight = (1 + settings["loss.masked_weight"] * masks) / masks.mean()
        reconstruction = (weight * (fake - images).square()).mean()
        reconstruction = reconstruction * settings["loss.reconstruction_weight"]
        discriminator, generator = (real + fake_) / 2, adversarial + reconstruction
        return {
            "loss": discriminator + generator,
            "generator_loss": generator,
            "reconstruction_loss": reconstruction,
            "adversarial_loss": adversarial,
            "discriminator_loss": discriminator,
            "discriminator_real_loss": real,
            "discriminator_fake_loss": fake_,
        }

    def step(self, losses: Callable[..., Tensors], images_u8, drawn) -> Tensors:
        """One update.

        Args:
          losses: this module, or its compiled form.
          images_u8: (B, C, H, W).
          drawn: (B,) index of each image's mask.
        """
        metrics = losses(images_u8, drawn)
        metrics.pop(self.differentiated).backward()
        for name in ("generator", "discriminator"):
            norm = gradients.norm(getattr(self, name))
            metrics[f"{name}_gradient_norm"] = norm
        gradients.descend(self.optimizers)
        return metrics


class Scoring(nn.Module):
    """Multi-mask inference, with mu = 0 for each scale."""

    def __init__(self, settings: dict, masks_mhw: torch.Tensor):
        super().__init__()
        self.mask_value = settings["masks.mask_value"]
        self.masks = masks_mhw[:, None]
        self.generator = generator(settings)

    def forward(self, images: torch.Tensor, masks: torch.Tensor):
        """Error map and inpainted pixels of each image under its mask."""
        inpainted = (
            self.generator(images * (1 - masks) + self.mask_value * masks) * masks
        )
        error = (inpainted - images * masks).square().mean(1)
        return error, inpainted

    def score(self, inpaint: Callable, images_u8: torch.Tensor, at_once: int):
        """Anomaly maps, scores and the inpainted images, as `methods.scadn.method`.

        Args:
          inpaint: this module, or its compiled form.
          images_u8: (B, C, H, W).
          at_once: pairs of an image and a mask in a call of the generator.
        """
        images = images_u8.float() / 255
        count, masks = len(images), len(self.masks)
        pairs = torch.arange(count * masks)
        chunks = [
            inpaint(images[chunk % count], self.masks[chunk // count])
            for chunk in pairs.split(at_once)
        ]
        errors, inpainted = map(torch.cat, zip(*chunks, strict=True))
        scales = masks // 4
        maps = errors.unflatten(0, (scales, 4, count)).amax(1)
        pictures = inpainted.unflatten(0, (scales, 4, count)).sum(1) / 2
        means = maps.mean((2, 3))
        chosen, each = means.argmax(0), torch.arange(count)
        return {
            "maps": maps[chosen, each],
            "scores": means[chosen, each],
            "inpainted": pictures[chosen, each],
        }
