"Scores of a run against scikit-learn and torchmetrics on the PNGs that `segfast predict` writes, read by Pillow alone."
import csv
import dataclasses
import errno
import json
import math
import os
import random
import re
import shutil
import signal
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.edits import save_classes
from helpers.tiny import make_tiny
import torch
from helpers.problems import is_crash, missing
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score
from typer.testing import CliRunner

from segfast.cli import app
from segfast.data.classes import ClassTable
from segfast.core.errors import DataError, UsageError
from segfast.core.files import read_json, read_table, write_json
from segfast.data.masks import INDEX
from segfast.inference.evaluate import evaluate, evaluation_path, save_evaluation, training_encoding
from segfast.inference.score import write_scores
from segfast.inference.sliding import InferenceOptions
from segfast.runs.run import Run, file_checksum


def cli(*args, code=0):
    res = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "100"})
    assert res.exit_code == code, (res.output, res.exception)
    return res


def no_number(name): raise AssertionError(f"{name} in JSON")


def evaluated(*args):
    "What `evaluate --json` says: the last line of stdout, without NaN."
    return json.loads(cli("evaluate", *args, "--json").stdout.splitlines()[-1], parse_constant=no_number)


def ids_of(path):
    with Image.open(path) as im:
        assert im.mode in ("P", "L")
        return np.asarray(im)


def names_of(folder): return (folder/"codes.txt").read_text().split()


def counted(truths, preds, n, void):
    "The counts of all labeled pixels, by scikit-learn."
    truth, pred = np.concatenate([truth.ravel() for truth in truths]), np.concatenate([pred.ravel() for pred in preds])
    kept = truth != void
    return confusion_matrix(truth[kept], pred[kept], labels=list(range(n)))


def held_out(folder):
    names = (folder/"valid.txt").read_text().split()
    return [folder/"images"/name for name in names], [folder/"labels"/f"{Path(name).stem}_P.png" for name in names]


# A run on its own images

WAYS = [[], ["--tta"], ["--tile", "32x48", "--overlap", "8"], ["--size", "64x80"], ["--precision", "bf16"],
        ["--batch-size", "1"]]


@pytest.mark.parametrize("options", WAYS)
def test_counts_are_those_of_the_pngs(tiny_run, demo_dir, tmp_path, options):
    images, masks = held_out(demo_dir)
    cli("predict", tiny_run.path, *images, "--out", tmp_path/"masks", *options)
    classes = tiny_run.classes
    truths, preds = [ids_of(mask) for mask in masks], [ids_of(tmp_path/"masks"/f"{image.stem}.png") for image in images]
    found = evaluated(tiny_run.path, "--out", tmp_path/"scores", *options)
    assert found["confusion"] == counted(truths, preds, len(classes), classes.void).tolist()
    assert found["images"] == len(images) and found["split"] == "valid"


def test_scores_are_those_of_scikit_learn_and_torchmetrics(tiny_run, demo_dir, tmp_path):
    from torchmetrics.classification import MulticlassCalibrationError
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index
    images, masks = held_out(demo_dir)
    cli("predict", tiny_run.path, *images, "--out", tmp_path/"masks")
    classes, found = tiny_run.classes, evaluated(tiny_run.path, "--out", tmp_path/"scores")
    truth = np.concatenate([ids_of(mask).ravel() for mask in masks])
    pred = np.concatenate([ids_of(tmp_path/"masks"/f"{image.stem}.png").ravel() for image in images])
    kept = truth != classes.void
    true, p = truth[kept], pred[kept]
    there = sorted(set(true.tolist()))
    for name, score, nothing in ("iou", jaccard_score, 0), ("dice", f1_score, 0), ("precision", precision_score,
        np.nan), ("recall", recall_score, 0):
        for i, want in zip(there, score(true, p, labels=there, average=None, zero_division=nothing)):
            have = found["classes"][classes.names[i]][name]
            assert have is None if math.isnan(want) else abs(have - want) < 1e-12, (name, i)
    assert found["accuracy"] == pytest.approx((true == p).mean(), abs=1e-12)
    for key, score in ("mean_iou", jaccard_score), ("mean_dice", f1_score), ("mean_accuracy", recall_score):
        assert found[key] == pytest.approx(score(true, p, labels=there, average="macro", zero_division=0), abs=1e-12)
    assert found["fw_iou"] == pytest.approx(np.average(jaccard_score(true, p, labels=there, average=None),
                                                       weights=np.bincount(true)[there]), abs=1e-12)
    pt, tt = torch.tensor(p).long(), torch.tensor(true).long()
    each = multiclass_jaccard_index(pt, tt, len(classes), average=None)
    assert found["mean_iou"] == pytest.approx(float(each[there].mean()), abs=1e-6)
    assert found["accuracy"] == pytest.approx(float(multiclass_accuracy(pt, tt, len(classes), average="micro")),
                                              abs=1e-6)
    probabilities = np.concatenate([tiny_run.predict(image, probabilities=True).probabilities.reshape(len(classes), -1)
                                    for image in images], 1)
    ece = MulticlassCalibrationError(len(classes), n_bins=15)
    ece.update(torch.tensor(probabilities.T[kept]), tt)
    assert found["ece"] == pytest.approx(float(ece.compute()), abs=1e-4)


