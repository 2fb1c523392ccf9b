import gzip
import io
import os
import pickle
import struct

import conftest
import numpy as np
import pytest
from PIL import Image

from jax_scadn.data import labelled, one_class, records
from jax_scadn.runtime import errors

SHARED = conftest.SHARED / "data"


def _images(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def _write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def idx(tmp_path):
    for split, count in (("train", 20), ("t10k", 13)):
        labels = np.arange(count, dtype=np.uint8) % 10
        _write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", _images(count, (28, 28)))
        _write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", labels)
    return tmp_path


def _planes(count=10):
    """CIFAR-10 rows: red, green and blue planes in a row; and labels."""
    return _images(count, (3072,)), np.arange(count) % 10


def _write_python_batches(folder):
    folder.mkdir()
    planes, labels = _planes()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        batch = {b"data": planes, b"labels": labels.tolist()}
        # Protocol 3 is the oldest that keeps bytes; Python 2 wrote the real ones.
        (folder / name).write_bytes(pickle.dumps(batch, protocol=3))


def _write_binary_batches(folder):
    folder.mkdir()
    planes, labels = _planes()
    data = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / f"{name}.bin").write_bytes(data)


def _write_jpegs(folder):
    files = []
    for value in (10, 20, 30):
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (value, value, value)).save(file, "JPEG")
        files.append(file.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.array([0, 3, 3], np.uint8),
    }
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", **arrays)


def test_idx_one_class(idx):
    data = labelled.load("idx", str(idx), "")
    train, test = one_class.items(data, "2", 28, 1)
    assert [item.path for item in train] == ["mnist/train/2", "mnist/train/12"]
    np.testing.assert_array_equal(
        train[1].read().image[..., 0], _images(20, (28, 28))[12]
    )
    assert [item.label for item in test] == [int(i % 10 != 2) for i in range(13)]
    defects = [item.defect for item in test]
    assert defects == ["0", "1", "good", *"3456789", "0", "1", "good"]
    assert test[12].path == "mnist/test/12"
    assert test[0].read().mask is None


def test_unpacked_idx_files_are_read(idx):
    packed = labelled.load("idx", str(idx), "")
    for path in list(idx.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    unpacked = labelled.load("idx", str(idx), "")
    np.testing.assert_array_equal(packed.train.images, unpacked.train.images)
    np.testing.assert_array_equal(packed.test.labels, unpacked.test.labels)


def test_fashion_is_selected_by_setting_or_directory_name():
    assert labelled.name("idx", "x", "fashion_mnist") == "fashion_mnist"
    assert labelled.name("idx", "/data/Fashion-MNIST", "") == "fashion_mnist"
    assert labelled.name("idx", "/data/fashion/mnist", "") == "mnist"


def test_classes_by_name_and_index():
    classes = labelled.CLASSES["cifar10"]
    assert one_class.resolve("5", classes) == one_class.resolve("dog", classes) == "dog"
    for wrong in ("10", "-1", "wolf", ""):
        with pytest.raises(errors.UserError, match=r"--config\.data\.category.*dog"):
            one_class.resolve(wrong, classes)


@pytest.mark.parametrize("parent", [False, True])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("cifar-10-batches-py", _write_python_batches),
        ("cifar-10-batches-bin", _write_binary_batches),
    ],
)
def test_cifar_batches(tmp_path, name, write, parent):
    write(tmp_path / name)
    path = tmp_path if parent else tmp_path / name
    data = labelled.load("cifar10", str(path), "")
    assert len(data.train.labels) == 50
    train, test = one_class.items(data, "cat", 32, 3)
    assert [item.path for item in train] == [
        f"cifar10/train/{i}3" for i in ("", *"1234")
    ]
    planes = _planes()[0][3].reshape(3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(
            train[2].read().image[..., channel], planes[channel]
        )
    assert [item.defect for item in test][2:5] == ["bird", "good", "deer"]


def test_cifar_pickle_cannot_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = tmp_path / "cifar-10-batches-py"
    _write_python_batches(folder)
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Harmful()}))
    with pytest.raises(errors.UserError, match=r"cifar-10-batches-py.*mkdir"):
        labelled.load("cifar10", str(tmp_path), "")
    assert not (tmp_path / "ran").exists()


def test_cifar_jpegs(tmp_path):
    _write_jpegs(tmp_path)
    train, test = one_class.items(
        labelled.load("cifar10", str(tmp_path), ""), "cat", 32, 3
    )
    assert [item.read().image.mean() for item in train] == [20, 30]
    assert [item.defect for item in test] == ["airplane", "good", "good"]


