"""One-class SVM and kernel density, of pixels or of their principal components.

Schoelkopf et al., Estimating the Support of a High-Dimensional Distribution, 2001, and
Parzen 1962: the shallow baselines of SCADN's Table 5. Both score an image by Gaussian
kernels around training images, and have no map. A fit sees no test image: nu is fixed,
gamma follows from the variance, and the bandwidth from the likelihood of training
images that were left out. That OCSVM's preset is whitened was chosen to give the
published mean on MNIST (docs/results.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from scipy import special
from sklearn import decomposition, svm

from jax_scadn.methods import base
from jax_scadn.runtime import errors
from jax_scadn.scoring import pairwise
from jax_scadn.settings.fields import Field
from jax_scadn.training import protocol

FEATURES = ("pixels", "pca", "whitened")
FIELDS = {
    "preset": Field("ocsvm", "which one", choices=("ocsvm", "kde")),
    "data.size": Field(28, "pixels, both sides", least=1),
    "model.kind": Field(None, "of model", choices=("ocsvm", "kde"), type=str),
    "model.features": Field(
        None,
        "of images: 'whitened' = principal components divided by their deviations",
        choices=FEATURES,
        type=str,
    ),
    "model.variance": Field(
        0.95, "share of it that the principal components keep", above=0, below=1
    ),
    "ocsvm.nu": Field(0.1, "largest share of training images outside", above=0, most=1),
    "ocsvm.gamma": Field(
        0.0, "of exp(-gamma |x - y|^2); 0 = 1 / (sum of all variances)", least=0
    ),
    "kde.bandwidth": Field(
        0.0,
        "of the Gaussians, in median distances of training images; 0 = the likeliest",
        least=0,
    ),
}
PRESETS = {
    "ocsvm": {"model.kind": "ocsvm", "model.features": "whitened"},
    "kde": {"model.kind": "kde", "model.features": "pca"},
}
# The paper's sizes are those of the data; large images have their components.
COLUMNS = {
    title: {
        "always": {"preset": title.lower()},
        "paper": {"data.size": 256},
        "paper/one_class": {"data.size": 28},
        "paper/cifar10": {"data.size": 32},
    }
    for title in ("OCSVM", "KDE")
}
_MOST_VALUES = {"pixels": 3 * 64**2, "pca": 3 * 256**2, "whitened": 3 * 256**2}
# Bandwidths that are tried, as shares of the median distance of training images.
_SHARES = 2.0 ** np.arange(-5, 1.5, 0.5)
_LEAST_BANDWIDTH = 1e-3  # where all training images are the same
_FOLDS = 5
_MOST_PAIRED = 1000  # images whose distances give the median


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where images are too large for their features."""
    data, features = config.data, config.model.features
    values = data.size**2 * data.channels
    if values > _MOST_VALUES[features]:
        raise errors.UserError(
            f"--config.data.size={data.size}: {values} values an image are more than "
            f"the {_MOST_VALUES[features]} that model.features={features} takes; "
            "use a smaller size, or principal components"
        )


