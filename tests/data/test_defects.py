"""The check names every defect with file and code, and training stops before there is a model; oddities train."""
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.defects import CASES, MANY, ids, mask, pixels, put, street, unblock, write
from helpers.limits import alarm_after
from helpers.problems import missing
from helpers.refusals import PLANNED, invoke

from segfast.cli import app
from segfast.core.errors import DataError

SECONDS = 20 # for any one folder
settings = "--size", "64x96", "--weights", "none", "--device", "cpu", "--out", "runs"


class Late(BaseException): "Too slow; no `Exception`, which a command would explain away."


def limit(folder, seconds=SECONDS):
    "Give up after some seconds; whoever waits for a pipe is let go."
    def late():
        unblock(folder)
        raise Late(f"more than {seconds} seconds")
    return alarm_after(seconds, late)


def tree(folder):
    "What lies in a folder, but for cache and runs, and when it was changed."
    found = {}
    for top, below, names in os.walk(folder):
        if top == str(folder): below[:] = sorted({*below} - {"cache", "runs"})
        found |= {path: os.lstat(path).st_mtime_ns for path in (os.path.join(top, name) for name in names)}
    return found


class Built:
    "One folder, and what the commands said of it."
    def __init__(self, case, folder, source):
        self.case, self.folder, self.source, self.said, self.files = case, folder, source, {}, tree(folder)

    def run(self, *args):
        if args not in self.said:
            command, *options = args
            with limit(self.folder): self.said[args] = invoke(app, [command, *options, "--", self.source])
        res = self.said[args]
        assert res.error is None or isinstance(res.error, PLANNED), repr(res.error)
        assert "Traceback" not in res.output, res.output
        assert res.exception is None or isinstance(res.exception, SystemExit), repr(res.exception)
        return res

    @property
    def report(self):
        res = self.run("check", "--json")
        assert res.stdout, res.output
        return json.loads(res.stdout.splitlines()[-1])

    def text(self): return self.run("check").output.replace("\n", " ")


def first_of_each(cases):
    "The names of the first case of every code and, where no code is expected, of every kind."
    seen, names = set(), set()
    for c in cases:
        told = set(c.codes) or {c.kind}
        if told - seen:
            names.add(c.name)
        seen |= told
    return names


QUICK = first_of_each(CASES)


def params(cases):
    "Cases as parameters: those are slow that add nothing new to the ones before them, because there are hundreds."
    return [pytest.param(c, id=c.name, marks=() if c.name in QUICK else pytest.mark.slow) for c in cases]


@pytest.fixture(scope="module", params=params(CASES))
def built(request, tmp_path_factory):
    "A folder, drawn once for all that is asked of it."
    case, folder = request.param, tmp_path_factory.mktemp("case")
    with pytest.MonkeyPatch.context() as patch, limit(folder):
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        patch.setenv("SEGFAST_CACHE", str(folder/"cache"))
        source = case.build(folder/"street")
        built = Built(case, folder, str(source if isinstance(source, (str, Path)) else folder/"street"))
        if case.patch: case.patch(patch, folder/"street")
        yield built
    shutil.rmtree(folder, ignore_errors=True)


def kinds(case): return case.kind.split("|")


def matches(p, case):
    "Whether a problem is the one that a case is about."
    if case.codes and p["code"] not in case.codes: return False
    strict = case.codes and "/" in case.file and not p["code"].startswith(("layout", "folder"))
    where = p["file"] if strict else f'{p["file"]} {p["message"]} {p["fix"]} {p["found"]}'
    return case.file in where


def test_names_are_unique():
    assert [k for k, n in Counter(case.name for case in CASES).items() if n > 1] == []
    assert len(CASES) > 300


