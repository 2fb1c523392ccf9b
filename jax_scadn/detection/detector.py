"""A trained, calibrated anomaly detector."""

from __future__ import annotations

import collections
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.detection import calibration as calibration_lib
from jax_scadn.detection import calibration_file, finite
from jax_scadn.detection.calibration import Calibration
from jax_scadn.methods import base
from jax_scadn.runtime import distributed, errors, paths, sharding
from jax_scadn.scoring.merging import Scored
from jax_scadn.settings import files as settings_files
from jax_scadn.training import checkpoints

CONFIG = "config.json"
_PARAMS = pathlib.Path("detector/params")
_VARIABLES, _STATISTICS = "variables", "statistics"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(method, mesh, variables, statistics, images):
    maps = method.maps
    if mesh.shape[sharding.MASKS] > 1:
        maps = functools.partial(maps, shared_by=sharding.MASKS)

    def score(variables, statistics, images):
        candidates = maps(variables, images)
        summary = None
        if base.summarises(method):
            summary = method.summary(candidates)
        return method.select(statistics, candidates), summary

    score = sharding.shard_map_images(mesh, score, replicated=2)
    return score(variables, statistics, images_lib.as_float(images))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embeddings(method, mesh, variables, images):
    embeddings = sharding.shard_map_images(mesh, method.embeddings, replicated=1)
    return embeddings(variables, images_lib.as_float(images))


