"""The example of docs/methods.md: a method in a file outside of the package."""

import json
import re
import subprocess
import sys

import conftest
import numpy as np
from PIL import Image

import jax_scadn


def write_example(folder):
    """The two files that the page shows."""
    text = (conftest.ROOT / "docs/methods.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        name = re.match(r"# (\S+\.py)", block)[1]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(block)


def run(folder, module, *arguments):
    command = [sys.executable, "-m", f"jax_scadn.{module}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_example_trains_predicts_and_is_ablated_and_compared(tmp_path, monkeypatch):
    write_example(tmp_path)
    data = (
        "--config.data.source=lace", "--config.data.size=16",
        "--config.data.channels=1", "--config.data.test_anomalous_limit=3",
    )  # fmt: skip
    settings = ("--config=my/config.py", *data)
    out = run(tmp_path, "train", *settings)
    assert "| pixel Gaussian" in out
    assert "pixel Gaussian" in run(tmp_path, "evaluate", "--workdir=runs/gaussian")
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    out = run(
        tmp_path, "predict", "--workdir=runs/gaussian", "--input=black.png",
        "--output=out",
    )  # fmt: skip
    line = json.loads(out.splitlines()[0])
    assert line["decision"] == "anomalous"
    assert "scale" not in line
    sweep = ("--sweep=gaussian.floor=0.02,0.1", "--workdir=runs/floors")
    run(tmp_path, "ablate", *settings, *sweep)
    out = run(tmp_path, "compare", "runs/floors", "runs/gaussian")
    assert "gaussian.floor=0.02" in out
    monkeypatch.syspath_prepend(tmp_path)
    variables = jax_scadn.load(tmp_path / "runs/gaussian").variables
    assert np.asarray(variables["gaussian"]["std"]).shape == (16, 16, 1)