def test_json(built):
    case, report = built.case, built.report
    res, found = built.run("check", "--json"), report["problems"]
    shown = json.dumps(found, ensure_ascii=True, indent=1)[:3000]
    assert {"ok", "problems"} <= set(report)
    assert all({"kind", "code", "file", "message"} <= set(p) and p["kind"] in ("error", "warning", "note")
               for p in found), shown
    assert report["ok"] == (res.exit_code == 0) == (not [p for p in found if p["kind"] == "error"]), shown
    assert res.exit_code in (0, 1)
    assert res.exit_code in {int(k == "refuse") for k in kinds(case)}, shown
    expected = {dict(refuse="error", warn="warning", note="note").get(k) for k in kinds(case)}
    if "sound" not in kinds(case): assert [p for p in found if p["kind"] in expected and matches(p, case)], shown
    # the drawn folders have few images
    if case.clean: assert [p for p in found if p["kind"] == "warning" and p["code"] != "few-valid"] == [], shown
    if case.layout: assert report["layout"] == case.layout


def test_text(built):
    case, res = built.case, built.run("check")
    assert res.exit_code == built.run("check", "--json").exit_code
    said = res.output.splitlines()
    assert said and all(len(line) < 2000 or "x"*30 in line for line in said), said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", res.output), "control characters that a terminal would obey"
    if case.file.isascii() and kinds(case) == ["refuse"]: assert case.file in built.text()
    if kinds(case) == ["refuse"]: assert len(res.output) < 60_000


def test_train(built, monkeypatch):
    "What must be refused is refused before a model is made; the rest gets as far as its model."
    reached = []
    def seg_model(*args, **kwargs):
        reached.append(True)
        raise DataError("the model was reached")
    monkeypatch.setattr("segfast.training.plan.seg_model", seg_model)
    monkeypatch.setattr("segfast.report.console.Lines.work", lambda *args: None) # progress is no part of what is said
    res = built.run("train", *settings)
    assert res.exit_code == 1
    assert res.stdout == ""
    assert bool(reached) in {k != "refuse" for k in kinds(built.case)}, res.output
    assert "the model was reached" in res.output or not reached
    runs = built.folder/"runs"
    assert not runs.exists() or list(runs.iterdir()) == []
    if not reached:
        said = [line for line in res.stderr.splitlines() if not re.match("(note|warning): ", line)]
        assert 1 <= len(said) <= 3, res.stderr
    assert not (built.folder/"it-ran").exists()


def test_outside_stays_untouched(built):
    "Nothing is written beside the cache, and no archive leaves the cache's folder."
    built.run("check", "--json")
    assert not Path("/evil.txt").exists()
    if not built.case.patch: assert tree(built.folder) == built.files


@pytest.mark.parametrize("built", params([c for c in CASES if c.ids]), indirect=True)
def test_ids(built):
    "The odd but sound masks mean what was drawn: brightness is not an id."
    from segfast.data.open import open_data
    data = open_data(built.source)
    numbers = [int(re.findall(r"\d+", Path(path).stem)[-1]) for path in data.pairs["image"]]
    for rel, i in zip(data.pairs["mask"], numbers):
        n = min(5, len(data.classes)) if data.classes.void != 255 else 5
        assert np.array_equal(data.ids(rel), ids(i, n, data.ids(rel).shape)), rel


LOADED = [c for c in CASES if c.kind in ("sound", "warn", "note") and not c.patch
          and not c.name.startswith(("name_", "void_is", "codes_", "valid_", "published_table", "camseq_table",
                                     "suffix_"))]


@pytest.mark.parametrize("built", params(LOADED), indirect=True)
def test_batches(built):
    "Every pair gets into a batch, with an image that is one and ids that the classes have."
    from segfast.data.cache import open_pair
    from segfast.data.open import open_data
    data = open_data(built.source)
    for i in range(len(data.pairs)):
        x, y = open_pair(data, i)
        assert x.shape == (*y.shape, 3) and x.dtype == y.dtype == np.uint8
        assert set(np.unique(y).tolist()) <= data.classes.valid_values


