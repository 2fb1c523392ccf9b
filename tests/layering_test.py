"""Package layers: each package imports only from itself and from lower layers."""

import ast
import pathlib

import conftest
import pytest

PACKAGE = conftest.ROOT / "jax_scadn"
# From lowest to highest; packages of one layer do not import each other.
LAYERS = (
    ("runtime",),
    ("settings", "data", "networks", "reports"),
    ("losses", "scoring", "training"),
    ("methods",),
    ("detection",),
    ("experiments",),
    ("torch_import",),
)
COMMANDS = len(LAYERS)  # files of the package itself, and parity


def layer(part):
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    return COMMANDS


def imported(path):
    """Modules of this package that a file imports, at any depth, as tuples of names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module.split(".")[0] == "jax_scadn"
        ):
            parts = node.module.split(".")[1:]
            yield from ((*parts, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            yield from (tuple(n[1:]) for n in names if n[0] == "jax_scadn")


def upward_imports(package):
    wrong = []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).with_suffix("").parts
        if own == ("__init__",):
            continue  # load() imports the detector when it is called
        for parts in imported(path):
            below = layer(parts[0]) < layer(own[0])
            if parts[0] != own[0] and not below:
                wrong.append(f"{'/'.join(own)} imports {'.'.join(parts)}")
    return wrong


def modules(package):
    return {
        path.relative_to(package).with_suffix("").parts: path
        for path in package.rglob("*.py")
    }


def import_cycles(package):
    """Import cycles between modules."""
    files = modules(package)
    edges = {}
    for name, path in files.items():
        targets = set()
        for parts in imported(path):
            for target in (parts, parts[:-1], (*parts, "__init__")):
                if target in files and target != name:
                    targets.add(target)
        edges[name] = targets
    cycles, visited = [], set()

    def visit(name, trail):
        if name in trail:
            cycles.append(" -> ".join("/".join(n) for n in trail[trail.index(name) :]))
        elif name not in visited:
            for target in edges[name]:
                visit(target, [*trail, name])
            visited.add(name)

    for name in edges:
        visit(name, [])
    return cycles


def test_imports_point_downwards():
    assert upward_imports(PACKAGE) == []


def test_there_are_no_import_cycles():
    assert import_cycles(PACKAGE) == []


def test_an_upward_import_and_a_cycle_are_detected(tmp_path):
    for name, text in (
        ("runtime/a.py", "from jax_scadn.methods import base\n"),
        ("methods/base.py", "from jax_scadn.runtime import a\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    assert upward_imports(tmp_path) == ["runtime/a imports methods.base"]
    assert len(import_cycles(tmp_path)) == 1


@pytest.mark.parametrize("folder", ["jax_scadn", "tests", "benchmarks", "launch"])
def test_no_file_has_more_than_400_lines(folder):
    long = {
        str(path): count
        for path in (conftest.ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_library_module_is_a_command():
    commands = {pathlib.PurePath(n).stem for n in ("train", "evaluate", "predict")}
    for path in PACKAGE.rglob("*.py"):
        is_command = path.parent == PACKAGE or path.name == "__main__.py"
        if not is_command:
            assert 'if __name__ == "__main__"' not in path.read_text(), path
    assert commands <= {path.stem for path in PACKAGE.glob("*.py")}
