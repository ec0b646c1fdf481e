"""Outputs of commands: `--report`, `--plot`, `--html`, `--out`. A name is free, or has an earlier output of the same
command; whatever else is there stays as it is, and the command ends with 2 before it works."""
import csv
import json
import os
import shutil
import signal
from hashlib import sha256

import pytest
from helpers.problems import missing
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.outputs import output_mark

REPORTS = "json", "csv", "html", "md", "txt"
FIGURES = "png", "svg", "pdf"
KINDS = "file", "empty", "link", "dangling", "folder", "pipe", "device"


def cli(*args): return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def tree(folder):
    "All names in a folder, with what is behind each."
    def content(path):
        if path.is_symlink(): return os.readlink(path)
        return sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.lstat().st_mode)
    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*")}


def occupy(path, kind):
    "Put something at a name that segfast did not write; a link leads to a file of the user."
    mine = path.parent/"mine"
    mine.write_text("mine")
    if kind == "file": path.write_text("mine")
    elif kind == "empty": path.touch()
    elif kind == "folder": path.mkdir()
    elif kind == "pipe": os.mkfifo(path)
    else: path.symlink_to(dict(link=mine, dangling=path.parent/"made", device="/dev/null")[kind])


@pytest.fixture
def data(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"data")


@pytest.fixture
def run(tiny_run, tmp_path): return shutil.copytree(tiny_run.path, tmp_path/"run")


@pytest.fixture
def no_work(monkeypatch):
    "The commands must end before they open the data or a run."
    import segfast.data.check
    import segfast.report.compare
    def work(*args, **kwargs): raise AssertionError("it worked first")
    monkeypatch.setattr(segfast.data.check, "check_path", work)
    monkeypatch.setattr(segfast.report.compare, "compare", work)


COMMANDS = {**{f"check .{end}": (["check", "demo", "--report"], end) for end in REPORTS},
            **{f"find-lr .{end}": (["find-lr", "demo", "--plot"], end) for end in FIGURES},
            **{f"compare .{end}": (["compare", "a", "b", "--plot"], end) for end in FIGURES},
            "compare .html": (["compare", "a", "b", "--html"], "html"),
            "compare .htm": (["compare", "a", "b", "--html"], "htm")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_segfast_did_not_write_stays(command, kind, no_work, tmp_path):
    args, end = COMMANDS[command]
    path = tmp_path/f"out.{end}"
    occupy(path, kind)
    before = tree(tmp_path)
    done = cli(*args, path)
    assert done.exit_code == 2 and not missing(done.output, path, args[-1]), done.output
    assert len(done.output.strip().splitlines()) <= 3 and tree(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_of_another_command_stays(command, no_work, tmp_path):
    args, end = COMMANDS[command]
    (tmp_path/f"out.{end}").write_text(output_mark("report", f".{end}"))
    before = tree(tmp_path)
    done = cli(*args, tmp_path/f"out.{end}")
    assert done.exit_code == 2 and "did not write it" in done.output and tree(tmp_path) == before


@pytest.mark.parametrize("name", ["codes.txt", "valid.txt", "README.md", "label_colors.txt"])
def test_files_of_the_dataset_stay(data, name):
    if not (data/name).exists(): (data/name).write_text("Road\n")
    before = tree(data)
    assert cli("check", data, "--report", data/name).exit_code == 2
    assert tree(data) == before


@pytest.mark.parametrize("end", REPORTS)
def test_a_report_replaces_a_report(data, tmp_path, end):
    "Elsewhere; in the dataset it is written once."
    for folder, codes in (tmp_path, [0, 0]), (data, [0, 2]):
        path = folder/f"r.{end}"
        assert [cli("check", data, "--report", path).exit_code for _ in codes] == codes
    broken = next((data/"images").iterdir())
    broken.write_bytes(b"")
    assert cli("check", data, "--report", tmp_path/f"r.{end}").exit_code == 1
    new, old = ((folder/f"r.{end}").read_text().replace("\\_", "_") for folder in (tmp_path, data))
    assert broken.name in new and broken.name not in old


def test_a_report_of_a_folder_that_is_no_dataset_is_replaced(tmp_path):
    for end in REPORTS:
        for _ in range(2): assert cli("check", tmp_path/"nowhere", "--report", tmp_path/f"r.{end}").exit_code == 1
        assert "nowhere" in (tmp_path/f"r.{end}").read_text()


@pytest.mark.parametrize("text", ["No error.", "Road\nCar\nNo error.", "", "\n", "note: mine\nthe end",
                                  "kind: of\nNo error.\n"])
def test_a_text_that_ends_like_a_report_is_none(data, tmp_path, text):
    (tmp_path/"notes.txt").write_text(text)
    assert cli("check", data, "--report", tmp_path/"notes.txt").exit_code == 2
    assert (tmp_path/"notes.txt").read_text() == text


RUN_FILES = ["scores.json", "status.json", "data.json", "report.html", "log.txt", "history.csv", "classes.csv",
             "per_class.csv", "plots/history.png", "data.csv"]


@pytest.mark.parametrize("name", RUN_FILES)
def test_files_of_a_run_stay(run, name):
    before = tree(run)
    commands = dict(json="check demo --report", html="check demo --report", txt="check demo --report",
                    csv="check demo --report", png="find-lr demo --plot")
    assert cli(*commands[name.rpartition(".")[2]].split(), run/name).exit_code == 2
    if name == "report.html": assert cli("compare", run, run, "--html", run/name).exit_code == 2
    assert tree(run) == before


def test_plots_and_pages_replace_their_own(run, tiny_run, tmp_path):
    out = tmp_path/"out"
    out.mkdir()
    for end in FIGURES:
        for _ in range(2): assert cli("compare", run, tiny_run.path, "--plot", out/f"c.{end}").exit_code == 0
        assert cli("find-lr", "demo", "--plot", out/f"c.{end}").exit_code == 2
    for _ in range(2): assert cli("compare", run, tiny_run.path, "--html", out/"c.html").exit_code == 0
    assert cli("check", "demo", "--report", out/"c.html").exit_code == 2
    assert sorted(path.name for path in out.iterdir()) == ["c.html", "c.pdf", "c.png", "c.svg"]


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_outputs_have_the_permissions_of_the_umask(data, run, tiny_run, tmp_path, mask):
    out, before = tmp_path/"out", os.umask(mask)
    try:
        out.mkdir()
        for end in REPORTS: cli("check", data, "--report", out/f"r.{end}")
        cli("compare", run, tiny_run.path, "--html", out/"c.html", "--plot", out/"c.png")
    finally: os.umask(before)
    assert len(list(out.iterdir())) == 7
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o666 & ~mask}


def test_a_full_disk_leaves_the_old_report(data, tmp_path, monkeypatch):
    for end in REPORTS: assert cli("check", data, "--report", tmp_path/f"r.{end}").exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("r.*")}
    def full(fd): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    for end in REPORTS:
        done = cli("check", data, "--no-cache", "--report", tmp_path/f"r.{end}")
        assert done.exit_code == 1
        assert not missing(done.output, tmp_path/f"r.{end}", "cannot be written (No space left on device)")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("r.*")} == before
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize("moment", ["open", "fsync", "replace"])
def test_killed_while_it_writes(data, tmp_path, moment):
    path = tmp_path/"r.json"
    cli("check", data, "--report", path)
    old = path.read_bytes()
    next((data/"images").iterdir()).write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        import segfast.core.files as files
        real = getattr(os, moment)
        def die(*args, **kwargs):
            if any(".part-" in str(arg) for arg in args) or moment == "fsync": os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        setattr(files.os, moment, die)
        from segfast.data.check import check_path
        try: check_path(str(data), None, None, False).save(path)
        finally: os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == old
    for part in tmp_path.glob(".part-*"): os.utime(part, (0, 0))
    assert cli("check", data, "--report", path).exit_code == 1
    assert json.loads(path.read_text())["problems"] and not list(tmp_path.glob(".part-*"))


