"""A patch of the library in a test must act: the patched name is there, and library code looks it up when it runs."""
import ast
import json
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = {"segfast": ROOT, "docsite": ROOT/"docs"}  # package: the folder that it lies in


EVENTS = ("before_", "after_")  # methods of a callback that fastai calls


class Patch(NamedTuple):
    place: str # file and line of the test
    target: str # the whole name that is patched: module, then attributes


# ---- the patches of a test

def dotted(node):
    "The dotted name that an expression spells, or None."
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"


def read_names(tree):
    "What imported names stand for: `lib` for `segfast.data.open` after `import segfast.data.open as lib`."
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                      for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def read_target(args, names):
    "What `setattr(*args)` patches, or None if its text does not tell, as in a loop over names."
    first, second = args[0], args[1] if len(args) > 1 else None
    if isinstance(first, ast.Constant):
        return first.value
    if isinstance(second, ast.Constant) and (base := dotted(first)):
        root, _, rest = base.partition(".")
        return ".".join(filter(None, [names.get(root, root), rest, second.value]))


def is_patch(function):
    "Whether a call of this name patches: pytest's `setattr`, or `patch` and `patch.object` of unittest.mock."
    return function.endswith((".setattr", "patch.object")) or function in ("patch", "mock_patch")


def read_notebook(path):
    "The code of a notebook as one source; cells of another language and lines of magic left out."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    lines = (line for source in code if not source.startswith("%%") for line in source.split("\n"))
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def find_patches(source, place):
    "The patches of a library in the source of a test or of a notebook."
    tree = ast.parse(source)
    everywhere = read_names(ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], []))
    for part in tree.body:
        names = everywhere | read_names(part)
        for node in ast.walk(part):
            if isinstance(node, ast.Call) and is_patch(dotted(node.func) or "") and node.args:
                target = read_target(node.args, names)
                if target and target.split(".")[0] in LIBRARIES:
                    yield Patch(f"{place}:{node.lineno}", target)


# ---- the library

class Module(NamedTuple):
    package: str
    names: set # what it defines or imports at its top level
    nodes: list # what runs when one of its functions is called


def read_library(libraries=LIBRARIES):
    "Every module of the libraries by name."
    modules = {}
    for name, folder in libraries.items():
        for path in sorted((folder/name).rglob("*.py")):
            parts, is_package = path.relative_to(folder).with_suffix("").parts, path.name == "__init__.py"
            parts = parts[:-1] if is_package else parts
            package, tree = parts if is_package else parts[:-1], ast.parse(path.read_text(encoding="utf-8"))
            modules[".".join(parts)] = Module(".".join(package), set(defined_names(tree)), list(function_nodes(tree)))
    return modules


def split_target(target, modules):
    "The module and the attributes of a patched name."
    parts = target.split(".")
    n = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in modules), 0)
    return ".".join(parts[:n]), parts[n:]


def defined_names(tree):
    "What a module defines or imports at its top level."
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
            elif isinstance(inner, (ast.Import, ast.ImportFrom)):
                yield from ((alias.asname or alias.name).split(".")[0] for alias in inner.names)


def function_nodes(tree):
    "What runs when a function is called, with the name of the outermost function: not its defaults and annotations."
    seen = set()
    for node in tree.body:
        for function in ast.walk(node):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and id(function) not in seen:
                for statement in function.body if isinstance(function.body, list) else [function.body]:
                    for inner in ast.walk(statement):
                        seen.add(id(inner))
                        yield getattr(node, "name", None), inner


def imports_from(node, module, package):
    "Whether an import statement takes names from a module."
    if not isinstance(node, ast.ImportFrom):
        return False
    above = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])]) == module


def is_looked_up(module, name, modules):
    "Whether a function looks a module's name up when it is called: there by name, elsewhere by importing it then."
    for owner, inner in modules[module].nodes:
        if owner != name and isinstance(inner, ast.Name) and inner.id == name and isinstance(inner.ctx, ast.Load):
            return True
    for other, (package, _, nodes) in modules.items():
        for _, inner in nodes:
            if other != module and imports_from(inner, module, package) and name in [a.name for a in inner.names]:
                return True
            if isinstance(inner, ast.Attribute) and inner.attr == name and isinstance(inner.value, ast.Name) and (
                    inner.value.id == module.rpartition(".")[2]):
                return True
    return False


def is_called_method(name, modules):
    "Whether a function of the library, or fastai, calls a method of this name."
    return name.startswith(EVENTS) or any(isinstance(inner, ast.Attribute) and inner.attr == name
                                          for module in modules.values() for _, inner in module.nodes)


