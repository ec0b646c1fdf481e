"""Files that can be trusted: nothing that is read runs code, nothing unpacked leaves its folder, no name gives
orders."""
import ast
import csv
import io
import json
import os
import pickle
import random
import re
import shlex
import shutil
import stat
import struct
import tarfile
import warnings
import zipfile
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.problems import codes_of, files_of, is_crash, missing
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from helpers.training import fit, recipe_of
from typer.testing import CliRunner

import segfast
import segfast.data.archives as archives
from segfast.data.check import check, check_path
from segfast.cli import app
from segfast.data.cache import write_cache
from segfast.core.errors import DataError, UsageError, markdown_text, safe_text, csv_cell
from segfast.data.open import open_data
from segfast.data.archives import unpack
from segfast.data.classes import ClassTable
from segfast.metrics.confusion import ConfusionMatrix
from segfast.models.weights import read_weights
from segfast.runs.recipe import load_recipe, save_recipe
from segfast.report.plots import plot_history, show_masks
from segfast.training.resume import resume
from segfast.runs.run import Run
from segfast.runs.listing import run_rows
from segfast.report.console import Lines, Plan, Screen, run_table, score_table

# --- what the sources may not say ---

_IMPORTS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy", "pty"}
_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp",
          "subprocess.getoutput", "subprocess.getstatusoutput", "yaml.load", "yaml.full_load", "yaml.unsafe_load",
          "torch.hub.load", "pd.read_pickle", "load_learner", "load_pickle", "untar_data", "shutil.unpack_archive"}
_NEEDS = {"torch.load": dict(weights_only=True), "load_state_dict_from_url": dict(weights_only=True, check_hash=True),
          "np.load": dict(allow_pickle=False)}
_FASTAI = re.compile(r"(.*\.)?learn(er)?\.(save|load|export)")
# by path in the package: where every member was looked at before
_UNPACKS = {"data/archives.py": {"archive.extract", "archive.extractall"}}


def dotted(value):
    if isinstance(value, ast.Name): return value.id
    return f"{dotted(value.value)}.{value.attr}" if isinstance(value, ast.Attribute) else "?"


def modules(value):
    if isinstance(value, ast.Import): return {a.name.split(".")[0] for a in value.names}
    return {(value.module or "").split(".")[0]} if isinstance(value, ast.ImportFrom) else set()


def is_one_of(name, names):
    return any(name == key or name.endswith("." + key) for key in names
               if "." in key or key.startswith(("load_", "untar"))) or name in names


def calls(value, file):
    "What is wrong with a call."
    name, given = dotted(value.func), {k.arg: getattr(k.value, "value", "?") for k in value.keywords}
    if is_one_of(name, _CALLS): yield name
    if given.get("shell", False) is not False: yield f"{name} with a shell"
    if given.get("trust_remote_code", False) is not False or given.get("allow_pickle", False) is not False:
        yield f"{name} trusts"
    for k, need in _NEEDS.items():
        if name == k or name.endswith("." + k):
            yield from (f"{name} without {a}={v}" for a, v in need.items() if given.get(a, "?") is not v)
    if _FASTAI.fullmatch(name): yield name
    if name.rsplit(".", 1)[-1] in ("extract", "extractall") and name not in _UNPACKS.get(file,
        ()) and "str" not in name:
        yield name


def forbidden(source, file=""):
    "What of a source file could run code that stands in a file."
    out = []
    for node in ast.walk(ast.parse(source)):
        out += sorted(modules(node) & _IMPORTS)
        if isinstance(node, ast.ImportFrom):
            out += [a.name for a in node.names if a.name in ("load_learner", "load_pickle", "SaveModelCallback",
                                                          "untar_data")]
        if isinstance(node, ast.Call): out += calls(node, file)
    return out


PACKAGE = Path(segfast.__file__).parent


def sources(package):
    "The path of every source file below a folder, from there."
    return sorted(p.relative_to(package).as_posix() for p in package.rglob("*.py"))


def offenders(package):
    "What each source file of a folder could run, by its path; files without a fault are left out."
    found = {name: forbidden((package/name).read_text(encoding="utf-8"), name) for name in sources(package)}
    return {name: faults for name, faults in found.items() if faults}


@pytest.mark.parametrize("name", sources(PACKAGE))
def test_the_sources_run_nothing_that_they_read(name):
    assert forbidden((PACKAGE/name).read_text(encoding="utf-8"), name) == []


def test_the_search_of_the_sources_reads_subpackages(tmp_path):
    unpacks = next(iter(_UNPACKS))
    planted = {"sound.py": "import ast", "sub/__init__.py": "import pickle",
               "sub/deeper/loads.py": "def f(p):\n    import torch\n    return torch.load(p)",
               unpacks: "archive.extractall(p)", f"elsewhere/{unpacks}": "archive.extractall(p)"}
    for name, source in planted.items():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text(source)
    assert sources(tmp_path) == sorted(planted)
    assert offenders(tmp_path) == {"sub/__init__.py": ["pickle"],
                                   "sub/deeper/loads.py": ["torch.load without weights_only=True"],
                                   f"elsewhere/{unpacks}": ["archive.extractall"]}


def test_every_file_that_may_unpack_does():
    for name, allowed in _UNPACKS.items():
        tree = ast.parse((PACKAGE/name).read_text(encoding="utf-8"))
        assert allowed <= {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}, name


@pytest.mark.parametrize("line", ["import pickle", "from pickle import loads", "import numpy, dill as d", "eval('1')",
                                  "exec(text)", "__import__(name)", "torch.load(p)",
                                  "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)", "np.load(p)",
                                  "np.load(p, allow_pickle=True)", "numpy.load(p, allow_pickle=True)", "yaml.load(f)",
                                  "yaml.load(f, Loader=yaml.Loader)", "subprocess.run('ls', shell=True)",
                                  "os.system('ls')", "torch.hub.load('a/b', 'c')",
                                  "torch.hub.load_state_dict_from_url(u)",
                                  "torch.hub.load_state_dict_from_url(u, check_hash=True, weights_only=flag)",
                                  "learn.save('x')", "self.learn.load('x')", "learn.export()",
                                  "from fastai.learner import load_learner", "fastai.load_learner(p)",
                                  "t.extractall(p)", "shutil.unpack_archive(p)", "pd.read_pickle(p)",
                                  "make(x, trust_remote_code=True)"])
def test_the_search_of_the_sources_finds(line):
    assert forbidden(line)


@pytest.mark.parametrize("line", ["model.eval()", "re.compile('a')", "torch.load(p, weights_only=True)",
                                  "yaml.safe_load(f)", "subprocess.run(['ls'])", "table.save(p)", "load_file(p)"])
