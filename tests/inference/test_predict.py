"Masks of images: every kind of file; ids as a plain PNG reader finds them; tiles, views and ensembles against PyTorch."
import errno
import json
import os
import resource
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.edits import save_classes
from helpers.problems import codes_of, files_of, is_crash, missing
from helpers.refusals import invoke
from helpers.tiffs import write_tiff
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError, UsageError
from segfast.core.files import read_json, without, write_json
from segfast.data.classes import ClassTable
from segfast.data.masks import Encoding, decode_mask
from segfast.inference.evaluate import read_prediction
from segfast.inference.predictor import TorchPredictor
from segfast.inference.result import predict_image
from segfast.runs.run import Run
from segfast.inference.predict import Output, parse_encoding, predict_images
from segfast.inference.sliding import InferenceOptions, NumpyArrays, Segmenter, resize_rows

RNG = np.random.default_rng(0)
STATS = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # of ImageNet


def cli(*args, code=0):
    res = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "100"})
    assert res.exit_code == code, (res.output, res.exception)
    return res


def read(path):
    "A palette image's indices, read by Pillow alone."
    with Image.open(path) as im:
        assert im.mode == "P", im.mode
        return np.asarray(im)


def soft(h, w, seed=0):
    "An image of large spots."
    spots = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(spots).resize((w, h), Image.BICUBIC)


def written(folder): return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


class Channel:
    "Which channel of a pixel is the strongest: what a mask must be can be told without a model."
    classes, size, fixed, arrays = ClassTable(["red", "green", "blue"]), (64, 64), False, NumpyArrays()
    def __call__(self, images, size):
        images = [np.moveaxis(np.asarray(image, np.float32), 2, 0) for image in images]
        return np.stack([resize_rows(image, size, self.arrays) for image in images])


class Digits:
    "The class that a pixel's red says."
    fixed, arrays, size = False, NumpyArrays(), (16, 16)
    def __init__(self, n): self.classes = ClassTable([f"class {i}" for i in range(n)])
    def __call__(self, images, size):
        ids = np.arange(len(self.classes))[:, None, None]
        return np.stack([(ids == image[..., 0]).astype(np.float32) for image in images])


@pytest.fixture
def photos(tmp_path):
    "Five images of different sizes, one in a subfolder."
    folder = tmp_path/"photos"
    (folder/"deep").mkdir(parents=True)
    for i, name in enumerate(["a.png", "b.png", "c.png", "d.jpg", "deep/a.png"]):
        soft(40 + 7*i, 50 + 3*i, i).save(folder/name)
    return folder


# Files

@pytest.mark.parametrize("n", [2, 12, 255, 256])
def test_every_id_survives_the_png(tmp_path, n):
    ids = (np.arange(256).reshape(16, 16) % n).astype(np.uint8)
    Image.fromarray(np.dstack([ids, ids, ids])).save(tmp_path/"all.png")
    predict_images(Segmenter(Digits(n)), [tmp_path/"all.png"], tmp_path/"out")
    assert (read(tmp_path/"out/all.png") == ids).all()
    with Image.open(tmp_path/"out/all.png") as im:
        palette = np.uint8(im.getpalette("RGB")).reshape(-1, 3)
    assert [tuple(c) for c in palette[:n].tolist()] == list(Digits(n).classes.colors)


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_masks_lie_as_the_image_is_seen(tmp_path, turn, kind):
    blocks = np.eye(3, dtype=np.uint8)[[[0, 1, 2, 0], [1, 1, 0, 2], [2, 0, 0, 1]]]*255
    im = Image.fromarray(blocks.repeat(16, 0).repeat(16, 1))
    exif = im.getexif()
    exif[0x0112] = turn
    im.save(tmp_path/f"turned.{kind}", exif=exif, **dict(quality=100, subsampling=0) if kind == "jpg" else {})
    predict_images(Segmenter(Channel()), [tmp_path/f"turned.{kind}"], tmp_path/"out")
    with Image.open(tmp_path/f"turned.{kind}") as im:
        seen = np.asarray(ImageOps.exif_transpose(im))
    mask = read(tmp_path/"out/turned.png")
    assert mask.shape == ((64, 48) if turn > 4 else (48, 64))
    # a side of 48 is shown at 64
    assert (mask == seen.argmax(2)).mean() > (0.95 if seen.shape[:2] != (64, 64) else 0.99)
    assert (predict_image(Segmenter(Channel(), InferenceOptions(tile=(32, 32))),
                          tmp_path/f"turned.{kind}").ids == seen.argmax(2)).all()


MODES = {"gray.png": lambda im: im.convert("L"), "bilevel.png": lambda im: im.convert("1"),
         "palette.png": lambda im: im.quantize(16), "alpha.png": lambda im: im.convert("RGBA"),
         "gray alpha.png": lambda im: im.convert("LA"), "cmyk.jpg": lambda im: im.convert("CMYK"),
         "deep.png": lambda im: Image.fromarray(np.asarray(im.convert("L")).astype(np.uint16)*257),
         "x.gif": lambda im: im.quantize(16), "x.webp": lambda im: im, "x.tif": lambda im: im, "x.bmp": lambda im: im,
         "UPPER.JPG": lambda im: im}


@pytest.mark.parametrize("name", MODES)
def test_images_of_every_mode(tmp_path, name):
    MODES[name](soft(40, 60)).save(tmp_path/name)
    done = predict_images(Segmenter(Channel()), [tmp_path/name], tmp_path/"out")
    assert (done.masks, done.failed) == (1, {}) and read(tmp_path/"out"/Path(name).with_suffix(".png")).shape == (40,
        60)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (10, 3000), (33, 31)])
@pytest.mark.parametrize("tile", [None, (32, 48)])
def test_images_of_every_shape(tmp_path, tiny_run, size, tile):
    found = tiny_run.predict(soft(*size), tile=tile, probabilities=True)
    assert found.shape == found.ids.shape == size and found.probabilities.shape == (len(tiny_run.classes), *size)
    assert np.allclose(found.probabilities.sum(0), 1,
                       atol=1e-4) and (found.probabilities.argmax(0) == found.ids).mean() > 0.999


