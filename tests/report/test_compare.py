"Comparing runs: what differs, and a paired bootstrap that is checked by slower and by other people's code."
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import odd_values
from helpers.problems import is_crash, missing
from scipy import stats
from typer.testing import CliRunner

from segfast.cli import app
from segfast.report.compare import bootstrap, by_class, compare, differences, image_counts, mean_ious, paired_counts
from segfast.report.compare import totals, versus
from segfast.core.errors import DataError, UsageError
from segfast.data.classes import ClassTable
from segfast.runs.presets import progressive
from segfast.runs.run import HISTORY, Run
from segfast.core.files import write_json, write_table

classes = ClassTable(["sky", "<script>alert(1)</script>", "void"], 2)


def made(out, name, tp=(6, 3), images=("a.png", "b.png", "c.png"), table=classes, **recipe):
    "A finished run of a few images, each with the same counts of two classes."
    run = Run.create(out, progressive((48, 64), (1, 1, 1), **recipe), table, dict(name="toy"), name)
    files = dict(mask=images, split="valid", height=4, width=4, image_sha256=["1"+name for name in images],
                 mask_sha256="2")
    train = pd.DataFrame(dict(image=["t.png"], mask="t", split="train", height=4, width=4, image_sha256="3",
                              mask_sha256="4"))
    pd.concat([train, pd.DataFrame(dict(image=images, **files))]).to_csv(run.path/"data.csv", index=False)
    rows = [(image, c, classes.names[c], tp[c], 8 - tp[1 - c], 8 - tp[c]) for image in images for c in range(2)]
    pd.DataFrame(rows, columns=["image", "id", "class", "tp", "fp", "fn"]).to_csv(run.path/"per_image_counts.csv",
        index=False)
    iou = {classes.names[c]: dict(iou=tp[c]/(16 - tp[1 - c]), pixels=8) for c in range(2)}
    write_json(run.path/"scores.json", dict(mean_iou=.5, accuracy=sum(tp)/16, split="valid", classes=iou))
    run.append(dict.fromkeys(HISTORY, .5) | dict(stage=1, name="half", epoch=1, size="24x32"))
    run.update(status="done", mean_iou=.5, seconds=3.)
    return run


def random_counts(rng, n=30, c=5):
    "Counts as confusion matrices give them: a miss of one class is a false positive of another; some are rare."
    matrices = rng.integers(0, 50, (n, c, c))*(rng.random((n, c, 1)) < np.linspace(1, .1, c)[:, None])
    tp = np.einsum("icc->ic", matrices)
    return np.stack([tp, matrices.sum(1) - tp, matrices.sum(2) - tp], -1), matrices


# The bootstrap

def slow_mean_iou(counts, chosen):
    "Mean IoU of some images, in plain Python."
    scores = []
    for c in range(counts.shape[1]):
        tp, fp, fn = (sum(int(counts[i, c, k]) for i in chosen) for k in range(3))
        if tp + fn:
            scores.append(tp/(tp + fp + fn))
    return sum(scores)/len(scores) if scores else float("nan")


def test_mean_iou_of_draws_is_that_of_plain_python_and_of_the_confusion_matrix():
    import torch

    from segfast.metrics.confusion import ConfusionMatrix
    rng = np.random.default_rng(0)
    counts, matrices = random_counts(rng)
    chosen = [rng.integers(0, len(counts), len(counts)) for _ in range(40)]
    draws = np.stack([np.bincount(rows, minlength=len(counts)) for rows in chosen])
    ours = mean_ious(counts, draws)
    for value, rows in zip(ours, chosen):
        cm = ConfusionMatrix(ClassTable(list("abcde")))
        cm._bins = torch.tensor([*matrices[rows].sum(0).ravel(), 0, 0, 0])
        assert value == pytest.approx(slow_mean_iou(counts, rows), abs=1e-12)
        assert value == pytest.approx(cm.mean_iou, abs=1e-12)


