"""Loads a detector, scores an image, prints the score: `benchmarks.first_scores`."""

import pathlib
import sys

import numpy as np

import jax_scadn
from jax_scadn.runtime import compilation_cache, memory


def main() -> None:
    compilation_cache.enable()
    memory.trim_after_compilation()
    run, folder = map(pathlib.Path, sys.argv[1:])
    scored = jax_scadn.load(run).score(np.load(folder / "image.npy"))
    print(float(scored.scores[0]), flush=True)


if __name__ == "__main__":
    main()