NAMES = ["with blank.png", "日本 é.png", "-dash.png", "two.dots.v2.png", "[a].png", "q?*.png", "'quoted\".png",
         "#1.png"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_kept(tmp_path, tiny_run, name, monkeypatch):
    (tmp_path/"in").mkdir()
    soft(40, 60).save(tmp_path/"in"/name)
    cli("predict", tiny_run.path, tmp_path/"in", "--out", tmp_path/"all")
    assert written(tmp_path/"all") == [name]
    monkeypatch.chdir(tmp_path/"in")
    cli("predict", tiny_run.path, "--out", "../one", "--", name)
    assert written(tmp_path/"one") == [name]


def test_subfolders_and_endings_are_kept(tmp_path, photos, tiny_run):
    soft(30, 30).save(photos/"a.jpg")
    cli("predict", tiny_run.path, photos, "--out", tmp_path/"out")
    assert written(tmp_path/"out") == ["a.jpg.png", "a.png.png", "b.png", "c.png", "d.png", "deep/a.png"]
    cli("predict", tiny_run.path, f"{photos}/**/a.png", "--out", tmp_path/"some")
    assert written(tmp_path/"some") == ["a.png", "deep/a.png"]


def test_links_are_images_of_their_own(tmp_path, photos):
    (photos/"linked.png").symlink_to(photos/"a.png")
    (photos/"folder").symlink_to(photos/"deep")
    (photos/"gone.png").symlink_to(tmp_path/"nowhere.png")
    done = predict_images(Segmenter(Channel()), [photos], tmp_path/"out")
    assert written(tmp_path/"out") == ["a.png", "b.png", "c.png", "d.png", "deep/a.png", "linked.png"]
    assert list(done.failed) == [str(photos/"gone.png")]


# The command line

def test_a_bad_image_among_good_ones(tmp_path, photos, tiny_run):
    (photos/"broken.png").write_bytes(b"no image")
    (photos/"empty.jpg").write_bytes(b"")
    (photos/"cut.png").write_bytes((photos/"a.png").read_bytes()[:300])
    res = cli("predict", tiny_run.path, photos, photos/"nowhere.png", "--out", tmp_path/"out", "--json", code=1)
    assert written(tmp_path/"out") == ["a.png", "b.png", "c.png", "d.png", "deep/a.png"]
    found = json.loads(res.stdout.splitlines()[-1])
    assert found["masks"] == 5 and {Path(row["file"]).name for row in found["failed"]} == {"broken.png", "empty.jpg",
        "cut.png", "nowhere.png"}
    for name in "broken.png", "empty.jpg", "cut.png", "nowhere.png":
        assert f"{photos/name}: " in res.stderr
    assert not is_crash(res.output) and any(not missing(line, 5, 4) for line in res.stderr.splitlines())


def test_images_of_other_bands_and_bits_are_named(tmp_path, photos, tiny_run):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_tiff(photos/"bands.tif", np.dstack([rgb, rgb[..., :1]]), photometric=1)
    write_tiff(photos/"dark.tif", rgb.astype(np.uint16)*8)
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", "--json", code=1)
    found = json.loads(res.stdout.splitlines()[-1])
    assert [Path(row["file"]).name for row in found["failed"]] == ["bands.tif"]
    assert "dark.png" in written(tmp_path/"out")
    assert not missing(res.stderr, "4 bands of 8 bits", "16 bits", "almost black", "2047")


def test_names_that_are_no_text(tmp_path, photos, tiny_run):
    bad, good = photos/os.fsdecode(b"\xff.png"), photos/os.fsdecode(b"\xfa.png")
    bad.write_bytes(b"no image")
    soft(40, 60).save(good)
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", "--json", code=1)
    found = json.loads(res.stdout.splitlines()[-1])
    assert (found["masks"], found["failed"][0]["file"]) == (6, str(bad)) and (tmp_path/"out"/good.name).is_file()


def test_nothing_is_overwritten(tmp_path, photos, tiny_run):
    out = tmp_path/"out"
    out.mkdir()
    (out/"b.png").write_text("mine")
    for more in [], ["--overwrite"], ["--skip-existing"]:  # the last two are about masks of segfast predict
        res = cli("predict", tiny_run.path, photos, "--out", out, *more, code=2)
        assert not missing(res.output, out/"b.png") and written(out) == ["b.png"]
        assert (out/"b.png").read_text() == "mine"
    (out/"b.png").unlink()
    cli("predict", tiny_run.path, photos, "--out", out)
    res = cli("predict", tiny_run.path, photos, "--out", out, code=2)
    assert not missing(res.output, out/"a.png", "--overwrite", "--skip-existing", "4 more")
    cli("predict", tiny_run.path, photos, "--out", out, "--overwrite")
    assert len(written(out)) == 5 and read(out/"b.png").shape == (47, 53)
    (out/"overlays").mkdir()
    (out/"overlays/c.jpg").write_text("mine")
    shutil.rmtree(out/"deep")
    cli("predict", tiny_run.path, photos/"deep", "--out", out/"other")
    res = cli("predict", tiny_run.path, photos/"c.png", "--out", out, "--overlay", code=2)
    assert not missing(res.output, out/"c.png", "--overwrite")
    for more in ["--overwrite"], ["--skip-existing"]:
        res = cli("predict", tiny_run.path, photos/"c.png", "--out", out, "--overlay", *more, code=2)
        assert not missing(res.output, out/"overlays/c.jpg") and (out/"overlays/c.jpg").read_text() == "mine"


@pytest.mark.parametrize("link", ["b.png", "deep", "overlays", "dangling"])
@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--skip-existing"]])
def test_nothing_is_written_through_a_link(tmp_path, photos, tiny_run, link, more):
    private, out = tmp_path/"private", tmp_path/"out"
    cli("predict", tiny_run.path, photos, "--out", private, "--overlay")  # they could be taken for one's own
    before = {p: p.read_bytes() for p in private.rglob("*") if p.is_file()}
    out.mkdir()
    name, target = ("b.png", tmp_path/"nowhere.png") if link == "dangling" else (link, private/link)
    (out/name).symlink_to(target)
    res = cli("predict", tiny_run.path, photos, "--out", out, "--overlay", *more, code=2)
    assert not missing(res.output, out/name)
    assert {p: p.read_bytes() for p in private.rglob("*") if p.is_file()} == before
    assert not (tmp_path/"nowhere.png").exists() and written(out) == (["b.png"] if link == "b.png" else [])


def test_a_folder_that_is_a_link(tmp_path, photos, tiny_run):
    (tmp_path/"dangling").symlink_to(tmp_path/"nowhere")
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"dangling", code=1)
    assert not missing(res.output, tmp_path/"dangling", "--out") and not (tmp_path/"nowhere").exists()
    (tmp_path/"disk").mkdir()
    (tmp_path/"linked").symlink_to(tmp_path/"disk") # to a folder on another disk, for instance
    cli("predict", tiny_run.path, photos, "--out", tmp_path/"linked")
    assert len(written(tmp_path/"disk")) == 5


