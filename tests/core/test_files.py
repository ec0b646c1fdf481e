"""Small text files as people save them; JSON files that are whole or not there."""
import errno
import json
import os
import re
import socket
import subprocess
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from helpers.problems import missing
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.core.files import (append_text, cache_dir, check_plain, discard, file_checksum, new_file, new_folder,
                                parse_toml, part_path, parts_in, read_bytes, read_json, read_lines, read_table,
                                read_text, sweep_parts, to_plain, write_atomic, write_json, write_table)


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

@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: p.mkdir(),
                                  lambda p: (p/"b").mkdir(parents=True), lambda p: p.symlink_to(p.parent/"other"),
                                  lambda p: p.symlink_to(p.parent/"nowhere"),
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
    gone = [part_path(tmp_path/name) for name in ("images.npy", "model.onnx", "folder")]
    gone += [tmp_path/name for name in (".model.123.part.onnx", ".repair-ab12cd_9")]
    now, busy, link, deep = (part_path(tmp_path/name) for name in "abcd")
    kept = [tmp_path/name for name in (".part-mine", "part-0123456789abcdef", ".model.part.onnx", ".repair-notes")]
    for path in *gone[:2], *gone[3:4], *kept: path.write_text("x")
    (gone[2]/"images").mkdir(parents=True)
    for path in gone[4], now, busy, deep: path.mkdir()
    link.symlink_to(tmp_path/"kept")
    (gone[4]/"inside").symlink_to(tmp_path/"kept") # as an archive has them
    for path in list(tmp_path.rglob("*")): os.utime(path, (1, 1), follow_symlinks=False)
    (busy/"images.npy").write_text("still written")
    os.utime(busy, (1, 1)); os.utime(now)
    at = os.getcwd()
    try:
        os.chdir(deep)
        for _ in range(1500): # deeper than Python calls functions
            os.mkdir("d"); os.chdir("d")
    finally: os.chdir(at)
    os.utime(deep, (1, 1))
    sweep_parts(tmp_path)
    sweep_parts(tmp_path/"nowhere")
    subprocess.run(["rm", "-rf", deep], check=False)
    assert {*tmp_path.iterdir()} == {now, busy, link, *kept, tmp_path/"kept"}
    assert parts_in(tmp_path, float("-inf")) == sorted([now, busy])


# What a stranger may have put there

def odd_entries(folder):
    "One entry of each kind that is not a file, by name."
    os.mkfifo(folder/"pipe")
    (folder/"folder").mkdir()
    (folder/"link").symlink_to("/etc/hostname")
    (folder/"dangling").symlink_to(folder/"nowhere")
    (folder/"zeros").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder/"socket"))
    return ["pipe", "folder", "link", "dangling", "zeros", "socket"]


def test_only_regular_files_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path) # the path of a socket may have 100 characters
    for name in odd_entries(tmp_path):
        for read in read_bytes, read_json, file_checksum:
            with refuses(DataError, tmp_path/name):
                read(tmp_path/name)


@pytest.mark.parametrize("name", ["pipe", "folder", "zeros"])
def test_a_list_of_a_dataset_may_be_a_link_but_not_a_device(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    odd_entries(tmp_path)
    (tmp_path/"a.txt").write_text("a\n")
    (tmp_path/"codes.txt").symlink_to("a.txt")
    assert read_lines(tmp_path/"codes.txt") == ["a"]
    assert [p.code for p in read_text(tmp_path/name).problems] == ["unreadable"]


def test_a_file_that_is_too_large(tmp_path):
    with open(tmp_path/"a.json", "wb") as file: # takes no space on the disk
        file.truncate(1 << 40)
    with refuses(DataError, tmp_path/"a.json", "larger"):
        read_json(tmp_path/"a.json")


BOMBS = {"deep list": "["*100_000, "deep and closed": "["*900 + "]"*900, "deep dict": '{"a":'*5000,
         "many digits": '{"a": ' + "9"*400 + "}", "very many digits": '{"a": ' + "9"*10_000 + "}",
         "infinite": '{"a": 1e999}', "no number": '{"a": NaN}'}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_json_that_is_built_to_do_harm(tmp_path, text):
    (tmp_path/"a.json").write_text(text)
    with refuses(DataError, tmp_path/"a.json"):
        read_json(tmp_path/"a.json")


@pytest.mark.parametrize("text", ["a = " + "["*5000, "a = " + "["*900 + "]"*900, f"a = {'9'*400}", "a = inf",
                                  ".".join("a"*3000) + " = 1"], ids=["open", "closed", "digits", "inf", "dots"])
def test_toml_that_is_built_to_do_harm(text):
    with pytest.raises(ValueError):
        parse_toml(text)


@pytest.mark.parametrize("write", [write_atomic, append_text])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard"])
def test_nothing_is_written_through_a_name(tmp_path, write, kind):
    "A link with the final name is replaced or refused, and a second name of a file keeps its text."
    (tmp_path/"private").write_text("private\n")
    path = tmp_path/"log.txt"
    if kind == "hard":
        os.link(tmp_path/"private", path)
    else:
        path.symlink_to(tmp_path/("private" if kind == "link" else "nowhere"))
    try:
        write(path, "new\n")
    except DataError as e:
        assert write is append_text and kind != "hard" and not missing(e, path)
    else:
        assert not path.is_symlink() and path.read_text() in ("new\n", "private\nnew\n")
    assert (tmp_path/"private").read_text() == "private\n" and not (tmp_path/"nowhere").exists()


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, mask):
    def private(path): # as safetensors writes: under a name of its own, for the owner alone
        (path.parent/"own").write_text("x")
        (path.parent/"own").chmod(0o600)
        os.replace(path.parent/"own", path)
    before = os.umask(mask)
    try:
        with new_file(tmp_path/"a") as part:
            private(part)
        append_text(tmp_path/"b", "x")
        with new_folder(tmp_path/"c"):
            pass
    finally:
        os.umask(before)
    assert [oct((tmp_path/name).stat().st_mode & 0o777) for name in "abc"] == [
        oct(0o666 & ~mask), oct(0o666 & ~mask), oct(0o777 & ~mask)]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_fsync(tmp_path, monkeypatch, code):
    def unsupported(fd): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(os, "fsync", unsupported)
    write_json(tmp_path/"a.json", dict(a=1))
    append_text(tmp_path/"a.txt", "a")
    with new_folder(tmp_path/"b"):
        pass
    assert read_json(tmp_path/"a.json") == dict(a=1) and sorted(os.listdir(tmp_path)) == ["a.json", "a.txt", "b"]