class Detector:
    """Scores images with trained weights.

    Args:
      config: resolved settings of the training.
      variables: {'frozen': ..., stage name: ...}, see `base.Method`.
      statistics: from `Method.calibrate`; {} for methods without.
      calibration: from normal images; None before `calibrated`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        variables: Any,
        statistics: Any = None,
        calibration: Calibration | None = None,
    ):
        self.config = config
        self.calibration = calibration
        self.method = methods.create(config)
        mesh, self.batch_size = sharding.scoring_mesh(
            config.scoring.images_per_call, self.method.shards_per_image
        )
        sharding.warm_up_collectives(mesh)
        self.variables = sharding.replicate(mesh, variables)
        self.statistics = sharding.replicate(mesh, statistics or {})

    def score(self, images: np.ndarray | Sequence) -> Scored:
        """Scores images of any size.

        Args:
          images: (B, H, W, C) or (B, H, W), uint8, uint16 or float in [0, 1], or a
            sequence of such images or of Pillow's; it may be empty. They are resized,
            cropped and turned grey or RGB as those in training were, and
            `data.white` is that of uint16. Of many
            processes each gives as many, and all get the results of all.

        Returns:
          `scoring.Scored` of NumPy arrays.

        Raises:
          errors.UserError: an image of another kind, one image without the axis of
            the batch, or a score or a map that is not finite (`finite.NotFinite`).
        """
        data = self.config.data
        shape = getattr(images, "shape", None)
        if shape and (len(shape) < 3 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
            raise errors.UserError(
                f"an array of shape {shape} is one image: give images[None]"
            )
        if not len(images):
            none = np.zeros((0, data.size, data.size, data.channels), np.uint8)
            return self.score_batch(none, self.padded_batch_size(1))
        fitted = images_lib.stack(
            [
                images_lib.from_array(
                    image, data.size, data.channels, data.white, data.fit
                )
                for image in images
            ]
        )
        size = self.padded_batch_size(len(fitted))
        batches = [
            self.score_batch(fitted[i : i + size], size)
            for i in range(0, len(fitted), size)
        ]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)

    def score_split(self, split: records.Split) -> Iterator[tuple[np.ndarray, Scored]]:
        """Scores a split in order; yields indices and scores, batch by batch.

        Raises:
          finite.NotFinite: a score or a map is not finite.
        """
        for batch in pipeline.padded_batches(split, self.batch_size):
            count = int(np.sum(batch["_mask"]))  # padding is at the end
            scored, _ = self._score(batch["image"], self.batch_size)
            indices = batch["index"][:count]
            names = [split.items[index].path for index in indices]
            yield indices, self._checked(_first(count, scored), names)

    def maps_and_scores(
        self, split: records.Split
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """The (H, W) maps of a split, [] without, and its scores, (n,).

        The pictures are not kept. Raises as `score_split`.
        """
        maps, scores = [], []
        for _, scored in self.score_split(split):
            maps.extend([] if scored.maps is None else scored.maps)
            scores.append(scored.scores)
        return maps, np.concatenate(scores)

    def padded_batch_size(self, count: int) -> int:
        """How many images to score together where there are `count`.

        As many as fill the devices, or that times a power of two, so that one image
        does not cost as much as a whole batch and few programs are compiled.
        """
        few = min(count, jax.device_count())
        _, size = sharding.scoring_mesh(few, self.method.shards_per_image)
        while size < min(count, self.batch_size):
            size *= 2
        return min(size, self.batch_size)

    def score_batch(self, images: np.ndarray, size: int | None = None) -> Scored:
        """Scores images that have the training's size, in one call.

        Args:
          images: (b, size, size, C), no more than fit.
          size: how many to fill up to; None is `batch_size`.

        Raises:
          finite.NotFinite: a score or a map is not finite.
        """
        count = len(images)
        missing = (size or self.batch_size) - count
        padding = np.zeros((missing, *images.shape[1:]), images.dtype)
        rows = np.concatenate([images, padding])
        scored, _ = self._score(rows, len(rows))
        names = [f"image {number} of {count}" for number in range(count)]
        return self._checked(_first(count, scored), names)

    def _checked(self, scored: Scored, names: Sequence[str]) -> Scored:
        calibration = self.calibration
        if scored.maps is not None and calibration and calibration.vmin is None:
            raise errors.UserError(
                "calibration.json has no thresholds for the maps of "
                f"{self.method.title}: give new ones with jax_scadn.recalibrate"
            )
        return finite.check_scored(scored, names)

    def _score(self, rows: np.ndarray, size: int) -> tuple[Scored, Any]:
        """Scores a batch of that size, of which this process has the rows.

        Returns:
          The scores, and the summaries that the method has of its maps.
        """
        mesh, _ = sharding.scoring_mesh(size, self.method.shards_per_image)
        images = sharding.shard_batch(mesh, rows)
        results = _score(self.method, mesh, self.variables, self.statistics, images)
        return distributed.gather_to_host(results)

    @property
    def has_embeddings(self) -> bool:
        """Whether the method has a code for each image, see `embeddings`."""
        return hasattr(self.method, "embeddings")

    def embeddings(self, split: records.Split) -> np.ndarray:
        """The codes of a split's images in order, (n, L); only if `has_embeddings`."""
        mesh, size = sharding.scoring_mesh(self.batch_size)
        codes = []
        for batch in pipeline.padded_batches(split, size):
            images = sharding.shard_batch(mesh, batch["image"])
            embeddings = _embeddings(self.method, mesh, self.variables, images)
            codes.append(distributed.gather_to_host(embeddings)[batch["_mask"]])
        return np.concatenate(codes)

    def parameter_counts(self) -> dict[str, int]:
        """How many weights each stage and each frozen network has.

        Running statistics are not counted, and a part without weights is left out.
        """
        counts = collections.Counter()
        for path, weights in traverse_util.flatten_dict(self.variables).items():
            if "batch_stats" not in path:
                name = path[1] if path[0] == base.FROZEN else path[0]
                counts[name] += weights.size
        return dict(counts)

    def calibrated(self, train: records.Split, held_out: records.Split) -> Detector:
        """The detector with statistics, thresholds and colours from normal images.

        Args:
          train: normal images that the weights were trained on; give the statistics,
            in methods that have some.
          held_out: normal images that they were not; give thresholds and colours.
            Where there are none, the training images do.

        Raises:
          errors.UserError: weights, statistics, scores or maps are not finite.
        """
        finite.check_arrays(self.variables, "the trained weights")
        train = train.first(self.config.calibration.images)
        statistics = {}
        if base.summarises(self.method):
            statistics = self._statistics_of(train)
            finite.check_arrays(statistics, "the statistics of the training images")
        detector = Detector(self.config, self.variables, statistics)
        normal = held_out if len(held_out) else train
        return detector.with_thresholds(normal, held_out=len(held_out) > 0)

    def with_thresholds(self, normal: records.Split, held_out: bool) -> Detector:
        """The detector with thresholds and colours from normal images.

        Args:
          normal: the images.
          held_out: whether they were kept from training.
        """
        maps, scores = self.maps_and_scores(normal)
        calibration = calibration_lib.calibrate(
            self.config.calibration, scores, np.stack(maps) if maps else None, held_out
        )
        return Detector(self.config, self.variables, self.statistics, calibration)

    def _statistics_of(self, train: records.Split) -> Any:
        """`Method.calibrate` of the summaries of all images, by the scoring program."""
        image = train[0].image[None].astype(np.float32)
        shapes = jax.eval_shape(
            lambda variables: self.method.summary(self.method.maps(variables, image)),
            self.variables,
        )
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        blank = Detector(self.config, self.variables, self.method.calibrate(zeros))
        summaries = []
        for batch in pipeline.padded_batches(train, self.batch_size):
            _, summary = blank._score(batch["image"], self.batch_size)
            kept = batch["_mask"]
            summaries.append(jax.tree.map(lambda x, kept=kept: x[kept], summary))
        stacked = jax.tree.map(lambda *arrays: np.concatenate(arrays), *summaries)
        return self.method.calibrate(stacked)

    def save(self, workdir: pathlib.Path) -> None:
        """Writes `config.json` and `detector/`; the calibration comes last.

        Raises:
          errors.UserError: weights or statistics are not finite, or cannot be written.
        """
        saved = {_VARIABLES: self.variables, _STATISTICS: self.statistics}
        finite.check_arrays(saved, f"the detector of {workdir}")
        if distributed.is_primary():
            calibration_file.path(workdir).unlink(missing_ok=True)
            settings_files.write(self.config, workdir / CONFIG)
        checkpoints.save_params(workdir / _PARAMS, saved)
        if distributed.is_primary():
            calibration_file.write(workdir, self.calibration, checkpoints.digest(saved))