def test_a_run_scores_as_its_training_did(tiny_run):
    found, known = evaluated(tiny_run.path), tiny_run.scores
    assert found["confusion"] == known["confusion"]
    for k in "accuracy", "mean_iou", "mean_dice", "mean_accuracy", "fw_iou", "images":
        assert found[k] == known[k], k
    for name, row in known["classes"].items():
        assert {k: found["classes"][name][k] for k in row} == row
    assert Path(found["out"]) == tiny_run.path/"evaluation"/"demo-valid"


def test_void_is_never_scored_as_a_prediction(tiny_run, tmp_path):
    "Of a model that gives void the largest logit everywhere; its scores are those of the next best class."
    shutil.copytree(tiny_run.path, tmp_path/"void run")
    run, state = Run(tmp_path/"void run"), load_file(tiny_run.weights_file)
    state["1.bias"][run.classes.void] += 1000
    with run.checkpoint("last") as part: save_file(state, part/"model.safetensors")
    found, want = (evaluate(path, screen="quiet") for path in (run.path, tiny_run.path))
    assert found.cm.matrix[:, run.classes.void].sum() == 0
    np.testing.assert_array_equal(found.cm.matrix, want.cm.matrix)
    assert found.scores["ece"] != want.scores["ece"]  # the confidence is that of the model


def test_what_is_written(tiny_run, demo_dir, tmp_path):
    res = cli("evaluate", tiny_run.path, "--split", "all", "--boundary", "--out", tmp_path/"out", "--json")
    found, classes = json.loads(res.stdout.splitlines()[-1]), tiny_run.classes
    saved = json.loads((tmp_path/"out/scores.json").read_text(), parse_constant=no_number)
    tables = "per_class.csv", "per_image.csv", "per_image_counts.csv"
    sums = {name: file_checksum(tmp_path/"out"/name) for name in tables}
    assert saved.pop("files") == sums and saved.pop("checksum")
    assert {**saved, "out": found["out"]} == found and found["images"] == 10 and 0 <= found["boundary_iou"] <= 1
    confusion = pd.read_csv(tmp_path/"out/confusion.csv", index_col=0)
    assert confusion.to_numpy().tolist() == found["confusion"] and confusion.index.tolist() == list(
        classes.names) == confusion.columns.tolist()
    cli("predict", tiny_run.path, demo_dir/"images", "--out", tmp_path/"masks")
    rows = pd.read_csv(tmp_path/"out/per_image.csv")
    assert rows.mean_iou.is_monotonic_increasing and len(rows) == 10
    for row in rows.itertuples():
        truth, pred = ids_of(demo_dir/"labels"/f"{Path(row.image).stem}_P.png"), ids_of(
            tmp_path/"masks"/f"{Path(row.image).stem}.png")
        true, p = truth[truth != classes.void], pred[truth != classes.void]
        assert row.accuracy == pytest.approx((true == p).mean())
        assert (row.pixels, row.wrong) == (len(true), (true != p).sum())
        assert row.mean_iou == pytest.approx(jaccard_score(true, p, labels=np.unique(true), average="macro"))
    worst = sorted((tmp_path/"out/worst").iterdir())
    assert len(worst) == 10 and [path.stem[3:] for path in worst] == [Path(image).stem for image in rows.image]
    with Image.open(worst[0]) as im:
        assert im.size == (4*64, 48)
    assert (tmp_path/"out/reliability.png").stat().st_size > 1000


@pytest.mark.parametrize("confident", [True, False])
def test_the_docstring_names_the_files(tiny_run, demo_dir, tmp_path, confident):
    "`save_evaluation` names exactly the files that it writes; those of the calibration only if it is known."
    found = evaluate(tiny_run.path, data=demo_dir, screen="quiet", worst=2, options=InferenceOptions(device="cpu"))
    if not confident:
        found.calibration = None
    folder = save_evaluation(found, tmp_path/"out")
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert sum(name.startswith("worst/") for name in written) == 2
    written = {"worst/NN-NAME.jpg" if re.fullmatch(r"worst/\d\d-.+\.jpg", name) else name for name in written}
    named = re.findall(r"`([\w/-]+\.[a-z]+)`", save_evaluation.__doc__)
    assert sorted(named) == sorted(set(named)), "each once"
    assert written == {name for name in named if confident or not name.startswith("reliability.")}


