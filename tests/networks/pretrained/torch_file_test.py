import collections
import io
import json
import os
import pickle
import sys
import types
import zipfile

import conftest
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.pretrained import torch_file
from jax_scadn.runtime import errors

ARRAYS = {
    "kernel": np.arange(120, dtype=np.float32).reshape(5, 4, 3, 2),
    "bias": np.arange(5, dtype=np.float32),
    "count": np.array(7, np.int64),
}


def message(call, *arguments):
    """The one-line message of a user error."""
    with pytest.raises(errors.UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Storage:
    """A storage, which PyTorch pickles as a persistent id without its content."""

    def __init__(self, key, array, view):
        self.array = np.ascontiguousarray(array)
        kind = "LongStorage" if self.array.dtype == np.int64 else "FloatStorage"
        self.pid = ("storage", getattr(sys.modules["torch"], kind), key, "cpu")
        self.pid += (self.array.size, *view)


class Reduced:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None


def pickled(obj):
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(obj)
    return buffer.getvalue()


@pytest.fixture
def save(monkeypatch):
    """Writes files as torch.save does, with stand-ins for torch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        pass

    for module, name, stand_in in (
        (torch, "FloatStorage", type("FloatStorage", (), {})),
        (torch, "LongStorage", type("LongStorage", (), {})),
        (utils, "_rebuild_tensor_v2", _rebuild_tensor_v2),
    ):
        stand_in.__module__, stand_in.__qualname__ = module.__name__, name
        setattr(module, name, stand_in)
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def save(path, arrays, legacy=False, wrap=lambda tensors: tensors, **extra):
        storages, tensors = [], collections.OrderedDict()
        for name, array in arrays.items():
            # Kernels are stored in another order of axes, as in the published file.
            order = (2, 3, 1, 0) if array.ndim == 4 else range(array.ndim)
            stored = np.ascontiguousarray(array.transpose(*order))
            strides = np.empty(array.ndim, int)
            strides[list(order)] = np.array(stored.strides) // array.itemsize
            view = (None,) if legacy else ()
            storages.append(Storage(str(len(storages)), stored, view))
            arguments = (storages[-1], 0, array.shape, tuple(strides.tolist()))
            tensors[name] = Reduced(
                _rebuild_tensor_v2, *arguments, False, collections.OrderedDict()
            )
        content = pickled(wrap(tensors | extra))
        if not legacy:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", content)
                archive.writestr("archive/byteorder", "little")
                for storage in storages:
                    entry = f"archive/data/{storage.pid[2]}"
                    archive.writestr(entry, storage.array.tobytes())
            return path
        head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        keys = [storage.pid[2] for storage in storages]
        parts = [*map(pickled, head), content, pickled(keys)]
        for storage in storages:
            parts += [storage.array.size.to_bytes(8, "little"), storage.array.tobytes()]
        path.write_bytes(b"".join(parts))
        return path

    return save


def save_safetensors(path, arrays):
    header, raw = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        kind = {"float32": "F32", "int64": "I64", "bfloat16": "BF16"}[str(array.dtype)]
        offsets = [len(raw), len(raw) + array.nbytes]
        header[name] = dict(dtype=kind, shape=array.shape, data_offsets=offsets)
        raw += array.tobytes()
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + raw)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_pth_files(tmp_path, save, legacy):
    path = save(tmp_path / "net.pth", ARRAYS, legacy)
    conftest.assert_trees_equal(torch_file.load(path), ARRAYS)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool"])
def test_pth_files_of_pytorch(tmp_path, dtype, legacy):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    full = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype))
    tensors = {"full": full, "part": full[1:, ::2].transpose(0, 2)}
    tensors["empty"], tensors["scalar"] = full[:0], full[1, 1, 1]
    path = tmp_path / "net.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    for name, array in torch_file.load(path).items():
        assert array.dtype == np.dtype(getattr(jnp, dtype))
        expected = tensors[name].double().numpy()
        np.testing.assert_array_equal(array.astype(np.float64), expected)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_with_more_than_the_weights(tmp_path, save, key):
    path = save(
        tmp_path / "net.pt",
        ARRAYS,
        wrap=lambda tensors: {"epoch": 3, key: tensors},
        version="1",
    )
    conftest.assert_trees_equal(torch_file.load(path), ARRAYS)


def test_safetensors_files(tmp_path):
    arrays = ARRAYS | {"half": np.arange(6).reshape(2, 3).astype(jnp.bfloat16)}
    path = save_safetensors(tmp_path / "net.safetensors", arrays)
    conftest.assert_trees_equal(torch_file.load(path), arrays)
    path.write_bytes(path.read_bytes()[:-1])
    assert "is damaged" in message(torch_file.load, path)
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    assert "bytes too early" in message(torch_file.load, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path, save, legacy):
    ran = tmp_path / "ran"
    command = Reduced(os.system, f"touch {ran}")
    path = save(tmp_path / "net.pth", ARRAYS, legacy, note=command)
    line = message(torch_file.load, path)
    assert f"its pickle names {os.system.__module__}.system" in line
    assert not ran.exists()
    path.write_bytes(pickled(command))  # instead of the entire file
    assert "system, which no state dict needs" in message(torch_file.load, path)
    assert not ran.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_pth_files(tmp_path, save, legacy):
    path = save(tmp_path / "net.pth", ARRAYS, legacy)
    content = path.read_bytes()
    for count in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:count])
        line = message(torch_file.load, path)
        assert f"{path} is damaged, or not a PyTorch state dict" in line
    path = save(path, ARRAYS, legacy, wrap=lambda tensors: [1])
    assert "it is a list" in message(torch_file.load, path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path, save):
    path = save(tmp_path / "net.pth", {"x": np.ones(4, np.float32)})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["archive/data/0"] = entries["archive/data/0"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert "is damaged" in message(torch_file.load, path)


def test_a_file_that_does_not_exist(tmp_path):
    path = tmp_path / "net.pth"
    assert message(torch_file.load, path) == f"{path} does not exist"


def test_a_number_that_asks_for_all_memory_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"\x80\x02K\x01r\xff\xff\xff\xff.")  # LONG_BINPUT
    assert "refers back to object 4294967295" in message(torch_file.load, path)
