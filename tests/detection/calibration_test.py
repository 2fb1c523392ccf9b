import ml_collections
import numpy as np

from jax_scadn.detection import calibration


def test_threshold_is_the_conformal_quantile():
    scores = np.arange(1.0, 100.0)  # 99 scores: rank ceil(100 * 0.9) = 90
    assert calibration.threshold(scores, 0.1) == 90
    assert calibration.threshold(scores[::-1], 0.01) == 99
    assert (
        calibration.threshold(np.array([3.0, 1.0]), 0.01) == 3
    )  # too few: the largest
    maps = np.float32([[[0, 1], [9, 2]], [[7, 3], [4, 8]], [[5, 6], [10, 11]]])
    assert (
        calibration.threshold(maps, 0.25) == 9
    )  # rank ceil(13 * 0.75) = 10 of 0 to 11


def test_the_threshold_keeps_its_false_alarm_rate_on_new_normals():
    rng = np.random.default_rng(0)
    above = [
        rng.normal() > calibration.threshold(rng.normal(size=39), 0.1)
        for _ in range(4000)
    ]
    assert 0.08 < np.mean(above) <= 0.115


def test_without_maps_only_the_scores_have_a_threshold():
    rates = ml_collections.ConfigDict(
        {"false_alarm_rate": 0.1, "pixel_false_alarm_rate": 0.1}
    )
    calibrated = calibration.calibrate(rates, np.arange(10.0), None, held_out=True)
    assert calibrated.threshold == 9
    assert calibrated.map_threshold is calibrated.vmin is calibrated.vmax is None
    assert calibrated.threshold_images == 10
