import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.training import optimizers

RATE, DECAY = 0.1, 0.01
PARAMS = np.array([1.0, -2.0, 0.5])
GRADS = np.array([[0.3, -0.1, 0.0], [0.2, 0.4, -1.0], [-0.5, 0.1, 0.3]])


def descended(optimizer):
    """The weights after each of three updates with given gradients."""
    params = {"w": jnp.asarray(PARAMS, jnp.float32)}
    moments = optimizer.init(params)
    path = []
    for grads in GRADS:
        grads = {"w": jnp.asarray(grads, jnp.float32)}
        params, moments = optimizers.descend(optimizer, RATE, grads, moments, params)
        path.append(params["w"])
    return np.array(path)


def sgd_by_hand(momentum):
    w, velocity, path = PARAMS, 0, []
    for g in GRADS:
        velocity = momentum * velocity + g + DECAY * w
        w = w - RATE * velocity
        path.append(w)
    return np.array(path)


def adam_by_hand(b1, b2, eps):
    w, m, v, path = PARAMS, 0, 0, []
    for t, g in enumerate(GRADS, 1):
        g = g + DECAY * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - RATE * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(w)
    return np.array(path)


def test_sgd_by_hand():
    ours = descended(optimizers.sgd(0.9, DECAY))
    np.testing.assert_allclose(ours, sgd_by_hand(0.9), rtol=1e-6)


def test_adam_by_hand():
    ours = descended(optimizers.adam(0.5, 0.999, 1e-8, DECAY))
    np.testing.assert_allclose(ours, adam_by_hand(0.5, 0.999, 1e-8), rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_pytorch_takes_the_same_steps(name):
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor(PARAMS, dtype=torch.float32))
    if name == "sgd":
        ours = descended(optimizers.sgd(0.9, DECAY))
        theirs = torch.optim.SGD([weight], RATE, momentum=0.9, weight_decay=DECAY)
    else:
        ours = descended(optimizers.adam(0.5, 0.999, 1e-8, DECAY))
        theirs = torch.optim.Adam(
            [weight], RATE, betas=(0.5, 0.999), eps=1e-8, weight_decay=DECAY
        )
    for grads, expected in zip(GRADS, ours, strict=True):
        weight.grad = torch.tensor(grads, dtype=torch.float32)
        theirs.step()
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5)


def test_halved_by_hand():
    steps = np.array([0, 1, 49_999, 50_000, 99_999, 100_000, 150_000])
    rates = optimizers.halved(jnp.array([8.0]), jnp.asarray(steps), 50_000)
    np.testing.assert_array_equal(rates, [8, 8, 8, 4, 4, 2, 1])
