"""Exported files: the same numbers as the model, what the files say about themselves, and what is refused."""
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime
import torch
from helpers.problems import codes_of, files_of, missing
from PIL import Image
from safetensors import SafetensorError
from torch import nn

import segfast.tools.export as export_module
from segfast.core.errors import DataError, UsageError
from segfast.tools.export import (Portable, card_mark, compare_outputs, export, load_exported, make_traceable,
                                  onnx_proto, trace)
from segfast.models.zoo import find_model, MODELS
from segfast.inference.onnx import OnnxModel
from segfast.inference.predictor import TorchPredictor
from segfast.inference.result import predict_image
from segfast.runs.recipe import Recipe, Stage
from segfast.inference.sliding import InferenceOptions, Segmenter

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def by_hand(net, images):
    "Logits of images (n, 3, h, w), normalized with NumPy in 64 bits."
    x = (images/255 - MEAN[:, None, None])/STD[:, None, None]
    with torch.no_grad():
        return torch.Tensor(net(torch.tensor(x, dtype=torch.float32))).numpy()


def random_images(n, size, seed=0):
    "Images with fractions, as after resizing."
    return np.random.default_rng(seed).uniform(0, 255, (n, 3, *size)).astype(np.float32)


def as_bytes(images): return list(images.astype(np.uint8).transpose(0, 2, 3, 1))


def small_net(n_out, weights="none"):
    def conv(a, b): return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
    body = nn.Sequential(conv(3, 8), *(nn.Identity() for _ in range(5)), conv(8, 8), nn.Identity())
    return nn.Sequential(body, nn.Conv2d(8, n_out, 1))


class OneSize(nn.Module):
    "A network with a table of positions, as some transformers have."
    def __init__(self, n_out, weights="none"):
        super().__init__()
        self.conv, self.places = nn.Conv2d(3, n_out, 1), nn.Parameter(torch.randn(1, n_out, 32, 48))
    def forward(self, x): return self.conv(x) + self.places


def run_of(demo_dir, out, model):
    from segfast.training.train import train
    recipe = Recipe([Stage("all", (32, 48), 2, lr=1e-2, batch_size=4, precision="fp32")], model=model, weights="none")
    return train(str(demo_dir), recipe, out=out, name=model, device="cpu", screen="quiet")


@pytest.fixture(scope="module")
def run(demo_dir, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", small_net)
        yield run_of(demo_dir, tmp_path_factory.mktemp("runs"), "tiny")


@pytest.fixture(scope="module")
def made(run, tmp_path_factory): return export(run, out=tmp_path_factory.mktemp("made")/"model.onnx")


# The same numbers

NAMES = ["unet_resnet34", "fast", "deeplabv3_resnet50", "unet", "smp:unet/resnet34"]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [*((name, {}) for name in NAMES),
                                           ("unet_resnet18", dict(self_attention=True, blur=True, last_cross=False))])
def test_one_file_for_every_size(name, options, tmp_path):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    net, other = (find_model(name)(5, "none", **options) for _ in range(2))
    with torch.no_grad():
        for _ in range(2):
            net.train()(torch.randn(2, 3, 64, 64))
    assert any(v.abs().max() > 1e-3 for k, v in net.state_dict().items() if k.endswith("running_mean"))
    other.load_state_dict(net.state_dict())
    onnx.save(onnx_proto(trace(make_traceable(Portable(other.eval())))), tmp_path/"m.onnx")
    run = session(tmp_path/"m.onnx")
    for n, size in (2, (32, 48)), (1, (64, 64)), (1, (45, 60)):
        images = random_images(n, size)
        mine, its = by_hand(net.eval(), images), run.run(None, {"images": images})[0]
        assert its.shape == (n, 5, *size) and its.dtype == np.float32
        assert np.abs(mine - its).max() < 1e-3 and mine.std() > 0
        assert (mine.argmax(1) != its.argmax(1)).mean() < 1e-3


def test_run_to_file(run, made):
    assert made.parity.ok and made.dynamic and made.parity.images == 2
    assert not made.parity.synthetic and made.notes == []
    images = as_bytes(random_images(3, (41, 70)))
    for size in (41, 70), (32, 48), (64, 100):
        mine, its = (f(images, size) for f in (TorchPredictor(run.model("cpu"), run.classes, (32, 48)),
                                               OnnxModel(made.path, threads=1)))
        np.testing.assert_allclose(its, mine, atol=1e-4)


