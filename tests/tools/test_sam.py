"Segment Anything: prompts, models from a folder or the hub, masks on disk, and masks that train."
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image

import segfast.tools.sam as sam_module
from segfast.data.check import check
from segfast.core.errors import DataError, UsageError
from segfast.data.open import open_data

REASON = 'the extra "sam" is not installed'


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    "A tiny model of each generation, with random weights, on disk."
    pytest.importorskip("transformers", reason=REASON)
    root = tmp_path_factory.mktemp("sam")
    return {kind: sam_module.tiny_sam(root/kind, kind) for kind in ("sam", "sam2")}


@pytest.fixture(scope="module")
def sams(folders): return {k: sam_module.load_sam(folder, device="cpu") for k, folder in folders.items()}


@pytest.fixture(scope="module")
def sam(sams): return sams["sam"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    "No test asks the hub, whatever else has imported its library before."
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def photo(tmp_path):
    "A noisy image of 45 x 70 pixels, neither side of which divides anything."
    path = tmp_path/"in"/"photo.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)).save(path)
    return path


def opened(path):
    "An image, its file closed again."
    with Image.open(path) as im:
        im.load()
    return im


def python(code, **env):
    "Run some code in a fresh Python."
    root = str(Path(sam_module.__file__).parents[2])
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": root, **env})


# What a person points with

@pytest.mark.parametrize("text", ["", ";", "1", "1,2,3", "a,b", "1,2;x", "nan,1", "inf,1", "1;2"])
def test_points_that_are_none(text):
    with refuses(UsageError, "--points", text):
        sam_module.parse_points(text)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "5,1,4,9", "1,9,4,9", "a,b,c,d", "0,0,nan,4"])
def test_boxes_that_are_none(text):
    with refuses(UsageError, "--box", text):
        sam_module.parse_box(text)


@pytest.mark.parametrize("text", ["", "3", "0x3", "3x", "-1x3", "3x3x3", "3,3", "1.5x2"])
def test_grids_that_are_none(text):
    with refuses(UsageError, "--grid", text):
        sam_module.parse_grid(text)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (45, 70), (97, 131)])
def test_grid_is_inside_even_and_symmetrical(size):
    h, w = size
    for rows in range(1, min(h, 5) + 1):
        for cols in range(1, min(w, 7) + 1):
            points = sam_module.grid_points(size, (rows, cols))
            assert len(set(points)) == rows*cols
            assert all(0 <= x < w and 0 <= y < h for x, y in points)
            xs = sorted({x for x, _ in points})
            assert abs(xs[0] - (w - 1 - xs[-1])) <= 1 and np.ptp(np.diff(xs)) <= 1 if cols > 1 else True


def test_random_points_are_inside_different_and_repeated():
    points = sam_module.random_points((5, 7), 35)
    assert sorted(points) == [(x, y) for x in range(7) for y in range(5)]
    assert sam_module.random_points((50, 70), 9, seed=1) == sam_module.random_points((50, 70), 9,
        seed=1) != sam_module.random_points((50, 70), 9, seed=2)


@pytest.mark.parametrize("given, named", [
    (dict(), ["--points", "--box", "--grid", "--random"]),
    (dict(points="1,1", random=3), ["--points", "--random", "--grid"]),
    (dict(random=3, grid="2x2"), ["--points", "--random", "--grid"]),
    (dict(box="0,0,5,5", grid="2x2"), ["--box", "--points", "--random", "--grid"]),
    (dict(points="70,1"), ["70,1", 69, 44]),
    (dict(points="1,45"), ["1,45", 69, 44]),
    (dict(points="1,1;-1,5"), ["-1,5", 69, 44]),
    (dict(box="0,0,71,45"), ["0,0,71,45", 70, 45]),
    (dict(box=(-1, 0, 7, 4)), ["-1,0,7,4", 70, 45]),
    (dict(random=0), [0, 1, 1024]),
    (dict(random=5000), [5000, 1, 1024]),
    (dict(grid="46x1"), ["--grid", "46x1", "45x70"]),
    (dict(points=[]), ["points", "(x, y)"]),
])
def test_prompts_that_cannot_be(given, named):
    with refuses(UsageError, *named) as e:
        sam_module.make_prompts((45, 70), **given)
    assert len(str(e.value).splitlines()) <= 3


def test_a_box_may_be_the_whole_image_and_takes_all_points():
    assert sam_module.make_prompts((45, 70), points="1,1;69,44",
                                   box="0,0,70,45") == [sam_module.Prompt(((1, 1), (69, 44)), (0, 0, 70, 45))]


# Images

