"""TensorBoard and W&B: what was written is read back and compared with the history; nothing leaves the machine."""
import json
import math
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.problems import missing
from helpers.training import Said, fit, recipe_of

import segfast.training.loggers as loggers
import segfast.training.train as train_module
from segfast.core.errors import UsageError
from segfast.models.zoo import seg_model
from segfast.runs.presets import preset
from segfast.runs.run import Run
from segfast.training.checkpoints import Training
from segfast.training.loggers import LOGGERS, Logger, check_loggers, make_loggers, open_loggers

COLUMNS = ("stage", "epoch", "lr", "train_loss", "valid_loss", "accuracy", "mean_iou", "mean_dice", "seconds",
           "images_per_second")


@pytest.fixture
def watched(monkeypatch):
    "A function that trains with loggers, the same for all stages, and closes them."
    def train(data, recipe, out, *names):
        cbs, real = [], train_module.run_stage

        def run_stage(training):
            if not cbs:
                cbs.extend(make_loggers(names, training.run))
            training.cbs = cbs
            return real(training)
        with monkeypatch.context() as patch:
            patch.setattr(train_module, "run_stage", run_stage)
            run = fit(data, recipe, out)
        for cb in cbs:
            cb.close()
        return run
    return train


def events(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    return EventAccumulator(str(run.path/"tensorboard"), size_guidance=dict(images=0, scalars=0)).Reload()


def curve(read, tag):
    points = read.Scalars(tag)
    return [p.step for p in points], np.array([p.value for p in points])


@pytest.fixture
def a_run(tmp_path, small):
    return Run.create(tmp_path/"runs", preset("demo", (32, 48), epochs=1), small.classes, dict(name="small"), "a")


# TensorBoard

def test_curves_go_on_over_stages_and_say_what_the_history_says(small, tiny, tmp_path, watched):
    run = watched(small, recipe_of(dict(epochs=2), dict(epochs=3, size=(16, 24), batch_size=2)), tmp_path,
                  "tensorboard")
    read, history = events(run), run.history
    ends = [2, 4, 8, 12, 16]  # 8 images: 2 batches of 4, then 4 of 2
    for tag in "batch/loss", "batch/smooth_loss", "batch/lr_0", "batch/lr_2":
        assert curve(read, tag)[0] == list(range(1, 17)), tag
    for column in COLUMNS:
        steps, values = curve(read, f"epoch/{column}")
        assert steps == ends, column
        assert values == pytest.approx(history[column].to_numpy(), rel=1e-6), column
    assert curve(read, "epoch/of_run")[1].tolist() == [1, 2, 3, 4, 5]
    at_ends = [end - 1 for end in ends]
    assert curve(read, "batch/smooth_loss")[1][at_ends] == pytest.approx(history.train_loss.to_numpy(), rel=1e-6)
    assert curve(read, "batch/lr_2")[1][at_ends] == pytest.approx(history.lr.to_numpy(), rel=1e-6)


@pytest.mark.slow
def test_every_epoch_has_an_image(small, tiny, tmp_path, watched):
    import io

    from PIL import Image

    from segfast.data.images import open_image
    run = watched(small, recipe_of(dict(epochs=2), dict(epochs=1, size=(16, 24))), tmp_path, "tensorboard")
    images = events(run).Images("samples")
    opened = [np.asarray(Image.open(io.BytesIO(p.encoded_image_string))) for p in images]
    assert [o.shape for o in opened] == [(2*32, 3*48, 3), (2*32, 3*48, 3), (2*16, 3*24, 3)]
    first = small.pairs[small.pairs.split == "valid"].image.iloc[0]
    image = open_image(small.root/first, (32, 48)).astype(int)
    assert np.abs(opened[0][:32, :48] - image).mean() < 12, "the normalization of the image is undone"
    palette = {tuple(c) for c in small.classes.colors} | {(0, 0, 0)}
    colors = {tuple(color) for color in opened[0][:, 48:].reshape(-1, 3).tolist()}
    assert colors <= palette, "truth and prediction in the colors of the classes"


def test_the_recipe_is_kept_as_text(small, tiny, tmp_path, watched):
    run = watched(small, recipe_of({}), tmp_path, "tensorboard")
    text, = events(run).Tensors("recipe/text_summary")
    assert b'model = "tiny"' in text.tensor_proto.string_val[0]


def test_an_epoch_that_ends_the_training_is_written(small, tiny, tmp_path, watched):
    recipe = recipe_of(dict(epochs=9, lr=1e-9, schedule="constant"), patience=1, monitor="valid_loss")
    run = watched(small, recipe, tmp_path, "tensorboard")
    steps, _ = curve(events(run), "epoch/valid_loss")
    assert steps == [2*(i+1) for i in range(len(run.history))]


def test_accumulation_16_bits_and_averages_are_tracked(small, tiny, tmp_path, watched):
    recipe = recipe_of(dict(batch_size=2, accumulate=2, precision="bf16"), dict(), ema=.9, clip=1.)
    read = events(watched(small, recipe, tmp_path, "tensorboard"))
    assert curve(read, "batch/loss")[0] == [1, 2, 3, 4, 5, 6], "batches, not steps of the optimizer"
    assert curve(read, "epoch/valid_loss")[0] == [4, 6]


def test_tracking_changes_nothing_in_the_training(small, tiny, tmp_path, watched):
    recipe = recipe_of(dict(epochs=2), {})
    plain, seen = fit(small, recipe, tmp_path/"plain"), watched(small, recipe, tmp_path/"seen", "tensorboard")
    assert plain.history.valid_loss.tolist() == seen.history.valid_loss.tolist()
    assert plain.checkpoint_file("last").read_bytes() == seen.checkpoint_file("last").read_bytes()


NAMES = ("a/b", "epoch/valid_loss", "<b>x</b>", "Straße", "%s {}", "..", "#")

def renamed(data):
    "The same data with names that would break a path, a tag or a page."
    names = [f"{n}{NAMES[i]}" if i < len(NAMES) else n for i, n in enumerate(data.classes.names)]
    return replace(data, classes=replace(data.classes, names=tuple(names)))


def test_names_of_classes_reach_no_tag(small, tiny, tmp_path, watched):
    plain, odd = (events(watched(d, recipe_of({}), tmp_path/n, "tensorboard"))
                  for d, n in ((small, "plain"), (renamed(small), "odd")))
    assert plain.Tags() == odd.Tags()


@pytest.mark.slow
def test_the_search_for_a_rate_is_no_training(small, tiny, tmp_path, watched):
    run = watched(small, recipe_of(dict(lr="find")), tmp_path, "tensorboard")
    assert curve(events(run), "batch/loss")[0] == [1, 2]


class Notes(Logger):
    "A logger that remembers."
    package = "json"
    def __init__(self, record):
        super().__init__(record)
        self.rows, self.ends = [], []
    def write_scalars(self, values, step): self.rows.append((step, values))
    def write_image(self, image, step): pass
    def close(self, ok=True):
        super().close(ok)
        self.ends.append(ok)


def test_a_logger_on_a_learner_leaves_the_finder_out(small, tiny, a_run):
    notes = Notes(a_run)
    learn = train_module.stage_learner(Training(recipe=recipe_of({}), data=small,
                                                model=seg_model("tiny", small.classes, "none"), run=a_run,
                                                device=torch.device("cpu")), [notes])
    train_module.run_lr_finder(learn, steps=10)
    assert notes.rows == []
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert [step for step, _ in notes.rows] == [1, 2]


# How it ends

def test_what_is_left_is_written_when_a_run_fails(a_run, monkeypatch):
    monkeypatch.setitem(LOGGERS, "notes", Notes)
    with pytest.raises(ZeroDivisionError), open_loggers(["notes"], a_run) as (notes,):
        a_run.append(dict(stage=1, epoch=1, valid_loss=.5, mean_iou=math.nan))
        raise ZeroDivisionError
    assert notes.ends == [False]
    assert notes.rows == [(0, {"epoch/stage": 1, "epoch/epoch": 1, "epoch/valid_loss": .5, "epoch/of_run": 1})]
    with open_loggers(["notes"], a_run) as (notes,):
        pass
    assert notes.ends == [True]


def test_one_that_does_not_start_closes_those_that_did(a_run, monkeypatch):
    made = []

    class Broken(Notes):
        def __init__(self, record): raise UsageError("no")
    monkeypatch.setitem(LOGGERS, "notes", lambda record: made.append(Notes(record)) or made[0])
    monkeypatch.setitem(LOGGERS, "broken", Broken)
    monkeypatch.setattr(loggers, "_installed", lambda package: True)
    LOGGERS["notes"].package = "json"
    with pytest.raises(UsageError, match="no"):
        make_loggers(["notes", "broken"], a_run)
    assert made[0].ends == [False]


# Names

class Broken(Logger):
    "A tracker that fails at everything."
    package = "tensorboard"
    def write_scalars(self, values, step): raise OSError(28, "No space left on device")
    def write_image(self, image, step): raise RuntimeError("no image")
    def close(self, ok=True): raise ConnectionError("nobody there")


def test_a_tracker_that_fails_ends_no_training(small, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(LOGGERS, "tensorboard", Broken)
    plain, screen = fit(small, recipe_of(dict(epochs=2)), tmp_path/"plain"), Said()
    run = fit(small, recipe_of(dict(epochs=2)), tmp_path/"watched", loggers=["tensorboard"], screen=screen)
    said = [text for text in screen.lines if "Broken" in text]
    assert run.state == "done" and len(said) == 1 and "No space left on device" in said[0], "said once"
    assert run.history.train_loss.tolist() == plain.history.train_loss.tolist()


def test_an_interrupt_in_a_tracker_is_one(a_run, monkeypatch):
    def interrupt(self, values, step): raise KeyboardInterrupt
    monkeypatch.setattr(Broken, "write_scalars", interrupt)
    with pytest.raises(KeyboardInterrupt): Broken(a_run).attempt(Broken(a_run).write_scalars, {}, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGGERS)
def test_a_run_with_a_tracker_holds_only_files_and_folders(small, tiny, tmp_path, watched, name, monkeypatch):
    "Links would make it a run that every command refuses."
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = watched(small, recipe_of(dict(epochs=1)), tmp_path, name)
    assert (run.path/name).is_dir() and Run(run.path).state == "done"


def test_names_are_checked():
    assert check_loggers([]) == []
    with pytest.raises(UsageError) as e:
        check_loggers(["wandbb"])
    assert not missing(e, "'wandbb'", "'wandb'", *LOGGERS), "the nearest in quotes, and all"


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_named_with_what_installs_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, LOGGERS[name].package, None)
    with pytest.raises(UsageError) as e:
        check_loggers([name])
    assert f"pip install 'segfast[{name}]'" in str(e.value)


def test_an_empty_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path/"only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    import only_a_folder  # noqa: F401 (Python takes it for a package)
    assert not loggers._installed("only_a_folder")
    assert loggers._installed("json")


def test_the_mode_of_wandb(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert loggers.wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert loggers.wandb_mode() == "online", "asked for"
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UsageError) as e:
        loggers.wandb_mode()
    assert not missing(e, "WANDB_MODE", "'ofline'", "'offline'", "online")


# W&B

def wandb_records(path):
    "The records of a .wandb file: LevelDB's log format in blocks of 32 KiB, each record a protocol buffer."
    from wandb.proto.wandb_internal_pb2 import Record
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    pos, parts, block = 7, b"", 32768
    while pos + 7 <= len(data):
        if block - pos % block < 7:
            pos += block - pos % block
            continue
        _, size, kind = struct.unpack("<IHB", data[pos:pos + 7])
        if kind == 0:
            return
        parts, pos = parts + data[pos + 7:pos + 7 + size], pos + 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def wandb_history(path):
    "What was logged, one dict a step."
    for record in wandb_records(path):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def offline_file(run):
    "The file of a W&B run, once W&B's own process has written its end; it may do so after `finish` has returned."
    file, = run.path.glob("wandb/offline-run-*/*.wandb")
    for _ in range(300):
        if any(record.WhichOneof("record_type") == "exit" for record in wandb_records(file)):
            return file
        time.sleep(.1)
    pytest.fail(f"{file} has no end after 30 seconds")


@pytest.fixture
def no_network(monkeypatch):
    "Every way out is a failure; W&B's own process is reached through a socket of this machine."
    pytest.importorskip("wandb")
    tried, connect = [], socket.socket.connect

    def here_only(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            tried.append(address)
            raise OSError("no network here")
        return connect(self, address)

    def no_names(host, *args, **kwargs):
        tried.append(host)
        raise socket.gaierror("no network here")
    monkeypatch.setattr(socket.socket, "connect", here_only)
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return tried


@pytest.mark.slow
def test_wandb_offline_says_what_the_history_says(small, tiny, tmp_path, watched, no_network):
    run = watched(renamed(small), recipe_of(dict(epochs=2), dict(size=(16, 24))), tmp_path, "wandb")
    rows = list(wandb_history(offline_file(run)))
    steps = [r["_step"] for r in rows]
    assert steps == sorted(set(steps)) and [s for s in steps if s] == [1, 2, 3, 4, 5, 6]
    epochs = [r for r in rows if "epoch/of_run" in r]
    assert [(r["_step"], r["epoch/of_run"]) for r in epochs] == [(2, 1), (4, 2), (6, 3)]
    for column in COLUMNS:
        assert [r[f"epoch/{column}"] for r in epochs] == pytest.approx(run.history[column].tolist()), column
    images = [p.name for p in offline_file(run).parent.glob("files/media/images/*.png")]
    assert len(images) == 3
    config = {u.key: json.loads(u.value_json) for r in wandb_records(offline_file(run)) for u in r.config.update} | {
        u.key: json.loads(u.value_json) for r in wandb_records(offline_file(run)) for u in r.run.config.update}
    assert config["model"] == "tiny" and config["classes"] == list(renamed(small).classes.names)
    assert no_network == []


SCRIPT = """
import sys
from segfast.runs.run import Run
from segfast.training.loggers import open_loggers
with open_loggers(["wandb"], Run(sys.argv[1])) as (board,):
    for i in range(3): board.write_scalars({"batch/loss": i/2}, i + 1)
"""


def connected(trace):
    "The addresses beyond this machine in what strace saw of a process and its children."
    lines = [line for line in trace.read_text(errors="replace").splitlines() if "AF_INET" in line]
    return [line for line in lines if "127.0.0." not in line and '"::1"' not in line]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace shows what W&B's own process, in "
                                                       "another language, connects to")
def test_no_process_of_wandb_asks_for_the_network(a_run, tmp_path):
    "Without WANDB_ERROR_REPORTING=false this finds a question to the name server."
    pytest.importorskip("wandb")
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    trace = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(tmp_path/"trace")]
    if subprocess.run([*trace, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    done = subprocess.run([*trace, sys.executable, "-c", SCRIPT, str(a_run.path)], env=env, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "AF_UNIX" in (tmp_path/"trace").read_text(errors="replace"), "W&B's own process was reached"
    assert connected(tmp_path/"trace") == []
    assert [r["batch/loss"] for r in wandb_history(offline_file(a_run)) if "batch/loss" in r] == [0, .5, 1]
    assert done.stdout == ""
