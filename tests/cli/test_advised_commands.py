"""Every command that README, lessons, reports and messages advise: each is understood, and each is run once on small
data with a small network."""
import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts import (draw_camseq, draw_camvid, draw_cityscapes, draw_idd, draw_kitti_road, draw_pets,
                             draw_voc)
from helpers.tiny import make_tiny
from helpers.training import with_bad
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from segfast.cli import app

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = get_command(app).commands


def cli(args):
    return CliRunner().invoke(app, args, env={"COLUMNS": "100"}, prog_name="segfast")


# --- what is advised ---

def in_markdown(text):
    "Commands in fenced code, and in code inside a line"
    fenced = re.findall(r"^```(?:sh|bash|text)?\n(.*?)^```", text, re.M | re.S)
    for line in "\n".join(fenced).replace("\\\n", " ").splitlines():
        if m := re.search(r"(?:^|\$ |&& |; do )(segfast [a-z].*)", line):
            yield m[1]
    yield from re.findall(r"`(segfast [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def tidy(line):
    "A command without the shell around it and without its comment"
    line = re.sub(r"\s+#.*$|\s*\|.*$|;\s*done$", "", " ".join(line.split("\n")))
    return " ".join(line.rstrip(".,:").split())


def from_pages():
    "Commands in the README and in the Markdown of all notebooks, each once, with the first page that has it"
    found = {}
    for page in [ROOT/"README.md", *sorted((ROOT/"nbs").rglob("*.ipynb"))]:
        if page.suffix == ".md":
            texts = [page.read_text()]
        else:
            cells = json.loads(page.read_text())["cells"]
            texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        for text in texts:
            for line in map(tidy, in_markdown(text)):
                found.setdefault(line, page.name)
    return found


def strings(tree):
    "The text of each string of a module that is no docstring; {} stands where a value is put in"
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for n in ast.walk(tree):
        if isinstance(n, ast.JoinedStr):
            yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in n.values)
        elif isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs | inner:
            yield n.value


WORDS = (r"(?: +(?:--?[a-z][\w-]*(?:=\S+)?|\{\}|[A-Z][A-Z.|]*(?:\.\.\.)?"
         r"|demo|fast|none|\d[\dx,]*|masks|model\.onnx|onnx))*")


def from_library():
    "Commands in messages of the library, with the module"
    found = {}
    for path in sorted((ROOT/"segfast").rglob("*.py")):
        for text in strings(ast.parse(path.read_text())):
            for m in re.finditer(rf"segfast ({'|'.join(COMMANDS)})\b{WORDS}", text):
                found.setdefault(m[0].strip(), path.name)
    return found


PAGES, LIBRARY = from_pages(), from_library()


