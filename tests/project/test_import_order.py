"""The packages' order: who imports whom, which modules load no torch, and what a package's `__init__` may hold."""
import ast
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = "segfast"
PACKAGES = ("core", "data", "metrics", "models", "runs", "report", "inference", "training", "tools")
# A package imports only from those before it; `cli` and `all` are modules beside the packages.
ORDER = (*PACKAGES, "cli", "all")
# `Run.model` and `Run.learner`: a run has all its methods as soon as it is imported. Allowed inside functions only.
LAZY = {("segfast.runs.run", "segfast.inference.run_model"), ("segfast.runs.run", "segfast.training.learner")}
# The modules that must load neither torch nor fastai: what the patterns take, except those named below them.
LIGHT = ("", "core.*", "data.*", "runs.*", "report.*", "cli",
         "inference.sliding", "inference.onnx", "inference.result", "inference.predict")
HEAVY = ("data.cache", "data.loaders", "data.augment", "report.notebook")


class Source(NamedTuple):
    tree: ast.Module
    is_package: bool # the `__init__` of a package


class Import(NamedTuple):
    module: str # who imports
    target: str # a module or package of the library, by its whole name
    line: int
    lazy: bool # inside a function

    def __str__(self): return f"{self.module}:{self.line} imports {self.target}"


# ---- reading a tree

def read_modules(root):
    "Every module and package of the library below a folder, by name."
    sources = {}
    for path in sorted((root/LIB).rglob("*.py")):
        parts, is_package = path.relative_to(root).with_suffix("").parts, path.name == "__init__.py"
        if path.name != "_modidx.py":
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            sources[".".join(parts[:-1] if is_package else parts)] = Source(tree, is_package)
    return sources


def read_numbers(root):
    "The number of every module of a package: NN of `nbs/PACKAGE/NN_name.ipynb`."
    numbers = {}
    for path in (root/"nbs").rglob("*.ipynb"):
        *folders, name = path.relative_to(root/"nbs").with_suffix("").parts
        if folders and (found := re.fullmatch(r"(\d+)_(\w+)", name)):
            numbers[".".join([LIB, *folders, found[2]])] = int(found[1])
    return numbers


def imported_names(node, package):
    "What an import statement names, in whole names: (module, name from it or None)."
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    base = node.module or ""
    if node.level:
        above = package.split(".")
        base = ".".join([*above[:len(above) - node.level + 1], *filter(None, [base])])
    return [(base, alias.name) for alias in node.names]


def inside_functions(tree):
    "The ids of all nodes that stand in a function."
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return {id(inner) for node in ast.walk(tree) if isinstance(node, functions) for inner in ast.walk(node)}


def read_imports(sources):
    "Every import of the library's own modules, wherever it stands."
    for module, (tree, is_package) in sources.items():
        package, lazy = module if is_package else module.rpartition(".")[0], inside_functions(tree)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for base, name in imported_names(node, package):
                    target = f"{base}.{name}" if f"{base}.{name}" in sources else base
                    if target.split(".")[0] == LIB and target != module:
                        yield Import(module, target, node.lineno, id(node) in lazy)


# ---- what can be wrong

def is_allowed(found):
    return found.lazy and (found.module, found.target) in LAZY


def top(name):
    "The package of a module, or what stands in its place: `data` of `segfast.data.splits`, `cli` of `segfast.cli`."
    return (name.split(".") + [""])[1]


def folder_of(name):
    return name.rpartition(".")[0]


def package_faults(found):
    "Imports from a package that comes later."
    here, there = top(found.module), top(found.target)
    if here in ORDER and there in ORDER and ORDER.index(there) > ORDER.index(here):
        yield f"{found}: {here} comes before {there}"


def number_faults(found, numbers):
    "Imports, inside one folder of a package, from a module of the same or a higher number."
    here, there = numbers.get(found.module), numbers.get(found.target)
    if folder_of(found.module) == folder_of(found.target) and None not in (here, there) and there >= here:
        yield f"{found}: number {here} imports number {there}"


def subfolder_faults(imports, numbers):
    "A folder inside a package has one place there: after all modules that it imports, and before all that import it."
    uses, used_by = {}, {}
    for found in imports:
        for inner, outer, table in ((found.module, found.target, uses), (found.target, found.module, used_by)):
            if outer in numbers and folder_of(inner).startswith(f"{folder_of(outer)}."):
                table.setdefault(folder_of(inner), []).append(outer)
    for folder in sorted(uses.keys() & used_by):
        last, first = max(uses[folder], key=numbers.get), min(used_by[folder], key=numbers.get)
        if numbers[last] >= numbers[first]:
            yield f"{folder} imports {last} ({numbers[last]}), and {first} ({numbers[first]}) imports it"


