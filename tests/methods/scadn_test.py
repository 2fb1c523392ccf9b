import functools

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.methods.scadn import inpainting, method
from jax_scadn.scoring import masks
from jax_scadn.training import loop, protocol


@functools.cache
def state_of(*shape):
    """A fresh state, compiled once for all methods with the same networks."""
    width, blocks, discriminator_width = shape
    stage = inpainting.InpaintingStage.from_config(
        conftest.tiny(
            model__width=width,
            model__blocks=blocks,
            model__discriminator_width=discriminator_width,
        )
    )
    return loop.init(stage, 0, protocol.EMPTY, {})


def stage_and_state(**changes):
    config = conftest.tiny(**changes)
    model = config.model
    state = state_of(model.width, model.blocks, model.discriminator_width)
    stage = inpainting.InpaintingStage.from_config(config)
    return stage, state, stage.hyperparameters(config)


@functools.partial(jax.jit, static_argnums=0)
def stepped(stage, state, hyper, images, seed=0):
    """One step as in the training loop."""
    return loop.update(stage, state, hyper, protocol.EMPTY, seed, {"image": images})


def method_and_generator(**changes):
    _, state, _ = stage_and_state(**changes)
    return method.Method.from_config(conftest.tiny(**changes)), state.generator


@functools.partial(jax.jit, static_argnums=0)
def candidates(scadn, generator, images):
    """Maps and inpainted images of each scale."""
    maps = scadn.maps({"frozen": {}, "inpainting": generator}, images)
    return maps.maps_bkhw, maps.pictures["inpainted"]


def scored(scadn, generator, images, frozen=()):
    variables = {"frozen": dict(frozen), "inpainting": generator}
    return scadn.select({"mu": jnp.zeros(3)}, scadn.maps(variables, images))


@pytest.fixture(scope="module")
def reference():
    return stage_and_state()


def drawn(hyper, images):
    return hyper.masks_mhw[jnp.arange(len(images)) % 12]


def test_presets_differ_where_paper_and_code_do():
    reference = conftest.tiny(model__blocks=3)
    paper = conftest.tiny(model__blocks=3, preset="paper")
    ours, theirs = map(inpainting.InpaintingStage.from_config, (reference, paper))
    mask_values = [
        stage.hyperparameters(c).mask_value
        for stage, c in ((ours, reference), (theirs, paper))
    ]
    assert mask_values == [1.0, 0.0]
    assert method.Method.from_config(paper).mask_value == 0.0
    assert (ours.dilations, theirs.dilations) == ((2, 2, 2), (2, 1, 1))
    assert (ours.gan, theirs.gan) == ("nsgan", "minimax")
    assert (ours.reconstruction, theirs.reconstruction) == ("reference", "paper")
    assert ours.hyperparameters(reference).discriminator_learning_rate == 1e-5
    assert theirs.hyperparameters(paper).discriminator_learning_rate == 1e-4


def test_a_field_overrides_its_preset():
    config = conftest.tiny(preset="paper", masks__mask_value=0.5)
    assert method.Method.from_config(config).mask_value == 0.5


def test_each_loss_moves_its_own_network_only(reference, images):
    stage, state, hyper = reference
    update = jax.jit(stage.update)
    still = jnp.zeros(())
    for frozen, network in (
        ("learning_rate", "generator"),
        ("discriminator_learning_rate", "discriminator"),
    ):
        after, _ = update(
            state, hyper.replace(**{frozen: still}), images, drawn(hyper, images)
        )
        conftest.assert_trees_equal(getattr(after, network), getattr(state, network))
        other = {"generator": "discriminator", "discriminator": "generator"}[network]
        moved = jax.tree.map(
            lambda a, b: bool(jnp.any(a != b)),
            getattr(after, other),
            getattr(state, other),
        )
        assert any(jax.tree.leaves(moved))


