import os
import pathlib
import subprocess
import sys

import conftest
import pytest

pytestmark = pytest.mark.jax_version

ROOT = conftest.ROOT
SCRIPT = """
import jax
from jax_scadn.runtime import compilation_cache
compilation_cache.enable()
jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8)))
print(jax.config.jax_compilation_cache_dir)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
"""


def run(tmp_path, **environment):
    """The output of the script, and the files in the directory."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment = (
        kept | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)} | environment
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), [p for p in tmp_path.rglob("*") if p.is_file()]


# As a command: it computes twice, and knows how to draw.
COMMAND = """
import sys, types
sys.modules["__main__"].__spec__ = types.SimpleNamespace(name="jax_scadn.train")
from jax_scadn.runtime import startup
import jax
from jax_scadn.reports import figures
from jax_scadn.runtime import cli

def main(_):
    for size in (3, 4):
        jax.jit(lambda x: x @ x)(jax.numpy.ones((size, size)))

cli.run(main)
"""
KEEP_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def test_programs_are_kept_in_the_users_cache(tmp_path):
    (folder, least), files = run(tmp_path, **KEEP_ALL)
    assert folder == str(tmp_path / "jax_scadn" / "compiled")
    assert float(least) == 0
    assert files
    assert {file.parent for file in files} == {pathlib.Path(folder)}


def test_environment_variables_take_precedence(tmp_path):
    other = tmp_path / "other"
    (folder, _), files = run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(other), **KEEP_ALL)
    assert folder == str(other)
    assert {file.parent for file in files} == {other}
    elsewhere = tmp_path / "none"
    _, files = run(elsewhere, JAX_ENABLE_COMPILATION_CACHE="false", **KEEP_ALL)
    assert not files


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_a_directory_that_cannot_be_written_is_said_once(tmp_path, name):
    blocked = tmp_path / "file"
    blocked.write_text("")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "MPL"))}
    environment = {"JAX_PLATFORMS": "cpu", "HOME": str(blocked), name: str(blocked)}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=ROOT,
        env=kept | KEEP_ALL | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # A busy machine has more to say, such as that something takes long.
    about = [line for line in done.stderr.splitlines() if str(blocked) in line]
    assert len(about) == 1, done.stderr
    (line,) = about
    assert line.startswith("WARNING: compiled programs are not kept: ")


@pytest.mark.parametrize("flag", [[], ["--nocompilation_cache"]])
def test_commands_have_a_switch(tmp_path, flag):
    script = (
        "import jax\nfrom jax_scadn.runtime import cli\n"
        "cli.run(lambda _: print(jax.config.jax_compilation_cache_dir))"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *flag],
        cwd=ROOT,
        env=kept | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    expected = "None" if flag else str(tmp_path / "jax_scadn" / "compiled")
    assert done.stdout.strip() == expected, done.stderr
