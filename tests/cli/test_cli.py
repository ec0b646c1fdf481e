"""The command line: results on stdout, all else on stderr, exit codes, plain lines in a pipe, and quick where nothing
is trained."""
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from helpers.problems import is_crash, missing
from PIL import Image
from typer.testing import CliRunner

import segfast
from segfast.cli import app
from segfast.runs.run import Run

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
tiny = "--size", "32x48", "--epochs", "1,1,1", "--weights", "none", "--device", "cpu"


def cli(*args, **env):
    "A command in this process, at 100 columns."
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "100"} | env)


def process(*args, **kwargs):
    "A command in a process of its own, with pipes for stdout and stderr."
    start = "from segfast.cli import app; app(prog_name='segfast')"
    env = os.environ | {"OMP_NUM_THREADS": "1"} | kwargs.pop("env", {})
    def heed(): signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are started deaf to Ctrl-C
    kwargs.setdefault("preexec_fn", heed)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", start, *map(str, args)], text=True, env=env, **pipes | kwargs)


def done(*args, **kwargs):
    "The same, waited for: exit code, stdout, stderr."
    with process(*args, **kwargs) as p: out, err = p.communicate(timeout=120)
    return p.returncode, out, err


@pytest.fixture(scope="module")
def trained(demo_dir, tmp_path_factory):
    "A training in a process of its own: exit code, stdout, stderr, folder of runs."
    out = tmp_path_factory.mktemp("trained")/"runs"
    return *done("train", demo_dir, *tiny, "--json", "--out", out, "--name", "first"), out


# --- train ---

def test_train_ends_well(trained):
    code, out, err, _ = trained
    assert code == 0, err
    assert "Traceback" not in err and "Warning" not in err


def test_json_is_the_last_line_of_stdout(trained):
    _, out, err, runs = trained
    assert len(out.splitlines()) == 1, "with --json, people's text goes to stderr"
    result = json.loads(out)
    assert list(result) == ["run", "accuracy", "mean_iou", "seconds"]
    assert Path(result["run"]) == runs/"first"
    assert 0 <= result["mean_iou"] <= result["accuracy"] <= 1 and result["seconds"] > 0
    assert Run(runs/"first").status["accuracy"] == result["accuracy"]
    assert [line.split()[-1] for line in err.splitlines()[-2:]] == [str(runs/"first"), str(runs/"first/report.html")]


def test_plan_comes_first(trained, demo_dir):
    err, stages = trained[2].splitlines(), Run(trained[3]/"first").recipe.stages
    plan = err[:next(i for i, text in enumerate(err) if text.startswith("stage 1/3"))]
    settings = [(f"{i}/3", s.name, f"{s.size[0]}x{s.size[1]}", s.epochs, f"{s.lr:.0e}", s.batch_size, s.precision, "MB")
                for i, s in enumerate(stages, 1)]
    assert settings[0][2:5] == ("16x24", 1, "1e-03") and settings[2][2:4] == ("32x48", 1)
    assert all(s.batch_size in (1, 2, 4, 8) for s in stages), "it is fitted to the free memory"
    for values in (8, "train", 2, "valid", 10), ("camvid",), (demo_dir.name,), ("cpu",), ("progressive", 42), ("0 Sky",
        "1 Building"), *settings:
        assert any(not missing(stage, *values) for stage in plan), values


def test_each_stage_at_its_size(trained):
    rows = [line for line in trained[2].splitlines() if re.match(r"stage \d/3  epoch", line)]
    assert [re.search(r"\d+x\d+", row)[0] for row in rows] == ["16x24", "16x24", "32x48"]
    run = Run(trained[3]/"first")
    assert run.history["size"].tolist() == ["16x24", "16x24", "32x48"]
    assert run.recipe.size == (32, 48) and [s.epochs for s in run.recipe.stages] == [1, 1, 1]
    assert (run.state, run.status["stages_done"]) == ("done", 3)


