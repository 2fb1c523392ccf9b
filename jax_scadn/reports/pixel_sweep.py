"""The sweep of a threshold over the pixels of many maps, in little memory.

A pixel takes 8 bytes besides its map and mask: one sorted integer, with the score in
its upper half and the region in its lower half. While they are made, one image at a
time takes about 20 bytes a pixel more. The counts at the thresholds are never
all in memory: they are computed part by part. The results are those of whole arrays,
bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

_PART = 2**15  # pixels
_BITS = 32  # of a region
_MAGNITUDE = 0x7FFFFFFF

_Points = tuple[np.ndarray, np.ndarray]  # x and y


class _Part(NamedTuple):
    """Some of the thresholds.

    Attributes:
      keys: (t,) of the last pixel that is detected.
      true_positives: (t,) int64, anomalous and detected.
      false_positives: (t,) int64, normal and detected.
      weight: (t,) float64, sum of the detected weights; None where it is not needed.
    """

    keys: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    weight: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class PixelSweep:
    """All pixels, from the highest score to the lowest.

    Equal scores are detected together. A metric is NaN where a class is missing.

    Attributes:
      keys: (n,) int64, ascending; the scores descend, and the lower half is the region
        of a pixel, from 1 on, or 0 where it is normal.
      weights: (regions + 1,) float64, of a pixel of each region: 1 / its size; the
        first is 0.
      positives: the number of anomalous pixels.
    """

    keys: np.ndarray
    weights: np.ndarray
    positives: int

    @classmethod
    def of(
        cls,
        masks: Sequence[np.ndarray],
        maps: Sequence[np.ndarray],
        separate: bool = True,
    ) -> PixelSweep:
        """Sorts the pixels once.

        Args:
          masks: one (H, W) bool per image, True where anomalous.
          maps: one (H, W) float32 per image.
          separate: whether to find the 8-connected regions, which `aupro` needs; or
            all anomalous pixels are one.

        Raises:
          ValueError: see `check`.
        """
        check(masks, maps)
        keys = np.empty(sum(map(np.size, maps)), np.int64)
        weights, start, found = [np.zeros(1)], 0, 0
        for mask, map_hw in zip(masks, maps, strict=True):
            regions = np.asarray(mask, bool)
            if regions.any() and separate:
                regions, count = ndimage.label(regions, structure=np.ones((3, 3)))
                weights.append(1 / np.bincount(regions.ravel())[1:])
                np.add(regions, found, out=regions, where=regions > 0)
                found += count
            part = keys[start : start + regions.size]
            part[:] = _descending(np.ravel(map_hw))
            part <<= _BITS
            part |= regions.ravel()
            start += regions.size
        keys.sort()
        positives = sum(map(np.count_nonzero, masks))
        if not separate:
            weights.append(np.full(1, 1 / max(positives, 1)))
        return cls(keys, np.concatenate(weights), positives)

    @property
    def negatives(self) -> int:
        """The number of normal pixels."""
        return self.keys.size - self.positives

    @property
    def has_both(self) -> bool:
        """Whether there are anomalous and normal pixels."""
        return bool(self.positives and self.negatives)

    def auroc(self) -> float:
        """Area under the ROC curve; ties count half."""
        if not self.has_both:
            return float("nan")
        count = sum(np.count_nonzero(last) for _, last in self._keys())
        points = (
            (
                part.false_positives / self.negatives,
                part.true_positives / self.positives,
            )
            for part in self._parts()
        )
        return _area(_joined(points), count)

    def best_iou(self) -> tuple[float, float]:
        """Largest intersection over union and the (highest) threshold that gives it."""
        if not self.has_both:
            return float("nan"), float("nan")
        best = -1.0
        for part in self._parts():
            ious = part.true_positives / (self.positives + part.false_positives)
            index = np.argmax(ious)
            if ious[index] > best:
                best, key = float(ious[index]), part.keys[index]
        return best, _score(key)

    def iou_above(self, threshold: float) -> float:
        """Intersection over union of the scores above a threshold."""
        if not self.has_both:
            return float("nan")
        (descending,) = _descending(np.array([threshold], np.float32)).tolist()
        above = int(np.searchsorted(self.keys, descending << _BITS))
        true = sum(
            np.count_nonzero(_regions(self.keys[start : min(start + _PART, above)]))
            for start in range(0, above, _PART)
        )
        return float(true / (self.positives + above - true))

    def aupro(self, max_fpr: float) -> float:
        """Area under the per-region overlap curve to `max_fpr`, divided by it.

        Args:
          max_fpr: in (0, 1].
        """
        if not self.has_both:
            return float("nan")
        count, regions = 1, 0.0  # the last piece ends at or above the limit
        for part in self._parts(weighted=True):
            count += np.count_nonzero(part.false_positives / self.negatives < max_fpr)
            regions = part.weight[-1]
        points = (
            (part.false_positives / self.negatives, part.weight / regions)
            for part in self._parts(weighted=True)
        )
        return _area(_up_to(max_fpr, _joined(points)), count) / max_fpr

    def _keys(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The keys part by part, and which are the last of equal scores."""
        for start in range(0, self.keys.size, _PART):
            keys = self.keys[start : start + _PART]
            following = self.keys[start + 1 : start + _PART + 1]
            last = np.ones(keys.size, bool)
            last[: following.size] = (keys[: following.size] ^ following) >> _BITS
            yield keys, last

    def _parts(self, weighted: bool = False) -> Iterator[_Part]:
        """The sweep, some thresholds after the others."""
        detected, true, weight = 0, 0, 0.0
        for keys, last in self._keys():
            regions = _regions(keys)
            ends = np.flatnonzero(last)
            trues = true + np.cumsum(regions > 0)
            weights = None
            if weighted:
                # One sum in one order, so that it is rounded as that of a whole array.
                sums = np.cumsum(np.append(weight, self.weights[regions]))[1:]
                weights, weight = sums[ends], sums[-1]
            if ends.size:
                falses = detected + ends + 1 - trues[ends]
                yield _Part(keys[ends], trues[ends], falses, weights)
            detected, true = detected + keys.size, trues[-1]