def _first(count: int, scored: Scored) -> Scored:
    return jax.tree.map(lambda array: array[:count], scored)


def is_saved(workdir: pathlib.Path) -> bool:
    """Whether a work directory has a complete detector."""
    return distributed.broadcast_from_primary(calibration_file.path(workdir).exists())


def load(workdir: str | pathlib.Path) -> Detector:
    """The detector that `jax_scadn.train` left in a work directory.

    Raises:
      errors.UserError: there is none, or it cannot be read.
    """
    workdir = pathlib.Path(paths.local(str(workdir)))
    config = methods.read(workdir / CONFIG)
    calibration, digest = calibration_file.read(workdir)
    return _load(workdir, config, digest, calibration)


def load_uncalibrated(workdir: pathlib.Path) -> Detector:
    """The detector without thresholds, which may be of an older version.

    Raises:
      errors.UserError: as `load`.
    """
    config = methods.read(workdir / CONFIG)
    return _load(workdir, config, calibration_file.digest(workdir), None)


def _load(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    digest: str,
    calibration: Calibration | None,
) -> Detector:
    mesh, _ = sharding.scoring_mesh(config.scoring.images_per_call)
    path = workdir / _PARAMS
    saved = checkpoints.load_params(path, sharding.replicated(mesh))
    if checkpoints.digest(saved) != digest:
        raise errors.UserError(
            f"the weights in {path} are not those that were calibrated: they are "
            "damaged or were exchanged; train again"
        )
    finite.check_arrays(saved, f"the weights in {path}")
    try:
        return Detector(config, saved[_VARIABLES], saved[_STATISTICS], calibration)
    except (KeyError, TypeError):
        raise errors.UserError(f"{path} is not a detector's: train again") from None