def test_scores_per_class(trained):
    err = trained[2]
    assert all(re.search(rf"^ +{name} +", err, re.M) for name in ("Sky", "Building", "Road", "Pole"))
    assert not re.search(r"^ +Void ", err, re.M), "void is not scored"
    status = Run(trained[3]/"first").status
    assert any(not missing(line, f"{status['accuracy']:.3f}", f"{status['mean_iou']:.3f}") for line in err.splitlines())


def test_plain_lines_in_a_pipe(trained):
    assert not CONTROL.search(trained[1].replace("\n", "")) and not CONTROL.search(trained[2].replace("\n", ""))


def test_without_json_the_scores_are_the_result(demo_dir, tmp_path, monkeypatch, trained):
    import segfast.training.train as train
    monkeypatch.setattr(train, "train", lambda *args, **kwargs: Run(trained[3]/"first"))
    res = cli("train", demo_dir, *tiny, "--out", tmp_path)
    assert res.exit_code == 0 and res.stderr == ""
    run = trained[3]/"first"
    assert [line.split()[-1] for line in res.stdout.splitlines()[-2:]] == [str(run), f"{run}/report.html"]
    assert "Building" in res.stdout and max(map(len, res.stdout.splitlines()[:-2])) <= 100
    narrow = cli("train", demo_dir, *tiny, "--out", tmp_path, COLUMNS="50").stdout.splitlines()
    assert max(map(len, narrow[:-2])) <= 50


def test_options_reach_the_recipe(demo_dir, tmp_path, monkeypatch):
    from segfast.core.errors import DataError
    def began(recipe, *args): raise DataError(f"far enough: {recipe}")
    monkeypatch.setattr("segfast.training.train.train_stages", began)
    args = ["--size", "64x96", "--epochs", "2,3,4", "--batch-size", "4,4,2", "--lr", "2e-3", "--precision", "fp32",
            "--seed", "7", "--weights", "none", "--device", "cpu", "--set", "wd=0.1", "--set", "stages.2.lr=1e-4"]
    res = cli("train", demo_dir, *args, "--out", tmp_path, "--name", "first")
    assert res.exit_code == 1 and "far enough" in res.stderr
    run = Run(tmp_path/"first")
    r = run.recipe
    assert [(s.size, s.epochs, s.batch_size, s.precision) for s in r.stages] == [((32, 48), 2, 4, "fp32"),
        ((32, 48), 3, 4, "fp32"), ((64, 96), 4, 2, "fp32")]
    assert (r.stages[0].lr, r.stages[1].lr, r.seed, r.weights, r.wd) == (2e-3, 1e-4, 7, "none", 0.1)
    assert run.state == "failed"
    again = cli("train", demo_dir, "--recipe", tmp_path/"first/recipe.toml", "--device", "cpu", "--out", tmp_path,
                "--name", "second")
    assert again.exit_code == 1 and Run(tmp_path/"second").recipe == r
    one = cli("train", demo_dir, "--no-progressive", "--epochs", "1,1", "--weights", "none", "--device", "cpu", "--out",
              tmp_path, "--name", "third")
    assert one.exit_code == 1 and {s.size for s in Run(tmp_path/"third").recipe.stages} == {(48, 64)}


def test_a_loss_that_is_no_number(demo_dir, tmp_path):
    res = cli("train", demo_dir, *tiny, "--lr", "1e30", "--out", tmp_path, "--name", "first")
    assert res.exit_code == 1
    assert not missing(res.stderr, Run(tmp_path/"first").recipe.stages[0].name, "--lr",
                       "1.0e+30") and re.search(r"\b(nan|inf)\b", res.stderr)
    assert not is_crash(res.stderr)
    assert Run(tmp_path/"first").state == "failed" and res.stdout == ""
    assert cli("runs", tmp_path).stdout.count("failed") == 1


@pytest.fixture
def copy(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"mine")


def spoil(folder, rows=2, columns=3):
    "A value without a name in one mask."
    path = folder/"labels/scene_002_P.png"
    with Image.open(path) as im:
        ids = np.array(im)
    ids[:rows, :columns] = 77
    Image.fromarray(ids).save(path)
    return path


