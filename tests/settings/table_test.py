"""The table of all settings."""

import subprocess
import sys

import conftest

from jax_scadn import methods
from jax_scadn.settings import base, table
from jax_scadn.settings.fields import Field

PAGE = conftest.ROOT / "docs/settings.md"


def current():
    return table.markdown({name: methods.fields(name) for name in methods.names()})


def test_page_is_current():
    assert PAGE.read_text() == current(), (
        "run python -m jax_scadn.list_settings --output=docs/settings.md"
    )


def test_command(tmp_path):
    path = tmp_path / "docs/settings.md"
    command = [sys.executable, "-m", "jax_scadn.list_settings", f"--output={path}"]
    subprocess.run(command, check=True, cwd=conftest.ROOT)
    assert path.read_text() == current()


def test_a_method_has_what_it_declares():
    own = {
        "data.size": Field(32, "pixels", least=8, seen_by="scoring"),
        "net.kind": Field(None, "a | b * c", type=str, choices=("a", "b")),
        "net.pools": Field((2, 2), "factors", length=2, above=1, resumable=True),
    }
    text = table.markdown({"mine": base.FIELDS | own})
    _, shared, mine = text.split("\n## ")
    assert shared.startswith("All methods\n")
    assert all(f"| `{name}` |" in shared for name in base.FIELDS)
    assert mine == (
        "mine\n\n"
        "| name | default | allowed | what it is | seen by |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| `data.size` | `32` | integer at least 8 | pixels | scoring |\n"
        "| `net.kind` | of the preset | `'a'`, `'b'` | a \\| b \\* c | training |\n"
        "| `net.pools` | `(2, 2)` | 2 integers above 1 | factors | training \\* |\n"
    )


def test_every_method_has_a_section():
    text = current()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "All methods",
        *methods.names(),
    ]