def test_a_hard_link_is_replaced(tmp_path, photos, tiny_run):
    cli("predict", tiny_run.path, photos/"a.png", "--out", tmp_path/"out")
    os.link(tmp_path/"out/a.png", tmp_path/"backup.png")
    before = (tmp_path/"backup.png").read_bytes()
    soft(60, 30, 9).save(photos/"a.png")
    cli("predict", tiny_run.path, photos/"a.png", "--out", tmp_path/"out", "--overwrite")
    assert (tmp_path/"backup.png").read_bytes() == before != (tmp_path/"out/a.png").read_bytes()


def test_a_run_is_no_place_for_masks(tmp_path, photos, tiny_run):
    run = shutil.copytree(tiny_run.path, tmp_path/"run")
    before = written(run)
    for more in [], ["--overwrite"], ["--skip-existing"]:
        assert not missing(cli("predict", run, photos, "--out", run, *more, code=2).output, run)
    shutil.copy(photos/"a.png", photos/"history.png")
    cli("predict", run, photos/"history.png", "--out", run/"plots", "--overwrite", code=2)
    assert written(run) == before


# Continuing

def content(folder): return {name: (Path(folder)/name).read_bytes() for name in written(folder)}


@pytest.fixture
def known(photos):
    "A model of which masks can be recognized."
    class Known(Channel): name, sha256 = "known.onnx", "0"*64
    return Known()


@pytest.mark.parametrize("change", ["mask gone", "mask cut", "mask flipped", "overlay cut", "overlay gone",
                                    "probabilities cut", "probabilities gone", "image changed", "nothing"])
def test_what_is_done_is_skipped(tmp_path, photos, known, change):
    out = Output(tmp_path/"out", overlay=True, probabilities=True, skip_existing=True)
    assert predict_images(Segmenter(known), [photos], out).masks == 5
    want, image = content(tmp_path/"out"), photos/"c.png"
    what, _, how = change.partition(" ")
    path = image if what == "image" else out.files("c").get(what)
    if how == "gone": path.unlink()
    elif how == "cut": path.write_bytes(path.read_bytes()[:-40])
    elif how == "flipped":
        raw = bytearray(path.read_bytes())
        raw[len(raw)//2] ^= 1
        path.write_bytes(raw)
    elif how == "changed": soft(54, 56, 77).save(image)
    if change == "mask gone":  # the files that belong to it can no longer be recognized
        with pytest.raises(UsageError, match="overlays"): predict_images(Segmenter(known), [photos], out)
        (out.folder/"overlays/c.jpg").unlink()
        (out.folder/"probabilities/c.npy").unlink()
    times = {p: p.stat().st_mtime_ns for p in out.folder.rglob("*") if p.is_file()}
    seen = []
    done = predict_images(Segmenter(known), [photos], out, progress=lambda *counts: seen.append(counts))
    expected = (0, 5) if change == "nothing" else (1, 4)
    assert (done.masks, done.skipped) == expected and done.to_dict()["skipped"] == done.skipped
    assert all(counts == (5, 5) for counts in seen[-1:])
    now = content(out.folder)
    assert now.keys() == want.keys()
    assert all(p.stat().st_mtime_ns == n for p, n in times.items() if p.stem != "c")
    if change != "image changed": assert now == want
    else: assert read(out.folder/"c.png").shape == (54, 56) and now["c.png"] != want["c.png"]


def test_masks_of_another_model_are_not_taken(tmp_path, photos, tiny_run, other_run):
    out = tmp_path/"out"
    cli("predict", tiny_run.path, photos/"a.png", photos/"b.png", "--out", out, "--overlay")
    before = content(out)
    for model, more in (other_run, []), (tiny_run, ["--tta"]), (tiny_run, ["--size", "64x64"]), (tiny_run, ["--rgb"]):
        res = cli("predict", model.path, photos, "--out", out, "--skip-existing", *more, code=2)
        assert not missing(res.output, out/"a.png", "another model", "--overwrite") and content(out) == before
    res = cli("predict", tiny_run.path, photos, "--out", out, "--skip-existing", "--overlay", "--json")
    found = json.loads(res.stdout.splitlines()[-1])
    assert (found["masks"], found["skipped"]) == (3, 2) and "2 images skipped" in res.stderr
    res = cli("predict", other_run.path, photos, "--out", out, "--overwrite", "--skip-existing")
    assert "5 masks" in res.stdout and not (out/"overlays/a.jpg").exists(), "an overlay of the other model"
    res = cli("predict", other_run.path, photos, "--out", out, "--overwrite", "--skip-existing")
    assert "5 images skipped" in res.stdout
    cli("predict", other_run.path, photos, "--out", tmp_path/"alone")
    assert content(out) == content(tmp_path/"alone")


def test_another_model_without_a_file(tmp_path, photos):
    with pytest.raises(UsageError, match="--skip-existing"):
        predict_images(Segmenter(Channel()), [photos], Output(tmp_path/"out", skip_existing=True))


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--overlay", "--probabilities"]])
def test_ctrl_c_says_how_to_continue(tmp_path, photos, tiny_run, monkeypatch, more):
    import segfast.inference.predict as module
    out, real, calls = tmp_path/"my masks", module.predict_batch, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return real(*args, **kwargs)
    monkeypatch.setattr(module, "predict_batch", interrupted)
    argv = ["predict", tiny_run.path, photos, "--out", out, "--batch-size", 2, "--device", "cpu", *more]
    res = cli(*argv, code=130)
    assert not missing(res.stderr, "Interrupted", "4 masks", out) and "nothing" not in res.stderr
    again = shlex.split(res.stderr.strip().splitlines()[-1].split("To continue: ")[1])
    assert again[:2] == ["segfast", "predict"] and sorted(again[2:]) == sorted([*map(str, argv[1:]), "--skip-existing"])
    monkeypatch.setattr(module, "predict_batch", real)
    res = cli(*again[1:])
    assert not missing(res.stdout, "1 mask", "4 images skipped") and len(written(out)) == (15 if len(more) == 2 else 5)


def test_ctrl_c_before_the_first_mask(tmp_path, photos, tiny_run, monkeypatch):
    def interrupted(*args): raise KeyboardInterrupt
    monkeypatch.setattr("segfast.inference.predict.open_predictors", interrupted)
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", code=130)
    assert "No image was finished" in res.stderr and "training" not in res.stderr and not (tmp_path/"out").exists()


# Faults of the machine

def in_child(work):
    "The pid of a forked process that does some work."
    pid = os.fork()
    if pid: return pid
    code = 70
    try: code = work() or 0
    except BaseException as e: print(type(e).__name__, e, file=sys.stderr)
    finally: os._exit(code)


def killed_at(module, name, n, work):
    "Do some work; the process is killed at the nth call of a function."
    real, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == n: os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(module, name, counted)
    work()


def leftovers(folder): return [name for name in written(folder) if ".part-" in name]


@pytest.mark.parametrize("what, most", [("mask", 300), ("overlay", 4000), ("probabilities", 6000)])
def test_a_full_disk(tmp_path, known, what, most):
    "A limit on the size of files stands for it: writing fails in the same places."
    (tmp_path/"in").mkdir()
    noise = RNG.integers(0, 100, (200, 200, 3), np.uint8)  # of one class: the mask is small
    noise[..., 0] += 150
    Image.fromarray(noise).save(tmp_path/"in/noise.png")
    out = Output(tmp_path/"out", overlay=what == "overlay", probabilities=what == "probabilities")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try: predict_images(Segmenter(known), [tmp_path/"in"], out)
        except DataError as e: text = str(e)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        (tmp_path/"said").write_text(text)
    assert os.waitstatus_to_exitcode(os.waitpid(in_child(limited), 0)[1]) == 0
    path, said = out.files("noise")[what], (tmp_path/"said").read_text()
    assert not missing(said, path, "File too large") and "None" not in said
    assert not path.exists() and not leftovers(out.folder)
    assert all(p.stat().st_size for p in out.folder.rglob("*") if p.is_file())


def test_a_disk_that_is_full_on_the_way(tmp_path, photos, tiny_run, monkeypatch):
    import segfast.inference.predict as module
    real, n = module.save_mask, []

    def full(*args, **kwargs):
        n.append(1)
        if len(n) > 3: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)
    monkeypatch.setattr(module, "save_mask", full)
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", "--batch-size", 1, code=1)
    assert not missing(res.stderr, tmp_path/"out", "No space left", "3 masks", "--skip-existing")
    assert len(written(tmp_path/"out")) == 3 and not leftovers(tmp_path/"out") and not is_crash(res.output)