@dataclasses.dataclass(frozen=True)
class OneClassStage:
    """Keeps training images as centres of Gaussians; hashable."""

    features_kind: str
    variance: float

    name = "one_class"

    def features(self, context: protocol.Context, batch: protocol.Batch) -> jax.Array:
        """The pixels, (b, d)."""
        return batch["image"].reshape(len(batch["image"]), -1)

    def solve(
        self, key: jax.Array, features: Iterator[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """'mean' (d,), 'basis' (d, r) except for pixels, 'centres' (m, r), and more."""
        rows = np.concatenate(list(features)).astype(np.float64)
        fitted = {"mean": rows.mean(axis=0)}
        rows -= fitted["mean"]
        if self.features_kind != "pixels":
            fitted["basis"] = self._basis(rows)
            rows = rows @ fitted["basis"]
        fitted |= self.fit(key, rows)
        return {name: np.asarray(x, np.float32) for name, x in fitted.items()}

    def _basis(self, rows: np.ndarray) -> np.ndarray:
        """Columns are the principal components.

        Raises:
          errors.UserError: all images are the same.
        """
        if np.max(np.abs(rows)) < 1e-6:
            raise errors.UserError(
                "principal components need training images that differ; "
                f"there are {len(rows)}: use --config.model.features=pixels"
            )
        pca = decomposition.PCA(
            self.variance,
            whiten=self.features_kind == "whitened",
            svd_solver="full",
        ).fit(rows)
        scales = np.sqrt(pca.explained_variance_) if pca.whiten else 1.0
        return pca.components_.T / scales

    def fit(self, key: jax.Array, rows: np.ndarray) -> dict[str, np.ndarray | float]:
        """'centres', and what `score` needs besides, from centred features."""
        raise NotImplementedError

    def score(self, fitted: dict[str, jax.Array], squared_bm: jax.Array) -> jax.Array:
        """Scores, (b,), from squared distances to the centres."""
        raise NotImplementedError

    def scores(self, fitted: dict[str, jax.Array], images_bhwc: jax.Array) -> jax.Array:
        """Scores of images in [0, 1], (B,)."""
        rows = self.features(protocol.EMPTY, {"image": images_bhwc})
        rows = rows - fitted["mean"][None]
        if "basis" in fitted:
            highest = jax.lax.Precision.HIGHEST
            rows = jnp.matmul(rows, fitted["basis"], precision=highest)
        return self.score(fitted, pairwise.squared_distances(rows, fitted["centres"]))


@dataclasses.dataclass(frozen=True)
class SvmStage(OneClassStage):
    """The support vectors of a one-class SVM."""

    nu: float
    gamma: float

    title = "OCSVM"

    def fit(self, key: jax.Array, rows: np.ndarray) -> dict[str, np.ndarray | float]:
        # scikit-learn's 'scale', of centred rows.
        gamma = self.gamma or 1 / max(rows.shape[1] * rows.var(), 1e-12)
        fitted = svm.OneClassSVM(kernel="rbf", nu=self.nu, gamma=gamma).fit(rows)
        return {
            "centres": fitted.support_vectors_,
            "weights": fitted.dual_coef_[0],
            "offset": fitted.offset_[0],
            "gamma": gamma,
        }

    def score(self, fitted: dict[str, jax.Array], squared_bm: jax.Array) -> jax.Array:
        """rho - sum over i of a_i exp(-gamma |x - x_i|^2), above 0 outside."""
        kernels = jnp.exp(-fitted["gamma"] * squared_bm)
        inside = jnp.sum(kernels * fitted["weights"][None], axis=1)
        return fitted["offset"] - inside


@dataclasses.dataclass(frozen=True)
class DensityStage(OneClassStage):
    """All training images, and the bandwidth of the density that they give."""

    bandwidth: float

    title = "KDE"

    def fit(self, key: jax.Array, rows: np.ndarray) -> dict[str, np.ndarray | float]:
        rows = rows[np.asarray(jax.random.permutation(key, len(rows)))]
        bandwidth = self.bandwidth * median_distance(rows) or best_bandwidth(rows)
        bandwidth = max(bandwidth, _LEAST_BANDWIDTH)
        return {"centres": rows, "bandwidth": bandwidth}

    def score(self, fitted: dict[str, jax.Array], squared_bm: jax.Array) -> jax.Array:
        """-log p(x) of the mean of Gaussians N(x_i, h^2) over the training images."""
        count, features = fitted["centres"].shape
        variance = jnp.square(fitted["bandwidth"])
        largest = jax.nn.logsumexp(-squared_bm / (2 * variance), axis=1)
        normaliser = features / 2 * jnp.log(2 * jnp.pi * variance) + jnp.log(count)
        return normaliser - largest


def median_distance(rows: np.ndarray) -> float:
    """Of the pairs of the first rows; 0 where there is one row."""
    some = rows[:_MOST_PAIRED]
    pairs = np.triu_indices(len(some), 1)
    return (
        float(np.sqrt(np.median(_squared(some, some)[pairs]))) if len(rows) > 1 else 0.0
    )


def best_bandwidth(rows: np.ndarray) -> float:
    """That under which images that were left out are the likeliest.

    Of shares of the median distance, from 1 / 32 to 2, by cross-validation.

    Args:
      rows: (n, r), shuffled features.
    """
    bandwidths = np.maximum(median_distance(rows) * _SHARES, _LEAST_BANDWIDTH)
    likelihood = np.zeros(len(bandwidths))
    fold = np.arange(len(rows)) % min(_FOLDS, len(rows))
    for left_out in np.unique(fold):
        squared = _squared(rows[fold == left_out], rows[fold != left_out])
        if not squared.size:
            continue  # one image
        for i, h in enumerate(bandwidths):
            log_density = special.logsumexp(-squared / (2 * h * h), axis=1)
            likelihood[i] += np.sum(log_density - rows.shape[1] * np.log(h))
    return float(bandwidths[np.argmax(likelihood)])


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)[None]
    return np.maximum(squared - 2 * a @ b.T, 0)


@dataclasses.dataclass(frozen=True)
class Method(base.Method):
    """Scores by Gaussians around training images; no maps."""

    stage: SvmStage | DensityStage

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Method:
        """From resolved settings."""
        model = config.model
        common = (model.features, model.variance)
        if model.kind == "kde":
            return cls(DensityStage(*common, config.kde.bandwidth))
        return cls(SvmStage(*common, config.ocsvm.nu, config.ocsvm.gamma))

    @property
    def title(self) -> str:
        return self.stage.title

    @property
    def stages(self) -> tuple[OneClassStage]:
        return (self.stage,)

    def maps(self, variables, images_bhwc: jax.Array, shared_by=None) -> base.Maps:
        """Image scores only."""
        scores = self.stage.scores(variables[self.stage.name], images_bhwc)
        return base.Maps(None, scores[:, None])
