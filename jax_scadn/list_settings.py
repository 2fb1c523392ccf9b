"""Lists all settings: `python -m jax_scadn.list_settings --output=docs/settings.md`."""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib

from jax_scadn import methods
from jax_scadn.runtime import cli, files
from jax_scadn.settings import table

_OUTPUT = cli.path_flag("output", None, "Markdown file; default: print.")


def main(_) -> None:
    text = table.markdown({name: methods.fields(name) for name in methods.names()})
    if _OUTPUT.value:
        files.write_text(pathlib.Path(_OUTPUT.value), text)
    else:
        print(text, end="")


if __name__ == "__main__":
    cli.run(main)