def is_whole(path):
    if path.suffix == ".npy": return np.load(path, allow_pickle=False).ndim == 3
    with Image.open(path) as im: im.load()
    return True


def test_killed_at_any_moment(tmp_path, known):
    "No file is torn, whenever the process is killed; --skip-existing ends with the same files."
    (tmp_path/"in").mkdir()
    for i in range(10): Image.fromarray(RNG.integers(0, 256, (60, 50, 3), np.uint8)).save(tmp_path/f"in/{i}.png")
    segmenter = Segmenter(known, InferenceOptions(batch_size=2))

    def predict(folder): predict_images(segmenter, [tmp_path/"in"], Output(
        folder, overlay=True, probabilities=True, skip_existing=True))
    predict(tmp_path/"peace")
    want = content(tmp_path/"peace")
    assert len(want) == 30
    moments, counts = (1, 2, 9, 16, 30), set()
    for k,files in enumerate(moments): # each file gets its name by one call
        out = tmp_path/f"out{k}"
        pid = in_child(lambda out=out, files=files: killed_at(os, "replace", files, lambda: predict(out)))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        names = [name for name in written(out) if ".part-" not in name]
        counts.add(len(names))
        assert all(is_whole(out/name) and (out/name).read_bytes() == want[name] for name in names)
    assert len(counts) == len(moments)
    for path in out.parent.glob("out*/**/.part-*"): os.utime(path, (1, 1))
    for k in range(len(moments)):
        predict(tmp_path/f"out{k}")
        assert content(tmp_path/f"out{k}") == want


def test_two_processes_in_one_folder(tmp_path, photos, known):
    "The second process sees what the first wrote, even between its check and its writing."
    class Other(Channel): sha256 = "1"*64
    for k in range(3):
        out = tmp_path/f"out{k}"
        pids = [in_child(lambda model=model, out=out: predict_images(Segmenter(model), [photos], out) and None)
                for model in (known, Other())]
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
        assert 0 in codes or codes == [70, 70]
        assert all(is_whole(out/name) for name in written(out)) and not leftovers(out)
    segmenter = Segmenter(known, InferenceOptions(batch_size=1))
    mine = (tmp_path/"out/c.png")

    def meanwhile(done, total):
        mine.parent.mkdir(exist_ok=True)
        if done == 1: mine.write_text("mine")
    with pytest.raises(UsageError, match="c.png"):
        predict_images(segmenter, [photos/"a.png", photos/"b.png", photos/"d.jpg", photos/"c.png"], tmp_path/"out",
                       progress=meanwhile)
    assert mine.read_text() == "mine"


def test_what_was_left_half_done_is_swept(tmp_path, photos, known):
    old, new, other = (tmp_path/"out"/name for name in (".part-0123456789abcdef.png", ".part-fedcba9876543210.png",
                                                       ".part-notes.txt"))
    (tmp_path/"out").mkdir()
    for path in old, new, other: path.write_bytes(b"x")
    for path in old, other: os.utime(path, (1, 1))
    predict_images(Segmenter(known), [photos], tmp_path/"out")
    assert not old.exists() and new.exists() and other.exists()


