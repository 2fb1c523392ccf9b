import grain
import numpy as np
import pytest

from jax_scadn.data import images, pipeline, records
from jax_scadn.runtime import errors


def _split(count, cached=True):
    def item(number):
        values = np.array([[[number], [100 + number]]] * 2, np.uint8)  # not symmetric
        return records.Item(str(number), 0, records.GOOD, lambda: values)

    return records.Split([item(number) for number in range(count)], cached)


def _numbers(batch):
    return batch["image"].min(axis=(1, 2, 3)).tolist()


def _flipped(batch):
    return batch["image"][:, 0, 0, 0] >= 100


def _iterator(split, batch_size=4, seed=0, flip=True, threads=2):
    source = pipeline.Images(split)
    return pipeline.training_iterator(source, batch_size, seed, flip, threads)


class Pairs:
    """Elements of two images that are equal unless they are flipped separately."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = np.array([[[index], [100 + index]]], np.uint8)
        return {"image": image, "impression": image}


def test_epochs_are_reshuffled_and_drop_the_remainder():
    iterator = _iterator(_split(11))
    epochs = [[next(iterator), next(iterator)] for _ in range(3)]
    orders = [[*_numbers(first), *_numbers(last)] for first, last in epochs]
    assert all(len(set(order)) == 8 for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert next(iterator)["image"].shape == (4, 2, 2, 1)


def test_about_half_are_flipped_and_only_if_enabled():
    iterator = _iterator(_split(50), batch_size=50)
    share = np.mean([_flipped(next(iterator)) for _ in range(10)])
    assert 0.4 < share < 0.6  # 500 draws: four standard deviations
    assert not any(
        _flipped(next(iterator)).any()
        for iterator in [_iterator(_split(50), batch_size=50, flip=False)]
        for _ in range(4)
    )


def test_all_images_of_an_element_are_flipped_together():
    iterator = pipeline.training_iterator(Pairs(), 8, 0, flip=True, threads=0)
    for _ in range(4):
        batch = next(iterator)
        np.testing.assert_array_equal(batch["image"], batch["impression"])


def test_batches_depend_on_the_seed_and_not_on_threads_or_cache():
    def run(**settings):
        iterator = _iterator(_split(11, settings.pop("cached", True)), **settings)
        return np.concatenate([next(iterator)["image"] for _ in range(5)])

    expected = run()
    np.testing.assert_array_equal(run(threads=0, cached=False), expected)
    np.testing.assert_array_equal(run(threads=5), expected)
    assert (run(seed=1) != expected).any()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_resumes_bit_for_bit(steps):
    iterator = _iterator(_split(11))
    for _ in range(steps):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator)["image"] for _ in range(4)]
    other = _iterator(_split(11))
    other.set_state(state)
    for image in expected:
        np.testing.assert_array_equal(next(other)["image"], image)


def test_resumes_from_a_grain_checkpoint(tmp_path):
    handler = grain.checkpoint.CheckpointHandler()
    iterator = _iterator(_split(11))
    next(iterator), next(iterator)
    handler.save(tmp_path, iterator)
    expected = [next(iterator)["image"] for _ in range(2)]
    restored = handler.restore(tmp_path, _iterator(_split(11)))
    for image in expected:
        np.testing.assert_array_equal(next(restored)["image"], image)


def test_too_few_images_for_a_batch():
    with pytest.raises(errors.UserError, match=r"3 .*--config\.training\.batch_size"):
        _iterator(_split(3))


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("cached", [True, False])
def test_padded_batches_keep_order_and_mark_the_padding(threads, cached):
    batches = list(pipeline.padded_batches(_split(7, cached), 3, threads))
    assert [_numbers(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    masks = np.concatenate([batch["_mask"] for batch in batches])
    np.testing.assert_array_equal(masks, [True] * 7 + [False] * 2)
    for batch in batches:
        assert batch["index"].tolist() == _numbers(batch)


def test_padded_batches_of_an_empty_split():
    assert list(pipeline.padded_batches(records.Split([]), 3)) == []


def test_eight_and_sixteen_bit_in_one_batch():
    deep = records.Item(
        "deep", 0, records.GOOD, lambda: np.full((2, 2, 1), 65535, np.uint16)
    )
    split = records.Split([*_split(1).items, deep])
    for batch in (
        next(pipeline.padded_batches(split, 2)),
        next(_iterator(split, batch_size=2)),
    ):
        assert batch["image"].dtype == np.uint16
        assert sorted(_numbers(batch)) == [0, 65535]
        assert batch["image"].max() == 65535


def test_unreadable_image_reaches_the_caller():
    def fail():
        raise images.UnreadableImage("x.png", "broken")

    bad = records.Item("x.png", 0, records.GOOD, fail)
    split = records.Split([*_split(3).items, bad], cached=False)
    with pytest.raises(images.UnreadableImage, match=r"x\.png"):
        list(pipeline.padded_batches(split, 2))
    with pytest.raises(images.UnreadableImage, match=r"x\.png"):
        next(_iterator(split))
