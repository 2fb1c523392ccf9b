import json
import re
import shutil

import conftest
import jax
import numpy as np
import pytest
import utad_tiny

import jax_scadn
from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import sources
from jax_scadn.detection import detector, finite
from jax_scadn.runtime import errors
from jax_scadn.scoring import merging
from jax_scadn.training import loop, protocol


@pytest.fixture(scope="module")
def dataset():
    return sources.load(conftest.tiny().data, 0)


@pytest.fixture(scope="module")
def calibrated(dataset):
    config = conftest.tiny(calibration__pixel_false_alarm_rate=0.25)
    stage = methods.create(config).inpainting
    state = loop.init(stage, 0, protocol.EMPTY, {})
    variables = {"frozen": {}, stage.name: stage.result(state)}
    return detector.Detector(config, variables).calibrated(
        dataset.train.subset(range(10)), dataset.held_out.subset(range(5))
    )


def test_calibration_comes_from_normal_images(calibrated, dataset):
    method = methods.create(calibrated.config)
    images = dataset.train.subset(range(10)).images().astype(np.float32) / 255
    maps = jax.jit(method.maps)(calibrated.variables, images).maps_bkhw
    expected = np.mean(np.asarray(maps), axis=(0, 2, 3))
    np.testing.assert_allclose(calibrated.statistics["mu"], expected, rtol=1e-5)
    thresholds = calibrated.calibration
    held_out = calibrated.score(dataset.held_out.subset(range(5)).images())
    assert thresholds.threshold == pytest.approx(held_out.scores.max())
    above = held_out.maps > np.float32(thresholds.map_threshold)
    assert thresholds.pixel_false_alarm_rate == 0.25
    assert np.mean(above) == pytest.approx(0.25, abs=1e-3)
    assert thresholds.held_out
    assert thresholds.scores == tuple(np.sort(held_out.scores).tolist())
    assert thresholds.vmin < thresholds.vmax


def test_batches_and_padding_do_not_change_scores(calibrated, dataset):
    images = dataset.test.subset(range(11)).images()  # 8 images a call: 8 and 3 + 5
    together = calibrated.score(images)
    assert together.maps.shape == (11, conftest.SIZE, conftest.SIZE)
    single = calibrated.score(images[9:10])
    np.testing.assert_allclose(single.scores, together.scores[9:10], rtol=1e-5)
    np.testing.assert_allclose(
        together.maps.mean(axis=(1, 2)), together.scores, rtol=1e-5
    )


def test_images_of_other_sizes_types_and_channels_are_converted(calibrated, dataset):
    image = dataset.test[0].image
    expected = calibrated.score(image[None]).scores
    as_float = calibrated.score(image[None].astype(np.float32) / 255).scores
    as_rgb = calibrated.score(np.repeat(image[None], 3, axis=-1)).scores
    larger = image.repeat(3, axis=0).repeat(3, axis=1)[None]
    np.testing.assert_allclose(as_float, expected, rtol=1e-3)
    np.testing.assert_allclose(as_rgb, expected, rtol=1e-3)
    converted = images_lib.from_array(larger[0], conftest.SIZE, 1)[None]
    conftest.assert_trees_equal(calibrated.score(larger), calibrated.score(converted))