def test_names_do_not_become_formulas(data, tmp_path):
    name = "a\r=cmd()|' /C calc'!A0"
    image = sorted((data/"images").iterdir())[0]
    image.rename(data/f"images/{name}.png".replace("/C", "C"))
    cli("check", data, "--report", tmp_path/"r.csv")
    with open(tmp_path/"r.csv", newline="", encoding="utf-8") as file: rows = list(csv.reader(file))
    assert any("=cmd()" in cell for row in rows for cell in row) and {len(row) for row in rows} == {8}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


# Folders

@pytest.mark.parametrize("kind", KINDS[2:])
@pytest.mark.parametrize("command", ["check demo --fix", "demo-data -n 2"])
def test_a_folder_is_not_written_through_a_link(command, kind, data, tmp_path):
    path = tmp_path/"out"
    occupy(path, kind)
    if kind == "folder": (path/"mine").touch()
    before = tree(tmp_path)
    args = command.replace("demo ", f"{data} ").split()
    assert cli(*args, path).exit_code in (1, 2)
    assert tree(tmp_path) == before


def test_masks_of_a_person_stay(tmp_path, demo_dir):
    out = tmp_path/"out"
    out.mkdir()
    (out/"masks.json").write_text('{"mine": 1}')
    (out/"mask-000.png").write_bytes(b"mine")
    before, photo = tree(out), next((demo_dir/"images").iterdir())
    done = cli("prompt", photo, "--out", out, "--points", "5,5", "--overwrite", "--model", tmp_path/"no-model")
    assert done.exit_code == 2 and not missing(done.output, "--out", "did not write it") and tree(out) == before
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_report_replaces_only_run_reports(run, tmp_path, kind):
    out = tmp_path/"out"
    out.mkdir()
    occupy(out/"r.html", kind)
    before = tree(out)
    assert cli("report", run, "--out", out/"r.html").exit_code == 2 and tree(out) == before
    for _ in range(2): assert cli("report", run, "--out", out/"new.html").exit_code == 0
    assert cli("check", "demo", "--report", out/"new.html").exit_code == 2


@pytest.mark.parametrize("out", ["run", "run/plots", "data", "data/images", "mine"])
def test_an_evaluation_replaces_only_an_evaluation(run, data, tmp_path, out):
    (tmp_path/"mine").mkdir()
    (tmp_path/"mine/per_class.csv").write_text("mine")
    before = tree(tmp_path)
    assert cli("evaluate", run, "--data", data, "--out", tmp_path/out).exit_code == 2
    assert tree(tmp_path) == before