def test_a_draw_without_a_labeled_pixel_has_no_score():
    counts = np.zeros((3, 2, 3), int)
    counts[0, 0] = 5, 1, 2
    counts[1, 1, 1] = 9  # predicted, never true: no score of its own
    got = mean_ious(counts, np.array([[1, 1, 1], [0, 2, 1], [2, 0, 0]]))
    assert got[0] == 5/8 and np.isnan(got[1]) and got[2] == 5/8
    found = bootstrap(counts, counts)
    assert (found["difference"], found["low"], found["high"]) == (0, 0, 0)


def test_bootstrap_against_scipy():
    "Percentile interval of the paired statistic, from another implementation with draws of its own."
    rng = np.random.default_rng(1)
    first, second = random_counts(rng, 40)[0], random_counts(rng, 40)[0]
    ours = bootstrap(first, second, 20_000)

    def statistic(rows): return slow_difference(first, second, rows)
    theirs = stats.bootstrap((np.arange(40),), statistic, n_resamples=3000, method="percentile", vectorized=False,
                             random_state=2).confidence_interval
    width = ours["high"] - ours["low"]
    assert abs(ours["low"] - theirs.low) < .06*width and abs(ours["high"] - theirs.high) < .06*width
    difference = slow_mean_iou(second, range(40)) - slow_mean_iou(first, range(40))
    assert ours["difference"] == pytest.approx(difference, abs=1e-12)
    assert bootstrap(first, second) == bootstrap(first, second) != bootstrap(first, second, seed=7)


def slow_difference(first, second, rows):
    x, y = first[rows].sum(0), second[rows].sum(0)
    def mean(counts): return np.mean([tp/(tp + fp + fn) for tp, fp, fn in counts if tp + fn])
    return mean(y) - mean(x)


def simulated(rng, n, skills):
    "Images of different contents and difficulty, and the counts of two models that differ in skill."
    pixels = rng.integers(50, 400, (n, 3))*(rng.random((n, 3)) < (1, .8, .5))
    ease = rng.beta(6, 2, (n, 1))
    out = []
    for skill in skills:
        tp = rng.binomial(pixels, np.clip(skill*ease, 0, 1))
        wrong = (pixels - tp).sum(1)
        fp = np.stack([rng.binomial(wrong, 1/3) for _ in range(3)], -1)
        out.append(np.stack([tp, fp, pixels - tp], -1))
    return out


@pytest.mark.parametrize("skills", [(.9, .9), (.9, .93)])
def test_the_interval_holds_the_truth_as_often_as_it_says(skills):
    rng = np.random.default_rng(3)
    first, second = simulated(rng, 200_000, skills)
    truth = slow_difference(first, second, slice(None))
    hits = []
    for _ in range(300):
        found = bootstrap(*simulated(rng, 60, skills), 400, seed=int(rng.integers(1 << 30)))
        hits.append(found["low"] <= truth <= found["high"])
    assert .90 <= np.mean(hits) <= .985, np.mean(hits)


# Whole runs

