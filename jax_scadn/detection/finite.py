"""What is not finite is neither saved, nor loaded, nor a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_scadn.runtime import errors
from jax_scadn.scoring.merging import Scored


class NotFinite(errors.UserError):
    """Some images of a batch have a score or a map that is not finite.

    Attributes:
      scored: of all images of the batch.
      finite: (B,) bool, which of them can be used.
    """

    def __init__(self, scored: Scored, finite: np.ndarray, names: Sequence[str]):
        first = names[int(np.argmin(finite))]
        more = int(np.sum(~finite)) - 1
        super().__init__(
            f"{first}{f' and {more} more images' if more else ''}: the score or the "
            "anomaly map is not finite; train again with --config.dtype=float32 or a "
            "lower learning rate"
        )
        self.scored = scored
        self.finite = finite


def check_scored(scored: Scored, names: Sequence[str]) -> Scored:
    """The scores and maps, unchanged.

    Args:
      scored: of B images, on the host.
      names: of the images, for the message.

    Raises:
      NotFinite: a score or a pixel of a map is not finite.
    """
    finite = np.isfinite(scored.scores)
    if scored.maps is not None:
        finite = finite & np.isfinite(scored.maps).all(axis=(1, 2))
    if not finite.all():
        raise NotFinite(scored, finite, names)
    return scored


def check_arrays(tree: Any, owner: str) -> None:
    """Checks weights or statistics.

    Args:
      tree: of arrays.
      owner: whose they are, for the message.

    Raises:
      errors.UserError: a value is not finite.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        array = np.asarray(leaf)
        if array.dtype.kind in "iub":
            continue
        wrong = int(np.sum(~np.isfinite(array)))
        if wrong:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise errors.UserError(
                f"{owner}: {wrong} of {array.size} values of {name} are not finite; "
                "train again"
            )
