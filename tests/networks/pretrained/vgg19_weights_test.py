import hashlib
import importlib
import sys

import conftest
import numpy as np
import pytest
import vgg19_arrays

from jax_scadn import fetch_weights
from jax_scadn.networks.pretrained import vgg19, vgg19_weights
from jax_scadn.runtime import errors


def torch_arrays(arrays):
    """The same arrays under torchvision's names, in its axis order."""
    renamed = {}
    for i, name in zip((0, 2, 5, 7, 10, 12, 14, 16), vgg19.CONVOLUTIONS, strict=True):
        kernel = arrays[f"{name}/kernel"].transpose(3, 2, 0, 1)
        renamed[f"features.{i}.weight"] = np.ascontiguousarray(kernel)
        renamed[f"features.{i}.bias"] = arrays[f"{name}/bias"]
    return renamed


@pytest.fixture
def arrays():
    return vgg19_arrays.random_arrays()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jax_scadn"


def save_pth(folder, arrays, **options):
    """A state dict like torchvision's, named by its digest."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    tensors = {
        name: torch.nn.Parameter(torch.from_numpy(array))
        for name, array in torch_arrays(arrays).items()
    }
    tensors["classifier.0.bias"] = torch.zeros(3)
    path = folder / "new.pth"
    torch.save(tensors, path, **options)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"vgg19-{digest[:8]}.pth")


def message(call, *arguments):
    """The one-line message of a user error."""
    with pytest.raises(errors.UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_preprocessing_follows_the_source(tmp_path, arrays):
    np.savez(tmp_path / "keras.npz", **arrays)
    np.savez(tmp_path / "torch.npz", source="torchvision", **arrays)
    keras = vgg19_weights.load(tmp_path / "keras.npz")
    torch = vgg19_weights.load(str(tmp_path / "torch.npz"))
    np.testing.assert_allclose(keras["mean"] * 255, [123.68, 116.779, 103.939])
    np.testing.assert_allclose(keras["std"] * 255, 1)
    np.testing.assert_allclose(torch["mean"], [0.485, 0.456, 0.406])
    np.testing.assert_allclose(torch["std"], [0.229, 0.224, 0.225])
    kernel = arrays["conv1_1/kernel"]
    flipped = keras["conv1_1"]["conv"]["kernel"]
    for rgb, bgr in ((0, 2), (1, 1), (2, 0)):
        np.testing.assert_array_equal(flipped[:, :, rgb], kernel[:, :, bgr])
    np.testing.assert_array_equal(torch["conv1_1"]["conv"]["kernel"], kernel)
    bias = keras["conv3_4"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, arrays["conv3_4/bias"])


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvision_files(tmp_path, arrays, legacy):
    path = save_pth(tmp_path, arrays, _use_new_zipfile_serialization=not legacy)
    np.savez(tmp_path / "same.npz", source="torchvision", **arrays)
    same = vgg19_weights.load(tmp_path / "same.npz")
    conftest.assert_trees_equal(vgg19_weights.load(path), same)


def save_h5(path, arrays, names):
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split("/")
            layer = f"block{layer[4]}_conv{layer[6]}"
            file[names[kind].format(layer)] = array
        file["dense/kernel"] = np.zeros((2, 2))


@pytest.mark.parametrize(
    "names",
    [
        {"kernel": "{0}/{0}_W_1:0", "bias": "{0}/{0}_b_1:0"},  # the published file
        {"kernel": "{0}/{0}/kernel:0", "bias": "{0}/{0}/bias:0"},  # Keras 2
        {"kernel": "layers/{0}/vars/0", "bias": "layers/{0}/vars/1"},  # Keras 3
    ],
)
def test_keras_files(tmp_path, arrays, names):
    save_h5(tmp_path / "vgg19.h5", arrays, names)
    np.savez(tmp_path / "same.npz", **arrays)
    conftest.assert_trees_equal(
        vgg19_weights.load(tmp_path / "vgg19.h5"),
        vgg19_weights.load(tmp_path / "same.npz"),
    )


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, cache):
    for package, file in (("torch", "x.pth"), ("h5py", "x.h5")):
        (tmp_path / file).touch()
        monkeypatch.setitem(sys.modules, package, None)
        assert "pip install" in message(vgg19_weights.load, tmp_path / file)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'jax_scadn[torch]'" in message(vgg19_weights.fetch)
    assert not cache.exists()


def test_files_that_are_not_vgg(tmp_path, arrays):
    def refused(name, **content):
        np.savez(tmp_path / name, **content)
        return message(vgg19_weights.load, tmp_path / name)

    wrong = arrays | {"conv2_1/kernel": np.zeros((3, 3, 128, 64))}
    assert "(expected (3, 3, 64, 128))" in refused("a.npz", **wrong)
    del arrays["conv3_4/bias"]
    assert "conv3_4/bias is missing (expected (256,))" in refused("b.npz", **arrays)
    assert "'caffe', not one of: keras, torchvision" in refused(
        "c.npz", source="caffe", **arrays
    )
    (tmp_path / "d.txt").touch()
    assert "give a .pth" in message(vgg19_weights.load, tmp_path / "d.txt")
    (tmp_path / "e.npz").write_bytes(b"PK nonsense")
    assert "e.npz" in message(vgg19_weights.load, tmp_path / "e.npz")
    missing = f"--config.vgg_weights={tmp_path / 'f.h5'} does not exist"
    assert message(vgg19_weights.load, tmp_path / "f.h5") == missing


def test_a_damaged_h5_file(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py")
    (tmp_path / "x.h5").write_bytes(b"nonsense")
    assert "is not an HDF5 file" in message(vgg19_weights.load, tmp_path / "x.h5")


def test_without_weights_one_line_says_what_to_do(cache):
    line = message(vgg19_weights.load)
    assert "python -m jax_scadn.fetch_weights" in line
    assert "--config.vgg_weights=FILE" in line


def test_the_cache_is_read(cache, arrays):
    cache.mkdir(parents=True)
    np.savez(cache / "vgg19.npz", source="torchvision", **arrays)
    assert vgg19_weights.load()["std"][0] == np.float32(0.229)


def test_the_home_directory_has_a_cache_too(tmp_path, monkeypatch, arrays):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache" / "jax_scadn").mkdir(parents=True)
    np.savez(tmp_path / ".cache" / "jax_scadn" / "vgg19.npz", **arrays)
    assert "conv3_4" in vgg19_weights.load()


def test_fetched_once_and_then_read_without_pytorch(
    tmp_path, cache, monkeypatch, arrays
):
    path = save_pth(tmp_path, arrays)
    converted = vgg19_weights.fetch(path.as_uri())
    assert converted.parent == cache
    expected = vgg19_weights.load(path)
    path.unlink()
    monkeypatch.setitem(sys.modules, "torch", None)
    conftest.assert_trees_equal(vgg19_weights.load(), expected)
    assert vgg19_weights.fetch(path.as_uri()) == converted


def test_a_file_that_was_put_into_the_cache(tmp_path, cache, monkeypatch, arrays):
    cache.mkdir(parents=True)
    path = save_pth(cache, arrays)
    monkeypatch.setattr(vgg19_weights, "URL", f"https://localhost:1/{path.name}")
    assert "conv3_4" in vgg19_weights.load()
    vgg19_weights.fetch(vgg19_weights.URL)
    assert (cache / "vgg19.npz").exists()


@pytest.fixture
def has_torch(monkeypatch):
    """As if PyTorch were installed; it is not used."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.usefixtures("has_torch")
