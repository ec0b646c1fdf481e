"""What is wrong ends before any training: exit code 1 or 2, one to three lines that name it, no run left behind."""
import json
import os
import shutil
import struct
import zlib
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
from helpers.problems import missing
from helpers.refusals import PLANNED, invoke
from PIL import Image

from segfast.cli import app
from segfast.core.errors import DataError

small = "--size", "32x48", "--weights", "none", "--device", "cpu"


def files(folder): return sorted(folder.iterdir())


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    "An empty folder to stand in, without a network."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in "http_proxy", "https_proxy":
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def worked(monkeypatch):
    "The preparations that a training reports on, kept instead of shown: progress is no part of what is said."
    kept = []
    monkeypatch.setattr("segfast.report.console.Lines.work", lambda screen, label, done, total: kept.append(label))
    return kept


@pytest.fixture
def untrained(monkeypatch):
    "Training, should it begin, fails at once."
    def began(*args): raise RuntimeError("training began")
    monkeypatch.setattr("segfast.training.train.train_stages", began)


@pytest.fixture
def data(demo_dir, tmp_path):
    "A data set that a test may ruin."
    return Path(shutil.copytree(demo_dir, tmp_path/"street"))


def refused(code, words, *args, problem=None, cause=None):
    "Runs a command and sees that it is refused as it should be, by its first problem and by what is named."
    res = invoke(app, [str(arg) for arg in args])
    said = [line for line in res.stderr.splitlines() if not line.startswith(("note: ", "warning: "))]
    text = "\n".join(said)
    assert "Traceback" not in text and "training began" not in text, text
    assert res.error is None or isinstance(res.error, (*PLANNED, OSError)), repr(res.error)
    assert res.exit_code == code, res.output
    assert 1 <= len(said) <= 3, text
    assert missing(text, *words) == [], text
    assert problem is None or res.error.problems[0].code == problem, res.error.problems[0]
    assert cause is None or isinstance(res.error.__cause__, cause), repr(res.error.__cause__)
    assert res.stdout == ""
    return text


def refuse_train(code, words, *args, out="runs", **kwargs):
    "The same for `segfast train`, which leaves no run behind."
    text = refused(code, words, "train", *(() if "--out" in args else ("--out", out)), *args, **kwargs)
    assert [path for path in Path().rglob("status.json")] == []
    return text


# --- the data ---

def no_mask(d): files(d/"labels")[1].unlink()
def mask_of_another_size(d): Image.open(files(d/"labels")[1]).resize((60, 48), Image.NEAREST).save(files(d/"labels")[1])
def turned_mask(d): Image.open(files(d/"labels")[1]).transpose(Image.Transpose.ROTATE_90).save(files(d/"labels")[1])
def cut_image(d): files(d/"images")[1].write_bytes(files(d/"images")[1].read_bytes()[:700])
def cut_mask(d): files(d/"labels")[1].write_bytes(files(d/"labels")[1].read_bytes()[:-40])
def text_image(d): files(d/"images")[1].write_text("not an image")
def empty_image(d): files(d/"images")[1].write_bytes(b"")
def empty_mask(d): files(d/"labels")[1].write_bytes(b"")
def folder_for_mask(d): no_mask(d); (d/"labels/scene_001_P.png").mkdir()
def colour_mask(d): Image.open(files(d/"labels")[1]).convert("RGB").save(files(d/"labels")[1])
def valid(text): return lambda d: (d/"valid.txt").write_text(text)
def codes(text): return lambda d: (d/"codes.txt").write_text(text)
def no_images(d): [path.unlink() for path in files(d/"images")]
def no_masks_folder(d): shutil.rmtree(d/"labels")
def masks_are_a_file(d): shutil.rmtree(d/"labels"); (d/"labels").touch()
def all_void(d): [Image.new("L", (64, 48), 8).save(path) for path in files(d/"labels")]


def high_value(d):
    ids = np.asarray(Image.open(files(d/"labels")[1])).copy()
    ids[:3, :4] = 37
    Image.fromarray(ids).save(files(d/"labels")[1])


def huge_image(d):
    "A header that claims 60,000 × 60,000 pixels."
    file = files(d/"images")[1]
    png = bytearray(file.read_bytes())
    png[16:24] = struct.pack(">II", 60000, 60000)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    file.write_bytes(png)


