"""The documentation site, built once per test session."""
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def built(out):
    done = subprocess.run([sys.executable, "-W", "ignore", "docs", "--out", str(out)], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out/"site"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The whole site, made by its one command, once for all tests of it, those in a browser too."
    return built(tmp_path_factory.getbasetemp()/"docs-site")
