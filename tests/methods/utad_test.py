import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import utad_tiny
from utad_tiny import settings

from jax_scadn import methods
from jax_scadn.methods import base
from jax_scadn.methods.utad.expert import ExpertStage, Translated
from jax_scadn.methods.utad.impression import ImpressionStage
from jax_scadn.runtime import errors
from jax_scadn.settings import files, resolve


@pytest.fixture
def images():
    return utad_tiny.images()


# Settings.


def test_presets_differ_where_paper_and_public_settings_do():
    free = {"impression__training__batch_size": None, "impression__training__steps": 0}
    reference, paper = settings(**free), settings(preset="paper", **free)
    for field, ours, theirs in (
        ("impression.training.batch_size", 128, 4),
        ("impression.training.epochs", 400, 200),
        ("impression.image_gan_weight", 0.1, 0.0),
        ("expert.content_weight", 1.0, 0.0),
    ):
        assert resolve.get(reference, field) == ours
        assert resolve.get(paper, field) == theirs
    assert ImpressionStage.from_config(reference).image_gan
    assert not ImpressionStage.from_config(paper).image_gan
    assert ExpertStage.from_config(reference).content_loss
    assert not ExpertStage.from_config(paper).content_loss


def test_a_field_overrides_its_preset():
    config = settings(
        preset="paper", impression__training__epochs=7, expert__content_weight=2.0
    )
    assert (config.impression.training.epochs, config.expert.content_weight) == (7, 2.0)


def test_defaults_are_the_public_settings():
    config = methods.resolve(methods.default("utad"))
    assert (config.data.size, config.impression.training.batch_size) == (256, 128)
    first, second = (
        stage.hyperparameters(config) for stage in methods.create(config).stages
    )
    np.testing.assert_allclose(
        jax.tree.leaves(first), [100, 1.5, 0.5, 0.1, 0.1, 1e-3, 1e-4]
    )
    np.testing.assert_allclose(jax.tree.leaves(second), [10, 10, 1, 1, 1e-4])
    assert (config.impression.momentum, config.impression.weight_decay) == (0.9, 1e-4)
    expert = config.expert
    assert (expert.b1, expert.b2, expert.weight_decay) == (0.5, 0.999, 1e-4)
    assert (expert.halve_every, expert.training.batch_size) == (50_000, 1)


@pytest.mark.parametrize(("latent", "width"), [(16, 16), (512, 128)])
def test_t_is_no_wider_than_the_code_nor_than_128(latent, width):
    stage = methods.create(settings(impression__latent=latent)).impression
    assert stage.latent_discriminator.width == width


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"impression__training__batch_size": 1},
            "impression.training.batch_size=1: must be at least 2",
        ),
        ({"data__size": 36}, "data.size=36: must be a multiple of 8, at least 16"),
        (
            {"data__size": 8, "impression__image_gan_weight": 0.0},
            "data.size=8: must be a multiple of 8, at least 16",
        ),
        (
            {"impression__image_discriminator_scales": 3},
            "data.size=32: must be a multiple of 8, at least 64",
        ),
        ({"impression__pools": (8,)}, "must have the product of the pools, 8"),
        ({"impression__pools": (2, 2)}, r"pools=\(2, 2\): must have 1 items"),
        ({"impression__features": (0,)}, r"features=\(0,\): must be at least 1"),
        (
            {"impression__upsamplings": (2, 2)},
            r"upsamplings=\(2, 2\): must have 1 items",
        ),
        ({"impression__kl_weight": -1.0}, "kl_weight=-1.0: must be at least 0"),
        ({"expert__guidance": "no"}, "guidance=no: must be one of: detail, noise"),
        ({"expert__halve_every": 0}, "halve_every=0: must be at least 1"),
        (
            {"expert__training__steps": 0, "expert__training__epochs": 0},
            "expert.training.steps must be at least 1",
        ),
        ({"selection__keep": "best"}, "keep=best: must be one of: last"),
    ],
)
def test_incompatible_settings_are_one_line_errors(changes, message):
    with pytest.raises(errors.UserError, match=message) as refused:
        settings(**changes)
    assert "\n" not in str(refused.value)