def test_classes_that_never_occur_are_null(tiny_run, demo_dir, tmp_path):
    names = names_of(demo_dir)
    found = evaluated(tiny_run.path, "--data", recoded(demo_dir, tmp_path/"plain",
                                                       {name: "Void" for name in names
                                                        if name not in ("Sky", "Road", "Void")}))
    for name, row in found["classes"].items():
        lost = name not in ("Sky", "Road")
        assert (row["iou"] is None, row["pixels"] == 0, "note" in row) == (lost,)*3, name
    assert found["mean_iou"] == pytest.approx(np.mean([found["classes"][name]["iou"] for name in ("Sky", "Road")]))


# Other data

def recoded(demo, folder, change=None, order=None, void_name="Void", valid=True):
    "A copy of a folder in CamVid's layout: classes renamed, in another order."
    shutil.copytree(demo, folder)
    names = names_of(demo)
    new = order or names
    lut = np.uint8([new.index((change or {}).get(name, name)) for name in names])
    for path in (folder/"labels").iterdir():
        Image.fromarray(lut[ids_of(path)]).save(path)
    (folder/"codes.txt").write_text("\n".join(new))
    if not valid:
        (folder/"valid.txt").unlink()
    return folder


@pytest.fixture
def base(tiny_run, demo_dir, tmp_path): return evaluated(tiny_run.path, "--data", demo_dir, "--out", tmp_path/"base")


def test_classes_in_another_order(tiny_run, demo_dir, tmp_path, base):
    found = evaluated(tiny_run.path, "--data", recoded(demo_dir, tmp_path/"turned", order=names_of(demo_dir)[::-1]),
                      "--out", tmp_path/"out")
    assert found["confusion"] == base["confusion"] and found["classes"] == base["classes"]


def test_fewer_classes(tiny_run, demo_dir, tmp_path, base):
    names, sky = names_of(demo_dir), tiny_run.classes.names.index("Sky")
    found = evaluated(tiny_run.path, "--data", recoded(demo_dir, tmp_path/"few", {"Sky": "Void"},
                                                       [name for name in names if name != "Sky"]), "--out",
                      tmp_path/"out")
    want = np.array(base["confusion"])
    want[sky] = 0
    assert found["confusion"] == want.tolist() and want.sum() < np.array(base["confusion"]).sum()


def test_unknown_classes(tiny_run, demo_dir, tmp_path):
    res = cli("evaluate", tiny_run.path, "--data", recoded(demo_dir, tmp_path/"new", {"Sky": "Dragon"},
                                                           [*names_of(demo_dir), "Dragon"]), code=1)
    assert not missing(res.output, "new", "Dragon", "Sky", "Building", "--classes")


def test_no_valid_list_means_all(tiny_run, demo_dir, tmp_path):
    found = evaluated(tiny_run.path, "--data", recoded(demo_dir, tmp_path/"all", valid=False), "--out", tmp_path/"out")
    asked = evaluated(tiny_run.path, "--data", demo_dir, "--split", "all", "--out", tmp_path/"out2")
    assert (found["split"], found["images"]) == ("all", 10) and found["confusion"] == asked["confusion"]


def as_index_folders(demo, folder, void):
    "images/ and masks/ of one stem, ids as pixels, void moved elsewhere; a class table beside them."
    (folder/"images").mkdir(parents=True)
    (folder/"masks").mkdir()
    names = names_of(demo)
    for path in (demo/"images").iterdir():
        shutil.copy(path, folder/"images")
        ids = ids_of(demo/"labels"/f"{path.stem}_P.png")
        Image.fromarray(np.where(ids == names.index("Void"), void, ids).astype(np.uint8)).save(
            folder/"masks"/f"{path.stem}.png")
    return folder


def test_masks_without_names_and_another_void(tiny_run, demo_dir, tmp_path):
    asked = evaluated(tiny_run.path, "--data", demo_dir, "--split", "all", "--out", tmp_path/"a")
    found = evaluated(tiny_run.path, "--data", as_index_folders(demo_dir, tmp_path/"void255", 255), "--out",
                      tmp_path/"b")
    assert found["confusion"] == asked["confusion"] and found["split"] == "all"


def test_masks_without_names_in_which_ids_are_missing(tiny_run, demo_dir, tmp_path):
    "The ids that are there must not be closed up: 0, 1, 3 are not the classes 0, 1, 2."
    names = names_of(demo_dir)
    few = recoded(demo_dir, tmp_path/"few", {name: "Void" for name in ("Sky", "Tree", "LaneMark", "Void")})
    asked = evaluated(tiny_run.path, "--data", few, "--split", "all", "--out", tmp_path/"a")
    found = evaluated(tiny_run.path, "--data", as_index_folders(few, tmp_path/"plain", 255), "--out", tmp_path/"b")
    assert found["confusion"] == asked["confusion"] and np.array(found["confusion"])[names.index("Road")].any()


