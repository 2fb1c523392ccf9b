"""Two trivial detectors that stand beside the trained one in every table."""

from __future__ import annotations

import numpy as np
from sklearn import neighbors


def trivial_detectors(
    train: np.ndarray, test: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Maps and scores of the detectors 'mean image' and 'nearest image'.

    Args:
      train: (n, H, W, C) float32 in [0, 1], normal images.
      test: (m, H, W, C) float32 in [0, 1].

    Returns:
      By name, (maps, scores): (m, H, W) and (m,) float32.

    Raises:
      ValueError: there are no training images, or the shapes do not match.
    """
    return {
        "mean image": mean_image(train, test),
        "nearest image": nearest_image(train, test),
    }


def mean_image(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference to the mean of the training images; see `trivial_detectors`."""
    _check(train, test)
    return _compare(np.mean(train, axis=0), test)


def nearest_image(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference to the training image at the smallest squared L2 distance.

    See `trivial_detectors`.
    """
    _check(train, test)
    if not len(test):  # scikit-learn refuses to search for nothing
        return _compare(test, test)
    search = neighbors.NearestNeighbors(
        n_neighbors=1, algorithm="brute", metric="sqeuclidean"
    )
    search.fit(train.reshape(len(train), -1))
    nearest = search.kneighbors(test.reshape(len(test), -1), return_distance=False)
    return _compare(train[nearest[:, 0]], test)


def _compare(expected: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared error averaged over channels, and its mean over each image."""
    maps = np.mean(np.square(test - expected), axis=-1)
    return maps, np.mean(maps, axis=(1, 2))


def _check(train: np.ndarray, test: np.ndarray) -> None:
    if train.ndim != 4 or not len(train) or train.shape[1:] != test.shape[1:]:
        raise ValueError(f"train {train.shape} does not fit test {test.shape}")
    for images in (train, test):
        if not np.issubdtype(images.dtype, np.floating):  # integers would wrap around
            raise ValueError(f"images are {images.dtype}; expected float in [0, 1]")
