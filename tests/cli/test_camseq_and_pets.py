"""The two exercises that became recipes, CamSeq with DeepLabV3 and Pets with a U-Net: one command each, on small
folders built in the real layout."""
import json

import numpy as np
import pytest
import torch
from helpers.refusals import refuses
from PIL import Image
from typer.testing import CliRunner

from segfast.cli import app
from segfast.data.open import open_data
from segfast.data.classes import ClassTable, find_void
from segfast.data.masks import colorize
from segfast.models.zoo import seg_model
from segfast.inference.score import score_split, predictions, probabilities
from segfast.report.plots import show_probabilities
from segfast.runs.run import Run
from segfast.data.demo import CODES, COLORS, scene


def command(*args):
    done = CliRunner().invoke(app, [*map(str, args), "--precision", "fp32", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    return Run(json.loads(done.stdout.splitlines()[-1])["run"])


def best_of(run):
    return seg_model(run.recipe.model, run.classes, str(run.checkpoint_file("best")), **run.recipe.model_options)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    "Fourteen frames: ten train, two validate, two are the test."
    root, table = tmp_path_factory.mktemp("camseq"), ClassTable(CODES, find_void(CODES), COLORS)
    for i in range(14):
        image, mask = scene(i, (32, 48))
        image.save(root/f"0016E5_{7959 + 2*i:05}.png")
        Image.fromarray(colorize(mask, table)).save(root/f"0016E5_{7959 + 2*i:05}_L.png")
    (root/"label_colors.txt").write_text("".join(f"{r} {g} {b}\t{n}\n"
                                                 for (r, g, b), n in zip(table.colors, table.names)))
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Twenty images with an oblong pet, a border around it; the last six are the test list."
    root = tmp_path_factory.mktemp("pets")
    (root/"images").mkdir(); (root/"annotations/trimaps").mkdir(parents=True)
    for i in range(20):
        pixels, trimap = np.array(scene(i, (48, 64))[0]), np.full((48, 64), 2, np.uint8)
        y, x = 8 + i % 4*3, 8 + i % 5*5
        trimap[y:y+22, x:x+26] = 3; trimap[y+2:y+20, x+2:x+24] = 1
        pixels[trimap == 1] = 210, 120, 40
        Image.fromarray(pixels).save(root/f"images/Bengal_{i}.jpg")
        Image.fromarray(trimap).save(root/f"annotations/trimaps/Bengal_{i}.png")
    for file, some in ("trainval", range(14)), ("test", range(14, 20)):
        (root/f"annotations/{file}.txt").write_text("".join(f"Bengal_{i} 1 1 1\n" for i in some))
    return root


@pytest.mark.slow
def test_the_film_in_one_command(film, tmp_path):
    run = command("train", film, "--model", "deeplabv3_resnet50", "--recipe", "camseq", "--size", "32x48", "--epochs",
                  2, "--weights", "none", "--out", tmp_path)
    history, data = run.history, open_data(film)
    assert np.allclose(history.lr, 2e-4) and run.recipe.stages[0].schedule == "step" # halved after four epochs
    assert run.status["best"]["epoch"] == history.epoch[history.valid_loss.idxmin()]
    assert run.scores["checkpoint"] == "best" and "Void" not in run.scores["classes"]
    assert (run.path/"plots/history.png").exists() and (run.path/"plots/samples/epoch-002.png").exists()
    model = best_of(run)
    exam = score_split(model, data, run.recipe.size, split="test")
    masks = [data.ids(item) for item in data.split("test")["mask"]]
    assert exam.matrix.sum() == sum((m != run.classes.void).sum() for m in masks)
    assert abs(score_split(model, data, run.recipe.size).accuracy - run.scores["accuracy"]) < 1e-3


@pytest.mark.slow
def test_the_photographs_in_one_command(photos, tmp_path):
    run = command("train", photos, "--model", "unet", "--recipe", "pets", "--size", "32x32", "--batch-size", 6, "--set",
                  "model_options.channels=[4,8]", "--set", "model_options.middle=16", "--out", tmp_path)
    n, best = len(run.history), run.status["best"]
    assert n == 30 or n == best["epoch"] + 3
    assert best["value"] == run.history.accuracy.max()
    assert sorted(path.name for path in (run.path/"plots").glob("samples/*")) == [f"epoch-{e:03}.png"
        for e in range(5, n + 1, 5)]
    assert abs(score_split(best_of(run), open_data(photos), run.recipe.size).accuracy - run.scores["accuracy"]) < 1e-3
    assert list(run.scores["classes"]) == ["pet", "background"]


def test_the_border_as_a_class(photos, tmp_path):
    run = command("train", photos, "--border", "class", "--model", "unet", "--recipe", "pets", "--size", "32x32",
                  "--epochs", 1, "--set", "model_options.channels=[4]", "--set", "model_options.middle=8", "--out",
                  tmp_path)
    assert list(run.scores["classes"]) == ["pet", "background", "border"]


@pytest.mark.parametrize("cache", [True, False])
def test_probabilities_are_the_prediction_before_the_vote(film, cache):
    data = open_data(film)
    model = seg_model("unet", data.classes, "none", channels=[4], middle=8)
    for row in (0, 13):
        vote, (_, pred, truth) = probabilities(model, data, (32, 32), row,
                                               cache), next(predictions(model, data, (32, 32), [row], cache=cache))
        assert vote.shape == (len(data.classes), *truth.shape) and not vote.requires_grad
        labels = torch.tensor(data.classes.labels) # void is never predicted
        assert abs(vote.sum(0) - 1).max() < 1e-5 and (labels[vote[labels].max(0).indices] == pred).all()


@pytest.mark.parametrize("n", [1, 2, 12, 32])
def test_an_image_for_every_class(n, tmp_path):
    table, image = ClassTable(tuple(f"${i}" for i in range(n)), 255), np.zeros((20, 30, 3), np.uint8)
    fig = show_probabilities(image, np.full((n, 20, 30), 1/n), table)
    fig.savefig(tmp_path/"f.png", dpi=30)
    shown = [ax for ax in fig.axes if ax.images]
    assert len(shown) == n + 1 and {ax.images[0].get_clim() for ax in shown[1:]} == {(0, 1)}
    # the image alone
    assert [ax for ax in show_probabilities(image, np.zeros((n, 20, 30)), table, []).axes if ax.images]


def test_probabilities_of_another_size_are_refused():
    table, image = ClassTable(("a", "b")), np.zeros((20, 30, 3), np.uint8)
    for shape in (2, 10, 15), (3, 20, 30), (2, 30, 20):
        with refuses(ValueError, shape, "(2, 20, 30)"): show_probabilities(image, np.zeros(shape), table)
    with refuses(ValueError, "[-1, 2]", 0, 1): show_probabilities(image, np.zeros((2, 20, 30)), table, [-1, 0, 2])
