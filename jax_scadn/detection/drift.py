"""Drift: whether new images still score as the normal ones did that were held out.

A conformal test martingale (Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2022). Each new score gets its rank among the n held-out scores and all
new ones before it. While images are exchangeable these p-values are independent and
uniform, so that capital that is bet against them stays low: it is ever 1 / a or more
with a probability of a at most (Ville's inequality).

The n held-out scores leave n + 1 gaps. How many new scores lie in each gap is all that
has to be kept: within a gap all orders are as likely, and a random one is taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from jax_scadn.runtime import errors, files

# A bet on e takes 1 + e (p - 1/2): below 0 that scores rise, above 0 that they fall.
BETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
ALARM = 100  # wealth; false with a probability of 1 / 100 at most
JUMP = 0.01  # share of the capital that is spread over all bets again after each image


@dataclasses.dataclass
class Drift:
    """The state; one file.

    Attributes:
      reference: of the held-out scores, see `start`.
      gaps: (n + 1,) new scores in each gap, from the lowest.
      capital: of each bet in `BETS`; 1 in all at the start.
    """

    reference: str
    gaps: list[int]
    capital: list[float]

    @property
    def wealth(self) -> float:
        """1 at the start; above 1 / a it is an alarm, false with probability a."""
        return sum(self.capital)

    @property
    def images(self) -> int:
        """How many were seen."""
        return sum(self.gaps)

    def see(self, held_out: Sequence[float], score: float) -> float:
        """Takes a new score; returns the wealth after it.

        Args:
          held_out: of `start`.
          score: of the next image.
        """
        rng = np.random.default_rng([int(self.reference[:8], 16), self.images])
        low, high = (int(np.searchsorted(held_out, score, side)) for side in _SIDES)
        gap = int(rng.integers(low, high + 1))  # of equal scores any may be first
        above = sum(n + 1 for n in self.gaps[gap + 1 :])
        position = above + rng.uniform() * (self.gaps[gap] + 1)
        p = position / (len(held_out) + 1 + self.images)
        grown = [
            capital * (1 + bet * (p - 0.5))
            for bet, capital in zip(BETS, self.capital, strict=True)
        ]
        shared = JUMP * sum(grown) / len(BETS)
        self.capital = [(1 - JUMP) * capital + shared for capital in grown]
        self.gaps[gap] += 1
        return self.wealth

    def sentence(self) -> str:
        """The state in words."""
        text = f"drift: wealth {self.wealth:.3g} after {self.images} images"
        if self.wealth < ALARM:
            return text
        return (
            f"{text}: they do not score as the held-out normal images did "
            f"(from {ALARM} on it is a false alarm with {100 / ALARM:.3g} % "
            "probability); look at camera, light and parts, then recalibrate or train "
            "again"
        )


_SIDES = ("left", "right")


def start(held_out: Sequence[float]) -> Drift:
    """Before the first image.

    Args:
      held_out: scores of the calibration, ascending.
    """
    share = 1 / len(BETS)
    return Drift(_reference(held_out), [0] * (len(held_out) + 1), [share] * len(BETS))


def _reference(held_out: Sequence[float]) -> str:
    return hashlib.sha256(json.dumps(list(held_out)).encode()).hexdigest()


def load(path: pathlib.Path, held_out: Sequence[float]) -> Drift:
    """The state in a file, or that of the start where there is none.

    Raises:
      errors.UserError: the file cannot be read, or is of other held-out images.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        state = Drift(values["reference"], values["gaps"], values["capital"])
        right = len(state.capital) == len(BETS) and all(
            type(value) in (int, float) and 0 <= value < np.inf
            for value in (*state.gaps, *state.capital)
        )
    except FileNotFoundError:
        return start(held_out)
    except (OSError, ValueError, TypeError, KeyError):
        right = False
    if not right:
        raise errors.UserError(
            f"{path} is not a file of --drift; delete it or name another"
        )
    if state.reference != _reference(held_out) or len(state.gaps) != len(held_out) + 1:
        raise errors.UserError(
            f"{path} belongs to another detector or to thresholds of before; delete it "
            "to begin anew, or name another file"
        )
    return state


def save(path: pathlib.Path, state: Drift) -> None:
    """Writes the state.

    Raises:
      OSError: it cannot be written.
    """
    files.write_text(path, json.dumps(dataclasses.asdict(state)) + "\n")
