"""Published data sets are found in the user's folders."""

import pytest
import small_sets

from jax_scadn import methods
from jax_scadn.data import published, sources


def found(dataset, path, categories=()):
    settings = published.find(dataset, str(path), categories)
    return settings and (settings["data.source"], settings["data.path"])


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_idx_files_are_of_the_set_that_their_folder_is_named_after(tmp_path, dataset):
    small_sets.write_mnist(tmp_path / dataset)
    other = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}[dataset]
    here = ("idx", str(tmp_path / dataset))
    assert found(dataset, tmp_path) == found(dataset, tmp_path / dataset) == here
    assert found(other, tmp_path) is found(other, tmp_path / dataset) is None
    next((tmp_path / dataset).iterdir()).unlink()
    assert found(dataset, tmp_path) is None


def test_cifar_and_prepared_data(tmp_path):
    assert found("cifar10", tmp_path) is None
    for name in ("train.npz", "test.npz"):
        (tmp_path / "cifar").mkdir(exist_ok=True)
        (tmp_path / "cifar" / name).touch()
    assert found("cifar10", tmp_path) == ("cifar10", str(tmp_path / "cifar"))
    (tmp_path / "cifar10/3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10/3.0.2/dataset_info.json").touch()
    assert found("cifar10", tmp_path) == ("tfds", str(tmp_path))


def test_folders_are_known_by_their_categories(tmp_path):
    small_sets.write_folder(tmp_path / "lace", ("3", "17"))
    where = ("folder", str(tmp_path / "lace"))
    assert found("lacead", tmp_path, ("1", "3")) == where
    assert found("lacead", tmp_path / "lace", ("17",)) == where
    assert found("mvtec_ad", tmp_path, ("bottle",)) is None
    assert found("lacead", "", ("3",)) is found("lacead", "nowhere", ("3",)) is None


def test_a_folder_has_the_name_that_the_settings_give_it(tmp_path):
    small_sets.write_folder(tmp_path, ("3",))
    config = methods.default("reference_images")
    config.data.path, config.data.category = str(tmp_path), "3"
    assert sources.load(config.data, 0).name == "folder"
    config.data.dataset = "lacead"
    assert sources.load(config.data, 0).name == "lacead"
