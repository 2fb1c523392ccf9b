"""Programs for NVIDIA GPUs, lowered to text without a GPU."""

import functools
import re

import conftest
import jax
import numpy as np
import pytest
import utad_tiny

from jax_scadn import methods
from jax_scadn.methods import base
from jax_scadn.training import loop, protocol

BATCH = 5  # a size that no other axis has
WIDTH = {"float32": "f32", "bfloat16": "bf16"}


def exported(function, *arguments):
    """StableHLO for CUDA."""
    lowered = jax.export.export(jax.jit(function), platforms=("cuda",))
    return lowered(*arguments).mlir_module()


def images(config, dtype=np.uint8):
    size, channels = config.data.size, config.data.channels
    return jax.ShapeDtypeStruct((BATCH, size, size, channels), dtype)


def shapes(stage):
    """Shapes of the state before the first update."""
    init = functools.partial(loop.init, stage)
    return jax.eval_shape(init, 0, protocol.EMPTY, {})


def exported_step(config, stage, context=protocol.EMPTY):
    """The program of a training step."""
    update = functools.partial(loop.update, stage)
    hyper = stage.hyperparameters(config)
    batch = {"image": images(config)}
    return exported(update, shapes(stage), hyper, context, np.uint32(0), batch)


@functools.cache
def scadn_step(dtype):
    config = conftest.tiny(dtype=dtype, data__channels=3, training__batch_size=BATCH)
    (stage,) = methods.create(config).stages
    return exported_step(config, stage)


@functools.cache
def scadn_score(dtype):
    config = conftest.tiny(dtype=dtype, data__channels=3)
    method = methods.create(config)
    generator = shapes(method.inpainting).generator
    variables = {base.FROZEN: {}, "inpainting": generator}
    statistics = {"mu": jax.ShapeDtypeStruct((method.num_maps,), np.float32)}

    def score(variables, statistics, images):
        return method.select(statistics, method.maps(variables, images))

    return exported(score, variables, statistics, images(config, np.float32))


@functools.cache
def utad_step(dtype, number):
    config = utad_tiny.settings(dtype=dtype, data__channels=3)
    first, second = methods.create(config).stages
    earlier = {first.name: first.result(shapes(first))}
    contexts = (protocol.EMPTY, protocol.Context({}, earlier))
    return exported_step(config, (first, second)[number], contexts[number])


PROGRAMS = {
    "SCADN's step": scadn_step,
    "SCADN's scoring": scadn_score,
    "IE-Net's step": functools.partial(utad_step, number=0),
    "Expert-Net's step": functools.partial(utad_step, number=1),
}

every_program = pytest.mark.parametrize("name", PROGRAMS)
every_dtype = pytest.mark.parametrize("dtype", WIDTH)


def operations(program, name):
    """Shapes and types of operands and results of each operation of that name."""
    lines = re.findall(rf"stablehlo\.{name}\b.* : (\(.*\) -> tensor<[^>]*>)", program)
    return [
        [
            (tuple(map(int, shape.split("x")[:-1])), shape.split("x")[-1])
            for shape in re.findall(r"tensor<([^>]*)>", line)
        ]
        for line in lines
    ]


@every_dtype
@every_program
def test_convolutions_have_the_requested_type(name, dtype):
    convolutions = operations(PROGRAMS[name](dtype), "convolution")
    assert len(convolutions) >= 10
    for tensors in convolutions:
        assert {kind for _, kind in tensors} == {WIDTH[dtype]}


@every_dtype
@every_program
def test_images_are_not_transposed_between_layers(name, dtype):
    """Channels stay last, as the dimension numbers of the convolutions say.

    Only kernels, for the spectral norm, and results over scales are transposed.
    """
    for (shape, _), _ in operations(PROGRAMS[name](dtype), "transpose"):
        is_images = len(shape) >= 4 and any(n % BATCH == 0 for n in shape[:2])
        assert not is_images or shape[0] == 3, shape


@every_dtype
@every_program
def test_nothing_leaves_the_device(name, dtype):
    program = PROGRAMS[name](dtype)
    for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv"):
        assert word not in program


def test_float32_under_bfloat16_is_in_norms_and_at_the_output_only():
    """Each norm and the final tanh are computed in float32."""
    conversions = operations(scadn_score("bfloat16"), "convert")
    conversions = [pair for pair in conversions if len(pair[0][0]) >= 4]
    activations = [pair for pair in conversions if BATCH in pair[0][0][:2]]
    up = [pair for pair in activations if pair[1][1] == "f32"]
    down = [pair for pair in activations if pair[1][1] == "bf16"]
    norms = 4 + 2 * 1 + 3
    assert len(up) == norms + 1  # tanh
    assert len(down) == norms + 1  # the images
    in_float32 = operations(scadn_score("float32"), "convert")
    assert {pair[0][1] for pair in in_float32} == {"ui8"}  # the masks
    relus = r"stablehlo\.maximum %\w+, %\w+ : tensor<\d+x5x[^>]*x(\w+)>"
    assert set(re.findall(relus, scadn_score("bfloat16"))) == {"bf16"}


def test_parameters_and_losses_stay_float32():
    program = scadn_step("bfloat16")
    signature = re.search(r"func\.func public @main\((.*)\{\n", program)[1]
    kinds = {kind.split("x")[-1] for kind in re.findall(r"tensor<([^>]*)>", signature)}
    assert kinds <= {"f32", "i32", "ui32", "ui8"}
