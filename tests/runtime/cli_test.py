"""User errors on the command line print one line."""

import os
import re
import subprocess
import sys

import conftest
import jax
import pytest
from absl import flags

from jax_scadn import methods
from jax_scadn.runtime import cli, errors

ROOT = conftest.ROOT

# ml_collections loads settings files with a deprecated function.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


@pytest.fixture
def parse(monkeypatch):
    """Parses arguments as a new process would, and returns the settings."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, "_CONFIG", None)

    def parse_(*arguments):
        argv = ["program", *arguments]
        monkeypatch.setattr(sys, "argv", argv)  # read by ml_collections
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        values = flags.FlagValues()
        cli.config_flag(values)
        cli.path_flag("workdir", None, "", values)
        remaining = cli.parse(argv, values)
        return remaining[1:], methods.resolve(cli.open_config())

    return parse_


def test_the_home_directory_in_paths(parse, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    _, config = parse(
        "--config=configs/lace.py",
        "--config.data.path=~/a b",
        "--config.data.test_path=~",
        "--config.vgg_weights=~/vgg.pth",
        "--config.data.flip=true",
    )
    assert config.data.path == "/home/me/a b"
    assert config.data.test_path == "/home/me"
    assert config.vgg_weights == "/home/me/vgg.pth"
    assert config.data.flip is True
    values = flags.FlagValues()
    workdir = cli.path_flag("workdir", "", "", values)
    cli.parse(["program", "--workdir=~/runs"], values)
    assert workdir.value == "/home/me/runs"
    assert cli._with_home("--config=~/mine.py:a") == "--config=/home/me/mine.py:a"
    assert cli._with_home("--config.name=~") == "--config.name=~"


def test_settings_and_remaining_arguments(parse):
    remaining, config = parse(
        "--config=configs/pytorch_protocol.py:mnist",
        "--config.seed=7",
        "rest",
        "--config.data.category=3",
        "--config.masks.stripe_pairs=(2,4)",
    )
    assert remaining == ["rest"]
    assert (config.name, config.seed) == ("pytorch_protocol/mnist", 7)
    assert config.data.category == "3"
    assert config.masks.stripe_pairs == (2, 4)
    assert config.loss.gan == "nsgan"  # resolved


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "give --config=FILE"),
        ("--config", "Missing value for flag --config"),
        ("--config=no.py", r"no\.py does not exist; available: .*configs/mvtec\.py"),
        ("--config no.py --config.seed=1", r"no\.py does not exist"),
        ("--config=configs/pytorch_protocol.py:foo", r"protocol\.py.* 'foo'"),
        ("LACE --config.data.categry=x", r"--config\.data\.categry; .*\bcategory\?"),
        (
            "LACE --config.dta.size=32",
            r"unknown setting --config\.dta.*\bdata\?",
        ),
        ("LACE --config.xyzzy=1", r"--config\.xyzzy; see docs/settings\.md"),
        ("LACE --config.seed.x=1", "seed.x"),
        ("LACE --config.training.steps=abc", r"--config\.training\.steps=abc"),
        ("LACE --config.training.steps=1.5", r"--config\.training\.steps=1\.5"),
        ("LACE --config.data.flip=maybe", r"--config\.data\.flip=maybe"),
        ("LACE --config.data=3", r"--config\.data=3"),
        ("LACE --config.data.size=30", r"--config\.data\.size=30.*multiple of 8"),
        (
            "LACE --config.scoring.merge=sum",
            r"merge=sum: must be one of: max_mu, max, mean$",
        ),
        ("LACE --config.training.batch_size=0", "batch_size=0: must be at least 1$"),
        ("LACE --config.data.held_out=1", r"held_out=1\.0: must be in \[0, 1\)$"),
        ("LACE --config.optimizer.b1=nan", "b1=nan: must be finite$"),
        ("LACE --config.masks.stripe_pairs=(2,0)", "must be at least 1$"),
        ("LACE --config.method=scdan", "must be one of: .*scadn.*dotted path"),
        ("LACE --config.method=utad", "method=utad alone .*default\\('utad'\\)$"),
        ("LACE --config.seed=-1", r"seed=-1: must be in \[0, 4294967295\]$"),
        (
            "LACE --config.seed=4294967296",
            r"=4294967296: must be in \[0, 4294967295\]$",
        ),
        ("LACE --config.seed=1.5", r"--config\.seed=1\.5"),
        ("LACE --config.data.path=gs://b/c", r"--config\.data\.path=gs://b/c: give a"),
        ("LACE --config.vgg_weights=s3://b/c", r"--config\.vgg_weights=s3://b/c: give"),
        ("LACE --workdir=gs://b/c", r"^gs://b/c: give a path of this machine"),
        ("LACE --wrkdir=x", "'wrkdir'. Did you mean: workdir"),
    ],
)
def test_errors_in_flags(parse, arguments, message):
    arguments = arguments.replace("LACE", "--config=configs/lace.py").split()
    with pytest.raises(errors.UserError, match=message) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("x = 1\ny = (", r"line 2: SyntaxError"),
        ("import nonsuch", r"line 1: ModuleNotFoundError.*nonsuch"),
        ("def get_config():\n  return 1 / 0", r"line 2: ZeroDivisionError"),
        ("def get_config():\n  return {}['a']", r"line 2: KeyError: 'a'"),
        ("def get_config():\n  return int('a')", r"line 2: ValueError"),
        ("def get_config():\n  open('/nonsuch')", r"line 2: .*'/nonsuch'"),
        ("x = 1", r"get_config"),
    ],
)
def test_errors_in_the_settings_file(parse, tmp_path, lines, message):
    path = tmp_path / "mine.py"
    path.write_text(lines + "\n")
    for more in ([], ["--config.seed=1"]):
        with pytest.raises(errors.UserError) as caught:
            parse(f"--config={path}", *more)
        assert re.search(rf"mine\.py.*{message}", str(caught.value))
        assert "\n" not in str(caught.value)


def test_argument_that_the_settings_file_does_not_take(parse, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n  pass\n")
    with pytest.raises(errors.UserError, match=r"mine\.py cannot .* 1 was given$"):
        parse(f"--config={path}:bottle")


def test_message_of_the_settings_file_itself(parse, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jax_scadn.runtime import errors\n"
        "def get_config():\n  raise errors.UserError('take another')\n"
    )
    with pytest.raises(errors.UserError, match=r"^take another$"):
        parse(f"--config={path}")


def test_required_flag():
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values, required=True)
    with pytest.raises(errors.UserError, match=r"^give --workdir$"):
        cli.parse(["program"], values)


def _exit(monkeypatch, main, *arguments):
    """The exit status of `cli.run`."""

    def run(main, flags_parser):
        sys.exit(main(flags_parser(["program", *arguments])))

    monkeypatch.setattr(cli.app, "run", run)  # the real one runs once per process
    monkeypatch.setattr(cli, "parse", list)
    flags.FLAGS.mark_as_parsed()
    with pytest.raises(SystemExit) as raised:
        cli.run(main)
    return raised.value.code


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.UserError("do\nthis"), 2, "error: do this\n"),
        (
            OSError(28, "No space left", "x"),
            2,
            "error: [Errno 28] No space left: 'x'\n",
        ),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB"),
            2,
            f"error: {cli._OUT_OF_MEMORY}\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_status_and_line(monkeypatch, capsys, error, status, line):
    def main(_):
        raise error

    assert _exit(monkeypatch, main) == status
    assert capsys.readouterr().err == line


def test_bugs_keep_their_traceback(monkeypatch):
    def main(_):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    with pytest.raises(jax.errors.JaxRuntimeError):
        _exit(monkeypatch, main)


def test_status_of_main_and_arguments(monkeypatch, capsys):
    assert _exit(monkeypatch, lambda rest: 1) == 1
    assert _exit(monkeypatch, lambda rest: None) is None
    assert _exit(monkeypatch, lambda rest: None, "extra") == 2
    line = "error: unexpected argument 'extra'; flags start with --\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "train --config=configs/mvtec.py --config.data.path=gone",
            "gone is not a directory",
        ),
        ("evaluate --workdir=gone", "gone has no training"),
        ("predict --workdir=gone --input=x.png", "gone"),
        ("reproduce --table=scadn/table5 --config.data.path=gone", "needs MNIST or"),
        ("reproduce --config.data.pathh=x", "--config.data.pathh; did you mean path?"),
    ],
)
def test_one_line_from_a_process(tmp_path, command, message):
    module, *arguments = command.replace("configs/", f"{ROOT}/configs/").split()
    done = subprocess.run(
        [sys.executable, "-m", f"jax_scadn.{module}", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_signs_that_a_terminal_does_not_know():
    code = (
        "from jax_scadn.runtime import cli\n"
        "cli.run(lambda _: print('1 \\xb1 2\\u2026', 'caf\\xe9 \\udcff'))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 +- 2... caf\\xe9 \\udcff\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_standard_output_is_no_error(lines):
    code = (
        "from jax_scadn.runtime import cli\n"
        "import time\n"
        f"cli.run(lambda _: time.sleep(0.5) or print('x\\n' * {lines}))"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