def test_out_is_in_or_one_with_the_input(tmp_path, photos, tiny_run):
    before = {p: p.read_bytes() for p in photos.rglob("*") if p.is_file()}
    for more in [], ["--overwrite"]:
        said = cli("predict", tiny_run.path, photos, "--out", photos, *more, code=2).output
        assert not missing(said, photos/"a.png", "--out") and "--overwrite" not in said, "which is no way out here"
    for _ in range(2):  # the masks of the first time are no images of the second
        cli("predict", tiny_run.path, photos, "--out", photos/"masks", "--overwrite", "--overlay")
    assert len(written(photos/"masks")) == 10
    assert {p: p.read_bytes() for p in before} == before


def test_places_that_cannot_be_written(tmp_path, photos, tiny_run, monkeypatch):
    (tmp_path/"file").write_text("x")
    for out in tmp_path/"file", tmp_path/"file/below":
        assert not missing(cli("predict", tiny_run.path, photos, "--out", out, code=1).output, out, tmp_path/"file",
                           "--out")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    assert not missing(cli("predict", tiny_run.path, photos, "--out", tmp_path/"new", code=1).output, tmp_path/"new",
                       "--out")
    assert (tmp_path/"file").read_text() == "x" and not (tmp_path/"new").exists()


BAD = [(["--tile", "64"], ["--tile", "64", "HEIGHTxWIDTH"], 2), (["--tile", "10x10"], ["--tile", "10x10", 32], 2),
       (["--tile", "64x64", "--overlap", "64"], ["--tile", "64x64", "--overlap", "64"], 2),
       (["--overlap", "-1"], ["--overlap", 0, "predict --help"], 2),
       (["--batch-size", "0"], ["--batch-size", 1, "predict --help"], 2),
       (["--size", "x"], ["--size", "x", "HEIGHTxWIDTH"], 2),
       (["--precision", "int4"], ["int4", "auto", "fp32", "fp16", "bf16"], 2),
       (["--device", "abacus"], ["--device", "abacus", "auto", "cpu", "cuda:N"], 2)]


@pytest.mark.parametrize("options,named,code", BAD)
def test_options_that_are_none(tmp_path, photos, tiny_run, options, named, code):
    res = cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", *options, code=code)
    assert not missing(res.output, *named) and not is_crash(res.output) and not (tmp_path/"out").exists()


def test_folders_that_are_no_run(tmp_path, photos, tiny_run):
    (tmp_path/"empty").mkdir()
    for path in tmp_path/"empty", tmp_path/"nowhere", photos/"a.png":
        assert not missing(cli("predict", path, photos, "--out", tmp_path/"out", code=1).output, path, "status.json")
    shutil.copytree(tiny_run.path, tmp_path/"bare")
    shutil.rmtree(tmp_path/"bare/checkpoints")
    assert not missing(cli("predict", tmp_path/"bare", photos, "--out", tmp_path/"out", code=1).output, tmp_path/"bare",
                       "'last'")
    texts = set()
    for given in map(str, (tmp_path/"empty", tmp_path/"nowhere", tmp_path/"*.xyz")):
        res = invoke(app, ["predict", str(tiny_run.path), given, "--out", str(tmp_path/"out")])
        assert res.exit_code == 1 and (codes_of(res.error), files_of(res.error)) == (["missing"],
            [given]) and given in res.stderr
        texts.add(res.error.problems[0].message)
    assert len(texts) == 3, "an empty folder, a place that is not there, and a pattern that fits nothing"
    assert not (tmp_path/"out").exists()


@pytest.mark.parametrize("options", [[], ["--tta"], ["--tile", "32x48", "--overlap", "7"], ["--tile", "100x75"],
                                     ["--tile", "48x40", "--tta"], ["--size", "50x70"]])
def test_batches_change_nothing(tmp_path, photos, tiny_run, options):
    for n in 1, 8:
        cli("predict", tiny_run.path, photos, "--out", tmp_path/str(n), "--batch-size", n, "--precision", "fp32",
            *options)
    for name in written(tmp_path/"1"):
        assert (read(tmp_path/"1"/name) == read(tmp_path/"8"/name)).all(), name


def test_what_else_is_written(tmp_path, photos, tiny_run):
    cli("predict", tiny_run.path, photos/"a.png", "--out", tmp_path/"out", "--overlay", "--probabilities")
    assert written(tmp_path/"out") == ["a.png", "overlays/a.jpg", "probabilities/a.npy"]
    p = np.load(tmp_path/"out/probabilities/a.npy", allow_pickle=False)
    assert p.dtype == np.float16 and p.shape == (10, 40, 50) and np.allclose(p.astype(float).sum(0), 1, atol=0.01)
    with Image.open(tmp_path/"out/overlays/a.jpg") as im:
        assert im.size == (50, 40)
    cli("predict", tiny_run.path, photos/"a.png", "--out", tmp_path/"rgb", "--rgb")
    colors = np.uint8(tiny_run.classes.colors)
    with Image.open(tmp_path/"rgb/a.png") as im:
        assert im.mode == "RGB" and (np.asarray(im) == colors[read(tmp_path/"out/a.png")]).all()


# Numbers

def view(model, image, size, mirrored=False):
    "A model's logits at the image's own size, in plain PyTorch."
    x = torch.tensor(np.array(image)).permute(2, 0, 1)[None].float()/255
    x = F.interpolate(x, size, mode="bilinear", align_corners=False)
    x = (x - STATS[0].view(1, 3, 1, 1))/STATS[1].view(1, 3, 1, 1)
    with torch.no_grad():
        out = model(x.flip(3)).flip(3) if mirrored else model(x)
    return F.interpolate(out, image.size[::-1], mode="bilinear", align_corners=False)[0]


@pytest.fixture
def street(demo_dir): return Image.open(sorted((demo_dir/"images").iterdir())[0]).convert("RGB")


def test_one_view_is_that_of_plain_pytorch(tiny_run, street):
    mine = view(tiny_run.model("cpu"), street, (32, 48)).softmax(0).numpy()
    found = tiny_run.predict(street, probabilities=True)
    assert np.abs(found.probabilities - mine).max() < 1e-5
    assert len(np.unique(found.ids)) > 2  # it has learned to say more than one thing


