"""Directories of saved runs for the comparison tests: only files that are read."""

import json

import numpy as np
from conftest import tiny

from jax_scadn import methods
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import (
    categories,
    runs,
    variants,
)
from jax_scadn.experiments.comparison import (
    measured as measured_lib,
)
from jax_scadn.settings import files, resolve

BASELINES = {"mean image": 0.75, "nearest image": 0.85}
LABELS = np.array([0, 0, 0, 1, 1, 1])
# Image AUROCs by hand: 9 pairs, of which 9, 8, 7 are in the right order.
PERFECT = (1, 2, 3, 4, 5, 6)
GOOD = (1, 2, 4, 3, 5, 6)
FAIR = (1, 2, 5, 3, 4, 6)
TABLE4 = {
    "no_adversarial": {"loss.adversarial_weight": 0.0},
    "S1": {"masks.stripe_pairs": [2]},
    "mean": {"scoring.merge": "mean"},
    "full": {},
    "narrow": {"model.width": 2},
}


def settings(method, **changes):
    """Resolved settings of any method; `a__b=c` sets a.b."""
    if method == "scadn":
        return tiny(**changes)
    config = methods.default(method)
    for field, value in changes.items():
        resolve.put(config, field.replace("__", "."), value)
    return methods.resolve(config)


def write_run(
    path,
    category="bottle",
    seed=0,
    auroc=0.9,
    dataset="folder",
    scores=None,
    images=(8, 0),
    pixel=None,
    name="tiny",
    method="scadn",
    **changes,
):
    """The files of a trained and evaluated run."""
    fields = {"data__held_out": 0.0, "data__size": 64} | changes
    config = settings(method, name=name, seed=seed, data__category=category, **fields)
    title = methods.create(config).title
    if scores is not None:
        normal, anomalous = np.array(scores)[LABELS == 0], np.array(scores)[LABELS == 1]
        auroc = np.mean(anomalous[:, None] > normal)
    values = {name: {"auroc": value} for name, value in BASELINES.items()}
    values[title] = {"auroc": auroc}
    results = {
        "name": name,
        "dataset": dataset,
        "category": category,
        "method": method,
        "title": title,
        "seed": seed,
        "images": {
            "train": images[0],
            "held_out": images[1],
            "test_normal": 3,
            "test_anomalous": 3,
        },
        "detectors": {
            detector: {"all": {"images": 6, "image": value, "pixel": pixel}}
            for detector, value in values.items()
        },
    }
    (path / "evaluation").mkdir(parents=True)
    files.write(config, path / "config.json")
    (path / "evaluation/results.json").write_text(json.dumps(results))
    if scores is not None:
        rows = zip(LABELS, scores, strict=True)
        lines = [f"test/{i}.png,x,{label},{s}" for i, (label, s) in enumerate(rows)]
        text = "\n".join([f"path,defect,anomalous,{title}", *lines])
        (path / "evaluation/images.csv").write_text(text)


def declare_ablation(path, changes, seeds=(0, 1)):
    """The file of an ablation."""
    path.mkdir(parents=True, exist_ok=True)
    declared = {"variants": changes, "seeds": list(seeds)}
    (path / "ablation.json").write_text(json.dumps(declared))


def write_ablation(path, scores, changes=TABLE4, seeds=(0, 1), **more):
    """The files of an ablation; `scores` by (variant, seed)."""
    declare_ablation(path, changes, seeds)
    for (variant, seed), values in scores.items():
        fields = {k.replace(".", "__"): v for k, v in changes[variant].items()}
        folder = path / variant / f"seed_{seed}"
        write_run(folder, seed=seed, scores=values, **(more | fields))


def measured(tmp_path, results, descriptions=None):
    """Measured results, written to a file and read."""
    path = tmp_path / "torch.json"
    path.write_text(json.dumps({"protocol": descriptions or {}, "results": results}))
    return measured_lib.read(path)


def compare(*paths, table=None, torch=None):
    """The blocks of a comparison."""
    collection = runs.find(paths)
    requested = papers.table(table) if table else None
    blocks = categories.blocks(collection, requested, torch)
    return blocks + variants.blocks(collection, requested, torch)


def system_of(path):
    """The first system in a directory."""
    return runs.find([path]).systems[0]


def rows_of(block):
    """The rows of a block by key."""
    return {row.key: row for row in block.rows}
