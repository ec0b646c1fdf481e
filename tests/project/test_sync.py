"""The sync check passes on this tree, and notices each way in which notebooks, library and README can part."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def git(repo, *args):
    "Run git as somebody, whatever the machine's configuration; returns what it printed."
    somebody = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *somebody, *args], cwd=repo, check=True, capture_output=True, text=True).stdout


def sync(repo):
    "Run the sync check with this Python's tools; returns (exit code, all it printed)."
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([".ci/sync"], cwd=repo, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def committed(tree, tmp_path_factory):
    "The working tree, committed in a repository of its own."
    repo = tmp_path_factory.mktemp("sync")/"repo"
    shutil.copytree(tree, repo)
    git(repo, "init", "-q")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "all")
    return repo


@pytest.fixture
def repo(committed):
    "The repository, put back afterwards to how it was."
    start = git(committed, "rev-parse", "HEAD").strip()
    yield committed
    git(committed, "reset", "-q", "--hard", start)
    git(committed, "clean", "-qfdx")


def rewrite(path, edit):
    "Apply `edit` to the notebook at `path`, in the form nbdev-clean gives it, so that nothing else changes."
    nb = json.loads(path.read_text(encoding="utf-8"))
    edit(nb["cells"])
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def edit_module(repo):
    path = repo/"segfast"/"core"/"errors.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nadded = 1\n", encoding="utf-8")
    return "segfast/core/errors.py"


def edit_readme(repo):
    path = repo/"README.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nOne more line.\n", encoding="utf-8")
    return "README.md"


def edit_notebook(repo):
    def add_line(cells):
        exported = next(c for c in cells if "".join(c["source"]).startswith("#| export"))
        exported["source"][-1:] = [exported["source"][-1] + "\n", "added = 1"]
    rewrite(repo/"nbs"/"core"/"00_errors.ipynb", add_line)
    return "segfast/core/errors.py"


def edit_index(repo):
    rewrite(repo/"nbs"/"index.ipynb", lambda cells: cells[-1]["source"].append("\nOne more line."))
    return "README.md"


def leave_uncleaned(repo):
    def as_jupyter_saves(cells):
        next(c for c in cells if c["cell_type"] == "code").update(execution_count=7, metadata={"scrolled": True})
    rewrite(repo/"nbs"/"core"/"00_errors.ipynb", as_jupyter_saves)
    return "nbs/core/00_errors.ipynb"


def leave_stale_module(repo):
    (repo/"segfast"/"left_over.py").write_text('"""No notebook exports this."""\n', encoding="utf-8")
    return "segfast/left_over.py"


def add_package(repo):
    "A package with one module, in step with its notebook; returns what to commit."
    def rename(cells):
        for c in cells:
            c["source"] = [line.replace("default_exp core.errors", "default_exp planted.extra") for line in c["source"]]
    (repo/"nbs"/"planted").mkdir()
    shutil.copy(repo/"nbs"/"core"/"00_errors.ipynb", repo/"nbs"/"planted"/"00_extra.ipynb")
    rewrite(repo/"nbs"/"planted"/"00_extra.ipynb", rename)
    return ["nbs/planted/00_extra.ipynb", "segfast/planted/__init__.py", "segfast/planted/extra.py"]


def edit_module_in_package(repo):
    add_package(repo)
    assert sync(repo)[0] != 0
    (repo/"segfast"/"planted"/"extra.py").write_text('"""Edited."""\n', encoding="utf-8")
    return "segfast/planted/extra.py"


def leave_stale_module_in_package(repo):
    package = repo/"segfast"/"planted"
    package.mkdir()
    (package/"__init__.py").write_text('"""Planted."""\n', encoding="utf-8")
    (package/"errors.py").write_text('"""No notebook exports this: errors.py is another file."""\n', encoding="utf-8")
    return "segfast/planted/errors.py"


edits = [edit_module, edit_readme, edit_notebook, edit_index, leave_uncleaned, leave_stale_module,
         edit_module_in_package, leave_stale_module_in_package]


@pytest.mark.slow
def test_this_tree_is_in_step(repo):
    code, said = sync(repo)
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("edit", edits)
def test_committed_edit_fails(repo, edit):
    changed = edit(repo)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "edit")
    code, said = sync(repo)
    assert code != 0 and changed in said, said


@pytest.mark.slow
@pytest.mark.parametrize("edit", [edit_module, edit_readme, edit_notebook])
def test_uncommitted_edit_fails(repo, edit):
    changed = edit(repo)
    code, said = sync(repo)
    assert code != 0 and changed in said, said


@pytest.mark.slow
def test_added_module_fails_until_it_is_in_git(repo):
    def rename(cells):
        for c in cells:
            c["source"] = [line.replace("default_exp core.errors", "default_exp extra") for line in c["source"]]
    shutil.copy(repo/"nbs"/"core"/"00_errors.ipynb", repo/"nbs"/"98_extra.ipynb")
    rewrite(repo/"nbs"/"98_extra.ipynb", rename)
    code, said = sync(repo)
    assert code != 0 and "segfast/extra.py" in said and "nbs/98_extra.ipynb" in said, said
    git(repo, "add", "-A")
    code, said = sync(repo)
    assert code == 0, said


@pytest.mark.slow
def test_added_package_fails_until_it_is_in_git(repo):
    added = add_package(repo)
    code, said = sync(repo)
    assert code != 0 and all(name in said for name in added), said
    (repo/"segfast"/"planted"/"__init__.py").write_text('"""Planted."""\n', encoding="utf-8")
    git(repo, "add", "-A")
    code, said = sync(repo)
    assert code == 0, said
    assert (repo/"segfast"/"planted"/"__init__.py").read_text(encoding="utf-8") == '"""Planted."""\n'


@pytest.mark.parametrize("folder", ["segfast/runs", "nbs/runs", "tests/runs", "segfast/core/templates"])
def test_git_takes_the_packages(repo, folder):
    (repo/folder).mkdir(parents=True, exist_ok=True)
    (repo/folder/"file.txt").write_text("x")
    assert f"?? {folder}/file.txt\n" in git(repo, "status", "--porcelain", "-uall")


def test_git_leaves_out_the_runs_of_the_root(repo):
    (repo/"runs"/"first").mkdir(parents=True)
    (repo/"runs"/"first"/"status.json").write_text("{}")
    assert git(repo, "status", "--porcelain", "-uall") == ""