def test_incomplete_cifar_is_refused(tmp_path):
    _write_python_batches(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py/data_batch_4").unlink()
    with pytest.raises(errors.UserError, match=r"no CIFAR-10.*--config\.data\.path"):
        labelled.load("cifar10", str(tmp_path), "")


def test_digits():
    data = labelled.load("digits", "", "")
    assert (len(data.train.images), len(data.test.images)) == (1200, 597)
    assert data.train.images.dtype == np.uint8
    assert data.train.images.max() == 255
    train, test = one_class.items(data, "4", 32, 1)
    assert {item.label for item in train} == {records.NORMAL}
    assert {item.defect for item in test} == {"good", *"012356789"}
    assert test[5].read().image.shape == (32, 32, 1)


def test_damaged_and_missing_files_are_named(idx):
    labels = idx / "t10k-labels-idx1-ubyte.gz"
    complete = labels.read_bytes()
    for data in (complete[:-12], b"", b"junk", gzip.compress(b"\0\0\x0d\1\0\0\0\0")):
        labels.write_bytes(data)
        with pytest.raises(errors.UserError, match=r"t10k-labels.*damaged"):
            labelled.load("idx", str(idx), "")
    _write_idx(labels, np.zeros(5, np.uint8))
    with pytest.raises(errors.UserError, match="13 images and 5 labels"):
        labelled.load("idx", str(idx), "")
    labels.unlink()
    for path in (str(idx), "", str(idx / "gone")):
        with pytest.raises(errors.UserError, match=r"--config\.data\.path=.*idx"):
            labelled.load("idx", path, "")
    for path in ("", str(idx / "gone"), str(idx)):
        with pytest.raises(errors.UserError, match=r"cifar-10-batches-py"):
            labelled.load("cifar10", path, "")


def test_labels_outside_the_classes_are_refused(idx):
    labels = np.full(13, 10, np.uint8)
    _write_idx(idx / "t10k-labels-idx1-ubyte.gz", labels)
    with pytest.raises(errors.UserError, match="up to 10"):
        labelled.load("idx", str(idx), "")


def test_class_without_training_images(idx):
    _write_idx(idx / "train-labels-idx1-ubyte.gz", np.zeros(20, np.uint8))
    data = labelled.load("idx", str(idx), "")
    with pytest.raises(errors.UserError, match="no training image of class '3'"):
        one_class.items(data, "3", 8, 1)


def test_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")

    class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.builder_cls("mnist").VERSION

        def _info(self):
            image = tfds.features.Image(shape=(28, 28, 1))
            label = tfds.features.ClassLabel(num_classes=10)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(
                builder=self, features=features, disable_shuffling=True
            )

        def _split_generators(self, manager):
            del manager
            return {name: self._generate_examples(name) for name in ("train", "test")}

        def _generate_examples(self, split):
            for index in range(12):
                path = tmp_path / f"{split}{index}.png"
                Image.new("L", (28, 28), 10 * index).save(path)
                yield index, {"image": str(path), "label": index % 10}

    Mnist(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    data = labelled.load("tfds", str(tmp_path), "mnist")
    train, test = one_class.items(data, "1", 28, 1)
    assert [item.read().image.max() for item in train] == [10, 110]
    assert [item.defect for item in test][:3] == ["0", "good", "2"]


def test_unprepared_tfds(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    message = r"download_and_prepare.*--config\.data\.source=cifar10 --config\.data"
    with pytest.raises(errors.UserError, match=message) as info:
        labelled.load("tfds", str(tmp_path), "cifar10")
    assert "\n" not in str(info.value)
    with pytest.raises(
        errors.UserError, match=r"--config\.data\.dataset=imagenet.*mnist"
    ):
        labelled.load("tfds", "", "imagenet")


@pytest.mark.skipif(
    not (SHARED / "mnist").is_dir(), reason=f"{SHARED / 'mnist'} is missing"
)
def test_real_mnist():
    data = labelled.load("idx", str(SHARED / "mnist"), "")
    train, test = one_class.items(data, "8", 32, 1)
    assert (len(train), len(test)) == (5851, 10000)
    assert sum(item.label == records.NORMAL for item in test) == 974


@pytest.mark.skipif(
    not (SHARED / "cifar10_jpeg").is_dir(),
    reason=f"{SHARED / 'cifar10_jpeg'} is missing",
)
def test_real_cifar_jpegs():
    data = labelled.load("cifar10", str(SHARED / "cifar10_jpeg"), "")
    train, test = one_class.items(data, "frog", 32, 3)
    assert (len(train), len(test)) == (5000, 10000)
    assert train[-1].read().image.std() > 5