def test_the_search_of_the_sources_lets_pass(line):
    assert not forbidden(line)


# --- files that would run code ---

RAN = "it-ran"


class Payload:
    "An object whose pickle creates a file where it is loaded."
    def __reduce__(self): return Path.touch, (Path(RAN),)


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob(RAN))


def test_the_payload_works(tmp_path):
    "Or the tests below would prove nothing."
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path/RAN).exists()
    (tmp_path/RAN).unlink()
    torch.save(Payload(), "a.pth")
    torch.load("a.pth", weights_only=False)
    assert (tmp_path/RAN).exists()
    (tmp_path/RAN).unlink()


def legacy_tar(path):
    "As torch 0.1 wrote it: a tar of pickles."
    with tarfile.open(path, "w") as t:
        for name in "sys_info", "pickle", "storages", "tensors":
            item, content = tarfile.TarInfo(name), pickle.dumps(Payload())
            item.size = len(content)
            t.addfile(item, io.BytesIO(content))


def zip_of_pickles(path):
    with zipfile.ZipFile(path, "w") as z:
        for name in "archive/data.pkl", "archive/constants.pkl", "data.pkl": z.writestr(name, pickle.dumps(Payload()))
        z.writestr("archive/version", "3\n")


HOSTILE = {
    "object.pth": lambda p: torch.save(Payload(), p),
    "hidden.pt": lambda p: torch.save({"model": {"w": torch.zeros(2)}, "extra": [Payload()]}, p),
    "old.pth": lambda p: torch.save({"w": Payload()}, p, _use_new_zipfile_serialization=False),
    "tar.pth": legacy_tar,
    "zip.pth": zip_of_pickles,
    "plain.pth": lambda p: Path(p).write_bytes(pickle.dumps(Payload())),
    "protocol0.pth": lambda p: Path(p).write_bytes(pickle.dumps(Payload(), protocol=0)),
    "renamed.safetensors": lambda p: Path(p).write_bytes(pickle.dumps(Payload())),
    "torch.safetensors": lambda p: torch.save({"w": Payload()}, p),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_weights_are_refused_by_name(name):
    HOSTILE[name](name)
    with pytest.raises(DataError, match=re.escape(name)) as e: read_weights(name)
    assert 1 <= len(str(e.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["object.pth", "tar.pth", "renamed.safetensors"])
def test_hostile_weights_at_the_command_line(name, demo_dir):
    HOSTILE[name](name)
    res = CliRunner().invoke(app, ["train", str(demo_dir), "--size", "32x48", "--device", "cpu", "--weights", name])
    assert res.exit_code == 1 and name in res.stderr and "Traceback" not in res.stderr and not Path("runs").exists()


@pytest.mark.parametrize("name", ["weights.pkl", "weights.bin", "weights.ckpt", "weights"])
def test_other_endings_are_not_opened(name):
    Path(name).write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UsageError, match=f"{name}.*safetensors"): read_weights(name)


def test_a_plain_state_dict_is_fine():
    torch.save({"model": {"w": torch.ones(2)}}, "good.pth")
    assert read_weights("good.pth")["w"].sum() == 2


@pytest.fixture
def half_done(small, tiny, tmp_path, monkeypatch):
    "A run that stopped after two of its three epochs."
    import segfast.training.callbacks as callbacks
    seen, real = [], callbacks.save_checkpoint

    def save_checkpoint(*args):
        if len(seen) == 2: raise KeyboardInterrupt
        seen.append(1)
        return real(*args)
    with monkeypatch.context() as m:
        m.setattr(callbacks, "save_checkpoint", save_checkpoint)
        with pytest.raises(KeyboardInterrupt): fit(small, recipe_of(dict(epochs=3)), tmp_path/"runs", name="a")
    return Run(tmp_path/"runs/a")


def go_on(run, data): return resume(run, data, device="cpu", screen="quiet")


def with_new_sums(folder):
    "Checksums as whoever changed the files would write them."
    from segfast.runs.run import state_checksum
    state = json.loads((folder/"state.json").read_text())
    sums = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "state.json"}
    (folder/"state.json").write_text(json.dumps(dict(state, sha256=sums | {"state.json": state_checksum(state)})))


@pytest.mark.parametrize("file", ["model.safetensors", "memory.safetensors"])
@pytest.mark.parametrize("name", ["torch.safetensors", "renamed.safetensors"])
def test_a_pickle_in_a_checkpoint(half_done, small, file, name):
    last = half_done.path/"checkpoints/last"
    HOSTILE[name](last/file)
    with_new_sums(last)
    with pytest.raises(DataError) as e: go_on(half_done, small)
    assert not missing(e, last/file) and isinstance(e.value.__cause__, SafetensorError)


def test_without_the_checksums_the_checkpoint_before_it_is_taken(half_done, small):
    HOSTILE["torch.safetensors"](half_done.path/"checkpoints/last/model.safetensors")
    assert go_on(half_done, small).state == "done"
    lines = (half_done.path/"log.txt").read_text().splitlines()
    assert any(not missing(line, 2, 3) for line in lines), "one epoch was kept: it resumed with the second of three"


def test_pickles_beside_a_checkpoint_are_not_looked_at(half_done, small):
    for folder in half_done.path, half_done.path/"checkpoints", half_done.path/"checkpoints/last":
        for name in "model.pth", "model.pkl", "optimizer.pt", "learner.pkl", "model.safetensors.pth":
            torch.save(Payload(), folder/name)
    assert go_on(half_done, small).state == "done"


@pytest.mark.parametrize("key, value", [("epoch", 1), ("batches", 3), ("lrs", [1.0]), ("smooth_loss", [1, 2.0])])
def test_an_edited_state_is_noticed(half_done, small, key, value):
    "One digit of a JSON file is as much of a training as the weights are."
    path = half_done.path/"checkpoints/last/state.json"
    state = json.loads(path.read_text())
    assert state[key] != value
    path.write_text(json.dumps({**state, key: value}))
    with pytest.warns(UserWarning, match=re.escape(str(path))):
        assert half_done.newest_checkpoint() == half_done.path/"checkpoints/previous"


def test_a_run_with_a_pickle_is_no_beginning(half_done, demo_dir):
    for kind in "last", "previous":
        HOSTILE["torch.safetensors"](half_done.path/f"checkpoints/{kind}/model.safetensors")
        with_new_sums(half_done.path/f"checkpoints/{kind}")
    res = CliRunner().invoke(app, ["train", str(demo_dir), "--from", str(half_done.path), "--size", "32x48", "--device",
                                   "cpu"])
    assert res.exit_code == 1 and "model.safetensors" in res.stderr and "Traceback" not in res.stderr


