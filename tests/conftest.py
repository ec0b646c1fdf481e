"""Fixtures that the tests share: throw-away caches, the demo's images, the shared data sets."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ: # workers beside each other; more threads than cores wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

root = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True) # before `-m` chooses
def pytest_collection_modifyitems(items):
    "A test that uses the fixture `browser` has the marker of this name, and is slow."
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory):
    "Keep the user's caches out of the tests: nothing is read from them or written to them."
    caches = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        for name in "SEGFAST_CACHE", "FASTAI_HOME", "TORCH_HOME":
            patch.setenv(name, str(caches/name.lower()))
        patch.setenv("MPLBACKEND", "agg")
        yield caches


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory):
    "Ten of the demo's street scenes at 48×64, in CamVid's layout; shared, so tests that change files copy it first."
    from segfast.data.demo import write_demo
    return write_demo(tmp_path_factory.mktemp("demo")/"demo", n=10, size=(48, 64))


@pytest.fixture(scope="session")
def shared_data():
    "The folder of real data sets: SEGFAST_DATA, or shared/data beside the repository."
    folder = Path(os.environ.get("SEGFAST_DATA") or root.parent/"shared"/"data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set SEGFAST_DATA to the one that holds camvid")
    return folder


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    "A copy of the working tree as git sees it, with what is not committed yet and without what is ignored."
    copy = tmp_path_factory.mktemp("tree")/"segfast"
    list_files = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=root, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (root/name).is_file():
            (copy/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root/name, copy/name)
    return copy


@pytest.fixture(scope="session")
def small(demo_dir):
    "The ten street scenes as a `SegData`: 8 to train on, 2 held out."
    from segfast.data.formats.camvid import camvid
    return camvid(demo_dir, name="small")


def make_tiny(n_out, weights="none"):
    "A network of a few hundred weights; its parts are where a U-Net has them."
    from torch import nn

    def conv(a, b): return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
    body = nn.Sequential(conv(3, 8), *(nn.Identity() for _ in range(5)), conv(8, 8), nn.Identity())
    return nn.Sequential(body, nn.Conv2d(8, n_out, 1))


@pytest.fixture
def tiny(monkeypatch):
    "`make_tiny`, registered as the model `tiny`."
    from segfast.models.zoo import MODELS
    monkeypatch.setitem(MODELS, "tiny", make_tiny)
    return "tiny"


@pytest.fixture(scope="session")
def tiny_run_once(demo_dir, tmp_path_factory):
    "One finished training of `tiny` at 32×48 on the ten street scenes, which lie in a folder."
    from segfast.models.zoo import MODELS
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", make_tiny)
        recipe = Recipe([Stage("full", (32, 48), 3, lr=3e-2, batch_size=4, precision="fp32")], model="tiny", weights="none")
        return train(str(demo_dir), recipe, out=tmp_path_factory.mktemp("tiny")/"runs", name="tiny", device="cpu", screen="quiet")


@pytest.fixture
def tiny_run(tiny, tiny_run_once):
    "That run, with its model at hand."
    return tiny_run_once


class Seen:
    "What a training did, as hooks and wrapped functions saw it."
    def __init__(self): self.shapes, self.stages, self.hypers, self.convs = [], [], [], []


@pytest.fixture
def spy(monkeypatch): return _spy(monkeypatch)


def _spy(monkeypatch):
    "Record the batches a model is given, the weights around every stage, and the optimiser's rates."
    import torch
    from fastai.callback.core import Callback

    from segfast.training import learner, plan, train
    seen, make_model, make_learner, stage_of_lib = Seen(), plan.seg_model, learner.seg_learner, train.run_stage

    def weights(model): return {k: v.detach().clone() for k, v in model.state_dict().items()}

    def seg_model(*args, **kwargs):
        model = make_model(*args, **kwargs)

        def before(module, inputs):
            if inputs[0].device.type != "meta":
                seen.shapes.append((len(seen.stages), module.training, tuple(inputs[0].shape)))

        def after(module, inputs, output):
            if output.device.type != "meta":
                seen.convs.append((len(seen.stages), module.training, output.dtype))
        model.register_forward_pre_hook(before)
        next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d)).register_forward_hook(after)
        return model

    class Rates(Callback):
        order = 100  # after the scheduler
        def before_batch(self):
            if self.training:
                seen.hypers.append((len(seen.stages), [h["lr"] for h in self.opt.hypers]))

    def seg_learner(*args, **kwargs):
        learn = make_learner(*args, **kwargs)
        learn.add_cb(Rates())
        return learn

    def run_stage(training):
        seen.stages.append([weights(training.model), None])
        stage_of_lib(training)
        seen.stages[-1][1] = weights(training.model)

    for module, f in (plan, seg_model), (learner, seg_learner), (train, run_stage):
        monkeypatch.setattr(module, f.__name__, f)
    return seen


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory):
    "One finished training of the default model at 32×48 in three stages, and what was seen while it ran."
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    recipe = Recipe([Stage("half-frozen", (16, 24), 1, frozen=True, batch_size=4, precision="fp32"),
                     Stage("half", (16, 24), 1, lr=slice(1e-5, 1e-3), batch_size=4, precision="bf16"),
                     Stage("full", (32, 48), 2, lr=5e-4, batch_size=4, precision="fp32")], weights="none")
    with pytest.MonkeyPatch.context() as patch:
        seen = _spy(patch)
        run = train(small, recipe, out=tmp_path_factory.mktemp("runs"), device="cpu", screen="quiet")
    return run, seen