def test_the_same_masks_as_the_run(run, made, tmp_path):
    "At the images' own size, whole, in tiles and in several views."
    image = Image.fromarray(as_bytes(random_images(1, (90, 130)))[0])
    for options in {}, dict(tile=(40, 56), overlap=8), dict(tta=True):
        mine, its = (np.asarray(predict_image(Segmenter(p, InferenceOptions(**options)), image))
                     for p in (TorchPredictor(run.model("cpu"), run.classes, (32, 48)),
                               OnnxModel(made.path, threads=1)))
        assert its.shape == (90, 130) and (mine == its).mean() > 0.999


BLOCKED = """
import sys
def test_case_onnx_sizes(run, made, tmp_path):
    "One file for every size: from the command line, the same masks as the run's, at each image's own size."
    from typer.testing import CliRunner

    from segfast.cli import app
    (tmp_path/"new").mkdir()
    sizes = [(48, 64), (97, 33), (50, 61), (200, 310), (1, 1)]
    for i, size in enumerate(sizes):
        Image.fromarray(as_bytes(random_images(1, size, i))[0]).save(tmp_path/f"new/a{i}.png")
    for model, out in (made.path, "onnx"), (run.path, "torch"):
        told = CliRunner().invoke(app, ["predict", str(model), str(tmp_path/"new"), "--out", str(tmp_path/out)])
        assert told.exit_code == 0, told.output
    for i, size in enumerate(sizes):
        its, mine = (np.asarray(Image.open(tmp_path/out/f"a{i}.png")) for out in ("onnx", "torch"))
        assert its.shape == size and (its == mine).mean() > 0.999


def test_the_file_knows_the_values_of_the_dataset(run, tmp_path):
    "An exported file writes masks with the values of the training's masks, as the run does; old files say no value."
    from segfast.core.files import read_json, without, write_json
    from segfast.data.masks import Encoding, decode_mask
    from segfast.inference.predict import Output, predict
    from segfast.runs.run import Run
    copy = Run(shutil.copytree(run.path, tmp_path/"copy"))
    Image.fromarray(as_bytes(random_images(1, (40, 56)))[0]).save(tmp_path/"a.png")
    table = [[10*i, i] for i in range(len(run.classes))]
    facts = without(read_json(copy.path/"data.json"), "files")
    write_json(copy.path/"data.json", facts | dict(encoding=dict(kind="values", table=table, rest=None)))
    model, said = export(copy, out=tmp_path/"m.onnx").path, []
    predict(model, [tmp_path/"a.png"], tmp_path/"ids", say=said.append)
    assert len(said) == 1 and "--values dataset" in said[0]
    predict(model, [tmp_path/"a.png"], Output(tmp_path/"values", values="dataset"))
    ids = np.asarray(Image.open(tmp_path/"ids/a.png"))
    encoding = Encoding("values", tuple(map(tuple, table)))
    np.testing.assert_array_equal(decode_mask(tmp_path/"values/a.png", encoding), ids)


class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'fastai', 'torchvision', 'onnx', 'pandas'):
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Block())
import numpy as np
from segfast.inference.onnx import OnnxModel
assert 'onnxruntime' not in sys.modules
model = OnnxModel(sys.argv[1], threads=1)
np.save(sys.argv[3], model(list(np.load(sys.argv[2]))).argmax(1))
print(model.classes.names[0], model.classes.void, model.size, model.fixed)
"""


def test_a_process_without_torch(run, made, tmp_path):
    images = random_images(2, (32, 48), 1).round()
    np.save(tmp_path/"in.npy", as_bytes(images))
    done = subprocess.run([sys.executable, "-c", BLOCKED, made.path, tmp_path/"in.npy", tmp_path/"out.npy"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{run.classes.names[0]} {run.classes.void} (32, 48) False"
    np.testing.assert_array_equal(np.load(tmp_path/"out.npy"), by_hand(run.model("cpu"), images).argmax(1))


@pytest.mark.parametrize("to", ["safetensors", "torch-export"])
def test_other_formats(run, to, tmp_path):
    made = export(run, to, out=tmp_path/f"m{export_module.EXPORTS[to]}")
    assert made.parity.ok and made.parity.sizes == [(32, 48), (25, 37)]
    images = random_images(1, (50, 40))
    its = export_module.open_exported(made.path, to)(torch.tensor(images)).detach().numpy()
    np.testing.assert_allclose(its, by_hand(run.model("cpu"), images), atol=1e-4)


def test_safetensors_builds_the_model_again(run, tmp_path):
    net, about = load_exported(export(run, "safetensors", out=tmp_path/"m.safetensors").path)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), run.model("cpu").state_dict().values()))
    assert about["classes"] == list(run.classes.names) and about["run"] == run.name