# --- the cache of decoded images ---

def objects(shape):
    a = np.empty(shape, object)
    a.flat[0] = Payload()
    return a


def zipped(path):
    np.savez(path.with_suffix(".npz"), a=objects((1,)))
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize("change", [lambda p: np.save(p, objects((3,)), allow_pickle=True),
                                    lambda p: p.write_bytes(pickle.dumps(Payload())),
                                    lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(b""),
                                    lambda p: p.unlink(), lambda p: np.save(p, np.zeros((10, 9, 9), np.uint8)),
                                    lambda p: np.save(p, np.load(p).astype(np.float32)), zipped],
                         ids=["objects", "pickle", "cut", "empty", "gone", "shape", "type", "npz"])
@pytest.mark.parametrize("file", ["images", "masks"])
def test_what_was_put_into_the_decode_cache_is_made_anew(small, tmp_path, monkeypatch, change, file):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    first = [np.array(item) for item in (write_cache(small, (12, 16)).images, write_cache(small, (12, 16)).masks)]
    path, = (tmp_path/"cache/decoded").glob(f"*/{file}.npy")
    change(path)
    again = write_cache(small, (12, 16))
    assert all(np.array_equal(a, b) for a, b in zip(first, (again.images, again.masks)))
    assert path.is_file() and not [entry for entry in (tmp_path/"cache/decoded").iterdir()
                                   if entry.name.startswith(".part")]


# --- data sets with pickles among them ---

