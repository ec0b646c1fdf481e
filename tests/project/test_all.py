"""`segfast.all` gives a chosen list of names: short, in the order of the packages, and no name of fastai's."""
import ast
import inspect
import json
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["core", "data", "metrics", "models", "runs", "report", "inference", "training", "tools"]
# Commands that are nouns: the function has a verb.
NOUNS = {"runs": "list_runs", "models": "model_table", "report": "write_report", "demo-data": "write_demo"}
# Commands without a function in `segfast.all`: a table of names, and a server.
COMMANDS_ALONE = {"datasets", "ui"}


@pytest.fixture(scope="module")
def everything():
    import segfast.all
    return segfast.all


def read_imports(source):
    "(module, name) of every import by name, in their order."
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    return [(node.module, alias.name) for node in nodes for alias in node.names]


def test_at_most_90_names_and_none_twice(everything):
    names = everything.__all__
    assert 0 < len(names) <= 90 and len(set(names)) == len(names)


def test_a_star_import_gives_the_list_and_no_module(everything):
    scope = {}
    exec("from segfast.all import *", scope)
    assert set(scope) - {"__builtins__"} == set(everything.__all__)
    assert [name for name, value in scope.items() if isinstance(value, types.ModuleType)] == []


def test_every_name_is_imported_by_name_and_public_where_it_is_from(everything):
    from importlib import import_module
    imports = [(module, name) for module, name in read_imports(inspect.getsource(everything))
               if name in everything.__all__]
    assert [name for _, name in imports] == everything.__all__
    for module, name in imports:
        source = import_module(f"segfast.{module}")
        assert name in source.__all__ and getattr(everything, name) is getattr(source, name), f"{module}.{name}"


def test_the_imports_stand_in_the_order_of_packages_and_notebooks(everything):
    def place(module):
        package, _, name = module.partition(".")
        found = [path.name for path in (ROOT/"nbs"/package).glob(f"[0-9]*_{name}.ipynb")]
        return PACKAGES.index(package), found
    modules = [module for module, name in read_imports(inspect.getsource(everything)) if name in everything.__all__]
    places = [place(module) for module in modules if ".formats." not in module]
    assert all(found for _, found in places), modules
    assert places == sorted(places)


def test_the_notebook_shows_every_name_with_its_module(everything):
    nb = json.loads((ROOT/"nbs/99_all.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in nb["cells"] for out in cell.get("outputs", ())]
    table = "".join(line for out in outputs for line in out.get("data", {}).get("text/markdown", ()))
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    shown = [(module.strip("`"), name.strip("`")) for module, names in rows for name in names.split(", ")]
    assert shown == [pair for pair in read_imports(inspect.getsource(everything)) if pair[1] in everything.__all__]


def test_no_name_hides_one_of_fastai(everything):
    scope = {}
    exec("from fastai.vision.all import *", scope)
    taken = [name for name in everything.__all__ if name in scope and scope[name] is not getattr(everything, name)]
    assert taken == []


def test_a_command_is_called_what_its_function_is_called(everything):
    from segfast.cli import app
    from typer.main import get_command
    commands = set(get_command(app).commands) - COMMANDS_ALONE
    missing = [name for name in commands if NOUNS.get(name, name.replace("-", "_")) not in everything.__all__]
    assert "train" in commands and missing == []
