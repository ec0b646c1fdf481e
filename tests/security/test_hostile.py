"""Small samples of the soaks (kills, bit flips, hostile runs), and tests that the soaks see what they look for."""
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.flips import Flips, Reader, Runs, difference, flip
from helpers.forking import Ended
from helpers.hostile import SECRET, Attacks, Watcher, changes, facts, leaves
from helpers.torn import content, flaw, is_part, parts_in, torn_files
from PIL import Image

SAMPLE = Path(__file__).resolve().parents[1]/"helpers/sample.py"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    "What went wrong in a small sample of each soak; in a process of its own, which may fork."
    folder = tmp_path_factory.mktemp("samples")
    command = [sys.executable, SAMPLE, folder/"material", folder/"found.json"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    return json.loads((folder/"found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name, n", [("kills", 10), ("flips", 25), ("hostile", 15)])
def test_a_small_sample(samples, name, n):
    assert samples[name]["n"] == n and samples[name]["wrong"] == []


# --- the soaks see what they look for ---

def png(path):
    Image.fromarray(np.arange(48*64, dtype=np.uint8).reshape(48, 64)).save(path)
    return path


def test_files_that_are_cut_short_are_seen(tmp_path):
    np.save(tmp_path/"a.npy", np.ones(99))
    (tmp_path/"b.json").write_text('{"a": [1, 2]}\n')
    (tmp_path/"c.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path/"d.html").write_text("<html><p>x</p></html>\n")
    (tmp_path/"e.toml").write_text("a = 1\nb = 'text'\n")
    png(tmp_path/"f.png")
    assert torn_files(tmp_path) == []
    for path in sorted(tmp_path.iterdir()):
        raw = path.read_bytes()
        path.write_bytes(raw[:len(raw) - 5])
        assert flaw(path), path
        path.write_bytes(raw)


def test_a_file_that_grows_may_end_within_a_line(tmp_path):
    (tmp_path/"history.csv").write_text("stage,epoch\n1,1\n1")
    assert torn_files(tmp_path) == []
    (tmp_path/"history.csv").write_text("stage,epoch\n1\n1,2\n1,3\n")
    assert torn_files(tmp_path)


def test_names_of_unfinished_files():
    assert all(map(is_part, [".part-0a1b.json", "masks/.part-1/a.png", ".last.part", ".best.old",
                             ".model.7.part.onnx"]))
    assert not any(map(is_part, ["part.json", ".lock", "a.part", "parts/x.png", "status.json"]))


def test_what_is_half_done_is_no_content(tmp_path):
    (tmp_path/".part-1").mkdir()
    (tmp_path/".part-1/a.txt").write_text("x")
    (tmp_path/"b.txt").write_text("y")
    assert list(content(tmp_path)) == ["b.txt"] and parts_in(tmp_path) == [".part-1"]


def test_a_flip_changes_one_bit_and_not_the_time(tmp_path):
    path = tmp_path/"a"
    path.write_bytes(bytes(20))
    os.utime(path, (1e9, 1e9))
    where, raw, _ = flip(path, random.Random(0))
    assert raw == bytes(20) and sum(bin(b).count("1") for b in path.read_bytes()) == 1 and "bit" in where
    assert path.stat().st_mtime == 1e9


def ended(code, err="", out=""): return Ended(code, out, err, .1, False, None)


@pytest.mark.parametrize("command, after, found, word", [
    (Reader, ended(0), {"mask": "b"}, "differs without a word"),
    (Reader, ended(0, "status.json: was changed"), {"mask": "b"}, "differs without a word"), # a mask may never differ
    (Runs, ended(0), {"row": "b"}, "differs without a word"),
    (Reader, ended(1, "Traceback (most recent call last)"), None, "crash"),
    (Reader, ended(1, "something is wrong"), None, "does not name the file"),
    (Reader, ended(-9), None, "exit code"),
    (Reader, Ended(-9, "", "", 21., True, None), None, "hangs"),
])
def test_a_silent_difference_is_seen(command, after, found, word):
    wrong = Flips.judge(command(None), Path("run/status.json"), (ended(0), {"mask": "a"}), (after, found))
    assert word in wrong[0]


@pytest.fixture(autouse=True)
def without_material(monkeypatch):
    monkeypatch.setattr(Reader, "__init__", lambda self, m: None)


@pytest.mark.parametrize("command, after, found", [
    (Reader, ended(0), {"mask": "a"}), (Reader, ended(1, "run/status.json: cannot be read."), None),
    (Runs, ended(0), {"mask": "damaged: status.json"}),
    (Runs, ended(0, "status.json: cannot be read"), {"mask": None})])
def test_what_is_said_may_differ(command, after, found):
    assert Flips.judge(command(None), Path("run/status.json"), (ended(0), {"mask": "a"}), (after, found)) == []


def test_a_difference_shows_where():
    assert "b: 1 -> 2" in difference({"a": 0, "b": 1}, {"a": 0, "b": 2})
    assert difference({"page": "same " * 30 + "old text"}, {"page": "same " * 30 + "file is damaged"}).count("damaged")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
def test_the_watcher_sees_what_touches_a_private_folder(tmp_path):
    private = tmp_path/"private"
    private.mkdir()
    (private/"a.txt").write_text(SECRET)
    (tmp_path/"link").symlink_to(private/"a.txt")
    watcher = Watcher([private])
    try:
        assert watcher.seen() == []
        private.stat(), (tmp_path/"link").stat()
        assert watcher.seen() == [] # to look at the facts of a file is no reading
        (tmp_path/"link").read_text()
        assert "a.txt" in " ".join(watcher.seen()) and watcher.seen() == []
        (private/"new").touch()
        assert "created" in " ".join(watcher.seen())
    finally: os.close(watcher.fd)


def test_changes_outside_are_seen(tmp_path):
    (tmp_path/"a").write_text("x")
    before = facts(tmp_path)
    assert changes([before], [facts(tmp_path)]) == []
    (tmp_path/"a").write_text("xy")
    (tmp_path/"b").touch()
    found = {text.split(": ")[1] for text in changes([before], [facts(tmp_path)])}
    assert {str(tmp_path/"a"), str(tmp_path/"b")} <= found


WRITES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.hostile import note_writes
import os, shutil
inside, outside = Path("inside"), Path("outside")
for folder in inside, outside: folder.mkdir()
(inside/"link").symlink_to("../outside/a")
(inside/"folder").symlink_to("../outside")
found = []
note_writes([inside], lambda raw: found.append(raw.decode()))
def sees(n, function):
    found.clear(); function(); assert (len(found) > 0) == n, (found, function)
sees(0, lambda: (inside/"b").write_text("x"))
sees(1, lambda: (inside/"link").write_text("x"))
sees(1, lambda: (inside/"folder/b").write_text("x"))
sees(0, lambda: (inside/"link").read_text())
sees(0, lambda: (inside/"link").unlink())
sees(1, lambda: os.rename(inside/"b", outside/"b"))
sees(1, lambda: os.link(outside/"b", outside/"c"))
sees(1, lambda: os.mkdir(inside/"folder/new"))
sees(1, lambda: os.chmod(outside/"b", 0o600))
sees(1, lambda: shutil.rmtree(outside))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the hook reads /proc")
def test_the_hook_sees_writes_elsewhere(tmp_path):
    "In a process of its own: an audit hook cannot be taken away."
    command = [sys.executable, "-c", WRITES, SAMPLE.parents[1]]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("name, after, refused, word", [
    ("report", ended(0), True, "not refused"), ("report", ended(1, "Unexpected KeyError\n--debug"), False, "crash"),
    ("runs", ended(0, out="evil"), False, "not listed"), ("runs", ended(1, out="good evil"), False, "not listed"),
    ("report", ended(1, "a\x1b[2J"), False, "control"), ("clean", ended(1), False, "ends with"),
    ("report", Ended(-9, "", "", 21., True, None), False, "hangs"), ("report", ended(-11), False, "exit code")])
def test_harm_by_a_hostile_run_is_seen(name, after, refused, word):
    assert word in Attacks.judge(name, after, refused)[0]


def test_all_places_of_a_value_are_attacked():
    assert set(leaves({"a": [1, {"b": 2}]})) == {("a",), ("a", 0), ("a", 1), ("a", 1, "b")}
