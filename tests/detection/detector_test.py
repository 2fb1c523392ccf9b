import json

import conftest
import jax
import numpy as np
import pytest
import utad_tiny

import jax_scadn
from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import sources
from jax_scadn.detection import detector
from jax_scadn.runtime import errors


@pytest.fixture(scope="module")
def dataset():
    return sources.load(conftest.tiny().data, 0)


@pytest.fixture(scope="module")
def calibrated(dataset):
    config = conftest.tiny(calibration__pixel_false_alarm_rate=0.25)
    method = methods.create(config)
    state = jax.jit(method.inpainting.init)(0)
    params = method.inference_params({"": state.generator}, {})
    return detector.uncalibrated(config, params).calibrated(
        dataset.train.subset(range(10)), dataset.held_out.subset(range(5))
    )


def test_threshold_is_the_conformal_quantile():
    scores = np.arange(1.0, 100.0)  # 99 of them: rank ceil(100 * 0.9) = 90
    assert detector.threshold(scores, 0.1) == 90
    assert detector.threshold(scores[::-1], 0.01) == 99
    assert detector.threshold(np.array([3.0, 1.0]), 0.01) == 3  # too few: the largest
    maps = np.float32([[[0, 1], [9, 2]], [[7, 3], [4, 8]], [[5, 6], [10, 11]]])
    assert detector.threshold(maps, 0.25) == 9  # rank ceil(13 * 0.75) = 10 of 0 to 11


def test_the_threshold_keeps_its_false_alarm_rate_on_new_normals():
    rng = np.random.default_rng(0)
    above = [
        rng.normal() > detector.threshold(rng.normal(size=39), 0.1) for _ in range(4000)
    ]
    assert 0.08 < np.mean(above) <= 0.115


def test_calibration_comes_from_normal_images(calibrated, dataset):
    method = methods.create(calibrated.config)
    images = dataset.train.subset(range(10)).images().astype(np.float32) / 255
    maps, _ = jax.jit(method.candidates)(calibrated.params, images)
    expected = np.mean(np.asarray(maps), axis=(0, 2, 3))
    calibration = calibrated.calibration
    np.testing.assert_allclose(calibration.mu, expected, rtol=1e-5)
    held_out = calibrated.score(dataset.held_out.subset(range(5)).images())
    assert calibration.threshold == pytest.approx(held_out.scores.max())
    above = held_out.maps > np.float32(calibration.map_threshold)
    assert calibration.pixel_false_alarm_rate == 0.25
    assert np.mean(above) == pytest.approx(0.25, abs=1e-3)
    assert calibration.held_out
    assert calibration.threshold_images == 5
    assert calibration.low < calibration.high


def test_batches_and_padding_do_not_change_scores(calibrated, dataset):
    images = dataset.test.subset(range(11)).images()  # 8 images a call: 8 and 3 + 5
    together = calibrated.score(images)
    assert together.maps.shape == (11, conftest.SIZE, conftest.SIZE)
    alone = calibrated.score(images[9:10])
    np.testing.assert_allclose(alone.scores, together.scores[9:10], rtol=1e-5)
    np.testing.assert_allclose(
        together.maps.mean(axis=(1, 2)), together.scores, rtol=1e-5
    )


def test_images_of_other_sizes_types_and_channels_are_fitted(calibrated, dataset):
    image = dataset.test[0].image
    expected = calibrated.score(image[None]).scores
    as_float = calibrated.score(image[None].astype(np.float32) / 255).scores
    as_rgb = calibrated.score(np.repeat(image[None], 3, axis=-1)).scores
    larger = image.repeat(3, axis=0).repeat(3, axis=1)[None]
    np.testing.assert_allclose(as_float, expected, rtol=1e-3)
    np.testing.assert_allclose(as_rgb, expected, rtol=1e-3)
    fitted = images_lib.from_array(larger[0], conftest.SIZE, 1)[None]
    conftest.assert_trees_equal(calibrated.score(larger), calibrated.score(fitted))