@pytest.mark.parametrize("line", sorted({**PAGES, **LIBRARY}))
def test_command_and_options_exist(line):
    words = line.split()
    if words[1] in ("COMMAND", "--version", "--help"): return
    assert words[1] in COMMANDS, line
    known = {name for p in COMMANDS[words[1]].params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    assert {w.split("=")[0] for w in words[2:] if w.startswith("--")} <= known


def test_a_wrong_command_would_be_found():
    assert [tidy(c) for c in in_markdown("a\n```sh\n$ segfast train X   # new\n```\nor `segfast clean\n--yes`")] == [
        "segfast train X", "segfast clean --yes"]
    tree = ast.parse('"segfast x"\nraise E(f"{a}: try segfast resume {b}")')
    assert list(strings(tree)) == ["{}: try segfast resume {}"]


# --- each is run ---

STAGES = {"camvid": 3, "camseq": 1, "pets": 1, "idd": 1, "kitti_road": 2, "single": 2}  # of the presets
DATASETS = {draw_camvid: "CamVid CITY DATA FOLDER camvid labeled my-data my-roads streets", draw_camseq: "CamSeq01",
            draw_idd: "IDD", draw_pets: "PETS", draw_kitti_road: "KITTI data_road", draw_cityscapes: "CITYSCAPES "
            "cityscapes", draw_voc: "VOC2012 VOCdevkit/VOC2012"}
RUNS = "RUN runs/NAME runs/lr-3e-4 runs/RUN"


def make_small(n_out, weights="none", **options):
    return make_tiny(n_out)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with everything that the commands name; the networks are small ones"
    import segfast.data.open as opening
    import segfast.models.zoo as zoo
    from segfast.data.demo import demo
    from segfast.data.formats.camvid import camvid
    root = tmp_path_factory.mktemp("advised")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in list(zoo.MODELS): patch.setitem(zoo.MODELS, name, make_small)
        known = {"demo": lambda name, progress=None: demo(n=10, size=(48, 64)),
                 "camvid": lambda name, progress=None: camvid(root/"CamVid", name=name)}
        for name, make in known.items(): patch.setitem(opening.KNOWN, name, opening.KNOWN[name]._replace(make=make))
        draw_files(root)
        make_runs(root)
        yield root


def draw_files(root):
    for draw, names in DATASETS.items():
        for name in names.split():
            (root/name).mkdir(parents=True)
            draw(root/name)
    (root/"README.md").write_text("This folder has a README of its own.\n")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))
    for name in "photo.jpg", "IMAGE", "big.tif": photo.save(root/name, {".jpg": "JPEG"}.get(Path(name).suffix, "TIFF"))
    for folder in "IMAGES", "photos":
        (root/folder).mkdir()
        photo.resize((64, 48)).save(root/folder/"a.png")
    rows = [f"DATA/images/{i}.png,DATA/labels/{i}_P.png\n" for i in range(5)]
    (root/"pairs.csv").write_text("image,mask\n" + "".join(rows))
    shutil.copy(root/"DATA/codes.txt", root/"codes.txt")
    shutil.copytree(root/"DATA/labels", root/"DIR")
    flip = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
    (root/"aug.json").write_text(json.dumps({"transform": flip}))


def make_runs(root):
    small = "--size 32x48 --batch-size 2 --precision fp32 --device cpu --model unet_resnet34 --weights none"
    done(f"train DATA {small} --epochs 1,1,1 --name RUN")
    done(f"train DATA {small} --epochs 1,1,1 --folds 2 --name FOLDSET")
    done("export runs/RUN --out exported/MODEL.onnx")
    shutil.copy(root/"exported/MODEL.onnx", root)
    shutil.copytree(root/"runs/RUN", root/"RUN")
    shutil.copytree(root/"runs/FOLDSET", root/"FOLDSET")
    for name in "NAME", "lr-3e-4": shutil.copytree(root/"RUN", root/"runs"/name)
    interrupt(f"train DATA {small} --epochs 1,1,1 --name STOPPED")


def interrupt(line):
    "Train, and stop as Ctrl-C does, in the first batch of the second stage"
    with pytest.MonkeyPatch.context() as patch:
        seen = []

        def stop(cb):
            seen.append(1)
            if len(seen) == 3: raise KeyboardInterrupt
        with_bad(patch, 0, stop)
        assert cli(shlex.split(line)).exit_code == 130


def done(line):
    res = cli(shlex.split(line))
    assert res.exit_code == 0, f"segfast {line}\n{res.output}"
    return res


def small_version(words):
    "The command with a small size, few epochs and the CPU; what it says itself comes first"
    command, words = words[0], list(words)
    if command in ("train", "find-lr"):
        recipe = words[words.index("--recipe") + 1] if "--recipe" in words else ""
        given = words[words.index("--epochs") + 1].count(",") + 1 if "--epochs" in words else 0
        words += ["--size", "32x48"]
        if command == "train": words += ["--epochs", ",".join(["1"]*(given or STAGES.get(recipe, 3)))]
    if command == "find-lr": words += ["--steps", "10"]
    if command in ("train", "find-lr", "resume", "evaluate", "predict", "prompt"): words += ["--device", "cpu"]
    return words


