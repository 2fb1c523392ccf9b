"""Numeric check against PyTorch: `python -m jax_scadn.parity GOLDEN.npz`.

A golden file holds images, masks and what the authors' PyTorch code made of them.
Its weights are not stored but made from the parameters' names and a seed, so any
seed, size, number of channels, batch and number of steps can be checked. Settings
can be changed, to see the check fail: `--config.masks.fill=0`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_flags

from jax_scadn import cli, configuration, errors, scoring, torch_import
from jax_scadn.methods import scadn

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


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity beside PyTorch's.

    Attributes:
      name: of the quantity.
      ours: its value, or its mean.
      torch: PyTorch's.
      difference: the largest one, absolute or relative as `kind` says.
      tolerance: how large it may be.
      kind: 'abs', 'rel' or 'L2' (norm of the difference over PyTorch's norm).
    """

    name: str
    ours: float
    torch: float
    difference: float
    tolerance: float
    kind: str

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN

    def __str__(self) -> str:
        verdict = "pass" if self.passed else "FAIL"
        return (
            f"{verdict}  {self.name:<52} {self.ours:>13.6g} {self.torch:>13.6g} "
            f"{self.difference:>10.2e} {self.tolerance:>8.0e} {self.kind}"
        )


def compare(name: str, ours, torch, tolerance: float, kind: str) -> Row:
    """Sets two arrays side by side.

    Raises:
      ValueError: the shapes differ.
    """
    ours, torch = np.asarray(ours, np.float64), np.asarray(torch, np.float64)
    if ours.shape != torch.shape:
        raise ValueError(f"{name}: ours {ours.shape} != PyTorch's {torch.shape}")
    gap = np.abs(ours - torch)
    if kind == "abs":
        difference = gap.max()
    elif kind == "rel":
        difference = np.max(gap / np.abs(torch))
    else:
        difference = np.linalg.norm(gap) / np.linalg.norm(torch)
    return Row(name, ours.mean(), torch.mean(), float(difference), tolerance, kind)


def golden_weights(method: scadn.Scadn, seed: int):
    """The generator's parameters and the discriminator's variables by the recipe.

    Each PyTorch array is drawn from a NumPy generator that is seeded with the seed
    and the CRC-32 of the array's full name.
    """
    shapes = jax.eval_shape(method.init, seed)
    generator_shapes = torch_import.flatten(shapes.generator)
    discriminator_shapes = torch_import.flatten(
        {"params": shapes.discriminator, "spectral": shapes.spectral}
    )
    generator = {
        name: _drawn(f"generator.{name}", seed, generator_shapes[flax_name].shape)
        for name, flax_name in torch_import.generator_names(
            len(method.dilations)
        ).items()
    }
    discriminator = {
        name: _drawn(
            f"discriminator.{name}", seed, discriminator_shapes[flax_name].shape
        )
        for name, flax_name in torch_import.discriminator_names().items()
    }
    return (
        torch_import.generator_params(generator),
        torch_import.discriminator_variables(discriminator),
    )


def _drawn(full_name: str, seed: int, flax_shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(full_name.encode())])
    value = rng.standard_normal(torch_import.torch_shape(flax_shape))
    if full_name.endswith(("_u", "_v")):
        value = value.astype(np.float32)
        return (value / np.linalg.norm(value)).astype(np.float32)
    scale = 0.01 if full_name.endswith("bias") else 0.02
    return (value * scale).astype(np.float32)


def check(golden: Mapping[str, np.ndarray], config) -> list[Row]:
    """Runs everything that the file holds and compares it.

    Args:
      golden: the arrays of a golden file.
      config: settings; the file's size and channels replace theirs.
    """
    seed = int(golden["seed"])
    channels, size = golden["train_images_u8_nchw"].shape[1:3]
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.size, config.data.channels = int(size), int(channels)
        config.model.width = golden["after_gen_first_kernel"].shape[0]
        config.model.discriminator_width = golden["after_disc_conv1_u"].shape[0]
        config.model.blocks = _blocks(golden["grad_norm_names"])
    config = configuration.resolve(config)
    method = scadn.Scadn.from_config(config)
    generator, discriminator = golden_weights(method, seed)
    state = method.state_of(seed, generator, **discriminator)

    rows = [compare("masks", method.masks_mhw, golden["mask_set"], 0, "abs")]
    rows += _inference_rows(method, state, golden, "before")
    trained, training_rows = _training_rows(method, state, config, golden)
    rows += training_rows
    rows += _inference_rows(method, trained, golden, "after")
    spectral_u = trained.spectral["conv_0"]["u"]
    first = np.transpose(trained.generator["encoder_0"]["conv"]["kernel"], (3, 2, 0, 1))
    last = trained.generator["decoder_3"]["conv"]["bias"]
    return [
        *rows,
        compare(
            "after_disc_conv1_u", spectral_u, golden["after_disc_conv1_u"], 3e-2, "L2"
        ),
        compare(
            "after_gen_first_kernel",
            first,
            golden["after_gen_first_kernel"],
            3e-2,
            "L2",
        ),
        compare("after_gen_last_bias", last, golden["after_gen_last_bias"], 3e-2, "L2"),
    ]


def _blocks(names) -> int:
    return len({name.split(".")[2] for name in names if ".middle." in name})


def _images(golden: Mapping[str, np.ndarray], name: str) -> jax.Array:
    images = golden[f"{name}_images_u8_nchw"].transpose(0, 2, 3, 1)
    return jnp.asarray(images, jnp.float32) / 255