def test_strict_minds_warnings(copy):
    assert cli("check", copy, "--strict").exit_code == 0
    train = next(name for name in sorted(os.listdir(copy/"images"))
                 if name not in (copy/"valid.txt").read_text().split())
    shutil.copy(copy/"images"/train, copy/"images"/(copy/"valid.txt").read_text().split()[0])
    res = cli("check", copy, "--json")
    assert res.exit_code == 0 and [p["code"] for p in json.loads(res.stdout)["problems"]
                                   if p["kind"] == "warning"] == ["same-image"]
    assert cli("check", copy, "--strict").exit_code == 1


@pytest.mark.parametrize("ending", ["json", "csv", "html", "md", "txt"])
def test_a_report_is_a_file(copy, tmp_path, ending):
    spoil(copy)
    res = cli("check", copy, "--report", tmp_path/f"r.{ending}")
    assert res.exit_code == 1 and "77" in (tmp_path/f"r.{ending}").read_text()
    assert cli("check", copy, "--report", tmp_path/"r.docx").exit_code == 2


def test_a_report_of_what_is_no_dataset(tmp_path):
    assert cli("check", tmp_path/"nowhere", "--report",
               tmp_path/"r.html").exit_code == 1 and "nowhere" in (tmp_path/"r.html").read_text()


def test_names_in_the_page_are_text(copy, tmp_path):
    os.rename(copy/"images/scene_004.png", copy/"images/<script>alert(1)<.png")
    cli("check", copy, "--report", tmp_path/"r.html")
    assert "<script>" not in (tmp_path/"r.html").read_text() and "&lt;script&gt;" in (tmp_path/"r.html").read_text()


def test_fix_writes_a_copy_and_leaves_the_original(copy, tmp_path):
    path = spoil(copy)
    before = path.read_bytes()
    res = cli("check", copy, "--fix", tmp_path/"mended")
    assert res.exit_code == 1 and "changes.csv" in res.stderr and path.read_bytes() == before
    assert cli("check", tmp_path/"mended").exit_code == 0
    again = cli("check", copy, "--fix", tmp_path/"mended")
    assert again.exit_code == 1 and "Traceback" not in again.output and str(tmp_path/"mended") in again.stderr


def test_no_check_says_so_and_trains(copy, tmp_path, monkeypatch, tiny_model):
    spoil(copy, 48, 64)
    monkeypatch.chdir(tmp_path)
    assert cli("train", copy, *tiny).exit_code == 1 and not (tmp_path/"runs").exists()
    res = cli("train", copy, *tiny, "--no-check")
    assert res.exit_code == 1 and "segfast check" in res.stderr and not is_crash(res.output)
    assert any(line.startswith("warning: ") and "--no-check" in line for line in res.stderr.splitlines())
    sound = cli("train", shutil.copytree(copy, tmp_path/"b", ignore=lambda *_: []), *tiny, "--no-check", "--split",
                "random:0.3")
    assert any(line.startswith("warning: ") and "--no-check" in line for line in sound.stderr.splitlines())


@pytest.fixture
def tiny_model(request, monkeypatch):
    from segfast.models.zoo import MODELS
    monkeypatch.setitem(MODELS, "unet_resnet34", MODELS[request.getfixturevalue("tiny")])


@pytest.mark.parametrize("how, splits", [("random:0.5", [5, 5]), ("sequence:0.2,0", [8, 2]),
                                         ("sequence:0.2,0.2,gap=1", [5, 1, 2]), ("fold:1/5", [8, 2]),
                                         ("stratified:0.2", [8, 2])])
def test_another_split(copy, how, splits):
    res = cli("check", copy, "--split", how, "--json")
    assert res.exit_code == 0 and list(json.loads(res.stdout)["splits"].values()) == splits


@pytest.mark.parametrize("args", [("--split", "half"), ("--split", "random:2"), ("--split", "fold:9/5"),
                                  ("--border", "class"), ("--border", "both"), ("--layout", "camvit"),
                                  ("--classes", "nowhere.txt")])
def test_options_of_the_data_that_make_no_sense(copy, args):
    for command in "check", "train":
        res = cli(command, copy, *args)
        assert res.exit_code in (1, 2) and not is_crash(res.output) and (args[1] in res.output
            or args[0][2:] in res.output)


