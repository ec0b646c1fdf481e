"""No answer depends on the process or the disk: nothing goes through a set or an unsorted listing in order.

The first tests read the library's code; the last ones open ambiguous folders in two processes, with other hash seeds
and with folders that are listed in another order."""
import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.ordering import functions_with_sets, name_of, set_loops, unsorted_listings

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in (ROOT/"segfast").rglob("*.py") if path.name != "_modidx.py")
TREES = {path.relative_to(ROOT/"segfast").as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
# listings whose order has no effect
ALLOWED = {
    ("core/files.py", "os.scandir(at)"): "sorted in the next line, once the number of entries is known",
    ("core/files.py", "os.walk(path)"): "the latest time of all files",
    ("data/cache.py", "os.walk(folder)"): "a sum of sizes",
    ("data/cache.py", "root.iterdir()"): "sorted before anything is deleted",
    ("data/check.py", "os.listdir(entry.path)"): "a count",
    ("data/pairing.py", "os.scandir(folder)"): "sorted in the same line",
    ("inference/evaluate.py", "(folder / 'worst').glob('*')"): "whether any file is another one",
    ("inference/evaluate.py", "folder.iterdir()"): "whether any file is another one",
    ("inference/run_model.py", "(run.path / 'checkpoints').glob('*/model.safetensors')"): "sorted in the next line",
    ("models/weights.py", "file.parent.glob(f'{file.name}.*.partial')"): "deletes all that are old",
    ("runs/clean.py", "os.scandir(path)"): "whether the folder can be read",
    ("runs/clean.py", "run.path.iterdir()"): "deletes all but three",
    ("runs/listing.py", "os.scandir(path)"): "sorted in the next line",
    ("runs/run.py", "part.iterdir()"): "writes all to the disk",
    ("runs/run.py", "self.path.rglob('.*.part')"): "deletes all",
    ("runs/run.py", "self.path.rglob('.part-*')"): "deletes all",
    ("training/loggers.py", "os.walk(folder)"): "deletes all links",
}

# loops over sets whose order has no effect
ALLOWED_LOOPS = {("data/pairing.py", "found"): "a set of one word, or of none"}


def found_in_all(find):
    return {name: found for name, tree in TREES.items() if (found := find(name, tree))}


def test_listings_are_sorted():
    def find(name, tree):
        return [(line, source) for line, source in unsorted_listings(tree) if (name, source) not in ALLOWED]
    assert found_in_all(find) == {}, "sort these, or allow them with a reason"


def test_every_allowed_listing_is_still_there():
    there = {(name, source) for name, tree in TREES.items() for _, source in unsorted_listings(tree)}
    assert sorted(set(ALLOWED) - there) == []


def test_no_loop_over_a_set_gives_an_order():
    sets = functions_with_sets(TREES.values())

    def find(name, tree):
        return [(line, source) for line, source in set_loops(tree, sets) if (name, source) not in ALLOWED_LOOPS]
    assert found_in_all(find) == {}, "sort these"


def test_no_hashes_of_the_process_and_no_order_of_threads():
    def find(name, tree):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        return [call.lineno for call in calls if getattr(call.func, "id", "") == "hash"
                or name_of(call) in ("as_completed", "imap_unordered")]
    assert found_in_all(find) == {}


# What the readers of code find

@pytest.mark.parametrize("code, found", [
    ("for name in {'a', 'b'}: print(name)", ["{'a', 'b'}"]),
    ("x = set(names)\nout = [n for n in x]", ["x"]),
    ("a, b = set(p), set(q)\nout = list(a - b)", ["a - b"]),
    ("out = ', '.join(set(names))", ["set(names)"]),
    ("out = max(set(names), key=score)", ["set(names)"]),
    ("first = next(iter(set(names)))", ["set(names)"]),
    ("out = {n: 1 for n in set(names)}", ["set(names)"]),
    ("def f(names): return [n for n in names]\ndef g(x): return f(set(x))", ["names"]),
    ("def f(seen:set): return [*seen]", ["seen"]),
    ("def f(x):\n    x = set(x)\n    def g(y): return [n for n in x]", ["x"]),
    ("votes = Counter(n for n in a.keys() & b.keys())", ["a.keys() & b.keys()"]),
    ("x = set(n)\nx.pop()", ["x"]),
    ("class A:\n    def __init__(self): self.x = set()\n    def f(self): return [n for n in self.x]", ["self.x"]),
    ("class A(NamedTuple):\n    x: set\ndef f(a): return list(a.x)", ["a.x"]),
    ("out = sorted({'a', 'b'})", []),
    ("out = [n for n in sorted(set(x))]", []),
    ("out = sum(len(n) for n in set(x))", []),
    ("out = {f(n) for n in set(x)}", []),
    ("out = any(n for n in set(x))", []),
    ("out = {*set(x), 'b'}", []),
    ("out = n in set(x)", []),
    ("out = max(set(x))", []),
    ("for n in [1, 2]: pass", []),
    ("for n in sorted([*set(x), 'b']): pass", [])])
def test_loops_over_sets_are_found(code, found):
    assert [source for _, source in set_loops(ast.parse(code))] == found


@pytest.mark.parametrize("code, found", [
    ("for f in os.listdir(a): pass", 1), ("x = list(p.glob('*'))", 1), ("x = [f for f in p.rglob('*')]", 1),
    ("for f in sorted(p.iterdir()): pass", 0), ("x = sorted(f for f in p.iterdir() if f)", 0),
    ("x = len(os.listdir(a))", 0), ("if any(p.iterdir()): pass", 0), ("for a, b, c in os.walk(p): pass", 1),
    ("ast.walk(tree)", 0)])
def test_unsorted_listings_are_found(code, found):
    assert len(unsorted_listings(ast.parse(code))) == found


# Two processes

def answers(folder, seed):
    "What the library says of all folders, in a process of its own."
    env = os.environ | {"PYTHONHASHSEED": str(seed), "SEGFAST_CACHE": str(folder/f"cache-{seed}"),
                        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT/"tests")])}
    res = subprocess.run([sys.executable, "-m", "helpers.answers", str(folder/"data"), str(seed)], env=env, text=True,
                         capture_output=True, timeout=300)
    assert res.returncode == 0, res.stderr
    return res.stdout


@pytest.mark.slow
def test_two_processes_say_the_same(tmp_path):
    from helpers.answers import DRAWN, draw_all
    draw_all(tmp_path/"data")
    first, second = answers(tmp_path, 1), answers(tmp_path, 2)
    assert first == second
    assert all(f"\n{name}: " in f"\n{first}" for name in DRAWN)


def test_the_order_of_folders_is_changed(tmp_path):
    "A negative control: the two processes list folders in different orders."
    from helpers.answers import shuffled
    for i in range(20):
        (tmp_path/f"{i}").touch()
    with shuffled(1):
        first = os.listdir(tmp_path), [entry.name for entry in os.scandir(tmp_path)]
    with shuffled(2):
        second = os.listdir(tmp_path), [entry.name for entry in os.scandir(tmp_path)]
    assert first[0] != second[0] and first[1] != second[1] and sorted(first[0]) == sorted(second[0])
