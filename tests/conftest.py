"""Fixtures that the tests share: throw-away caches, the demo's images, the shared data sets."""
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.tiny import make_tiny

if "PYTEST_XDIST_WORKER" in os.environ: # workers beside each other; more threads than cores wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# `nohup` ignores it, and every process that a test starts would inherit that
if hasattr(signal, "SIGHUP"): signal.signal(signal.SIGHUP, signal.SIG_DFL)

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
        stage = Stage("full", (32, 48), 3, lr=3e-2, batch_size=4, precision="fp32")
        recipe = Recipe([stage], model="tiny", weights="none")
        out = tmp_path_factory.mktemp("tiny")/"runs"
        return train(str(demo_dir), recipe, out=out, name="tiny", device="cpu", screen="quiet")


@pytest.fixture
def tiny_run(tiny, tiny_run_once):
    "That run, with its model at hand."
    return tiny_run_once


@pytest.fixture
def spy(monkeypatch):
    "A record of what trainings do: see `helpers.recorder`."
    from helpers.recorder import record_training
    return record_training(monkeypatch)


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory):
    "One finished training of the default model at 32×48 in three stages, and the record of it."
    from helpers.recorder import record_training

    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    recipe = Recipe([Stage("half-frozen", (16, 24), 1, frozen=True, batch_size=4, precision="fp32"),
                     Stage("half", (16, 24), 1, lr=slice(1e-5, 1e-3), batch_size=4, precision="bf16"),
                     Stage("full", (32, 48), 2, lr=5e-4, batch_size=4, precision="fp32")], weights="none")
    with pytest.MonkeyPatch.context() as patch:
        record = record_training(patch)
        run = train(small, recipe, out=tmp_path_factory.mktemp("runs"), device="cpu", screen="quiet")
    return run, record