def test_tta_is_the_mean_of_six(tiny_run, street):
    model, sizes = tiny_run.model("cpu"), [(32, 32), (32, 48), (32, 64)]  # 0.75, 1 and 1.25, in multiples of 32
    views = [view(model, street, size, mirrored).softmax(0) for size in sizes for mirrored in (False, True)]
    mine = torch.stack(views).mean(0).numpy()
    found = tiny_run.predict(street, tta=True, probabilities=True)
    assert np.abs(found.probabilities - mine).max() < 1e-5
    assert np.abs(tiny_run.predict(street, probabilities=True).probabilities - mine).max() > 1e-3  # the test can fail


@pytest.fixture
def other_run(tiny_run, tmp_path):
    "The run again, with other weights."
    shutil.copytree(tiny_run.path, tmp_path/"other run")
    run, state = Run(tmp_path/"other run"), load_file(tiny_run.weights_file)
    noise = torch.Generator().manual_seed(1)
    with run.checkpoint("last") as part:
        save_file({k: v + 0.3*torch.randn(v.shape, generator=noise) if v.ndim == 4 else v for k, v in state.items()},
                  part/"model.safetensors")
    return run


def test_an_ensemble_is_the_mean_of_its_members(tmp_path, tiny_run, other_run, street):
    street.save(tmp_path/"street.png")
    mine = torch.stack([view(run.model("cpu"), street, (32, 48)).softmax(0) for run in (tiny_run, other_run)]).mean(
        0).numpy()
    cli("predict", tiny_run.path, "--ensemble", other_run.path, tmp_path/"street.png", "--out", tmp_path/"both",
        "--probabilities")
    found = np.load(tmp_path/"both/probabilities/street.npy").astype(np.float32)
    assert np.abs(found - mine).max() < 1e-3  # half precision
    clear = np.sort(mine, 0)[-1] - np.sort(mine, 0)[-2] > 1e-4
    assert (read(tmp_path/"both/street.png") == mine.argmax(0))[clear].all() and clear.mean() > 0.99
    alone = [read(tmp_path/name/"street.png") for name in ("a", "b")
             if cli("predict", {"a": tiny_run, "b": other_run}[name].path, tmp_path/"street.png", "--out",
                    tmp_path/name)]
    assert all((mask != read(tmp_path/"both/street.png")).any() for mask in alone)


@pytest.fixture
def void_run(tiny_run, tmp_path):
    "The run again, with weights that give void the largest logit at every pixel."
    shutil.copytree(tiny_run.path, tmp_path/"void run")
    run, state = Run(tmp_path/"void run"), load_file(tiny_run.weights_file)
    state["1.bias"][run.classes.void] += 20
    with run.checkpoint("last") as part: save_file(state, part/"model.safetensors")
    return run


@pytest.mark.parametrize("options", [{}, dict(tile=(32, 32), overlap=8), dict(tta=True)])
def test_void_is_never_predicted(void_run, tiny_run, street, options):
    void, found = void_run.classes.void, void_run.predict(street, probabilities=True, **options)
    assert (found.probabilities.argmax(0) == void).all()  # the probabilities say what the model says
    others = np.delete(found.probabilities, void, 0).argmax(0)
    np.testing.assert_array_equal(found.ids, others + (others >= void))
    if not options: np.testing.assert_array_equal(found.ids, tiny_run.predict(street).ids)


def test_void_outside_the_names_and_a_single_name(street):
    class Flat:
        size, fixed, arrays = (16, 16), False, NumpyArrays()
        def __init__(self, classes): self.classes = classes
        def __call__(self, images, size): return np.zeros((len(images), len(self.classes), *size), np.float32)
    for void in (None, 255, 0): assert (predict_image(Segmenter(Flat(ClassTable(["a"], void))), street).ids == 0).all()
    assert (predict_image(Segmenter(Flat(ClassTable(["void", "a", "b"], 0))), street).ids == 1).all()


def test_an_ensemble_needs_one_table_of_classes(tmp_path, tiny_run, other_run, street):
    street.save(tmp_path/"street.png")
    names = list(other_run.classes.names)
    save_classes(other_run.path, ClassTable([*names[1:], names[0]], void=names.index("Void") - 1))
    res = cli("predict", tiny_run.path, "--ensemble", other_run.path, tmp_path/"street.png", "--out", tmp_path/"out",
              code=2)
    assert not missing(res.output, *names) and not (tmp_path/"out").exists()


@pytest.mark.parametrize("tile,overlap", [((32, 32), 0), ((32, 32), 31), ((40, 64), None), ((64, 40), 13),
                                          ((100, 75), 64), ((33, 57), 5), ((512, 512), 64)])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_no_seams_on_an_equivariant_model(tile, overlap, batch_size):
    torch.manual_seed(3)
    net, image = torch.nn.Conv2d(3, 6, 1), soft(110, 140)
    predictor = TorchPredictor(net, ClassTable(list("abcdef")), (110, 140))
    whole = predict_image(Segmenter(predictor), image, probabilities=True)
    tiled = predict_image(Segmenter(predictor, InferenceOptions(tile=tile, overlap=overlap, batch_size=batch_size)),
                          image, probabilities=True)
    assert np.abs(whole.probabilities - tiled.probabilities).max() < 1e-5
    top = np.sort(whole.probabilities, 0)
    clear = top[-1] - top[-2] > 1e-4
    assert (whole.ids == tiled.ids)[clear].all() and clear.mean() > 0.99 and len(np.unique(whole.ids)) > 1


def test_tiles_show_every_pixel_to_the_model():
    "Where only one tile is, its weights must be positive: a predictor used only in the middle of tiles leaves seams."
    seen = np.zeros((110, 140), bool)

    class Eyes(Channel):
        def __call__(self, images, size):
            for image in images:
                assert image.shape[:2] == size == (32, 48)
                seen[image[..., 0], image[..., 1]] = True
            return super().__call__(images, size)
    at = np.dstack([*np.mgrid[:110, :140], np.zeros((110, 140))]).astype(np.uint8)
    predict_image(Segmenter(Eyes(), InferenceOptions(tile=(32, 48), overlap=8)), at)
    assert seen.all()


# Python