CONVERTED = [c for c in CASES if "refuse" not in c.kind
             and c.name.startswith(("image_alpha", "image_cmyk", "image_16bit", "image_rotated", "image_palette",
                                    "image_grey", "image_interlaced", "image_with", "image_jpeg", "image_webp",
                                    "image_tiff", "image_pages", "image_animated_png", "image_progressive"))]


@pytest.mark.parametrize("built", params(CONVERTED), indirect=True)
def test_images_are_converted_rightly(built):
    from segfast.data.cache import open_pair
    from segfast.data.open import open_data
    data = open_data(built.source)
    for i, rel in enumerate(data.pairs["image"]):
        x, number = open_pair(data, i)[0].astype(int), int(re.findall(r"\d+", rel)[-1])
        drawn = pixels(number).astype(int)
        name = built.case.name
        gray = "grey" in name and (number == 2 or "all" in name) or name == "image_16bit_tiff" and number == 2
        if gray:
            drawn = (drawn[..., :1] if "16bit" in built.case.name
                     else np.round(drawn @ [0.299, 0.587, 0.114])[..., None]).repeat(3, 2)
        assert x.shape == drawn.shape
        assert np.abs(x - drawn).mean() < 8, f"{rel}: {np.abs(x - drawn).mean()}"


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    return street(tmp_path/"street")


def checked(folder, *options, code=None):
    with limit(folder): res = invoke(app, ["check", str(folder), "--json", *options])
    assert code is None or res.exit_code == code, res.output
    return json.loads(res.stdout.splitlines()[-1])


def of(name): return pytest.mark.parametrize("built", [c for c in CASES if c.name == name], ids=[name], indirect=True)


@of("many_at_once")
def test_none_hides_another(built):
    "All problems of a folder in one report."
    found = {p["code"]: p["file"] for p in built.report["problems"]}
    assert {k: found.get(k) for k in MANY} == MANY


@of("value_255_in_all")
def test_255_is_no_gray_level(built):
    "Numbering 0, 1, 3, 4 and 255 anew would give 3 and 4 other classes."
    assert {p["code"] for p in built.report["problems"] if p["kind"] == "error"} == {"mask-values"}


@of("csv_mask_is_the_image")
def test_what_means_nothing_is_not_void(built):
    assert {p["code"] for p in built.report["problems"]} & {"all-void", "mask-void"} == set()


@pytest.mark.parametrize("built", [c for c in CASES
                                   if c.name in ("folders_loop", "folders_linked_twice", "link_loop_in_images",
                                                 "link_loop_beside")], ids=lambda c: c.name, indirect=True)
def test_links_multiply_nothing(built):
    assert built.report["images"] == 6


@of("csv_leads_out")
def test_a_path_that_leads_out_is_not_looked_around(built):
    assert [p["file"] for p in built.report["problems"]
            if p["file"].startswith("..")] == ["../../../../../../etc/passwd"]


def test_text_of_the_issue(own):
    "What is said is short and exact."
    write(mask(own), put(ids(2), 37))
    def line(file):
        return next(line for line in invoke(app, ["check", str(own)]).output.splitlines() if f" {file}:" in line)
    assert missing(line("labels/f2_P.png"), 37, 12, 5, 0, 4) == []
    (own/"valid.txt").write_text("f1_P.png\nf4_P.png\n")
    assert missing(line("valid.txt"), 2, "f1_P.png") == [] and re.search(r"'f\d\.png'", line("valid.txt"))


def test_found_expected_and_pixels(own):
    write(mask(own), put(ids(2), 37))
    p, = (p for p in checked(own, code=1)["problems"] if p["code"] == "mask-values")
    assert (p["kind"], p["file"], p["found"], p["expected"], p["pixels"]) == ("error", "labels/f2_P.png", [37], "0..4",
        12)
    assert p["message"] and p["fix"]


def test_ids_from_one_is_said_once_and_not_six_times(own):
    for i in range(6): write(mask(own, i), ids(i) + 1)
    found = checked(own, code=1)["problems"]
    said, = (p for p in found if p["code"] == "ids-from-one")
    assert missing(said["message"], 5) == []


