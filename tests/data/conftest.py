"""What several tests of data share: a dataset that a test may change, and a cache of its own."""
import shutil

import pytest

from segfast.data.formats.camvid import camvid


@pytest.fixture
def copy(demo_dir, tmp_path):
    "The scenes in a folder that a test may change."
    return camvid(shutil.copytree(demo_dir, tmp_path/"demo"), name="copy")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "The folder of decoded pairs in an empty cache."
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"/"decoded"