def test_white_is_that_of_sixteen_bit_only(calibrated, dataset):
    image = dataset.test[0].image[None]
    twelve = (image.astype(np.uint16) * 16 + image // 16)[..., 0]  # 255 is 4095
    config = calibrated.config.copy_and_resolve_references()
    config.data.white = 4095
    camera = detector.Detector(
        config, calibrated.variables, calibrated.statistics, calibrated.calibration
    )
    expected = calibrated.score(image).scores
    np.testing.assert_allclose(camera.score(twelve).scores, expected, rtol=1e-3)
    np.testing.assert_allclose(camera.score(image).scores, expected, rtol=1e-6)
    with pytest.raises(errors.UserError, match=r"--config\.data\.white"):
        camera.score(twelve * 2)


def test_save_and_load_give_the_same_scores(calibrated, dataset, tmp_path):
    calibrated.save(tmp_path)
    loaded = jax_scadn.load(tmp_path)
    assert loaded.calibration == calibrated.calibration
    images = dataset.test.subset(range(3)).images()
    conftest.assert_trees_equal(loaded.score(images), calibrated.score(images))


def test_loading_takes_shapes_only_from_the_files(calibrated, tmp_path):
    """No network is initialised, so arrays of any shape are loaded."""
    variables = {**calibrated.variables, "memory": {"bank": np.ones((7, 3))}}
    extended = detector.Detector(
        calibrated.config, variables, calibrated.statistics, calibrated.calibration
    )
    extended.save(tmp_path)
    assert jax_scadn.load(tmp_path).variables["memory"]["bank"].shape == (7, 3)


def test_missing_and_damaged_detectors_are_one_line_errors(calibrated, tmp_path):
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


def test_damaged_weights_are_a_one_line_error(calibrated, tmp_path):
    calibrated.save(tmp_path)
    params = tmp_path / "detector" / "params"
    for path in params.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(errors.UserError, match="cannot be read") as raised:
        jax_scadn.load(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"map_threshold": ...}, "map_threshold is missing"),
        ({"mu": [0.1]}, "mu is missing or unknown"),
        ({"threshold": float("nan")}, "threshold must not be nan"),
        ({"threshold": "0.5"}, "threshold must not be '0.5'"),
        ({"threshold": None}, "threshold must not be None"),
        ({"threshold": True}, "threshold must not be True"),
        ({"vmax": float("inf")}, "vmax must not be inf"),
        ({"vmin": None}, "vmin must not be None"),
        ({"scores": []}, "scores must not be []"),
        ({"scores": [2.0, 1.0]}, "scores must not be"),
        ({"scores": [1.0, float("nan")]}, "scores must not be"),
        ({"scores": 3}, "scores must not be 3"),
        ({"look_threshold": 1e9}, "look_threshold 1000000000.0 is above threshold"),
        ({"held_out": 1}, "held_out must not be 1"),
        ({"sha256": ...}, "damaged or were exchanged"),
        ([], "cannot be read"),
    ],
)
def test_a_wrong_calibration_is_a_one_line_error(calibrated, tmp_path, changes, says):
    calibrated.save(tmp_path)
    path = tmp_path / "detector" / "calibration.json"
    values = changes
    if changes:
        values = json.loads(path.read_text()) | changes
        values = {name: value for name, value in values.items() if value is not ...}
    path.write_text(json.dumps(values))
    with pytest.raises(errors.UserError, match=re.escape(says)) as raised:
        jax_scadn.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_thresholds_may_be_changed_by_hand(calibrated, tmp_path):
    calibrated.save(tmp_path)
    path = tmp_path / "detector" / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 1}))
    assert jax_scadn.load(tmp_path).calibration.threshold == 1


def test_maps_without_thresholds_are_a_one_line_error(calibrated, dataset, tmp_path):
    calibrated.save(tmp_path)
    path = tmp_path / "detector" / "calibration.json"
    nothing = dict.fromkeys(("map_threshold", "vmin", "vmax"))
    path.write_text(json.dumps(json.loads(path.read_text()) | nothing))
    with pytest.raises(errors.UserError, match="no thresholds for the maps of SCADN"):
        jax_scadn.load(tmp_path).score(dataset.test[0].image[None])


def with_weight(calibrated, value):
    """The detector with one weight changed."""
    variables = jax.tree.map(np.array, calibrated.variables)
    variables["inpainting"]["decoder_3"]["conv"]["bias"][0] = value
    return detector.Detector(
        calibrated.config, variables, calibrated.statistics, calibrated.calibration
    )


def test_exchanged_weights_are_a_one_line_error(calibrated, tmp_path):
    calibrated.save(tmp_path / "a")
    with_weight(calibrated, 0.25).save(tmp_path / "b")
    shutil.rmtree(tmp_path / "a/detector/params")
    shutil.copytree(tmp_path / "b/detector/params", tmp_path / "a/detector/params")
    with pytest.raises(errors.UserError, match="damaged or were exchanged") as raised:
        jax_scadn.load(tmp_path / "a")
    assert "\n" not in str(raised.value)


