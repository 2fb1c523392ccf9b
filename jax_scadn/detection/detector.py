"""What a trained method is to its user: calibrated, it scores images."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, errors, files, sharding
from jax_scadn.scoring.merging import Scored
from jax_scadn.settings import configuration
from jax_scadn.training import checkpoints

CONFIG = "config.json"
_CALIBRATION = "calibration.json"
_PARAMS = "params"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(method, mesh, params, mu, images):
    score = method.score
    if mesh.shape[sharding.MASKS] > 1:
        score = functools.partial(score, shared_by=sharding.MASKS)
    score = sharding.shard_map_images(mesh, score, replicated=2)
    return score(params, mu, images_lib.as_float(images))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _latent(method, mesh, params, images):
    latent = sharding.shard_map_images(mesh, method.latent, replicated=1)
    return latent(params, images_lib.as_float(images))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What normal images, and only normal images, say about the scores.

    Attributes:
      mu: mean error of each scale on the training images (SCADN Eq. 9).
      threshold: an image that scores higher is called anomalous.
      false_alarm_rate: share of normal images that the threshold aims at.
      map_threshold: tau of UTAD Eq. 9; a pixel of a map above it is called anomalous.
      pixel_false_alarm_rate: share of the pixels of normal images that tau aims at.
      threshold_images: normal images that both thresholds were taken from.
      held_out: whether those were kept from training; if not, the thresholds are too
        low for new images.
      low: map value where the colours of heat maps start.
      high: map value where they end.
    """

    mu: tuple[float, ...]
    threshold: float
    false_alarm_rate: float
    map_threshold: float
    pixel_false_alarm_rate: float
    threshold_images: int
    held_out: bool
    low: float
    high: float


class Detector:
    """Scores images with trained weights.

    Args:
      config: resolved settings of the training.
      params: the method's inference weights.
      calibration: from normal images.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        params: Any,
        calibration: Calibration,
    ):
        self.config = config
        self.calibration = calibration
        self._method = methods.create(config)
        mesh, self.batch_size = sharding.scoring_mesh(
            config.scoring.images_per_call, self._method.shares
        )
        sharding.warm_up_collectives(mesh)
        self.params = sharding.replicate(mesh, params)
        self._mu = sharding.replicate(mesh, np.asarray(calibration.mu, np.float32))

    def score(self, images: np.ndarray) -> Scored:
        """Scores images of any size.

        Args:
          images: (B, H, W, C) or (B, H, W), uint8, uint16 or float in [0, 1]. They
            are resized, cropped and turned grey or RGB as those in training were.
            Of many processes each gives as many, and all get the results of all.

        Returns:
          `scoring.Scored` of NumPy arrays.
        """
        data = self.config.data
        fitted = images_lib.stack(
            [images_lib.from_array(image, data.size, data.channels) for image in images]
        )
        size = self.padded_batch_size(len(fitted))
        batches = [
            self.score_batch(fitted[i : i + size], size)
            for i in range(0, len(fitted), size)
        ]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)

    def score_split(self, split: records.Split) -> Iterator[tuple[np.ndarray, Scored]]:
        """Scores a split in order; yields indices and scores, batch by batch."""
        for batch in pipeline.padded_batches(split, self.batch_size):
            count = int(np.sum(batch["_mask"]))  # padding stands at the end
            scored = self._score(batch["image"], self.batch_size)
            yield batch["index"][:count], _first(count, scored)

    def padded_batch_size(self, count: int) -> int:
        """How many images to score together where there are `count`.

        As many as fill the devices, or that times a power of two, so that one image
        does not cost as much as a whole batch and few programs are compiled.
        """
        few = min(count, jax.device_count())
        _, size = sharding.scoring_mesh(few, self._method.shares)
        while size < min(count, self.batch_size):
            size *= 2
        return min(size, self.batch_size)

    def score_batch(self, images: np.ndarray, size: int | None = None) -> Scored:
        """Scores images that have the training's size, in one call.

        Args:
          images: (b, size, size, C), no more than fit.
          size: how many to fill up to; None is `batch_size`.
        """
        count = len(images)
        missing = (size or self.batch_size) - count
        padding = np.zeros((missing, *images.shape[1:]), images.dtype)
        scored = self._score(np.concatenate([images, padding]), len(images) + missing)
        return _first(count, scored)

    def _score(self, rows: np.ndarray, size: int) -> Scored:
        """Scores a batch of that size, of which this process has the rows."""
        mesh, _ = sharding.scoring_mesh(size, self._method.shares)
        images = sharding.shard_batch(mesh, rows)
        scored = _score(self._method, mesh, self.params, self._mu, images)
        return distributed.gather_to_host(scored)

    @property
    def has_latent(self) -> bool:
        """Whether the method has a code for each image, see `latents`."""
        return hasattr(self._method, "latent")

    def latents(self, split: records.Split) -> np.ndarray:
        """The codes of a split's images in order, (n, L); only if `has_latent`."""
        codes = []
        mesh, _ = sharding.scoring_mesh(self.batch_size)
        for batch in pipeline.padded_batches(split, self.batch_size):
            images = sharding.shard_batch(mesh, batch["image"])
            latent = _latent(self._method, mesh, self.params, images)
            codes.append(distributed.gather_to_host(latent)[batch["_mask"]])
        return np.concatenate(codes)

    def parameter_counts(self) -> dict[str, int]:
        """How many weights each part of the method has, such as 'generator'.

        Running statistics are none, and a part without weights is left out.
        """
        counts = collections.Counter()
        for path, weights in traverse_util.flatten_dict(self.params).items():
            if "batch_stats" not in path:
                counts[path[0]] += weights.size
        return dict(counts)

    def calibrated(self, train: records.Split, held_out: records.Split) -> Detector:
        """The detector with mu, thresholds and colours from normal images.

        Args:
          train: normal images that the weights were trained on; give mu.
          held_out: normal images that they were not; give thresholds and colours.
            Where there are none, the training images do.
        """
        train = train.first(self.config.calibration.images)
        means = [scored.scale_means for _, scored in self.score_split(train)]
        mu = np.mean(np.concatenate(means), axis=0, dtype=np.float64)
        calibration = dataclasses.replace(self.calibration, mu=tuple(map(float, mu)))
        detector = Detector(self.config, self.params, calibration)

        normal = held_out if len(held_out) else train
        scored = [scored for _, scored in detector.score_split(normal)]
        maps = np.concatenate([batch.maps for batch in scored])
        rates = self.config.calibration
        low, high = np.quantile(maps, (0.5, 0.999))
        detector.calibration = dataclasses.replace(
            calibration,
            threshold=threshold(
                np.concatenate([batch.scores for batch in scored]),
                rates.false_alarm_rate,
            ),
            false_alarm_rate=rates.false_alarm_rate,
            map_threshold=threshold(maps, rates.pixel_false_alarm_rate),
            pixel_false_alarm_rate=rates.pixel_false_alarm_rate,
            threshold_images=len(normal),
            held_out=len(held_out) > 0,
            low=float(low),
            high=float(max(high, low + 1e-6) * 2),
        )
        return detector

    def save(self, workdir: pathlib.Path) -> None:
        """Writes `config.json` and `detector/`; the calibration comes last."""
        folder = workdir / "detector"
        calibration = folder / _CALIBRATION
        if distributed.is_primary():
            calibration.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            configuration.write(self.config, workdir / CONFIG)
        checkpoints.save_params(folder / _PARAMS, self.params)
        if distributed.is_primary():
            text = json.dumps(dataclasses.asdict(self.calibration), indent=2)
            files.write_text(calibration, text + "\n")