def sample_images():
    "The same 6 x 4 pixels in all sorts of files: (name, save, upright size)."
    rgb = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    im, gray = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = im.quantize(8)
    clear.info["transparency"] = bytes(range(8))
    return {"rgba.png": (im.convert("RGBA"), {}, (4, 6)), "la.png": (gray.convert("LA"), {}, (4, 6)),
            "gray.png": (gray, {}, (4, 6)), "palette.png": (im.quantize(8), {}, (4, 6)),
            "clear.png": (clear, {}, (4, 6)), "bit.png": (gray.convert("1"), {}, (4, 6)),
            "deep.png": (Image.fromarray(rgb[..., 0].astype(np.uint16)*257), {}, (4, 6)),
            "cmyk.jpg": (im.convert("CMYK"), {}, (4, 6)), "rotated.jpg": (im, dict(exif=exif), (6, 4)),
            "photo.webp": (im, {}, (4, 6))}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", sample_images())
def test_every_kind_of_image(name, tmp_path, sam):
    im, kwargs, size = sample_images()[name]
    im.save(tmp_path/name, **kwargs)
    rgb = np.asarray(sam_module.as_image(tmp_path/name))
    assert (rgb.shape, rgb.dtype) == ((*size, 3), np.uint8)
    found = sam_module.prompt(tmp_path/name, grid="2x2", model=sam)
    assert (found.masks.shape, found.masks.dtype) == ((4, *size), bool)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 5), (4, 3), (3, 3)])
def test_heights_that_look_like_channels(size, kind, sams):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert sam_module.prompt(rgb, points=[(0, 0)], model=sams[kind]).masks.shape == (1, *size)


def test_deep_grays_keep_their_brightness(tmp_path):
    im, *_ = sample_images()["deep.png"]
    im.save(tmp_path/"deep.png")
    assert (np.asarray(sam_module.as_image(tmp_path/"deep.png"))[..., 0] == np.asarray(im)//257).all()


@pytest.mark.parametrize("content, codes", [
    (b"", ["empty"]), (b"hello world, no image", ["not-an-image"]),
    (b"\x89PNG\r\n\x1a\n12345678", ["not-an-image", "undecodable"]), (None, ["missing"])])
def test_images_that_are_none(content, codes, tmp_path):
    path = tmp_path/"x.png"
    if content is not None:
        path.write_bytes(content)
    with refuses(DataError, path, file=str(path), kind="error") as e:
        sam_module.prompt(path, points="1,1")
    assert e.value.problems[0].code in codes


# Answers

@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("given, n", [(dict(points="10,20;60,5"), 2), (dict(random=3), 3), (dict(grid="3x3"), 9),
                                      (dict(box="5,6,40,30"), 1), (dict(box="5,6,40,30", points="10,10;20,20"), 1)])
def test_shapes_of_answers(kind, given, n, sams, photo):
    one, three = (sam_module.prompt(photo, **given, model=sams[kind], multimask=m) for m in (False, True))
    assert one.masks.shape == (n, 45, 70) and one.scores.shape == (n,) and len(one.prompts) == n
    assert three.masks.shape == (3*n, 45, 70) and three.prompt_index.tolist() == [i for i in range(n) for _ in range(3)]
    assert [three.prompt_index[i] for i in three.best] == list(range(n))
    assert all(three.scores[j] == max(three.scores[three.prompt_index == i]) for i, j in enumerate(three.best))
    for mask, box in zip(three.masks, three.boxes):
        if box is None:
            assert not mask.any()
            continue
        x0, y0, x1, y1 = box
        inner = mask[y0:y1, x0:x1]
        assert inner.sum() == mask.sum() and inner[0].any() and inner[-1].any() and inner[:, 0].any() and inner[:,
            -1].any()


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("size", [(45, 70), (130, 61), (64, 64)])
def test_a_mask_comes_back_where_the_point_was(kind, size, sams, monkeypatch):
    "A model that answers with a spot at the point it was given: all scaling on the way there and back must cancel out."
    import torch
    model, seen = sams[kind].model, []

    def answer(image_embeddings, multimask_output, input_points=None, input_boxes=None):
        seen.append(input_points)
        y, x = torch.meshgrid(torch.arange(16.), torch.arange(16.), indexing="ij")
        at = input_points[0, :, 0]/4 - 0.5  # 64 pixels in, 16 out
        near = 1.2 - ((x - at[:, 0, None, None])**2 + (y - at[:, 1, None, None])**2).sqrt()
        return type("Out", (), dict(pred_masks=near[None, :, None], iou_scores=torch.ones(1, len(near), 1)))

    monkeypatch.setattr(model, "forward", answer)
    h, w = size
    points = sam_module.grid_points(size, (4, 4))
    found = sam_module.prompt(np.zeros((h, w, 3), np.uint8), points=points, model=sams[kind])
    assert seen[0].dtype == torch.float32 and seen[0].shape == (1, 16, 1, 2)
    for (x, y), mask in zip(points, found.masks):
        ys, xs = np.nonzero(mask)
        assert mask[y, x] and abs(xs.mean() - x) <= w/16 and abs(ys.mean() - y) <= h/16
    assert sum(m[points[0][1], points[0][0]] for m in found.masks) == 1  # and nowhere else


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_boxes_reach_the_model_scaled(kind, sams, photo, monkeypatch):
    import torch
    seen, forward = {}, sams[kind].model.forward

    def spy(*args, **kwargs):
        seen.update(kwargs)
        return forward(*args, **kwargs)

    monkeypatch.setattr(sams[kind].model, "forward", spy)
    sam_module.prompt(photo, box="7,9,35,45", points="7,9;14,18", model=sams[kind])
    sx, sy = 64/70, (41/45 if kind == "sam" else 64/45)  # the first keeps the aspect, in whole pixels
    want = torch.tensor([7*sx, 9*sy, 35*sx, 45*sy])
    assert torch.allclose(seen["input_boxes"].flatten(), want, atol=1e-4)
    assert torch.allclose(seen["input_points"][0, 0], torch.tensor([[7*sx, 9*sy], [14*sx, 18*sy]]), atol=1e-4)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_many_points_in_parts_are_as_one_by_one(kind, sams, photo):
    points = sam_module.grid_points((45, 70), (5, 7))  # more than go through at once
    many = sam_module.prompt(photo, points=points, model=sams[kind])
    some = [0, 14, 15, 34]
    single = [sam_module.prompt(photo, points=[points[i]], model=sams[kind]) for i in some]
    for i, one in zip(some, single):
        assert (many.masks[i] != one.masks[0]).mean() < 0.001
        assert many.scores[i] == pytest.approx(one.scores[0], abs=1e-5)
    assert any((many.masks[i] != many.masks[0]).any() for i in range(1, 35))  # the point matters


def test_the_published_name_of_the_second_generation(folders, tmp_path, photo, sams):
    import shutil
    folder = Path(shutil.copytree(folders["sam2"], tmp_path/"video"))
    config = json.loads((folder/"config.json").read_text())
    (folder/"config.json").write_text(json.dumps(config | dict(model_type="sam2_video")))
    found = sam_module.prompt(photo, points="9,9", model=folder, device="cpu")
    assert (found.masks == sam_module.prompt(photo, points="9,9", model=sams["sam2"]).masks).all()


def test_it_shows_itself(sam, photo):
    found = sam_module.prompt(photo, points="10,20;60,5",
                              model=sam_module.Sam("<b>", sam.kind, sam.model, sam.processor))
    html = found._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html and html.count("<tr>") == 3 and "data:image/png" in html
    assert missing(repr(found), 2, "45x70", "<b>") == []


def test_what_is_drawn():
    image = np.full((20, 30, 3), 100, np.uint8)
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 5:15, 5:15] = True
    drawn = sam_module.draw_prompts(image, mask, [sam_module.Prompt(((25, 10),), (2, 2, 28, 18))])
    color = np.array(sam_module.default_colors(1)[0])
    assert (drawn[5, 5] == color).all()                                           # the outline
    assert (drawn[10, 10] == ((100 + color)/2).round()).all()                     # the area
    assert drawn[10, 25].tolist() == [255]*3 and drawn[2, 2].tolist() == [0]*3     # point and box
    assert (image == 100).all() and drawn[19, 29].tolist() == [100]*3


