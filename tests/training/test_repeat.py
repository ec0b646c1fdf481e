"A run repeated from its folder: the same recipe, the same data, the same bits; and what its environment says."
import json
import shutil
import sys

import numpy as np
import pytest
from helpers.problems import is_crash, missing
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import segfast
from segfast.cli import app
from segfast.runs.reopen import open_arguments
from segfast.runs.run import Run

CLOCK = ["seconds", "images_per_second"]


def cli(*args): return CliRunner().invoke(app, [str(o) for o in args], env={"COLUMNS": "100"})


@pytest.fixture
def street(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"street")


def train(*args, out, name):
    res = cli("train", *args, "--device", "cpu", "--out", out, "--name", name)
    assert res.exit_code == 0, res.output
    return Run(out/name), res


def first(street, tmp_path, tiny, *more):
    return train(street, "--model", tiny, "--size", "32x48", "--epochs", "1,1,2", "--weights", "none", "--precision",
                 "fp32", *more, out=tmp_path/"runs", name="first")[0]


def same(a, b):
    "Whether two runs have equal weights, history and scores, to the last bit."
    x, y = load_file(a.weights_file), load_file(b.weights_file)
    weights = x.keys() == y.keys() and all(x[k].tobytes() == y[k].tobytes() for k in x)
    return weights, a.history.drop(columns=CLOCK).equals(b.history.drop(columns=CLOCK)), a.scores[
        "confusion"] == b.scores["confusion"]


@pytest.mark.slow
def test_the_same_bits(street, tmp_path, tiny):
    a = first(street, tmp_path, tiny, "--split", "random:0.3", "--set", "class_weights=inverse", "--set", "ema=0.9")
    again, res = train("--recipe", a.path, out=tmp_path/"runs", name="again")
    assert same(a, again) == (True, True, True) and again.recipe == a.recipe
    assert "--split random:0.3" in res.stderr
    assert (a.path/"data.csv").read_text() == (again.path/"data.csv").read_text() and open_arguments(
        a.path) == open_arguments(again.path)
    assert (a.path/"per_image_counts.csv").read_text() == (again.path/"per_image_counts.csv").read_text()
    file, _ = train(street, "--recipe", a.path/"recipe.toml", out=tmp_path/"runs", name="file")
    assert same(a, file) == (True, True, True)
    other, _ = train("--recipe", a.path, "--seed", "7", out=tmp_path/"runs", name="other")
    assert same(a, other)[0] is False, "the comparison can fail"
    found = json.loads(cli("compare", a.path, other.path, again.path, "--json").stdout.splitlines()[-1])
    assert list(found["differences"]) == ["seed"] and found["versus"][1]["difference"] == found["versus"][1]["low"] == 0


@pytest.mark.slow
def test_what_the_command_line_says_goes_first(street, tmp_path, tiny):
    a = first(street, tmp_path, tiny, "--split", "random:0.3")
    b, _ = train("--recipe", a.path, "--split", "random:0.5", "--epochs", "1,1,1", out=tmp_path/"runs", name="b")
    assert open_arguments(b.path)["split"] == "random:0.5" and [s.epochs for s in b.recipe.stages] == [1, 1, 1]
    moved = shutil.move(street, tmp_path/"moved")
    c, _ = train(moved, "--recipe", a.path, out=tmp_path/"runs", name="c")
    assert same(a, c) == (True, True, True), "the same data at another place"


