import functools
import re

import conftest
import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.networks import (
    expert_net,
    ie_net,
    image_discriminator,
    latent_discriminator,
)
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.runtime import errors
from jax_scadn.torch_import import scadn, utad
from jax_scadn.training import loop, protocol


def state_dicts(blocks=2, width=4):
    """Arrays under PyTorch's names and in its axis order, from a random Flax state."""
    config = conftest.tiny(model__blocks=blocks, model__width=width)
    (stage,) = methods.create(config).stages
    state = loop.init(stage, 0, protocol.EMPTY, {})
    flat = state_dict.flatten(state.generator)
    generator = {
        name: np.asarray(flat[flax]).transpose(3, 2, 0, 1)
        if flat[flax].ndim == 4
        else np.asarray(flat[flax])
        for name, flax in scadn.generator_names(blocks).items()
    }
    return generator, state


def test_names_equal_those_of_the_public_code(shared):
    lines = (shared / "golden" / "scadn_parameter_names.txt").read_text().splitlines()
    names = {line.split(" ")[0] for line in lines if line.strip()}
    ours = {f"generator.{name}" for name in scadn.generator_names(8)}
    ours |= {f"discriminator.{name}" for name in scadn.discriminator_names()}
    aliases = {name for name in names if ".features." in name}
    assert names - aliases == ours


@pytest.mark.parametrize("prefix", ["", "generator.", "module."])
def test_generator_is_mapped_with_any_prefix(prefix):
    arrays, state = state_dicts()
    params = scadn.generator_params({prefix + k: v for k, v in arrays.items()})
    conftest.assert_trees_equal(params, state.generator)


def test_a_missing_or_extra_parameter_is_named():
    arrays, _ = state_dicts()
    arrays["encoder.99.weight"] = np.zeros(1)
    with pytest.raises(errors.UserError, match=r"encoder\.99\.weight"):
        scadn.generator_params(arrays)
    arrays.pop("encoder.99.weight")
    arrays.pop("decoder.1.bias")
    with pytest.raises(errors.UserError, match=r"decoder\.1\.bias is missing"):
        scadn.generator_params(arrays)


def test_discriminator_ignores_the_alias_of_its_first_layer():
    arrays = {name: np.ones((2, 2, 4, 4)) for name in scadn.discriminator_names()}
    arrays["features.0.weight_orig"] = np.zeros(1)
    variables = scadn.discriminator_variables(arrays)
    assert set(variables) == {"params", "spectral"}
    assert set(variables["spectral"]["conv_3"]) == {"u", "v"}


def test_settings_follow_the_weights():
    arrays, _ = state_dicts(blocks=2, width=4)
    resolved = conftest.tiny(data__channels=3)
    config, trained = scadn.trained(resolved, {"generator": arrays})
    assert set(trained) == {"inpainting"}
    assert (config.model.width, config.model.blocks, config.data.channels) == (4, 2, 1)


def test_settings_of_utad_follow_the_weights_and_fit_its_stages():
    arrays = {
        "ie_net": utad_state_dict("ie_net"),
        "gen_i": utad_state_dict("gen_m"),
        "gen_m": utad_state_dict("gen_m"),
    }
    resolved = methods.resolve(methods.default("utad"))
    resolved.impression.pools = resolved.impression.upsamplings = (2, 2, 2)
    config, trained = utad.trained(resolved, arrays)
    stages = methods.create(config).stages
    for stage in stages:
        init = functools.partial(loop.init, stage)
        state = jax.eval_shape(init, 0, protocol.EMPTY, {})
        expected = stage.result(state)
        ours = jax.tree.map(np.shape, trained[stage.name])
        assert ours == jax.tree.map(lambda x: x.shape, expected)
    assert {stage.name for stage in stages} == set(trained)


def test_npz_files_are_read_and_others_refused_in_one_line(tmp_path):
    arrays, _ = state_dicts()
    np.savez(tmp_path / "x_gen.npz", **arrays)
    assert set(state_dict.load(tmp_path / "x_gen.npz", "generator")) == set(arrays)
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    for name in ("broken.npz", "missing.npz"):
        with pytest.raises(errors.UserError) as raised:
            state_dict.load(tmp_path / name, "generator")
        assert "\n" not in str(raised.value)