def test_a_damaged_download_is_deleted(tmp_path, cache):
    (tmp_path / "vgg19-00000000.pth").write_bytes(b"half of it")
    line = message(vgg19_weights.fetch, (tmp_path / "vgg19-00000000.pth").as_uri())
    digest = hashlib.sha256(b"half of it").hexdigest()[:8]
    assert f"SHA-256 begins with {digest} and not with 00000000" in line
    assert not list(cache.iterdir())
    line = message(vgg19_weights.load, tmp_path / "vgg19-00000000.pth")
    assert "is damaged" in line


@pytest.mark.usefixtures("has_torch")
def test_without_network_one_line_says_what_to_do(cache):
    url = "http://127.0.0.1:1/vgg19-dcbb9e9d.pth"
    line = message(vgg19_weights.fetch, url)
    assert f"{url} cannot be downloaded" in line
    assert f"put it at {cache / 'vgg19-dcbb9e9d.pth'}" in line
    assert not list(cache.iterdir())


def test_the_command_prints_the_path(cache, capsys, arrays):
    cache.mkdir(parents=True)
    np.savez(cache / "vgg19.npz", **arrays)
    fetch_weights.main([])
    assert capsys.readouterr().out == f"VGG-19 weights: {cache / 'vgg19.npz'}\n"
