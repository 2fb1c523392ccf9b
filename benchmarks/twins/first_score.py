"""Loads a generator, scores an image, prints the score: `benchmarks.first_scores`.

    python -m benchmarks.twins.first_score FOLDER save | eager | channels_last

`save` writes the weights that the other two load.
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import torch

from benchmarks.twins import scadn, workloads

_WEIGHTS = "generator.pth"
_AT_ONCE = 4  # masks


def main() -> None:
    folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
    settings = json.loads((folder / "settings.json").read_text())
    module = scadn.Scoring(settings, torch.from_numpy(np.load(folder / "masks.npy")))
    if what == "save":
        workloads.load_drawn(module)
        torch.save(module.generator.state_dict(), folder / _WEIGHTS)
        return
    weights = torch.load(folder / _WEIGHTS, weights_only=True)
    module.generator.load_state_dict(weights)
    images = torch.from_numpy(np.load(folder / "image.npy")).permute(0, 3, 1, 2)
    if what == "channels_last":
        module.to(memory_format=torch.channels_last)
    else:
        images = images.contiguous()
    with torch.inference_mode():
        scored = module.score(module, images, _AT_ONCE)
    print(float(scored["scores"][0]), flush=True)


if __name__ == "__main__":
    main()
