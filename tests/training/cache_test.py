import json

import numpy as np
import pytest

from jax_scadn.data import records
from jax_scadn.runtime import errors
from jax_scadn.training import cache

WEIGHTS = {"params": {"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float32)}}


def split_of(images):
    return records.Split(
        [
            records.Item(f"{i}.png", records.NORMAL, records.GOOD, lambda x=x: x)
            for i, x in enumerate(images)
        ]
    )


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


class Extract:
    """Halves the values; counts its calls, or dies in one of them."""

    def __init__(self, dies_at=None):
        self.calls = 0
        self._dies_at = dies_at

    def __call__(self, images):
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        assert images.shape == (2, 4, 4, 3)
        return images.astype(np.float32) / 255 / 2


def made(folder, pixels, extract, weights=WEIGHTS):
    return cache.load_or_create(
        folder, split_of(pixels), weights, extract, 2, folder.parent / "expert"
    )


def test_values_by_hand_beside_their_images(tmp_path, pixels):
    pairs = made(tmp_path / "new" / "impressions", pixels, Extract())
    assert len(pairs) == 5
    for index in (4, 0, 3):
        pair = pairs[index]
        assert pair["impression"].dtype == np.uint16
        np.testing.assert_array_equal(pair["image"], pixels[index])
        # 65535 / 255 / 2 = 128.5; NumPy rounds halves to even.
        expected = np.round(128.5 * pixels[index])
        np.testing.assert_allclose(pair["impression"], expected, atol=1)
    assert isinstance(pairs[0]["impression"], np.ndarray)
    assert not isinstance(pairs[0]["impression"], np.memmap)


def test_what_is_made_is_not_made_again(tmp_path, pixels):
    first, second = Extract(), Extract()
    before = made(tmp_path, pixels, first)
    after = made(tmp_path, pixels, second)
    assert (first.calls, second.calls) == (3, 0)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one["impression"], other["impression"])


def test_other_weights_are_refused(tmp_path, pixels):
    made(tmp_path, pixels, Extract())
    other = {"params": WEIGHTS["params"] | {"a": np.full(3, 1 + 1e-6, np.float32)}}
    with pytest.raises(errors.UserError) as refused:
        made(tmp_path, pixels, Extract(), other)
    message = str(refused.value)
    assert "other stage-1 weights" in message
    assert f"delete it and {tmp_path.parent / 'expert'}" in message
    assert "\n" not in message


def test_other_images_are_refused(tmp_path, pixels):
    made(tmp_path, pixels, Extract())
    changed = pixels.copy()
    changed[3, 0, 0, 0] ^= 1
    for other in (changed, pixels[::-1], pixels[:4], pixels.astype(np.uint16)):
        with pytest.raises(errors.UserError, match="other images: delete it"):
            made(tmp_path, other, Extract())


def test_a_folder_that_was_deleted_is_made_anew(tmp_path, pixels):
    folder = tmp_path / "impressions"
    made(folder, pixels, Extract())
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    made(folder, pixels[:4], extract := Extract())
    assert extract.calls == 2


def test_a_kill_in_the_middle_leaves_nothing_that_counts(tmp_path, pixels, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, pixels, Extract(dies_at=2))
    # As after kill -9, where nobody tidies up, and between the two files.
    (tmp_path / ".impressions.part.npy").write_bytes(b"half an array")
    (tmp_path / "impressions.npy").write_bytes(b"of an older try")
    assert not (tmp_path / "origin.json").exists()
    pairs = made(tmp_path, pixels, extract := Extract())
    assert extract.calls == 3
    np.testing.assert_array_equal(pairs[4]["image"], pixels[4])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["impressions.npy", "origin.json"]


def test_values_are_written_before_their_origin(tmp_path, pixels, monkeypatch):
    def killed(path, text):
        assert (tmp_path / "impressions.npy").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache.atomic, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, pixels, Extract())
    made(tmp_path, pixels, extract := Extract())
    assert extract.calls == 3


@pytest.mark.parametrize("file", ["impressions.npy", "origin.json"])
def test_damaged_files_are_one_line(tmp_path, pixels, file):
    made(tmp_path, pixels, Extract())
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-20])
    with pytest.raises(errors.UserError, match="cannot be read") as refused:
        made(tmp_path, pixels, Extract())
    assert "\n" not in str(refused.value)


def test_origin_names_both_digests(tmp_path, pixels):
    made(tmp_path, pixels, Extract())
    origin = json.loads((tmp_path / "origin.json").read_text())
    assert origin == {
        "weights_sha256": cache.weights_sha256(WEIGHTS),
        "images_sha256": cache.images_sha256(split_of(pixels)),
    }


def test_digests_tell_names_shapes_and_types_apart():
    zeros = np.zeros(4, np.float32)
    trees = (
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.reshape(2, 2)},
        {"a": np.zeros(2, np.float64)},
        {"a": zeros[:2], "b": zeros[2:]},
    )
    assert len({cache.weights_sha256(tree) for tree in trees}) == len(trees)
