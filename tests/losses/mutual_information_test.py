import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats

from jax_scadn.losses import mutual_information

RHO = 0.9
INFORMATION = -math.log(1 - RHO**2) / 2  # of correlated Gaussians, nats


def jensen_shannon_bound(loss):
    """Lower bound of the Jensen-Shannon divergence of P and Q, nats.

    E_P[log T] + E_Q[log(1 - T)] is at most 2 JSD(P || Q) - 2 log 2 for every T and
    reaches it where T = p / (p + q) (f-GAN, Nowozin et al. 2016). JSD(P || Q) is the
    mutual information with this divergence instead of the Kullback-Leibler divergence.
    It is at most log 2, and at most I(x; z).
    """
    return math.log(2) - loss / 2


def shannon_bound(joint_logits, product_logits):
    """Lower bound of I(x; z) = KL(P || Q), Eq. 1, nats.

    1 + E_P[V] - E_Q[exp V] is at most I(x; z) for every V and reaches it where
    V = log(p / q) (Nguyen et al. 2010), which also minimises `discriminator_loss`.
    """
    return 1 + jnp.mean(joint_logits) - jnp.mean(jnp.exp(product_logits))


def jensen_shannon_divergence():
    """Divergence of the correlated from the independent pair, by integration."""
    joint = stats.multivariate_normal(cov=[[1, RHO], [RHO, 1]])
    product = stats.multivariate_normal(cov=np.eye(2))
    line = np.linspace(-7, 7, 701)
    points = np.stack(np.meshgrid(line, line), axis=-1)
    p, q = joint.pdf(points), product.pdf(points)
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle) + q * np.log(q / middle)) / 2
    return integrate.trapezoid(integrate.trapezoid(divergence, line), line)


def correlated(key, count):
    """x as a feature map of one position, and its code z."""
    x, noise = jax.random.normal(key, (2, count, 1))
    return x[:, None, None, :], RHO * x + math.sqrt(1 - RHO**2) * noise


def logits(params, features, z):
    """A small T on local pairs."""
    hidden = mutual_information.local_pairs(features, z)
    for weights, bias in params[:-1]:
        hidden = jax.nn.relu(jnp.matmul(hidden, weights) + bias[None, None])
    weights, bias = params[-1]
    return jnp.matmul(hidden, weights) + bias[None, None]


def both_logits(params, features, z):
    negatives = mutual_information.negative_features(features)
    return logits(params, features, z), logits(params, negatives, z)