def find_cycles(imports):
    "Modules that import each other in a circle, one line per circle, which begins with the first name of the alphabet."
    graph, done, cycles = {}, set(), set()
    for found in imports:
        graph.setdefault(found.module, set()).add(found.target)

    def visit(name, way):
        if name in way:
            circle = way[way.index(name):]
            start = circle.index(min(circle))
            cycles.add("cycle: " + " > ".join([*circle[start:], *circle[:start + 1]]))
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, [*way, name])
            done.add(name)
    for name in sorted(graph):
        visit(name, [])
    return sorted(cycles)


def place_faults(sources, numbers):
    "Packages that the order does not know, packages without an `__init__`, modules of a package without a notebook."
    for name, source in sources.items():
        folder, in_package = folder_of(name), name.count(".") > 1
        if (in_package or source.is_package) and name != LIB and top(name) not in PACKAGES:
            yield f"{name}: {top(name)} is none of the packages"
        elif in_package and not (folder in sources and sources[folder].is_package):
            yield f"{name}: no __init__.py beside it"
        elif in_package and not source.is_package and name not in numbers:
            *folders, last = name.split(".")[1:]
            yield f"{name}: no notebook nbs/{'/'.join(folders)}/NN_{last}.ipynb"


def twin_faults(root):
    "A module beside a folder of its name: Python would take the folder, if it is a package."
    for path in sorted((root/LIB).rglob("*.py")):
        if path.with_suffix("").is_dir():
            yield f"{path.relative_to(root).as_posix()}: there is a folder of this name"


def init_faults(sources):
    "A package's `__init__` holds one line on its purpose: whatever it imported would load with each module."
    for name, (tree, is_package) in sources.items():
        if is_package and name != LIB:
            doc = ast.get_docstring(tree) or ""
            if len(tree.body) != 1 or not doc or "\n" in doc:
                yield f"{name}: __init__.py must have a docstring of one line and nothing else"


def find_faults(root):
    "Everything that is against the order in the library below a folder (`segfast/`, `nbs/`), one line each."
    sources, numbers = read_modules(root), read_numbers(root)
    imports = list(read_imports(sources))
    faults = [f"{found}: not there" for found in imports if found.target not in sources]
    imports = [found for found in imports if found.target in sources and not is_allowed(found)]
    for found in imports:
        faults += [*package_faults(found), *number_faults(found, numbers)]
    faults += [*subfolder_faults(imports, numbers), *find_cycles(imports)]
    return [*faults, *twin_faults(root), *place_faults(sources, numbers), *init_faults(sources)]


def find_light(root):
    "The modules of a tree that must load neither torch nor fastai."
    def is_taken(name, patterns): return any(fnmatchcase(name, pattern) for pattern in patterns)
    inner = {name: name.partition(".")[2] for name in read_modules(root)}
    return [name for name, short in inner.items() if is_taken(short, LIGHT) and not is_taken(short, HEAVY)]


def load(root, modules):
    "Import modules one by one in a fresh Python: names the first that loads torch or fastai, or has an error."
    code = ("import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
            "    if heavy := {'torch', 'fastai'} & set(sys.modules): sys.exit(f'{name} loads {sorted(heavy)}')")
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=root, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


# ---- the library

def test_the_library_keeps_its_order():
    assert find_faults(ROOT) == []


def test_commands_that_need_no_model_load_no_torch():
    modules = find_light(ROOT)
    assert {"segfast", "segfast.cli"} <= set(modules)
    assert load(ROOT, modules) == ""


# ---- that each fault is found

