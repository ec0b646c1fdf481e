"""What the package says of itself once built, without a network."""
import configparser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser

import pytest

import segfast

pytestmark = pytest.mark.slow # an sdist and a wheel are built

@pytest.fixture(scope="module")
def settings(tree):
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(tree/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


PLANTED = ("py.typed", "planted/__init__.py", "planted/deeper/__init__.py", "planted/deeper/module.py",
           "planted/templates/page.html.j2", "planted/templates/style.css", "planted/templates/script.js",
           "planted/deeper/templates/parts/row.html.j2")


@pytest.fixture(scope="module")
def source(tree, tmp_path_factory):
    "The working tree with one more package in the library, which has a subpackage and data files."
    copy = tmp_path_factory.mktemp("source")/"segfast"
    shutil.copytree(tree, copy)
    for name in PLANTED:
        path = copy/"segfast"/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"""Planted."""\n' if path.suffix == ".py" else "planted\n")
    return copy


def library_files(root):
    "Every file of the library in a source tree, from its root."
    return {p.relative_to(root).as_posix() for p in (root/"segfast").rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def dist(source, tmp_path_factory):
    "The folder with the sdist and the wheel made from it."
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return out


@pytest.fixture(scope="module")
def sdist(dist):
    "The names of the sdist's files, from its root."
    with tarfile.open(next(dist.glob("*.tar.gz"))) as t:
        return {member.name.partition("/")[2] for member in t.getmembers() if member.isfile()}


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


def test_wheel_holds_the_library_and_nothing_else(wheel, source):
    assert {name for name in wheel if ".dist-info/" not in name} == library_files(source)


def test_sdist_holds_the_library_and_what_builds_it(sdist, source):
    assert {name for name in sdist if name.startswith("segfast/")} == library_files(source)
    assert {"settings.ini", "setup.py", "pyproject.toml", "LICENSE", "README.md"} <= sdist


@pytest.mark.parametrize("name", PLANTED)
def test_subpackages_and_data_files_are_shipped(wheel, sdist, name):
    assert wheel[f"segfast/{name}"].strip() and f"segfast/{name}" in sdist
