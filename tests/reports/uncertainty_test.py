"""Intervals and tests against slow versions, analytic errors and repeated trials."""

import numpy as np
import pytest
from scipy import special

from jax_scadn.reports import metrics, uncertainty


def labels_of(normal, anomalous):
    """Shuffled labels, so that nothing can depend on the order of the images."""
    labels = np.arange(normal + anomalous) >= normal
    return np.random.default_rng(99).permutation(labels)


LABELS = labels_of(40, 50)  # shared: another number of images is recompiled


def normal_scores(random, labels, distance, *shape):
    """Unit variance; anomalous ones are higher by `distance`."""
    return random.normal(size=(*shape, len(labels))) + distance * labels


def auroc(labels, scores):
    return metrics.ThresholdSweep.of(labels, scores).auroc()


def slow_bootstrap(random, labels, scores, resamples):
    """AUROCs of resamples, drawn class by class."""
    images = np.flatnonzero(~labels), np.flatnonzero(labels)
    drawn = [
        np.concatenate([random.choice(which, len(which)) for which in images])
        for _ in range(resamples)
    ]
    return np.array([auroc(labels[which], scores[which]) for which in drawn])


def slow_components(labels, scores):
    """Share of right pairs of each image, from all pairs; ties count half."""
    anomalous, normal = scores[labels][:, None], scores[~labels][None]
    right = (anomalous > normal) + 0.5 * (anomalous == normal)
    return right.mean(axis=1), right.mean(axis=0)


def delong(labels, *scores):
    """AUROCs and their covariance over test images, DeLong et al. (1988)."""
    anomalous, normal = zip(*(slow_components(labels, s) for s in scores), strict=True)
    covariance = sum(np.cov(part) / len(part[0]) for part in (anomalous, normal))
    return np.mean(anomalous, axis=1), np.atleast_2d(covariance)


@pytest.mark.parametrize("levels", [4, 10000])
@pytest.mark.parametrize(("normal", "anomalous"), [(40, 8), (12, 60)])
def test_the_interval_equals_that_of_a_slow_bootstrap(normal, anomalous, levels):
    random = np.random.default_rng(normal)
    labels = labels_of(normal, anomalous)
    scores = np.round(normal_scores(random, labels, 1) * levels / 4)
    slow = slow_bootstrap(random, labels, scores, 2000)
    for confidence, tail in ((0.95, 0.025), (0.5, 0.25)):
        ours = uncertainty.auroc_interval(labels, scores, confidence)
        # Quantiles of 2000 draws are known to 0.06 standard deviations.
        expected = np.quantile(slow, (tail, 1 - tail))
        assert ours == pytest.approx(expected, abs=0.3 * slow.std())


def test_the_interval_has_the_width_of_delong():
    scores = normal_scores(np.random.default_rng(0), LABELS, 1)
    low, high = uncertainty.auroc_interval(LABELS, scores)
    values, covariance = delong(LABELS, scores)
    half = 1.96 * np.sqrt(covariance[0, 0])
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values[0], abs=0.15 * half)  # it is skewed


def test_intervals_contain_the_true_auroc_as_often_as_they_claim():
    random = np.random.default_rng(0)
    truth = special.ndtr(1 / np.sqrt(2))  # two normal distributions at a distance of 1
    intervals = [
        uncertainty.auroc_interval(LABELS, normal_scores(random, LABELS, 1), seed=seed)
        for seed in range(400)
    ]
    coverage = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.91 < coverage < 0.98  # standard deviation 0.011


# In floating point 53 x 61 was not exact; 6007 x 6011 pairs take more than 24 bits.
@pytest.mark.parametrize("sizes", [(53, 61), (6007, 6011)])
def test_scores_that_cannot_vary_have_an_interval_of_width_0(sizes):
    labels = labels_of(*sizes)
    for scores, expected in ((labels, 1), (~labels, 0), (labels * 0, 0.5)):
        interval = uncertainty.auroc_interval(labels, scores * 0.3, resamples=40)
        assert interval == (expected, expected)


def test_more_pairs_than_31_bits_count():
    labels = labels_of(50021, 50023)
    interval = uncertainty.auroc_interval(labels, labels * 0.5, resamples=3)
    assert interval == pytest.approx((1, 1), abs=1e-6)
    assert interval.high <= 1