def test_values_that_stand_for_nothing(tiny_run, demo_dir, tmp_path):
    folder = as_index_folders(demo_dir, tmp_path/"odd", 200)
    res = cli("evaluate", tiny_run.path, "--data", folder, code=1)
    assert not missing(res.output, "odd", 200, "codes.txt", "label_colors.txt")


def test_a_run_that_learned_from_values(tiny_run, demo_dir, tmp_path):
    "Trained on masks of 0, 40, 80, ... without names; scored on masks in which some of these are missing."
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    everything = as_index_folders(demo_dir, tmp_path/"everything", 255)
    for path in (everything/"masks").iterdir():
        ids = ids_of(path)
        Image.fromarray(np.where(ids == 255, 255, ids//3*40).astype(np.uint8)).save(path)
    recipe = Recipe([Stage("full", (32, 48), 1, lr=3e-2, batch_size=4, precision="fp32")], model="tiny", weights="none")
    run = train(str(everything), recipe, out=tmp_path/"runs", name="values", device="cpu", screen="quiet")
    few = shutil.copytree(everything, tmp_path/"few")
    for path in (few/"masks").iterdir():
        Image.fromarray(np.where(ids_of(path) == 40, 255, ids_of(path)).astype(np.uint8)).save(path)
    images = sorted((few/"images").iterdir())
    truths = [np.where(ids_of(few/"masks"/f"{image.stem}.png") == 255, 255, ids_of(few/"masks"/f"{image.stem}.png")//40)
              for image in images]
    mine = counted(truths, [run.predict(image).ids for image in images], len(run.classes), 255)
    assert len(run.classes) == 4 and evaluated(run.path, "--data", few, "--out",
                                               tmp_path/"out")["confusion"] == mine.tolist()


def test_masks_in_colors(tiny_run, demo_dir, tmp_path):
    "The layout in which CamVid is published: other colors and another order than in the training of the run."
    folder, names = tmp_path/"published", names_of(demo_dir)
    (folder/"701_StillsRaw_full").mkdir(parents=True)
    (folder/"LabeledApproved_full").mkdir()
    colors = np.random.default_rng(5).permutation(256**3)[:len(names)]
    colors = np.stack([colors & 255, colors >> 8 & 255, colors >> 16], 1).astype(np.uint8)
    for path in (demo_dir/"images").iterdir():
        shutil.copy(path, folder/"701_StillsRaw_full")
        Image.fromarray(colors[ids_of(demo_dir/"labels"/f"{path.stem}_P.png")]).save(
            folder/"LabeledApproved_full"/f"{path.stem}_L.png")
    rows = [f"{red} {green} {b}\t{n}" for (red, green, b), n in zip(colors.tolist(), names)]
    (folder/"label_colors.txt").write_text("\n".join(rows[::-1]) + "\n")
    asked = evaluated(tiny_run.path, "--data", demo_dir, "--split", "all", "--out", tmp_path/"a")
    found = evaluated(tiny_run.path, "--data", folder, "--split", "all", "--out", tmp_path/"b")
    assert found["confusion"] == asked["confusion"]


# Masks made elsewhere

@pytest.fixture
def masks(tiny_run, demo_dir, tmp_path):
    cli("predict", tiny_run.path, demo_dir/"images", "--out", tmp_path/"masks")
    return tmp_path/"masks"


def test_predictions_score_as_the_run_did(masks, demo_dir, tmp_path, base):
    found = evaluated("--predictions", masks, "--data", demo_dir, "--out", tmp_path/"out")
    assert found["confusion"] == base["confusion"] and found["classes"] == base["classes"] and found["ece"] is None
    written = sorted(path.name for path in (tmp_path/"out").iterdir())
    assert written == ["confusion.csv", "per_class.csv", "per_image.csv", "per_image_counts.csv", "scores.json",
                       "worst"]


@pytest.mark.parametrize("how", ["gray", "colors", "named as the masks"])
def test_predictions_of_other_kinds(masks, tiny_run, demo_dir, tmp_path, base, how):
    for path in list(masks.iterdir()):
        ids = ids_of(path)
        if how == "named as the masks":
            path.rename(masks/f"{path.stem}_P.png")
        else:
            from segfast.data.open import open_data
            colors = np.uint8(open_data(demo_dir).classes.colors)
            Image.fromarray(ids if how == "gray" else colors[ids]).save(path)
    assert evaluated("--predictions", masks, "--data", demo_dir, "--out",
                     tmp_path/"out")["confusion"] == base["confusion"]


def test_a_perfect_prediction(demo_dir, tmp_path):
    found = evaluated("--predictions", demo_dir/"labels", "--data", demo_dir, "--boundary", "--out", tmp_path/"out")
    assert found["accuracy"] == found["mean_iou"] == found["mean_dice"] == found["boundary_iou"] == 1


def spoilt(masks, name, how):
    ids = ids_of(masks/name).copy()
    if how == "gone":
        return (masks/name).unlink()
    if how == "size":
        ids = ids[:-1]
    if how == "id":
        ids[0, 0] = 200
    if how == "color":
        ids = np.full((*ids.shape, 3), 77, np.uint8)
    Image.fromarray(ids).save(masks/name)
    if how == "broken":
        (masks/name).write_bytes(b"no image")


@pytest.mark.parametrize("how,named", [("gone", [1, 2, ".png"]), ("size", ["47x64", "48x64"]), ("id", [200]),
                                       ("color", []), ("broken", [])])
def test_predictions_that_cannot_be_scored(masks, demo_dir, tmp_path, how, named):
    name = f"{held_out(demo_dir)[0][0].stem}.png"
    spoilt(masks, name, how)
    res = cli("evaluate", "--predictions", masks, "--data", demo_dir, "--out", tmp_path/"out", code=1)
    assert not missing(res.output, masks if how == "gone" else masks/name, Path(name).stem, *named)
    if how == "color":
        assert any(not missing(res.output, text) for text in ("77, 77, 77", 0x4d4d4d)), "as three numbers or as one"
    assert not is_crash(res.output) and not (tmp_path/"out").exists()


# The command line

BAD = [(["RUN", "--split", "bogus"], ["--split", "bogus", "valid", "test", "train", "all"], 2),
       ([], ["segfast evaluate RUN", "--predictions"], 2),
       (["RUN", "--predictions", "X", "--data", "X"], ["--predictions", "RUN"], 2),
       (["--predictions", "X"], ["--predictions", "--data DATA"], 2),
       (["RUN", "--layout", "camvid"], ["--layout", "--border", "--classes", "--data"], 2),
       (["RUN", "--precision", "int4"], ["int4", "auto", "fp32", "fp16", "bf16"], 2),
       (["RUN", "--tile", "64x64", "--overlap", "64"], ["--tile", "64x64", "--overlap", "64"], 2),
       (["RUN", "--split", "test"], ["test", "train", "valid"], 1), (["X"], ["nowhere", "status.json"], 1),
       (["RUN", "--data", "X"], ["nowhere"], 1)]


@pytest.mark.parametrize("args,named,code", BAD)
def test_mistakes(tiny_run, tmp_path, args, named, code):
    places = {"RUN": tiny_run.path, "X": tmp_path/"nowhere"}
    res = cli("evaluate", *(places.get(arg, arg) for arg in args), code=code)
    assert not missing(res.output, *named) and not is_crash(res.output) and len(res.output.strip().splitlines()) <= 6


def test_a_place_that_cannot_be_written(tiny_run, tmp_path):
    (tmp_path/"file").write_text("x")
    res = cli("evaluate", tiny_run.path, "--out", tmp_path/"file", code=1)
    assert not missing(res.output, tmp_path/"file", "--out") and (tmp_path/"file").read_text() == "x"


def test_text_for_people(tiny_run, tmp_path):
    res = cli("evaluate", tiny_run.path, "--boundary", "--out", tmp_path/"out")
    scores, worst = json.loads((tmp_path/"out/scores.json").read_text()), pd.read_csv(
        tmp_path/"out/per_image.csv").iloc[0]
    lines = res.stdout.splitlines()[-3:]
    assert not missing(lines[0], "valid", "demo", f"{scores['boundary_iou']:.3f}") and not missing(lines[1],
        worst.image, f"{worst.mean_iou:.3f}")
    assert lines[2].endswith(str(tmp_path/"out"))
    assert max(map(len, res.stdout.splitlines()[:-3])) <= 100


# Ensembles and fold sets

@pytest.fixture(scope="session")
def fold_set_once(tiny_run_once, demo_dir, tmp_path_factory):
    "Two folds of one epoch."
    from segfast.training.crossval import train_folds
    from segfast.models.zoo import MODELS
    from segfast.runs.recipe import Recipe, Stage
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", make_tiny)
        recipe = Recipe([Stage("full", (32, 48), 1, lr=3e-2, batch_size=4, precision="fp32")], model="tiny",
                        weights="none")
        return train_folds(str(demo_dir), recipe, 2, tmp_path_factory.mktemp("folds"), "folds", "cpu",
                           screen="quiet").path


def test_a_fold_set(tiny, fold_set_once, demo_dir, tmp_path):
    res = cli("evaluate", fold_set_once, "--json", "--out", tmp_path/"out")
    found, folds = json.loads(res.stdout.splitlines()[-1], parse_constant=no_number), [Run(fold_set_once/f"fold-{i}")
        for i in (1, 2)]
    for k in "accuracy", "mean_iou", "mean_dice":
        each = [fold.scores[k] for fold in folds]
        assert [row[k] for row in found["folds"]["each"]] == each
        assert found["folds"]["mean"][k] == pytest.approx(statistics.mean(each)) and found["folds"]["sd"][
            k] == pytest.approx(statistics.stdev(each))
    assert found["confusion"] == (np.array(folds[0].scores["confusion"])
                                  + np.array(folds[1].scores["confusion"])).tolist()
    assert found["images"] == 10 and found["ensemble"] is False
    assert "±" in cli("evaluate", fold_set_once, "--out", tmp_path/"out").stdout


def test_the_ensemble_of_a_fold_set(tiny, fold_set_once, demo_dir, tmp_path):
    other = recoded(demo_dir, tmp_path/"other", valid=False)
    found, folds = evaluated(fold_set_once, "--data", other, "--out", tmp_path/"out"), [Run(fold_set_once/f"fold-{i}")
        for i in (1, 2)]
    images = sorted((other/"images").iterdir())

    def ensemble(image): return np.mean([run.predict(image, probabilities=True).probabilities for run in folds], 0)
    preds = [ensemble(image).argmax(0) for image in images]
    mine = counted([ids_of(other/"labels"/f"{image.stem}_P.png") for image in images], preds, len(folds[0].classes),
                   folds[0].classes.void)
    assert np.abs(mine - np.array(found["confusion"])).sum() <= 4  # pixels where two classes are as likely
    assert found["ensemble"] is True and len(found["folds"]["each"]) == 2
    same = evaluated(folds[0].path, "--ensemble", folds[1].path, "--data", other, "--out", tmp_path/"out2")
    assert same["confusion"] == found["confusion"]


def test_void_outside_the_names(tmp_path, demo_dir, tiny_run):
    "A model of ten classes where the eleventh value, 255, is void: scored as the same run with that table is."
    shutil.copytree(tiny_run.path, tmp_path/"run")
    names = [name.replace("Void", "Other") for name in tiny_run.classes.names]
    save_classes(tmp_path/"run", ClassTable(names, void=255))
    folder = recoded(demo_dir, tmp_path/"data", {"Void": "Other"}, names)
    for path in (folder/"labels").iterdir():
        ids = ids_of(path).copy()
        ids[:4] = 255
        Image.fromarray(ids).save(path)
    (folder/"void.txt").write_text("255")
    found = evaluated(tmp_path/"run", "--data", as_plain(folder, tmp_path/"plain"), "--out", tmp_path/"out")
    images = sorted((folder/"images").iterdir())
    preds = [Run(tmp_path/"run").predict(image).ids for image in images]
    assert found["confusion"] == counted([ids_of(folder/"labels"/f"{image.stem}_P.png") for image in images], preds, 10,
                                         255).tolist()


def as_plain(camvid, folder):
    (folder/"images").mkdir(parents=True)
    (folder/"masks").mkdir()
    for path in (camvid/"images").iterdir():
        shutil.copy(path, folder/"images")
        shutil.copy(camvid/"labels"/f"{path.stem}_P.png", folder/"masks"/f"{path.stem}.png")
    shutil.copy(camvid/"codes.txt", folder)
    return folder


# Where it is saved

def content(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def found(tiny_run, demo_dir):
    return evaluate(tiny_run.path, data=demo_dir, screen="quiet", worst=2, options=InferenceOptions(device="cpu"))


def user_folder(kind, folder, tiny_run, demo_dir):
    "A place with files that are not an evaluation."
    if kind == "run": return shutil.copytree(tiny_run.path, folder)
    if kind == "dataset": return shutil.copytree(demo_dir, folder)
    folder.mkdir()
    if kind == "table": (folder/"per_class.csv").write_text("my table")
    if kind == "scores of a run":
        for name in "scores.json", "per_class.csv", "per_image.csv", "per_image_counts.csv":
            shutil.copy(tiny_run.path/name, folder)
    if kind == "part of a run": shutil.copytree(tiny_run.path/"plots", folder, dirs_exist_ok=True)
    if kind == "masks": shutil.copytree(demo_dir/"labels", folder, dirs_exist_ok=True)
    if kind == "hidden": (folder/".git").mkdir()
    return folder


PLACES = ["run", "dataset", "table", "scores of a run", "part of a run", "masks", "hidden"]


@pytest.mark.parametrize("kind", PLACES)
def test_no_other_folder_is_replaced(tiny_run, demo_dir, tmp_path, found, kind):
    folder = user_folder(kind, tmp_path/"place", tiny_run, demo_dir)
    before = content(folder)
    with pytest.raises(UsageError) as e: save_evaluation(found, folder)
    assert not missing(e, folder) and content(folder) == before and [p.name for p in tmp_path.iterdir()] == ["place"]
    if kind in ("run", "table"):
        res = cli("evaluate", tiny_run.path, "--out", folder, code=2)
        assert not missing(res.output, folder, "--out") and content(folder) == before


@pytest.mark.parametrize("spoil", ["a file of the user", "a link", "a link in worst", "a folder", "no scores",
                                   "broken scores"])
def test_an_evaluation_with_something_else_in_it(tmp_path, found, spoil):
    folder = save_evaluation(found, tmp_path/"out")
    (tmp_path/"private").mkdir()
    (tmp_path/"private/a.txt").write_text("private")
    if spoil == "a file of the user": (folder/"notes.txt").write_text("mine")
    elif spoil == "a link":
        (folder/"reliability.png").unlink()
        (folder/"reliability.png").symlink_to(tmp_path/"private/a.txt")
    elif spoil == "a link in worst": (folder/"worst/01-x.jpg").symlink_to(tmp_path/"private/a.txt")
    elif spoil == "a folder": (folder/"more").mkdir()
    elif spoil == "no scores": (folder/"scores.json").unlink()
    else: (folder/"scores.json").write_text("{")
    before = content(tmp_path)
    with pytest.raises(UsageError, match="not from segfast evaluate"): save_evaluation(found, folder)
    assert content(tmp_path) == before


def test_links_as_the_place(tmp_path, found):
    (tmp_path/"dangling").symlink_to(tmp_path/"nowhere")
    with pytest.raises(DataError, match="dangling"): save_evaluation(found, tmp_path/"dangling")
    assert not (tmp_path/"nowhere").exists()
    (tmp_path/"disk").mkdir()
    (tmp_path/"linked").symlink_to(tmp_path/"disk")
    for _ in range(2): save_evaluation(found, tmp_path/"linked")
    assert (tmp_path/"linked").is_symlink() and (tmp_path/"disk/scores.json").is_file()
    (tmp_path/"file").write_text("mine")
    for place in tmp_path/"file", tmp_path/"file/below":
        with pytest.raises(DataError) as e: save_evaluation(found, place)
        assert not missing(e, tmp_path/"file")
    assert (tmp_path/"file").read_text() == "mine"


def test_an_evaluation_is_replaced_as_a_whole(tmp_path, found):
    folder = save_evaluation(found, tmp_path/"out")
    assert len(list((folder/"worst").iterdir())) == 2 and (folder/"reliability.png").exists()
    found.calibration, found.worst = None, found.worst[:1]
    save_evaluation(found, folder)
    assert len(list((folder/"worst").iterdir())) == 1 and not (folder/"reliability.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_keeps_the_evaluation_before(tmp_path, found, monkeypatch):
    folder = save_evaluation(found, tmp_path/"out")
    before = content(folder)

    def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("segfast.inference.evaluate.write_scores", full)
    with pytest.raises(DataError) as e: save_evaluation(found, folder)
    assert not missing(e, folder, "No space left", "--out") and content(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_killed_while_an_evaluation_is_replaced(tmp_path, found):
    "The old one or the new one, never a part of each."
    found.calibration = None  # its figure takes most of the time
    other = dataclasses.replace(found, scores=dict(found.scores, accuracy=0.5), worst=found.worst[:1])
    want = [content(save_evaluation(one, tmp_path/name)) for one, name in ((found, "a"), (other, "b"))]
    folder, moments, kills = save_evaluation(found, tmp_path/"out"), random.Random(0), 0
    for _ in range(6):
        pid = os.fork()
        if not pid:
            try:
                for k in range(1000): save_evaluation((other, found)[k % 2], folder)
            finally: os._exit(1)
        time.sleep(moments.uniform(0.02, 0.2))
        os.kill(pid, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert content(folder) in want
    assert kills == 6
    parts = list(tmp_path.glob(".part-*"))
    for path in (file for part in parts for file in (*part.rglob("*"), part)): os.utime(path, (1, 1))
    save_evaluation(found, folder)
    assert content(folder) == want[0] and not list(tmp_path.glob(".part-*"))


NAMES = ["../../../outside", "/etc", "a/b", "..", "x"*300, "日本"*90, "a\nb\0c", ".part-0123456789abcdef", "", "=1+1",
         "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_dataset_stays_in_the_run(tmp_path, found, name):
    run = tmp_path/"runs/one"
    run.mkdir(parents=True)
    path = evaluation_path(run, dict(data=name, split="valid"))
    assert path.parent == run/"evaluation" and path.name not in ("", ".", "..") and not path.name.startswith(".")
    found.scores["data"] = name
    save_evaluation(found, path)
    assert path.is_dir() and [p.name for p in tmp_path.iterdir()] == ["runs"] and len(list(path.parent.iterdir())) == 1


def test_names_that_differ_have_folders_that_differ():
    names = ["a", "a/", "-a", "a-", "a\n", "a ", " a", "x"*300, "x"*301, *NAMES]
    paths = {evaluation_path("run", dict(data=name, split="valid")) for name in names}
    assert len(paths) == len(set(names))


def test_a_linked_folder_in_a_fold_set(tmp_path):
    (tmp_path/"set").mkdir()
    (tmp_path/"private").mkdir()
    (tmp_path/"set/evaluation").symlink_to(tmp_path/"private")
    with pytest.raises(DataError, match="evaluation"): evaluation_path(tmp_path/"set", dict(data="a", split="valid"))


@pytest.mark.parametrize("name", ["fold-3", "fold-2/log.txt", "export/MODEL_CARD.md"])
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_fold_set_with_a_link_is_refused(fold_set_once, demo_dir, tmp_path, name, command):
    folds = shutil.copytree(fold_set_once, tmp_path/"set")
    (folds/name).parent.mkdir(exist_ok=True)
    (folds/name).unlink(missing_ok=True)
    (folds/name).symlink_to(tmp_path/"nowhere")
    images = [demo_dir/"images"] if command == "predict" else []
    res = cli(command, folds, *images, "--out", tmp_path/"out", code=1)
    assert not missing(res.stderr, folds/name) and not (tmp_path/"out").exists() and not (tmp_path/"nowhere").exists()


def test_scores_of_names_that_a_spreadsheet_computes(tiny_run, demo_dir, tmp_path):
    "Every table shows them, computes none, and is read back exactly."
    names = ["=1+1.png", "'x.png", "-a.png", "@b.png", "+c.png", "'=d.png", "NA.png", "e\r=1.png", "f.png", "g.png"]
    folder = shutil.copytree(demo_dir, tmp_path/"data")
    for old, new in zip(sorted((folder/"images").iterdir()), names):
        (folder/"labels"/f"{old.stem}_P.png").rename(folder/"labels"/f"{Path(new).stem}_P.png")
        old.rename(folder/"images"/new)
    (folder/"valid.txt").unlink()
    run = Run(shutil.copytree(tiny_run.path, tmp_path/"run"))
    save_classes(run.path, ClassTable(["=cmd()", *run.classes.names[1:]], void=run.classes.void))
    (folder/"codes.txt").write_text("\n".join(run.classes.names))
    cli("evaluate", run.path, "--data", folder, "--out", tmp_path/"out")
    for name in "per_image.csv", "per_image_counts.csv", "per_class.csv", "confusion.csv":
        with open(tmp_path/"out"/name, newline="", encoding="utf-8") as f: rows = list(csv.reader(f))
        assert not any(cell.startswith(tuple("=+@\t\r-")) for row in rows for cell in row), name
    images = read_table(tmp_path/"out/per_image.csv").image
    assert sorted(image.removeprefix("images/") for image in images) == sorted(names)
    assert set(read_table(tmp_path/"out/per_image_counts.csv")["image"]) == set(images)
    assert read_table(tmp_path/"out/per_class.csv")["class"][0] == "=cmd()"
    table = read_table(tmp_path/"out/confusion.csv", ("truth", "=cmd()"))
    assert table.truth.tolist() == list(run.classes.names)


def test_images_at_the_top_of_the_data(tmp_path, found):
    "The names of images are cells of their own."
    names = {old: new for old, new in zip(found.images.image, ["=1+1.png", "'=1.png"])}
    images, counts = (table.assign(image=table.image.map(names)) for table in (found.images, found.counts))
    write_scores(tmp_path, found.scores, found.cm, images, counts)
    for name in "per_image.csv", "per_image_counts.csv":
        assert read_table(tmp_path/name).image.unique().tolist() == list(dict.fromkeys(
            (images if name == "per_image.csv" else counts).image))
        with open(tmp_path/name, newline="") as f: assert all(row[0][:2] in ("'=", "''", "im") for row in csv.reader(f))


def test_tables_that_were_changed_are_noticed(tmp_path, found):
    folder = save_evaluation(found, tmp_path/"out")
    for name in "per_class.csv", "per_image.csv", "per_image_counts.csv":
        assert len(read_table(folder/name))
        (folder/name).write_bytes((folder/name).read_bytes().replace(b"1", b"2", 1))
        with pytest.raises(DataError, match=name): read_table(folder/name)


ENCODINGS = [{}, {"kind": "secret"}, {"kind": "colors", "table": [[3, 1]]},
             {"kind": "values", "table": [[[1, 2, 3], 1]]},
             {"kind": "colors", "table": [[[1, 2], 1]]}, {"kind": "values", "table": [[3, 900]]}, {"kind": 5}, "index",
             {"kind": "values", "table": "x"}, {"kind": "values", "table": [[1, 2, 3]]},
             {"kind": "colors", "rest": "x"}]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_run_whose_encoding_is_odd(tiny_run, tmp_path, encoding):
    run = Run(shutil.copytree(tiny_run.path, tmp_path/"run"))
    write_json(run.path/"data.json", {**read_json(run.path/"data.json"), "encoding": encoding})
    if not encoding: assert training_encoding([run]) == INDEX
    else:
        with pytest.raises(DataError, match="data.json"): training_encoding([run])