def test_pickles_among_the_data(demo_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    with zipfile.ZipFile("data.zip", "w") as z:
        for p in sorted(demo_dir.rglob("*")): z.write(p, Path("data")/p.relative_to(demo_dir))
        for name in ("images/scene_000.pt", "labels/scene_000_P.npy", "model.pkl", "images/cache.npy", "__init__.py",
                     "conftest.py", "setup.py"):
            z.writestr(f"data/{name}", pickle.dumps(Payload()))
        z.writestr("data/labels/extra.png", pickle.dumps(Payload()))
    report = check_path("data.zip")
    assert len(report.data.pairs) == 10
    write_cache(report.data, (12, 16))


def test_an_image_that_is_a_pickle(demo_dir, tmp_path):
    import shutil
    data = shutil.copytree(demo_dir, tmp_path/"copy")
    for item in data/"images/scene_000.png", data/"labels/scene_001_P.png": item.write_bytes(pickle.dumps(Payload()))
    assert {p.code for p in check_path(data).errors} == {"not-an-image"}


@pytest.mark.parametrize("name, text", [("aug.yaml", "!!python/object/apply:pathlib.Path.touch "
                                                     "[!!python/object/apply:pathlib.Path [it-ran]]"),
                                        ("aug.yaml", "transform: !!python/object/apply:os.system ['touch it-ran']"),
                                        ("aug.json",
                                         json.dumps(dict(transform=dict(__class_fullname__="os.system",
    command="touch it-ran")))),
                                        ("aug.json",
                                         json.dumps(dict(transform=dict(__class_fullname__="subprocess.Popen",
    args="touch it-ran", shell=True)))), ("aug.json",
                                          json.dumps(dict(transform=dict(__class_fullname__="Compose",
    transforms=[dict(__class_fullname__="builtins.eval", source="open('it-ran', 'w')")])))),
                                        ("aug.json",
                                         json.dumps(dict(transform=dict(__class_fullname__="Lambda",
    image="lambda x: open('it-ran', 'w')", lambda_transforms=dict(a="eval")))))])
def test_hostile_pipelines(name, text):
    pytest.importorskip("albumentations")
    from segfast.data.augment import read_augmentation
    Path(name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(name)): read_augmentation(name)


@pytest.mark.parametrize("text", ["__import__('os').system('touch it-ran')",
                                  "!!python/object/apply:os.system ['touch it-ran']", "$(touch it-ran)",
                                  "dice*(open('it-ran','w'))"])
@pytest.mark.parametrize("key", ["loss", "model", "optimizer", "weights", "augment", "model_options.act", "precision",
                                 "stages.1.schedule"])
def test_values_are_names_and_never_expressions(demo_dir, key, text):
    res = CliRunner().invoke(app, ["train", str(demo_dir), "--size", "32x48", "--device", "cpu", "--weights", "none",
                                   "--epochs", "1,1,1", "--set", f"{key}={text}", "--out", "runs"])
    assert res.exit_code in (1, 2) and not is_crash(res.stderr)


# --- archives ---

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache/unpacked"


def member(name, kind=tarfile.REGTYPE, target="", content=b"out", **headers):
    item = tarfile.TarInfo(name)
    item.type, item.linkname, item.pax_headers = kind, target, headers
    item.size = len(content) if kind == tarfile.REGTYPE else 0
    return item, content


def tar_of(path, *members):
    with tarfile.open(path, "w:gz" if path.endswith("gz") else "w") as t:
        for item, content in members: t.addfile(item, io.BytesIO(content) if item.size else None)
    return path


def zip_of(path, *members):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as z:
        warnings.simplefilter("ignore")
        for name, content in members: z.writestr(name, content)
    return path


def tree(folder): return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


OUT = ["../out.txt", "a/../../out.txt", "/out.txt", "//out.txt", "./../out.txt", "a/b/../../../out.txt", "..", "../",
       "C:/out.txt", "c:out.txt", "C:\\out.txt", "\\\\server\\out.txt", "..\\out.txt", "a\\..\\..\\out.txt",
       "\\out.txt"]


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("ending", ["zip", "tar", "tgz"])
def test_names_that_lead_out(tmp_path, cache, name, ending):
    path = f"evil.{ending}"
    zip_of(path, ("good.txt", "x"), (name, "out")) if ending == "zip" else tar_of(path, member("good.txt"),
        member(name))
    with pytest.raises(DataError) as e: unpack(path)
    assert not missing(e, path) and (repr(name) in str(e.value) or repr(name.rstrip("/")) in str(e.value))
    assert tree(tmp_path) == ["cache", "cache/unpacked", path]
    assert not Path("/out.txt").exists() and not (tmp_path.parent/"out.txt").exists()


def test_the_attack_is_real(tmp_path):
    "What the same archive does where nobody looks."
    (tmp_path/"inner").mkdir()
    with tarfile.open(tar_of("evil.tar", member("../out.txt"))) as t:
        t.extractall(tmp_path/"inner", filter="fully_trusted")
    assert (tmp_path/"out.txt").exists()


LINKS = [("link", tarfile.SYMTYPE, "/etc"), ("link", tarfile.SYMTYPE, "../.."), ("a/link", tarfile.SYMTYPE, "../../x"),
         ("link", tarfile.LNKTYPE, "/etc/passwd"), ("link", tarfile.LNKTYPE, "../../x"),
         ("a/link", tarfile.LNKTYPE, "../x"), ("pipe", tarfile.FIFOTYPE, ""), ("null", tarfile.CHRTYPE, ""),
         ("disk", tarfile.BLKTYPE, "")]


@pytest.mark.parametrize("name, kind, target", LINKS)
def test_links_and_devices(tmp_path, cache, name, kind, target):
    with pytest.raises(DataError, match=name):
        unpack(tar_of("evil.tar", member("good.txt"), member(name, kind, target)))
    assert tree(tmp_path) == ["cache", "cache/unpacked", "evil.tar"]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(tmp_path, cache, mode):
    "Only links are links there: anything else is written as a plain file."
    entry = zipfile.ZipInfo("odd")
    entry.external_attr = (mode | 0o777) << 16
    zip_of("evil.zip", ("good.txt", "x"), (entry, "/etc/passwd"))
    if mode == stat.S_IFLNK:
        with pytest.raises(DataError) as e: unpack("evil.zip")
        assert not missing(e, "evil.zip", "'odd'")
    else: assert stat.S_ISREG((unpack("evil.zip")/"odd").lstat().st_mode)
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("chain", [[member("a", tarfile.SYMTYPE, "b"), member("a/x.txt")],
                                   [member("b/c", tarfile.DIRTYPE), member("a", tarfile.SYMTYPE, "b/c"),
                                    member("d", tarfile.SYMTYPE, "a/../..")],
                                   [member("d", tarfile.SYMTYPE, "."), member("d/d/x", tarfile.SYMTYPE, "d/.."),
                                    member("d/d/x/y.txt")], [member("x", tarfile.SYMTYPE, "y"),
    member("z", tarfile.LNKTYPE, "x/w")]], ids=range(4))
def test_links_through_links(tmp_path, cache, chain):
    with pytest.raises(DataError) as e: unpack(tar_of("chain.tar", *chain))
    assert not missing(e, "chain.tar") and any(repr(path.name) in str(e.value) for path, _ in chain)
    assert tree(tmp_path) == ["cache", "cache/unpacked", "chain.tar"]


SYM, HARD, FOLDER = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def is_closed(folder):
    "Whether nothing below a folder leads out of it."
    root = folder.resolve()
    return all(root in [path.resolve(), *path.resolve().parents] for path in root.rglob("*"))


@pytest.mark.parametrize("items", [
    [("a/b/c", SYM, "../.."), ("c", HARD, "a/b/c")],
    [("a/b/c", SYM, "../.."), ("a/d", HARD, "a/b/c"), ("e", HARD, "a/d")],
    [("a/b/c/d", SYM, "../../../private"), ("d", HARD, "./a/b/c/d")],
    [("a/b/c", SYM, "../.."), ("c", HARD, "a/x/../b/c")],
    [("a/b/c", SYM, "../.."), ("c", HARD, "a/b/c"), ("c/out.txt", tarfile.REGTYPE, "")],
    [("a/b/c", SYM, "../.."), ("c", HARD, "a/b/c"), ("c/e", SYM, "x")],
    [("c", HARD, "a/b/c"), ("a/b/c", SYM, "../..")],
    [("a", FOLDER, ""), ("b", HARD, "a")], [("a", HARD, "a")], [("a", HARD, "nowhere")],
    [("a", SYM, "b"), ("c", HARD, "a")],
    [("top", SYM, "a/b/.."), ("a/b", SYM, "../a"), ("x", SYM, "top/../..")],
    [("d/y", SYM, ".."), ("x", SYM, "d/y/../..")], [("x", SYM, "d/y/../.."), ("d/y", SYM, "..")],
    [("a", SYM, "."), ("a/a/a/../../..", SYM, "x")]], ids=range(15))
def test_links_that_would_land_elsewhere(tmp_path, cache, items):
    "A relative target means something else at another depth, or when another link is there."
    path = tar_of("evil.tar", member("good.txt"), *(member(*item) for item in items))
    with pytest.raises(DataError) as e: unpack(path)
    assert "evil.tar" in str(e.value) and any(repr(item[0]) in str(e.value) for item in items)
    assert tree(tmp_path) == ["cache", "cache/unpacked", "evil.tar"]


@pytest.mark.parametrize("items", [[("A", SYM, "b"), ("a/x", SYM, "../..")],
                                   [("d/Y", SYM, ".."), ("x", SYM, "d/y/../..")],
                                   [("Deep/er/c", SYM, "../.."), ("c", HARD, "deep/er/c")]])
def test_links_on_a_disk_that_ignores_case(tmp_path, cache, monkeypatch, items):
    monkeypatch.setattr(archives, "ignores_case", lambda folder: True)
    try: root = unpack(tar_of("evil.tar", *(member(*item) for item in items)))
    except DataError: return
    assert is_closed(root)


def random_tar(rng):
    "Members with few names, so that they meet: files, folders, links and hard links to each other and to the outside."
    parts = ["a", "b", "A", "..", "."]
    def way(deep): return "/".join(rng.choices(parts[:3], k=rng.randint(1, deep)))
    def target(): return "/".join(rng.choices(parts, k=rng.randint(1, 5)))
    kinds = [tarfile.REGTYPE, tarfile.REGTYPE, FOLDER, SYM, SYM, HARD, HARD]
    names, items = [], []
    for _ in range(rng.randint(2, 6)):
        kind = rng.choice(kinds)
        aim = rng.choice([target(), way(3), *names[-2:]]) if kind in (SYM, HARD) else ""
        names.append(way(3))
        items.append(member(names[-1], kind, aim))
    return items


def test_no_random_archive_leads_outside(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "wait_for_clock", lambda stamps: None)
    (tmp_path/"private").mkdir()
    (tmp_path/"private/key").write_text("secret")
    rng, unpacked, links = random.Random(0), 0, 0
    for i in range(120):
        try: root = unpack(tar_of(f"{i}.tar", *random_tar(rng)))
        except DataError: continue
        finally: Path(f"{i}.tar").unlink()
        folder = next(path for path in (root, *root.parents) if path.parent == cache)
        assert is_closed(folder), i
        unpacked, links = unpacked + 1, links + any(path.is_symlink() for path in folder.rglob("*"))
        shutil.rmtree(folder)
    assert unpacked > 5 and links > 1, "many are no attack"
    assert tree(tmp_path) == ["cache", "cache/unpacked", "private", "private/key"]


@pytest.mark.parametrize("name", ["new\nline.txt", "tab\t.txt", "a\\b.txt", "esc\x1b[2J.txt", "rtl\u202etxt.exe",
                                  "[bold red].txt", "<script>.txt", "$(touch it-ran).txt", "a b'c\".txt", " ",
                                  "\u00e9.txt", "e\u0301.txt", "😀.txt", "x"*200])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_odd_names_stay_inside(tmp_path, cache, name, ending):
    path = f"odd.{ending}"
    zip_of(path, ("a/good.txt", "x"), (f"a/{name}", "x"), ("good.txt", "x")) if ending == "zip" else tar_of(path,
        member("a/good.txt"), member(f"a/{name}"), member("good.txt"))
    root = unpack(path)
    assert len([file for file in root.rglob("*") if file.is_file()]) == 3
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {tmp_path/path,
        *(file for file in root.rglob("*") if file.is_file())}


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_null_bytes_in_names(tmp_path, cache, ending):
    "Python's zipfile ends a name at a null byte, as C does, and tarfile would hand one on to the system."
    if ending == "tar": path = tar_of("null.tar", member("good.txt"), member("x", path="a.txt\0/../../out.txt"))
    else:
        path = zip_of("null.zip", ("a.txtX../../out.txt", "x"), ("a.txt", "y"))
        Path(path).write_bytes(Path(path).read_bytes().replace(b"a.txtX", b"a.txt\0"))
    with pytest.raises(DataError, match=r"null\.(zip|tar)"): unpack(path)
    assert tree(tmp_path) == ["cache", "cache/unpacked", path]


@pytest.mark.parametrize("one, other", [("a/b.txt", "a\\b.txt"), ("a.txt", "./a.txt"), ("a/b.txt", "a//b.txt")])
def test_two_names_of_one_file_in_a_zip(cache, one, other):
    for i, name in enumerate((one, other)):
        assert len([path for path in unpack(zip_of(f"{i}.zip", (name, "1"))).rglob("*") if path.is_file()]) == 1
    with pytest.raises(DataError) as e: unpack(zip_of("twice.zip", (one, "1"), (other, "2")))
    assert not missing(e, "twice.zip", repr(other))


@pytest.mark.parametrize("one, other", [("A.png", "a.png"), ("Images/a.png", "images/a.png"), ("straße", "STRASSE"),
                                        ("\u00e9.txt", "e\u0301.txt")])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_names_that_differ_in_case(cache, monkeypatch, one, other, ending):
    """Two files on Linux; on a disk that takes them for one, the second would overwrite the first, and nobody would
    know."""
    path = f"case.{ending}"
    zip_of(path, (one, "1"), (other, "2")) if ending == "zip" else tar_of(path, member(one), member(other))
    if not archives.ignores_case(cache.parent if cache.parent.mkdir() is None else None):
        assert len([file for file in unpack(path).rglob("*") if file.is_file()]) == 2
    os.utime(path, (1, 1))
    monkeypatch.setattr(archives, "ignores_case", lambda folder: True)
    with pytest.raises(DataError) as e: unpack(path)
    assert not missing(e, path, repr(other))


def test_a_zip_that_lies_about_its_size(tmp_path, cache):
    "The directory says ten bytes, and three million would come."
    with zipfile.ZipFile("lie.zip", "w", zipfile.ZIP_DEFLATED) as z: z.writestr("a.png", bytes(3_000_000))
    raw = Path("lie.zip").read_bytes()
    assert raw.count(struct.pack("<I", 3_000_000)) == 2
    Path("lie.zip").write_bytes(raw.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10)))
    with pytest.raises(DataError) as e: unpack("lie.zip")
    assert (codes_of(e), files_of(e)) == (["undecodable"], [str(tmp_path/"lie.zip")])
    assert tree(tmp_path) == ["cache", "cache/unpacked", "lie.zip"]


