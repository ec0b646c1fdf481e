"""The packages' order: who imports whom, which modules load no torch, and what a package's `__init__` may hold."""
import re

import pytest
from helpers.structure import LIB, ROOT, find_faults, find_light, load

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