RUN = '''from ..data import pairing
class Run:
    def model(self):
        from ..inference.run_model import load
    def learner(self):
        from segfast.training.learner import learner
'''
SOUND = {
    "__init__": '"""Sound."""\n__version__ = "1"',
    "core/__init__": '"""What all others use."""',
    "core/00_errors": "import segfast",
    "core/01_files": "from .errors import safe\nfrom segfast import __version__",
    "data/__init__": '"""Data."""',
    "data/00_pairing": "from segfast.core.files import (\n    read,\n    write,\n)",
    "data/01_classes": "from ..core import errors",
    "data/formats/__init__": '"""Readers."""',
    "data/formats/00_registry": "from ..classes import ClassTable\nfrom ...core.errors import safe",
    "data/formats/01_voc": "from .registry import Format",
    "data/02_open": "from .formats.voc import read\nfrom .formats import registry",
    "runs/__init__": '"""Runs."""',
    "runs/00_run": RUN,
    "inference/__init__": '"""Inference."""',
    "inference/00_run_model": "from ..runs.run import Run",
    "training/__init__": '"""Training."""',
    "training/00_learner": "import segfast.runs.run",
    "cli": "from .training.learner import learner",
    "all": "from .cli import app\nfrom .core.errors import *",
}


def plant(root, **changes):
    "Write the sound tree with changes: `data/00_pairing` is a module and its notebook, `cli` is a module alone."
    for key, source in (SOUND | changes).items():
        folder, _, name = key.rpartition("/")
        module = root/LIB/folder/(re.sub(r"^\d+_", "", name) + ".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(f"{source}\n")
        if name[0].isdigit():
            (root/"nbs"/folder).mkdir(parents=True, exist_ok=True)
            (root/"nbs"/folder/f"{name}.ipynb").write_text("{}")
    return root


def in_function(line):
    return f"def f():\n    if f:\n        {line}"


def test_a_sound_tree_has_no_faults(tmp_path):
    assert find_faults(plant(tmp_path)) == []


@pytest.mark.parametrize("module, source, fault", [
    ("core/01_files", "from ..data.pairing import pairs", "1 imports data.pairing: core comes before data"),
    ("core/01_files", "from segfast.data.pairing import (\n  one,\n  two)",
     "1 imports data.pairing: core comes before data"),
    ("core/01_files", "x = 1\nimport segfast.data.pairing as pairing",
     "2 imports data.pairing: core comes before data"),
    ("core/01_files", "from segfast.data import (\n  classes,\n  pairing)",
     "1 imports data.pairing: core comes before data"),
    ("core/01_files", "from ..data import pairing", "1 imports data.pairing: core comes before data"),
    ("core/01_files", "from .. import data", "1 imports data: core comes before data"),
    ("core/01_files", in_function("from ..data.formats.voc import f"),
     "3 imports data.formats.voc: core comes before data"),
    ("data/01_classes", "async def f():\n    import segfast.runs.run", "2 imports runs.run: data comes before runs"),
    ("data/01_classes", "class C:\n    from ..runs import run", "2 imports runs.run: data comes before runs"),
    ("data/formats/01_voc", "from ...runs.run import Run", "1 imports runs.run: data comes before runs"),
    ("training/00_learner", "from ..cli import app", "1 imports cli: training comes before cli"),
    ("cli", "from segfast.all import *", "1 imports all: cli comes before all"),
], ids=str)
def test_an_import_from_a_later_package_is_found(tmp_path, module, source, fault):
    check_planted(tmp_path, module, source, fault)


@pytest.mark.parametrize("module, source, fault", [
    ("runs/00_run", "from ..inference.run_model import load",
     "1 imports inference.run_model: runs comes before inference"),
    ("runs/00_run", in_function("from ..inference import x"), "3 imports inference: runs comes before inference"),
    ("runs/01_listing", in_function("from ..inference import run_model"),
     "3 imports inference.run_model: runs comes before inference"),
    ("data/01_classes", in_function("import segfast.training.learner"),
     "3 imports training.learner: data comes before training"),
], ids=str)
def test_the_two_exceptions_hold_for_one_module_and_inside_functions(tmp_path, module, source, fault):
    check_planted(tmp_path, module, source, fault)


@pytest.mark.parametrize("module, source, fault", [
    ("data/00_pairing", "from .classes import ClassTable", "1 imports data.classes: number 0 imports number 1"),
    ("data/00_pairing", "from segfast.data.classes import (\n  a,\n  b)",
     "1 imports data.classes: number 0 imports number 1"),
    ("data/00_pairing", "from segfast.data import (\n  classes)", "1 imports data.classes: number 0 imports number 1"),
    ("data/01_twin", in_function("from . import classes"), "3 imports data.classes: number 1 imports number 1"),
    ("data/formats/00_registry", "from .voc import f", "1 imports data.formats.voc: number 0 imports number 1"),
], ids=str)
def test_an_import_from_a_higher_number_is_found(tmp_path, module, source, fault):
    check_planted(tmp_path, module, source, fault)


def check_planted(root, module, source, fault):
    name = re.sub(r"\d+_", "", module).replace("/", ".")
    found = [line.replace("segfast.", "") for line in find_faults(plant(root, **{module: source}))]
    assert f"{name}:{fault}" in found


FORMATS, ONE_LINE = "segfast.data.formats", "__init__.py must have a docstring of one line and nothing else"


@pytest.mark.parametrize("module, source, fault", [
    ("data/formats/01_voc", "from ..open import f",
     f"{FORMATS} imports segfast.data.open (2), and segfast.data.open (2) imports it"),
    ("data/00_pairing", "from .formats.registry import f",
     f"{FORMATS} imports segfast.data.classes (1), and segfast.data.pairing (0) imports it"),
    ("core/00_errors", in_function("from .files import f"),
     "cycle: segfast.core.errors > segfast.core.files > segfast.core.errors"),
    ("data/00_pairing", "import segfast.runs.run",
     "cycle: segfast.data.pairing > segfast.runs.run > segfast.data.pairing"),
    ("data/01_classes", in_function("from ..core.gone import x"),
     "segfast.data.classes:3 imports segfast.core.gone: not there"),
    ("other/__init__", '"""Other."""', "segfast.other: other is none of the packages"),
    ("other/00_thing", "x = 1", "segfast.other.thing: other is none of the packages"),
    ("metrics/00_confusion", "x = 1", "segfast.metrics.confusion: no __init__.py beside it"),
    ("data", "x = 1", "segfast/data.py: there is a folder of this name"),
    ("data/left_over", "x = 1", "segfast.data.left_over: no notebook nbs/data/NN_left_over.ipynb"),
    ("data/formats/left_over", "x = 1", f"{FORMATS}.left_over: no notebook nbs/data/formats/NN_left_over.ipynb"),
    ("data/__init__", "", f"segfast.data: {ONE_LINE}"),
    ("data/__init__", '"""Data."""\nfrom .pairing import pairs', f"segfast.data: {ONE_LINE}"),
    ("data/formats/__init__", '"""Two\n\nlines."""', f"{FORMATS}: {ONE_LINE}"),
], ids=str)
def test_other_faults_are_found(tmp_path, module, source, fault):
    assert fault in find_faults(plant(tmp_path, **{module: source}))


@pytest.mark.parametrize("source", ["from .second import b", in_function("from segfast.second import b")], ids=str)
def test_modules_without_a_package_have_no_order_but_no_cycle_either(tmp_path, source):
    (tmp_path/LIB).mkdir()
    texts = {"__init__": "", "first": "from .second import b", "second": "from .third import c", "third": "x = 1"}
    for name, text in texts.items():
        (tmp_path/LIB/f"{name}.py").write_text(text)
    assert find_faults(tmp_path) == []
    (tmp_path/LIB/"third.py").write_text(source)
    assert find_faults(tmp_path) == ["cycle: segfast.second > segfast.third > segfast.second"]


def test_the_light_modules_are_those_of_the_patterns_without_the_exceptions(tmp_path):
    light = ["data/check", "report/html", "inference/sliding", "inference/onnx"]
    heavy = ["data/cache", "data/loaders", "data/augment", "report/notebook", "inference/predictor", "models/nets"]
    found = find_light(plant(tmp_path, **dict.fromkeys([*light, *heavy, "flat"], "x = 1")))
    assert {name.partition(".")[2] for name in found if name.count(".") != 1} == {
        "", "core.errors", "core.files", "data.pairing", "data.classes", "data.formats", "data.formats.registry",
        "data.formats.voc", "data.open", "runs.run", *(name.replace("/", ".") for name in light)}
    assert "segfast.cli" in found and "segfast.flat" not in found


@pytest.mark.parametrize("heavy", ["torch", "fastai"])
def test_a_module_that_loads_torch_is_found(tmp_path, heavy):
    root = plant(tmp_path, **{"core/01_files": "x = 1", "core/02_more": f"from {heavy} import nn"})
    (tmp_path/f"{heavy}.py").write_text("nn = 1\n")  # found before the real one
    modules = ["segfast.core.errors", "segfast.core.files", "segfast.core.more"]
    assert load(root, modules[:2]) == "" and load(root, modules) == f"segfast.core.more loads ['{heavy}']\n"