def test_a_tar_whose_description_would_fill_the_memory(tmp_path, cache):
    tar_of("header.tgz", member("good.txt"), member("a.txt", comment="x"*(1 << 21)))
    with pytest.raises(DataError) as first: unpack("header.tgz")
    with tarfile.open("long.tgz", "w:gz", format=tarfile.GNU_FORMAT) as t:
        for name in "good.txt", "x"*(1 << 21): t.addfile(member(name)[0], io.BytesIO(b"out"))
    with pytest.raises(DataError) as second: unpack("long.tgz")
    for e in first, second:
        assert codes_of(e) == ["undecodable"] and re.search(r"\b2097\d{3}\b", str(e.value)), "how long it is"
    assert not [path for path in cache.iterdir()]


def test_a_member_that_is_a_folder_and_a_file(tmp_path, cache):
    for path in zip_of("both.zip", ("a", "x"), ("a/b", "x")), tar_of("both.tar", member("a"), member("a/b")):
        with pytest.raises(DataError): unpack(path)
    assert tree(cache) == []


def test_no_member_may_set_special_bits(cache):
    item, content = member("a.txt")
    item.mode = 0o6777
    root = unpack(tar_of("mode.tar", (item, content), member("b.txt")))
    assert not (root/"a.txt").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)


def test_a_table_that_names_files_elsewhere_is_only_read(demo_dir, tmp_path):
    "A corrected copy has names of its own: whatever the table says, nothing is written beside it."
    from segfast.data.fix import write_fixed_copy
    (tmp_path/"data").mkdir()
    rows = [(f"{demo_dir}/images/scene_00{i}.png", f"{demo_dir}/labels/scene_00{i}_P.png",
             "train" if i < 3 else "valid") for i in range(5)]
    rows.append((os.path.relpath(demo_dir/"images/scene_005.png", tmp_path/"data"),
                 os.path.relpath(demo_dir/"labels/scene_005_P.png", tmp_path/"data"), "valid"))
    with open(tmp_path/"data/t.csv", "w", newline="") as f: csv.writer(f).writerows([("image", "mask", "split"), *rows])
    before = {path: path.read_bytes() for path in demo_dir.rglob("*") if path.is_file()}
    report = check_path(tmp_path/"data/t.csv")
    assert len(report.data.pairs) == 6
    write_fixed_copy(report, tmp_path/"copy")
    assert {path: path.read_bytes() for path in demo_dir.rglob("*") if path.is_file()} == before and sorted(path.name
        for path in tmp_path.iterdir()) == ["copy", "data"]
    assert len(list((tmp_path/"copy/images").iterdir())) == 6


# --- names ---

