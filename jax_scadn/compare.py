"""Results beside published numbers: `python -m jax_scadn.compare RUN_DIR...`.

Takes directories of trainings, of many categories or seeds, and of ablations. Prints,
for each protocol of ours, a table beside the paper's and the trivial detectors, and
what differs between the protocols.
"""

import pathlib
import sys

from absl import flags

from jax_scadn import cli, errors, papers
from jax_scadn.comparison import categories, measured, plots, report, runs, variants

_TABLE = flags.DEFINE_string(
    "table", None, "Such as scadn/table2; default: all that fit the results."
)
_MEASURED = flags.DEFINE_string(
    "measured", None, "Measured results of the PyTorch code, JSON."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for comparison.md, .csv, .json, .tex and .png."
)


def main(arguments: list[str]) -> None:
    if not arguments:
        raise errors.UserError("give directories: python -m jax_scadn.compare RUN_DIR")
    asked = papers.table(_TABLE.value) if _TABLE.value else None
    torch = measured.read(pathlib.Path(_MEASURED.value)) if _MEASURED.value else None
    found = runs.find([pathlib.Path(argument) for argument in arguments])
    blocks = categories.blocks(found, asked, torch)
    blocks += variants.blocks(found, asked, torch)
    print(report.markdown(blocks, found.unfinished))
    if _OUTPUT.value:
        folder = pathlib.Path(_OUTPUT.value)
        plots.draw(blocks, folder / f"{report.STEM}.png")
        report.write(blocks, found.unfinished, folder)
        print(f"written: {folder}/{report.STEM}.md, .csv, .json, .tex, .png")


if __name__ == "__main__":
    cli.run(main, arguments=sys.maxsize)