def _first(count: int, scored: Scored) -> Scored:
    return jax.tree.map(lambda array: array[:count], scored)


def threshold(scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score that a new normal image exceeds with at most that probability.

    Of n scores of normal images the ceil((n + 1) (1 - rate))-th smallest one has
    that property (split conformal prediction). Where n is too small for the rate,
    the largest score is taken, whose rate is 1 / (n + 1).

    Of the pixels of normal maps at most that share exceeds the value of this rank; of
    those of new maps about that share, since pixels of one image are not independent.

    Args:
      scores: of normal images, or their maps; of any shape.
      false_alarm_rate: in [0, 1).
    """
    rank = math.ceil((scores.size + 1) * (1 - false_alarm_rate))
    index = min(rank, scores.size) - 1
    return float(np.partition(scores, index, axis=None)[index])


def uncalibrated(config: ml_collections.ConfigDict, params: Any) -> Detector:
    """A detector that has seen no normal images yet."""
    maps = methods.create(config).maps
    blank = Calibration(
        mu=(0.0,) * maps,
        threshold=math.inf,
        false_alarm_rate=0.0,
        map_threshold=math.inf,
        pixel_false_alarm_rate=0.0,
        threshold_images=0,
        held_out=False,
        low=0.0,
        high=1.0,
    )
    return Detector(config, params, blank)


def is_saved(workdir: pathlib.Path) -> bool:
    """Whether a work directory holds a whole detector."""
    return distributed.broadcast_from_primary(
        (workdir / "detector" / _CALIBRATION).exists()
    )


def load(workdir: str | pathlib.Path) -> Detector:
    """The detector that `jax_scadn.train` left in a work directory.

    Raises:
      errors.UserError: there is none, or it cannot be read.
    """
    workdir = pathlib.Path(workdir)
    config = configuration.read(workdir / CONFIG)
    folder = workdir / "detector"
    try:
        values = json.loads((folder / _CALIBRATION).read_text())
        values["mu"] = tuple(values["mu"])
        calibration = Calibration(**values)
    except FileNotFoundError:
        raise errors.UserError(
            f"{workdir} holds no finished training; run jax_scadn.train again with "
            f"--workdir={workdir} to go on with it"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise errors.UserError(
            f"{folder / _CALIBRATION} cannot be read ({error}); train again"
        ) from None
    mesh, _ = sharding.scoring_mesh(config.scoring.images_per_call)
    shapes = jax.eval_shape(functools.partial(_untrained, methods.create(config)))
    like = checkpoints.abstract(shapes, sharding.replicated(mesh))
    params = checkpoints.load_params(folder / _PARAMS, like)
    return Detector(config, params, calibration)


def _untrained(method):
    """Inference weights of the right shapes."""
    trained = {stage.folder: stage.params(stage.init(0)) for stage in method.stages}
    return method.inference_params(trained, method.measure.init())