def test_a_small_mask_stays_visible_in_a_large_one():
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 8:12, 8:12], masks[1] = True, True
    drawn = sam_module.draw_prompts(np.zeros((20, 30, 3), np.uint8), masks)
    assert drawn[8, 8].tolist() == list(sam_module.default_colors(2)[0])


# Models that are none

def broken(folder, tmp_path, **files):
    "A copy of a model's folder with some files replaced (None: removed)."
    import shutil
    copy = Path(shutil.copytree(folder, tmp_path/"broken"))
    for name, content in files.items():
        path = copy/name.replace("__", ".")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    return copy


INDEX = "model.safetensors.index.json"


def index(text): return dict(model__safetensors=None, model__safetensors__index__json=text)


@pytest.mark.parametrize("files, named", [
    (dict(config__json=None), ["config.json", "processor_config.json", "model.safetensors"]),
    (dict(config__json=b"{"), ["config.json"]),
    (dict(config__json=b"[]"), ["config.json"]),
    (dict(config__json=b'{"model_type": "bert"}'), ["bert", "sam", "sam2"]),
    (dict(processor_config__json=None), ["processor_config.json", "preprocessor_config.json"]),
    (dict(model__safetensors=None), ["model.safetensors"]),
    (dict(model__safetensors=None, pytorch_model__bin=b"x"), ["pytorch_model.bin", ".safetensors"]),
    (dict(model__safetensors=b"\x08\0\0\0\0\0\0\0garbage"), ["SamModel"]),
    (index(b'{"weight_map": {"a": "pytorch_model.bin"}}'), [INDEX, "pytorch_model.bin", ".safetensors"]),
    (index(b'{"weight_map": {"a": "../x.safetensors"}}'), [INDEX, "../x.safetensors", ".safetensors"]),
    (index(b"{}"), [INDEX]),
    (index(b'{"weight_map": {"a": "x.safetensors"}}'), [INDEX, "x.safetensors"]),
    (index(b'{"weight_map": ["model.safetensors"]}'), [INDEX]),
    (index(b'{"weight_map": {"a": "' + b"x"*10**5 + b'"}}'), [INDEX]),
    (dict(config__json=b"["*10**5), ["config.json", "nested"]),
    (dict(config__json=b'{"model_type": ' + b"9"*400 + b"}"), ["config.json", "64 bits"]),
    (dict(config__json=b'{"model_type": ["sam"]}'), ["sam", "sam2"]),
    (dict(config__json=b"\xff{}"), ["config.json"]),
    (dict(config__json=b"{}" + b" "*(17 << 20)), ["config.json", "16 MB"]),
    (dict(processor_config__json=b"["*10**5), ["processor_config.json", "nested"]),
    (dict(adapter_config__json=b'{"base_model_name_or_path": "a/b"}'), ["adapter_config.json"]),
])
def test_folders_that_are_no_model(files, named, folders, tmp_path):
    folder = broken(folders["sam"], tmp_path, **files)
    with refuses(DataError, folder, *named) as e:
        sam_module.load_sam(folder, device="cpu")
    assert len(str(e.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "generation_config.json",
                                  "model.safetensors", "x-1.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_model_with_files_that_never_end(name, kind, folders, tmp_path):
    folder = broken(folders["sam"], tmp_path)
    if name.startswith("x"):
        (folder/"model.safetensors").unlink()
        (folder/INDEX).write_text(json.dumps(dict(weight_map=dict(a=name))))
    (folder/name).unlink(missing_ok=True)
    os.mkfifo(folder/name) if kind == "pipe" else (folder/name).symlink_to("/dev/zero")
    with refuses(DataError, folder, name): sam_module.load_sam(folder, device="cpu")


def test_no_pickle_is_ever_opened(folders, tmp_path, monkeypatch):
    "Not beside sound weights either, and not by the configuration's wish."
    import pickle

    import torch

    def boom(*args, **kwargs): raise AssertionError("a pickle was loaded")
    for module, name in (torch, "load"), (pickle, "load"), (pickle, "loads"):
        monkeypatch.setattr(module, name, boom)
    config = json.loads((folders["sam"]/"config.json").read_text())
    folder = broken(folders["sam"], tmp_path, pytorch_model__bin=b"\x80\x04.")
    assert sam_module.load_sam(folder, device="cpu").kind == "sam"
    for wish in "pytorch_model.bin", "adapter_model.bin":
        (folder/"adapter_model.bin").write_bytes(b"\x80\x04.")
        (folder/"config.json").write_text(json.dumps(config | dict(transformers_weights=wish)))
        with refuses(DataError, folder, "transformers_weights", wish):
            sam_module.load_sam(folder, device="cpu")


def test_weights_that_are_not_all_there(folders, tmp_path):
    from safetensors.torch import load_file, save_file
    folder = broken(folders["sam"], tmp_path)
    weights = load_file(folder/"model.safetensors")
    gone = next(k for k in weights if k.startswith("mask_decoder"))
    save_file({k: v for k, v in weights.items() if k != gone}, folder/"model.safetensors", metadata=dict(format="pt"))
    with refuses(DataError, folder, 1, "SamModel", gone):
        sam_module.load_sam(folder, device="cpu")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c", "a\\b"])
def test_paths_that_are_not_there(name):
    with refuses(DataError, name, "config.json", "model.safetensors"):
        sam_module.load_sam(name)


def test_a_file_is_no_model(photo):
    with refuses(DataError, photo, "config.json", "model.safetensors") as e:
        sam_module.load_sam(photo)
    with pytest.raises(DataError) as absent:
        sam_module.load_sam(photo.with_name("gone.png"))
    assert str(e.value) != str(absent.value).replace("gone.png", photo.name), "a file is not taken for nothing"


def test_names_that_cannot_be():
    pytest.importorskip("transformers", reason=REASON)
    with refuses(UsageError, "--model", "a b"):
        sam_module.load_sam("a b")


def test_offline_nothing_is_looked_for(monkeypatch):
    pytest.importorskip("transformers", reason=REASON)
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args))
    monkeypatch.setattr(time, "sleep", asked.append)
    with refuses(DataError, "segfast-tests/no-such-model", "HF_HUB_OFFLINE", "--model") as e:
        sam_module.load_sam("segfast-tests/no-such-model")
    assert asked == [] and len(str(e.value).splitlines()) <= 3