@pytest.fixture(scope="module")
def trained():
    """Estimates on fresh pairs before, early in, and after training T."""
    sizes = (2, 64, 64, 1)
    keys = jax.random.split(jax.random.key(0), len(sizes))
    params = [
        (jax.random.normal(key, (n, m)) * math.sqrt(2 / n), jnp.zeros(m))
        for key, n, m in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    params[-1] = (params[-1][0] * 0.01, params[-1][1])
    optimizer = optax.adam(3e-3)

    @jax.jit
    def train(params, moments, keys):
        def loss(params, key):
            pairs = both_logits(params, *correlated(key, 512))
            return mutual_information.discriminator_loss(*pairs)

        def step(carry, key):
            params, moments = carry
            grads = jax.grad(loss)(params, key)
            updates, moments = optimizer.update(grads, moments)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(step, (params, moments), keys)[0]

    @jax.jit
    def estimate(params):
        pairs = both_logits(params, *correlated(jax.random.key(2), 200_000))
        loss = mutual_information.discriminator_loss(*pairs)
        return (
            loss,
            jensen_shannon_bound(loss),
            shannon_bound(*pairs),
        )

    moments = optimizer.init(params)
    keys = jax.random.split(jax.random.key(1), 600)
    estimates = [estimate(params)]
    for start, end in ((0, 50), (50, 600)):
        params, moments = train(params, moments, keys[start:end])
        estimates.append(estimate(params))
    return np.array(estimates)


def test_loss_starts_at_2_log_2(trained):
    np.testing.assert_allclose(trained[0, 0], 2 * math.log(2), rtol=1e-2)


@pytest.mark.parametrize("bound", ["jensen_shannon", "shannon"])
def test_bound_moves_towards_the_known_information_and_stays_below(trained, bound):
    if bound == "shannon":
        estimates, truth = trained[:, 2], INFORMATION
    else:
        estimates, truth = trained[:, 1], jensen_shannon_divergence()
    untrained, early, late = estimates
    sampling = 5e-3  # standard error of the estimates, about
    np.testing.assert_allclose(untrained, 0, atol=0.02)
    assert untrained < early < late < truth + sampling
    assert late > 0.95 * truth


def test_bounds_are_tight_for_the_true_density_ratio():
    features, z = correlated(jax.random.key(3), 200_000)

    def log_ratio(features):
        x, y = features[:, 0, 0, 0], z[:, 0]
        form = (RHO**2 * (x**2 + y**2) - 2 * RHO * x * y) / (1 - RHO**2)
        return INFORMATION - form / 2

    negatives = mutual_information.negative_features(features)
    pairs = log_ratio(features), log_ratio(negatives)
    loss = mutual_information.discriminator_loss(*pairs)
    np.testing.assert_allclose(
        jensen_shannon_bound(loss),
        jensen_shannon_divergence(),
        atol=5e-3,
    )
    np.testing.assert_allclose(shannon_bound(*pairs), INFORMATION, atol=2e-2)


def test_jensen_shannon_information_is_below_log_2_and_below_shannons():
    assert jensen_shannon_divergence() < min(math.log(2), INFORMATION)


def test_loss_by_hand():
    t_joint, t_product = np.array([0.9, 0.6]), np.array([0.2, 0.5, 0.1])
    expected = -np.mean(np.log(t_joint)) - np.mean(np.log(1 - t_product))
    loss = mutual_information.discriminator_loss(
        np.log(t_joint / (1 - t_joint)), np.log(t_product / (1 - t_product))
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    zeros = jnp.zeros((4, 3, 1))
    undecided = mutual_information.discriminator_loss(zeros, zeros)
    np.testing.assert_allclose(undecided, 2 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(jensen_shannon_bound(undecided), 0, atol=1e-6)


def test_loss_and_its_gradient_stay_finite_where_t_saturates():
    def loss(v):
        return mutual_information.discriminator_loss(-v, v)

    value, slope = jax.value_and_grad(loss)(300.0)
    assert (value, slope) == (600, 2)


def test_kl_equals_the_integral():
    mean, log_var = np.array([[0.7, -1.2], [0.0, 0.0]]), np.array([[0.4, -0.9], [0, 0]])

    def integral(mean, log_var):
        q = stats.norm(mean, np.exp(log_var / 2))
        p = stats.norm()
        x = np.linspace(-15, 15, 20_001)
        return integrate.trapezoid(q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), x)

    expected = np.vectorize(integral)(mean, log_var).sum(axis=1)
    kl = mutual_information.kl_to_standard_normal(
        mean.astype(np.float32), log_var.astype(np.float32)
    )
    np.testing.assert_allclose(kl, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kl[1], 0)


def test_samples_have_the_given_mean_and_variance():
    mean = jnp.broadcast_to(jnp.array([2.0, -1.0]), (100_000, 2))
    log_var = jnp.broadcast_to(jnp.log(jnp.array([0.25, 9.0])), mean.shape)
    z = mutual_information.sample(jax.random.key(0), mean, log_var)
    np.testing.assert_allclose(np.mean(z, axis=0), [2, -1], atol=0.05)
    np.testing.assert_allclose(np.std(z, axis=0), [0.5, 3], rtol=0.02)


def test_samples_are_differentiable_in_mean_and_variance():
    key, mean, log_var = jax.random.key(0), jnp.zeros((1, 3)), jnp.ones((1, 3))
    z = mutual_information.sample(key, mean, log_var)
    by_mean, by_log_var = jax.grad(
        lambda *code: jnp.sum(mutual_information.sample(key, *code)), argnums=(0, 1)
    )(mean, log_var)
    np.testing.assert_allclose(by_mean, 1)
    np.testing.assert_allclose(by_log_var, z / 2, rtol=1e-6)


def test_images_are_never_their_own_negatives():
    features = jnp.arange(5.0).reshape(5, 1, 1, 1)
    negatives = mutual_information.negative_features(features)[:, 0, 0, 0]
    assert sorted(negatives.tolist()) == [0, 1, 2, 3, 4]
    assert not np.any(negatives == features[:, 0, 0, 0])


def test_a_batch_of_one_has_no_negatives():
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 3\): a batch of one"):
        mutual_information.negative_features(jnp.zeros((1, 2, 2, 3)))


def test_pairs_hold_features_then_code_at_each_position():
    features = jnp.arange(12.0).reshape(1, 2, 2, 3)
    z = jnp.array([[100.0, 200.0]])
    local = mutual_information.local_pairs(features, z)
    assert local.shape == (1, 4, 5)
    np.testing.assert_array_equal(local[0, 2], [6, 7, 8, 100, 200])
    flattened = mutual_information.global_pairs(features, z)
    np.testing.assert_array_equal(flattened, local.reshape(1, 20))


def test_encoder_loss_is_the_weighted_sum():
    loss = mutual_information.encoder_loss(
        2.0, 3.0, 5.0, local_weight=1.5, global_weight=0.5, kl_weight=0.1
    )
    np.testing.assert_allclose(loss, 3 + 1.5 + 0.5)