def test_save_and_load_give_the_same_scores(calibrated, dataset, tmp_path):
    calibrated.save(tmp_path)
    loaded = jax_scadn.load(tmp_path)
    assert loaded.calibration == calibrated.calibration
    images = dataset.test.subset(range(3)).images()
    conftest.assert_trees_equal(loaded.score(images), calibrated.score(images))


def test_what_is_not_there_or_damaged_is_said_in_one_line(calibrated, tmp_path):
    with pytest.raises(errors.UserError, match="does not exist"):
        jax_scadn.load(tmp_path / "nowhere")
    calibrated.save(tmp_path)
    calibration = tmp_path / "detector" / "calibration.json"
    text = calibration.read_text()
    calibration.write_text(text[: len(text) // 2])
    with pytest.raises(errors.UserError, match="cannot be read"):
        jax_scadn.load(tmp_path)
    calibration.unlink()
    assert not detector.is_saved(tmp_path)
    with pytest.raises(errors.UserError, match="no finished training"):
        jax_scadn.load(tmp_path)


def test_damaged_weights_are_said_in_one_line(calibrated, tmp_path):
    calibrated.save(tmp_path)
    params = tmp_path / "detector" / "params"
    for path in params.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(errors.UserError, match="cannot be read") as raised:
        jax_scadn.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_calibration_of_an_earlier_version_is_said_in_one_line(calibrated, tmp_path):
    calibrated.save(tmp_path)
    path = tmp_path / "detector" / "calibration.json"
    values = json.loads(path.read_text())
    del values["map_threshold"]
    path.write_text(json.dumps(values))
    with pytest.raises(errors.UserError, match=r"'map_threshold'\); train") as raised:
        jax_scadn.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_latents_of_all_images_in_order(calibrated, dataset):
    config = utad_tiny.settings(expert__enabled=False)
    method = methods.create(config)
    (stage,) = method.stages
    trained = {stage.folder: stage.params(utad_tiny.fresh(stage))}
    utad = detector.uncalibrated(config, method.inference_params(trained, {}))
    split = dataset.test.subset(range(11))  # 8 images a call: 8 and 3 + 5
    latents = utad.latents(split)
    images = images_lib.as_float(split.images())
    expected = jax.jit(method.latent)(utad.params, images)
    assert latents.shape == (11, config.impression.latent)
    np.testing.assert_allclose(latents, expected, rtol=1e-4, atol=1e-6)
    assert np.std(latents, axis=0).min() > 1e-4  # the images can be told apart
    assert utad.has_latent
    assert not calibrated.has_latent


def test_parameters_by_part():
    conv = {"kernel": np.zeros((3, 3, 1, 4)), "bias": np.zeros(4)}
    params = {
        "impression": {"params": {"a": conv}, "batch_stats": {"a": {"mean": conv}}},
        "expert": {"image": {"b": {"c": conv}}, "impression": {"b": conv}},
        "measure": {},
    }
    found = detector.uncalibrated(conftest.tiny(), params)
    assert found.parameter_counts() == {"impression": 40, "expert": 80}


def test_few_images_are_not_filled_up_to_a_whole_batch(calibrated):
    assert [calibrated.padded_batch_size(n) for n in (1, 2, 3, 5, 8, 99)] == [
        1,
        2,
        4,
        8,
        8,
        8,
    ]


@pytest.mark.parametrize("share", [-0.1, 1.0])
@pytest.mark.parametrize(
    "field",
    [
        "data.held_out",
        "calibration.false_alarm_rate",
        "calibration.pixel_false_alarm_rate",
    ],
)
def test_shares_of_images_and_pixels_are_below_one(field, share):
    with pytest.raises(errors.UserError, match=rf"{field}={share}: take a share"):
        conftest.tiny(**{field.replace(".", "__"): share})
