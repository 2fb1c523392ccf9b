"""AnoGAN's score by hand, and its search."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_scadn import methods
from jax_scadn.methods import anogan
from jax_scadn.training import protocol

IMAGES = np.float32([[[[0.5], [1.0]]], [[[0.0], [0.5]]]])  # (2, 1, 2, 1)


def create(preset, **scoring):
    config = methods.default("anogan")
    config.preset = preset
    config.data.channels = 1
    config.model.width = 2
    config.model.latent = 2
    config.scoring.update(scoring)
    return methods.create(methods.resolve(config))


def test_titles_and_stages():
    fast, search = create("fast"), create("search")
    assert (fast.title, search.title) == ("f-AnoGAN", "AnoGAN")
    assert [stage.name for stage in fast.stages] == ["gan", "encoder"]
    assert [stage.name for stage in search.stages] == ["gan"]
    assert fast.stages[0] == search.stages[0]


def test_map_and_score(monkeypatch):
    """0.9 of the image's L1 difference in [-1, 1], 0.1 of the features'."""
    stage = anogan.GanStage
    monkeypatch.setattr(stage, "generate", lambda *_: jnp.zeros((2, 1, 2, 1)))
    method = create("search", search_steps=1)
    monkeypatch.setattr(
        anogan.ganomaly.Discriminator,
        "apply",
        lambda self, variables, images, train: (None, 3 * images),
    )
    variables = {"gan": {"generator": {}, "discriminator": {}}}
    scored = method.select({}, method.maps(variables, IMAGES))
    np.testing.assert_allclose(scored.maps, [[[0, 1]], [[1, 0]]])
    np.testing.assert_allclose(scored.scores, [0.9 + 0.1 * 3] * 2, rtol=1e-6)


def test_the_search_finds_what_the_generator_can_make(monkeypatch):
    """Of a generator that adds its code to two pixels, alone or in a batch."""

    def generate(self, result, codes_bl):
        return codes_bl[:, None, :, None]

    monkeypatch.setattr(anogan.GanStage, "generate", generate)
    monkeypatch.setattr(
        anogan.ganomaly.Discriminator,
        "apply",
        lambda self, variables, images, train: (None, images),
    )
    method = create("search", search_steps=300, search_rate=0.02)
    variables = {"gan": {"generator": {}, "discriminator": {}}}
    maps = jax.jit(method.maps)
    scored = method.select({}, maps(variables, IMAGES))
    assert np.max(scored.scores) < 0.1
    alone = method.select({}, maps(variables, IMAGES[1:]))
    np.testing.assert_allclose(alone.scores, scored.scores[1:], rtol=1e-4)


def test_the_search_runs_through_the_networks_on_every_platform():
    method = create("search", search_steps=2)
    stage = method.gan

    def run(key, images):
        result = stage.result(stage.init(key, protocol.EMPTY, {}))
        return method.maps({"gan": result}, images).scores_bk

    images = jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32)
    exported = jax.export.export(jax.jit(run), platforms=("cuda", "cpu"))
    assert exported(jax.random.key(0), images).out_avals[0].shape == (2, 1)