def test_offline_in_a_fresh_process(tmp_path, photo):
    pytest.importorskip("transformers", reason=REASON)
    code = f"""
from segfast.core.errors import DataError
from segfast.tools.sam import prompt
try: prompt({str(photo)!r}, points="1,1")
except DataError as e: print(e)
import sys; print("torch loaded" if "transformers.models.sam.modeling_sam" in sys.modules else "no model code")
"""
    res = python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert missing(res.stdout, "facebook/sam-vit-base", "--model", "no model code") == [], res.stderr


def test_what_the_hub_may_answer(monkeypatch):
    pytest.importorskip("transformers", reason=REASON)
    import httpx
    import huggingface_hub
    from huggingface_hub import constants, errors
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    response = httpx.Response(404, request=httpx.Request("GET", "http://hub.example"))
    known = ["facebook/sam-vit-base", "facebook/sam2.1-hiera-tiny"]
    for error, named in ((errors.RepositoryNotFoundError("x", response=response), known),
                         (errors.GatedRepoError("x", response=response), ["hf auth login", "--model"]),
                         (httpx.ConnectError("no route"), ["no route", "--model"]),
                         (OSError(28, "No space left on device"), ["No space left on device", "--model"])):
        def fail(*args, error=error, **kwargs): raise error
        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with refuses(DataError, "someone/something", *named) as e:
            sam_module.load_sam("someone/something")
        assert "HF_HUB_OFFLINE" not in str(e.value) and len(str(e.value).splitlines()) <= 3