def one_image(d):
    for path in files(d/"images")[1:] + files(d/"labels")[1:] + [d/"valid.txt"]: path.unlink()


@pytest.mark.parametrize(("ruin", "problem", "words"), [
    (no_mask, "missing", ["labels/scene_001_P.png"]),
    (mask_of_another_size, "mask-size", ["labels/scene_001_P.png", "48x60", "48x64"]),
    (turned_mask, "mask-size", ["labels/scene_001_P.png", "64x48", "48x64"]),
    (high_value, "mask-values", ["labels/scene_001_P.png", 37, 12, 10]),
    (cut_image, "undecodable", ["images/scene_001.png"]),
    (cut_mask, "undecodable", ["labels/scene_001_P.png"]),
    (text_image, "not-an-image", ["images/scene_001.png"]),
    (empty_image, "empty", ["images/scene_001.png"]),
    (empty_mask, "empty", ["labels/scene_001_P.png"]),
    (huge_image, "too-large", ["images/scene_001.png"]),
    (folder_for_mask, "not-a-file", ["labels/scene_001_P.png"]),
    (colour_mask, "mask-mode", ["labels/scene_001_P.png", "RGB"]),
    (valid("nowhere.png\n"), "valid-missing", ["valid.txt", "nowhere.png", "scene_000.png"]),
    (valid("scene_001.png\nnowhere.png\n"), "valid-missing", ["valid.txt", "nowhere.png", 1, 2]),
    (valid("scene_001\nscene_002\n"), "valid-missing", ["valid.txt", "scene_001", "scene_000.png"]),
    (valid("images/scene_001.png\n"), "valid-missing", ["valid.txt", "images/scene_001.png"]),
    (valid("\n \n"), "valid-empty", ["valid.txt"]),
    (valid("".join(f"scene_{i:03d}.png\n" for i in range(10))), "valid-all", ["valid.txt", 10]),
    (lambda d: (d/"valid.txt").write_bytes(b"sc\xe9ne.png"), "encoding", ["valid.txt", "UTF-8"]),
    (lambda d: (d/"codes.txt").unlink(), "codes", ["codes.txt"]),
    (codes("\n"), "codes", ["codes.txt"]),
    (codes("Sky\nRoad\nSky\n"), "codes-duplicate", ["codes.txt", "Sky", 0, 2]),
    (codes("\n".join(map(str, range(300)))), "codes", ["codes.txt", 300]),
    (codes("Void\nvoid\n" + "\n".join("abcdefgh")), "codes-void", ["codes.txt", "Void", "void"]),
    (lambda d: (d/"codes.txt").write_bytes(b"Stra\xdfe\n"), "encoding", ["codes.txt", "UTF-8"]),
    (no_images, "no-images", ["images"]),
    (no_masks_folder, "folder-missing", ["labels"]),
    (masks_are_a_file, "folder-missing", ["labels"]),
    (all_void, "all-void", ["void"]),
    (one_image, "no-valid", [1]),
], ids=lambda value: "_".join(map(str, value))[:40] if isinstance(value, list) else getattr(value, "__name__", value))
def test_data(data, untrained, ruin, problem, words):
    ruin(data)
    refuse_train(1, words, data, *small, problem=problem)
    res = invoke(app, ["check", str(data)])
    assert res.exit_code == 1 and "Traceback" not in res.output
    assert missing(res.output, *words) == []
    assert res.error is None or isinstance(res.error, DataError), repr(res.error)


def test_many_mistakes_are_three_lines(data, untrained, worked):
    for path in files(data/"labels"): path.unlink()
    refuse_train(1, ["labels/scene_000_P.png", 8, "segfast check"], data, *small, problem="missing")
    assert worked
    res = invoke(app, ["check", str(data), "--json"])
    assert res.exit_code == 1
    report = json.loads(res.stdout.splitlines()[-1])
    assert not report["ok"] and [p["kind"] for p in report["problems"]].count("error") == 10