def test_the_generators_gradient_is_that_of_its_own_loss(reference, images):
    """One generator pass with a pulled-back gradient equals plain `jax.grad`."""
    stage, state, hyper = reference
    drawn_masks = drawn(hyper, images)
    masked_images = masks.apply_mask(images, drawn_masks[..., None], hyper.mask_value)

    def loss(params):
        fake = stage.generator.apply({"params": params}, masked_images)
        spectral = state.spectral
        for seen in (images, fake, fake):
            (logits, _), variables = stage.discriminator.apply(
                {"params": state.discriminator, "spectral": spectral},
                seen,
                mutable=["spectral"],
            )
            spectral = jax.lax.stop_gradient(variables["spectral"])
        m = drawn_masks[..., None]
        squared = jnp.square(fake - images)
        visible, masked = jnp.mean(squared * (1 - m)), jnp.mean(squared * m)
        rec = (visible + 4 * masked) / jnp.mean(m)
        return rec + 0.001 * jnp.mean(-jax.nn.log_sigmoid(logits))

    expected = jax.jit(jax.grad(loss))(state.generator)
    ours = jax.jit(lambda *a: stage.gradients(*a).generator)(
        state, hyper, images, drawn_masks
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        ours,
        expected,
    )


def test_adam_with_b1_0_moves_each_weight_by_the_learning_rate(reference, images):
    stage, state, hyper = reference
    after, _ = jax.jit(stage.update)(state, hyper, images, drawn(hyper, images))
    moved = after.generator["decoder_3"]["conv"]["kernel"]
    moved = moved - state.generator["decoder_3"]["conv"]["kernel"]
    np.testing.assert_allclose(np.abs(moved), 1e-4, rtol=1e-2)


def test_masks_follow_seed_and_step(reference, images):
    stage, state, hyper = reference
    _, first = stepped(stage, state, hyper, images)
    _, again = stepped(stage, state, hyper, images)
    _, later = stepped(stage, state.replace(step=state.step + 1), hyper, images)
    _, other = stepped(stage, state, hyper, images, 1)
    assert first == again
    assert first["reconstruction_loss"] != later["reconstruction_loss"]
    assert first["reconstruction_loss"] != other["reconstruction_loss"]


def test_mask_probabilities_choose_the_masks(reference, images):
    stage, state, hyper = reference
    only = hyper.replace(mask_probabilities=jnp.zeros(12).at[7].set(1.0))
    _, drawn_ = stepped(stage, state, only, images)
    seventh = jnp.broadcast_to(hyper.masks_mhw[7], (8, conftest.SIZE, conftest.SIZE))
    _, updated = jax.jit(stage.update)(state, hyper, images, seventh)
    np.testing.assert_allclose(
        drawn_["reconstruction_loss"], updated["reconstruction_loss"], rtol=1e-6
    )


def test_training_lowers_the_reconstruction_loss(images):
    stage, state, hyper = stage_and_state(optimizer__learning_rate=1e-3)
    losses = []
    for _ in range(60):
        state, metrics = stepped(stage, state, hyper, images)
        losses.append(float(metrics["reconstruction_loss"]))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert int(state.step) == 60


def test_bfloat16_keeps_parameters_norms_and_maps_float32(images):
    stage, state, hyper = stage_and_state(dtype="bfloat16")
    state, metrics = stepped(stage, state, hyper, images)
    for leaf in jax.tree.leaves((state.generator, state.discriminator, metrics)):
        assert leaf.dtype == jnp.float32
    narrow, generator = method_and_generator(dtype="bfloat16")
    maps, _ = candidates(narrow, generator, images)
    assert maps.dtype == jnp.float32
    exact, _ = method_and_generator()
    expected, _ = candidates(exact, generator, images)
    np.testing.assert_allclose(maps, expected, atol=0.05)


@pytest.mark.parametrize("gan", ["lsgan", "hinge", "minimax"])
def test_other_gan_losses_train(gan, images):
    stage, state, hyper = stage_and_state(loss__gan=gan)
    _, metrics = stepped(stage, state, hyper, images)
    assert all(np.isfinite(value) for value in metrics.values())


