"""Baselines, computed once for each data set."""

import dataclasses
import weakref

import conftest
import evaluation_stub

from jax_scadn.data import records, sources
from jax_scadn.detection import baselines, by_defect
from jax_scadn.training import closed_form


def test_fourteen_evaluations_compute_them_once(monkeypatch):
    fits = []
    fit = closed_form.fit

    def counted(stage, *arguments):
        fits.append(stage.kind)
        return fit(stage, *arguments)

    monkeypatch.setattr(closed_form, "fit", counted)
    for variant in range(14):
        config = conftest.tiny(model__width=4 + variant)
        dataset = sources.load(config.data, 0)  # each variant loads its own
        results = of_dataset(dataset, config)
    assert fits == ["mean", "nearest"]
    assert list(results) == ["mean image", "nearest image"]
    for baseline in results.values():
        assert baseline.scores.shape == (len(dataset.test),)
        assert baseline.metrics["all"]["images"] == len(dataset.test)
    of_dataset(sources.load(config.data, 1), config)  # other held-out images
    assert fits == ["mean", "nearest"] * 2
    of_dataset(sources.load(config.data, 1), config, rate=0.2)
    assert fits == ["mean", "nearest"] * 3


def test_other_labels_or_masks_are_other_images(tmp_path, monkeypatch):
    config = conftest.tiny(data__size=32)
    bolts = evaluation_stub.dataset()
    mask_path = tmp_path / "mask.png"
    mask_path.write_bytes(b"")

    def changed(**values):
        items = [dataclasses.replace(item, **values) for item in bolts.test.items]
        return dataclasses.replace(bolts, test=records.Split(items))

    first = of_dataset(bolts, config)
    assert of_dataset(evaluation_stub.dataset(), config) == first
    empty = of_dataset(changed(read_mask=None, label=records.NORMAL), config)
    assert empty["mean image"].metrics["all"]["pixel"] is None
    with_file = of_dataset(changed(mask_path=str(mask_path)), config)
    assert with_file["mean image"].metrics["all"]["pixel"]["iou"] > 0
    mask_path.write_bytes(b"another")
    again = of_dataset(changed(mask_path=str(mask_path), read_mask=None), config)
    assert again["mean image"].metrics["all"]["pixel"] is None


def test_maps_of_one_baseline_at_a_time(monkeypatch):
    alive, table = [], by_defect.table

    def watched(truth, maps, *arguments):
        assert not any(reference() is not None for reference in alive)
        alive.extend(map(weakref.ref, maps))
        return table(truth, maps, *arguments)

    monkeypatch.setattr(by_defect, "table", watched)
    of_dataset(evaluation_stub.dataset(), conftest.tiny(data__size=32))
    assert len(alive) == 2 * len(evaluation_stub.MEANS)
    assert not any(reference() is not None for reference in alive)


def test_without_held_out_images_there_is_no_threshold():
    config = conftest.tiny(data__size=32)
    bolts = evaluation_stub.dataset()
    without = dataclasses.replace(bolts, held_out=records.Split([]))
    for dataset, known in ((bolts, True), (without, False)):
        for baseline in of_dataset(dataset, config).values():
            pixel = baseline.metrics["all"]["pixel"]
            assert ("iou_at_threshold" in pixel) == known


def test_no_truth_gives_no_metrics():
    """In other processes than the first one."""
    config = conftest.tiny(data__size=32)
    results = baselines.of_dataset(evaluation_stub.dataset(), None, config, 0.1)
    assert [baseline.metrics for baseline in results.values()] == [None, None]


def of_dataset(dataset, config, rate=0.1):
    truth = by_defect.Truth.of(dataset.test)
    return baselines.of_dataset(dataset, truth, config, rate)