NASTY = ["<script>alert(1)</script>", "[bold red]sky[/]", "$x^2$", r"$\frac$", "=cmd()|' /C calc'!A0", "a\x1b[2Jb",
         "car\u202egnp.exe", "_hidden", "木", "😀", "+1+1", "@SUM(A1)", 'a,b"c', "x | y", "`touch it-ran`",
         "$(touch it-ran)", "-rf", "%s {0}", "# heading", "'; touch it-ran; '", "[link](javascript:alert(1))",
         "![i](http://x/y)", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "\\", "a\u2028b", "a\x85b", "tab\tb",
         "**bold**", "_a_"]
MULTI = [*NASTY, "line\nend", "x\n2026-01-01 done: accuracy 1.0", "a\r\n= forged"]
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Tags(HTMLParser):
    "The tags and attributes of a page, and its text."
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(page)
        self.close()
    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {k for k, _ in attrs}
        assert not [v for k, v in attrs if v and re.match(r"\s*(javascript|vbscript)", v)], attrs
    def handle_data(self, data): self.text += data


PLAIN = {"html", "meta", "title", "style", "h1", "h2", "p", "br", "strong", "table", "thead", "tbody", "tr", "th", "td",
         "div", "span", "em", "b", "figure", "figcaption", "img", "head", "body", "main", "section", "caption", "dl",
         "dt", "dd", "svg", "rect"}


def harmless(page, *names):
    "That a page has no tag of a stranger's, and shows the names."
    page_tags = Tags(page)
    assert page_tags.tags <= PLAIN and not {a for a in page_tags.attributes if a.startswith("on") or a == "href"}
    for n in names: assert n in page_tags.text or safe_text(n) in page_tags.text, n


@pytest.fixture(scope="module")
def nasty_dir(tmp_path_factory):
    "Street scenes whose images and classes have such names; one mask is broken, so that there is something to say."
    from PIL import Image
    from segfast.data.demo import write_demo
    root = write_demo(tmp_path_factory.mktemp("nasty")/"data", n=30, size=(32, 48))
    (root/"codes.txt").write_text("\n".join(text for text in NASTY if text.strip() == text
                                            and not re.search("[\x85\u2028]", text)) + "\n", encoding="utf-8")
    (root/"valid.txt").unlink()
    for i, item in enumerate(m for m in MULTI if "/" not in m):
        if i < 30:
            (root/f"images/scene_{i:03d}.png").rename(root/f"images/{item}.png")
            (root/f"labels/scene_{i:03d}_P.png").rename(root/f"labels/{item}_P.png")
    for word in ("=cmd()|' ", "x\n2026-01-01 done: accuracy 1.0", "a\x1b[2Jb"):
        for p in (root/"labels").glob(f"{word.replace('[', '[[]')}*"):
            Image.fromarray(np.full((32, 48), 77, np.uint8)).save(p)
    return root


@pytest.fixture(scope="module")
def nasty_report(nasty_dir): return check_path(nasty_dir, cache=False)


def test_the_nasty_folder_is_read(nasty_report):
    assert len(nasty_report.data.pairs) == 30 and nasty_report.errors
    assert "<script>alert(1)</script>" in nasty_report.data.classes.names


def test_a_report_in_html(nasty_report, tmp_path):
    nasty_report.save(tmp_path/"r.html")
    page = (tmp_path/"r.html").read_text(encoding="utf-8")
    harmless(page, "<script>alert(1)</script>", "$x^2$")
    assert not CONTROL.search(page)


def test_a_report_in_markdown(nasty_report, tmp_path):
    "As a renderer that lets HTML pass would show it."
    from markdown_it import MarkdownIt
    nasty_report.save(tmp_path/"r.md")
    text = (tmp_path/"r.md").read_text(encoding="utf-8")
    assert not CONTROL.search(text)
    tags = Tags(MarkdownIt("commonmark", dict(html=True)).enable("table").render(text))
    assert tags.tags == {"p", "strong", "ul", "li"}
    assert tags.text.split() and all(safe_text(p.file) in tags.text for p in nasty_report.errors)


def test_a_report_as_text(nasty_report, tmp_path):
    nasty_report.save(tmp_path/"r.txt")
    text = (tmp_path/"r.txt").read_text(encoding="utf-8")
    assert not CONTROL.search(text) and text == nasty_report.text()
    lines = text.split("\n")
    assert [line.partition(": ")[0] for line in lines[2:-1]] == [p.kind
                                                           for p in nasty_report.problems], "a name forged a line"
    assert lines[0].startswith("data: ") and not missing(lines[1], 30, "32x48") and not missing(lines[-1],
        len(nasty_report.errors))


def test_a_report_as_a_table(nasty_report, tmp_path):
    nasty_report.save(tmp_path/"r.csv")
    with open(tmp_path/"r.csv", newline="", encoding="utf-8") as f: rows = list(csv.DictReader(f))
    assert len(rows) == len(nasty_report.problems)
    assert [item["file"].lstrip("'") for item in rows] == [p.file.lstrip("'") for p in nasty_report.problems]
    for row in rows: assert not any(re.match(r"[=+@\t\r-]", v) for v in row.values()), row


def test_a_report_for_programs_is_exact(nasty_report, tmp_path):
    nasty_report.save(tmp_path/"r.json")
    d = json.loads((tmp_path/"r.json").read_text(encoding="utf-8"))
    assert [p["file"] for p in d["problems"]] == [p.file
                                                  for p in nasty_report.problems] and list(
        d["fingerprint"]["class_share"]) == list(nasty_report.data.classes.names)


