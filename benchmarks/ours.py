"""JAX's side of each case: weights in, one call at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, weights
from jax_scadn import methods
from jax_scadn.detection import detector
from jax_scadn.networks.pretrained import state_dict, vgg19
from jax_scadn.scoring import masks
from jax_scadn.torch_import import scadn as scadn_names
from jax_scadn.torch_import import utad as utad_names
from jax_scadn.training import loop

Outputs = dict[str, jax.Array]


def inputs(case: cases.Case) -> dict[str, np.ndarray]:
    """What both frameworks get: images, masks or matrices."""
    if case.task == "matrix-product":
        shape = (case.size, case.size)
        return {name: weights.drawn(name, shape) for name in "ab"}
    settings = case.settings
    shape = (case.batch, case.size, case.size, settings.data.channels)
    arrays = {name: weights.images(name, shape) for name in ("image", "impression")}
    if settings.method == "scadn":
        arrays["masks"] = masks.striped(case.size, settings.masks.stripe_pairs)
    return arrays


def given(case: cases.Case) -> list[dict[str, np.ndarray]]:
    """What our steps draw at random in those calls that are compared."""
    settings = case.settings
    drawn = []
    for step in range(cases.COMPARED_STEPS if case.is_step else 0):
        key = jax.random.fold_in(jax.random.key(settings.seed), step)
        if case.task == "scadn-step":
            (stage,) = methods.create(settings).stages
            shares = stage.hyperparameters(settings).mask_probabilities
            masks_b = jax.random.choice(key, len(shares), (case.batch,), p=shares)
            drawn.append({"drawn": masks_b})
        elif case.task == "impression-step":
            shape = (case.batch, settings.impression.latent)
            drawn.append({"noise": jax.random.normal(key, shape)})
        else:
            drawn.append({})
    return jax.tree.map(np.asarray, drawn)


def workload(case: cases.Case) -> Callable[[], Outputs]:
    """What is called, compared and timed; a call ends when its results are there."""
    arrays = inputs(case)
    if case.task == "matrix-product":
        product = jax.jit(jnp.matmul)
        a, b = jax.device_put((arrays["a"], arrays["b"]))
        return lambda: {"product": jax.block_until_ready(product(a, b))}
    config = case.settings
    if not case.is_step:
        model = scoring_detector(case)

        def score():
            scored = model.score_batch(arrays["image"])
            return {"maps": scored.maps, "scores": scored.scores, **scored.pictures}

        return score
    # SCADN's only stage, or one of UTAD's, which are called like their tasks.
    folders = ("", case.task.removesuffix("-step"))
    stages = methods.create(config).stages
    stage = next(stage for stage in stages if stage.folder in folders)
    batch = {"image": arrays["image"]}
    if stage.folder == "expert":
        batch["impression"] = arrays["impression"]
    return _step(
        stage, _state(stage, config.seed), stage.hyperparameters(config), batch
    )


def scoring_detector(case: cases.Case) -> detector.Detector:
    """With drawn weights and mu = 0."""
    config = case.settings
    method = methods.create(config)
    trained = {stage.folder: _trained(stage) for stage in method.stages}
    params = method.inference_params(trained, _measure(method.measure))
    return detector.uncalibrated(config, params)


def arrays(outputs: Outputs) -> dict[str, np.ndarray]:
    """As NumPy arrays."""
    return {name: np.asarray(value) for name, value in outputs.items()}


def _step(stage, state, hyper, batch) -> Callable[[], Outputs]:
    def step():
        nonlocal state
        state, metrics = loop.train_step(stage, state, hyper, jax.device_put(batch))
        jax.block_until_ready((state, metrics))
        return metrics

    return step


def _trained(stage):
    """The drawn weights that scoring needs; no more, as memory is measured."""
    shapes = stage.params(jax.eval_shape(stage.init, 0))
    if stage.folder == "":
        names = scadn_names.generator_names(len(stage.dilations))
        return _drawn(shapes, names, "generator")
    if stage.folder == "expert":
        names = utad_names.expert_net_names(stage.blocks)
        return {
            domain: _drawn({"params": shapes[domain]}, names, prefix)["params"]
            for domain, prefix in (("image", "gen_i"), ("impression", "gen_m"))
        }
    blocks = len(stage.features), len(stage.decoder_features)
    return _drawn(shapes, utad_names.ie_net_names(*blocks), "ie_net")


def _state(stage, seed: int):
    """The state before the first update, with drawn weights."""
    shapes = jax.eval_shape(stage.init, seed)
    trained = _trained(stage)
    if stage.folder == "":
        discriminator = _drawn(
            {"params": shapes.discriminator, "spectral": shapes.spectral},
            scadn_names.discriminator_names(),
            "discriminator",
        )
        return stage.state_of(seed, trained, **discriminator)
    counters = {"step": jnp.zeros((), jnp.int32), "seed": jnp.uint32(seed)}
    if stage.folder == "expert":
        return shapes.replace(
            **counters, experts=trained, optimizer=stage.adam.init(trained)
        )
    latent = utad_names.latent_discriminator_names()
    image = utad_names.image_discriminator_names(stage.image_discriminator_scales)
    discriminators = {
        name: _drawn({"params": params}, names, f"discriminators.{name}")["params"]
        for name, names in (("local", latent), ("global", latent), ("image", image))
        if (params := shapes.discriminators.get(name)) is not None
    }
    return shapes.replace(
        **counters,
        ie_net=trained["params"],
        batch_stats=trained["batch_stats"],
        discriminators=discriminators,
        ie_net_optimizer=stage.sgd.init(trained["params"]),
        discriminators_optimizer=stage.sgd.init(discriminators),
    )


def _measure(measure) -> dict[str, Any]:
    """The measure's parameters, with the preprocessing of `Measure.init`."""
    if not measure.uses_vgg:
        return {}
    names = {}
    for name in vgg19.CONVOLUTIONS:
        names[f"{name}.weight"] = f"{name}/conv/kernel"
        names[f"{name}.bias"] = f"{name}/conv/bias"
    shapes = jax.eval_shape(measure.init)
    drawn = _drawn(shapes["vgg19"], names, "measure")
    preprocessing = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    scales = np.ones(shapes["scales"].shape, np.float32)
    return {"vgg19": drawn | preprocessing, "scales": scales}


def _drawn(shapes, names: Mapping[str, str], network: str):
    """Variables of a network by PyTorch's names, see `benchmarks.weights`.

    One after the other is drawn and put on the device: memory is measured.
    """
    flat = state_dict.flatten(shapes)

    def put(name, shape):
        array = weights.drawn(f"{network}.{name}", state_dict.torch_shape(shape))
        return jax.block_until_ready(jax.device_put(state_dict.to_flax(array)))

    return state_dict.unflatten(
        {ours: put(name, flat[ours].shape) for name, ours in names.items()}
    )
