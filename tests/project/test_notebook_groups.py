"""The groups in which `.ci/run` tests the notebooks: each notebook is in exactly one, also in folders that are new."""
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT/".ci"/"notebooks.py"


@pytest.fixture
def script():
    "The script as a module."
    spec = importlib.util.spec_from_file_location("ci_notebooks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plant(tmp_path):
    "A function that adds files to a new git repository, which has a copy of the script."
    (tmp_path/".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path/".ci")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def add(*names):
        for name in names:
            (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path/name).write_text("{}")
        return tmp_path
    return add


def patterns(root):
    "What the script prints, line by line."
    command = [sys.executable, root/".ci"/"notebooks.py"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def groups(root, names):
    "The names that each printed pattern takes, as nbdev-test compares them: anywhere in the whole path."
    return [[name for name in names if re.search(line, str(root/name))] for line in patterns(root)]


def test_each_notebook_is_in_one_group_whatever_its_folder_and_number(plant):
    names = ["nbs/00_a.ipynb", "nbs/99_all.ipynb", "nbs/index.ipynb", "nbs/data/00_a.ipynb",
             "nbs/data/formats/00_a.ipynb", "nbs/data/formats/120_b.ipynb",
             "nbs/planted folder/01_a.ipynb", "nbs/planted folder/b+c (d).ipynb", "nbs/tutorials/01_a.ipynb"]
    assert groups(plant(*names), names) == [names[:3], names[3:4], names[4:6], names[6:8], names[8:]]


def test_groups_are_small_and_even(plant):
    names = [f"nbs/data/{i:02}_x.ipynb" for i in range(19)]
    found = groups(plant(*names), names)
    assert [len(group) for group in found] == [6, 7, 6] and sum(found, []) == names


def test_what_git_ignores_or_nbdev_leaves_out_is_in_no_group(plant):
    names = ["nbs/data/00_a.ipynb", "nbs/data/_draft.ipynb", "nbs/_old/00_a.ipynb",
             "nbs/data/.ipynb_checkpoints/00_a.ipynb", "nbs/data/ignored.ipynb"]
    root = plant(*names)
    (root/".gitignore").write_text("ignored.ipynb\n")
    assert groups(root, names) == [names[:1]]


def test_a_deleted_notebook_that_git_still_has_is_in_no_group(plant):
    root = plant("nbs/00_a.ipynb", "nbs/01_b.ipynb")
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    (root/"nbs/01_b.ipynb").unlink()
    assert patterns(root) == [r"/nbs/(00_a)\.ipynb$"]


def test_nbdev_finds_all_notebooks_of_this_tree_by_the_groups(script):
    nbglob = pytest.importorskip("nbdev.doclinks").nbglob
    def names(paths): return sorted(Path(p).relative_to(ROOT).as_posix() for p in paths)
    made = script.group_notebooks(script.find_notebooks(ROOT))
    found = [names(nbglob(ROOT/"nbs", path_re=script.pattern(group))) for group in made]
    assert found == [[p.as_posix() for p in group] for group in made]
    assert sorted(sum(found, [])) == names(nbglob(ROOT/"nbs"))
    assert max(map(len, made)) <= script.LARGEST


def test_ci_tests_the_notebooks_by_these_groups_alone():
    lines = [line.strip() for line in (ROOT/".ci"/"run").read_text().splitlines()]
    assert "groups=$(python .ci/notebooks.py)" in lines
    run = 'step env OMP_NUM_THREADS=1 nbdev-test --n-workers 2 --path-re "$group"'
    assert [line for line in lines if "nbdev-test" in line] == [run]
