"""Tables of papers filled with runs on tiny data."""

import json
import math

import pytest
import small_sets

from jax_scadn.experiments import ablation, experiment, papers, reproduction
from jax_scadn.experiments.reproduction import cells, columns, datasets, work
from jax_scadn.runtime import errors
from jax_scadn.training import loop

# Tiny networks; every method takes the settings that it has.
SETTINGS = {
    "data.held_out": 0.25,
    "data.threads": 1,
    "model.width": 2,
    "training.batch_size": 2,
    "training.steps": 4,
    "training.checkpoint_every": 1,
    "evaluation.sheet_rows": 2,
    "scoring.images_per_call": 4,
}
METHODS = ("mean image", "DAE")


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    return small_sets.write_mnist(tmp_path_factory.mktemp("data") / "mnist")


def reproduce(mnist, workdir, methods=METHODS, categories=("0", "1"), **settings):
    settings = {field.replace("__", "."): value for field, value in settings.items()}
    request = reproduction.Request(
        methods=methods,
        categories=categories,
        # The folder that contains the data set.
        settings={"data.path": str(mnist.parent), **SETTINGS, **settings},
    )
    return reproduction.run("scadn/table5", None, request, workdir)


def cell(workdir, method, category="mean", dataset="mnist"):
    (found,) = [
        one
        for one in json.loads((workdir / "table.json").read_text())["cells"]
        if (one["method"], one["category"], one["dataset"])
        == (method, category, dataset)
    ]
    return found


