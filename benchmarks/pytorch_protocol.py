"""Repeats the short runs that were measured with PyTorch, and compares the results.

    python -m benchmarks.pytorch_protocol --mvtec=MVTEC_AD --mnist=MNIST_IDX_FILES \
        --measured=measured_pytorch.json --runs=runs/pytorch_protocol

Trains unfinished runs (about 7 minutes each on 2 cores) and prints, for each quantity,
both means over seeds and whether they agree: the allowed difference of AUROCs is 0.05
or twice its standard error, whichever is larger; of losses, 5 %.
"""

from __future__ import annotations

import json
import math
import pathlib
import statistics
from collections.abc import Sequence

from absl import flags

from configs import pytorch_protocol
from jax_scadn import methods
from jax_scadn.experiments import experiment
from jax_scadn.reports import tables
from jax_scadn.runtime import cli, errors

_MVTEC = flags.DEFINE_string("mvtec", None, "Folder with MVTec AD's `bottle`.")
_MNIST = flags.DEFINE_string("mnist", None, "Folder with MNIST's idx .gz files.")
_MEASURED = flags.DEFINE_string("measured", None, "PyTorch's results, JSON.")
_RUNS = flags.DEFINE_string("runs", "runs/pytorch_protocol", "Directory of the runs.")
flags.mark_flags_as_required(["mvtec", "mnist", "measured"])

_AUROC_MARGIN = 0.05
_LOSS_MARGIN = 0.05  # relative
_LAST_STEPS = 50  # the final loss is their mean


def agreement(ours: Sequence[float], torch: Sequence[float], loss: bool) -> dict:
    """Means over seeds, their difference and the allowed difference."""
    difference = statistics.mean(ours) - statistics.mean(torch)
    if loss:
        allowed = _LOSS_MARGIN * statistics.mean(torch)
    else:
        error = math.sqrt(sum(_variance_of_mean(v) for v in (ours, torch)))
        allowed = max(_AUROC_MARGIN, 2 * error)
    return {
        "ours": statistics.mean(ours),
        "ours: seeds": " ".join(f"{v:.4g}" for v in ours),
        "PyTorch": statistics.mean(torch),
        "PyTorch: seeds": " ".join(f"{v:.4g}" for v in torch),
        "difference": difference,
        "allowed": allowed,
        "agree": "yes" if abs(difference) <= allowed else "NO",
    }


def _variance_of_mean(values: Sequence[float]) -> float:
    return statistics.variance(values) / len(values) if len(values) > 1 else 0.0


def run(data: str, path: str, category: str, seed: int, runs: pathlib.Path) -> dict:
    """Trains one run of the protocol; returns its numbers by the names in `_NAMES`."""
    config = pytorch_protocol.get_config(data)
    config.data.path, config.data.category, config.seed = path, category, seed
    workdir = runs / data / f"{category}-{seed}"
    experiment.train(methods.resolve(config), workdir)
    results = json.loads((workdir / "evaluation" / "results.json").read_text())
    lines = map(json.loads, (workdir / "log.jsonl").read_text().splitlines())
    losses = [line["reconstruction_loss"] for line in lines]
    metrics = results["detectors"]["SCADN"]["all"]
    numbers = {
        "image AUROC": metrics["image"]["auroc"],
        "image AUROC, mean merge": results["merges"]["mean"],
        "image AUROC, without mu": results["merges"]["max"],
        "final reconstruction loss": statistics.mean(losses[-_LAST_STEPS:]),
    }
    if metrics["pixel"]:
        numbers["pixel AUROC per image"] = metrics["pixel"]["auroc_per_image"]
        numbers["pixel AUROC pooled"] = metrics["pixel"]["auroc_pooled"]
    return numbers


_NAMES = {
    "image_auroc": "image AUROC",
    "auc": "image AUROC",
    "image_auroc_mean_merge": "image AUROC, mean merge",
    "auc_mean_scales": "image AUROC, mean merge",
    "image_auroc_no_mu": "image AUROC, without mu",
    "auc_no_mu": "image AUROC, without mu",
    "pixel_auroc_mean_over_images": "pixel AUROC per image",
    "pixel_auroc_pooled": "pixel AUROC pooled",
    "final_rec_loss": "final reconstruction loss",
}


def compare(data: str, path: str, measured: list[dict], runs: pathlib.Path) -> list:
    """A row for each category and quantity, with as many seeds as PyTorch had."""
    rows = []
    categories = {str(m.get("category", m.get("digit"))): [] for m in measured}
    for m in measured:
        categories[str(m.get("category", m.get("digit")))].append(m)
    for category, torch in categories.items():
        ours = [run(data, path, category, m["seed"], runs) for m in torch]
        for key, name in _NAMES.items():
            if key in torch[0]:
                row = agreement(
                    [o[name] for o in ours],
                    [t[key] for t in torch],
                    loss=key == "final_rec_loss",
                )
                rows.append({"data": f"{data} {category}", "quantity": name} | row)
    return rows


def main(_) -> int:
    try:
        measured = json.loads(pathlib.Path(_MEASURED.value).read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        raise errors.UserError(f"--measured={_MEASURED.value}: {error}") from None
    runs = pathlib.Path(_RUNS.value)
    rows = compare("bottle", _MVTEC.value, measured["bottle"], runs)
    rows += compare("mnist", _MNIST.value, measured["mnist"], runs)
    tables.write({"rows": rows}, rows, runs, "pytorch")
    print(tables.markdown(rows))
    return 0 if all(row["agree"] == "yes" for row in rows) else 1


if __name__ == "__main__":
    cli.run(main)