def test_the_same_scores_have_no_difference(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    found = versus(first, second)
    assert (found["difference"], found["low"], found["high"], found["significant"]) == (0, 0, 0, False)
    assert not missing(found["sentence"], "a", "b", 3) and "0.0000" not in found["sentence"]
    assert len(differences([first, second])) == 0


def bare(sentence): return re.sub(r"[-+]?\d+(\.\d+)?|\b[ab]\b", "#", sentence)


def test_a_better_run(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b", tp=(7, 5), wd=.5, loss="focal")
    found = compare([first, second])
    assert found.differences.index.tolist() == ["loss", "wd"] and found.differences.loc["wd"].tolist() == ["0.01",
        "0.5"]
    forth = found.versus[0]
    assert forth["significant"] and forth["difference"] > 0
    assert not missing(forth["sentence"], "a", "b", f"{forth['difference']:.4f}", f"{forth['low']:+.4f}",
                       f"{forth['high']:+.4f}", 3)
    assert found.classes.loc["sky"].tolist() == pytest.approx([6/13, 7/11, 7/11 - 6/13])
    back = compare([second, first]).versus[0]
    assert back["difference"] == -forth["difference"] and not missing(back["sentence"], "a", "b",
        f"{forth['difference']:.4f}", f"{back['low']:+.4f}")
    assert bare(back["sentence"]) != bare(forth["sentence"]), "the direction is said, too"
    json.dumps(found.to_dict(), allow_nan=False)


def test_few_images_and_noise_are_said(tmp_path):
    def sentence(folder, n, **second):
        images = [f"{i}.png" for i in range(n)]
        return versus(made(tmp_path/folder, "a", images=images),
                      made(tmp_path/folder, "b", images=images, **second))["sentence"]
    few, many = (bare(sentence(str(n), n, tp=(7, 5))) for n in (19, 20))
    assert few != many
    first, second = (made(tmp_path/"noise", name, images=[f"{i}.png" for i in range(20)]) for name in "ab")
    def shifted(counts, by): return [str(int(n) + by*((i == 0) - (i == 2))) for i, n in enumerate(counts)]
    change(second, "per_image_counts.csv", lambda df: df.assign(tp=shifted(df.tp, 1), fn=shifted(df.fn, -1)))
    found = versus(first, second)
    assert not found["significant"] and found["low"] < 0 < found["high"] and bare(found["sentence"]) != many


def test_order_of_the_images_does_not_matter(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b", images=("c.png", "a.png", "b.png"))
    assert versus(first, second)["difference"] == 0


def change(run, file, f):
    df = pd.read_csv(run.path/file, dtype=str, keep_default_na=False)
    f(df).to_csv(run.path/file, index=False)


COUNTS = "b/per_image_counts.csv", "data.csv", "classes.csv"
PIXELS = "per_image_counts.csv"


def replaced(file, old, new): return lambda run: change(run, file, lambda df: df.replace(old, new))


def assigned(file, **columns): return lambda run: change(run, file, lambda df: df.assign(**columns))


def other_images(run):
    for file in "data.csv", PIXELS:
        replaced(file, "a.png", "z.png")(run)


def another_mask(run):
    "One pixel more of the first class in the first image."
    def more(df): return df.assign(fn=[str(int(fn) + (i == 0)) for i, fn in enumerate(df.fn)])
    change(run, PIXELS, more)


def other_classes(run):
    "As a person does it who knows of the checksums."
    ClassTable(["sky", "road", "void"], 2).save(run.path/"classes.csv")
    write_json(run.path/"data.json", dict(name="toy"))


REASONS = { # a change of run b, and what is named for it
    "other images": (other_images, (1, "a", "b")),
    "another file": (replaced("data.csv", "1b.png", "other"), (1, "b.png")),
    "not checked": (assigned("data.csv", image_sha256="", mask_sha256=""), ("--no-check",)),
    "another mask": (another_mask, (1, "a.png")),
    "no counts": (lambda run: (run.path/PIXELS).unlink(), ("b/per_image_counts.csv",)),
    "no column": (lambda run: change(run, PIXELS, lambda df: df.drop(columns="tp")), ("b/per_image_counts.csv", "tp")),
    "unknown image": (replaced(PIXELS, "a.png", "z.png"), (*COUNTS, "z.png")),
    "unknown class": (assigned(PIXELS, id="9"), (*COUNTS, 9)),
    "no number": (assigned(PIXELS, tp="many"), (*COUNTS, "'many'")),
    "no scores": (lambda run: (run.path/"scores.json").unlink(), ("b", "done")),
    "no table": (lambda run: (run.path/PIXELS).write_bytes(b"\xff\xfe\x00"), ("b/per_image_counts.csv", "utf-8")),
    "other classes": (other_classes, ()),
}


@pytest.mark.parametrize("reason", REASONS)
def test_why_nothing_can_be_said(tmp_path, reason):
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    change_it, named = REASONS[reason]
    change_it(second)
    with pytest.raises(DataError) as e:
        paired_counts(first, second)
    assert not missing(e, *named) and (named or not re.search(r"\d|\.csv|--", str(e.value)))
    found = compare([first, second])
    assert "significant" not in found.versus[0] and str(e.value) in found.versus[0]["sentence"]
    found.save_html(tmp_path/"c.html")


def test_one_image(tmp_path):
    found = versus(made(tmp_path, "a", images=["a.png"]), made(tmp_path, "b", images=["a.png"]))
    assert "significant" not in found and not missing(found["sentence"], "a", "b", 1)


def test_an_image_of_nothing_but_void_counts_as_an_image(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b", tp=(7, 5))
    for run in first, second:
        change(run, "per_image_counts.csv", lambda df: df[df.image != "b.png"])
    assert versus(first, second)["images"] == 3


def test_runs_of_one_name_and_of_no_history(tmp_path):
    first, second = made(tmp_path/"x", "same"), made(tmp_path/"y", "same", wd=.5)
    (second.path/"history.csv").unlink()
    found = compare([first, second])
    assert list(found.differences.columns) == [str(first.path), str(second.path)]
    found.plot().savefig(tmp_path/"a.png")
    assert len(found.to_dict()["totals"]["mean_iou"]) == 2


def test_runs_that_have_only_begun(tmp_path):
    runs = [Run.create(tmp_path, progressive((48, 64)), classes, dict(name="toy"), name) for name in "ab"]
    found = compare(runs)
    assert len(totals(runs)) == len(by_class(runs)) == 0
    found.save_html(tmp_path/"a.html")
    assert cli("compare", *[run.path for run in runs]).exit_code == 0


def test_a_recipe_of_another_version_is_compared_all_the_same(tmp_path, caplog):
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    text = (second.path/"recipe.toml").read_text()
    (second.path/"recipe.toml").write_text("new_key = 1\n" + text)
    assert differences([first, second]).index.tolist() == ["new_key"]
    assert str(second.path/"recipe.toml") in caplog.text, "and it is said that somebody edited it"


def test_wrong_arguments(tmp_path):
    first = made(tmp_path, "a")
    with pytest.raises(UsageError) as e:
        compare([first])
    assert missing(e, first.path), "no run is at fault"
    with pytest.raises(UsageError) as e:
        compare([first, tmp_path/"."/"a"])
    assert not missing(e, first.path)
    with pytest.raises(DataError) as e:
        compare([first, tmp_path/"nothing"])
    assert not missing(e, tmp_path/"nothing", "status.json")


# Damaged runs, and what a page may say

ODD = {}
for case in odd_values.some_cases():
    ODD.setdefault(case[0], []).append(case)


@pytest.mark.parametrize("file", [file for file in ODD if "/" not in file])
def test_odd_values_in_one_run_hide_nothing_of_the_other(tmp_path, file):
    first, second = made(tmp_path, "a"), made(tmp_path, "b", wd=.5)
    (second.path/"per_class.csv").write_text("iou\n0.5\n")
    (second.path/"per_image.csv").write_text("accuracy\n0.5\n")
    data = dict(name="toy", root="", origin="", layout="", opened=dict(source=""), problem_count=1,
                problems=[dict(message="")], files={}, fingerprint=dict(
                    splits=dict(train=1), sizes={}, mean=[], class_share={}, class_images={}, void_share=0,
                    duplicates=0, digest=""))
    write_json(second.path/"data.json", data)
    scores = json.loads((second.path/"scores.json").read_text())
    write_json(second.path/"scores.json", dict(scores, images=3, confusion=[[1]], files={},
                                               classes={"class 0": dict(iou=.5, pixels=1), **scores["classes"]}))
    environment = json.loads((second.path/"environment.json").read_text())
    write_json(second.path/"environment.json", dict(environment, threads=1, gpu="", device="cpu"))
    second.update(error="", lrs=[])
    for number, (_, key, name, text) in enumerate(ODD[file]):
        run = shutil.copytree(second.path, tmp_path/f"copy-{number}")
        odd_values.spoil(run, file, key, text)
        try:
            found = compare([first, run], resamples=50)
        except DataError as e:
            assert not missing(e, run), (key, name)
            continue
        page = found._repr_html_()
        assert "<script>alert(1)" not in page and str(tmp_path) not in page, (key, name)
        assert found.totals.loc["mean_iou", "a"] == .5 and found.classes.loc["sky", "a"] == pytest.approx(6/13)
        json.dumps(found.to_dict(), allow_nan=False)
        assert all(file in note for note in found.notes), (key, name, found.notes)
        assert "sky" in page and found.versus[0]["sentence"]


def test_what_cannot_be_read_is_said(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    (second.path/"environment.json").write_text('{"cores": "many"}')
    (second.path/"history.csv").write_text("stage\n")
    res = cli("compare", first.path, second.path, "--html", tmp_path/"c.html")
    page = (tmp_path/"c.html").read_text(encoding="utf-8")
    for text in page, res.stdout:
        assert not missing(" ".join(text.split()), "environment.json", "cores")
    assert res.exit_code == 0 and "history.csv" in page and "<h2>Classes</h2>" in page


def test_a_page_names_no_folder_and_no_machine(tmp_path, monkeypatch):
    home = tmp_path/"xhomex/jane"
    monkeypatch.setenv("HOME", str(home))
    runs = [made(home/"xfolderx"/name, "same", weights=f"{home}/xrunsx/{name}.pth") for name in ("one", "two")]
    for run, cpu in zip(runs, ("xcpux", "xcpuyx")):
        found = json.loads((run.path/"environment.json").read_text())
        write_json(run.path/"environment.json", dict(found, cpu=cpu, command=[f"{home}/xtoolx"]))
    (runs[1].path/"per_image_counts.csv").unlink()
    found = compare(runs)
    found.save_html(tmp_path/"c.html")
    said = re.compile("xhomex|xfolderx|xrunsx|xcpu|xtoolx|jane")
    for page in (tmp_path/"c.html").read_text(encoding="utf-8"), found._repr_html_():
        assert not said.findall(page) and not missing(page, "same (1)", "same (2)", "one.pth", "per_image_counts.csv")
    res = cli("compare", *(run.path for run in runs), "--html", tmp_path/"c.html", "--with-paths")
    assert res.exit_code == 0, res.output
    assert not missing((tmp_path/"c.html").read_text(encoding="utf-8"), str(runs[0].path), "xcpuyx")


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link"])
def test_nothing_is_written_through_a_name(tmp_path, kind):
    runs = [made(tmp_path, "a").path, made(tmp_path, "b").path]
    victim = tmp_path/"victim.txt"
    victim.write_text("precious")
    for option, name in ("--html", "c.html"), ("--plot", "c.png"):
        path = tmp_path/name
        os.link(victim, path) if kind == "hard link" else path.symlink_to(
            victim if kind == "link" else tmp_path/"nowhere.txt")
        res = cli("compare", *runs, option, path)
        assert res.exit_code == 2 and not missing(res.output, name)
    assert victim.read_text() == "precious" and not (tmp_path/"nowhere.txt").exists()


def test_names_like_formulas_are_matched_exactly(tmp_path):
    names = ("=1+1.png", "'=1+1.png", "NA")
    first, second = made(tmp_path, "a", images=names), made(tmp_path, "b", tp=(7, 5), images=names)
    for run in first, second:
        for file in "data.csv", "per_image_counts.csv":
            table = pd.read_csv(run.path/file, dtype=str, keep_default_na=False)
            write_table(run.path/file, table)
            assert "\n=" not in (run.path/file).read_text()
    assert image_counts(first)[0] == list(names) and versus(first, second)["images"] == 3


# A real training

def test_images_csv_adds_up_to_the_scores(trained, tmp_path):
    run, _ = trained
    table, scores = pd.read_csv(run.path/"per_image_counts.csv"), run.scores
    assert list(table.columns) == ["image", "id", "class", "tp", "fp", "fn"]
    matrix = np.array(scores["confusion"])
    sums = table.groupby("id")[["tp", "fp", "fn"]].sum().reindex(range(len(matrix)), fill_value=0)
    assert sums.tp.tolist() == matrix.diagonal().tolist()
    assert (sums.tp + sums.fn).tolist() == matrix.sum(1).tolist()
    assert (sums.tp + sums.fp).tolist() == matrix.sum(0).tolist()
    assert [run.classes.names[i] for i in table["id"]] == table["class"].tolist()
    assert (table[["tp", "fp", "fn"]].sum(axis=1) > 0).all()
    other = Run(shutil.copytree(run.path, tmp_path/"copy"))
    x, y = paired_counts(run, other)
    assert len(x) == scores["images"] and mean_ious(x, np.ones((1, len(x))))[0] == pytest.approx(scores["mean_iou"],
        abs=1e-12)
    assert versus(run, other)["difference"] == 0


# The command

def cli(*args): return CliRunner().invoke(app, list(map(str, args)), env={"COLUMNS": "100"})


def test_the_command(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "<b>$x_1$", tp=(7, 5), wd=.5)
    res = cli("compare", first.path, second.path, "--plot", tmp_path/"a.png", "--html", tmp_path/"a.html")
    assert res.exit_code == 0, res.output
    assert not is_crash(res.output) and "<script>" in res.stdout and max(map(len, res.stdout.splitlines())) <= 100
    html = (tmp_path/"a.html").read_text()
    assert "<script" not in html and "<b>" not in html and "&lt;b&gt;$x_1$" in html and "&lt;script&gt;" in html
    assert "http" not in html.replace("http-equiv", "").split("base64,")[0] and (tmp_path/"a.png").stat().st_size > 5000
    found = json.loads(cli("compare", first.path, second.path, "--json").stdout.splitlines()[-1])
    assert [run["status"] for run in found["runs"]] == ["done", "done"]
    assert found["differences"]["wd"] == {"a": "0.01", "<b>$x_1$": "0.5"}
    assert found["versus"][0]["significant"] is True and found["versus"][0]["sentence"] in " ".join(res.stdout.split())


@pytest.mark.parametrize("args, code, named", [(["a"], 2, []), (["b", "b"], 2, ["b"]),
                                               (["a", "nothing"], 1, ["nothing", "status.json"]), ([], 2, ["RUN..."]),
                                               (["a", "b", "--plot", "x.gif"], 2, ["--plot", "x.gif", ".png"]),
                                               (["a", "b", "--html", "x.txt"], 2, ["--html", "x.txt", ".html"]),
                                               (["a", "b", "--html", "no/x.html"], 2, ["--html", "no/x.html"])])
def test_mistakes(tmp_path, monkeypatch, args, code, named):
    made(tmp_path, "a"), made(tmp_path, "b")
    monkeypatch.chdir(tmp_path)
    res = cli("compare", *args)
    assert res.exit_code == code and not missing(res.output, *named) and not is_crash(res.output)
    assert 1 <= len(res.output.strip().splitlines()) <= 3


def test_five_runs(tmp_path):
    runs = [made(tmp_path, f"r{i}", tp=(6, i)).path for i in range(2, 7)]
    res = cli("compare", *runs)
    sentences = [pair["sentence"] for pair in compare(runs).versus]
    printed = " ".join(res.stdout.split())
    assert len(set(sentences)) == 4 and all(sentence in printed for sentence in sentences)
    assert res.exit_code == 0 and max(map(len, res.stdout.splitlines())) <= 100


def test_no_torch():
    import subprocess
    import sys
    code = ("import sys, segfast.report.compare, segfast.runs.clean; sys.exit(bool({'torch', 'fastai', "
            "'matplotlib.pyplot'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
