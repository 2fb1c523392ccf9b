"""SCADN's golden files: forward passes, training steps and multi-mask inference.

Size, channels, widths, batch and number of steps are the file's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scadn import methods
from jax_scadn.methods import base
from jax_scadn.methods.scadn import inpainting
from jax_scadn.methods.scadn import method as method_lib
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.parity import recipe, report
from jax_scadn.settings import resolve
from jax_scadn.torch_import import scadn as torch_scadn
from jax_scadn.training import loop, protocol

_SCORING_BATCH = 4  # images; bounds the memory

# PyTorch's name of a logged quantity -> ours.
_LOGS = {
    "l_dis": "discriminator_loss",
    "l_dis_real": "discriminator_real_loss",
    "l_dis_fake": "discriminator_fake_loss",
    "l_gen_gan": "adversarial_loss",
    "l_l1": "reconstruction_loss",
    "l_gen_sum": "generator_loss",
}


def golden_weights(stage: inpainting.InpaintingStage, seed: int):
    """The generator's parameters and the discriminator's variables by the recipe.

    Each PyTorch array is drawn from a NumPy generator that is seeded with the seed
    and the CRC-32 of the array's full name.
    """
    init = functools.partial(loop.init, stage)
    shapes = jax.eval_shape(init, seed, protocol.EMPTY, {})
    generator_shapes = state_dict.flatten(shapes.generator)
    discriminator_shapes = state_dict.flatten(
        {"params": shapes.discriminator, "spectral": shapes.spectral}
    )
    generator = {
        name: _drawn(f"generator.{name}", seed, generator_shapes[flax_name].shape)
        for name, flax_name in torch_scadn.generator_names(len(stage.dilations)).items()
    }
    discriminator = {
        name: _drawn(
            f"discriminator.{name}", seed, discriminator_shapes[flax_name].shape
        )
        for name, flax_name in torch_scadn.discriminator_names().items()
    }
    return (
        torch_scadn.generator_params(generator),
        torch_scadn.discriminator_variables(discriminator),
    )


def _drawn(full_name: str, seed: int, flax_shape: tuple[int, ...]) -> np.ndarray:
    shape = state_dict.torch_shape(flax_shape)
    value = recipe.standard_normal(seed, full_name, shape)
    if full_name.endswith(("_u", "_v")):
        value = value.astype(np.float32)
        return (value / np.linalg.norm(value)).astype(np.float32)
    scale = 0.01 if full_name.endswith("bias") else 0.02
    return (value * scale).astype(np.float32)


def check(
    golden: Mapping[str, np.ndarray], changes: Mapping[str, Any]
) -> list[report.Row]:
    """Computes every quantity of the file and compares it.

    Args:
      golden: the arrays of a golden file.
      changes: settings that differ from the defaults; sizes are always the file's.
    """
    channels, size = golden["train_images_u8_nchw"].shape[1:3]
    sizes = {
        "data.size": int(size),
        "data.channels": int(channels),
        "model.width": golden["after_gen_first_kernel"].shape[0],
        "model.discriminator_width": golden["after_disc_conv1_u"].shape[0],
        "model.blocks": _blocks(golden["grad_norm_names"]),
    }
    config = methods.default("scadn")
    for field, value in {**changes, **sizes}.items():
        resolve.put(config, field, value)
    config = methods.resolve(config)
    method = methods.create(config)
    stage = method.inpainting
    generator, discriminator = golden_weights(stage, int(golden["seed"]))
    state = stage.state_of(generator, **discriminator)

    rows = [report.compare("masks", method.masks_mhw, golden["mask_set"], 0, "abs")]
    rows += _inference_rows(method, state, golden, "before")
    trained, training_rows = _training_rows(stage, state, config, golden)
    rows += training_rows
    rows += _inference_rows(method, trained, golden, "after")
    spectral_u = trained.spectral["conv_0"]["u"]
    first = np.transpose(trained.generator["encoder_0"]["conv"]["kernel"], (3, 2, 0, 1))
    last = trained.generator["decoder_3"]["conv"]["bias"]
    return [
        *rows,
        report.compare(
            "after_disc_conv1_u", spectral_u, golden["after_disc_conv1_u"], 3e-2, "L2"
        ),
        report.compare(
            "after_gen_first_kernel",
            first,
            golden["after_gen_first_kernel"],
            3e-2,
            "L2",
        ),
        report.compare(
            "after_gen_last_bias", last, golden["after_gen_last_bias"], 3e-2, "L2"
        ),
    ]


def _blocks(names) -> int:
    return len({name.split(".")[2] for name in names if ".middle." in name})


def _images(golden: Mapping[str, np.ndarray], name: str) -> jax.Array:
    return recipe.images_bhwc(golden[f"{name}_images_u8_nchw"])


def _inference_rows(
    method: method_lib.Method, state, golden, tag: str
) -> list[report.Row]:
    """Networks in evaluation mode, before or after the training steps."""

    def against(name, ours, reduced=_itself):
        key = f"{tag}_{name}"
        return report.compare(key, reduced(ours), reduced(golden[key]), *tolerance)

    # Single pixels drift after training, since Adam's first step is the sign of the
    # gradient: images are compared by their means then.
    before = tag == "before"
    tolerance = (1e-4, "abs") if before else (3e-2, "rel")
    pixels = _itself if before else _pixel_mean
    test, normal = _images(golden, "test"), _images(golden, "val")
    inpainted = _inpainted(method, state, test[:1])
    realness = _realness(method, state, test)
    statistics = method.calibrate(
        np.asarray(method.summary(_scale_maps(method, state, normal)))
    )
    mu = statistics["mu"]
    maps = _scale_maps(method, state, test)
    scored = method.select(statistics, maps)
    rows = [
        against("recon_test0_all12", inpainted.transpose(0, 3, 1, 2), pixels),
        against("disc_test", realness.transpose(0, 3, 1, 2)),
        against("mu", mu),
        against("scale_maps_test", maps.maps_bkhw.swapaxes(0, 1), pixels),
    ]
    # Another scale may be selected only if the two are nearly equal.
    excess = scored.scale_means - mu[None]
    torch_excess = jnp.take_along_axis(excess, golden[f"{tag}_selected"][:, None], 1)
    lead = jnp.max(excess, axis=1) - torch_excess[:, 0]
    lead = lead / (1 if before else scored.scores)
    rows.append(
        report.compare(
            f"{tag}_selected (lead of ours)", lead, 0 * lead, tolerance[0], "abs"
        )
    )
    return [*rows, against("score", scored.scores)]


def _scale_maps(method: method_lib.Method, state, images) -> base.Maps:
    batches = [
        _maps(method, state.generator, images[i : i + _SCORING_BATCH])
        for i in range(0, len(images), _SCORING_BATCH)
    ]
    return base.Maps(jnp.concatenate(batches))


def _inpainted(method: method_lib.Method, state, images):
    """The images under every mask in turn, (masks * B, H, W, C)."""
    return jnp.concatenate(
        [_inpaint(method, state.generator, images, mask) for mask in method.masks_mhw]
    )


@functools.partial(jax.jit, static_argnums=0)
def _maps(method: method_lib.Method, generator, images):
    variables = {base.FROZEN: {}, method.inpainting.name: generator}
    return method.maps(variables, images).maps_bkhw


@functools.partial(jax.jit, static_argnums=0)
def _inpaint(method: method_lib.Method, generator, images, mask):
    return method.inpaint(generator, images, mask)


@functools.partial(jax.jit, static_argnums=0)
def _realness(method: method_lib.Method, state, images):
    """The discriminator's output for each patch, in [0, 1]."""
    variables = {"params": state.discriminator, "spectral": state.spectral}
    logits, _ = method.inpainting.discriminator.apply(variables, images)
    return jax.nn.sigmoid(logits)


