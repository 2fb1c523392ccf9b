"""Every file in configs/ gives consistent settings."""

import importlib
import inspect

import conftest
import pytest

from jax_scadn import methods
from jax_scadn.experiments import ablation, papers
from jax_scadn.settings import resolve

ROOT = conftest.ROOT
NAMES = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem[0] != "_")


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def load(name):
    return importlib.import_module(f"configs.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_resolves_and_is_locked(name):
    config = load(name).get_config()
    assert config.is_locked
    with pytest.raises(AttributeError, match="locked"):
        config.data.pathh = ""
    resolved = methods.resolve(config)
    assert resolved.name.split("/")[0] == name  # the default work directory
    assert set(resolved) == set(methods.default(config.method))


@pytest.mark.parametrize("name", NAMES)
def test_docstring_names_the_command(name):
    module = load(name)
    program = "ablate" if hasattr(module, "sweep") else "train"
    command = f"python -m jax_scadn.{program} --config=configs/{name}.py"
    assert command in module.__doc__
    assert module.get_config.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_takes_a_category(name):
    get_config = load(name).get_config
    if "category" in inspect.signature(get_config).parameters:
        assert get_config().data.category == ""
        assert get_config("bottle").data.category == "bottle"


@pytest.mark.parametrize("data", ["bottle", "mnist"])
def test_protocol_of_the_measured_pytorch_runs(data):
    config = load("pytorch_protocol").get_config(data)
    training = config.training
    values = (config.data.size, training.batch_size, training.steps)
    assert values == {"bottle": (64, 4, 400), "mnist": (32, 64, 150)}[data]
    assert methods.resolve(config).name == f"pytorch_protocol/{data}"


@pytest.mark.parametrize(
    ("name", "size", "channels", "batch_size", "flip"),
    [
        ("mvtec", 512, 3, 4, False),
        ("laceAD", 512, 3, 4, False),
        ("mnist", 32, 1, 512, False),
        ("fashion_mnist", 32, 1, 512, False),
        ("cifar10", 32, 3, 512, True),
    ],
)
def test_values_of_the_paper(name, size, channels, batch_size, flip):
    config = methods.resolve(load(name).get_config())
    data = config.data
    assert (data.size, data.channels, data.flip) == (size, channels, flip)
    assert config.training.batch_size == batch_size
    assert (config.training.epochs, config.training.steps) == (200, 0)
    assert config.optimizer.learning_rate == 1e-4
    assert (config.optimizer.b1, config.optimizer.b2) == (0.0, 0.9)
    assert config.masks.stripe_pairs == (2, 4, 8)
    assert config.loss.masked_weight == 3
    assert config.loss.adversarial_weight == 0.001


@pytest.mark.parametrize("name", [name for name in NAMES if "utad" in name])
def test_utad_uses_the_papers_distance_and_stages(name):
    config = methods.resolve(load(name).get_config())
    assert config.method == "utad"
    assert config.scoring.distance == "pm"
    assert config.expert.enabled
    assert config.expert.guidance == "detail"


@pytest.mark.parametrize(
    "name",
    [
        "ablation_mvtec",
        "ablation_utad_mnist",
        "ablation_utad_mvtec",
        "one_class_mnist",
    ],
)
def test_every_variant_of_a_sweep_resolves(name):
    module = load(name)
    seeds = getattr(module, "SEEDS", (0,))
    for changes in ablation.collect(module.sweep, [], seeds).values():
        config = module.get_config()
        for field, value in changes.items():
            resolve.put(config, field, value)
        methods.resolve(config)


@pytest.mark.parametrize(
    ("name", "table", "named_by_us"),
    [
        ("ablation_mvtec", "scadn/table4", set()),
        ("ablation_utad_mvtec", "utad/table3", {"absolute", "squared", "ssim"}),
        (
            "ablation_utad_mnist",
            "utad/table2/ablation",
            {"no_information", "no_expert", "no_guidance", "no_perception"},
        ),
    ],
)
def test_variants_are_the_rows_of_the_papers_table(name, table, named_by_us):
    variants = set(ablation.collect(load(name).sweep, [], (0,)))
    assert variants - set(papers.table(table).rows) == named_by_us
    assert papers.table(table).full in variants


def test_mvtec_has_its_fifteen_categories():
    categories = load("mvtec").get_config().data.categories
    assert len(set(categories)) == 15
    assert list(categories) == sorted(categories)
    assert {"bottle", "metal_nut", "zipper"} < set(categories)