def test_what_check_says_at_the_command_line(nasty_dir, nasty_report):
    res = CliRunner().invoke(app, ["check", str(nasty_dir), "--no-cache"])
    assert res.exit_code == 1 and not CONTROL.search(res.stdout + res.stderr)
    assert res.stdout == nasty_report.text() + "\n"


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b[2J", "\x85", "\u2028", "\x0b", "\x1c"])
def test_errors_are_three_lines_whatever_the_name(tmp_path, char):
    name = f"a{char}error: forged"
    for args in (["check", name], ["check", str(tmp_path/name)], ["train", name], ["resume", name],
                 ["train", "demo", "--weights", f"{name}.pth"], ["train", "demo", "--recipe", f"{name}.toml"]):
        res = CliRunner().invoke(app, args)
        assert res.exit_code in (1, 2) and not CONTROL.search(res.stderr), args
        assert not any(line.startswith("error: forged") for line in res.stderr.split("\n")) or char == "\n"


def test_notebooks_show_names_as_text(nasty_report):
    table = ClassTable(MULTI)
    harmless(table._repr_html_(), *NASTY)
    harmless(nasty_report.data._repr_html_(), *nasty_report.data.classes.names)
    from dataclasses import replace
    harmless(replace(nasty_report.data, name=NASTY[0], layout=NASTY[0])._repr_html_(), NASTY[0])
    ids = torch.arange(len(MULTI))[None]
    cm = ConfusionMatrix(table).update(ids, ids)
    harmless(cm._repr_html_(), *NASTY)


def test_a_score_table_in_markdown():
    from markdown_it import MarkdownIt
    table = ClassTable(MULTI)
    ids = torch.arange(len(MULTI))[None]
    cm = ConfusionMatrix(table).update(ids, ids)
    tags = Tags(MarkdownIt("commonmark", dict(html=True)).enable("table").render(cm._repr_markdown_()))
    assert tags.tags == {"p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    for n in MULTI: assert safe_text(n) in tags.text


@pytest.mark.parametrize("name", MULTI)
def test_markdown_shows_it_as_it_is(name):
    from markdown_it import MarkdownIt
    assert Tags(MarkdownIt("commonmark", dict(html=True)).render(f"- x {markdown_text(name)}")).text.strip(
        "\n") == " ".join(f"x {safe_text(name)}".split("  ")) or "  " in name
    assert Tags(MarkdownIt("commonmark", dict(html=True)).render(markdown_text(name))).tags <= {"p", "ul", "li"}


def test_sheet():
    for item in MULTI: assert not re.match(r"[=+@\t\r-]", csv_cell(item)) and csv_cell(item).endswith(item)
    assert csv_cell(-1.5) == -1.5 and csv_cell(None) is None and csv_cell("road-2") == "road-2"


# --- a run with such names ---

@pytest.fixture
def nasty_run(nasty_dir, tiny, tmp_path):
    from PIL import Image
    import shutil
    data = shutil.copytree(nasty_dir, tmp_path/NASTY[1])
    for p in (data/"labels").iterdir():
        with Image.open(p) as im: bad = np.asarray(im).max() == 77
        if bad: Image.fromarray(np.zeros((32, 48), np.uint8)).save(p)
    recipe = recipe_of(dict(name="$\\frac$ <b> =x 木 \x1b[2J"), dict(name="[bold red]\nforged"))
    return fit(data, recipe, tmp_path/"runs", loggers=("tensorboard",) if tensorboard() else ())


def tensorboard():
    from importlib.util import find_spec
    return find_spec("tensorboard") is not None


def test_a_run(nasty_run, tmp_path, capsys):
    run = nasty_run
    assert run.path.parent == tmp_path/"runs" and re.fullmatch(r"[\w-]+", run.name)
    assert {path.name for path in (run.path/"plots").iterdir()} >= {"history.png", "predictions.png"}
    with open(run.path/"classes.csv", newline="", encoding="utf-8") as f:
        assert [item["name"] for item in csv.DictReader(f)] == list(run.classes.names)
    assert run.classes.names == open_data(tmp_path/NASTY[1]).classes.names, "exact where it is read back"
    with open(run.path/"per_class.csv", newline="", encoding="utf-8") as f:
        names = [item[0] for item in list(csv.reader(f))[1:]]
    assert not any(re.match(r"[=+@-]", name) for name in names) and names[:len(run.classes)] == [csv_cell(name)
        for name in run.classes.names]
    assert [s.name for s in run.recipe.stages] == ["$\\frac$ <b> =x 木 \x1b[2J", "[bold red]\nforged"]
    assert run.history["name"].tolist() == [s.name for s in run.recipe.stages]
    log = (run.path/"log.txt").read_text(encoding="utf-8")
    assert not CONTROL.search(log) and all(re.match(r"\d{4}-\d\d-\d\dT\S+ ", line)
                                           for line in log.strip("\n").split("\n"))
    harmless(run._repr_html_(), run.recipe.stages[0].name)
    assert safe_text(run.recipe.stages[1].name) in text_of(Plan("a", [], run.recipe, classes=run.classes))
    if tensorboard(): tags_are_fixed(run)


def tags_are_fixed(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    read = EventAccumulator(str(run.path/"tensorboard")).Reload()
    tags = read.Tags()
    assert all(re.fullmatch(r"(epoch|batch)/[a-z_0-9]+", scalar)
               for scalar in tags["scalars"]) and tags["images"] == ["samples"]
    text = read.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in text.split("\n")
               if line), "code to the end, which no text inside can close"


def text_of(value, width=1000):
    console = Console(file=io.StringIO(), width=width)
    console.print(value)
    return console.file.getvalue()


def scores(names):
    return dict(accuracy=0.9, mean_iou=0.5, mean_dice=0.6, images=2, seconds=3.,
                classes={n: dict(iou=0.5, dice=0.6, precision=0.7, recall=0.8, pixels=100) for n in names})


@pytest.mark.parametrize("name", MULTI)
def test_tables_at_a_terminal(name):
    row = dict(name=name, data=name, status=name, stages=name, accuracy=None, mean_iou=None, seconds=None, started=name)
    for item in score_table(scores([name]), ClassTable([name])), run_table([row]), Plan(name, [(name, name)],
        recipe_of(dict(name=name)), classes=ClassTable([name])):
        text = text_of(item)
        assert safe_text(name)[:20] in text and not CONTROL.search(text)


@pytest.mark.parametrize("name", MULTI)
@pytest.mark.parametrize("kind", [Lines, Screen])
def test_the_screen(name, kind):
    console = Console(file=io.StringIO(), width=300, height=50, force_terminal=False)
    screen = Lines(console.file) if kind is Lines else Screen(console)
    recipe = recipe_of(dict(name=name))
    with screen:
        screen.plan(Plan(name, [("data", name)], recipe, classes=ClassTable([name])))
        screen.work(name, 1, 2)
        screen.stage(0, recipe.stages[0])
        screen.say(f"careful: {safe_text(name)}")
    text = console.file.getvalue()
    assert not CONTROL.search(text.replace("\r\n", "\n")) and safe_text(name)[:12] in text


@pytest.mark.slow
@pytest.mark.parametrize("name", MULTI)
def test_images(name):
    "Drawn without a warning: pytest makes an error of any."
    import pandas as pd
    image, mask = np.zeros((8, 12, 3), np.uint8), np.zeros((8, 12), np.uint8)
    fig = show_masks([(image, mask, mask)], ClassTable([name, "plain"]))
    fig.savefig(io.BytesIO(), format="png")
    first = fig.legends[0].get_texts()[0]
    assert not first.get_parse_math() and first.get_text().startswith(safe_text(name)[:1]) | (not name.isascii())
    history = pd.DataFrame([dict(stage=1, name=name, size="8x12", train_loss=1., valid_loss=1., accuracy=.5,
                                 mean_iou=.5)])
    plot_history(history).savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("name", MULTI)
def test_recipes_and_tables_of_classes_come_back_exactly(name, tmp_path):
    recipe = recipe_of(dict(name=name))
    save_recipe(recipe, tmp_path/"r.toml")
    assert load_recipe(tmp_path/"r.toml") == recipe
    table = ClassTable([name, "plain"])
    table.save(tmp_path/"c.csv")
    assert ClassTable.load(tmp_path/"c.csv") == table


@pytest.mark.slow
@pytest.mark.parametrize("name", MULTI)
def test_names_of_runs(name, small, tmp_path):
    """A name that is a folder's is taken as it is; what leads elsewhere or cannot be printed is refused. The data's
    name is only borrowed from."""
    make = dict(recipe=recipe_of({}), classes=small.classes, data=dict(name=name))
    assert re.fullmatch(r"[\w-]+", Run.create(tmp_path/"runs", **make).name)
    if name.isprintable() and "/" not in name:
        run = Run.create(tmp_path/"runs", **make, name=name)
        assert run.path.parent == tmp_path/"runs"
        harmless(run._repr_html_(), name)
        assert len(run_rows(tmp_path/"runs")) == 2
    else:
        with pytest.raises(UsageError) as e: Run.create(tmp_path/"runs", **make, name=name)
        assert not missing(e, "--name") and repr(name) in str(e.value) and not CONTROL.search(str(e.value))
    for word in "..", ".", "", "a/b", "/abs", "../x", "a\0b":
        with pytest.raises(UsageError): Run.create(tmp_path/"runs", **make, name=word)


def test_a_run_from_elsewhere(small, tmp_path):
    "Its files may say anything, and say it as text."
    run = Run.create(tmp_path/"runs", recipe_of({}), small.classes, dict(name="a"), "a")
    for name in MULTI:
        run.update(status="failed", started=name, error=name)
        (run.path/"data.json").write_text(json.dumps(dict(name=name)))
        harmless(run._repr_html_(), name)
        assert not CONTROL.search(repr(run))
        res = CliRunner().invoke(app, ["runs", str(tmp_path/"runs")])
        assert res.exit_code == 0 and not CONTROL.search(res.stdout) and len(res.stdout.strip().split("\n")) == 3


def test_a_log_has_one_line_a_remark(small, tmp_path):
    run = Run.create(tmp_path/"runs", recipe_of({}), small.classes, dict(name="a"), "a")
    for item in MULTI: run.log(item)
    run.log("\udcff")
    lines = (run.path/"log.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(MULTI) + 2 and not CONTROL.search("\n".join(lines))


# --- lines that are copied into a shell ---

PATHS = ["plain", "a b", "it's", "a; touch it-ran", "$(touch it-ran)", "`touch it-ran`", "a && touch it-ran",
         "a|touch it-ran", "x > it-ran", "*", "~", "!!", "-rf", "#x", "a\\b", "[bold]", "木"]


def commands(text):
    return [shlex.split(line[line.index("segfast "):]) for line in text.split("\n") if "segfast " in line]


@pytest.mark.parametrize("name", PATHS)
def test_the_resume_line_is_one_word(name, monkeypatch, small, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = Run.create(name, recipe_of({}), small.classes, dict(name="a"), "a")

    def stopped(*args, **kwargs):
        e = KeyboardInterrupt()
        e.segfast_run = run
        raise e
    monkeypatch.setattr("segfast.training.train.train", stopped)
    res = CliRunner().invoke(app, ["train", "demo"])
    assert res.exit_code == 130
    command, = commands(res.stderr)
    assert command[:2] == ["segfast", "resume"] and len(command) == 3 and Path(command[2]) == Path(
        name)/"a" and not command[2].startswith("-")


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_other_lines_to_copy(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    res = CliRunner().invoke(app, ["demo-data", "-n", "2", "--size", "32x48", "--", name])
    assert res.exit_code == 0, res.output
    command, = commands(res.stdout)
    assert Path(command[2]) == Path(name) and command[3:] == ["--progressive", "--weights", "none", "--size", "96x128"]
    res = CliRunner().invoke(app, ["runs", "--", f"none{name}"])
    assert commands(res.stdout)[0][-2:] == ["--out", f"none{name}"]


@pytest.mark.parametrize("name", ["new\nsegfast resume x; touch it-ran", "a\x1b[2Jb", "a\u202eb", "a\u2028b"])
def test_a_path_that_no_line_can_hold_is_written_out(name, monkeypatch, small, tmp_path):
    res = CliRunner().invoke(app, ["demo-data", "-n", "2", "--size", "32x48", name])
    assert res.exit_code == 0 and not CONTROL.search(res.stdout) and res.stdout.count("\n") == 1
    assert len(shlex.split(res.stdout[res.stdout.rindex("segfast train "):])) == 8


def test_checks_of_hostile_files_are_bounded(tmp_path, demo_dir):
    "Formats that are programs in disguise are no images here."
    import shutil
    data = shutil.copytree(demo_dir, tmp_path/"copy")
    for i, text in enumerate([b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(it-ran) (w) file closefile\n",
                              b"%PDF-1.4\n", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
                              b"#!/bin/sh\ntouch it-ran\n"]):
        (data/f"images/scene_00{i}.png").write_bytes(text)
    assert [p.code for p in check(open_data(data), cache=False).errors] == ["not-an-image"]*4


def test_safetensors_of_this_library_hold_no_pickle(half_done):
    for p in half_done.path.rglob("*"):
        if p.is_file():
            assert p.suffix in (".safetensors", ".json", ".toml", ".csv", ".txt", ".png", ".jpg", ".html",
                                ".lock") or p.name == ".lock", p
    for p in half_done.path.rglob("*.safetensors"):
        n, = struct.unpack("<Q", p.read_bytes()[:8])
        assert isinstance(json.loads(p.read_bytes()[8:8+n]), dict) and load_file(p)


def test_a_safetensors_header_that_lies():
    save_file({"w": torch.zeros(4)}, "a.safetensors")
    raw = Path("a.safetensors").read_bytes()
    for bad in (raw[:-1], raw[:20], struct.pack("<Q", 1 << 60) + raw[8:], raw.replace(b"[0,16]", b"[0,96]"),
                raw[:8] + b"x" + raw[9:], b"", struct.pack("<Q", 0)):
        Path("b.safetensors").write_bytes(bad)
        with pytest.raises(DataError, match="b.safetensors"): read_weights("b.safetensors")
