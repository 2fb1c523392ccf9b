import numpy as np
import pytest
from PIL import Image

from jax_scadn import methods
from jax_scadn.data import labelled, sources
from jax_scadn.runtime import errors


def _write(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)


@pytest.fixture
def root(tmp_path):
    for category in ("anchor", "bolt"):
        for index in range(10):
            _write(tmp_path / category / f"train/good/{index}.png", index)
        for defect in ("good", "hole", "scratch"):
            for index in range(4):
                _write(tmp_path / category / f"test/{defect}/{index}.png")
        _write(tmp_path / category / "ground_truth/hole/0_mask.png")
    return tmp_path


def _settings(**fields):
    data = methods.default().data.copy_and_resolve_references()
    data.update({"size": 8, "channels": 1, **fields})
    return data


def _folder(root, **fields):
    return _settings(path=str(root), **fields)


def test_categories(root):
    assert sources.categories(_folder(root)) == ("anchor", "bolt")
    ordered = _folder(root, categories=("bolt", "nut", "anchor"))
    assert sources.categories(ordered) == ("bolt", "anchor")
    in_one = _folder(root, categories=("bolt, anchor",))
    assert sources.categories(in_one) == ("bolt", "anchor")
    with pytest.raises(errors.UserError, match=r"nut: none of them .*anchor,bolt"):
        sources.categories(_folder(root, categories=("nut",)))
    assert sources.categories(_folder(root, category="bolt")) == ("bolt",)
    assert sources.categories(_folder(root / "bolt")) == ("",)
    assert sources.categories(_settings(source="lace")) == ("",)
    assert sources.categories(_settings(source="plain", path="x")) == ("",)
    assert sources.categories(_settings(source="digits")) == tuple("0123456789")
    cifar = _settings(source="cifar10", category="3")
    assert sources.categories(cifar) == ("cat",)
    with pytest.raises(errors.UserError, match=r"'nut'.*--config\.data\.category"):
        sources.categories(_folder(root, category="nut"))


@pytest.mark.parametrize("path", [".", "bolt"])
def test_root_or_category_as_path(root, path):
    category = "bolt" if path == "." else ""
    dataset = sources.load(_folder(root / path, category=category), seed=0)
    assert dataset.category == "bolt"
    assert len(dataset.test) == 12
    assert dataset.test[4].mask is not None


def test_name_of_the_data_set_or_its_source(root, monkeypatch):
    assert sources.load(_folder(root, category="bolt"), seed=0).name == "folder"
    part = labelled.Part(np.zeros((3, 28, 28), np.uint8), np.array([7, 7, 1]))
    mnist = labelled.Labelled("mnist", labelled.CLASSES["mnist"], part, part)
    monkeypatch.setattr(labelled, "load", lambda *_: mnist)
    idx = _settings(source="idx", category="7", size=24)
    assert sources.load(idx, seed=0).name == "mnist"


def _identities(split):
    return [int(image[0, 0, 0]) for image in split.images()] if len(split) else []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_images_are_held_out_or_trained_on(root, share):
    settings = _folder(root, category="bolt", held_out=share)
    dataset = sources.load(settings, seed=0)
    kept, held_out = _identities(dataset.train), _identities(dataset.held_out)
    assert bool(held_out) == (share > 0)
    assert sorted(kept + held_out) == list(range(10))
    assert kept == sorted(kept)
    again = sources.load(settings, seed=0)
    assert _identities(again.held_out) == held_out


def test_held_out_images_stay_so_when_others_are_added_and_the_folder_moves(root):
    def names(path):
        config = _folder(path, category="bolt", held_out=0.3)
        return {p.split("bolt/")[1] for p in sources.load(config, 0).held_out.paths}

    before = names(root)
    for number in range(20):
        _write(root / f"bolt/train/good/a{number}.png")
    after = names(root)
    assert {name for name in after if "/a" not in name} == before
    assert len(after) > len(before)
    root.rename(root.with_name("moved"))
    assert names(root.with_name("moved")) == after


def test_held_out_depends_on_the_seed(root):
    settings = _folder(root, category="bolt", held_out=0.5)
    choices = {
        tuple(_identities(sources.load(settings, seed).held_out)) for seed in range(5)
    }
    assert len(choices) > 1


def test_a_single_image_is_trained_on(tmp_path):
    _write(tmp_path / "0.png")
    dataset = sources.load(_settings(source="plain", path=str(tmp_path)), seed=0)
    assert (len(dataset.train), len(dataset.held_out), len(dataset.test)) == (1, 0, 0)


def test_limits_take_the_first_of_each_defect(root):
    settings = _folder(
        root, category="bolt", test_normal_limit=3, test_anomalous_limit=2
    )
    test = sources.load(settings, seed=0).test
    assert test.defects == ["good"] * 3 + ["hole"] * 2 + ["scratch"] * 2
    assert test.paths[3].endswith("hole/0.png")
    assert test.paths[4].endswith("hole/1.png")


def test_caches_only_what_fits(root):
    # 22 images of 256 x 256 bytes and one mask: 1.44 MiB.
    settings = _folder(root, category="bolt", size=256, cache_mb=2)
    dataset = sources.load(settings, seed=0)
    items = [*dataset.train.items, *dataset.held_out.items, *dataset.test.items]
    assert sources.memory(items, settings) == pytest.approx(23 / 16)
    assert dataset.train.cached
    assert dataset.train[0] is dataset.train[0]
    settings.cache_mb = 1
    dataset = sources.load(settings, seed=0)
    for split in (dataset.train, dataset.held_out, dataset.test):
        assert not split.cached
    assert dataset.train[0] is not dataset.train[0]


def test_sixteen_bit_takes_twice_the_memory(tmp_path):
    deep = Image.fromarray(np.zeros((8, 8), np.uint16))
    deep.save(tmp_path / "0.png")
    settings = _settings(source="plain", path=str(tmp_path), size=1024)
    items = sources.load(settings, seed=0).train.items
    assert sources.memory(items, settings) == 2


def test_embedded_sources():
    digits = sources.load(_settings(source="digits", category="7", size=24), seed=0)
    assert digits.category == "7"
    assert set(digits.train.defects) == {"good"}
    assert len(digits.test) == 597
    lace = [sources.load(_settings(source="lace", size=24), seed) for seed in (0, 1)]
    assert lace[0].category == ""
    assert len(set(lace[0].test.defects)) > 1
    # The seed of a run changes the held-out images, not the data set.
    images = [dataset.test[0].image for dataset in lace]
    np.testing.assert_array_equal(*images)
    with pytest.raises(errors.UserError, match=r"no class is selected.*: 0, 1"):
        sources.load(_settings(source="digits"), seed=0)