def test_feature_matching_is_added_to_the_generators_loss(reference, images):
    plain, state, hyper = reference
    stage, _, weighted = stage_and_state(loss__feature_matching_weight=2.0)
    _, without = stepped(plain, state, hyper, images)
    _, with_ = stepped(stage, state, weighted, images)
    assert with_["generator_loss"] > without["generator_loss"]


def test_maps_do_not_depend_on_the_masks_in_a_call(images):
    expected = None
    for masks_per_call in (1, 5, 12):
        scadn, generator = method_and_generator(scoring__masks_per_call=masks_per_call)
        maps, inpainted = candidates(scadn, generator, images)
        if expected is None:
            expected = maps, inpainted
        np.testing.assert_allclose(maps, expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(inpainted, expected[1], rtol=1e-4, atol=1e-6)


def test_maps_do_not_depend_on_the_images_in_a_call(images, monkeypatch):
    scadn, generator = method_and_generator()
    shape = images.shape
    assert scadn.chunk_sizes(12, shape) == (len(images), 12)
    together = candidates(scadn, generator, images)
    monkeypatch.setattr(method, "_BUSY_PIXELS", 12 * shape[1] * shape[2])
    assert scadn.chunk_sizes(12, shape) == (1, 12)
    one_by_one = candidates.__wrapped__(scadn, generator, images)
    for actual, expected in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 64, 64, 3), (1, 12)),
        ((1, 256, 256, 3), (1, 4)),
        ((1, 512, 512, 3), (1, 1)),
        ((8, 512, 512, 3), (1, 1)),
        ((8, 256, 256, 3), (1, 4)),
        ((8, 64, 64, 3), (4, 12)),
        ((1, 232, 232, 3), (1, 4)),  # of 12 masks never 5 and then 2
    ],
)
def test_chunk_sizes_follow_the_number_of_pixels(shape, expected):
    scadn, _ = method_and_generator()
    assert scadn.chunk_sizes(12, shape) == expected
    chosen, _ = method_and_generator(scoring__masks_per_call=5)
    assert chosen.chunk_sizes(12, (8, 64, 64, 3)) == (8, 5)


@pytest.mark.parametrize("distance", ["squared", "ssim"])
def test_a_perfect_reconstruction_scores_zero(distance, images, monkeypatch):
    scadn, generator = method_and_generator(scoring__distance=distance)
    monkeypatch.setattr(method.Method, "inpaint", lambda *_: jnp.asarray(images))
    result = scored(scadn, generator, images)
    # Compiled, the moments of equal images differ by rounding.
    np.testing.assert_allclose(result.scores, 0, atol=1e-12)
    np.testing.assert_allclose(result.pictures["inpainted"], images, rtol=1e-6)


def test_the_error_is_squared_and_taken_at_masked_pixels(images, monkeypatch):
    scadn, generator = method_and_generator(scoring__image_score="max")
    half = jnp.full(images.shape, 0.5)
    monkeypatch.setattr(method.Method, "inpaint", lambda *_: half)
    result = scored(scadn, generator, images)
    # The complement of each mask is among the masks.
    expected = np.square(images[..., 0] - 0.5)
    np.testing.assert_allclose(result.maps, expected, atol=1e-7)
    np.testing.assert_allclose(result.scores, expected.max(axis=(1, 2)), atol=1e-7)


def test_the_perceptual_distance_scores_inpainted_images(images):
    scadn, generator = method_and_generator(scoring__distance="conv1_2")
    frozen = {"vgg19": scadn.distance.init()}
    result = jax.jit(functools.partial(scored, scadn))(generator, images[:2], frozen)
    assert result.maps.shape == (2, conftest.SIZE, conftest.SIZE)
    assert np.all(np.asarray(result.scores) > 0)
