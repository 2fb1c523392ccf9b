"""The JAX side of each case, with drawn weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, weights
from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.detection import detector
from jax_scadn.losses import distances
from jax_scadn.methods import base
from jax_scadn.networks.pretrained import state_dict, vgg19
from jax_scadn.scoring import masks
from jax_scadn.torch_import import scadn as scadn_names
from jax_scadn.torch_import import utad as utad_names
from jax_scadn.training import loop, protocol

Outputs = dict[str, jax.Array]

_STAGES = {
    "scadn-step": "inpainting",
    "impression-step": "impression",
    "expert-step": "expert",
}


def inputs(case: cases.Case) -> dict[str, np.ndarray]:
    """Inputs of both frameworks: images, masks or matrices."""
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
    """The random draws of our steps, for each compared call."""
    settings = case.settings
    drawn = []
    for step in range(cases.COMPARED_STEPS if case.is_step else 0):
        key = jax.random.fold_in(jax.random.key(settings.seed), step)
        if case.task == "scadn-step":
            (stage,) = methods.create(settings).stages
            p = stage.hyperparameters(settings).mask_probabilities
            masks_b = jax.random.choice(key, len(p), (case.batch,), p=p)
            drawn.append({"drawn": masks_b})
        elif case.task == "impression-step":
            shape = (case.batch, settings.impression.latent)
            drawn.append({"noise": jax.random.normal(key, shape)})
        else:
            drawn.append({})
    return jax.tree.map(np.asarray, drawn)


def workload(case: cases.Case) -> Callable[[], Outputs]:
    """The call that is compared and timed; it returns when its results are ready."""
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
    stages = {stage.name: stage for stage in methods.create(config).stages}
    stage = stages[_STAGES[case.task]]
    state, hyper = _state(stage), stage.hyperparameters(config)
    if stage.name == "expert":
        # On given impressions, as in PyTorch: stage 1 is a separate case.
        return _step(_update_expert, stage, state, hyper, arrays)
    step = functools.partial(_train_step, seed=np.uint32(config.seed))
    return _step(step, stage, state, hyper, {"image": arrays["image"]})


def scoring_detector(case: cases.Case) -> detector.Detector:
    """A detector with drawn weights, and statistics of zero errors; not calibrated."""
    config = case.settings
    method = methods.create(config)
    variables = {stage.name: _trained(stage) for stage in method.stages}
    variables[base.FROZEN] = {
        name: _distance(source) for name, source in method.frozen.items()
    }
    statistics = {}
    if base.summarises(method):
        statistics = method.calibrate(np.zeros((1, method.num_maps), np.float32))
    return detector.Detector(config, variables, statistics)


def arrays(outputs: Outputs) -> dict[str, np.ndarray]:
    """The outputs as NumPy arrays."""
    return {name: np.asarray(value) for name, value in outputs.items()}


def _step(update, stage, state, hyper, batch) -> Callable[[], Outputs]:
    def step():
        nonlocal state
        state, metrics = update(stage, state, hyper, jax.device_put(batch))
        jax.block_until_ready((state, metrics))
        return metrics

    return step


def _train_step(stage, state, hyper, batch, seed):
    return loop.train_step(stage, state, hyper, protocol.EMPTY, seed, batch)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update_expert(stage, state, hyper, batch):
    images, impressions = (
        images_lib.as_float(batch[name]) for name in ("image", "impression")
    )
    return stage.update(state, hyper, images, impressions, jax.random.key(0))


def _shapes(stage):
    """Shapes of the state before the first update."""
    init = functools.partial(loop.init, stage)
    return jax.eval_shape(init, 0, protocol.EMPTY, {})


def _trained(stage):
    """Drawn weights, only those that scoring needs: memory is measured."""
    shapes = stage.result(_shapes(stage))
    if stage.name == "inpainting":
        names = scadn_names.generator_names(len(stage.dilations))
        return _drawn(shapes, names, "generator")
    if stage.name == "expert":
        names = utad_names.expert_net_names(stage.blocks)
        return {
            domain: _drawn({"params": shapes[domain]}, names, prefix)["params"]
            for domain, prefix in (("image", "gen_i"), ("impression", "gen_m"))
        }
    blocks = len(stage.features), len(stage.decoder_features)
    return _drawn(shapes, utad_names.ie_net_names(*blocks), "ie_net")


def _state(stage):
    """The state before the first update, with drawn weights."""
    shapes, trained = _shapes(stage), _trained(stage)
    if stage.name == "inpainting":
        discriminator = _drawn(
            {"params": shapes.discriminator, "spectral": shapes.spectral},
            scadn_names.discriminator_names(),
            "discriminator",
        )
        return stage.state_of(trained, **discriminator)
    step = jnp.zeros((), jnp.int32)
    if stage.name == "expert":
        return shapes.replace(
            step=step, experts=trained, optimizer=stage.adam.init(trained)
        )
    latent = utad_names.latent_discriminator_names()
    image = utad_names.image_discriminator_names(stage.image_discriminator_scales)
    discriminators = {
        name: _drawn({"params": params}, names, f"discriminators.{name}")["params"]
        for name, names in (("local", latent), ("global", latent), ("image", image))
        if (params := shapes.discriminators.get(name)) is not None
    }
    return shapes.replace(
        step=step,
        ie_net=trained["params"],
        batch_stats=trained["batch_stats"],
        discriminators=discriminators,
        ie_net_optimizer=stage.sgd.init(trained["params"]),
        discriminators_optimizer=stage.sgd.init(discriminators),
    )


def _distance(distance: distances.Distance) -> dict[str, Any]:
    """VGG-19's parameters, with the preprocessing of `Distance.init`."""
    names = {}
    for name in vgg19.CONVOLUTIONS:
        names[f"{name}.weight"] = f"{name}/conv/kernel"
        names[f"{name}.bias"] = f"{name}/conv/bias"
    shapes = jax.eval_shape(distance.init)
    drawn = _drawn(shapes["vgg19"], names, "distance")
    preprocessing = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    scales = np.ones(shapes["scales"].shape, np.float32)
    return {"vgg19": drawn | preprocessing, "scales": scales}


def _drawn(shapes, names: Mapping[str, str], network: str):
    """Variables of a network by PyTorch's names, see `benchmarks.weights`.

    Each is drawn and put on the device before the next one: memory is measured.
    """
    flat = state_dict.flatten(shapes)

    def put(name, shape):
        array = weights.drawn(f"{network}.{name}", state_dict.torch_shape(shape))
        return jax.block_until_ready(jax.device_put(state_dict.to_flax(array)))

    return state_dict.unflatten(
        {ours: put(name, flat[ours].shape) for name, ours in names.items()}
    )