def test_pth_files_are_read_as_the_authors_code_writes_them(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    arrays, _ = state_dicts()
    tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    torch.save({"iteration": 7, "generator": tensors}, tmp_path / "x_gen.pth")
    loaded = state_dict.load(tmp_path / "x_gen.pth", "generator")
    conftest.assert_trees_equal(loaded, arrays)


SMALL_IE_NET = ie_net.IENet(
    1,
    features=(2, 3, 4),
    pools=(2, 2, 2),
    decoder_features=(4, 3, 2),
    upsamplings=(2, 2, 2),
    head_features=5,
    latent=6,
)
SMALL_EXPERT = expert_net.AdaINAutoencoder(1, width=2, blocks=1, mlp_width=3)
UTAD = {
    "ie_net": (
        functools.partial(SMALL_IE_NET.init, train=False),
        utad.ie_net_names(3, 3),
        utad.ie_net_variables,
        {"encoder_f.0.block1x1.1.num_batches_tracked": np.array(5)},
    ),
    "gen_m": (
        SMALL_EXPERT.init,
        utad.expert_net_names(1),
        utad.expert_net_variables,
        {"dec.model.0.model.0.model.1.norm.running_var": np.ones(8)},
    ),
}


def shapes(init, size):
    tree = jax.eval_shape(init, jax.random.key(0), np.zeros((1, *size), np.float32))
    return state_dict.flatten(jax.tree.map(lambda leaf: leaf.shape, tree))


def utad_state_dict(network):
    """Random arrays in PyTorch's axis order, and the entries that only PyTorch has."""
    init, names, _, ignored = UTAD[network]
    flax_shapes = shapes(init, (32, 32, 1))
    assert set(names.values()) == set(flax_shapes)
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=state_dict.torch_shape(flax_shapes[ours]))
        for name, ours in names.items()
    }
    return arrays | ignored


@pytest.mark.parametrize("network", UTAD)
@pytest.mark.parametrize("prefix", ["", "module.", "{}.", "module.{}."])
def test_utads_networks_are_mapped_with_any_prefix(network, prefix):
    init, names, convert, _ = UTAD[network]
    arrays = utad_state_dict(network)
    prefix = prefix.format(network)
    tree = convert({prefix + name: array for name, array in arrays.items()})
    flat = state_dict.flatten(tree)
    flax_shapes = shapes(init, (32, 32, 1))
    assert {name: array.shape for name, array in flat.items()} == flax_shapes
    order = {1: "o", 2: "oi", 4: "oihw"}
    for name, ours in names.items():
        axes = order[arrays[name].ndim]
        expected = np.einsum(f"{axes}->{axes[2:]}{axes[1:2]}{axes[0]}", arrays[name])
        np.testing.assert_array_equal(flat[ours], expected)


@pytest.mark.parametrize("network", UTAD)
def test_every_missing_or_extra_parameter_of_utad_is_named(network):
    _, names, convert, _ = UTAD[network]
    arrays = utad_state_dict(network)
    for name in names:
        less = {k: v for k, v in arrays.items() if k != name}
        with pytest.raises(errors.UserError, match=f"{re.escape(name)} is missing"):
            convert(less)
    for name in ("encoder_f.1.weight", "dec.model.2.norm.running_var", "x"):
        with pytest.raises(errors.UserError, match=re.escape(name)):
            convert(arrays | {name: np.zeros(1)})


def test_utads_names_and_shapes_equal_those_of_the_public_code(shared):
    text = (shared / "golden" / "utad_parameter_names.txt").read_text()
    public = {}
    for line in text.splitlines():
        name, shape = line.split(" ", 1)
        public[name] = tuple(map(int, re.findall(r"\d+", shape)))
    unused = re.compile(r"num_batches_tracked|gen_i\.dec\.model\.0\..*running_")
    public = {k: v for k, v in public.items() if not unused.search(k)}
    networks = {
        "ie_net": (
            functools.partial(ie_net.IENet(3).init, train=False),
            (256, 256, 3),
            utad.ie_net_names(),
        ),
        "image_disc": (
            image_discriminator.MultiScaleDiscriminator().init,
            (64, 64, 3),
            utad.image_discriminator_names(),
        ),
        "latent_disc": (
            latent_discriminator.LatentDiscriminator().init,
            (4096,),
            utad.latent_discriminator_names(),
        ),
        "gen_i": (
            expert_net.AdaINAutoencoder(3).init,
            (64, 64, 3),
            utad.expert_net_names(),
        ),
    }
    ours = {}
    for network, (init, size, names) in networks.items():
        flax_shapes = shapes(init, size)
        assert set(names.values()) == set(flax_shapes)
        ours |= {
            f"{network}.{name}": state_dict.torch_shape(flax_shapes[flax_name])
            for name, flax_name in names.items()
        }
    assert ours == public