def _itself(array):
    return array


def _pixel_mean(array):
    return np.mean(np.asarray(array, np.float64), axis=(-2, -1))


def _training_rows(stage: inpainting.InpaintingStage, state, config, golden):
    """The training steps: gradient norms of the first one, losses of all."""
    hyper = stage.hyperparameters(config)
    images = _images(golden, "train")
    batch = golden["mask_index"].shape[1]
    rows = []
    for step, logged in enumerate(golden["logs"]):
        state, metrics, norms = _step(
            stage,
            state,
            hyper,
            images[step * batch : (step + 1) * batch],
            hyper.masks_mhw[golden["mask_index"][step]],
        )
        if step == 0:
            rows += _gradient_rows(stage, norms, golden)
        tolerance = 1e-5 if step == 0 else 1e-2
        rows += [
            report.compare(
                f"step {step} {name}", metrics[_LOGS[name]], value, tolerance, "rel"
            )
            for name, value in zip(golden["log_names"], logged, strict=True)
        ]
    return state, rows


@functools.partial(jax.jit, static_argnums=0)
def _step(stage: inpainting.InpaintingStage, state, hyper, images, masks):
    """The state after an update, its metrics, and the norms of its gradients."""
    grads = stage.gradients(state, hyper, images, masks)
    norms = jax.tree.map(jnp.linalg.norm, (grads.generator, grads.discriminator))
    return stage.descend(state, hyper, grads), grads.metrics, norms


def _gradient_rows(
    stage: inpainting.InpaintingStage, norms, golden
) -> list[report.Row]:
    generator, discriminator = map(state_dict.flatten, norms)
    blocks = len(stage.dilations)
    ours = {
        f"generator.{name}": generator[flax_name]
        for name, flax_name in torch_scadn.generator_names(blocks).items()
    } | {
        f"discriminator.{name}": discriminator[flax_name.removeprefix("params/")]
        for name, flax_name in torch_scadn.discriminator_names().items()
        if flax_name.startswith("params/")
    }
    rows = []
    for name, value in zip(
        golden["grad_norm_names"], golden["grad_norm_values"], strict=True
    ):
        # The gradient of a bias before an instance norm is only rounding error.
        tolerance = (1e-3, "rel") if value > 1e-4 else (1e-4, "abs")
        name = _original(str(name))
        rows.append(report.compare(f"gradient {name}", ours[name], value, *tolerance))
    return rows


def _original(name: str) -> str:
    """Resolves the alias of the discriminator's first layer."""
    return name.replace("discriminator.features.", "discriminator.conv1.")