def test_weights_that_are_not_finite_are_not_calibrated_saved_or_loaded(
    calibrated, dataset, tmp_path, monkeypatch
):
    wrong = with_weight(calibrated, np.nan)
    says = "1 of 1 values of .*inpainting/decoder_3/conv/bias are not finite"
    with pytest.raises(errors.UserError, match=says):
        wrong.calibrated(dataset.train.subset(range(4)), dataset.held_out)
    with pytest.raises(errors.UserError, match=says):
        wrong.save(tmp_path)
    assert not detector.is_saved(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(finite, "check_arrays", lambda *_: None)
        wrong.save(tmp_path)
    with pytest.raises(errors.UserError, match=says):
        jax_scadn.load(tmp_path)


def test_a_score_that_is_not_finite_is_an_error(calibrated, dataset):
    wrong = with_weight(calibrated, np.nan)
    images = dataset.test.subset(range(3)).images()
    with pytest.raises(finite.NotFinite, match="image 0 of 3 and 2 more images: the"):
        wrong.score(images)
    path = dataset.test.paths[0]
    with pytest.raises(finite.NotFinite, match=f"{path} and 2 more images"):
        list(wrong.score_split(dataset.test.subset(range(3))))


def test_one_pixel_of_a_map_that_is_not_finite_is_an_error():
    scored = merging.Scored(np.zeros((3, 4, 4)), np.zeros(3), None, None, {})
    assert finite.check_scored(scored, "abc") is scored
    scored.maps[1, 2, 3] = -np.inf
    with pytest.raises(finite.NotFinite, match="b: the score") as raised:
        finite.check_scored(scored, "abc")
    assert raised.value.finite.tolist() == [True, False, True]


def test_one_image_without_the_axis_of_the_batch_is_refused(calibrated):
    for shape in ((48, 48), (48, 48, 1), (48, 48, 3), (60, 50, 4)):
        with pytest.raises(errors.UserError, match="is one image: give images"):
            calibrated.score(np.zeros(shape, np.uint8))


def test_no_images_have_no_scores(calibrated):
    for images in ([], np.zeros((0, 60, 50, 3), np.uint8)):
        scored = calibrated.score(images)
        assert scored.scores.shape == (0,)
        assert scored.maps.shape == (0, conftest.SIZE, conftest.SIZE)


def test_embeddings_of_all_images_in_order(calibrated, dataset):
    config = utad_tiny.settings(expert__enabled=False)
    method = methods.create(config)
    (stage,) = method.stages
    state = loop.init(stage, 0, protocol.EMPTY, {})
    utad = detector.Detector(config, {"frozen": {}, stage.name: stage.result(state)})
    split = sources.load(config.data, 0).test.subset(range(11))  # 8 and 3 + 5
    embeddings = utad.embeddings(split)
    images = images_lib.as_float(split.images())
    expected = jax.jit(method.embeddings)(utad.variables, images)
    assert embeddings.shape == (11, config.impression.latent)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-6)
    assert np.std(embeddings, axis=0).min() > 1e-4  # they differ between images
    assert utad.has_embeddings
    assert not calibrated.has_embeddings


def test_parameters_by_stage_and_frozen_network():
    conv = {"kernel": np.zeros((3, 3, 1, 4)), "bias": np.zeros(4)}
    variables = {
        "impression": {"params": {"a": conv}, "batch_stats": {"a": {"mean": conv}}},
        "expert": {"image": {"b": {"c": conv}}, "impression": {"b": conv}},
        "frozen": {"vgg19": conv},
    }
    counts = detector.Detector(conftest.tiny(), variables).parameter_counts()
    assert counts == {"impression": 40, "expert": 80, "vgg19": 40}


def test_few_images_are_not_padded_to_a_full_batch(calibrated):
    sizes = [calibrated.padded_batch_size(n) for n in (1, 2, 3, 5, 8, 99)]
    assert sizes == [1, 2, 4, 8, 8, 8]