# The proof can fail

def altered(proto):
    "One number of the first weights."
    w = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    a = onnx.numpy_helper.to_array(w).copy()
    a.flat[0] += 0.5
    w.CopyFrom(onnx.numpy_helper.from_array(a, w.name))
    return proto


def test_an_altered_graph_is_found_and_removed(run, monkeypatch, tmp_path):
    honest = export_module.onnx_proto
    monkeypatch.setattr(export_module, "onnx_proto", lambda *args, **kwargs: altered(honest(*args, **kwargs)))
    with pytest.raises(DataError) as e:
        export(run, out=tmp_path/"m.onnx")
    assert not missing(e, run.path, f"{export_module.LOGITS_LIMIT:g}", f"{export_module.PIXELS_LIMIT:.1%}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_right_at_one_size_only_becomes_one_of_fixed_size(run, monkeypatch, tmp_path):
    class Sly(nn.Module):
        "Adds to the logits where the tracer saw a width over 64."
        def __init__(self, net): super().__init__(); self.net = net
        def forward(self, x): return self.net(x) + 1 if x.shape[-1] > 64 else self.net(x)
    monkeypatch.setattr(export_module, "make_traceable", lambda p: (setattr(p, "net", Sly(p.net)), p.eval())[1])
    made = export(run, out=tmp_path/"m.onnx")
    assert not made.dynamic and made.parity.ok and len(made.notes) == 1 and made.notes[0] in made.text()


def test_parity_counts_pixels_and_sees_nan(run):
    net, images = run.model("cpu"), torch.tensor(random_images(2, (32, 48)).transpose(0, 2, 3, 1))
    flipped = compare_outputs(net, lambda x: -Portable(net)(x), [images])
    assert flipped.pixels == 1 and not flipped.ok

    def one_pixel(x):
        y = Portable(net)(x).clone()
        y[0, :, 0, 0] = -y[0, :, 0, 0]
        return y
    assert compare_outputs(net, one_pixel, [images]).pixels == pytest.approx(1/(2*32*48))
    assert not compare_outputs(net, lambda x: Portable(net)(x)*float("nan"), [images]).ok
    with pytest.raises(DataError):  # no file is at fault
        compare_outputs(lambda x: net(x)*float("nan"), Portable(net), [images])


# Sizes, opsets, argmax, bits

def test_fixed_size(run, tmp_path):
    model = OnnxModel(export(run, size="40x56", out=tmp_path/"m.onnx").path, threads=1)
    assert (model.fixed, model.size) == (True, (40, 56))
    assert model(np.zeros((3, 32, 48, 3), np.uint8)).shape == (3, len(run.classes), 40, 56)
    with pytest.raises(ValueError) as called:
        model(np.zeros((1, 32, 48, 3), np.uint8), (32, 48))
    with pytest.raises(UsageError) as opened:
        OnnxModel(model.path, size=(32, 48))
    assert not missing(called, model.path, "40x56", "32x48") and not missing(opened, model.path, "40x56", "32x48")


@pytest.mark.slow
def test_a_model_for_one_size(demo_dir, monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "one-size", OneSize)
    run = run_of(demo_dir, tmp_path, "one-size")
    made = export(run)
    assert not made.dynamic and OnnxModel(made.path,
                                          threads=1).fixed and len(made.notes) == 1 and made.notes[0] in made.text()
    with pytest.raises(DataError) as e:
        export(run, size="dynamic", overwrite=True)
    assert not missing(e, run.path, "one-size", "onnx")


def test_argmax(run, tmp_path):
    made = export(run, argmax=True, out=tmp_path/"m.onnx")
    images = random_images(2, (32, 48))
    ids = session(made.path).run(None, {"images": images})[0]
    assert ids.dtype == np.uint8 and made.parity.logits is None
    logits = by_hand(run.model("cpu"), images)
    logits[:, run.classes.void] = -np.inf
    np.testing.assert_array_equal(ids, logits.argmax(1))
    with pytest.raises(DataError, match="--argmax"):
        OnnxModel(made.path)


@pytest.fixture
def void_run(run, tmp_path):
    "A copy of the run whose model gives void the largest logit everywhere, as one may after hardly any training."
    from segfast.runs.run import Run
    shutil.copytree(run.path, tmp_path/"void-run")
    made = Run(tmp_path/"void-run")
    real = made.model

    def model(device="auto"):
        net = real(device)
        with torch.no_grad(): net[-1].bias[run.classes.void] += 20
        return net
    made.model = model
    return made


def test_void_is_never_exported_as_a_prediction(void_run, tmp_path):
    void, images = void_run.classes.void, random_images(2, (32, 48))
    assert (by_hand(void_run.model("cpu"), images).argmax(1) == void).all()
    want = np.delete(by_hand(void_run.model("cpu"), images), void, 1).argmax(1)
    want += want >= void
    ids = session(export(void_run, argmax=True, out=tmp_path/"ids.onnx").path).run(None, {"images": images})[0]
    np.testing.assert_array_equal(ids, want)
    made = export(void_run, out=tmp_path/"logits.onnx")
    assert made.parity.ok and f"but {void}, which is void" in made.about["output"]
    assert f"y[:, {void}] = -np.inf" in made.card.read_text()
    image = Image.fromarray(as_bytes(images)[0])
    for options in {}, dict(tile=(32, 32), overlap=8), dict(tta=True):
        mine, its = (predict_image(Segmenter(p, InferenceOptions(**options)), image).ids
                     for p in (TorchPredictor(void_run.model("cpu"), void_run.classes, (32, 48)),
                               OnnxModel(made.path, threads=1)))
        assert void not in its and (mine == its).mean() > 0.999


@pytest.mark.slow
def test_opset(run, tmp_path):
    made = export(run, opset=20, out=tmp_path/"m.onnx")
    assert [entry.version for entry in onnx.load(made.path).opset_import if not entry.domain] == [20]
    with pytest.raises(UsageError, match="--opset 999"):
        export(run, opset=999, out=tmp_path/"other"/"m.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("bits, share", [("int8", 0.6), ("fp16", 0.8)])
def test_fewer_bits(run, made, bits, share, tmp_path):
    small = export(run, quantize=bits, out=tmp_path/"m.onnx")
    kinds = {tensor.data_type for tensor in onnx.load(small.path).graph.initializer
             if len(tensor.dims) == 4 and tensor.dims[2] == 3}
    assert kinds == {onnx.TensorProto.INT8 if bits == "int8" else onnx.TensorProto.FLOAT16}
    assert small.before["images"] == 2 and 0 < small.parity.logits < 5
    assert small.before["accuracy"] == pytest.approx(run.scores["accuracy"], abs=0.02)
    assert small.after["accuracy"] == pytest.approx(small.before["accuracy"], abs=0.05)
    assert OnnxModel(small.path, threads=1)(np.zeros((1, 32, 48, 3), np.uint8)).dtype == np.float32
    for text in small.text(), small.card.read_text():
        assert not missing(text, bits, *(f"{scores[k]:.4f}" for scores in (small.before, small.after)
                                         for k in ("mean_iou", "accuracy")))


# What the file says, and does not say

def test_metadata(run, made):
    texts = {prop.key: json.loads(prop.value) for prop in onnx.load(made.path).metadata_props}
    c = run.classes
    assert texts["classes"] == list(c.names) and texts["void"] == c.void
    assert texts["colors"] == [list(color) for color in c.colors]
    assert texts["size"] == [32, 48] and texts["model"] == "tiny" and texts["run"] == "tiny" and len(
        texts["recipe_sha256"]) == 64
    model = OnnxModel(made.path, threads=1)
    assert model.classes == c and not model.fixed


def test_nothing_of_this_computer_is_in_the_file(run, made, tmp_path):
    found = made.path.read_bytes() + made.card.read_bytes()
    for word in str(export_module.__file__).rsplit("/",
                                                   1)[0], str(
        run.path.parent), "site-packages", ".py\"", "stack_trace", sys.prefix:
        assert word.encode() not in found
    graph = onnx.load(made.path).graph
    assert [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)] == [["n", 3, "h", "w"], ["n", len(run.classes), "h", "w"]]


# The card

@pytest.mark.slow
@pytest.mark.parametrize("to", list(export_module.EXPORTS))
def test_the_cards_code_runs(run, to, tmp_path, monkeypatch, capsys):
    made = export(run, to, out=tmp_path/f"m{export_module.EXPORTS[to]}")
    code = re.search("```python\n(.*?)\n```", made.card.read_text(), re.S)[1]
    Image.fromarray(as_bytes(random_images(1, (60, 80)))[0]).save(tmp_path/"photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    small = Image.open(tmp_path/"photo.jpg").resize((48, 32), Image.BILINEAR)
    expected = by_hand(run.model("cpu"), np.asarray(small).transpose(2, 0, 1)[None]).argmax(1)[0]
    np.testing.assert_array_equal(np.asarray(names["ids"]), expected)
    assert len(code.splitlines()) <= 9 and capsys.readouterr().out


def test_names_in_the_card_are_text(run, tmp_path):
    from segfast.runs.run import Run
    shutil.copytree(run.path, copied := tmp_path/"<b>run")
    text = (copied/"classes.csv").read_text().replace(f",{run.classes.names[0]},", ",<script>alert(1)</script>,",
                                                      1).replace(f",{run.classes.names[1]},", ",| x,", 1)
    (copied/"classes.csv").write_text(text)
    data = json.loads((copied/"data.json").read_text())
    data = {k: v for k, v in data.items() if k not in ("checksum", "files")}
    (copied/"data.json").write_text(json.dumps(dict(data, name="[a](http://x) `b`\n# c")))
    made = export(Run(copied), "safetensors", out=tmp_path/"m.safetensors")
    assert made.about["classes"][:2] == ["<script>alert(1)</script>", "| x"]
    card = made.card.read_text()
    assert "<script" not in card and "<b>" not in card and "\n# c" not in card and not re.search(r"(?<!\\)\]\(http",
        card)
    rows = [line for line in card.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(run.classes) and all(len(re.findall(r"(?<!\\)\|", line)) == 9 for line in rows)


# Data that is gone

def test_without_the_data(run, demo_dir, tmp_path):
    from segfast.runs.run import Run
    shutil.copytree(run.path, copied := tmp_path/"run")
    data = json.loads((copied/"data.json").read_text())
    data = {k: v for k, v in data.items() if k != "checksum"} # as a person who edits it is told
    (copied/"data.json").write_text(json.dumps(dict(data, opened=dict(data["opened"], source=str(tmp_path/"gone")))))
    alone = export(Run(copied), "safetensors")
    card, otherwise = alone.card.read_text(), str(replace(alone.parity, synthetic=False))
    assert alone.parity.synthetic and alone.parity.ok and "--data DATA" in alone.text() and str(tmp_path) not in card
    for text in alone.text(), card:
        assert str(
            alone.parity) in text and otherwise not in text, "which would say that the run's own images were compared"
    with pytest.raises(DataError, match="--data DATA"):
        export(Run(copied), quantize="int8")
    assert not export(Run(copied), "safetensors", data=demo_dir, overwrite=True).parity.synthetic
    with pytest.raises(DataError) as e:
        export(Run(copied), "safetensors", data=str(tmp_path/"nowhere"), overwrite=True)
    assert (codes_of(e), files_of(e)) == (["folder-missing"], [str(tmp_path/"nowhere")])


# What is refused

@pytest.mark.parametrize("options, named", [(dict(to="tflite"), ["tflite", *export_module.EXPORTS]),
                                            (dict(quantize="int4"), ["int4", *export_module.QUANTIZE]),
                                            (dict(to="torch-export", quantize="int8"),
                                             ["--quantize", "onnx", "torch-export"]),
                                            (dict(to="safetensors", argmax=True), ["--argmax", "safetensors"]),
                                            (dict(to="safetensors", size="64x64"), ["--size", "safetensors"]),
                                            (dict(opset=9), ["--opset", 9, 18]),
                                            (dict(size="8x8"), ["--size", "8x8", 32]),
                                            (dict(size="big"), ["--size", "big", "HEIGHTxWIDTH"]),
                                            (dict(out="model.pt"), ["--out", "model.pt", ".onnx"])])
def test_settings_that_make_no_sense(run, options, named):
    with pytest.raises(UsageError) as e:
        export(run, **options)
    assert not missing(e, *named)


def test_nothing_is_overwritten(run, tmp_path):
    card, path = tmp_path/"MODEL_CARD.md", tmp_path/"m.safetensors"
    export(run, "safetensors", out=path)
    for gone in (), (path,):  # both are there; the card alone
        for file in gone: file.unlink()
        with pytest.raises(UsageError) as e:
            export(run, "safetensors", out=path)
        assert not missing(e, card if gone else path, "--out", "--overwrite")
    assert export(run, "safetensors", out=path, overwrite=True).card == card


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_card_of_another_file_is_left_alone(run, tmp_path, overwrite):
    "Several exports in one folder: each has its card, also where MODEL_CARD.md was written by somebody else."
    card, path = tmp_path/"MODEL_CARD.md", tmp_path/"m.safetensors"
    for text in "mine", card_mark("m.onnx"):
        card.write_text(text)
        made = export(run, "safetensors", out=path, overwrite=overwrite)
        assert (card.read_text(), made.card) == (text, tmp_path/"m.safetensors.MODEL_CARD.md")
        assert made.card.read_text().startswith(card_mark("m.safetensors"))
        assert export(run, "safetensors", out=path, overwrite=True).card == made.card
        for file in path, made.card: file.unlink()


def taken(tmp_path, suffix):
    "Names where segfast did not write what is there: a file, links, a folder, a pipe, a device."
    (tmp_path/f"mine{suffix}").write_bytes(b"mine")
    (tmp_path/f"link{suffix}").symlink_to(tmp_path/f"mine{suffix}")
    (tmp_path/f"dangling{suffix}").symlink_to(tmp_path/"made")
    (tmp_path/f"device{suffix}").symlink_to("/dev/null")
    os.mkfifo(tmp_path/f"pipe{suffix}")
    return [tmp_path/f"{name}{suffix}" for name in ("mine", "link", "dangling", "device", "pipe")]


@pytest.mark.parametrize("to", export_module.EXPORTS)
def test_only_an_earlier_export_is_replaced(run, to, tmp_path):
    for path in taken(tmp_path, export_module.EXPORTS[to]):
        before = os.lstat(path)
        for overwrite in False, True:
            with pytest.raises(UsageError) as e: export(run, to, out=path, overwrite=overwrite)
            assert not missing(e, path, "--out")
        assert os.lstat(path) == before
    assert (tmp_path/f"mine{export_module.EXPORTS[to]}").read_bytes() == b"mine" and not (tmp_path/"made").exists()
    assert len(list(tmp_path.iterdir())) == 5


def test_a_checkpoint_is_no_earlier_export(run, tmp_path):
    from segfast.runs.run import Run
    copied = Run(shutil.copytree(run.path, tmp_path/"run"))
    weights = copied.weights_file
    before = weights.read_bytes()
    with pytest.raises(UsageError, match="did not write it"):
        export(copied, "safetensors", out=weights, overwrite=True)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["m.safetensors.MODEL_CARD.md", "MODEL_CARD.md"])
def test_a_card_is_never_written_through_a_link(run, tmp_path, name):
    (tmp_path/"mine.md").write_text("mine")
    (tmp_path/"out").mkdir()
    if name != "MODEL_CARD.md": (tmp_path/"out/MODEL_CARD.md").write_text("# Mine")
    for target in "mine.md", "made.md":
        (tmp_path/"out"/name).symlink_to(tmp_path/target)
        try: made = export(run, "safetensors", out=tmp_path/"out/m.safetensors", overwrite=True)
        except UsageError as e: assert name in str(e) and name != "MODEL_CARD.md"
        else: assert made.card.name == "m.safetensors.MODEL_CARD.md" and not made.card.is_symlink()
        (tmp_path/"out"/name).unlink()
    assert (tmp_path/"mine.md").read_text() == "mine" and not (tmp_path/"made.md").exists()


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
@pytest.mark.parametrize("to", export_module.EXPORTS)
def test_exports_have_the_permissions_of_the_umask(run, to, mask, tmp_path):
    before = os.umask(mask)
    try: made = export(run, to, out=tmp_path/f"new/m{export_module.EXPORTS[to]}", data=None)
    finally: os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (made.path, made.card)} == {0o666 & ~mask}
    assert made.path.parent.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("to", export_module.EXPORTS)
def test_a_full_disk_leaves_the_old_export(run, to, tmp_path, monkeypatch):
    path = tmp_path/f"m{export_module.EXPORTS[to]}"
    export(run, to, out=path)
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as e: export(run, to, out=path, overwrite=True)
    assert not missing(e, path, "cannot be written (No space left on device)")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("to", export_module.EXPORTS)
def test_writers_say_that_the_disk_is_full(run, to):
    from pathlib import Path
    with pytest.raises(OSError, match="No space left"):
        export_module.ExportJob(run, to, (32, 48), Path("/dev/full")).write(False)


def test_what_killed_exports_left_is_removed(run, tmp_path):
    left = [".m.4711.part.safetensors", ".part-0123456789abcdef.safetensors"]
    for name in left:
        (tmp_path/name).write_bytes(b"half")
        os.utime(tmp_path/name, (0, 0))
    (tmp_path/".part-fedcba9876543210.safetensors").write_bytes(b"another command writes this now")
    export(run, "safetensors", out=tmp_path/"m.safetensors")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".part-fedcba9876543210.safetensors", "MODEL_CARD.md", "m.safetensors"]