def test_the_interval_depends_on_the_order_of_the_scores_only():
    scores = np.round(normal_scores(np.random.default_rng(1), LABELS, 1), 1)
    interval = uncertainty.auroc_interval(LABELS, scores)
    assert uncertainty.auroc_interval(LABELS, np.exp(scores)) == interval
    assert uncertainty.auroc_interval(LABELS.astype(int), scores / 5) == interval
    assert uncertainty.auroc_interval(LABELS, scores, seed=1) != interval
    # With the opposite sign, the AUROC is 1 - AUROC in every resample.
    low, high = uncertainty.auroc_interval(LABELS, -scores)
    assert (1 - high, 1 - low) == pytest.approx(interval)


@pytest.mark.parametrize("resamples", [1, 45])
def test_any_number_of_resamples(resamples):
    scores = normal_scores(np.random.default_rng(2), LABELS, 1)
    interval = uncertainty.auroc_interval(LABELS, scores, resamples=resamples)
    assert auroc(LABELS, scores) == pytest.approx(np.mean(interval), abs=0.25)
    assert (interval.low < interval.high) == (resamples > 1)


def test_seeds_share_the_images_of_a_resample():
    scores_sn = normal_scores(np.random.default_rng(3), LABELS, 1, 2)
    one = uncertainty.auroc_interval(LABELS, scores_sn[0])
    assert uncertainty.auroc_interval(LABELS, scores_sn[[0, 0]]) == one
    # The mean of independent scores varies less, as DeLong's covariance says.
    low, high = uncertainty.auroc_interval(LABELS, scores_sn)
    values, covariance = delong(LABELS, *scores_sn)
    half = 1.96 * np.sqrt(covariance.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.15 * half)


def test_the_difference_by_hand():
    # Right pairs: of the anomalous 0, 1, 3/4; of the normal 1/2, 2/3. The second
    # detector has half of every pair.
    labels = np.array([1, 1, 1, 0, 0])
    scores = np.array([0, 3, 2, 2, 1])
    result = uncertainty.paired_difference(labels, scores, 0 * scores, 0.6827)
    assert result.value == pytest.approx(7 / 12 - 1 / 2)
    # Variances 13/48 and 1/72, divided by the number of images.
    error = np.sqrt(13 / 144 + 1 / 144)
    assert result.high - result.value == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_difference_follows_from_the_covariance(decimals):
    random = np.random.default_rng(4)
    labels = labels_of(30, 40)
    common = normal_scores(random, labels, 1)
    first, second = np.round(common + random.normal(size=(2, 70)), decimals)
    values, covariance = delong(labels, first, second)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result = uncertainty.paired_difference(labels, first, second, confidence=0.9)
    assert result.value == pytest.approx(values[0] - values[1])
    half = 1.6448536 * error
    assert result[1:3] == pytest.approx((result.value - half, result.value + half))
    assert result.p_value == pytest.approx(
        special.erfc(abs(result.value) / error / np.sqrt(2))
    )
    swapped = uncertainty.paired_difference(labels, second, first, confidence=0.9)
    assert swapped == pytest.approx(
        (-result.value, -result.high, -result.low, result.p_value)
    )
    # At the confidence 1 - p the interval ends at 0.
    edge = uncertainty.paired_difference(labels, first, second, 1 - result.p_value)
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-12)


def test_scores_in_the_same_order_do_not_differ():
    scores = np.round(normal_scores(np.random.default_rng(5), LABELS, 1), 1)
    for same in (scores, np.exp(scores)):
        result = uncertainty.paired_difference(LABELS, scores, same)
        assert result == (0, 0, 0, 1)
        result = uncertainty.paired_bootstrap(LABELS, scores[None], same[None])
        assert result == (0, 0, 0)


def test_a_difference_on_which_all_images_agree():
    labels = labels_of(5, 5)
    result = uncertainty.paired_difference(labels, labels * 1.0, -1.0 * labels)
    assert result == (1, 1, 1, 0)


def test_equal_detectors_differ_significantly_as_often_as_allowed():
    random = np.random.default_rng(6)
    p_values = []
    for _ in range(2000):
        common = normal_scores(random, LABELS, 1)
        noisy = common + random.normal(size=(2, 90))
        p_values.append(uncertainty.paired_difference(LABELS, *noisy).p_value)
    # Standard deviations 0.005 and 0.011.
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.05)


