"""Baselines, computed once for each data set."""

import conftest
import numpy as np

from jax_scadn.data import sources
from jax_scadn.detection import baselines
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
        results = baselines.of_dataset(dataset, config)
    assert fits == ["mean", "nearest"]
    assert list(results) == ["mean image", "nearest image"]
    assert results["mean image"].maps.shape[0] == len(dataset.test)
    baselines.of_dataset(sources.load(config.data, 1), config)  # other held-out images
    assert fits == ["mean", "nearest"] * 2


def test_without_held_out_images_there_is_no_threshold():
    config = conftest.tiny(data__held_out=0.0, data__test_anomalous_limit=1)
    results = baselines.of_dataset(sources.load(config.data, 0), config)
    assert all(baseline.map_threshold(0.1) is None for baseline in results.values())
    held_out = conftest.tiny(data__test_anomalous_limit=1)
    results = baselines.of_dataset(sources.load(held_out.data, 0), held_out)
    maps = results["mean image"].normal_maps
    assert np.mean(maps > results["mean image"].map_threshold(0.1)) <= 0.1