def test_damaged_scores_are_no_missing_scores(run, tmp_path):
    from segfast.runs.run import Run
    copied = shutil.copytree(run.path, tmp_path/"run")
    (copied/"scores.json").write_text((copied/"scores.json").read_text().replace('"accuracy": 0', '"accuracy": 1', 1))
    with pytest.raises(DataError) as e: export(Run(copied), "safetensors", out=tmp_path/"m.safetensors")
    assert not missing(e, copied/"scores.json") and not (tmp_path/"m.safetensors").exists()


@pytest.mark.parametrize("name", ["a>b--.onnx", "a\nb.onnx", "-->.onnx"])
def test_a_name_cannot_end_the_comment(name):
    mark = card_mark(name)
    assert mark.count(">") == 1 and mark.endswith(" -->") and "\n" not in mark


def test_the_reports_command_works_beside_a_readme(run, tmp_path, monkeypatch):
    "In a project's folder, as the report advises: `segfast export RUN --to onnx --out model.onnx`."
    from segfast.cli import app
    from typer.testing import CliRunner
    (tmp_path/"README.md").write_text("# My project")
    monkeypatch.chdir(tmp_path)
    command = ["export", str(run.path), "--to", "onnx", "--out", "model.onnx"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MODEL_CARD.md", "README.md", "model.onnx"]
    assert (tmp_path/"README.md").read_text() == "# My project"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert CliRunner().invoke(app, command).exit_code != 0
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0


@pytest.mark.parametrize("missing", ["onnxscript", "onnxruntime"])
def test_packages_that_are_not_there(run, missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=re.escape("pip install 'segfast[onnx]'")):
        export(run, out=tmp_path/"m.onnx")


def test_files_that_are_something_else(made, tmp_path):
    for name, content in ("empty.onnx", b""), ("half.onnx", made.path.read_bytes()[:2000]), ("photo.onnx",
        b"\xff\xd8\xff\xe0"):
        (tmp_path/name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            OnnxModel(tmp_path/name)
    with pytest.raises(DataError, match="nowhere.onnx") as e:
        OnnxModel(tmp_path/"nowhere.onnx")
    assert missing(e, "onnxruntime"), "which had nothing to open"
    with pytest.raises(DataError, match="photo.onnx") as e:
        load_exported(tmp_path/"photo.onnx")
    assert isinstance(e.value.__cause__, SafetensorError)
    proto = onnx.load(made.path)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path/"bare.onnx")
    with pytest.raises(DataError, match="bare.onnx(.|\n)*segfast export RUN"):
        OnnxModel(tmp_path/"bare.onnx")