def test_the_same_image_in_every_form(tmp_path, tiny_run, street):
    street.save(tmp_path/"street.png")
    pixels = np.asarray(street)
    forms = [tmp_path/"street.png", str(tmp_path/"street.png"), street, pixels, torch.tensor(pixels).permute(2, 0, 1),
             torch.tensor(pixels).permute(2, 0, 1)/255, pixels/255, (pixels/255).astype(np.float32),
             pixels.astype(np.int64)]
    answers = [tiny_run.predict(form) for form in forms]
    assert all((answer.ids == answers[0].ids).all() and answer.ids.dtype == np.uint8 for answer in answers)
    assert np.asarray(answers[0]).shape == pixels.shape[:2] and answers[0]._repr_jpeg_().startswith(b"\xff\xd8")
    gray = [tiny_run.predict(image).ids for image in (street.convert("L"), np.asarray(street.convert("L")),
                                              np.asarray(street.convert("L"))[..., None],
                                              torch.tensor(np.asarray(street.convert("L")).copy())[None])]
    assert all((ids == gray[0]).all() for ids in gray)


@pytest.mark.parametrize("bad", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint8),
                                 np.full((8, 8, 3), 300), np.full((8, 8, 3), -1.0), np.full((8, 8, 3), np.nan),
                                 np.zeros((0, 8, 3), np.uint8), torch.zeros(4, 8, 8)])
def test_what_is_no_image(tiny_run, bad):
    with pytest.raises(ValueError) as e:
        tiny_run.predict(bad)
    assert str(tuple(bad.shape)) in str(e.value) or not missing(e, bad.dtype, bad.min(), bad.max())


def test_the_model_is_loaded_once(tiny_run, street, monkeypatch):
    run = Run(tiny_run.path)
    run.predict(street)
    monkeypatch.setattr("segfast.inference.run_model.load_model", None)
    monkeypatch.setattr(Run, "newest_checkpoint", None)  # which reads all of a checkpoint
    run.predict(street)
    with pytest.raises(TypeError): # not so where no model was loaded yet
        Run(tiny_run.path).predict(street)


def test_a_folder_in_bf16(tmp_path, photos, tiny_run):
    for p in "fp32", "bf16":
        cli("predict", tiny_run.path, photos, "--out", tmp_path/p, "--precision", p)
    same = [(read(tmp_path/"fp32"/name) == read(tmp_path/"bf16"/name)).mean() for name in written(tmp_path/"fp32")]
    assert len(same) == 5 and np.mean(same) > 0.9


# What people give to it

def odd_images(folder):
    "Images of every mode with odd names, each with the (height, width) that a viewer shows; others that are none."
    (folder/"sub/deep").mkdir(parents=True)
    def colors(h, w): return Image.fromarray(RNG.integers(0, 256, (h, w, 3), np.uint8))
    turned = colors(40, 56)
    exif = turned.getexif()
    exif[0x0112] = 6
    images = {"gray.png": colors(40, 56).convert("L"), "rgba.png": colors(40, 56).convert("RGBA"),
              "palette.png": colors(40, 56).convert("P"), "cmyk.jpg": colors(40, 56).convert("CMYK"),
              "sixteen.png": Image.fromarray(RNG.integers(0, 65535, (40, 56), np.uint16)), "one.png": colors(1, 1),
              "thin.png": colors(300, 1), "large.jpg": colors(200, 310), "film.gif": colors(40, 56),
              "sub/deep/gray.png": colors(33, 35), "\xc4rger #1 (copy).v2.PNG": colors(40, 56)}
    for name, image in images.items(): image.save(folder/name)
    turned.save(folder/"turned.jpg", exif=exif)
    (folder/"._gray.png").write_bytes(b"\0\5\x16\7 of macOS")
    (folder/"notes.txt").write_text("no image")
    (folder/"broken.jpg").write_bytes((folder/"large.jpg").read_bytes()[:600])
    (folder/"empty.png").write_bytes(b"")
    return {name: image.size[::-1] for name, image in images.items()} | {"turned.jpg": (56, 40)}


@pytest.mark.parametrize("more", [[], ["--tile", "64x64"], ["--tta", "--batch-size", "3"]])
def test_case_predict_odd_images(tmp_path, tiny_run, more):
    "A mask of each image's shown size; what cannot be read is named, the others are done, and the exit code says it."
    sizes = odd_images(tmp_path/"new")
    res = cli("predict", tiny_run.path, tmp_path/"new", "--out", tmp_path/"out", *more, code=1)
    assert not missing(res.output, "broken.jpg", "empty.png", f"{len(sizes)} masks", "2 without one")
    assert "notes.txt" not in res.output and "._gray.png" not in res.output
    for name, size in sizes.items():
        mask = read((tmp_path/"out"/name).with_suffix(".png"))
        assert mask.shape == size and set(np.unique(mask)) <= set(tiny_run.classes.labels), name
    assert len(written(tmp_path/"out")) == len(sizes)


@pytest.mark.parametrize("name, content, named", [
    ("film.mp4", b"\0\0\0\x18ftypmp42" + bytes(500), "video"), ("report.pdf", b"%PDF-1.4\n" + bytes(500), "PDF"),
    ("table.csv", b"a,b\n1,2\n", "not an image")])
def test_a_file_that_is_no_image(tmp_path, tiny_run, name, content, named):
    (tmp_path/name).write_bytes(content)
    res = cli("predict", tiny_run.path, tmp_path/name, "--out", tmp_path/"out", code=1)
    assert not missing(res.output, name, named, "0 masks") and not is_crash(res)


def test_a_folder_without_images(tmp_path, tiny_run):
    (tmp_path/"new").mkdir()
    for text in None, "no image":
        if text: (tmp_path/"new/notes.txt").write_text(text)
        res = cli("predict", tiny_run.path, tmp_path/"new", "--out", tmp_path/"out", code=1)
        assert not missing(res.output, tmp_path/"new", "holds no image") and not (tmp_path/"out").exists()


# The values of the dataset

VALUES = dict(gaps=Encoding("values", ((0, 0), (7, 1), (11, 2))), binary=Encoding("values", ((0, 0), (255, 1), (9, 2))),
              wide=Encoding("values", ((500, 0), (40_000, 1), (65_535, 2))),
              swapped=Encoding("values", ((2, 0), (0, 1), (1, 2))),
              several=Encoding("values", ((3, 0), (4, 0), (5, 1), (6, 2), (255, 255))),
              colors=Encoding("colors", (((0, 0, 0), 0), ((255, 0, 128), 1), ((1, 2, 3), 2))))