def test_settings_survive_their_json(tmp_path):
    config = settings()
    files.write(config, tmp_path / "config.json")
    assert methods.create(methods.read(tmp_path / "config.json")) == (
        methods.create(config)
    )


def test_a_batch_of_one_is_enough_without_mutual_information():
    without = {"impression__local_weight": 0.0, "impression__global_weight": 0.0}
    settings(impression__training__batch_size=1, **without)


def test_ablations_of_table_2_are_settings():
    full = methods.create(settings())
    assert [stage.name for stage in full.stages] == ["impression", "expert"]
    (only,) = methods.create(settings(expert__enabled=False)).stages
    assert only.name == "impression"
    without = {"impression__local_weight": 0.0, "impression__global_weight": 0.0}
    assert not methods.create(settings(**without)).impression.mutual_information
    assert not methods.create(settings(expert__guidance="noise")).expert.detail_loss
    assert set(methods.create(settings(scoring__distance="pm")).frozen) == {"vgg19"}
    assert full.frozen == {}


def test_stages_are_equal_where_their_programs_are():
    base = methods.create(settings())
    same = methods.create(
        settings(impression__kl_weight=0.7, expert__learning_rate=1.0)
    )
    assert base.stages == same.stages
    assert hash(base) == hash(same)
    other = methods.create(settings(expert__guidance="noise"))
    assert base.stages[0] == other.stages[0]
    assert base.stages[1] != other.stages[1]


# Scores.


def trained(**changes):
    method = methods.create(settings(**changes))
    results = {
        stage.name: stage.result(utad_tiny.fresh(stage)) for stage in method.stages
    }
    return method, {base.FROZEN: {}, **results}


@functools.partial(jax.jit, static_argnums=0)
def score(method, variables, images):
    return method.select({}, method.maps(variables, images))


def test_the_map_is_the_sum_of_both_distances(images):
    method, variables = trained()
    scored = score(method, variables, images)
    pictures = scored.pictures
    assert set(pictures) == {"impression", "naive impression", "reconstruction"}
    expected = np.mean((pictures["reconstruction"] - images) ** 2, axis=-1) + np.mean(
        (pictures["naive impression"] - pictures["impression"]) ** 2, axis=-1
    )
    np.testing.assert_allclose(scored.maps, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scored.scores, np.max(expected, axis=(1, 2)), rtol=1e-4)
    assert method.num_maps == 1
    assert scored.scales is None
    for picture in pictures.values():
        assert picture.shape == images.shape
        assert 0 <= np.min(picture) <= np.max(picture) <= 1


def test_without_expert_net_the_map_is_the_distance_to_the_impression(images):
    method, variables = trained(expert__enabled=False, scoring__image_score="mean")
    scored = score(method, variables, images)
    assert set(scored.pictures) == {"impression"}
    expected = np.mean((scored.pictures["impression"] - images) ** 2, axis=-1)
    np.testing.assert_allclose(scored.maps, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scored.scores, np.mean(expected, axis=(1, 2)), rtol=1e-4)


def test_perfect_pictures_score_zero(images, monkeypatch):
    method, variables = trained()

    def perfect(self, experts, images, impressions):
        empty = jnp.zeros(())
        return Translated(images, impressions, empty, empty, empty)

    monkeypatch.setattr(ExpertStage, "translate", perfect)
    maps = jax.jit(method.maps)(variables, images)
    np.testing.assert_array_equal(method.select({}, maps).scores, 0)


def test_embeddings_are_the_codes_means(images):
    method, variables = trained()
    embeddings = jax.jit(method.embeddings)(variables, images)
    assert embeddings.shape == (8, 16)
    outputs = jax.jit(method.impression.extract)(variables["impression"], images)
    np.testing.assert_allclose(embeddings, outputs.mean_bl, rtol=1e-5)
