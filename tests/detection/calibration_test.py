import ml_collections
import numpy as np

from jax_scadn.detection import calibration, calibration_file


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


RATES = {
    "false_alarm_rate": 0.1,
    "pixel_false_alarm_rate": 0.1,
    "look_rate": 0.0,
    "confidence": 0.9,
}


def calibrate(scores, held_out=True, **rates):
    rates = ml_collections.ConfigDict(RATES | rates)
    return calibration.calibrate(rates, np.asarray(scores), None, held_out)


def test_without_maps_only_the_scores_have_a_threshold():
    calibrated = calibrate(np.arange(10.0)[::-1])
    assert calibrated.threshold == 9
    assert calibrated.map_threshold is calibrated.vmin is calibrated.vmax is None
    assert calibrated.scores == tuple(range(10))


def test_a_band_to_look_at_lies_below_the_threshold():
    calibrated = calibrate(np.arange(1.0, 100.0), look_rate=0.3)
    assert (calibrated.look_threshold, calibrated.threshold) == (70, 90)
    decisions = [calibrated.decision(score) for score in (70, 70.5, 90, 90.5)]
    assert decisions == ["ok", "look", "look", "anomalous"]
    assert calibrate(np.arange(1.0, 100.0)).decision(90) == "ok"


def test_images_of_the_training_promise_nothing():
    calibrated = calibrate(np.arange(10.0), held_out=False)
    assert calibrated.promise is None
    assert calibrated.p_values(np.array([3.0])) is None


def test_what_is_written_is_read_again(tmp_path):
    calibrated = calibrate(np.random.default_rng(0).normal(size=7), look_rate=0.5)
    calibration_file.write(tmp_path, calibrated, "digest")
    assert calibration_file.read(tmp_path) == (calibrated, "digest")