def test_only_safetensors_are_asked_for(monkeypatch, folders):
    import huggingface_hub
    from fnmatch import fnmatch
    asked = {}

    def download(name, allow_patterns):
        asked["patterns"] = allow_patterns
        return str(folders["sam"])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert sam_module.load_sam("someone/something", device="cpu").name == "someone/something"
    hub = ["pytorch_model.bin", "model.pt", "modeling_sam.py", "adapter_config.json", "model.safetensors",
           "model-00001-of-00002.safetensors", "config.json", "preprocessor_config.json"]
    assert [file for file in hub if any(fnmatch(file, p) for p in asked["patterns"])] == hub[4:]


def test_without_the_extra(monkeypatch, photo):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with refuses(UsageError, "pip install", "segfast[sam]"):
        sam_module.prompt(photo, points="1,1")


def test_importing_it_is_light():
    res = python("import sys, segfast.tools.sam; print([name for name in ('torch', 'fastai', 'transformers', "
                 "'huggingface_hub') if name in sys.modules])")
    assert res.stdout.strip() == "[]", res.stderr


def test_a_wrong_device(folders, photo):
    with refuses(UsageError, "--device", "gpu", "cpu", "cuda", "mps"):
        sam_module.prompt(photo, points="1,1", model=folders["sam"], device="gpu")


# On disk