def test_head_of_the_report(own):
    report = checked(own, code=0)
    assert (report["ok"], report["layout"], report["images"], report["splits"], report["classes"],
            report["void"]) == (True, "camvid", 6, {"train": 4, "valid": 2}, 5, ["Void"])


@pytest.mark.parametrize("word", ["Void", "void", "Unlabelled", "unlabeled", "ignore"])
def test_void_by_its_name(own, word):
    (own/"codes.txt").write_text(f"sky\nroad\n{word}\ntree\ncar\n")
    assert checked(own, code=0)["void"] == [word]


def test_background_counts(own):
    (own/"codes.txt").write_text("background\nroad\nhouse\ntree\ncar\n")
    assert checked(own, code=0)["void"] == []


def test_a_change_is_seen_by_the_next_check(own):
    "What a check remembers must not outlive the file."
    checked(own, code=0)
    checked(own, code=0)
    write(mask(own), put(ids(2), 37))
    assert [p["code"] for p in checked(own, code=1)["problems"] if p["kind"] == "error"] == ["mask-values"]
    write(mask(own), ids(2))
    checked(own, code=0)
    (own/"codes.txt").write_text("sky\nroad\n")
    checked(own, code=1)
    (own/"codes.txt").write_text("sky\nroad\nVoid\ntree\ncar\n")
    mask(own).unlink()
    assert "missing" in [p["code"] for p in checked(own, code=1)["problems"]]


def test_broken_memory_is_no_reason_to_fail(own):
    "Whatever lies in the cache is read with suspicion."
    first = checked(own, code=0)
    for path in (own.parent/"cache").rglob("*"):
        if path.is_file(): path.write_bytes(b"garbage")
    assert checked(own, code=0) == first


def test_no_memory_is_no_reason_to_fail(own, monkeypatch):
    (own.parent/"taken").touch()
    monkeypatch.setenv("SEGFAST_CACHE", str(own.parent/"taken/cache"))
    assert checked(own, code=0)["ok"]


def test_one_void_batch_is_no_nan():
    import torch

    from segfast.training.losses import LOSSES, seg_loss, uses_class_weights
    from segfast.data.classes import ClassTable
    for name in LOSSES:
        x = torch.randn(1, 5, 8, 8, requires_grad=True)
        weights = [1, 1, 0, 1, 1] if uses_class_weights(name) else None
        loss = seg_loss(name, ClassTable(["sky", "road", "Void", "tree", "car"], 2), weights=weights)(x,
            torch.full((1, 8, 8), 2))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(x.grad).all(), name


def test_strict(own):
    "With --strict a warning is a reason to refuse."
    write(own/"labels/zz_P.png", ids(9))
    checked(own, code=0)
    checked(own, "--strict", code=1)


@pytest.mark.parametrize("out", ["/proc/runs", "/dev/null", "/dev/null/runs", "street/codes.txt"])
def test_the_runs_folder_is_tried_before_training(own, monkeypatch, tiny, out):
    "Or the weights are lost after the last epoch."
    def run_stage(*args, **kwargs): raise DataError("a stage was reached")
    monkeypatch.setattr("segfast.training.train.run_stage", run_stage)
    with limit(own): res = invoke(app, ["train", str(own), *settings, "--model", tiny, "--out", out])
    assert res.exit_code == 1 and "reached" not in res.output and out in res.output, res.output
    assert isinstance(res.error, DataError)


def test_no_check_says_so(own, monkeypatch):
    "`train --no-check` trains on what would be refused, and says so."
    def seg_model(*args, **kwargs): raise DataError("the model was reached")
    monkeypatch.setattr("segfast.training.plan.seg_model", seg_model)
    write(mask(own), put(ids(2), 37))
    with limit(own): res = invoke(app, ["train", str(own), *settings, "--no-check"])
    assert "the model was reached" in res.output
    assert [line for line in res.stderr.splitlines() if line.startswith("warning: ")
            and missing(line, "--no-check") == []]