def test_datasets_shows_a_tree_of_every_layout():
    from segfast.data.formats.registry import LAYOUTS
    res = cli("datasets")
    assert res.exit_code == 0 and all(f"  {k}: {item.about}" in res.stdout
                                      for k, item in LAYOUTS.items()) and "labels/a_P.png" in res.stdout
    assert set(json.loads(cli("datasets", "--json").stdout)["layouts"]) == set(LAYOUTS)


def test_debug_shows_the_traceback():
    code, _, err = done("check", "nowhere", "--debug")
    assert code == 1 and "Traceback" in err and "DataError" in err
    code, _, err = done("check", "nowhere")
    assert code == 1 and len(err.splitlines()) == 1


def test_what_nobody_foresaw_is_told_apart_from_a_refusal(tmp_path, monkeypatch):
    def fail(*args): raise ZeroDivisionError("on purpose")
    monkeypatch.setattr("segfast.runs.listing.run_rows", fail)
    res = cli("runs", tmp_path)
    assert res.exit_code == 1 and is_crash(res.stderr) and not missing(res.stderr, "ZeroDivisionError", "on purpose")
    assert not is_crash(cli("check", tmp_path/"nowhere").stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, *(pytest.param(getattr(signal, name), marks=pytest.mark.slow)
                                    for name in ("SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name))])
def test_interrupted(demo_dir, tmp_path, number):
    with process("train", demo_dir, "--size", "32x48", "--epochs", "99,1,1", "--weights", "none", "--device", "cpu",
                 "--out", tmp_path, "--name", "first") as p:
        for line in p.stderr:
            if "1/99" in line: break
        p.send_signal(number)
        out, err = p.communicate(timeout=30)
    said = [text for text in err.splitlines() if not re.match(r"stage \d/3 ", text)]
    assert p.returncode == 130 and out == ""
    assert len(said) <= 3 and str(tmp_path/"first") in said[-2] and not is_crash(
        err), "a line at once, and two at the end"
    run = Run(tmp_path/"first")
    assert run.status["status"] == "interrupted" and len(run.history) >= 1
    assert f"segfast resume {tmp_path/'first'}" in said[-1]
    assert run.newest_checkpoint() == tmp_path/"first/checkpoints/last"


@pytest.mark.slow
def test_interrupted_while_checking(demo_dir, tmp_path):
    data = Path(shutil.copytree(demo_dir, tmp_path/"street"))
    first, mask = sorted((data/"images").iterdir())[0], sorted((data/"labels").iterdir())[0]
    for i in range(3000):
        os.link(first, data/f"images/more{i}.png")
        os.link(mask, data/f"labels/more{i}_P.png")
    with process("train", data, *tiny, "--out", tmp_path/"runs") as p:
        assert p.stderr.readline()
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
    assert p.returncode == 130 and not is_crash(err)
    assert err.splitlines()[-1] and "segfast resume" not in err
    assert not (tmp_path/"runs").exists()


# --- the others ---

def test_check(demo_dir):
    res = cli("check", demo_dir)
    assert res.exit_code == 0 and res.stderr == ""
    assert not missing(res.stdout, 8, "train", 2, "valid", 10, "48x64") and not re.search(r"^(error|warning)|\d+ error",
        res.stdout, re.M)
    report = json.loads(cli("check", demo_dir, "--json").stdout)
    assert report["ok"] and report["images"] == 10 and report["void"] == ["Void"]


def test_runs(trained, tmp_path):
    res = cli("runs", trained[3])
    assert res.exit_code == 0 and "first" in res.stdout and "done" in res.stdout and "3/3" in res.stdout
    row, = json.loads(cli("runs", trained[3], "--json").stdout)
    assert row["name"] == "first" and row["status"] == "done"
    none = cli("runs", tmp_path)
    assert none.exit_code == 0 and len(
        none.stdout.splitlines()) == 1 and f"segfast train demo --progressive --out {tmp_path}" in none.stdout
    assert json.loads(cli("runs", tmp_path, "--json").stdout) == []


def test_datasets():
    out = cli("datasets").stdout
    for word in "demo", "camvid", "camvid_tiny", "codes.txt", "598 MB": assert word in out
    assert set(json.loads(cli("datasets", "--json").stdout)["names"]) == {"demo", "camvid", "camvid_tiny"}


def test_demo_data(tmp_path):
    res = cli("demo-data", tmp_path/"new", "-n", "4", "--size", "32x48", "--seed", "1")
    assert res.exit_code == 0 and str(tmp_path/"new") in res.stdout
    assert cli("check", tmp_path/"new").exit_code == 0
    other = cli("demo-data", tmp_path/"other", "-n", "4", "--size", "32x48", "--seed", "1")
    assert other.exit_code == 0
    assert all(path.read_bytes() == (tmp_path/"other"/path.relative_to(tmp_path/"new")).read_bytes()
               for path in (tmp_path/"new").rglob("*.png"))


def test_version_and_help():
    assert cli("--version").stdout == f"segfast {segfast.__version__}\n"
    text = cli("--help").stdout
    for name in "train", "check", "runs", "datasets", "demo-data": assert re.search(rf"^│ {name} ", text, re.M)
    text = cli("train", "--help").stdout
    for option in ("--progressive", "--layout", "--recipe", "--model", "--weights", "--size", "--epochs",
                   "--batch-size", "--lr", "--precision", "--seed", "--device", "--workers", "--out", "--name", "--set",
                   "--json", "--debug"):
        assert option in text
    for key in "check", "runs", "datasets", "demo-data": assert cli(key, "--help").exit_code == 0


@pytest.mark.parametrize("args", [["--nope"], ["nope"], ["train"], ["train", "demo", "--nope"],
                                  ["train", "demo", "--size"], ["runs", "a", "b"]], ids=" ".join)
def test_wrong_usage(args):
    code, out, err = done(*args)
    assert code == 2 and out == ""
    assert 1 <= len(err.splitlines()) <= 3 and "--help" in err


def panels(text):
    "Titles of a help's panels with the options or commands in each"
    found = {}
    for line in text.splitlines():
        if m := re.match(r"╭─ (.+?) ─", line): found[m[1]] = []
        elif m := re.match(r"│ (-{0,2}[a-z][a-z-]*)", line): found[list(found)[-1]].append(m[1])
    return found


def test_helps_are_in_panels():
    commands = panels(cli("--help").stdout)
    assert list(commands) == ["Options", "Train", "Data", "Use a model", "Runs"]
    assert sorted(sum(list(commands.values())[1:], [])) == sorted(typer.main.get_command(app).commands)
    options = panels(cli("train", "--help").stdout)
    assert list(options) == ["Arguments", "Options", "Data", "Model", "Training", "Hardware", "Output"]
    assert options["Options"] == ["--help"] and {"--lr", "--epochs", "--size"} <= set(options["Training"])


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_every_option_stands_in_a_panel_and_the_first_line_is_short(name):
    command = typer.main.get_command(app).commands[name]
    assert len(command.help) <= 55 and command.help.endswith(".") and "\n" not in command.help
    for param in command.params:
        if param.opts[0].startswith("-"): assert isinstance(param.rich_help_panel, str), param.name
        assert param.help and "[default" not in param.help, param.name
    text = cli(name, "--help", COLUMNS="80").stdout
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text


# --- imports ---

@pytest.mark.parametrize(("args", "without"), [(["--help"], {"torch", "fastai", "pandas", "numpy", "matplotlib"}),
                                               (["--version"], {"torch", "fastai", "pandas", "numpy"}),
                                               (["train", "--help"], {"torch", "fastai", "pandas", "numpy"}),
                                               (["runs", "RUNS"], {"torch", "fastai", "pandas", "matplotlib"}),
                                               (["datasets"], {"torch", "fastai"}),
                                               (["check", "DATA"], {"torch", "fastai"}),
                                               (["train", "DATA", "--size", "0x0"], {"torch", "fastai", "pandas"}),],
                         ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_imports_no_more_than_it_needs(args, without, trained, demo_dir):
    args = [{"RUNS": str(trained[3]), "DATA": str(demo_dir)}.get(arg, arg) for arg in args]
    code = ("import sys; sys.argv[1:] = " + repr(args) + "\nfrom segfast.cli import app\ntry: app()\nexcept "
                                                         "SystemExit: pass\nprint('LOADED', *sorted({o.split('.')[0] "
                                                         "for o in sys.modules}))")
    res = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(res.stdout.splitlines()[-1].split())
    assert "segfast" in loaded and loaded & without == set()


# --- pipes ---

@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes a pipe as a shell does")
@pytest.mark.parametrize("args", [["datasets"], ["datasets", "--json"], ["runs"]], ids=" ".join)
def test_reader_gone(args):
    "As in `segfast datasets | head -0`."
    with process(*args) as p:
        p.stdout.close()
        err = p.stderr.read()
        p.wait(timeout=60)
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full():
    with open("/dev/full", "w") as full, process("datasets", stdout=full) as p:
        err = p.stderr.read()
        p.wait(timeout=60)
    assert p.returncode == 1
    assert os.strerror(errno.ENOSPC) in err and not is_crash(err) and len(err.splitlines()) <= 3


def test_a_loader_process_that_died_is_no_unexpected_error():
    from segfast.cli import explain_error
    code, text = explain_error(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    assert code == 1 and "Out of memory?" in text and not is_crash(text)
    assert explain_error(OSError(errno.ENOMEM, "Cannot allocate memory"))[1].startswith("Out of memory")


STREAMS = {"closed": "{} >&- 2>&-", "pipe": "{} 2>&1 | head -0; exit ${{PIPESTATUS[0]}}",
           "full": "{} >/dev/full 2>/dev/full"}
small = ("--size 32x48 --epochs 1 --no-progressive --weights none --model unet --set model_options.channels=[4] "
         "--set model_options.middle=4 --device cpu")


def shell(stream, *args, **env):
    "The exit code of a command whose streams a shell closed, broke, or sent to a full disk."
    start = "'from segfast.cli import app; app(prog_name=\"segfast\")'"
    command = " ".join([sys.executable, "-c", start, *map(str, args)])
    env = os.environ | {"OMP_NUM_THREADS": "1"} | env
    return subprocess.run(["bash", "-c", STREAMS[stream].format(command)], env=env, timeout=300).returncode


@pytest.mark.slow
@pytest.mark.skipif(not (Path("/dev/full").exists() and shutil.which("bash")), reason="needs bash and /dev/full")
@pytest.mark.parametrize("stream", STREAMS)
def test_a_command_whose_output_is_lost_does_its_work(demo_dir, tmp_path, stream):
    "A training ends well; the others say by their exit code that stdout was lost, as other tools do."
    run, lost = tmp_path/"runs/one", {"closed": 0, "pipe": 141, "full": 1}[stream]
    train = shell(stream, "train", demo_dir, small, "--out", run.parent, "--name", run.name, COLUMNS="0", LINES="-1")
    assert train == 0 and Run(run).state == "done" and (run/"report.html").is_file()
    assert shell(stream, "resume", run, "--extend", 1, "--device", "cpu") == 0 and len(Run(run).history) == 2
    assert shell(stream, "evaluate", run, "--device", "cpu") == lost
    assert len(list(run.glob("evaluation/*/scores.json"))) == 1
    assert shell(stream, "predict", run, demo_dir/"images", "--out", tmp_path/"masks", "--device", "cpu") == lost
    assert len(list((tmp_path/"masks").glob("*.png"))) == 10
    assert shell(stream, "export", run, "--to", "safetensors") == lost and list(run.glob("export/*/*.safetensors"))
    assert shell(stream, "check", demo_dir, "--fix", tmp_path/"fixed") == lost
    assert (tmp_path/"fixed/changes.csv").is_file()


@pytest.mark.slow
def test_output_in_ascii(trained, demo_dir, tmp_path):
    env = {"PYTHONIOENCODING": "ascii"}
    code, out, err = done("runs", trained[3], env=env)
    assert code == 0 and out.isascii() and "first" in out
    data = Path(shutil.copytree(demo_dir, tmp_path/"Straße"))
    code, out, err = done("check", data, env=env)
    assert code == 0 and err == "", err
