"""The structure of the library: the packages in their order, the import rule and the modules without PyTorch.

`tests/project/test_import_order.py` enforces it; the architecture page shows the same lists.
"""
import ast
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

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
