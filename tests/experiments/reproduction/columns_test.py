"""The columns that methods declare: which settings stand for a title."""

import contextlib
import importlib
import itertools

import conftest
import pytest

from jax_scadn import methods
from jax_scadn.experiments import papers
from jax_scadn.experiments.reproduction import columns
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve

DATA = ("mnist", "cifar10", "mvtec_ad", "folder")
# Paper: (title, data set) -> the file of the same settings.
CONFIGS = {
    ("SCADN", "mvtec_ad"): "mvtec",
    ("SCADN", "mnist"): "mnist",
    ("SCADN", "cifar10"): "cifar10",
    ("UTAD", "mvtec_ad"): "utad_mvtec",
    ("UTAD", "mnist"): "utad_mnist",
}


def resolved(column, budget, dataset, **overrides):
    data = {"data.channels": 1 if dataset == "mnist" else 3}
    config = columns.config(column, budget, dataset, data, overrides)
    return methods.resolve(config)


@pytest.mark.parametrize("column", columns.every(), ids=lambda column: column.title)
@pytest.mark.parametrize("budget", columns.BUDGETS)
def test_a_column_gives_a_method_of_its_title(column, budget):
    titles = []
    for dataset in DATA:
        # A method may be too small for some data, and says so.
        with contextlib.suppress(errors.UserError):
            config = resolved(column, budget, dataset)
            titles.append(methods.create(config).title)
    assert set(titles) == {column.title}
    parts = {"always", *columns.BUDGETS} | {
        f"{b}/{where}"
        for b, where in itertools.product(
            columns.BUDGETS, ("real", "one_class", *papers.DATASETS)
        )
    }
    assert set(column.parts) <= parts


def test_each_title_is_declared_once():
    titles = [column.title.casefold() for column in columns.every()]
    assert len(titles) == len(set(titles))
    assert {"scadn", "utad", "dae", "ae-l2", "patch memory"} <= set(titles)


@pytest.mark.parametrize(("title", "dataset"), CONFIGS)
def test_the_budget_of_the_paper_is_that_of_the_settings_file(
    title, dataset, monkeypatch
):
    monkeypatch.syspath_prepend(str(conftest.ROOT))
    module = importlib.import_module(f"configs.{CONFIGS[title, dataset]}")
    theirs = resolve.flat(methods.resolve(module.get_config()))
    (column,) = columns.choose([title])
    ours = resolve.flat(resolved(column, "paper", dataset))
    fields = methods.fields(column.method)
    differing = {
        name
        for name in ours
        if ours[name] != theirs[name]
        and fields[name].tells_runs_apart
        and not name.startswith(("data.source", "data.dataset"))
    }
    assert differing == set()


def test_later_parts_override_earlier_ones_and_the_user_all():
    column = columns.Column(
        "DAE",
        "autoencoder",
        {
            "always": {"preset": "dae", "model.width": 1, "training.steps": 1},
            "small": {"model.width": 2, "training.steps": 2},
            "small/one_class": {"training.steps": 3},
            "small/mnist": {"training.batch_size": 5},
        },
    )
    config = resolved(column, "small", "mnist", **{"training.batch_size": 6})
    assert (config.model.width, config.training.steps) == (2, 3)
    assert config.training.batch_size == 6
    assert (config.data.size, config.data.test_normal_limit) == (32, 100)
    config = resolved(column, "small", "folder", **{"masks.mask_value": 1.0})
    assert (config.training.steps, config.data.size) == (2, 64)
    assert config.data.test_normal_limit == 0
    assert resolved(column, "paper", "folder").model.width == 1


def test_methods_are_chosen_by_title_or_by_module():
    def titles(*words):
        return [column.title for column in columns.choose(words)]

    assert titles("scadn", "Ae-Ssim") == ["SCADN", "AE-SSIM"]
    assert titles("autoencoder", "DAE") == ["AE-L2", "AE-SSIM", "DAE"]
    with pytest.raises(
        errors.UserError, match=r"^--methods=PCA: .* SCADN, .*UTAD"
    ) as e:
        titles("PCA")
    assert "\n" not in str(e.value)


def test_a_users_own_method_has_a_column_of_its_title(tmp_path, monkeypatch):
    text = (conftest.ROOT / "docs/methods.md").read_text()
    source = text.split("# my/method.py\n")[1].split("```")[0]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/reproduced.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    (column,) = columns.choose(["mine.reproduced"])
    assert column == ("pixel Gaussian", "mine.reproduced", {})
    assert resolved(column, "small", "folder").data.size == 64


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("seed", "--config.seed=1: give --seeds"),
        ("data.category", "--config.data.category=1: give --categories"),
        ("masks.mask_value", "none of the chosen methods has this setting: DAE"),
    ],
)
def test_settings_that_are_refused(field, message):
    with pytest.raises(errors.UserError, match=message):
        columns.check_overrides({field: 1}, columns.choose(["DAE"]))


def test_every_setting_is_a_flag():
    template = columns.template()
    assert resolve.flat(template).keys() >= methods.fields("scadn").keys()
    assert all(value is None for value in resolve.flat(template).values())
    resolve.put(template, "training.steps", 3)
    with pytest.raises(TypeError):
        resolve.put(template, "training.steps", "many")
