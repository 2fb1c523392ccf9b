import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.losses import adversarial, reconstruction

LOGITS = jnp.array([-2.0, 0.0, 0.5, 3.0])
D = 1 / (1 + np.exp(-np.array([-2.0, 0.0, 0.5, 3.0])))


@pytest.mark.parametrize(
    ("gan", "real", "fake", "generator"),
    [
        ("nsgan", -np.log(D), -np.log(1 - D), -np.log(D)),
        ("minimax", -np.log(D), -np.log(1 - D), np.log(1 - D)),
        ("lsgan", (D - 1) ** 2, D**2, (D - 1) ** 2),
        ("hinge", [3, 1, 0.5, 0], [0, 1, 1.5, 4], [2, 0, -0.5, -3]),
    ],
)
def test_gan_losses_by_hand(gan, real, fake, generator):
    close = {"rtol": 1e-5}
    np.testing.assert_allclose(
        adversarial.discriminator_real(gan, LOGITS), real, **close
    )
    np.testing.assert_allclose(
        adversarial.discriminator_fake(gan, LOGITS), fake, **close
    )
    np.testing.assert_allclose(
        adversarial.generator_fake(gan, LOGITS), generator, **close
    )


@pytest.mark.parametrize("gan", adversarial.GAN_LOSSES)
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_saturated_logits_stay_finite(gan, logit):
    for loss in (
        adversarial.discriminator_real,
        adversarial.discriminator_fake,
        adversarial.generator_fake,
    ):
        value, slope = jax.value_and_grad(lambda x, f=loss: f(gan, x))(logit)
        assert np.isfinite(value)
        assert np.isfinite(slope)


def test_reference_reconstruction_equals_the_public_codes_formula():
    rng = np.random.default_rng(0)
    x, r = rng.random((2, 4, 4, 3)), rng.random((2, 4, 4, 3))
    m = (rng.random((2, 4, 4, 1)) < 0.3).astype(float)
    masked = np.broadcast_to(m, x.shape)
    expected = (
        np.mean(((r - x) * (1 - masked)) ** 2) + 4 * np.mean(((r - x) * masked) ** 2)
    ) / np.mean(m)
    loss = jnp.mean(reconstruction.masked("reference", r, x, m, 3.0))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_paper_reconstruction_is_equation_2():
    x, r = jnp.zeros((1, 1, 2, 1)), jnp.full((1, 1, 2, 1), 0.5)
    m = jnp.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    loss = reconstruction.masked("paper", r, x, m, 3.0)
    np.testing.assert_allclose(loss.ravel(), [1.0, 0.25])


def test_reconstruction_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 1\) != \(1, 3, 3, 1\)"):
        reconstruction.masked(
            "paper", jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 3, 3, 1)), 1.0, 3.0
        )


def test_feature_matching_by_hand():
    real = [jnp.array([1.0, 3.0]), jnp.array([0.0])]
    fake = [jnp.array([2.0, 1.0]), jnp.array([4.0])]
    assert adversarial.feature_matching(real, fake) == 1.5 + 4


def test_multiscale_lsgan_takes_raw_outputs_and_sums_over_scales():
    real = [jnp.array([1.0, 3.0]), jnp.array([0.0])]
    fake = [jnp.array([2.0, -1.0]), jnp.array([4.0])]
    discriminator = adversarial.multiscale_lsgan_discriminator(real, fake)
    assert discriminator == (0 + 4) / 2 + (4 + 1) / 2 + 1 + 16
    assert adversarial.multiscale_lsgan_generator(fake) == (1 + 4) / 2 + 9


def test_multiscale_lsgan_needs_equal_numbers_of_scales():
    with pytest.raises(ValueError, match="zip"):
        adversarial.multiscale_lsgan_discriminator([jnp.ones(1)], [])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (reconstruction.squared_error, [4.0, 0.25]),
        (reconstruction.absolute_error, [2.0, 0.5]),
    ],
)
def test_errors_are_elementwise(loss, expected):
    output, target = jnp.array([1.0, 0.5]), jnp.array([3.0, 0.0])
    np.testing.assert_array_equal(loss(output, target), expected)
    with pytest.raises(ValueError, match=r"output \(2,\) != target \(1,\)"):
        loss(output, target[:1])