def is_mention(words):
    "Names a command or an option of it, without what it needs"
    if words[0] in ("COMMAND", "ui", "--version", "--help") or "…" in words or "--help" in words: return True
    if words == ["evaluate"] or words == ["check", "--fix"]: return True
    if words[0] == "train": return words[1:2] == [] or (words[1].startswith("-") and "--recipe" not in words)
    try: COMMANDS[words[0]].make_context(words[0], list(words[1:]))
    except Exception as e: return type(e).__name__ == "MissingParameter"
    return False


VALUES = {"EPOCHS": "1", "$lr": "1e-3", "lr-$lr": "lr-1e-3", "RUN...": "RUN", "[DIR]": "runs", "DIR]": "runs",
          "IMAGE|DIR|GLOB...": "IMAGES", "FILE": "page.html"}
RUNNABLE = sorted(line for line in PAGES if not is_mention([VALUES.get(w, w) for w in shlex.split(line)[1:]]))


def test_most_commands_are_run():
    assert len(RUNNABLE) > 60 and {"segfast check my-data", "segfast train camvid --progressive"} <= set(RUNNABLE)


@pytest.fixture
def copy(place, tmp_path, monkeypatch):
    "The folder's copy, in which one command runs"
    shutil.copytree(place, tmp_path/"copy", symlinks=True)
    monkeypatch.chdir(tmp_path/"copy")
    return tmp_path/"copy"


@pytest.mark.slow
@pytest.mark.parametrize("line", RUNNABLE)
def test_commands_of_readme_and_notebooks(line, copy, request):
    words = [VALUES.get(w, w) for w in shlex.split(line)[1:]]
    if words[0] == "prompt": words += ["--model", str(request.getfixturevalue("sam"))]
    if words[:3] == ["compare", "RUN", "RUN"]: words[2] = "runs/NAME"
    if words[0] == "demo-data": shutil.rmtree(copy/"DIR")
    if words[:2] in (["resume", "RUN"], ["resume", "FOLDER"]) and "--extend" not in words: words[1] = "runs/STOPPED"
    res = cli(small_version(words))
    assert res.exit_code == 0, f"{line}\n{res.output}"


PUT_IN = {"check": "DATA", "train": "DATA", "clean": "runs", "resume": "RUN"}  # for {}, else RUN
MESSAGES = sorted(line for line in LIBRARY if not is_mention([VALUES.get(w, w) for w in line.rstrip(".").split()[1:]]))


@pytest.mark.slow
@pytest.mark.parametrize("line", MESSAGES)
def test_commands_of_messages(line, copy, request):
    command = line.split()[1]
    filled = line.rstrip(".").replace("--recipe {}", "--recipe RUN/recipe.toml").replace("--out {}", "--out new")
    filled = filled.replace("--from {}", "--from RUN")
    test_commands_of_readme_and_notebooks(filled.replace("{}", PUT_IN.get(command, "RUN")), copy, request)


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    "A tiny model with random weights, on disk"
    pytest.importorskip("transformers", reason='the extra "sam" is not installed')
    from segfast.tools.sam import tiny_sam
    return tiny_sam(tmp_path_factory.mktemp("sam")/"tiny")


@pytest.mark.slow
def test_next_steps_of_a_report(copy):
    "All of them one after another in a folder that has a README, as a reader would try them"
    from segfast.report.html import commands
    from segfast.runs.run import Run
    steps = commands(Run(copy/"RUN"))
    assert {shlex.split(line)[1] for _, line in steps} == {"train", "resume", "evaluate", "predict", "export", "report"}
    for _, line in steps:
        words = shlex.split(line)[1:]
        res = cli(small_version(words) if words[0] != "train" else [*words, "--device", "cpu"])
        assert res.exit_code == 0, f"{line}\n{res.output}"
    assert (copy/"model.onnx").is_file() and (copy/"MODEL_CARD.md").is_file()
    assert (copy/"README.md").read_text() == "This folder has a README of its own.\n"
