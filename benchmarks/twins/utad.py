"""The steps of UTAD's two stages and its scoring in PyTorch.

With the losses of the preset `reference`. Compare `jax_scadn.methods.utad`. Images
are NCHW in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twins import (
    expert_net,
    gradients,
    ie_net,
    utad_discriminators,
    vgg19,
)

Tensors = dict[str, torch.Tensor]

_LATENT_DISCRIMINATOR_WIDTH = 128


class ImpressionTraining(nn.Module):
    """IE-Net, its discriminators, their optimizers and one simultaneous update."""

    differentiated = "loss"

    def __init__(self, settings: dict):
        super().__init__()
        self.settings = settings
        self.ie_net = ie_net.IENet(settings)
        latent = settings["impression.latent"]
        pair = 4 * settings["impression.features"][-1] + latent
        side = settings["data.size"] // 2
        for pool in settings["impression.pools"]:
            side //= pool
        width = min(_LATENT_DISCRIMINATOR_WIDTH, latent)
        self.discriminators = nn.ModuleDict(
            {
                "local": utad_discriminators.LatentDiscriminator(pair, width),
                "global": utad_discriminators.LatentDiscriminator(
                    side * side * pair, width
                ),
                "image": utad_discriminators.ImageDiscriminator(
                    settings["data.channels"],
                    settings["impression.image_discriminator_width"],
                    settings["impression.image_discriminator_scales"],
                ),
            }
        )

    def optimize(self) -> None:
        """Creates the optimizers, once the parameters are in their final layout."""
        settings = self.settings
        rates = {
            self.ie_net: settings["impression.learning_rate"],
            self.discriminators: settings["impression.discriminator_learning_rate"],
        }
        self.optimizers = [
            torch.optim.SGD(
                net.parameters(),
                rate,
                settings["impression.momentum"],
                weight_decay=settings["impression.weight_decay"],
                fused=True,
            )
            for net, rate in rates.items()
        ]

    def random(self, batch: int) -> Tensors:
        """Random draws of a step: the noise of the codes."""
        return {"noise": torch.randn(batch, self.settings["impression.latent"])}

    def forward(self, images_u8: torch.Tensor, noise: torch.Tensor) -> Tensors:
        """All losses; the sum of those of IE-Net and discriminators is `loss`."""
        images = images_u8.float() / 255
        impressions, features, mean, log_var = self.ie_net(images)
        z = mean + (log_var / 2).exp() * noise

        def information(see: Callable, features, z) -> Tensors:
            joint, product = _pairs(features, z), _pairs(features.roll(1, 0), z)
            losses = {}
            for name in ("local", "global"):
                seen = [
                    x if name == "local" else x.flatten(1) for x in (joint, product)
                ]
                ours, others = (see(self.discriminators[name], pairs) for pairs in seen)
                losses[name] = F.softplus(-ours).mean() + F.softplus(others).mean()
            return losses

        seen = information(nn.Module.__call__, features.detach(), z.detach())
        image = self.discriminators["image"]
        real, fake = image(images), image(impressions.detach())
        image_loss = sum(
            (r - 1).square().mean() + f.square().mean()
            for r, f in zip(real, fake, strict=True)
        )
        terms = information(gradients.frozen, features, z)
        scores = gradients.frozen(image, impressions)
        gan = sum((f - 1).square().mean() for f in scores)
        kl = (mean.square() + log_var.exp() - log_var - 1).mean() / 2
        reconstruction = (impressions - images).square().mean()
        weights = self.settings
        total = (
            weights["impression.reconstruction_weight"] * reconstruction
            + weights["impression.local_weight"] * terms["local"]
            + weights["impression.global_weight"] * terms["global"]
            + weights["impression.kl_weight"] * kl
            + weights["impression.image_gan_weight"] * gan
        )
        return {
            "loss": total + seen["local"] + seen["global"] + image_loss,
            "ie_net_loss": total,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
            "local_loss": terms["local"],
            "global_loss": terms["global"],
            "image_gan_loss": gan,
            "image_discriminator_loss": image_loss,
        }

    def step(self, losses: Callable[..., Tensors], images_u8, noise) -> Tensors:
        """One update.

        Args:
          losses: this module, or its compiled form.
          images_u8: (B, C, H, W).
          noise: (B, L).
        """
        metrics = losses(images_u8, noise)
        metrics.pop(self.differentiated).backward()
        metrics["ie_net_gradient_norm"] = gradients.norm(self.ie_net)
        gradients.descend(self.optimizers)
        return metrics


def _pairs(features: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Each position's features with the image's code, (B, H * W, C + L)."""
    positions = features.flatten(2).transpose(1, 2)
    codes = z[:, None].expand(-1, positions.shape[1], -1)
    return torch.cat([positions, codes], 2)


