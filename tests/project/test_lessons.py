"""The lessons: in order, each says what it teaches and what comes next, and README lists them by their own titles."""
import ast
import builtins
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT/"nbs/tutorials").glob("*.ipynb"))
PAGES = [*LESSONS, *sorted((ROOT/"nbs/howto").glob("*.ipynb")), *sorted((ROOT/"nbs/explanations").glob("*.ipynb"))]


def cells(path, kind):
    "The sources of a notebook's cells of one kind"
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def title(path): return cells(path, "markdown")[0].splitlines()[0].removeprefix("# ")


def name(path): return path.stem


def test_lessons_are_numbered_without_a_gap():
    assert [path.name[:3] for path in LESSONS] == [f"{i:02}_" for i in range(1, len(LESSONS) + 1)]


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_lesson_says_what_it_teaches_and_what_comes_next(path):
    first, *_, last = cells(path, "markdown")
    teaches = first.split("## What you will learn\n")[1] if "## What you will learn\n" in first else ""
    follows = last.split("## Next\n")[1] if "## Next\n" in last else ""
    assert 2 <= len(re.findall(r"^- ", teaches, re.M)) <= 4
    assert 1 <= len(re.findall(r"^- \[", follows, re.M)) <= 2


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_readme_lists_the_page_by_its_title(path):
    link = f"({path.relative_to(ROOT).as_posix()})"
    listed = re.findall(rf"^\| \[(.+?)\]{re.escape(link)}", (ROOT/"README.md").read_text(), re.M)
    assert listed == [title(path)]


def links(path):
    "Each link of a page to a lesson, how-to or explanation: its text and the page"
    for text, target in re.findall(r"\[([^\]]+)\]\(([^)#:]+\.ipynb)\)", "\n".join(cells(path, "markdown"))):
        if (found := (path.parent/target).resolve()) in PAGES: yield text, found


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_next_names_pages_by_their_titles(path):
    last = cells(path, "markdown")[-1]
    follows = last[last.index("## Next"):]
    named = [(text, target) for text, target in links(path) if f"- [{text}]" in follows]
    assert named and all(text == title(target) for text, target in named)


def visible_python(path):
    "The sources of the cells that a reader sees and can copy, without those that are commands"
    hidden = re.compile(r"^(%%|#\| *(hide|echo: false)\b)", re.M)
    return [source for source in cells(path, "code") if not hidden.search(source)]


def defined(tree):
    "The names that a cell binds, in whatever scope"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        if isinstance(node, ast.arg): yield node.arg
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load): yield node.id
        if isinstance(node, ast.ExceptHandler) and node.name: yield node.name


def unknown_names(sources, starred):
    "Names that no visible cell has defined before they are used"
    known, unknown = {*dir(builtins), "display"}, []
    for tree in map(ast.parse, sources):
        known |= set(defined(tree))
        if "*" in known: known |= starred
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        unknown += [name for name in names if name not in known]
    return unknown


@pytest.fixture(scope="module")
def starred():
    "The names that the two star imports give"
    names = {}
    exec("from fastai.vision.all import *\nfrom segfast.all import *", names)
    return set(names)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_visible_cells_can_be_copied(path, starred):
    "They begin as a fastai user begins, and need no name that only a hidden cell defines"
    sources = visible_python(path)
    if sources: assert "from fastai.vision.all import *" in sources[0].splitlines()
    assert unknown_names(sources, starred) == []


def test_a_name_from_a_hidden_cell_would_be_found():
    assert unknown_names(["from x import *\na = b", "c(a, tmp)"], {"b"}) == ["c", "tmp"]
