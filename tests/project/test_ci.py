"""Continuous integration runs what a person runs: the workflow calls `.ci/run`, which starts with the README's test
command."""
import re
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT/".ci"/"run"


@pytest.fixture
def job():
    "The one job of the workflow."
    workflow = yaml.safe_load((ROOT/".github"/"workflows"/"ci.yml").read_text())
    assert {"push", "pull_request"} == set(workflow[True]) # YAML 1.1 reads the key `on` as true
    return workflow["jobs"]["checks"]


def test_the_workflow_calls_the_checks(job):
    assert job["runs-on"] == "ubuntu-latest"
    assert job["strategy"]["matrix"] == {"python-version": ["3.10", "3.12"]}
    checkout, python, run = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@") and python["uses"].startswith("actions/setup-python@")
    assert python["with"] == {"python-version": "${{ matrix.python-version }}"}
    assert run == {"run": "bash .ci/run"}


def test_the_oldest_python_is_tested(job):
    settings = (ROOT/"settings.ini").read_text()
    assert re.search(r"^min_python = (.+)$", settings, re.M)[1] == min(
        job["strategy"]["matrix"]["python-version"], key=lambda v: tuple(map(int, v.split("."))))


def test_the_checks_are_there_and_are_a_script():
    assert RUN.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", RUN], check=True)


def test_the_checks_run_the_tests_of_the_readme_and_then_the_others():
    readme = (ROOT/"README.md").read_text()
    command = "pip install -e '.[dev]' && pytest -n 2 --dist loadfile -m \"not slow\""
    assert re.findall(r"^.*pytest.*$", "\n".join(re.findall(r"^```.*?^```", readme, re.M | re.S)), re.M) == [command]
    steps = [line for line in RUN.read_text().splitlines() if line.startswith("step ")]
    assert steps[1:3] == ['step bash -euo pipefail -c "$readme_tests"', "step pytest -n 2 --dist loadfile -m slow"]
    found = re.search(r"^readme_tests=\$\((.*)\)$", RUN.read_text(), re.M)[1]
    said = subprocess.run(["bash", "-c", found], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == f"{command}\n"