def test_paths(data, tmp_path, untrained):
    refuse_train(1, ["nowhere"], "nowhere", *small, problem="folder-missing")
    refuse_train(1, ["below/nowhere"], "below/nowhere", *small, problem="folder-missing")
    refuse_train(1, ["stret", "street"], "./stret", *small, problem="folder-missing")
    refuse_train(1, ["camvdi", "camvid"], "camvdi", *small, problem="folder-missing")
    refuse_train(1, [data/"codes.txt"], data/"codes.txt", *small, problem="folder-missing")
    refuse_train(1, ["x"*300], "x"*300, *small)
    (tmp_path/"void").mkdir()
    refuse_train(1, [tmp_path/"void"], tmp_path/"void", *small, problem="folder-empty")
    (tmp_path/"other").mkdir()
    (tmp_path/"other/readme.md").touch()
    refuse_train(1, [tmp_path/"other", "readme.md", "codes.txt"], tmp_path/"other", *small, problem="layout-unknown")


def test_nested(data, tmp_path, untrained):
    (tmp_path/"outer").mkdir()
    data.rename(tmp_path/"outer/street")
    refuse_train(1, ["outer/street"], "outer", *small, problem="layout-unknown")
    refuse_train(1, ["outer/street"], "outer", "--layout", "camvid", *small, problem="folder-missing")


def test_unknown_home(untrained):
    refuse_train(1, ["~no-such-user/data"], "~no-such-user/data", *small)


def test_tiny_images_need_a_size(data, untrained):
    for path in files(data/"images") + files(data/"labels"): Image.open(path).resize((20, 20), Image.NEAREST).save(path)
    refuse_train(2, ["20x20", "--size"], data, "--weights", "none")


@pytest.mark.parametrize("name", ["a b", "it's", "Straße", "[red]x", "[bold]", "%s{0}", "-dash", "new\nline"])
def test_odd_names_are_fine(data, untrained, name):
    data.rename(name)
    res = invoke(app, ["check", f"./{name}"])
    assert res.exit_code == 0, res.output


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="needs file names that are any bytes")
def test_name_that_is_no_text(data, untrained):
    data.rename("a\udce9b")
    res = invoke(app, ["train", "./a\udce9b", *small, "--out", "runs"])
    assert not isinstance(res.error, UnicodeError), repr(res.error)
    res = invoke(app, ["check", "./a\udce9b"])
    assert res.error is None or isinstance(res.error, PLANNED), repr(res.error)


def test_upper_case_suffixes_are_fine(data):
    for path in files(data/"images") + files(data/"labels"): path.rename(path.with_suffix(".PNG"))
    (data/"valid.txt").write_text("scene_001.PNG\n")
    res = invoke(app, ["check", str(data)])
    assert res.exit_code == 0, res.output


# --- the command line ---

@pytest.mark.parametrize(("args", "words"), [
    (["--size", "0x0"], []), (["--size", "abc"], []), (["--size", "10x10"], []),
    (["--size", "96"], []), (["--size", "-5x96"], []), (["--size", "²x96"], []),
    (["--epochs", "a,b"], []), (["--epochs", "0"], []), (["--epochs", "1,,1"], []),
    (["--epochs", "²"], []), (["--epochs", "1,2"], ["epochs", 2, 3, 4]),
    (["--no-progressive", "--epochs", "1,1,1"], ["epochs", 3, 1, 2]),
    (["--lr", "fast"], []), (["--lr", "-1"], []), (["--lr", "0"], []), (["--lr", "nan"], []),
    (["--batch-size", "0"], []), (["--batch-size", "x"], []), (["--batch-size", "8,8"], [2, 3]),
    (["--precision", "fp8"], ["fp8", "bf16"]), (["--precision", "fp16"], ["fp16", "CUDA"]),
    (["--device", "gpu"], []), (["--device", "cuda:99"], []), (["--device", "meta"], []),
    (["--model", "unet_resnet43"], ["unet_resnet43", "unet_resnet34"]), (["--layout", "camvit"], ["camvit", "camvid"]),
    (["--recipe", "camvdi"], ["camvdi", "camvid"]), (["--recipe", "nowhere.toml"], ["nowhere.toml"]),
    (["--recipe", "single", "--progressive"], ["--recipe", "single", "--progressive"]),
    (["--set", "wdd=1"], ["wdd", "wd"]), (["--set", "wd"], []), (["--set", "wd=high"], ["wd", "high"]),
    (["--set", "stages.4.lr=1"], ["stages.4", 1, 3]), (["--set", "stages.².lr=1"], ["stages.²"]),
    (["--set", "stages=[]"], ["stages"]),
    (["--set", "stages.1.lrr=1"], ["lrr", "lr"]), (["--set", "stages.1.size=[0,0]"], ["(0, 0)"]),
    (["--set", 'stages.1.name=""'], ["name", "''"]), (["--set", "loss=nothing"], ["nothing"]),
    (["--seed", "-1"], ["--seed"]), (["--seed", "x"], ["--seed"]), (["--seed", str(2**70)], ["seed", str(2**70)]),
    (["--workers", "-1"], ["--workers"]), (["--sizes", "32x48"], ["--sizes"]), (["--size"], ["--size"]),
    (["--name", "../x"], []), (["--name", "a/b"], []), (["--name", "."], ["--name", "'.'"]),
    (["--weights", "nowhere.pth"], []), (["--weights", "street"], []),
    (["--weights", "street/codes.txt"], ["codes.txt", ".safetensors"]),
], ids=lambda value: "_".join(map(str, value))[:40].replace("/", "-"))
def test_options(data, untrained, args, words):
    given = [pair for i in range(0, len(small), 2) if small[i] not in args for pair in small[i:i+2]]
    refuse_train(2, words or args, data, *given, *args)


