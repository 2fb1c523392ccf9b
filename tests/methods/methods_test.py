"""Methods, looked up by the names of their modules."""

import sys

import pytest

from jax_scadn import methods
from jax_scadn.runtime import errors
from jax_scadn.settings import base

OWN = """
import dataclasses
from jax_scadn.settings.fields import Field

FIELDS = {"mine.width": Field(3, "channels", least=1)}

@dataclasses.dataclass(frozen=True)
class Method:
    width: int

    @classmethod
    def from_config(cls, config):
        return cls(config.mine.width)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a user's module, in a folder that is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    folder = tmp_path / "my_methods"
    folder.mkdir()
    for name in ("my_methods", "my_methods.method"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def write(text):
        (folder / "method.py").write_text(text)
        return "my_methods.method"

    yield write
    for name in ("my_methods", "my_methods.method"):
        sys.modules.pop(name, None)


def test_names():
    assert {"scadn", "utad"} <= set(methods.names())
    assert "base" not in methods.names()
    for name in methods.names():
        module = methods.get(name)
        assert module.FIELDS
        assert module.Method.from_config
        assert methods.create(methods.resolve(methods.default(name)))


def test_titles():
    assert methods.get("scadn").Method.title == "SCADN"
    assert methods.get("utad").Method.title == "UTAD"


def test_a_custom_method(own):
    name = own(OWN)
    config = methods.default(name)
    assert (config.method, config.data.size) == (name, base.FIELDS["data.size"].default)
    config.mine.width = 5
    assert methods.create(methods.resolve(config)).width == 5
    config.mine.width = 0
    with pytest.raises(errors.UserError, match=r"mine\.width=0: must be at least 1"):
        methods.resolve(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "scdan",
            r"scdan: must be one of: .*scadn, .*utad, vae; or the dotted path",
        ),
        ("base", "method=base: must be one of"),
        ("", "method=: must be one of"),
        ("my_methods.nonsuch", r"method=my_methods\.nonsuch: must be one of"),
        ("nonsuch.method", r"method=nonsuch\.method: must be one of"),
        (".scadn", r"method=\.scadn: must be one of"),
        ("os.path", r"method=os\.path: the module has no FIELDS and no Method$"),
    ],
)
def test_unknown_methods_are_one_line_errors(own, name, message):
    own(OWN)
    with pytest.raises(errors.UserError, match=message) as refused:
        methods.default(name)
    assert "\n" not in str(refused.value)


def test_import_errors_inside_a_custom_module_are_not_hidden(own):
    name = own("import nonsuch\n")
    with pytest.raises(ModuleNotFoundError, match="nonsuch"):
        methods.get(name)
