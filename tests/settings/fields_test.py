"""Declarations of settings: allowed values, and messages for others."""

import dataclasses
import math

import pytest

from jax_scadn import methods
from jax_scadn.settings import fields
from jax_scadn.settings.fields import Field

EVERY = [
    pytest.param(field, id=f"{method}-{name}")
    for method in methods.names()
    for name, field in methods.fields(method).items()
]


@pytest.mark.parametrize(
    ("limits", "words", "allowed", "refused"),
    [
        ({}, "", (-1.0, 7), ()),
        ({"least": 0}, "at least 0", (0, 0.5), (-1e-9,)),
        ({"most": 1}, "at most 1", (-9, 1), (1.1,)),
        ({"above": 0}, "above 0", (1e-9,), (0, -1)),
        ({"below": 1}, "below 1", (-9, 0.99), (1, 2)),
        ({"least": 0, "most": 1}, "in [0, 1]", (0, 1), (-0.1, 2)),
        ({"least": 0, "below": 1}, "in [0, 1)", (0, 0.9), (1, -0.1)),
        ({"above": 0, "below": 1}, "in (0, 1)", (0.5,), (0, 1)),
    ],
)
def test_limits(limits, words, allowed, refused):
    one = Field(0.5, "", **limits)
    some = Field((0.5,), "", **limits)
    assert one.limits() == words
    for value in allowed:
        assert one.problem(value) == ""
        assert some.problem((0.5, value)) == ""
    for value in refused:
        assert one.problem(value) == f"must be {words}"
        assert some.problem((0.5, value)) == f"must be {words}"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (Field(None, "", type=float), None, "must be set"),
        (Field(0.5, ""), "a", "must be a number"),
        (Field(0.5, ""), True, "must be a number"),
        (Field(1, ""), 1.5, "must be an integer"),
        (Field(1, ""), True, "must be an integer"),
        (Field((1,), ""), (1, 2.0), "must be integers"),
        (Field((1.0,), ""), ("a",), "must be numbers"),
        (Field((1.0,), ""), 1.0, "must be a sequence"),
        (Field((), "", type=str), (1,), "must be of type str"),
        (Field((1, 2), "", length=2), (1,), "must have 2 items"),
        (Field("a", "", choices=("a", "b")), "c", "must be one of: a, b"),
        (Field(("a",), "", choices=("a", "b")), ("a", "c"), "must be one of: a, b"),
        (Field("", "", choices=("",)), "c", "must be one of: ''"),
    ],
)
def test_problems(field, value, problem):
    assert field.problem(value) == problem


@pytest.mark.parametrize("field", EVERY)
def test_no_number_is_nan_or_infinite_and_floats_have_a_range(field):
    if field.type is float:
        assert field.limits()
        for value in (math.nan, math.inf, -math.inf):
            wrong = (value,) * (field.length or 1) if field.is_sequence else value
            assert field.problem(wrong) == "must be finite"


@pytest.mark.parametrize("field", EVERY)
def test_default_is_allowed_and_text_is_one_line(field):
    if field.default is not None:
        assert field.problem(field.default) == ""
    assert field.text
    assert "\n" not in field.text