@pytest.mark.parametrize(("toml", "words"), [
    ("sede = 1\n", ["mine.toml", "sede", "seed"]), ("", ["mine.toml", "stages"]), ("seed = \n", ["mine.toml"]),
    ("stages = []\n", ["stages"]), ("stages = 3\n", ["mine.toml", "stages"]),
    ("stages = [1, 2]\n", ["mine.toml", "stages", "[1, 2]"]),
    ('[stages]\nname = "x"\nsize = [32, 48]\nepochs = 1\n', ["mine.toml", "stages"]),
    ('[[stages]]\nname = "x"\nsize = [32, 48]\nepoch = 1\n', ["epoch", "epochs"]),
    ('[[stages]]\nname = "x"\nsize = [32, 48]\nepochs = 0\n', ["mine.toml", "epochs", "0"]),
    ('[[stages]]\nname = 5\nsize = [32, 48]\nepochs = 1\n', ["name", "5"]),
], ids=["unknown", "empty", "broken", "no-stages", "number", "numbers", "table", "misspelt", "zero", "name"])
def test_recipes(data, untrained, toml, words):
    Path("mine.toml").write_text(toml)
    refuse_train(2, words, data, "--recipe", "mine.toml", "--weights", "none", "--device", "cpu")


def test_recipe_that_is_no_text(data, untrained):
    Path("mine.toml").write_bytes(b"\xff\xfe")
    refuse_train(2, ["mine.toml", "UTF-8"], data, "--recipe", "mine.toml")


def test_out(data, untrained):
    Path("taken").touch()
    refuse_train(1, ["taken"], data, *small, "--out", "taken")
    refuse_train(1, ["taken/below"], data, *small, "--out", "taken/below")
    assert Path("taken").read_bytes() == b""