def _inference_rows(method: scadn.Scadn, state, golden, tag: str) -> list[Row]:
    """Networks in evaluation mode, before or after the training steps."""

    def against(name, ours, reduced=_itself):
        key = f"{tag}_{name}"
        return compare(key, reduced(ours), reduced(golden[key]), *tolerance)

    # Single pixels drift after training, since Adam's first step is the sign of the
    # gradient: pictures are compared by their means then.
    before = tag == "before"
    tolerance = (1e-4, "abs") if before else (3e-2, "rel")
    pixels = _itself if before else _pixel_mean
    test, normal = _images(golden, "test"), _images(golden, "val")
    candidates = jax.jit(method.candidates)

    def scale_maps(images):
        batches = [
            images[i : i + _SCORING_BATCH]
            for i in range(0, len(images), _SCORING_BATCH)
        ]
        return jnp.concatenate([candidates(state.generator, b)[0] for b in batches])

    repainted = jax.jit(method.repaint)(state.generator, test[:1])[:, 0]
    logits, _ = jax.jit(method.discriminator.apply)(
        {"params": state.discriminator, "spectral": state.spectral}, test
    )
    mu = jnp.mean(scale_maps(normal), axis=(0, 2, 3))
    maps = scale_maps(test)
    repainted_of_scale = jnp.zeros((*maps.shape, 1))  # of no interest here
    scored = scoring.merge("max_mu", mu, maps, repainted_of_scale)
    rows = [
        against("recon_test0_all12", repainted.transpose(0, 3, 1, 2), pixels),
        against("disc_test", jax.nn.sigmoid(logits).transpose(0, 3, 1, 2)),
        against("mu", mu),
        against("scale_maps_test", maps.swapaxes(0, 1), pixels),
    ]
    # A scale may be taken for another one only where the two were as good as equal.
    excess = scored.scale_means - mu[None]
    torch_excess = jnp.take_along_axis(excess, golden[f"{tag}_selected"][:, None], 1)
    lead = jnp.max(excess, axis=1) - torch_excess[:, 0]
    lead = lead / (1 if before else scored.scores)
    rows.append(
        compare(f"{tag}_selected (lead of ours)", lead, 0 * lead, tolerance[0], "abs")
    )
    return [*rows, against("score", scored.scores)]


def _itself(array):
    return array


def _pixel_mean(array):
    return np.mean(np.asarray(array, np.float64), axis=(-2, -1))


def _training_rows(method: scadn.Scadn, state, config, golden):
    """The training steps: gradient norms of the first one, losses of all."""
    hyper = method.hyperparameters(config)
    images = _images(golden, "train")
    mask_index = golden["mask_index"]
    batch = mask_index.shape[1]
    inputs = [
        (images[s * batch : (s + 1) * batch], jnp.asarray(method.masks_mhw)[index])
        for s, index in enumerate(mask_index)
    ]
    rows = _gradient_rows(method, state, hyper, inputs[0], golden)
    update = jax.jit(method.update)
    for step, logged in enumerate(golden["logs"]):
        state, metrics = update(state, hyper, *inputs[step])
        tolerance = 1e-5 if step == 0 else 1e-2
        rows += [
            compare(
                f"step {step} {name}", metrics[_LOGS[name]], value, tolerance, "rel"
            )
            for name, value in zip(golden["log_names"], logged, strict=True)
        ]
    return state, rows


def _gradient_rows(method: scadn.Scadn, state, hyper, inputs, golden) -> list[Row]:
    def norms(state, hyper, images, masks):
        grads = method.gradients(state, hyper, images, masks)
        return jax.tree.map(jnp.linalg.norm, (grads.generator, grads.discriminator))

    generator, discriminator = jax.jit(norms)(state, hyper, *inputs)
    generator = torch_import.flatten(generator)
    discriminator = torch_import.flatten({"params": discriminator})
    blocks = len(method.dilations)
    ours = {
        f"generator.{name}": generator[flax_name]
        for name, flax_name in torch_import.generator_names(blocks).items()
    } | {
        f"discriminator.{name}": discriminator[flax_name]
        for name, flax_name in torch_import.discriminator_names().items()
        if flax_name.startswith("params/")
    }
    rows = []
    for name, value in zip(
        golden["grad_norm_names"], golden["grad_norm_values"], strict=True
    ):
        # A bias before an instance norm has no gradient but rounding's.
        tolerance = (1e-3, "rel") if value > 1e-4 else (1e-4, "abs")
        name = _original(str(name))
        rows.append(compare(f"gradient {name}", ours[name], value, *tolerance))
    return rows


def _original(name: str) -> str:
    """The name that an alias of the discriminator's first layer stands for."""
    return name.replace("discriminator.features.", "discriminator.conv1.")


_CONFIG = config_flags.DEFINE_config_dict("config", configuration.default())


def main(arguments: list[str]) -> int:
    if not arguments:
        raise errors.UserError("give one file: python -m jax_scadn.parity GOLDEN.npz")
    path = pathlib.Path(arguments[0])
    try:
        golden = dict(np.load(path))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path} cannot be read as .npz: {error}") from None
    # TensorFloat-32 would make GPUs fail a check that float32 passes.
    jax.config.update("jax_default_matmul_precision", "highest")
    rows = check(golden, _CONFIG.value)
    print(f"      {'quantity':<52} {'ours':>13} {'PyTorch':>13} difference  allowed")
    print("\n".join(map(str, rows)))
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} quantities pass")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main, arguments=1)
