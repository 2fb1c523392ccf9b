"""UTAD's golden files: IE-Net, the losses of its discriminators, Expert-Net.

Channels, sizes, batches and Expert-Net's width are those of the file; all other widths
are those of the public code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scadn.losses import adversarial, mutual_information
from jax_scadn.networks import (
    expert_net,
    ie_net,
    image_discriminator,
    latent_discriminator,
)
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.parity import recipe, report
from jax_scadn.runtime import errors
from jax_scadn.torch_import import utad as torch_utad

_GIVEN = {
    "seed",
    "ie_images_u8_nchw",
    "imgdisc_real_u8",
    "imgdisc_fake_u8",
    "en_image_u8",
    "en_impression_u8",
}
_TOLERANCE = (2e-4, "abs")
_TOLERANCES = {
    f"ie_{mode}_{name}": (1e-3, "max")
    for mode in ("train", "eval")
    for name in ("latent", "log_var")
}
_FEATURES_SHAPE = (2, 256, 4, 4)  # of the latent discriminator's drawn input, NCHW

Arrays = Mapping[str, np.ndarray]


def check(golden: Arrays, changes: Mapping[str, Any]) -> list[report.Row]:
    """Computes every quantity of the file and compares it.

    Args:
      golden: the arrays of a golden file.
      changes: of settings; none, as the networks have only those of the file.

    Raises:
      errors.UserError: the file lacks a quantity or has an unknown one, or settings
        are changed.
    """
    if changes:
        raise errors.UserError(
            f"--config.{next(iter(changes))}: the check of UTAD's networks has no "
            "settings"
        )
    missing = sorted(_GIVEN - set(golden))
    if missing:
        raise errors.UserError(f"the golden file lacks {missing[0]}")
    return compare(quantities(golden), golden)


def compare(ours: Mapping[str, jax.Array], golden: Arrays) -> list[report.Row]:
    """A row for each quantity of the file.

    Raises:
      errors.UserError: ours and the file's are not the same quantities.
    """
    names = [name for name in golden if name not in _GIVEN]
    unpaired = sorted(set(ours) ^ set(names))
    if unpaired:
        raise errors.UserError(
            f"the golden file {'lacks' if unpaired[0] in ours else 'also contains'} "
            f"{unpaired[0]}"
        )
    return [
        report.compare(
            name, ours[name], golden[name], *_TOLERANCES.get(name, _TOLERANCE)
        )
        for name in names
    ]


def quantities(golden: Arrays) -> dict[str, jax.Array]:
    """Our value of each quantity, in PyTorch's axis order."""
    seed = int(golden["seed"])
    return {
        **_ie_net(seed, golden),
        **_image_discriminator(seed, golden),
        **_latent_discriminator(seed),
        **_expert_net(seed, golden),
    }


def _ie_net(seed: int, golden: Arrays) -> dict[str, jax.Array]:
    """A pass in training mode, then one in evaluation mode with its statistics."""
    images = recipe.images_bhwc(golden["ie_images_u8_nchw"])
    net = ie_net.IENet(images.shape[-1])
    variables = _variables(
        functools.partial(net.init, train=True),
        (images,),
        torch_utad.ie_net_names(),
        "ie_net",
        seed,
    )
    trained, updated = _apply(
        net, variables, images, train=True, mutable=("batch_stats",)
    )
    evaluated = _apply(net, {**variables, **updated}, images, train=False)
    ours = {}
    for mode, impression in (("train", trained), ("eval", evaluated)):
        ours |= {
            f"ie_{mode}_recon_every4": _nchw(impression.image_bhwc)[..., ::4, ::4],
            f"ie_{mode}_latent": _nchw(impression.features_bhwc),
            f"ie_{mode}_mean": impression.mean_bl,
            f"ie_{mode}_log_var": impression.log_var_bl,
        }
    return ours


def _image_discriminator(seed: int, golden: Arrays) -> dict[str, jax.Array]:
    real = recipe.images_bhwc(golden["imgdisc_real_u8"])
    fake = recipe.images_bhwc(golden["imgdisc_fake_u8"])
    net = image_discriminator.MultiScaleDiscriminator()
    names = torch_utad.image_discriminator_names(net.scales)
    variables = _variables(net.init, (real,), names, "image_disc", seed)
    real, fake = (_apply(net, variables, images) for images in (real, fake))
    return {
        "imgdisc_loss_d": adversarial.multiscale_lsgan_discriminator(real, fake),
        "imgdisc_loss_g": adversarial.multiscale_lsgan_generator(fake),
    }