def test_a_disk_error_is_never_hidden(tmp_path, monkeypatch):
    def broken(fd): raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError):
        write_json(tmp_path/"a.json", dict(a=1))


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
    path = tmp_path/"a.json"
    values = dict(accuracy=.91, name="Straße", classes=[dict(iou=None, pixels=12)])
    write_json(path, values)
    raw = path.read_bytes()
    for i in range(len(raw)*8):
        flipped = bytearray(raw)
        flipped[i//8] ^= 1 << i % 8
        path.write_bytes(flipped)
        try:
            found = read_json(path)
        except DataError:
            continue
        kept = {k: v for k, v in found.items() if k in values}
        assert kept == values, (i, found) # only the name of the checksum was hit


@pytest.mark.parametrize("layout", [dict(), dict(indent=2), dict(indent=4, ensure_ascii=False)], ids=str)
def test_a_record_that_a_program_wrote_again(tmp_path, caplog, layout):
    path = tmp_path/"a.json"
    write_json(path, dict(name="Straße", pixels=10))
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(pixels=20), **layout))
    assert read_json(path) == read_json(path) == dict(name="Straße", pixels=20)
    assert len(caplog.records) == 1 and str(path) in caplog.text


def test_a_record_that_a_person_edited(tmp_path, caplog):
    path = tmp_path/"a.json"
    write_json(path, dict(name="Straße", pixels=10))
    text = path.read_text()
    for old, new in ("10", "20"), ("10", "1 "), ("10", "1"):
        path.write_text(text.replace(old, new, 1))
        with refuses(DataError, path, "checksum"):
            read_json(path)
    assert read_json(path, verify=False)["pixels"] == 1 and str(path) in caplog.text
    path.write_text(re.sub(r',\n "checksum": .*', "", path.read_text()))
    assert read_json(path) == dict(name="Straße", pixels=1)


def test_a_folder_takes_its_place_at_once(tmp_path):
    with new_folder(tmp_path/"a") as part:
        (part/"x").write_text("1")
        assert not (tmp_path/"a").exists()
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path/"a", replace=True) as part:
        (part/"x").write_text("2")
        raise ZeroDivisionError
    assert (tmp_path/"a/x").read_text() == "1" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(OSError), new_folder(tmp_path/"a"):
        pass
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("where", ["", "plots", "checkpoints/last"])
@pytest.mark.parametrize("kind", ["pipe", "link", "dangling", "zeros", "socket"])
def test_a_folder_with_odd_entries(tmp_path, monkeypatch, where, kind):
    run = tmp_path/"run"
    (run/where).mkdir(parents=True)
    check_plain(run)
    monkeypatch.chdir(tmp_path)
    for name in odd_entries(tmp_path):
        if name == kind:
            os.rename(tmp_path/name, run/where/name)
    with refuses(DataError, run/where/kind):
        check_plain(run)


def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch):
    "There is never a moment without it; where the system cannot exchange, two renames do it."
    import segfast.core.files as files
    for can in True, False:
        if not can: monkeypatch.setattr(files, "exchange_paths", lambda *paths: False)
        folder = tmp_path/f"{can}"
        with files.new_folder(folder) as part: (part/"a").write_text("old")
        with pytest.raises(KeyError), files.new_folder(folder, replace=True) as part:
            (part/"a").write_text("new")
            raise KeyError
        assert (folder/"a").read_text() == "old"
        with files.new_folder(folder, replace=True) as part: (part/"b").write_text("new")
        assert [path.name for path in folder.iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["False", "True"]
    assert not files.exchange_paths(tmp_path/"True", tmp_path/"nowhere") and (tmp_path/"True/b").exists()


def test_the_checksum_of_a_link(tmp_path):
    (tmp_path/"a.png").write_bytes(b"x")
    (tmp_path/"b.png").symlink_to(tmp_path/"a.png")
    assert file_checksum(tmp_path/"b.png", follow=True) == file_checksum(tmp_path/"a.png")
    with refuses(DataError, "b.png"):
        file_checksum(tmp_path/"b.png")