def _descending(scores: np.ndarray) -> np.ndarray:
    """int32 that ascend as float32 descend; equal ones for 0 and -0."""
    bits = (np.float32(0) - scores).view(np.int32)
    return bits ^ ((bits >> 31) & _MAGNITUDE)


def _score(key: np.int64) -> float:
    """The inverse of `_descending`, of the upper half of a key."""
    order = np.int32(key >> _BITS)
    bits = order ^ ((order >> 31) & _MAGNITUDE)
    return float(np.float32(0) - bits.view(np.float32))


def _regions(keys: np.ndarray) -> np.ndarray:
    """The lower halves of keys."""
    return keys & (2**_BITS - 1)


def _joined(parts: Iterator[_Points]) -> Iterator[_Points]:
    """Parts of a polyline from (0, 0), each with the last point of the one before."""
    last = 0.0, 0.0
    for x, y in parts:
        yield np.append(last[0], x), np.append(last[1], y)
        last = x[-1], y[-1]


def _up_to(limit: float, parts: Iterator[_Points]) -> Iterator[_Points]:
    """Cuts a polyline at x = limit; a rise exactly there is left out."""
    for x, y in parts:
        if x[-1] < limit:
            yield x, y
            continue
        end = np.searchsorted(x, limit)
        share = (limit - x[end - 1]) / (x[end] - x[end - 1])
        y_limit = y[end - 1] + share * (y[end] - y[end - 1])
        yield np.append(x[:end], limit), np.append(y[:end], y_limit)
        return


def _area(parts: Iterator[_Points], count: int) -> float:
    """`np.trapezoid` of a polyline with that many pieces, bit for bit."""
    areas = (np.diff(x) * (y[1:] + y[:-1]) / 2 for x, y in parts)
    left = np.zeros(0)

    def take(count: int) -> np.ndarray:
        nonlocal left
        while left.size < count:
            left = np.append(left, next(areas))
        taken, left = left[:count], left[count:]
        return taken

    return float(_sum(take, count))


def _sum(take: Callable[[int], np.ndarray], count: int) -> float:
    """`np.sum` of the next `count` values, bit for bit.

    NumPy sums the halves of an array, the first one a multiple of 8 values.
    """
    if count <= _PART:
        return np.sum(take(count))
    half = count // 16 * 8
    return _sum(take, half) + _sum(take, count - half)


def check(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> None:
    """Checks that masks and maps belong together.

    Args:
      masks: see `PixelSweep.of`, as is `maps`.

    Raises:
      ValueError: their numbers or sizes differ, or a map is not float32 or has NaN.
    """
    if len(masks) != len(maps):
        raise ValueError(f"{len(masks)} masks != {len(maps)} maps")
    for index, (mask, map_hw) in enumerate(zip(masks, maps, strict=True)):
        if np.ndim(mask) != 2 or np.shape(mask) != np.shape(map_hw):
            raise ValueError(
                f"image {index}: mask {np.shape(mask)} != map {np.shape(map_hw)}"
            )
        if map_hw.dtype != np.float32:
            raise ValueError(f"image {index}: map is {map_hw.dtype}, not float32")
    nans = sum(np.count_nonzero(np.isnan(map_hw)) for map_hw in maps)
    if nans:
        count = sum(map(np.size, maps))
        raise ValueError(f"{nans} of {count} scores are NaN")