def test_name_that_exists(data, untrained):
    (Path("runs/first")).mkdir(parents=True)
    (Path("runs/first/notes.txt")).write_text("mine")
    refuse_train(2, ["runs/first", "--name"], data, *small, "--name", "first")
    assert [path.name for path in Path("runs/first").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("mistake", [["--name", "first"], ["--name", "../x"], ["--weights", "nowhere.pth"],
                                     ["--epochs", "1,2"], ["--set", "wdd=1"], ["--out", "taken"]], ids=" ".join)
def test_known_before_the_data_is_read(data, untrained, worked, mistake):
    "With seven hundred images a mistyped option must not wait for the check of all of them."
    Path("runs/first").mkdir(parents=True)
    Path("taken").touch()
    given = [pair for i in range(0, len(small), 2) if small[i] not in mistake for pair in small[i:i+2]]
    out = [] if "--out" in mistake else ["--out", "runs"]
    res = invoke(app, ["train", str(data), *given, *mistake, *out])
    assert res.exit_code in (1, 2) and isinstance(res.error, PLANNED)
    assert worked == []


class Payload:
    def __reduce__(self): return Path.touch, (Path("it-ran"),)


def test_weights(data, untrained):
    import torch
    from safetensors.torch import save_file
    given = "--size", "32x48", "--device", "cpu"
    torch.save(Payload(), "evil.pth")
    refuse_train(1, ["evil.pth"], data, *given, "--weights", "evil.pth", cause=UnpicklingError)
    torch.save({"model": {"w": torch.zeros(2)}, "extra": Payload()}, "hidden.pth")
    refuse_train(1, ["hidden.pth"], data, *given, "--weights", "hidden.pth", cause=UnpicklingError)
    assert not Path("it-ran").exists()
    for name in "garbage.safetensors", "garbage.pth":
        Path(name).write_bytes(b"no weights at all, just words")
        refuse_train(1, [name], data, *given, "--weights", name)
        Path(name).write_bytes(b"")
        refuse_train(1, [name], data, *given, "--weights", name)
    save_file({"w": torch.zeros(3)}, "other.safetensors")
    named = ["other.safetensors", "layers.0.0.weight", "(64, 3, 7, 7)"]
    refuse_train(1, named, data, *given, "--weights", "other.safetensors")
    torch.save([1, 2], "list.pth")
    refuse_train(1, ["list.pth"], data, *given, "--weights", "list.pth", cause=type(None))


def test_weights_of_other_classes(data, untrained):
    from safetensors.torch import save_file
    from segfast.models.zoo import unet_resnet34
    save_file(unet_resnet34(3, "none").state_dict(), "three.safetensors")
    refuse_train(1, ["three.safetensors", "(3,", "(10,"], data, "--size", "32x48", "--device", "cpu", "--weights",
                 "three.safetensors")


@pytest.mark.parametrize("name", ["demo", "camvid", "single"])
def test_a_folder_of_a_preset_s_name_is_a_folder_like_any_other(data, untrained, name):
    data.rename(name)
    options = "--weights", "none", "--device", "cpu", "--out", "runs", "--name", "first"
    assert "training began" in invoke(app, ["train", f"./{name}", *options]).output
    from segfast.runs.presets import progressive
    from segfast.runs.run import Run
    expected = progressive((48, 64), weights="none")
    assert [(s.size, s.epochs) for s in Run("runs/first").recipe.stages] == [(s.size, s.epochs)
        for s in expected.stages]


@pytest.mark.parametrize(("args", "words"), [
    (["good"], ["good"]), (["taken"], ["taken"]), (["taken/below"], ["taken"]), (["new", "-n", "1"], ["-n"]),
    (["new", "--size", "0x0"], ["--size", "0x0"]), (["new", "--size", "big"], ["--size", "big"]),
    (["new", "--seed", "-1"], ["--seed"]),
], ids=" ".join)
def test_demo_data(args, words):
    Path("taken").touch()
    Path("good").mkdir()
    Path("good/mine.txt").touch()
    refused(1 if len(args) == 1 else 2, words, "demo-data", *args)
    assert not Path("new").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["good", "taken"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", "", "null"])
def test_a_damaged_run_hides_no_other(text):
    from segfast.data.classes import ClassTable
    from segfast.runs.recipe import Recipe, Stage
    from segfast.runs.run import Run
    for name in "damaged", "sound":
        Run.create("runs", Recipe([Stage("full", (32, 48), 1)]), ClassTable(["a", "b"]), {"name": "toy"}, name=name)
    Path("runs/damaged/status.json").write_text(text)
    res = invoke(app, ["runs"])
    assert res.exit_code == 0 and res.error is None, res.output
    assert "sound" in res.stdout and "damaged" in res.output


def test_cache_that_cannot_be_written(data, untrained, monkeypatch):
    Path("taken").touch()
    monkeypatch.setenv("SEGFAST_CACHE", "taken/cache")
    refuse_train(1, ["taken/cache"], data, *small)
    refused(1, ["taken/cache"], "check", "demo")
    monkeypatch.setenv("SEGFAST_CACHE", "cache")
    monkeypatch.setenv("SEGFAST_CACHE_GB", "plenty")
    refuse_train(2, ["SEGFAST_CACHE_GB", "plenty"], data, *small)
    monkeypatch.setenv("SEGFAST_CACHE_GB", "0")
    refuse_train(1, ["SEGFAST_CACHE_GB"], data, *small)
