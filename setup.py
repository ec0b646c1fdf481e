"""Build script: the metadata comes from settings.ini, the version from segfast/__init__.py."""
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent
config = ConfigParser(delimiters=["="])
config.read(here/"settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
version = re.search(r'^__version__ *= *["\']([^"\']+)["\']', (here/"segfast"/"__init__.py").read_text(encoding="utf-8"),
                    re.M)[1]
# A requirement in settings.ini can carry no marker (lists are split on white space), so this one gets its marker here.
before_py311 = [f'{r}; python_version < "3.11"' for r in cfg["requirements_before_py311"].split()]
extras = ["docs", "onnx", "ui", "models", "sam", "augment", "tensorboard", "wandb"]

setup(
    name=cfg["lib_name"],
    version=version,
    description=cfg["description"],
    long_description=(here/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"].split(),
    author=cfg["author"],
    author_email=cfg["author_email"],
    license_expression=cfg["license"],
    license_files=["LICENSE"],
    url=cfg["git_url"],
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"], "Source": cfg["git_url"]},
    packages=find_packages(include=["segfast", "segfast.*"]),
    package_data={"": ["py.typed", "templates/**/*"]},  # a file that neither takes fails test_packaging.py
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split() + before_py311,
    extras_require=dict({k: cfg[f"{k}_requirements"].split() for k in extras}, dev=[r for k in ("dev", *extras) for r in cfg[f"{k}_requirements"].split()]),
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f'{cfg["lib_name"]}={cfg["lib_name"]}._modidx:d'],
    },
    zip_safe=False,
)
