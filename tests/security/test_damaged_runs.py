"""Run folders whose files are missing, empty, cut short, of another run, or edited: every command says so in a line or
two."""
import json
import shutil

import pytest
from helpers.problems import is_crash, missing
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.run import Run
from segfast.runs.listing import list_runs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from segfast.data.demo import write_demo
    folder = tmp_path_factory.mktemp("odd")/"street"
    write_demo(folder, n=8, size=(48, 64))
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    "A finished run of two stages, and the same as it stood when the first epoch was done."
    from segfast.training.train import train
    stages = [Stage(n, s, 1, batch_size=4, precision="fp32") for n, s in (("half", (16, 24)), ("full", (32, 48)))]
    recipe = Recipe(stages, model="unet", weights="none", model_options=dict(channels=[4], middle=4))
    run = train(data, recipe, out=tmp_path_factory.mktemp("odd-runs"), name="one", device="cpu", screen="quiet")
    other = train(data, Recipe(stages, model="unet", weights="none", model_options=dict(channels=[6], middle=4)),
                  out=run.path.parent, name="other", device="cpu", screen="quiet")
    return run.path, other.path


@pytest.fixture
def run(finished, tmp_path):
    "A copy of the run, back at its first epoch."
    path = tmp_path/"runs/one"
    shutil.copytree(finished[0], path)
    shutil.copytree(finished[1], tmp_path/"runs/other")
    shutil.rmtree(path/"checkpoints/last")
    (path/"checkpoints/previous").rename(path/"checkpoints/last")
    status = json.loads((path/"status.json").read_text())
    (path/"status.json").write_text(json.dumps({**status, "status": "running", "pid": 2**22 + 1}))
    return path


def cli(*args): return CliRunner().invoke(app, list(map(str, args)))


def said(res, code=1):
    "What a refusal says: one to three lines besides those of the progress, and never that segfast is at fault."
    work = tuple(line.removesuffix(" ...") for line in res.stderr.splitlines() if line.endswith(" ..."))
    lines = [line for line in res.stderr.splitlines() if not line.startswith(work)]
    assert res.exit_code == code, res.output
    assert 1 <= len(lines) <= 3 and not is_crash(res.stderr), res.stderr
    return "\n".join(lines)


def test_the_copy_goes_on(run):
    assert cli("resume", run, "--device", "cpu").exit_code == 0 and Run(run).state == "done"


SPOILT = [("status.json", "{}", None), ("data.json", '{"opened": 3}', "data.json"),
          ("data.json", '{"opened": {"source": 5}}', "data.json"),
          ("data.json", '{"opened": {"check": true}}', "data.json"), ("data.csv", "", "data.csv"),
          ("data.csv", "a,b\n1,2\n", "data.csv"), ("data.csv", "\xff\xfe\x00", "data.csv"),
          ("classes.csv", "", "classes.csv"), ("classes.csv", "id,name\nx,y\n", "classes.csv"),
          ("recipe.toml", "model = 3", "recipe.toml")]


@pytest.mark.parametrize("file, text, named", SPOILT, ids=lambda value: str(value)[:24] or "empty")
def test_resume_names_the_file(run, file, text, named):
    (run/file).write_text(text, encoding="latin-1")
    res = cli("resume", run, "--device", "cpu")
    if named is None:
        assert res.exit_code == 0, res.output
    else:
        assert named in said(res, res.exit_code or 1)


@pytest.mark.parametrize("text", ["", "stage,name\n1,half\n", "\xff\xfe garbage"], ids=["empty", "columns", "garbage"])
def test_a_spoilt_history(run, text):
    (run/"history.csv").write_text(text, encoding="latin-1")
    res = cli("compare", run, run.parent/"other", "--html", run.parent/"c.html")
    assert res.exit_code == 0 or "history.csv" in said(res)
    if text: pytest.raises(DataError, lambda: Run(run).history).match("history.csv")
    else: assert len(Run(run).history) == 0


def test_checkpoints_of_another_model(run):
    shutil.rmtree(run/"checkpoints/last")
    shutil.copytree(run.parent/"other/checkpoints/last", run/"checkpoints/last")
    assert not missing(said(cli("resume", run, "--device", "cpu")), run/"checkpoints/last", run/"recipe.toml")


@pytest.mark.parametrize("status", [{"started": 5}, {"accuracy": [1], "seconds": {}},
                                    {"accuracy": "high", "stages": None}], ids=str)
def test_one_odd_status_does_not_hide_the_other_runs(run, status):
    (run/"status.json").write_text(json.dumps(status))
    for args in [], ["--json"], ["--sort", "started"], ["--sort", "mean_iou"]:
        res = cli("runs", run.parent, *args)
        assert res.exit_code == 0 and "other" in res.stdout, res.output
    assert set(list_runs(run.parent).name) == {"one", "other"}


def test_plots_that_are_gone(run):
    shutil.rmtree(run/"plots")
    assert cli("resume", run, "--device", "cpu").exit_code == 0


def test_an_image_that_is_none(data, tmp_path):
    bad = tmp_path/"bad"
    shutil.copytree(data, bad)
    first = sorted((bad/"images").iterdir())[0]
    first.write_text("no picture")
    text = said(cli("train", bad, "--no-check", "--weights", "none", "--model", "unet", "--size", "32x48", "--epochs",
                    "1,1,1", "--device", "cpu", "--out", tmp_path/"runs"))
    assert first.name in text and "segfast check" in text and not (tmp_path/"runs").exists()
