"""The weights of a run: exactly those that were scored and that are numbers, or an error that names the file."""
import shutil

import numpy as np
import pytest
import torch
from helpers.problems import missing
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.data.classes import ClassTable
from segfast.inference.predictor import TorchPredictor
from segfast.inference.run_model import load_model, run_predictor
from segfast.inference.sliding import InferenceOptions, Segmenter
from segfast.runs.run import Run, file_checksum


def cli(*args): return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture
def run(tiny_run, tmp_path): return Run(shutil.copytree(tiny_run.path, tmp_path/"run"))


def flip(path, at=-1):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def spoil(run, **tensors):
    "A complete checkpoint whose weights are not numbers."
    state = load_file(run.weights_file)
    for name, value in tensors.items():
        state[name.replace("__", ".")].view(-1)[-1] = value
    with run.checkpoint("last") as part: save_file(state, part/"model.safetensors")


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path/"photo.png")
    return tmp_path/"photo.png"


READERS = {"predict": lambda run, photo, out: ("predict", run.path, photo, "--out", out),
           "ensemble": lambda run, photo, out: ("predict", run.path.parent/"whole", "--ensemble", run.path, photo,
                                                "--out", out),
           "evaluate": lambda run, photo, out: ("evaluate", run.path, "--out", out)}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("at", [-1, 200])
def test_no_reader_takes_the_epoch_before(run, tiny_run, tmp_path, photo, reader, at):
    shutil.copytree(tiny_run.path, tmp_path/"whole")
    flip(run.path/"checkpoints/last/model.safetensors", at)
    assert (run.path/"checkpoints/previous").is_dir(), "there would be something to fall back to"
    res = cli(*READERS[reader](run, photo, tmp_path/"out"))
    assert res.exit_code == 1 and not (tmp_path/"out").exists()
    assert not missing(res.output, run.path/"checkpoints/last/model.safetensors", f"segfast resume {run.path}")


def test_nothing_to_resume_from(run, tmp_path, photo):
    shutil.rmtree(run.path/"checkpoints/previous")
    flip(run.path/"checkpoints/last/model.safetensors")
    res = cli("predict", run.path, photo, "--out", tmp_path/"out")
    assert res.exit_code == 1 and "segfast resume" not in res.output and "model.safetensors" in res.output


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(run, tiny_run, tmp_path, photo, reader, value):
    shutil.copytree(tiny_run.path, tmp_path/"whole")
    spoil(run, **{"1__bias": value})
    res = cli(*READERS[reader](run, photo, tmp_path/"out"))
    assert res.exit_code == 1 and not (tmp_path/"out").exists()
    assert not missing(res.output, run.path/"checkpoints/last/model.safetensors", "1.bias", "not finite")


def test_running_means_are_weights_too(run):
    spoil(run, **{"0__0__1__running_var": float("nan")})
    with pytest.raises(DataError, match="running_var"):
        load_model(run, "cpu")


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_outputs_that_are_no_numbers(tmp_path, photo, tile):
    "Weights may be numbers and still overflow."
    from segfast.inference.predict import predict_images
    from segfast.inference.result import predict_image
    net = torch.nn.Conv2d(3, 2, 1)
    torch.nn.init.constant_(net.weight, 3e38)
    segmenter = Segmenter(TorchPredictor(net, ClassTable(["a", "b"]), (32, 32), name="big-run"),
                          InferenceOptions(tile=tile))
    with pytest.raises(DataError) as e:
        predict_images(segmenter, [photo], tmp_path/"out")
    assert not missing(e, "big-run", "photo", "not finite") and not list(tmp_path.rglob("out/*.png"))
    with pytest.raises(DataError, match="not finite"):
        predict_image(segmenter, np.asarray(Image.open(photo)))


def test_a_predictor_knows_its_file(run):
    predictor = run_predictor(run, InferenceOptions(device="cpu"))
    assert (predictor.name, predictor.sha256) == (str(run.path), file_checksum(run.weights_file))


@pytest.mark.slow
def test_exported_files_that_are_no_numbers(tmp_path):
    from segfast.inference.onnx import CONTRACT
    from segfast.models.zoo import seg_model
    from segfast.tools.export import Portable, load_exported, open_exported, save_weights, trace
    options = dict(channels=[4], middle=4)
    net = seg_model("unet", ClassTable(["a", "b"]), "none", **options).eval()
    about = dict(contract=CONTRACT, classes=["a", "b"], colors=[[0, 0, 0], [9, 9, 9]], void=None, size=[32, 32],
                 model="unet", model_options=options)
    weight = next(net.parameters())
    save_weights(net, tmp_path/"a.safetensors", about)
    assert load_exported(tmp_path/"a.safetensors")[1]["classes"] == ["a", "b"]
    with torch.no_grad(): weight.view(-1)[0] = float("nan")
    save_weights(net, tmp_path/"a.safetensors", about)
    torch.export.save(trace(Portable(net), (32, 32)), tmp_path/"a.pt2")
    for to, file in ("safetensors", "a.safetensors"), ("torch-export", "a.pt2"):
        with pytest.raises(DataError, match="not finite") as e: open_exported(tmp_path/file, to)
        assert not missing(e, tmp_path/file) and "down.0.0.weight" in str(e.value)
