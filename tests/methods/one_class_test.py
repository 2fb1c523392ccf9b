"""One-class SVM and kernel density score as scikit-learn does."""

import jax
import numpy as np
import pytest
from sklearn import decomposition, neighbors, svm

from jax_scadn import methods
from jax_scadn.methods import one_class
from jax_scadn.runtime import errors

SIZE = 6


@pytest.fixture(scope="module")
def images():
    """40 training and 10 other images, (n, 6, 6, 1), of three factors and noise."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(50, 3)) @ rng.normal(size=(3, SIZE**2)) / 8
    rows = 0.5 + factors + 0.02 * rng.normal(size=(50, SIZE**2))
    rows[40:] += 0.2 * rng.normal(size=(10, SIZE**2))
    images = np.clip(rows, 0, 1).reshape(-1, SIZE, SIZE, 1).astype(np.float32)
    return images[:40], images[40:]


def scores_of(preset, images, **settings):
    """Scores of all images after a fit of the training images."""
    config = methods.default("one_class")
    config.preset = preset
    config.data.size = SIZE
    config.data.channels = 1
    for field, value in settings.items():
        section, name = field.split("__")
        config[section][name] = value
    method = methods.create(methods.resolve(config))
    train, test = images
    (stage,) = method.stages
    halves = [x.reshape(-1, SIZE**2) for x in np.array_split(train, 2)]
    fitted = stage.solve(jax.random.key(0), iter(halves))
    variables = {"frozen": {}, stage.name: fitted}
    maps = jax.jit(method.maps)(variables, np.concatenate([train, test]))
    scored = method.select({}, maps)
    assert scored.maps is None
    return np.asarray(scored.scores), fitted


def projected(images, kind, share=0.95):
    train, test = (x.reshape(len(x), -1).astype(np.float64) for x in images)
    if kind == "pixels":
        every = np.concatenate([train, test]) - train.mean(axis=0)
        return every[:40], every
    pca = decomposition.PCA(share, whiten=kind == "whitened", svd_solver="full")
    return pca.fit_transform(train), pca.transform(np.concatenate([train, test]))


@pytest.mark.parametrize("kind", one_class.FEATURES)
@pytest.mark.parametrize("nu", [0.1, 0.5])
def test_svm_equals_scikit_learn(images, kind, nu):
    scores, _ = scores_of("ocsvm", images, model__features=kind, ocsvm__nu=nu)
    train, every = projected(images, kind)
    # The tolerance of its solver is larger than our rounding: the same rows.
    theirs = svm.OneClassSVM(nu=nu, gamma="scale").fit(train).decision_function(every)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(scores, -theirs, rtol=1e-4, atol=1e-4 * scale)
    assert scores[40:].mean() > scores[:40].mean()


@pytest.mark.parametrize("kind", one_class.FEATURES)
def test_density_equals_scikit_learn(images, kind):
    scores, fitted = scores_of("kde", images, model__features=kind, kde__bandwidth=0.3)
    train, every = projected(images, kind)
    differences = train[:, None] - train[None]
    distances = np.linalg.norm(differences, axis=-1)[np.triu_indices(40, 1)]
    bandwidth = float(fitted["bandwidth"])
    assert bandwidth == pytest.approx(0.3 * np.median(distances), rel=1e-3)
    density = neighbors.KernelDensity(bandwidth=bandwidth).fit(train)
    theirs = density.score_samples(every)
    np.testing.assert_allclose(scores, -theirs, rtol=1e-4)


def test_given_gamma(images):
    _, fitted = scores_of("ocsvm", images, ocsvm__gamma=0.25)
    assert fitted["gamma"] == 0.25


def test_the_best_bandwidth_is_that_of_a_grid_search():
    """The likelihood of left-out rows, by scikit-learn with the same folds."""
    rows = np.random.default_rng(1).normal(size=(50, 2))
    best = one_class.best_bandwidth(rows)
    differences = rows[:, None] - rows[None]
    distances = np.linalg.norm(differences, axis=-1)[np.triu_indices(50, 1)]
    bandwidths = np.median(distances) * 2.0 ** np.arange(-5, 1.5, 0.5)
    fold = np.arange(50) % 5
    likelihood = [
        sum(
            neighbors.KernelDensity(bandwidth=h)
            .fit(rows[fold != k])
            .score(rows[fold == k])
            for k in range(5)
        )
        for h in bandwidths
    ]
    assert best == pytest.approx(bandwidths[np.argmax(likelihood)], rel=1e-5)
    assert 0 < np.argmax(likelihood) < len(bandwidths) - 1


def test_images_that_are_all_the_same(images):
    train = np.repeat(images[0][:1], 5, axis=0)
    for preset in ("ocsvm", "kde"):
        scores, _ = scores_of(preset, (train, images[1]), model__features="pixels")
        assert np.isfinite(scores).all()


def test_one_training_image(images):
    for preset in ("ocsvm", "kde"):
        few = images[0][:1], images[1]
        scores, _ = scores_of(preset, few, model__features="pixels")
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("count", [1, 3])
def test_components_of_images_that_are_all_the_same(images, count):
    train = np.repeat(images[0][:1], count, axis=0)
    with pytest.raises(errors.UserError, match="training images that differ"):
        scores_of("ocsvm", (train, images[1]))


@pytest.mark.parametrize(
    ("features", "size", "most"), [("pixels", 65, 12288), ("pca", 257, 196608)]
)
def test_large_images_are_refused(features, size, most):
    config = methods.default("one_class")
    config.model.features = features
    config.data.size = size
    with pytest.raises(errors.UserError, match=f"data.size={size}: .* the {most} that"):
        methods.resolve(config)


def test_titles():
    titles = []
    for preset in ("ocsvm", "kde"):
        config = methods.default("one_class")
        config.preset = preset
        titles.append(methods.create(methods.resolve(config)).title)
    assert titles == ["OCSVM", "KDE"]