def test_paired_bootstrap_agrees_with_delong():
    random = np.random.default_rng(7)
    common = normal_scores(random, LABELS, 1)
    first = common + 0.5 * random.normal(size=(2, 90))
    second = common + random.normal(size=(1, 90))
    result = uncertainty.paired_bootstrap(LABELS, first, second)
    values, covariance = delong(LABELS, *first, *second)
    weights = np.array([1 / 2, 1 / 2, -1])
    assert result.value == pytest.approx(weights @ values)
    half = 1.96 * np.sqrt(weights @ covariance @ weights)
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=0.1)
    assert (result.high + result.low) / 2 == pytest.approx(
        result.value, abs=0.15 * half
    )
    # With images drawn separately for each system it would be far wider.
    separate = np.where(np.outer(weights, weights) > 0, covariance, 0)
    assert half < 0.75 * 1.96 * np.sqrt(weights @ separate @ weights)


def test_the_spread_of_seeds_is_not_in_the_interval():
    good, bad = LABELS * 1.0, -1.0 * LABELS
    result = uncertainty.paired_bootstrap(LABELS, [good], [good, bad])
    assert result == (0.5, 0.5, 0.5)


def group(labels, scores, name="image {}"):
    images = [name.format(n) for n in range(len(labels))]
    return uncertainty.Group(images, labels, np.atleast_2d(scores))


def half_width(*groups):
    low, high = uncertainty.mean_auroc_interval(groups)
    return (high - low) / 2


def test_the_mean_of_one_category_has_the_interval_of_delong():
    scores = normal_scores(np.random.default_rng(1), LABELS, 1.0)
    ((value,), ((variance,),)) = delong_of(scores)
    low, high = uncertainty.mean_auroc_interval([group(LABELS, scores)])
    assert (low + high) / 2 == pytest.approx(value)
    assert high - low == pytest.approx(2 * 1.959964 * variance**0.5, rel=1e-5)
    # Of equal seeds there is as much to know as of one.
    assert half_width(group(LABELS, [scores, scores])) == pytest.approx(
        half_width(group(LABELS, scores))
    )


def delong_of(scores):
    values, covariance = delong(LABELS, scores)
    return np.atleast_1d(values), np.atleast_2d(covariance)


def test_images_of_several_categories_are_drawn_once():
    random = np.random.default_rng(2)
    scores = normal_scores(random, LABELS, 1.0)
    alone = half_width(group(LABELS, scores))
    same = half_width(group(LABELS, scores), group(LABELS, scores))
    assert same == pytest.approx(alone)
    others = half_width(group(LABELS, scores), group(LABELS, scores, "other {}"))
    assert others == pytest.approx(alone / np.sqrt(2))
    # What is normal in one category and anomalous in another cancels out: the scores
    # that raise one AUROC lower the other.
    opposite = half_width(group(LABELS, scores), group(~LABELS, scores))
    assert opposite == pytest.approx(0, abs=1e-9)


def test_the_mean_over_classes_agrees_with_a_bootstrap_of_images():
    random = np.random.default_rng(3)
    classes = np.repeat(np.arange(3), 60)
    labels = [classes != k for k in range(3)]
    scores = [random.normal(size=180) + label for label in labels]
    low, high = uncertainty.mean_auroc_interval(list(map(group, labels, scores)))
    means = []
    for _ in range(600):
        drawn = np.concatenate(
            [random.choice(np.flatnonzero(classes == k), 60) for k in range(3)]
        )
        means.append(
            np.mean([auroc(n[drawn], s[drawn]) for n, s in zip(labels, scores)])  # noqa: B905
        )
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(means), rel=0.15)
    assert uncertainty.mean_auroc_interval([group(LABELS, LABELS * 1.0)]) == (1, 1)


def test_wrong_arguments_are_refused():
    labels, scores = labels_of(4, 4), np.zeros(8)
    with pytest.raises(ValueError, match=r"labels \(8,\) != scores \(7,\)"):
        uncertainty.auroc_interval(labels, scores[1:])
    with pytest.raises(ValueError, match=r"labels \(8,\) != scores \(\)"):
        uncertainty.paired_bootstrap(labels, scores, scores)
    with_nan = np.where(np.arange(8) < 2, np.nan, 0)
    with pytest.raises(ValueError, match="2 of 8 scores are NaN"):
        uncertainty.paired_difference(labels, scores, with_nan)
    for few in (labels_of(7, 1), labels_of(1, 7), labels_of(8, 0)):
        with pytest.raises(ValueError, match="each class needs 2 or more"):
            uncertainty.paired_difference(few, scores, scores)
    for confidence in (0, 1, 95):
        for call in (
            lambda c: uncertainty.auroc_interval(labels, scores, c),
            lambda c: uncertainty.paired_difference(labels, scores, scores, c),
            lambda c: uncertainty.paired_bootstrap(labels, [scores], [scores], c),
        ):
            with pytest.raises(ValueError, match=f"confidence {confidence} is not in"):
                call(confidence)