def test_what_cannot_be_repeated(street, tmp_path, tiny):
    a = first(street, tmp_path, tiny)
    alone = tmp_path/"mine.toml"
    shutil.copy(a.path/"recipe.toml", alone)
    data = json.loads((a.path/"data.json").read_text())
    (a.path/"data.json").write_text(json.dumps(data | dict(opened=None)))
    for args, named in ((["--recipe", alone], ["DATA", alone]), (["--recipe", a.path], ["DATA", a.path]),
                        ([], ["segfast train DATA"]), (["--recipe", tmp_path],
                                                       ["--recipe", tmp_path, "recipe.toml", "progressive"]),
                        ([street, "--recipe", tmp_path], ["--recipe", tmp_path, "recipe.toml", "progressive"]),
                        ([street, "--recipe", tmp_path/"no"], [tmp_path/"no", "progressive"])):
        res = cli("train", *args, "--out", tmp_path/"none")
        assert res.exit_code == 2 and not missing(res.output,
                                                  *named) and not is_crash(res.output) and len(
            res.output.strip().splitlines()) <= 3, res.output
    assert not (tmp_path/"none").exists()
    (a.path/"data.json").write_text(json.dumps(data))
    shutil.rmtree(street)
    res = cli("train", "--recipe", a.path, "--out", tmp_path/"none")
    assert res.exit_code == 1 and "street" in res.output and not is_crash(res.output)


def test_the_environment(street, tmp_path, tiny, monkeypatch):
    argv = ["segfast", "train", "a b", "--seed", "7"]
    monkeypatch.setattr(sys, "argv", argv)
    run = first(street, tmp_path, tiny)
    env = json.loads((run.path/"environment.json").read_text())
    assert env["command"] == argv and env["python"] == ".".join(map(str, sys.version_info[:3]))
    assert env["packages"]["segfast"] == segfast.__version__ and env["packages"]["numpy"] == np.__version__ and all(
        env["packages"][o] for o in ("torch", "fastai", "torchvision", "pandas", "pillow", "safetensors"))
    assert env["device"] == "cpu" and env["threads"] >= 1 and env["cores"] >= 1 and env["memory_gb"] > 0 and env[
        "cpu"] and env["platform"]
    assert env["git"] is None or (len(env["git"]["commit"]) == 40 and env["git"]["changed"] in (True, False))


def test_a_run_in_python(street, tmp_path, tiny):
    "`from segfast.all import *` gives runs their methods."
    from segfast import all as everything
    run = everything.Run(first(street, tmp_path, tiny).path)
    assert list(run.history.epoch) == [1, 1, 1, 2] and run.recipe.model == tiny
    image = np.zeros((37, 61, 3), np.uint8)
    assert run.predict(image).shape == (37, 61) and set(np.unique(run.predict(image))) <= set(range(10))
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path/"turned.jpg", exif=exif(6))
    assert run.predict(tmp_path/"turned.jpg").shape == (30, 20), "as a person sees it"
    learn = run.learner(device="cpu")
    assert [x.tobytes() for x in load_file(run.weights_file).values()] == [learn.model.state_dict()[k].numpy().tobytes()
        for k in load_file(run.weights_file)]
    with learn.no_bar(), learn.no_logging():
        assert learn.validate()[1] == pytest.approx(run.history.accuracy.iloc[-1], abs=1e-6)


def exif(orientation):
    e = Image.Exif()
    e[0x112] = orientation
    return e


def test_only_whole_weights_predict(street, tmp_path, tiny):
    from segfast.core.errors import DataError
    from segfast.runs.run import Run
    run = Run(first(street, tmp_path, tiny).path)
    shutil.rmtree(run.path/"checkpoints/previous")
    with open(run.path/"checkpoints/last/model.safetensors", "r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    with pytest.raises(DataError) as e:
        run.predict(np.zeros((8, 8, 3), np.uint8))
    assert not missing(e, run.path/"checkpoints/last/model.safetensors")


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 4)), np.zeros((8,)), np.zeros((0, 8, 3)), np.full((8, 8, 3), 2.),
                                 np.full((8, 8), -1), np.full((8, 8), np.nan), np.full((8, 8), 1j), np.array(None)])
def test_what_is_no_image(bad):
    from segfast.inference.result import as_image
    with pytest.raises(ValueError) as e:
        as_image(bad)
    assert any(o in str(e.value) for o in (str(bad.shape), str(bad.dtype)))
