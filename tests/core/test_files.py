"""Small text files as people save them; JSON files that are whole or not there."""
import json
import os
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.core.files import (cache_dir, discard, read_json, read_lines, read_table, read_text, sweep_cache, to_plain,
                                write_atomic, write_json, write_table)


@pytest.mark.parametrize("raw, lines, odd", [(b"a\nb\n", ["a", "b"], 0), (b"a\r\nb\r\n", ["a", "b"], 1),
                                             (b"\xef\xbb\xbfa\n", ["a"], 1), (b" a \n", ["a"], 1),
                                             (b"a\n\n\n", ["a"], 1), (b"a\rb", ["a", "b"], 1), (b"", [], 0),
                                             (b"\n\n", [], 0), ("Straße\n".encode(), ["Straße"], 0)])
def test_lines_as_editors_save_them(tmp_path, raw, lines, odd):
    (tmp_path/"a.txt").write_bytes(raw)
    found = read_text(tmp_path/"a.txt")
    assert found.lines == lines == read_lines(tmp_path/"a.txt") and len(found.odd) == odd and not found.problems


def test_blank_lines_are_numbered(tmp_path):
    (tmp_path/"a.txt").write_text("a\n\nb\n")
    found = read_text(tmp_path/"a.txt")
    assert (found.numbers, found.blank) == ([1, 3], [2])


@pytest.mark.parametrize("raw", [b"a\xff", "ab".encode("utf-16"), b"a\0b"])
def test_what_is_no_utf8_is_named(tmp_path, raw):
    (tmp_path/"a.txt").write_bytes(raw)
    assert [p.code for p in read_text(tmp_path/"a.txt").problems] == ["encoding"]
    with refuses(DataError, "a.txt", code="encoding"):
        read_lines(tmp_path/"a.txt")


def test_a_file_that_is_not_there(tmp_path):
    assert [p.code for p in read_text(tmp_path/"a.txt").problems] == ["unreadable"]


def test_plain_values():
    found = to_plain({1: np.float32("nan"), "a": (np.int64(3), [np.arange(2)]), "b": float("inf"), "c": None,
                      "d": True})
    assert found == {"1": None, "a": [3, [[0, 1]]], "b": None, "c": None, "d": True} and json.dumps(found)


def test_json_there_and_back(tmp_path):
    write_json(tmp_path/"a.json", {"name": "Straße", "iou": float("nan")})
    assert read_json(tmp_path/"a.json") == {"name": "Straße", "iou": None}


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "NaN"])
def test_broken_json_is_named(tmp_path, text):
    (tmp_path/"a.json").write_text(text)
    with refuses(DataError, tmp_path/"a.json"):
        read_json(tmp_path/"a.json")
    with refuses(DataError, tmp_path/"b.json"):
        read_json(tmp_path/"b.json")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomic(tmp_path/"a.txt", "old")
    def full(fd): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_atomic(tmp_path/"a.txt", "new")
    assert (tmp_path/"a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("SEGFAST_CACHE", "~/somewhere")
    assert cache_dir().is_absolute()


def test_a_table_is_the_one_that_was_written(tmp_path):
    names = ["=1+1.png", "'x.png", "-a.png", "NA", "", "a\r=1.png", "ü,\"b\".png"]
    table = pd.DataFrame({"image": names, "=class": range(len(names))})
    total = write_table(tmp_path/"counts.csv", table)
    write_json(tmp_path/"scores.json", dict(files={"counts.csv": total}))
    raw = (tmp_path/"counts.csv").read_bytes()
    assert sha256(raw).hexdigest() == total and b"\n=1+1" not in raw and b",=class" not in raw
    read = read_table(tmp_path/"counts.csv", ("image", "=class"))
    assert read.image.tolist() == names and read["=class"].tolist() == list(map(str, range(len(names))))
    for i in range(0, len(raw), 5):
        (tmp_path/"counts.csv").write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i+1:])
        with refuses(DataError, "counts.csv", "scores.json"):
            read_table(tmp_path/"counts.csv")


@pytest.mark.parametrize("record", ['{"files": [1]}', '{"files": "x"}', "[1]", '{"files": {"a.csv": ["x"]}}', "{"])
def test_a_record_of_no_use(tmp_path, record):
    write_table(tmp_path/"a.csv", pd.DataFrame(dict(image=["a"])))
    (tmp_path/"scores.json").write_text(record)
    with refuses(DataError, "scores.json"):
        read_table(tmp_path/"a.csv")


def test_a_table_that_is_a_pipe_or_a_link(tmp_path):
    os.mkfifo(tmp_path/"a.csv")
    (tmp_path/"b.csv").symlink_to(tmp_path/"secret.csv")
    (tmp_path/"secret.csv").write_text("image\nsecret\n")
    for name in ("a.csv", "b.csv"):
        with refuses(DataError, name):
            read_table(tmp_path/name)
    with refuses(DataError, "c.csv"):
        read_table(tmp_path/"c.csv")


# What a cache holds

@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: p.mkdir(), lambda p: (p/"b").mkdir(parents=True),
                                  lambda p: p.symlink_to(p.parent/"other"), lambda p: p.symlink_to(p.parent/"nowhere"),
                                  lambda p: os.mkfifo(p), lambda p: os.link(p.parent/"other/file", p)],
                         ids=["file", "folder", "full folder", "link", "dangling link", "pipe", "hard link"])
def test_whatever_lies_there_is_removed_and_nothing_behind_it(tmp_path, make):
    (tmp_path/"other").mkdir()
    (tmp_path/"other/file").write_text("kept")
    make(tmp_path/"a")
    assert discard(tmp_path/"a") and not discard(tmp_path/"a")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "other"]


def test_old_parts_are_swept(tmp_path):
    (tmp_path/"kept").mkdir()
    for name in ".part-a.npy", ".part-b":
        (tmp_path/name).write_text("x")
        os.utime(tmp_path/name, (1, 1))
    (tmp_path/".part-link").symlink_to(tmp_path/"kept")
    os.utime(tmp_path/".part-link", (1, 1), follow_symlinks=False)
    (tmp_path/".part-now").mkdir()
    (tmp_path/".part-busy").mkdir()
    (tmp_path/".part-busy/images.npy").write_text("still written")
    os.utime(tmp_path/".part-busy", (1, 1))
    sweep_cache(tmp_path)
    sweep_cache(tmp_path/"nowhere")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".part-busy", ".part-now", "kept"]
