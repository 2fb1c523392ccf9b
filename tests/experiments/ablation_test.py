import json

import conftest
import pytest

from jax_scadn import methods
from jax_scadn.experiments import ablation, experiment
from jax_scadn.runtime import errors


def test_variants_come_from_the_settings_file_and_the_command_line():
    def sweep(add):
        add("a", {"model.blocks": 3})
        add("b", {})

    assert ablation.collect(sweep, [], [0]) == {"a": {"model.blocks": 3}, "b": {}}
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
        "model.blocks": 3,
        "masks.stripe_pairs": (2, 4),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to vary"),
        (["model.width"], "give FIELD=VALUE,VALUE"),
        (["model.width="], "give FIELD=VALUE,VALUE"),
        (["model.width=,"], "give FIELD=VALUE,VALUE"),
        (["loss.masked_weight=1e-4,0.0001"], r"has the value 0\.0001 twice"),
        (["loss.masked_weight=1,1.0"], r"has the value 1\.0 twice"),
        (["loss.gan=hinge, hinge"], "has the value hinge twice"),
        (["data.path=a/b,a_b"], "two variants named 'data.path=a_b'"),
    ],
)
def test_a_wrong_sweep_is_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        ablation.collect(None, options, [0])


def test_values_on_the_command_line():
    def values(option):
        return [*map(dict.popitem, ablation.collect(None, [option], [0]).values())]

    assert values("model.width=8,16,") == [("model.width", 8), ("model.width", 16)]
    assert values("data.flip=true,False") == [("data.flip", True), ("data.flip", False)]
    assert list(ablation.collect(None, ["vgg_weights=/a/b.h5"], [0])) == [
        "vgg_weights=_a_b.h5"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("-1", r"^--seeds=-1: must be in \[0, 4294967295\]$"),
        ("0,4294967296", r"^--seeds=4294967296: must be in"),
        ("0,1.5", r"^--seeds=0,1\.5: must be integers$"),
    ],
)
def test_seeds_that_are_refused(given, message):
    with pytest.raises(errors.UserError, match=message):
        ablation.seeds_of(None, given.split(","))


def test_seeds():
    class File:
        SEEDS = (3, 4)

    assert ablation.seeds_of(File, []) == [3, 4]
    assert ablation.seeds_of(File, ["1", "2", "1", ""]) == [1, 2]
    assert ablation.seeds_of(File, ["4294967295"]) == [2**32 - 1]


@pytest.mark.parametrize("field", ["seed", "method"])
def test_a_sweep_over_what_is_no_variant(tmp_path, field):
    changes = {"a": {field: 1 if field == "seed" else "utad"}}
    with pytest.raises(
        errors.UserError, match=r"--seeds instead|method=utad"
    ) as caught:
        ablation.run(conftest.tiny(), changes, (0,), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_name_that_is_no_folder(name):
    with pytest.raises(errors.UserError, match="must be one of a folder"):
        ablation.collect(lambda add: add(name, {}), [], [0])


def test_two_variants_of_the_same_name_are_refused():
    def sweep(add):
        add("a", {})
        add("a", {"model.width": 1})

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
        ablation.run(config, {"full": {"model.width": 5}}, (0,), workdir, batching)


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
