"""New thresholds without training: `python -m jax_scadn.recalibrate --workdir=DIR`.

With --input=IMAGES, a file, a folder or a pattern of normal images that were not
trained on, thresholds and colours come from them. Without it, the thresholds of images
come from the scores of before, for other rates. Rates that are not given stay.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib

from absl import flags

from jax_scadn.detection import prediction, recalibration
from jax_scadn.experiments import console
from jax_scadn.runtime import cli, errors

_WORKDIR = cli.path_flag("workdir", None, "What jax_scadn.train wrote.")
_INPUT = cli.path_flag("input", "", "Normal images: a file, a folder or a pattern.")
_RATES = {
    name: flags.DEFINE_float(name, None, f"As --config.calibration.{name}.")
    for name in recalibration.RATES
}
flags.mark_flag_as_required("workdir")


def main(_) -> None:
    workdir = pathlib.Path(_WORKDIR.value)
    rates = {name: f.value for name, f in _RATES.items() if f.value is not None}
    if not rates and not _INPUT.value:
        raise errors.UserError("give --input, or a rate such as --false_alarm_rate")
    images = prediction.find(_INPUT.value, workdir) if _INPUT.value else []
    recalibration.recalibrate(workdir, images, rates)
    console.print_thresholds(workdir)


if __name__ == "__main__":
    cli.run(main)