class ExpertTraining(nn.Module):
    """The autoencoders of both domains, their optimizer and one update."""

    differentiated = "expert_loss"

    def __init__(self, settings: dict):
        super().__init__()
        self.settings = settings
        self.gen_i = expert_net.AdaINAutoencoder(settings)
        self.gen_m = expert_net.AdaINAutoencoder(settings)

    def optimize(self) -> None:
        """Creates the optimizer, once the parameters are in their final layout.

        The learning rate is that before the first halving.
        """
        settings = self.settings
        self.optimizer = torch.optim.Adam(
            self.parameters(),
            settings["expert.learning_rate"],
            (settings["expert.b1"], settings["expert.b2"]),
            settings["expert.eps"],
            settings["expert.weight_decay"],
            fused=True,
        )

    def random(self, batch: int) -> Tensors:
        """Random draws of a step: none."""
        return {}

    def translate(self, images: torch.Tensor, impressions: torch.Tensor):
        """Reconstruction, naive impression, both contents and the images' detail."""
        detail = self.gen_i.detail(images)
        content_i = self.gen_i.content(images)
        content_m = self.gen_m.content(impressions)
        reconstruction = self.gen_i.decode(content_m, detail)
        naive = self.gen_m.decode(content_i, self.gen_m.detail(impressions))
        return reconstruction, naive, content_i, content_m, detail

    def forward(self, images_u8: torch.Tensor, impressions_u8: torch.Tensor) -> Tensors:
        """The weighted sum of the L1 losses, and its terms."""
        images, impressions = images_u8.float() / 255, impressions_u8.float() / 255
        translated = self.translate(images, impressions)
        reconstruction, naive, content_i, content_m, detail = translated
        weights = self.settings
        image = 2 * F.l1_loss(reconstruction, images)
        impression = 2 * F.l1_loss(naive, impressions)
        detail_loss = F.l1_loss(self.gen_i.detail(reconstruction), detail)
        content = F.l1_loss(self.gen_i.content(reconstruction), content_m)
        content = content + F.l1_loss(self.gen_m.content(naive), content_i)
        loss = (
            weights["expert.image_weight"] * image
            + weights["expert.impression_weight"] * impression
            + weights["expert.detail_weight"] * detail_loss
            + weights["expert.content_weight"] * content
        )
        return {
            "expert_loss": loss,
            "reconstruction_loss": image,
            "naive_impression_loss": impression,
            "detail_loss": detail_loss,
            "content_loss": content,
        }

    def step(self, losses: Callable[..., Tensors], images_u8, impressions_u8):
        """One update.

        Args:
          losses: this module, or its compiled form.
          images_u8: (B, C, H, W).
          impressions_u8: the same.
        """
        metrics = losses(images_u8, impressions_u8)
        metrics[self.differentiated].backward()
        metrics["expert_gradient_norm"] = gradients.norm(self)
        gradients.descend([self.optimizer])
        return metrics


class Scoring(nn.Module):
    """Both stages and the perceptual distance, with the running statistics."""

    def __init__(self, settings: dict):
        super().__init__()
        self.ie_net = ie_net.IENet(settings)
        self.experts = ExpertTraining(settings)
        self.distance = vgg19.PerceptualDistance()

    def forward(self, images_u8: torch.Tensor) -> Tensors:
        """Anomaly maps, scores and pictures, as `methods.utad.method`."""
        images = images_u8.float() / 255
        impressions = self.ie_net(images)[0]
        reconstruction, naive, *_ = self.experts.translate(images, impressions)
        maps = self.distance(images, reconstruction) + self.distance(impressions, naive)
        return {
            "maps": maps,
            "scores": maps.amax((1, 2)),
            "impression": impressions,
            "naive impression": naive,
            "reconstruction": reconstruction,
        }