@pytest.mark.parametrize("encoding", VALUES.values(), ids=VALUES)
def test_values_of_the_dataset_read_back_as_the_same_ids(tmp_path, photos, encoding):
    predict_images(Segmenter(Channel()), [photos], tmp_path/"ids")
    predict_images(Segmenter(Channel()), [photos], Output(tmp_path/"values", values=encoding))
    assert written(tmp_path/"ids") == written(tmp_path/"values")
    for name in written(tmp_path/"ids"):
        with Image.open(tmp_path/"values"/name) as im:
            wide = max(encoding.inverse().values()) > (255 if encoding.kind == "values" else (255,)*3)
            assert im.mode == ("RGB" if encoding.kind == "colors" else "I;16" if wide else "L")
        ids = decode_mask(tmp_path/"values"/name, encoding)
        np.testing.assert_array_equal(ids, read(tmp_path/"ids"/name))
        assert read_prediction(tmp_path/"values"/name, Channel.classes, encoding).tolist() == ids.tolist()


def with_encoding(run, to, encoding):
    "A copy of a run whose training's masks had an encoding."
    shutil.copytree(run.path, to)
    facts = read_json(to/"data.json")
    write_json(to/"data.json", without(facts, "files") | dict(encoding=encoding))
    return Run(to)


def test_the_command_says_that_it_writes_ids_and_can_write_values(tmp_path, photos, tiny_run):
    table = [[10*i, i] for i in range(len(tiny_run.classes))]
    run = with_encoding(tiny_run, tmp_path/"spread", dict(kind="values", table=table, rest=None))
    names = run.classes.names
    said = cli("predict", run.path, photos, "--out", tmp_path/"ids").output
    assert not missing(said, "class ids", f"{names[1]} is 10", "--values dataset")
    said = cli("predict", run.path, photos, "--out", tmp_path/"values", "--values", "dataset").output
    assert "note" not in said
    for name in written(tmp_path/"ids"):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path/"values"/name)), read(tmp_path/"ids"/name)*10)
    assert "note" not in cli("predict", tiny_run.path, photos, "--out", tmp_path/"plain").output
    again = cli("predict", run.path, photos, "--out", tmp_path/"values", "--values", "dataset", "--skip-existing")
    assert "5 images skipped" in again.output
    other = cli("predict", run.path, photos, "--out", tmp_path/"values", "--skip-existing", code=2).output
    assert "other options" in other


def test_colors_of_the_dataset(tmp_path, photos, tiny_run):
    table = [[[i, 0, 200 - i], i] for i in range(len(tiny_run.classes))]
    run = with_encoding(tiny_run, tmp_path/"painted", dict(kind="colors", table=table, rest=None))
    assert "colors" in cli("predict", run.path, photos, "--out", tmp_path/"ids").output
    cli("predict", run.path, photos, "--out", tmp_path/"values", "--values", "dataset")
    with Image.open(tmp_path/"values/a.png") as im: pixels = np.asarray(im)
    np.testing.assert_array_equal(pixels[..., 0], read(tmp_path/"ids/a.png"))
    np.testing.assert_array_equal(pixels[..., 2], 200 - read(tmp_path/"ids/a.png"))


@pytest.mark.parametrize("more, named", [(["--values", "raw"], ["--values", "'raw'", "ids", "dataset"]),
                                         (["--values", "dataset", "--rgb"], ["--rgb", "--values"])])
def test_values_that_do_not_go(tmp_path, photos, tiny_run, more, named):
    assert not missing(cli("predict", tiny_run.path, photos, "--out", tmp_path/"out", *more, code=2).output, *named)
    assert not (tmp_path/"out").exists()


def test_a_class_without_a_value(tmp_path, photos, tiny_run):
    run = with_encoding(tiny_run, tmp_path/"rest", dict(kind="values", table=[[9, 0]], rest=1))
    said = cli("predict", run.path, photos, "--out", tmp_path/"out", "--values", "dataset", code=2).output
    assert not missing(said, "--values dataset", tiny_run.classes.names[1]) and not (tmp_path/"out").exists()


@pytest.mark.parametrize("known", [3, dict(kind="values", table=[[1, 2, 3]]), dict(kind="values", table=[["a", 1]]),
                                   dict(kind="colors", table=[[[1, 2], 0]]), dict(kind="values", table=[[-1, 0]]),
                                   dict(kind="other", table=[]), dict(kind="values", table=7)])
def test_encodings_of_strangers(known):
    with pytest.raises(DataError, match="model.onnx"): parse_encoding(known, "model.onnx")


def test_output_names_every_file(tmp_path):
    out = Output(tmp_path, overlay=True, probabilities=True)
    assert {k: v.relative_to(tmp_path).as_posix() for k, v in out.files("a/b.c").items()} == {"mask": "a/b.c.png",
        "overlay": "overlays/a/b.c.jpg", "probabilities": "probabilities/a/b.c.npy"}


ODD = [{"abc": 3}, {"9x": 1}, {"1x2x3": 1}, {"0x5": 1}, {"480x640": "many"}, ["480x640"], 3]


@pytest.mark.parametrize("sizes", ODD)
def test_a_run_whose_sizes_are_odd(tmp_path, photos, tiny_run, sizes):
    run = shutil.copytree(tiny_run.path, tmp_path/"run")
    data = read_json(run/"data.json")
    write_json(run/"data.json", {**data, "fingerprint": {**data["fingerprint"], "sizes": sizes}})
    res = cli("predict", run, photos, "--out", tmp_path/"out", "--tile", "32x32", code=1)
    assert not missing(res.output, run/"data.json") and not is_crash(res.output) and not (tmp_path/"out").exists()


def test_a_continued_prediction_has_the_same_batches(tmp_path, photos, known):
    "The last bits of probabilities depend on the other images of a batch."
    class Batch(type(known)):
        def __call__(self, images, size): return super().__call__(images, size) + len(images)
    seen = []
    segmenter = Segmenter(Batch(), InferenceOptions(batch_size=2))
    out = Output(tmp_path/"out", probabilities=True, skip_existing=True)
    predict_images(segmenter, [photos], out)
    (out.folder/"probabilities/c.npy").unlink()
    segmenter.predictors[0].__class__.__call__ = lambda self, images, size: seen.append(
        len(images)) or Channel.__call__(self, images, size)
    done = predict_images(segmenter, [photos], out)
    assert (done.masks, done.skipped, seen) == (1, 4, [2])