@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_what_is_written(kind, folders, photo, tmp_path):
    out = tmp_path/"out"/"deep"
    made = sam_module.prompt_to_folder(photo, out, grid="2x3", model=folders[kind], multimask=True, device="cpu")
    told = json.loads((out/"masks.json").read_text())
    assert made == told | dict(folder=str(out))
    assert sorted(file.name for file in out.iterdir()) == [*(f"mask-{i:03}.png" for i in range(18)), "masks.json",
                                                     "overlay.png"]
    assert (told["size"], told["image"], told["model"], told["multimask"]) == ([45, 70], str(photo), str(folders[kind]),
        True)
    points = sam_module.grid_points((45, 70), (2, 3))
    assert [prompt["points"] for prompt in told["prompts"]] == [[list(point)] for point in points]
    found = sam_module.prompt(photo, grid="2x3", model=folders[kind], multimask=True, device="cpu")
    for i, row in enumerate(told["masks"]):
        im = opened(out/row["file"])
        assert im.mode == "L" and set(np.unique(im)) <= {0, 255}
        assert ((np.asarray(im) == 255) == found.masks[i]).all()
        assert (row["prompt"], row["pixels"]) == (i//3, int(found.masks[i].sum()))
        assert row["score"] == pytest.approx(float(found.scores[i])) and row["box"] == (list(found.boxes[i])
            if found.boxes[i] else None)
    assert opened(out/"overlay.png").size == (70, 45)
    lines = sam_module.prompt_text(made).splitlines()
    assert missing(lines[0], photo, 18, folders[kind]) == []
    assert missing(lines[-2], 6, "masks.json") == missing(lines[-1], out) == []
    assert len(lines) == 15 and all(missing(line, f"mask-{i:03}.png") == [] for i, line in enumerate(lines[1:13]))


def test_nothing_is_written_over_unasked(sam, photo, tmp_path):
    out = tmp_path/"out"
    sam_module.prompt_to_folder(photo, out, grid="2x2", model=sam)
    (out/"mask-mine.png").write_bytes(b"mine")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with refuses(DataError, out, "--overwrite"):
        sam_module.prompt_to_folder(photo, out, points="5,5", model=sam)
    assert before == {file.name: file.read_bytes() for file in out.iterdir()}
    sam_module.prompt_to_folder(photo, out, points="5,5", model=sam, overwrite=True)
    # the old ones are gone, a person's is not
    assert sorted(file.name for file in out.iterdir()) == ["mask-000.png", "mask-mine.png", "masks.json", "overlay.png"]


@pytest.mark.parametrize("name", ["masks.json", "overlay.png", "mask-000.png", "mask-7777.png"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder", "pipe"])
def test_nothing_of_others_is_replaced(name, kind, sam, photo, tmp_path):
    "Also with --overwrite, and also where an earlier result is there."
    out, mine = tmp_path/"out", tmp_path/"mine"
    mine.write_bytes(b"mine")
    out.mkdir()
    for earlier in False, True:
        if earlier: sam_module.prompt_to_folder(photo, out, points="5,5", model=sam)
        if earlier and kind == "file": break # the earlier result stands for all of its files
        (out/name).unlink(missing_ok=True)
        if kind == "file": (out/name).write_bytes(b"mine")
        elif kind == "folder": (out/name).mkdir()
        elif kind == "pipe": os.mkfifo(out/name)
        else: (out/name).symlink_to(mine if kind == "link" else tmp_path/"made")
        before = os.lstat(out/name)
        with refuses(UsageError, "--out", name):
            sam_module.prompt_to_folder(photo, out, grid="2x2", model=sam, overwrite=True)
        assert os.lstat(out/name) == before and mine.read_bytes() == b"mine" and not (tmp_path/"made").exists()
        (out/name).rmdir() if kind == "folder" else (out/name).unlink()


def test_a_run_is_no_place_for_masks(sam, photo, tmp_path):
    (tmp_path/"run").mkdir()
    (tmp_path/"run/status.json").write_text("{}")
    with refuses(UsageError, "--out", "is the folder of a run"):
        sam_module.prompt_to_folder(photo, tmp_path/"run", points="5,5", model=sam, overwrite=True)
    assert [path.name for path in (tmp_path/"run").iterdir()] == ["status.json"]


def test_masks_have_the_permissions_of_the_umask(sam, photo, tmp_path):
    for mask in 0o002, 0o077:
        before = os.umask(mask)
        try: sam_module.prompt_to_folder(photo, tmp_path/f"{mask}/set", points="5,5", model=sam)
        finally: os.umask(before)
        assert {path.stat().st_mode & 0o777 for path in (tmp_path/f"{mask}/set").iterdir()} == {0o666 & ~mask}


def test_a_full_disk_is_named_with_the_file(sam, photo, tmp_path, monkeypatch):
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with refuses(DataError, "mask-000.png", "cannot be written (No space left on device)"):
        sam_module.prompt_to_folder(photo, tmp_path/"out", points="5,5", model=sam)
    assert list((tmp_path/"out").iterdir()) == []


def test_an_interrupted_result_can_be_written_again(sam, photo, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        def killed(*args, **kwargs): raise KeyboardInterrupt
        patch.setattr(sam_module, "write_output", killed)
        with pytest.raises(KeyboardInterrupt): sam_module.prompt_to_folder(photo, tmp_path/"out", grid="2x2", model=sam)
    assert len(list((tmp_path/"out").iterdir())) == 5
    sam_module.prompt_to_folder(photo, tmp_path/"out", points="5,5", model=sam)
    assert (tmp_path/"out/masks.json").exists()


@pytest.mark.parametrize("given, named", [
    (dict(points="5,5", overwrite=True, add=True), ["--overwrite", "--add"]),
    (dict(points="5,5", add=True), ["--add", "--as-masks"]),
    (dict(points="99,5"), ["99,5", 69, 44]), (dict(points="5,5", as_masks="  "), ["--as-masks", "''"]),
    (dict(points="5,5", as_masks="a\nb"), ["--as-masks", "'a\\nb'"]),
    (dict(points="5,5", as_masks="Background"), ["--as-masks", "Background", "codes.txt", "'background'"]),
])
def test_wrong_usage_is_said_before_anything_is_loaded_or_written(given, named, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(sam_module, "load_sam", lambda *args: pytest.fail("a model was loaded"))
    with refuses(UsageError, *named):
        sam_module.prompt_to_folder(photo, tmp_path/"out", **given)
    assert not (tmp_path/"out").exists()


def test_out_is_a_file(photo):
    with refuses(UsageError, "--out", photo):
        sam_module.prompt_to_folder(photo, photo, points="5,5")


def test_random_points_keep_their_seed(sam, photo, tmp_path):
    made = [sam_module.prompt_to_folder(photo, tmp_path/str(i), random=4, model=sam, seed=s)
            for i, s in enumerate((7, 7, 8))]
    assert made[0]["seed"] == 7 and made[0]["prompts"] == made[1]["prompts"] != made[2]["prompts"]


# Masks that train

def answering(sam, monkeypatch, area):
    "Let the model say that the thing is `area(height, width)`."
    def ask(sam, rgb, prompts, multimask):
        h, w = rgb.shape[:2]
        return np.stack([area(h, w)]*len(prompts)), np.ones(len(prompts), np.float32), np.arange(len(prompts))
    monkeypatch.setattr(sam_module, "predict_masks", ask)


def left(h, w): return np.arange(w)[None].repeat(h, 0) < w//2
def top(h, w): return np.arange(h)[:, None].repeat(w, 1) < h//2
def nothing(h, w): return np.zeros((h, w), bool)


def ids(root, stem="photo"): return np.asarray(opened(root/f"labels/{stem}_P.png"))


def test_labels_hold_the_class_and_the_rest(sam, photo, tmp_path, monkeypatch):
    root = tmp_path/"set"
    answering(sam, monkeypatch, left)
    made = sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Car")
    assert (root/"codes.txt").read_text() == "background\nCar\n" and made["classes"] == ["background", "Car"]
    assert (ids(root) == left(45, 70)).all()
    assert (root/"images/photo.png").read_bytes() == photo.read_bytes()
    assert made["label"] == dict(name="Car", id=1, file="labels/photo_P.png", pixels=45*35,
                                 share=0.5) and Path(made["folder"]) == root/"prompts/photo/1"
    answering(sam, monkeypatch, top)
    with refuses(DataError, "photo_P.png", "--add", "Road", "--overwrite"):
        sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Road")
    assert (root/"codes.txt").read_text() == "background\nCar\n"  # nothing happened
    sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Road", add=True)
    assert (root/"codes.txt").read_text() == "background\nCar\nRoad\n"
    assert (ids(root) == np.where(top(45, 70), 2, left(45, 70))).all()
    sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Car", overwrite=True)
    assert (ids(root) == top(45, 70)).all() and (root/"codes.txt").read_text() == "background\nCar\nRoad\n"
    assert sorted(folder.name for folder in (root/"prompts/photo").iterdir()) == ["1", "2"]
    made = sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Car", overwrite=True)
    [line] = [line for line in sam_module.prompt_text(made).splitlines() if "photo_P.png" in line]
    assert missing(line, "labels/photo_P.png", "Car", 1) == []


def test_a_mask_that_a_person_drew_is_never_replaced(sam, photo, tmp_path, monkeypatch):
    "It is drawn on if asked for, and stays the person's after that."
    root, mask = tmp_path/"set", tmp_path/"set/labels/photo_P.png"
    answering(sam, monkeypatch, left)
    mask.parent.mkdir(parents=True)
    (root/"codes.txt").write_text("background\nCar\n")
    Image.fromarray(np.ones((45, 70), np.uint8)).save(mask)
    before = mask.read_bytes()
    given = dict(points="5,5", model=sam, as_masks="Car")
    with refuses(UsageError, "photo_P.png", "did not write it"):
        sam_module.prompt_to_folder(photo, root, **given, overwrite=True)
    assert mask.read_bytes() == before and not (root/"prompts").exists()
    sam_module.prompt_to_folder(photo, root, **given | dict(as_masks="Road"), add=True)
    assert (ids(root) == np.where(left(45, 70), 2, 1)).all()
    with refuses(UsageError, "photo_P.png", "did not write it"):
        sam_module.prompt_to_folder(photo, root, **given, overwrite=True)


@pytest.mark.parametrize("name", ["labels", "images", "prompts", "prompts/photo", "prompts/photo/1",
                                  "labels/photo_P.png", "images/photo.png", "codes.txt"])
def test_a_dataset_s_links_lead_nowhere(name, sam, photo, tmp_path, monkeypatch):
    root, outside = tmp_path/"set", tmp_path/"outside"
    answering(sam, monkeypatch, left)
    (root/name).parent.mkdir(parents=True)
    outside.mkdir()
    (root/name).symlink_to(outside/"made" if "." in name else outside)
    with refuses((DataError, UsageError), name, "is a link"):
        sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Car", overwrite=True)
    assert list(outside.iterdir()) == [] and (root/name).is_symlink()


def test_names_of_classes_are_written_only_if_one_is_new(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    (tmp_path/"set").mkdir()
    (tmp_path/"set/codes.txt").write_bytes(b"Car\r\nbackground\r\n")
    sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")
    assert (tmp_path/"set/codes.txt").read_bytes() == b"Car\r\nbackground\r\n"


def test_only_the_best_mask_of_a_prompt_counts(sam, photo, tmp_path, monkeypatch):
    def ask(sam, rgb, prompts, multimask):
        h, w = rgb.shape[:2]
        return np.stack([left(h, w), top(h, w), ~nothing(h, w)]), np.array([0.4, 0.9, np.nan]), np.zeros(3, int)
    monkeypatch.setattr(sam_module, "predict_masks", ask)
    made = sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, multimask=True, as_masks="Car")
    assert (ids(tmp_path/"set") == top(45, 70)).all()
    assert made["masks"][2]["score"] is None and json.loads((tmp_path/"set/prompts/photo/1/masks.json").read_text())[
        "masks"][2]["score"] is None


def test_void_is_the_rest_where_there_is_no_background(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    root = tmp_path/"set"
    root.mkdir()
    (root/"codes.txt").write_bytes(b"\xef\xbb\xbfSky\r\nVoid\r\n")
    sam_module.prompt_to_folder(photo, root, points="5,5", model=sam, as_masks="Car")
    assert (root/"codes.txt").read_bytes() == b"Sky\nVoid\nCar\n" and (ids(root) == np.where(left(45, 70), 2, 1)).all()


def test_an_empty_answer_writes_nothing(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, nothing)
    with refuses(DataError, photo):
        sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")
    assert not (tmp_path/"set").exists()


def test_another_image_of_the_same_name(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")
    other = tmp_path/"other"/"photo.jpg"
    other.parent.mkdir()
    Image.new("RGB", (70, 45)).save(other)
    for kwargs in {}, dict(overwrite=True), dict(add=True):
        with refuses(DataError, tmp_path/"set/images/photo.png"):
            sam_module.prompt_to_folder(other, tmp_path/"set", points="5,5", model=sam, as_masks="Car", **kwargs)


def test_an_image_that_is_in_the_dataset_stays_where_it_is(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    root = tmp_path/"set"
    (root/"images").mkdir(parents=True)
    inside = root/"images/photo.png"
    inside.write_bytes(photo.read_bytes())
    sam_module.prompt_to_folder(inside, root, points="5,5", model=sam, as_masks="Car")
    assert [file.name for file in (root/"images").iterdir()] == ["photo.png"]
    assert inside.read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("file", ["label_colors.txt", "class_dict.csv", "701_StillsRaw_full", "train_labels"])
def test_datasets_of_another_kind_are_left_alone(file, sam, photo, tmp_path):
    (tmp_path/"set").mkdir()
    (tmp_path/"set"/file).mkdir()
    with refuses(DataError, tmp_path/"set", file):
        sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")


def test_masks_without_names_are_left_alone(sam, photo, tmp_path):
    (tmp_path/"set/labels").mkdir(parents=True)
    Image.new("L", (70, 45)).save(tmp_path/"set/labels/other_P.png")
    with refuses(DataError, tmp_path/"set", "codes.txt", "labels/"):
        sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")


def test_a_mask_of_another_size_is_not_painted_on(sam, photo, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car")
    Image.new("L", (10, 10)).save(tmp_path/"set/labels/photo_P.png")
    with refuses(DataError, "10x10", "45x70"):
        sam_module.prompt_to_folder(photo, tmp_path/"set", points="5,5", model=sam, as_masks="Car", add=True)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", sample_images())
def test_every_kind_of_image_can_be_labeled(name, sam, tmp_path, monkeypatch):
    answering(sam, monkeypatch, left)
    im, kwargs, size = sample_images()[name]
    for i in range(4):
        path = tmp_path/"in"/f"{i}-{name}"
        path.parent.mkdir(exist_ok=True)
        im.rotate(90*i).save(path, **kwargs)
        sam_module.prompt_to_folder(path, tmp_path/"set", points="1,1", model=sam, as_masks="Car")
    data = open_data(tmp_path/"set")
    assert data.layout == "camvid" and len(data.pairs) == 4
    assert {p.code for p in check(data).errors} == {"same-mask"} # `answering` gives the same mask for each
    for row in data.pairs.itertuples():
        assert data.ids(row.mask).shape == np.asarray(sam_module.as_image(data.root/row.image)).shape[:2] == size
        assert opened(data.root/row.image).mode == "RGB"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_from_points_to_a_trained_model(kind, folders, demo_dir, tmp_path, tiny):
    "The whole way: the demo's images, a grid of points, masks of two classes, a check, a training, scores."
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    root, sam = tmp_path/"set", sam_module.load_sam(folders[kind], device="cpu")
    for image in sorted((demo_dir/"images").iterdir())[:6]:
        sam_module.prompt_to_folder(image, root, points="20,20;40,30", model=sam, as_masks="Car")
        sam_module.prompt_to_folder(image, root, box="0,24,64,48", model=sam, as_masks="Road", add=True)
    data = open_data(root)
    report = check(data)
    assert report.ok, report.text()
    assert data.classes.names == ("background", "Car",
                                  "Road") and data.classes.void is None and data.splits == dict(train=5, valid=1)
    run = train(data, Recipe([Stage("one", (48, 64), 1, batch_size=2, precision="fp32")], model=tiny, weights="none"),
                out=tmp_path/"runs", device="cpu", screen="quiet")
    assert run.state == "done" and set(run.scores["classes"]) == {"background", "Car", "Road"}
