import math

import numpy as np
import pytest

from jax_scadn.detection import calibration, false_alarms


def test_rank_by_hand():
    ranks = {(99, 0.01): 99, (99, 0.1): 90, (199, 0.01): 198, (26, 0.01): 26, (1, 0): 1}
    assert {key: false_alarms.rank(*key) for key in ranks} == ranks
    # (n + 1) * (1 - rate) is 93.00000000000001 in floating point.
    assert false_alarms.rank(99, 0.07) == 93


def test_promise_of_the_largest_of_n_by_hand():
    """All n are at most x with probability F(x)^n: the rate is Beta(1, n)."""
    promise = false_alarms.promise(np.arange(99.0), 98.0, 0.95)
    assert promise.expected == pytest.approx(0.01)
    assert promise.upper == pytest.approx(1 - 0.05 ** (1 / 99))


def test_promise_of_another_rank_is_the_binomial_tail():
    """The rate exceeds u where k of n or more are below the quantile 1 - u."""
    n, k = 50, 47
    upper = false_alarms.promise(np.arange(50.0), 46.0, 0.95).upper
    tail = sum(
        math.comb(n, j) * (1 - upper) ** j * upper ** (n - j) for j in range(k, n + 1)
    )
    assert tail == pytest.approx(0.05)


def test_thresholds_by_hand_and_ties():
    normal = np.array([1.0, 2.0, 2.0, 2.0, 3.0])
    ranks = [
        false_alarms.promise(normal, t, 0.95).rank for t in (0.5, 1, 1.5, 2, 2.5, 3, 9)
    ]
    assert ranks == [0, 1, 1, 2, 4, 5, 5]
    assert false_alarms.promise(normal, 0.5, 0.95).upper == 1.0


@pytest.mark.parametrize("rate", [0.3, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_images_needed_are_the_fewest(rate, confidence):
    n = false_alarms.images_needed(rate, confidence)
    assert false_alarms.Promise(n, n, confidence).upper <= rate + 1e-12
    if n > 1:
        assert false_alarms.Promise(n - 1, n - 1, confidence).upper > rate


def test_sentences():
    text = false_alarms.promise(np.arange(26.0), 25.0, 0.95).sentence(0.01)
    assert text == (
        "at most 10.9 % of new normal images score above it, with 95 % confidence "
        "(expected 3.7 %); to promise 1 %, hold out 273 more good images"
    )
    text = false_alarms.promise(np.arange(1000.0), 999.0, 0.95).sentence(0.01)
    assert text.endswith("(expected 0.0999 %)")
    text = false_alarms.promise(np.arange(1000.0), 990.0, 0.95).sentence(0.01)
    assert text.endswith("(expected 0.999 %); not 1 % at most")


def test_p_values_by_hand():
    normal = np.array([1.0, 2.0, 2.0, 3.0])
    scores = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0])
    expected = np.array([5, 5, 4, 2, 2, 1]) / 5
    np.testing.assert_array_equal(false_alarms.p_values(normal, scores), expected)


def _draws(n, count):
    """(count, n + 1) scores; the last of each row is the new image's."""
    return np.random.default_rng(0).normal(size=(count, n + 1))


def _binomial_interval(rate, count):
    return 3.3 * math.sqrt(rate * (1 - rate) / count)  # 99.9 %


def test_p_values_cover():
    """P(p <= t) = t for t a multiple of 1 / (n + 1), and P(above) is the rate."""
    draws = _draws(39, 2000)
    p = np.array(
        [false_alarms.p_values(np.sort(row[:-1]), row[-1:])[0] for row in draws]
    )
    above = np.array([row[-1] > calibration.threshold(row[:-1], 0.1) for row in draws])
    np.testing.assert_array_equal(above, p <= 0.1)
    for t in (0.025, 0.1, 0.5):
        assert abs(np.mean(p <= t) - t) < _binomial_interval(t, 2000)


@pytest.mark.parametrize(("rate", "n"), [(0.1, 39), (0.02, 39), (0.2, 99)])
def test_the_promise_holds_as_often_as_it_says(rate, n):
    """Of uniform scores the true rate of a threshold t is 1 - t."""
    draws = np.random.default_rng(0).uniform(size=(2000, n))
    kept = []
    for row in draws:
        threshold = calibration.threshold(row, rate)
        promise = false_alarms.promise(np.sort(row), threshold, 0.9)
        kept.append(1 - threshold <= promise.upper)
    assert abs(np.mean(kept) - 0.9) < _binomial_interval(0.9, 2000)
