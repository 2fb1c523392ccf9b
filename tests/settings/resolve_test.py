"""Settings of a run: defaults, presets, checks, files."""

import json
import math
import pathlib

import pytest

from jax_scadn import methods
from jax_scadn.runtime import errors
from jax_scadn.settings import base, files, resolve
from jax_scadn.settings.fields import Field

# Of commit 737994f, before settings were declared, and of settings that came later.
DEFAULTS = json.loads((pathlib.Path(__file__).parent / "defaults.json").read_text())
FIELDS = {
    "name": Field("", "name"),
    "method": Field("", "method"),
    "preset": Field("a", "preset", choices=("a", "b")),
    "net.width": Field(None, "channels", type=int, least=1),
    "net.first.rate": Field(0.5, "rate", above=0),
}
PRESETS = {"a": {"net.width": 1}, "b": {"net.width": 2}}


def resolved(check=lambda config: None, **changes):
    config = resolve.default("mine", FIELDS)
    for name, value in changes.items():
        resolve.put(config, name.replace("__", "."), value)
    return resolve.resolve(config, FIELDS, PRESETS, check)


# Defaults.


@pytest.mark.parametrize("method", DEFAULTS)
def test_defaults_are_unchanged(method):
    ours = resolve.flat(methods.default(method))
    assert json.loads(json.dumps(ours)) == DEFAULTS[method]


def test_default_has_sections_and_is_locked():
    config = resolve.default("mine", FIELDS)
    assert resolve.flat(config) == {
        "method": "mine",
        "name": "mine",
        "net.first.rate": 0.5,
        "net.width": None,
        "preset": "a",
    }
    assert resolve.get(config, "net.first.rate") == 0.5
    with pytest.raises(AttributeError):
        resolve.put(config, "net.wdth", 1)
    with pytest.raises(KeyError):
        resolve.put(config, "nte.width", 1)
    with pytest.raises(TypeError):
        resolve.put(config, "net.width", "wide")


def test_flat_has_tuples():
    config = methods.default()
    config.data.categories = ["a", "b"]
    assert resolve.flat(config)["data.categories"] == ("a", "b")


# Presets and checks.


def test_preset_sets_unset_fields_of_a_copy():
    config = resolve.default("mine", FIELDS)
    assert resolve.resolve(config, FIELDS, PRESETS, id).net.width == 1
    assert config.net.width is None
    assert resolved(preset="b").net.width == 2
    assert resolved(preset="b", net__width=7).net.width == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "c"}, "--config.preset=c: must be one of: a, b"),
        ({"net__width": 0}, "--config.net.width=0: must be at least 1"),
        ({"net__first__rate": 0.0}, "--config.net.first.rate=0.0: must be above 0"),
        ({"net__first__rate": math.nan}, "--config.net.first.rate=nan: must be finite"),
    ],
)
def test_wrong_values_are_one_line_errors(changes, message):
    with pytest.raises(errors.UserError) as refused:
        resolved(**changes)
    assert str(refused.value) == message


def test_unset_field_without_a_preset():
    config = resolve.default("mine", FIELDS)
    with pytest.raises(errors.UserError, match=r"net\.width=None: must be set$"):
        resolve.resolve(config, FIELDS, {}, id)


def test_fields_that_are_not_declared_or_missing():
    config = resolve.default("mine", FIELDS)
    with config.unlocked():
        config.net.depth = 1
    with pytest.raises(errors.UserError, match=r"net\.depth is not a setting of mine;"):
        resolve.resolve(config, FIELDS, PRESETS, id)
    with config.unlocked():
        del config.net.depth, config.net.width
    with pytest.raises(errors.UserError, match=r"net\.width is missing of mine;"):
        resolve.resolve(config, FIELDS, {}, id)


def test_check_sees_checked_values():
    def check(config):
        raise errors.UserError(f"width {config.net.width} does not go with the rate")

    with pytest.raises(errors.UserError, match=r"^width 1 does not"):
        resolved(check)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("training.epochs", 0, r"epochs or .*training\.steps must be at least 1"),
        ("scoring.layer_weights", (0.0, 0.0, 0.0), "must not all be 0"),
        ("data.size", 20, "size=20: must be a multiple of 8, at least 24"),
        ("data.size", 44, "size=44: must be a multiple of 8, at least 24"),
        ("masks.stripe_pairs", (300,), r"must be integers in \[1, 256\]"),
        ("masks.stripe_pairs", (), r"must be integers in \[1, 256\], at least one"),
        ("masks.probabilities", (0.5,), "must be 12 numbers, one for each mask"),
        ("masks.probabilities", (0.0,) * 12, "and not all 0"),
    ],
)
def test_incompatible_settings(field, value, message):
    config = methods.default()
    resolve.put(config, field, value)
    with pytest.raises(errors.UserError, match=message) as refused:
        methods.resolve(config)
    assert "\n" not in str(refused.value)


def test_a_preset_of_the_method_is_a_choice():
    config = methods.default("reference_images")
    config.preset = "paper"  # it has none
    with pytest.raises(errors.UserError, match=r"preset=paper: must be one of: ''$"):
        methods.resolve(config)


# Files.


def test_written_and_read(tmp_path):
    config = methods.default("utad")
    config.impression.pools = (2, 2, 4, 4)
    config.impression.upsamplings = (4, 4, 2, 2)
    config = methods.resolve(config)
    path = tmp_path / "config.json"
    files.write(config, path)
    assert json.loads(path.read_text())["format"] == files.FORMAT == 2
    again = methods.read(path)
    assert resolve.flat(again) == resolve.flat(config)
    assert again.is_locked


def rewritten(tmp_path, change):
    path = tmp_path / "config.json"
    files.write(methods.resolve(methods.default()), path)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def test_a_setting_missing_in_a_file_keeps_its_default(tmp_path):
    path = rewritten(tmp_path, lambda values: values["data"].pop("threads"))
    assert methods.read(path).data.threads == base.FIELDS["data.threads"].default


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v.pop("format"),
            r"config\.json was written by an older version \(format 1\): train again$",
        ),
        (
            lambda v: v.update(format=1),
            r"config\.json was written by an older version \(format 1\): train again$",
        ),
        (lambda v: v.update(format=3), r"by a newer version \(format 3\): update"),
        (lambda v: v.update(data={"sizee": 1}), "cannot be read as settings: .*sizee"),
        (lambda v: v.update(seed="a"), "cannot be read as settings"),
        (lambda v: v.pop("method"), "cannot be read as settings: no method"),
        (lambda v: v.update(method="scdan"), "method=scdan: must be one of"),
        (lambda v: v["optimizer"].update(b1=math.nan), "b1=nan: must be finite"),
    ],
)
def test_files_that_are_refused(tmp_path, change, message):
    path = rewritten(tmp_path, change)
    with pytest.raises(errors.UserError, match=message) as refused:
        methods.read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_files_that_are_not_settings(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(errors.UserError, match="cannot be read as settings"):
        methods.read(path)


def test_missing_file(tmp_path):
    with pytest.raises(errors.UserError, match="does not exist: give a --workdir"):
        methods.read(tmp_path / "config.json")