def _latent_discriminator(seed: int) -> dict[str, jax.Array]:
    real, fake = (
        jnp.asarray(
            recipe.standard_normal(seed, name, _FEATURES_SHAPE), jnp.float32
        ).reshape(_FEATURES_SHAPE[0], -1)
        for name in ("feat_real", "feat_fake")
    )
    net = latent_discriminator.LatentDiscriminator()
    names = torch_utad.latent_discriminator_names()
    variables = _variables(net.init, (real,), names, "latent_disc", seed)
    real, fake = (_apply(net, variables, features) for features in (real, fake))
    return {
        "latentdisc_loss": mutual_information.discriminator_loss(real, fake),
        "latentdisc_gen_loss": jnp.mean(adversarial.generator_fake("nsgan", fake)),
    }


def _expert_net(seed: int, golden: Arrays) -> dict[str, jax.Array]:
    """All combinations of contents and details; our [0, 1] is converted to [-1, 1]."""
    image = recipe.images_bhwc(golden["en_image_u8"])
    impression = recipe.images_bhwc(golden["en_impression_u8"])
    width = golden["en_content_i_every4"].shape[1]  # every 4th of 4 * width channels
    net = expert_net.AdaINAutoencoder(image.shape[-1], width)
    names = torch_utad.expert_net_names(net.blocks)
    params_i, params_m = (
        _variables(net.init, (image,), names, prefix, seed)
        for prefix in ("gen_i", "gen_m")
    )
    encode_content, encode_detail, decode = (
        functools.partial(_apply, net, method=method)
        for method in ("encode_content", "encode_detail", "decode")
    )
    content_i = encode_content(params_i, image)
    content_m = encode_content(params_m, impression)
    detail_i = encode_detail(params_i, image)
    detail_m = encode_detail(params_m, impression)

    def decoded(params, content, detail):
        return _nchw(2 * decode(params, content, detail) - 1)

    return {
        "en_content_i_every4": _nchw(content_i)[:, ::4],
        "en_detail_i": _nchw(detail_i[:, None, None]),
        "en_detail_m": _nchw(detail_m[:, None, None]),
        "en_i_recon": decoded(params_i, content_i, detail_i),
        "en_m2i": decoded(params_i, content_m, detail_i),
        "en_i2m": decoded(params_m, content_i, detail_m),
        "en_m2i_batch1": decoded(params_i, content_m[:1], detail_i[:1]),
    }


@functools.partial(
    jax.jit, static_argnums=0, static_argnames=("train", "mutable", "method")
)
def _apply(network, variables, *inputs, **options):
    return network.apply(variables, *inputs, **options)


def _variables(init, inputs, names: Mapping[str, str], network: str, seed: int):
    """A network's Flax variables by the recipe of the golden files.

    Args:
      init: of the module.
      inputs: its arguments.
      names: PyTorch name -> Flax name of its variables.
      network: prefix of the PyTorch names.
      seed: of the file.
    """
    shapes = state_dict.flatten(jax.eval_shape(init, jax.random.key(0), *inputs))
    arrays = {
        name: _drawn(
            seed, f"{network}.{name}", state_dict.torch_shape(shapes[ours].shape)
        )
        for name, ours in names.items()
    }
    return state_dict.to_flax_tree(arrays, names, network)


def _drawn(seed: int, full_name: str, shape: tuple[int, ...]) -> np.ndarray:
    if full_name.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    if full_name.endswith("running_var"):
        return np.ones(shape, np.float32)
    value = recipe.standard_normal(seed, full_name, shape)
    if full_name.endswith(("bias", "beta")):
        value *= 0.05
    elif len(shape) == 1:
        value = 1 + 0.1 * value
    else:
        value *= math.sqrt(2 / math.prod(shape[1:]))
    return value.astype(np.float32)


def _nchw(x_bhwc: jax.Array) -> jax.Array:
    return x_bhwc.transpose(0, 3, 1, 2)
