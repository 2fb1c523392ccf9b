"""What a threshold from n normal images promises of new ones.

All of it holds if the n images and the new normal ones are exchangeable: their order
tells nothing, as with independent pictures of one production. The threshold is the
score of rank k among the n. The share of new normal images that exceed it, the false
alarm rate, then has the distribution Beta(n + 1 - k, k) where scores have no ties, and
is smaller otherwise (Vovk, Conditional validity of inductive conformal predictors,
2012).
"""

from __future__ import annotations

import dataclasses
import fractions
import math

import numpy as np
from scipy import special


def rank(n: int, rate: float) -> int:
    """Rank of the threshold, from 1 to n, whose expected false alarm rate is `rate`.

    ceil((n + 1) (1 - rate)); n where n images are too few for the rate.
    """
    # Of the decimal number that was written: 0.07 * 100 is above 7 in floating point.
    above = math.floor((n + 1) * fractions.Fraction(str(rate)))
    return max(1, min(n + 1 - above, n))


def images_needed(rate: float, confidence: float) -> int:
    """Normal images whose largest score is exceeded by `rate` of new ones or fewer.

    The smallest n with 1 - (1 - confidence)^(1 / n) <= rate.

    Args:
      rate: above 0.
      confidence: of that promise.
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def p_values(normal: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(k + 1) / (n + 1), k of the n normal scores being as large as a score or larger.

    A new normal image has a value of p or less with a probability of p at most.

    Args:
      normal: (n,), ascending.
      scores: (B,).
    """
    smaller = np.searchsorted(normal, scores, side="left")
    return (len(normal) - smaller + 1) / (len(normal) + 1)


@dataclasses.dataclass(frozen=True)
class Promise:
    """The false alarm rate of a threshold.

    Attributes:
      images: n, the normal images that the threshold comes from.
      rank: k of them score as high as the threshold or less; 0 to n.
      confidence: of `upper`.
    """

    images: int
    rank: int
    confidence: float

    @property
    def expected(self) -> float:
        """Mean false alarm rate, (n + 1 - k) / (n + 1)."""
        return (self.images + 1 - self.rank) / (self.images + 1)

    @property
    def upper(self) -> float:
        """The false alarm rate is at most this, with the confidence."""
        return _upper(self.images, self.rank, self.confidence)

    def sentence(self, wanted: float) -> str:
        """The promise in words, and what the wanted rate would need.

        Args:
          wanted: rate that the threshold aims at.
        """
        text = (
            f"at most {_percent(self.upper)} of new normal images score above it, with "
            f"{_percent(self.confidence)} confidence (expected "
            f"{_percent(self.expected)})"
        )
        if 0 < wanted < self.upper:
            missing = images_needed(wanted, self.confidence) - self.images
            if missing > 0:
                text += (
                    f"; to promise {_percent(wanted)}, hold out {missing} more good "
                    "images"
                )
            else:
                text += f"; not {_percent(wanted)} at most"
        return text


def promise(normal: np.ndarray, threshold: float, confidence: float) -> Promise:
    """What a threshold promises, also one that was set by hand.

    Args:
      normal: (n,) scores, ascending. Of equal ones the first has the rank.
      threshold: a score above it is a false alarm.
      confidence: in (0, 1).
    """
    below = int(np.searchsorted(normal, threshold, side="left"))
    among = below < len(normal) and normal[below] == threshold
    return Promise(len(normal), below + among, confidence)


def _upper(n: int, k: int, confidence: float) -> float:
    if k == 0:
        return 1.0
    return float(special.betaincinv(n + 1 - k, k, confidence))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
