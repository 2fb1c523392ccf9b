"""The protocol of a method's stages: what is trained, and what is solved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import ml_collections

Variables = Any
Batch = dict[str, jax.Array]


class Context(NamedTuple):
    """What a stage reads and never changes.

    It is neither donated nor checkpointed. `frozen` is not copied for each variant of
    an ablation.

    Attributes:
      frozen: pretrained networks by name.
      earlier: results of the stages before, by name.
    """

    frozen: Mapping[str, Variables]
    earlier: Mapping[str, Variables]


EMPTY = Context({}, {})


class GradientStage(Protocol):
    """Trained by gradients: pure functions over one state.

    Hashable and equal where the compiled step is: everything that may vary without
    another program is in the hyperparameters, whose leaves are arrays.

    A stage may also have `preview(result, hyper, context, batch)`: images with their
    reconstructions, (B, H, n W, C) in [0, 1], for TensorBoard.

    Attributes:
      name: folder of the stage in the work directory, and heading.
      budget: section of the settings with its `batch_size`, `epochs` and `steps`, such
        as 'training'; see `settings.base.budget`.
    """

    name: str
    budget: str

    def init(self, key: jax.Array, context: Context, examples: Batch) -> Any:
        """The state before the first update; its `step` counts finished updates.

        Args:
          key: of the seed.
          context: see `Context`.
          examples: some images of the training set.
        """

    def hyperparameters(
        self, config: ml_collections.ConfigDict, total_steps: int
    ) -> Any:
        """Arrays: what may differ between variants of one program."""

    def step(
        self, state: Any, hyper: Any, context: Context, key: jax.Array, batch: Batch
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One update: the state after it, and metrics by name.

        Args:
          state: before the update.
          hyper: see `hyperparameters`.
          context: see `Context`.
          key: of this step only.
          batch: 'image': (B, H, W, C) float32 in [0, 1].
        """

    def result(self, state: Any) -> Variables:
        """What later stages and scoring need."""


class ClosedFormStage(Protocol):
    """Fitted without gradients, such as a mean, a k-means or a memory of features.

    Attributes:
      name: heading.
    """

    name: str

    def features(self, context: Context, batch: Batch) -> Any:
        """A tree of (b, ...); jitted. Every training image is seen once."""

    def solve(self, key: jax.Array, features: Iterator[Any]) -> Variables:
        """The result, of any shape; on the host.

        Args:
          key: of the seed.
          features: trees of NumPy arrays, in the order of the images, without padding.
        """


class Pretrained(Protocol):
    """The source of a frozen network, whose variables a detector is saved with."""

    def load(self) -> Variables:
        """The variables.

        Raises:
          errors.UserError: there are none, or they cannot be read.
        """


def gradient_stages(
    stages: Iterable[GradientStage | ClosedFormStage],
) -> tuple[GradientStage, ...]:
    """Those that are trained in steps, in their order."""
    return tuple(stage for stage in stages if not is_closed_form(stage))


def is_closed_form(stage: GradientStage | ClosedFormStage) -> bool:
    """Whether a stage is solved instead of trained."""
    return hasattr(stage, "solve")