def fault_of(patch, modules):
    "Why a patch does nothing, or None."
    module, attributes = split_target(patch.target, modules)
    if not attributes:
        return f"{patch.place}: {patch.target} is a module"
    if attributes[0] == "__path__":
        return None
    if attributes[0] not in modules[module].names:
        return f"{patch.place}: {module} has no {attributes[0]}"
    acts = is_called_method(attributes[-1], modules) if attributes[1:] else is_looked_up(module, attributes[0], modules)
    return None if acts else f"{patch.place}: nothing looks up {patch.target} when it runs"


# ---- the tests

def test_every_patch_acts():
    modules, faults, n = read_library(), [], 0
    for path in sorted((ROOT/"tests").rglob("*.py")):
        for patch in find_patches(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()):
            faults.append(fault_of(patch, modules))
            n += 1
    assert list(filter(None, faults)) == []
    assert n > 40


def test_every_patch_of_a_notebook_acts():
    modules, faults = read_library(), []
    for path in sorted((ROOT/"nbs").rglob("*.ipynb")):
        found = find_patches(read_notebook(path), path.relative_to(ROOT).as_posix())
        faults += [fault_of(patch, modules) for patch in found]
    assert len(faults) > 4 and list(filter(None, faults)) == []


# ---- that dead patches are found

LIBRARY = {
    "__init__": "", "data/__init__": "",
    "data/masks": "from .images import open_image\ndef read(p): return open_image(p)\ndef walk(p): return walk(p)",
    "data/images": "try: import os\nexcept ImportError: pass\nfrom pathlib import Path\n"
                   "def open_image(p=os.sep): return Path(p)\nclass Reader:\n    def take(self): return os.sep\n"
                   "    def drop(self): self.take()\nCASE = open_image",
    "cli": "def run():\n    from .data.masks import read\n    from segfast.data import images\n    images.gone()",
}


@pytest.fixture
def library(tmp_path):
    for name, source in LIBRARY.items():
        (tmp_path/"segfast"/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"segfast"/f"{name}.py").write_text(source)
    return read_library({"segfast": tmp_path})


@pytest.mark.parametrize("test, fault", [
    ('m.setattr("segfast.data.masks.open_image", 1)', None),
    ('m.setattr("segfast.data.masks.read", 1)', None),
    ('m.setattr("segfast.data.images.os.sep", 1)', None),
    ('m.setattr("segfast.data.images.Reader.take", 1)', None),
    ('import segfast.data.masks as lib\nm.setattr(lib, "open_image", 1)', None),
    ('def f():\n    from segfast.data import masks as lib\n    m.setattr(lib, "open_image", 1)', None),
    ('import segfast.data.masks as lib\ndef f():\n    import os as lib\nm.setattr(lib, "open_image", 1)', None),
    ('from segfast.data.images import Reader\nm.setattr(Reader, "take", 1)', None),
    ('import segfast\nm.setattr(segfast.data.masks, "open_image", 1)', None),
    ('patch("segfast.data.masks.open_image", 1)', None),
    ('import segfast.data.masks as lib\npatch.object(lib, "open_image", 1)', None),
    ('patch("segfast.data.masks.gone", 1)', "segfast.data.masks has no gone"),
    ('m.setattr("segfast.data.images.open_image", 1)', "nothing looks up segfast.data.images.open_image when it runs"),
    ('m.setattr("segfast.data.masks.walk", 1)', "nothing looks up segfast.data.masks.walk when it runs"),
    ('m.setattr("segfast.data.images.Path.gone", 1)', None),
    ('m.setattr("segfast.data.images.Reader.drop", 1)',
     "nothing looks up segfast.data.images.Reader.drop when it runs"),
    ('import segfast.data.images as lib\nm.setattr(lib, "sep", 1)', "segfast.data.images has no sep"),
    ('m.setattr("segfast.masks.read", 1)', "segfast has no masks"),
    ('m.setattr("segfast.data.masks", 1)', "segfast.data.masks is a module"),
], ids=str)
def test_a_dead_patch_is_found(library, test, fault):
    patch, = find_patches(test, "t.py")
    assert fault_of(patch, library) == (fault and f"{patch.place}: {fault}")


def test_patches_of_other_libraries_are_left_alone():
    assert list(find_patches('import os\nm.setattr(os, "link", 1)\nm.setattr("os.link", 1)', "t.py")) == []