@pytest.fixture(scope="module")
def finished(mnist, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("table")
    return workdir, reproduce(mnist, workdir)


def test_the_table_has_ours_next_to_the_published_numbers(finished):
    workdir, result = finished
    assert result.failures == []
    assert result.text == (workdir / "table.md").read_text()
    assert (workdir / "table.png").stat().st_size > 10_000
    # By hand, see small_sets.
    single = [cell(workdir, "mean image", c)["ours"] for c in ("0", "1")]
    assert single == [small_sets.MEAN_IMAGE_0, small_sets.MEAN_IMAGE_1]
    mean = cell(workdir, "mean image")
    assert (mean["ours"], mean["published"], mean["status"]) == (0.5, None, "")
    assert mean["categories"] == ["0", "1"]
    dae = cell(workdir, "DAE")
    assert 0 <= dae["low"] <= dae["ours"] <= dae["high"] <= 1
    # A mean over two classes is not compared with one over ten.
    assert (dae["published"], dae["difference"]) == (0.8766, None)
    lines = result.text.splitlines()
    assert "### MNIST, image AUROC, mean of 2 of 10: 0, 1" in lines
    assert sum("there is no difference to tell" in line for line in lines) == 1
    header = "method,dataset,category,metric,status,ours,std,seeds"
    assert (workdir / "table.csv").read_text().startswith(header)


def test_what_is_missing_says_why(finished):
    workdir, result = finished
    assert cell(workdir, "SCADN")["status"] == "not run"
    assert cell(workdir, "Pix CNN")["status"] == "not built"
    assert cell(workdir, "DAE", dataset="cifar10")["status"] == "not run"
    assert cell(workdir, "SCADN")["published"] == 0.9771
    assert "| Pix CNN    | not built |" in result.text


def test_time_and_memory_are_told(finished):
    workdir, result = finished
    for folder in workdir.glob("mnist/*/*/seed_0"):
        cost = json.loads((folder / "cost.json").read_text())
        assert cost["training"]["seconds"] > 0
        assert cost["training"]["complete"]
        assert cost["scoring"]["seconds"] > 0
    costs = json.loads((workdir / "table.json").read_text())["costs"]
    assert [one["method"] for one in costs] == ["DAE", "mean image"]
    assert "| method     | training, s |" in result.text


def test_the_same_call_trains_nothing_and_has_the_same_table(
    mnist, finished, monkeypatch
):
    workdir, before = finished
    monkeypatch.setattr(ablation, "train", None)
    assert reproduce(mnist, workdir).text == before.text
    # Another choice of methods keeps what was run.
    reproduce(mnist, workdir, methods=("DAE",))
    assert cell(workdir, "mean image")["ours"] == 0.5
    with pytest.raises(errors.UserError, match=r"steps=4, not 5; give an"):
        reproduce(mnist, workdir, training__steps=5)


def test_killed_in_the_middle_and_started_again(mnist, finished, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    steps = []

    def step(run, step=loop.SingleRun.step):
        steps.append(None)
        if len(steps) in (3, 6):  # in the first class, and in the second
            raise Killed
        return step(run)

    monkeypatch.setattr(loop.SingleRun, "step", step)
    for _ in range(2):
        with pytest.raises(Killed):
            reproduce(mnist, tmp_path)
    reproduce(mnist, tmp_path)
    # Two lost steps at most, of 4 each: it has not begun anew.
    assert len(steps) <= 4 + 4 + 2 * 2
    tables = [
        json.loads((w / "table.json").read_text()) for w in (finished[0], tmp_path)
    ]
    assert tables[0]["cells"] == tables[1]["cells"]


@pytest.mark.parametrize(("batching", "sizes"), [("vmap", [4]), ("map", [1] * 4)])
def test_runs_of_a_method_form_batches_and_share_trainings(
    mnist, tmp_path, monkeypatch, batching, sizes
):
    # Two columns that differ in scoring only, two classes and two seeds.
    trained = []
    monkeypatch.setattr(ablation, "train", lambda batch: trained.append(batch) or {})
    small = {"always": {"preset": "dae"}, "small": SETTINGS}
    maximum = {**small, "always": {"preset": "dae", "scoring.image_score": "max"}}
    chosen = [
        columns.Column("D", "autoencoder", small),
        columns.Column("DR", "autoencoder", maximum),
    ]
    table = papers.table("scadn/table5")
    path = {"data.path": str(mnist)}
    everything = datasets.of_table(table, path, "small", ["0", "1"])
    outcome = work.run(chosen, everything, "small", {}, (0, 1), tmp_path, batching)
    assert [len(batch) for batch in trained] == sizes
    trainings = [training for batch in trained for training in batch]
    assert all(len(training.tasks) == 2 for training in trainings)
    key = work.Key("DR", "mnist", "1", 1)
    assert outcome.folders[key] == tmp_path / "mnist/DR/1/seed_1"
    assert outcome.trained_in[key] == tmp_path / "mnist/D/1/seed_1"
    assert len(outcome.folders) == 8
    # Where the training fails, so do all columns that share it.
    monkeypatch.undo()
    broken = errors.UserError("the loss is nan")
    monkeypatch.setattr(experiment, "train_stages", lambda runs: [broken] * len(runs))
    outcome = work.run(chosen, everything, "small", {}, (0, 1), tmp_path, batching)
    assert outcome.folders == {}
    assert list(outcome.failures.values()) == ["the loss is nan"] * 8


def test_a_method_that_fails_ends_no_other(mnist, tmp_path, monkeypatch):
    result = reproduce(
        mnist,
        tmp_path,
        methods=("DAE", "mean image", "patch memory"),
        categories=("0",),
        optimizer__learning_rate=1e38,  # DAE's loss becomes NaN
        encoder__weights="missing.pth",
    )
    dae, patches = (
        cell(tmp_path, title)["status"] for title in ("DAE", "patch memory")
    )
    assert dae.startswith("failed: ")
    assert "at step" in dae
    assert patches.startswith("failed: ")
    assert "missing.pth" in patches
    assert cell(tmp_path, "mean image")["ours"] == small_sets.MEAN_IMAGE_0
    assert [line.split(":")[0] for line in result.failures] == [
        "DAE/mnist/0 seed 0",
        "patch memory/mnist/0 seed 0",
    ]
    assert "\nFailed:\n\n- DAE (mnist 0 seed 0): " in result.text
    # What is no error of the user's has its traceback in a file.
    monkeypatch.setattr(experiment, "train_stages", lambda runs: 1 / 0)
    more = ("DAE", "nearest image")
    reproduce(mnist, tmp_path, methods=more, categories=("0",))
    status = cell(tmp_path, "nearest image")["status"]
    assert status == "failed: ZeroDivisionError: division by zero"
    trace = tmp_path / "mnist/nearest image/failure.txt"
    assert "1 / 0" in trace.read_text()


def test_an_image_that_is_too_small_fails_one_method_only(mnist, tmp_path):
    result = reproduce(
        mnist, tmp_path, methods=METHODS, categories=("0",), data__size=8
    )
    status = cell(tmp_path, "DAE")["status"]
    assert status == (
        "failed: --config.data.size=8: must be one of: 32, 64, 128, 256, 512"
    )
    assert len(result.failures) == 1
    assert cell(tmp_path, "mean image")["ours"] == small_sets.MEAN_IMAGE_0


@pytest.mark.parametrize(
    ("table", "folder", "request_", "message"),
    [
        (None, None, {}, r"^give --table or --folder, one of them; .*scadn/table5"),
        ("scadn/table5", "x", {}, "^give --table or --folder"),
        ("scadn/table9", None, {}, "unknown table 'scadn/table9'; .*scadn/table5"),
        ("scadn/table4", None, {}, "compares variants of SCADN: use jax_scadn.ablate"),
        ("scadn/table5", None, {"methods": ["PCA"]}, "--methods=PCA: no method of"),
        ("scadn/table5", None, {}, "needs MNIST or CIFAR-10, which is not in"),
        ("scadn/table2", None, {"mnist": True}, "needs MVTec AD, which is not in"),
        (
            "scadn/table5",
            None,
            {"mnist": True, "categories": ["0", "11"]},
            r"^--categories=11: not in .*; there are: 0, 1, 2",
        ),
        (
            "scadn/table5",
            None,
            {"mnist": True, "settings": {"seed": 3}},
            "--config.seed=3: give --seeds",
        ),
        (None, "nowhere", {}, r"^nowhere is not a directory: set --folder to"),
    ],
)
def test_bad_input_is_one_line(mnist, tmp_path, table, folder, request_, message):
    settings = dict(request_.pop("settings", {}))
    if request_.pop("mnist", False):
        settings["data.path"] = str(mnist)
    request = reproduction.Request(settings=settings, **request_)
    with pytest.raises(errors.UserError, match=message) as caught:
        reproduction.run(table, folder, request, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_cell_of_every_table_of_methods():
    for table in papers.tables().values():
        if reproduction._is_of_methods(table):
            whole = cells.Reproduction(table, {}, {}, {}, frozenset({"UTAD"}))
            every = [
                whole.cell(title, place)
                for place in whole.places()
                for title in whole.titles()
            ]
            numbers = [n for row in table.rows.values() for n in row if n is not None]
            published = [c.published for c in every if c.published is not None]
            assert sorted(published) == sorted(numbers)
            assert {c.status for c in every if c.title != "UTAD"} == {"not built"}
            assert {c.status for c in every if c.title == "UTAD"} <= {"not run"}


def test_data_are_found_and_described(mnist):
    table = papers.table("scadn/table5")
    path = {"data.path": str(mnist.parent)}
    (data,) = datasets.of_table(table, path, "paper", ["1"])
    assert data.name == "mnist"
    assert data.categories == ("1",)
    assert data.settings == {
        "data.source": "idx",
        "data.path": str(mnist),
        "data.dataset": "mnist",
        "data.channels": 1,
        "data.size": 32,
    }
    # As the user says it is to be read.
    given = {"data.source": "tfds", "data.dataset": "cifar10"}
    (data,) = datasets.of_table(table, given, "small", ["ship", "0"])
    assert (data.name, data.categories) == ("cifar10", ("ship", "airplane"))
    assert not math.isnan(data.settings["data.channels"])
