"""UTAD's networks, the steps of its two stages and its scoring in PyTorch.

With the losses of the preset `reference`. Read beside `jax_scadn.networks` and
`jax_scadn.methods.utad*`. Images are NCHW and in [0, 1] outside of Expert-Net.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twins import gradients, vgg19

Tensors = dict[str, torch.Tensor]

_LATENT_DISCRIMINATOR_WIDTH = 128


# Stage 1: IE-Net.


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
        # The last upsampling waits until few channels are left, as in our network.
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


class LatentDiscriminator(nn.Module):
    """Perceptron on pairs of features and a code; a logit each."""

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
    """The same small net for an image, its half, its quarter and so on."""

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


class ImpressionTraining(nn.Module):
    """IE-Net, its discriminators, their optimizers and one simultaneous update."""

    differentiated = "loss"

    def __init__(self, settings: dict):
        super().__init__()
        self.settings = settings
        self.ie_net = IENet(settings)
        latent = settings["impression.latent"]
        pair = 4 * settings["impression.features"][-1] + latent
        side = settings["data.size"] // 2
        for pool in settings["impression.pools"]:
            side //= pool
        width = min(_LATENT_DISCRIMINATOR_WIDTH, latent)
        self.discriminators = nn.ModuleDict(
            {
                "local": LatentDiscriminator(pair, width),
                "global": LatentDiscriminator(side * side * pair, width),
                "image": ImageDiscriminator(
                    settings["data.channels"],
                    settings["impression.image_discriminator_width"],
                    settings["impression.image_discriminator_scales"],
                ),
            }
        )

    def optimize(self) -> None:
        """Makes the optimizers; the parameters are in their final layout by now."""
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
        """What a step draws: the noise of the codes."""
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
          losses: this module, or what a compiler made of it.
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


# Stage 2: Expert-Net.


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
    """Convolution padded by reflection, then a norm and a ReLU where there are."""

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
    """One after the other; AdaIN where means and deviations are given."""

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
    """Image -> map of a quarter of the size with 4 * width channels."""

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
    """Content encoder, detail encoder and decoder of one kind of picture."""

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


class ExpertTraining(nn.Module):
    """The autoencoders of both domains, their optimizer and one update."""

    differentiated = "expert_loss"

    def __init__(self, settings: dict):
        super().__init__()
        self.settings = settings
        self.gen_i = AdaINAutoencoder(settings)
        self.gen_m = AdaINAutoencoder(settings)

    def optimize(self) -> None:
        """Makes the optimizer; the parameters are in their final layout by now.

        The learning rate is that of the steps before it is halved.
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
        """What a step draws: nothing."""
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
        made, naive, content_i, content_m, detail = self.translate(images, impressions)
        weights = self.settings
        image = 2 * F.l1_loss(made, images)
        impression = 2 * F.l1_loss(naive, impressions)
        detail_loss = F.l1_loss(self.gen_i.detail(made), detail)
        content = F.l1_loss(self.gen_i.content(made), content_m)
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
          losses: this module, or what a compiler made of it.
          images_u8: (B, C, H, W).
          impressions_u8: the same.
        """
        metrics = losses(images_u8, impressions_u8)
        metrics[self.differentiated].backward()
        metrics["expert_gradient_norm"] = gradients.norm(self)
        gradients.descend([self.optimizer])
        return metrics


class Scoring(nn.Module):
    """Both stages and the perceptual measurement, with the running statistics."""

    def __init__(self, settings: dict):
        super().__init__()
        self.ie_net = IENet(settings)
        self.experts = ExpertTraining(settings)
        self.measure = vgg19.PerceptualMeasure()

    def forward(self, images_u8: torch.Tensor) -> Tensors:
        """Anomaly maps, scores and what the networks made, as `Utad.score`."""
        images = images_u8.float() / 255
        impressions = self.ie_net(images)[0]
        reconstruction, naive, *_ = self.experts.translate(images, impressions)
        maps = self.measure(images, reconstruction) + self.measure(impressions, naive)
        return {
            "maps": maps,
            "scores": maps.amax((1, 2)),
            "impression": impressions,
            "naive impression": naive,
            "reconstruction": reconstruction,
        }
