"""What the package says of itself once built, without a network."""
import configparser
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser

import pytest

import segfast


@pytest.fixture(scope="module")
def settings(tree):
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(tree/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


@pytest.fixture(scope="module")
def dist(tree, tmp_path_factory):
    "The folder with the sdist and the wheel made from it."
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    "The wheel's files by name, as bytes."
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as z:
        return {name: z.read(name) for name in z.namelist()}


def dist_info(wheel, name):
    return next(content for path, content in wheel.items() if path.endswith(f".dist-info/{name}")).decode()


def test_version_stands_in_the_package_alone(settings):
    assert "version" not in settings


def test_settings_split_into_requirements(settings):
    from packaging.requirements import Requirement
    for key in "requirements", "requirements_before_py311", "dev_requirements":
        names = [Requirement(r).name for r in settings[key].split()]
        assert len(names) == len(set(names))


def test_metadata(wheel, settings):
    meta = HeaderParser().parsestr(dist_info(wheel, "METADATA"))
    assert meta["Name"] == "segfast"
    assert meta["Version"] == segfast.__version__
    assert meta["Summary"] == settings["description"]
    assert meta["Requires-Python"] == ">=3.10"
    assert meta["License-Expression"] == "Apache-2.0"
    assert meta["License-File"] == "LICENSE"
    assert meta["Description-Content-Type"] == "text/markdown"


def test_requirements(wheel, settings):
    required = HeaderParser().parsestr(dist_info(wheel, "METADATA")).get_all("Requires-Dist")
    run = [r for r in required if "extra ==" not in r]
    assert len(run) == len(settings["requirements"].split()) + len(settings["requirements_before_py311"].split())
    assert any(r.startswith("tomli>=") and 'python_version < "3.11"' in r for r in run)
    assert any(r.startswith("fastai>=2.8.12") for r in run)
    assert not any(r.startswith("torch") and "<" in r for r in run)
    assert any(r.startswith("nbdev") and 'extra == "dev"' in r for r in required)


def test_entry_points(wheel):
    points = configparser.ConfigParser(delimiters=["="])
    points.read_string(dist_info(wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"segfast": "segfast.cli:app"}
    assert dict(points["nbdev"]) == {"segfast": "segfast._modidx:d"}


def test_wheel_holds_the_library_and_nothing_else(wheel, tree):
    modules = {p.relative_to(tree).as_posix() for p in (tree/"segfast").rglob("*.py")}
    assert {name for name in wheel if ".dist-info/" not in name} == modules


def test_sdist_can_be_built_from(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as t:
        names = {name.partition("/")[2] for name in t.getnames()}
    assert {"settings.ini", "setup.py", "pyproject.toml", "LICENSE", "README.md", "segfast/__init__.py"} <= names
