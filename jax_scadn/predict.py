"""Scores new images: `python -m jax_scadn.predict --workdir=DIR --input=IMAGES`.

IMAGES is a file, a folder or a pattern such as 'photos/*.png'. Each image gets a JSON
line (also in `predictions.jsonl` and `.csv` of --output) and an overlay of its
anomaly map, all on the one colour scale that was calibrated on normal images.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib
import signal

from absl import flags

from jax_scadn.detection import detector, prediction
from jax_scadn.runtime import cli

_WORKDIR = cli.path_flag("workdir", None, "What jax_scadn.train wrote.")
_INPUT = cli.path_flag("input", None, "An image, a folder or a pattern.")
_OUTPUT = cli.path_flag("output", "predictions", "Folder for what is written.")
_OVERLAYS = flags.DEFINE_bool("overlays", True, "Write a picture for each image.")
_DRIFT = cli.path_flag(
    "drift", "", "File of the state that tells whether scores drift; made if missing."
)
flags.mark_flags_as_required(["workdir", "input"])


def main(_) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    trained = detector.load(_WORKDIR.value)
    output = pathlib.Path(_OUTPUT.value)
    paths = prediction.find(_INPUT.value, output)
    drift = pathlib.Path(_DRIFT.value) if _DRIFT.value else None
    failed = prediction.predict(trained, paths, output, _OVERLAYS.value, drift)
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
