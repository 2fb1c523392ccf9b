import conftest
import jax
import numpy as np
import pytest

from jax_scadn import errors, methods, torch_import


def state_dicts(blocks=2, width=4):
    """Arrays under PyTorch's names and in its axis order, from a random Flax state."""
    config = conftest.tiny(model__blocks=blocks, model__width=width)
    state = jax.jit(methods.create(config).init)(0)
    flat = torch_import.flatten(state.generator)
    generator = {
        name: np.asarray(flat[flax]).transpose(3, 2, 0, 1)
        if flat[flax].ndim == 4
        else np.asarray(flat[flax])
        for name, flax in torch_import.generator_names(blocks).items()
    }
    return generator, state


def test_names_are_those_of_the_public_code(shared):
    lines = (shared / "golden" / "scadn_parameter_names.txt").read_text().splitlines()
    names = {line.split(" ")[0] for line in lines if line.strip()}
    ours = {f"generator.{name}" for name in torch_import.generator_names(8)}
    ours |= {f"discriminator.{name}" for name in torch_import.discriminator_names()}
    aliases = {name for name in names if ".features." in name}
    assert names - aliases == ours


@pytest.mark.parametrize("prefix", ["", "generator.", "module."])
def test_generator_is_mapped_with_any_prefix(prefix):
    arrays, state = state_dicts()
    params = torch_import.generator_params({prefix + k: v for k, v in arrays.items()})
    conftest.assert_trees_equal(params, state.generator)


def test_a_missing_or_extra_parameter_is_named():
    arrays, _ = state_dicts()
    arrays["encoder.99.weight"] = np.zeros(1)
    with pytest.raises(errors.UserError, match=r"encoder\.99\.weight"):
        torch_import.generator_params(arrays)
    arrays.pop("encoder.99.weight")
    arrays.pop("decoder.1.bias")
    with pytest.raises(errors.UserError, match=r"decoder\.1\.bias is missing"):
        torch_import.generator_params(arrays)


def test_discriminator_ignores_the_alias_of_its_first_layer():
    arrays = {
        name: np.ones((2, 2, 4, 4)) for name in torch_import.discriminator_names()
    }
    arrays["features.0.weight_orig"] = np.zeros(1)
    variables = torch_import.discriminator_variables(arrays)
    assert set(variables) == {"params", "spectral"}
    assert set(variables["spectral"]["conv_3"]) == {"u", "v"}


def test_settings_follow_the_weights():
    arrays, _ = state_dicts(blocks=2, width=4)
    params = torch_import.generator_params(arrays)
    config = torch_import.settings_for(params, conftest.tiny(data__channels=3))
    assert (config.model.width, config.model.blocks, config.data.channels) == (4, 2, 1)


def test_npz_files_are_read_and_others_refused_in_one_line(tmp_path):
    arrays, _ = state_dicts()
    np.savez(tmp_path / "x_gen.npz", **arrays)
    assert set(torch_import.load(tmp_path / "x_gen.npz", "generator")) == set(arrays)
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    for name in ("broken.npz", "missing.npz"):
        with pytest.raises(errors.UserError) as raised:
            torch_import.load(tmp_path / name, "generator")
        assert "\n" not in str(raised.value)


def test_pth_files_are_read_as_the_authors_code_writes_them(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    arrays, _ = state_dicts()
    tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    torch.save({"iteration": 7, "generator": tensors}, tmp_path / "x_gen.pth")
    loaded = torch_import.load(tmp_path / "x_gen.pth", "generator")
    conftest.assert_trees_equal(loaded, arrays)
