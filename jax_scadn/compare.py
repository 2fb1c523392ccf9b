"""Compares results with published numbers: `python -m jax_scadn.compare RUN_DIR...`.

Takes directories of trainings, of many categories or seeds, and of ablations. Prints,
for each protocol of ours, a table with the paper's numbers and the baselines, and
what differs between the protocols.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib
import sys

from absl import flags

from jax_scadn.experiments import comparison, papers
from jax_scadn.experiments.comparison import measured, report
from jax_scadn.runtime import cli, errors, paths

_TABLE = flags.DEFINE_string(
    "table", None, "Such as scadn/table2; default: all that fit the results."
)
_MEASURED = cli.path_flag(
    "measured", None, "Measured results of the PyTorch code, JSON."
)
_OUTPUT = cli.path_flag(
    "output", None, "Folder for comparison.md, .csv, .json, .tex and .png."
)


def main(arguments: list[str]) -> None:
    if not arguments:
        raise errors.UserError("give directories: python -m jax_scadn.compare RUN_DIR")
    table = papers.table(_TABLE.value) if _TABLE.value else None
    torch = measured.read(pathlib.Path(_MEASURED.value)) if _MEASURED.value else None
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    folders = [pathlib.Path(paths.local(argument)) for argument in arguments]
    print(comparison.compare(folders, table, torch, output))
    if output is not None:
        print(f"written: {output / report.STEM}.md, .csv, .json, .tex, .png")


if __name__ == "__main__":
    cli.run(main, arguments=sys.maxsize)
