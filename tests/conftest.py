"""Fixtures that the tests share: throw-away caches, the demo's images, the shared data sets."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]


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
    from segfast.scenes import write_demo
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