@pytest.mark.parametrize(
    ("method", "name", "value", "problem"),
    [
        ("scadn", "data.held_out", 1.0, "must be in [0, 1)"),
        ("scadn", "calibration.false_alarm_rate", 1.0, "must be in [0, 1)"),
        ("scadn", "calibration.pixel_false_alarm_rate", -0.1, "must be in [0, 1)"),
        ("scadn", "scoring.layer_weights", (1.0, 1.0, -1.0), "must be at least 0"),
        ("scadn", "scoring.layer_weights", (1.0, 1.0), "must have 3 items"),
        ("scadn", "masks.mask_value", 2.0, "must be in [0, 1]"),
        ("scadn", "masks.probabilities", (0.5, -0.5), "must be at least 0"),
        ("scadn", "masks.stripe_pairs", (2, 0), "must be at least 1"),
        ("scadn", "masks.stripe_pairs", (2.0,), "must be integers"),
        ("scadn", "loss.reconstruction_weight", -1.0, "must be at least 0"),
        ("scadn", "loss.masked_weight", -1.0, "must be at least 0"),
        ("scadn", "loss.adversarial_weight", -1.0, "must be at least 0"),
        ("scadn", "loss.feature_matching_weight", -1.0, "must be at least 0"),
        ("scadn", "optimizer.learning_rate", 0.0, "must be above 0"),
        ("scadn", "optimizer.discriminator_learning_rate", 0.0, "must be above 0"),
        ("scadn", "optimizer.b1", 1.0, "must be in [0, 1)"),
        ("scadn", "optimizer.b2", 1.0, "must be in [0, 1)"),
        ("scadn", "optimizer.eps", 0.0, "must be above 0"),
        ("utad", "impression.learning_rate", 0.0, "must be above 0"),
        ("utad", "impression.discriminator_learning_rate", -1.0, "must be above 0"),
        ("utad", "impression.momentum", 1.0, "must be in [0, 1)"),
        ("utad", "impression.weight_decay", -1.0, "must be at least 0"),
        ("utad", "impression.image_gan_weight", -1.0, "must be at least 0"),
        ("utad", "impression.pools", (2, 0), "must be at least 1"),
        ("utad", "expert.learning_rate", 0.0, "must be above 0"),
        ("utad", "expert.b1", -0.1, "must be in [0, 1)"),
        ("utad", "expert.b2", 1.0, "must be in [0, 1)"),
        ("utad", "expert.eps", 0.0, "must be above 0"),
        ("utad", "expert.content_weight", -1.0, "must be at least 0"),
    ],
)
def test_ranges(method, name, value, problem):
    assert methods.fields(method)[name].problem(value) == problem


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        ("plain", 0.5, "0.5"),
        ("plain", (2, 4), "2, 4"),
        ("plain", [], "none"),
        ("pixels", 64, "64 x 64 pixels"),
        ("percent", 0.1, "10%"),
        ("first", 3, "the first 3"),
        ("first", 0, "all"),
    ],
)
def test_written(write, value, text):
    assert Field("", "", write=write).written(value) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"default": None},
        {"default": ()},
        {"default": 1, "seen_by": "nobody"},
        {"default": 1, "write": "upside down"},
    ],
)
def test_invalid_declarations_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^'a text': "):
        Field(text="a text", **wrong)


def test_a_redeclared_field_keeps_its_words():
    shared = {"a": Field(1, "", words="width", write="first"), "b": Field(2, "")}
    again = Field(5, "", least=1, seen_by="scoring")
    merged = fields.merge(shared, {"a": again, "c": Field(3, "")})
    assert list(merged) == ["a", "b", "c"]
    words = {"words": "width", "write": "first"}
    assert merged["a"] == dataclasses.replace(again, **words)
    renamed = Field(5, "", words="breadth")
    assert fields.merge(shared, {"a": renamed})["a"] == renamed


def test_groups_of_settings_are_unchanged():
    """The groups of SCADN's settings that were lists before the declarations."""
    declared = methods.fields("scadn")

    def which(test):
        return {name for name, field in declared.items() if test(field)}

    machine = {
        "data.cache_mb", "data.max_megapixels", "data.threads", "training.log_every",
        "training.picture_every", "training.checkpoint_every", "training.stalled_after",
        "scoring.images_per_call", "scoring.masks_per_call",
    }  # fmt: skip
    sheet = {"evaluation.after_training", "evaluation.sheet_rows"}
    assert which(lambda f: f.seen_by == "machine") == machine
    assert which(lambda f: f.may_change) == machine | sheet | {
        "training.steps", "training.epochs", "data.path", "data.test_path",
        "data.categories",
    }  # fmt: skip
    assert which(lambda f: not f.tells_runs_apart) == machine | sheet | {
        "name", "seed", "vgg_weights", "data.category", "data.categories", "data.path",
        "data.dataset", "data.test_path", "calibration.false_alarm_rate",
        "calibration.look_rate", "calibration.confidence",
    }  # fmt: skip
    assert which(lambda f: f.seen_by in ("scoring", "evaluation")) == sheet | {
        "name", "vgg_weights", "data.test_path", "data.test_normal_limit",
        "data.test_anomalous_limit", "data.categories", "scoring.merge",
        "scoring.distance", "scoring.layer_weights", "scoring.normalisation",
        "scoring.image_score", "calibration.images", "calibration.false_alarm_rate",
        "calibration.pixel_false_alarm_rate", "calibration.look_rate",
        "calibration.confidence",
    }  # fmt: skip
