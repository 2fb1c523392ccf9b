import json

import conftest
import pytest

from jax_scadn import methods
from jax_scadn.experiments import ablation, experiment
from jax_scadn.runtime import errors


def test_variants_come_from_the_settings_file_and_the_command_line():
    def sweep(add):
        add("a", {"seed": 3})
        add("b", {})

    assert ablation.collect(sweep, [], [0]) == {"a": {"seed": 3}, "b": {}}
    options = ["model.width=8,16", "loss.gan=hinge,lsgan"]
    assert ablation.collect(None, [], [0, 1]) == {"base": {}}
    assert list(ablation.collect(None, options, [0])) == [
        "model.width=8,loss.gan=hinge",
        "model.width=8,loss.gan=lsgan",
        "model.width=16,loss.gan=hinge",
        "model.width=16,loss.gan=lsgan",
    ]
    both = ablation.collect(sweep, ["masks.stripe_pairs=(2,),(2,4)"], [0])
    assert both["a,masks.stripe_pairs=(2,4)"] == {
        "seed": 3,
        "masks.stripe_pairs": (2, 4),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to vary"),
        (["model.width"], "give FIELD=VALUE,VALUE"),
        (["model.width="], "give FIELD=VALUE,VALUE"),
    ],
)
def test_a_wrong_sweep_is_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        ablation.collect(None, options, [0])


def test_two_variants_of_the_same_name_are_refused():
    def sweep(add):
        add("a", {})
        add("a", {"seed": 1})

    with pytest.raises(errors.UserError, match="two variants named 'a'"):
        ablation.collect(sweep, [], [0])


CHANGES = {
    "S1": {"masks.stripe_pairs": (2,)},
    "narrow": {"model.width": 6},
    "mean": {"scoring.merge": "mean"},
    "full": {},
}


@pytest.fixture(scope="module", params=ablation.BATCHING)
def finished(request, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param)
    config = conftest.tiny(
        calibration__images=8,
        data__test_normal_limit=8,
        data__test_anomalous_limit=4,
        evaluation__sheet_rows=1,
    )
    failed = ablation.run(config, CHANGES, (0, 1), workdir, request.param, 2)
    assert not failed
    return config, workdir, request.param


def test_every_variant_has_its_own_model(finished):
    _, workdir, _ = finished
    for name in CHANGES:
        for seed in (0, 1):
            folder = workdir / name / f"seed_{seed}"
            assert experiment.is_finished(folder)
            assert methods.read(folder / "config.json").seed == seed
    # Variants that differ only in scoring share one training.
    trained = sorted(
        str(p.parent.relative_to(workdir)) for p in workdir.glob("*/*/log.jsonl")
    )
    assert [name for name in trained if "seed_0" in name] == [
        "S1/seed_0",
        "mean/seed_0",
        "narrow/seed_0",
    ]
    saved = json.loads((workdir / ablation.FILE).read_text())
    assert list(saved["variants"]) == list(CHANGES)
    assert saved["seeds"] == [0, 1]


def test_the_same_call_does_nothing_and_changed_variants_are_refused(finished, capsys):
    config, workdir, batching = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}
    assert not ablation.run(config, CHANGES, (0, 1), workdir, batching)
    assert "8 of 8 variants are finished" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")} == before
    with pytest.raises(errors.UserError, match="another variant 'full'"):
        ablation.run(config, {"full": {"seed": 5}}, (0,), workdir, batching)


def test_a_variant_that_cannot_be_finished_ends_no_other(tmp_path, monkeypatch):
    finished = []

    def finish(run, _):
        if "narrow" in str(run.workdir):
            raise errors.UserError("the trained weights are not finite")
        finished.append(run.workdir.parent.name)

    monkeypatch.setattr(experiment, "train_stages", lambda runs: [{} for _ in runs])
    monkeypatch.setattr(experiment.CategoryRun, "finish", finish)
    failed = ablation.run(conftest.tiny(), CHANGES, (0,), tmp_path, "map")
    assert failed == ["narrow/seed_0: the trained weights are not finite"]
    assert sorted(finished) == ["S1", "full", "mean"]


def test_an_unknown_field_names_the_variant(tmp_path):
    with pytest.raises(errors.UserError, match="variant 'a' sets model"):
        ablation.run(conftest.tiny(), {"a": {"model.wide": 3}}, (0,), tmp_path)
