"Figures in notebooks: the right colors, the same in every figure; plans, cards and tables whose contents are text."
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.data.block import DataBlock
from fastai.torch_core import TensorImage, TensorMask
from fastai.vision.data import ImageBlock, MaskBlock
from helpers import odd_values
from helpers.problems import missing
from PIL import Image

import segfast.report.notebook  # noqa: F401 (registers how batches are shown)
from segfast.data.loaders import seg_dls
from segfast.core.errors import safe_text
from segfast.data.classes import ClassTable
from segfast.metrics.confusion import ConfusionMatrix, per_class, style_classes
from segfast.training.learner import seg_learner
from segfast.runs.recipe import PLAN, Recipe, Stage, plan_rows
from segfast.runs.presets import progressive
from segfast.report.plots import WRONG, paint_mask, show_masks
from segfast.runs.run import Run
from segfast.report.notebook import as_arrays

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def dls(small): return seg_dls(small, (32, 48), bs=4, aug="none", device=torch.device("cpu"))


def figures():
    "Title and pixels of what was drawn, and the legend's names and colors."
    fig = plt.gcf()
    found = [(ax.get_title(), np.asarray(ax.images[0].get_array())) for ax in fig.axes if ax.images]
    legend = fig.legends[0]
    return found, {text.get_text(): tuple((np.array(p.get_facecolor()[:3])*255).round().astype(int))
                   for text, p in zip(legend.get_texts(), legend.get_patches())}


def test_a_batch_is_shown_in_the_colors_of_its_classes(dls, small):
    batch = dls.one_batch()
    dls.show_batch(batch, max_n=3)
    found, legend = figures()
    titles = [title for title, _ in found]
    assert len(found) == 6 and titles[:2] == titles[2:4] and len(set(titles[:2])) == 2 and all(titles[:4])
    palette = np.array(small.classes.colors, np.uint8)
    ids = batch[1].cpu().numpy()
    for i in range(3):
        expected = np.where((ids[i] == small.classes.void)[..., None], 0, palette[ids[i]])
        assert (found[2*i + 1][1] == expected).all()
    names = {small.classes.names[i] for i in np.unique(ids[:3]) if i != small.classes.void}
    assert set(legend) - {"void"} == names and all(legend[n] == small.classes.colors[small.classes.names.index(n)]
                                                   for n in names)


def test_images_are_those_of_the_files(dls, small):
    "Not normalized any more, and not stretched."
    from segfast.data.images import open_image
    dl = dls.valid
    dl.show_batch(max_n=1)
    shown = figures()[0][0][1]
    expected = open_image(small.path(small.split("valid").image[0]), (32, 48))
    assert shown.dtype == np.uint8 and np.abs(shown.astype(int) - expected).mean() < 6


def test_colors_do_not_depend_on_what_else_is_in_the_figure():
    table = ClassTable(["a", "b", "c", "void"], 3)
    alone, among = np.full((4, 4), 2), np.array([[0, 1, 2, 3]]*4)
    assert (paint_mask(alone, table)[0, 0] == paint_mask(among, table)[0, 2]).all() and tuple(paint_mask(among,
        table)[0, 2]) == table.colors[2]
    assert (paint_mask(among, table)[:, 3] == 0).all()


@pytest.mark.parametrize("void", [0, 1, 2, 255, None])
def test_void_is_black_wherever_it_stands_and_whatever_its_color(void):
    table = ClassTable(["a", "b", "c"], void, ((9, 9, 9), (10, 10, 10), (200, 0, 0)))
    mask = np.array([[0, 1, 2, 255 if void == 255 else 2]], np.uint8)
    out = paint_mask(mask, table)
    for i, v in enumerate(mask[0]):
        assert tuple(out[0, i]) == ((0, 0, 0) if v == void else table.colors[v])


def test_results_show_truth_prediction_and_what_is_wrong(dls, small, tiny):
    learn = seg_learner(dls, small.classes, tiny, weights="none")
    with learn.no_bar(), learn.no_logging():
        learn.show_results(max_n=2, shuffle=False)
    found, _ = figures()
    titles = [title for title, _ in found]
    assert len(found) == 8 and len(set(titles[:4])) == 4 and all(titles[:4])
    x, y = next(iter(dls.valid))
    with torch.no_grad():
        pred = learn.model(x).argmax(1).cpu().numpy()
    palette = np.array(small.classes.colors, np.uint8)
    assert (found[2][1] == np.where((pred[0] == small.classes.void)[..., None], 0, palette[pred[0]])).all()
    truth = y[0].cpu().numpy()
    wrong = (truth != pred[0]) & (truth != small.classes.void)
    assert ((found[3][1] == WRONG).all(-1) == wrong).all()


def test_the_figure_is_one_that_a_script_can_save(dls, tmp_path):
    dls.show_batch(max_n=2)
    plt.savefig(tmp_path/"batch.png", dpi=40)
    with Image.open(tmp_path/"batch.png") as im:
        assert im.width > 100
    assert len(plt.get_fignums()) == 1


def test_more_is_asked_for_than_there_is(dls):
    dls.show_batch(max_n=50)
    assert len(figures()[0]) == 8


@pytest.mark.slow
def test_the_order_of_imports_does_not_matter():
    "fastai registers its own way for masks in a module that may be imported later."
    code = """
import segfast.report.notebook, fastai.vision.all, torch, matplotlib.pyplot as plt
from fastai.data.core import show_batch, show_results
from fastai.torch_core import TensorImage, TensorMask
from fastcore.foundation import L
from segfast.data.masks import ClassTable
image, mask = TensorImage(torch.zeros(3, 8, 8)), TensorMask(torch.zeros(8, 8))
mask.classes = ClassTable(['a', 'b'])
show_batch(image[None], mask[None], L([(image, mask)]))
show_results(image[None], mask[None], L([(image, mask)]), L([(mask,)]))
print(*(len(plt.figure(i).legends) for i in plt.get_fignums()))
"""
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                         check=True).stdout.split()
    assert out == ["1", "1"]


def test_axes_of_ones_own_are_filled_as_fastai_does(dls):
    fig, axes = plt.subplots(1, 2)
    dls.show_batch(max_n=2, ctxs=list(axes))
    assert all(len(ax.images) == 2 for ax in axes) and not fig.legends


def test_masks_of_other_blocks_are_shown_as_fastai_shows_them(tmp_path):
    "Importing segfast.report.notebook must not change what others see."
    for i in range(4):
        Image.fromarray(np.full((16, 16, 3), 50*i, np.uint8)).save(tmp_path/f"{i}.png")
    block = DataBlock((ImageBlock, MaskBlock(["a", "b"])), get_items=lambda p: sorted(p.glob("*.png")),
                      get_y=lambda _: np.zeros((16, 16), np.uint8))
    dls = block.dataloaders(tmp_path, bs=2, device=torch.device("cpu"))
    dls.show_batch()
    assert not plt.gcf().legends and len(plt.gcf().axes[0].images) == 2


def test_results_of_other_blocks_too(small):
    image, mask = TensorImage(torch.zeros(3, 8, 8)), TensorMask(torch.zeros(8, 8))
    from fastai.data.core import show_results
    from fastcore.foundation import L
    show_results(image[None], mask[None], L([(image, mask)]), L([(mask,)]))
    assert plt.gcf()._suptitle.get_text() == "Target/Prediction"


def test_decoded_samples_become_arrays():
    whole, mask = torch.arange(48).reshape(3, 4, 4), torch.ones(4, 4)
    for image in (whole, whole.float()/255):
        pixels, ids = as_arrays((image, mask))
        assert pixels.dtype == ids.dtype == np.uint8
        assert np.abs(pixels.astype(int) - whole.permute(1, 2, 0).numpy()).max() <= 1


def test_a_mask_keeps_the_names_that_fastai_gives_it(dls, small):
    mask = dls.decode_batch(dls.one_batch())[0][1]
    assert tuple(mask.codes) == small.classes.names and mask.classes == small.classes


def test_names_in_a_legend_are_no_formulas():
    table = ClassTable(["$x$", EVIL, "木"], None)
    fig = show_masks([(np.zeros((4, 4, 3), np.uint8), np.array([[0, 1, 2, 0]]*4), None)], table)
    texts = fig.legends[0].get_texts()
    assert texts[0].get_text() == "$x$" and not texts[0].get_parse_math() and texts[1].get_text() == EVIL
    fig.canvas.draw()


# The plan

def test_a_plan_has_a_row_for_each_stage():
    recipe = Recipe([Stage("half", (48, 64), 3, frozen=True, lr=1e-3, batch_size=8, precision="fp16"),
                Stage("full", (96, 128), 5, lr=slice(1e-5, 1e-3))])
    one, two = plan_rows(recipe)
    assert (*one[:3], *one[4:]) == ("half", "48×64", "3", "1e-03", "8", "fp16") and (*two[:3], *two[5:]) == ("full",
        "96×128", "5", "auto", "auto")
    assert one[3] != two[3] and not missing(two[4], "1e-05", "1e-03")
    rows = re.findall(r"<tr>(.*?)</tr>", recipe._repr_html_())
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert [tuple(row[1:]) for row in cells] == [PLAN, *plan_rows(recipe)]
    lines = str(recipe).splitlines()
    assert len(lines) == 4 and lines[2].index("48×64") == lines[1].index(PLAN[1]) == lines[3].index("96×128")


def test_a_plan_is_text():
    recipe = replace(progressive((96, 128)), name=EVIL, model="a\x1b[31m", stages=[Stage(f"{EVIL}\n\x1b", (32, 48), 1)])
    assert "<script" not in recipe._repr_html_() and "\x1b" not in recipe._repr_html_() + str(recipe)
    assert str(recipe).count("\n") == 2


# Cards and tables

def test_a_run_shows_where_it_stands(tmp_path):
    run = Run.create(tmp_path, progressive((96, 128), (2, 3, 4)), ClassTable(["a", "b"]), dict(name="toy"),
                     name="<b>run")
    assert not missing(re.sub("<[^>]+>", " ", run._repr_html_()), "running", 0, 3)
    run.update(status="done", stages_done=3, accuracy=.91234, mean_iou=.5, seconds=12.3, error=EVIL)
    html = run._repr_html_()
    assert "0.9123" in html and "<b>run" not in html and "<script" not in html and html.count("<tr>") == 4
    for none in None, float("nan"):
        run.update(accuracy=none, mean_iou=none, seconds=None)
        assert "done" in run._repr_html_() and "nan" not in run._repr_html_()
    (run.path/"recipe.toml").write_text("future = 1\n")
    assert "future" in run._repr_html_()


DAMAGED = [case for case in odd_values.some_cases() if case[0] in ("status.json", "recipe.toml")]


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: "-".join(map(str, case[:3])))
def test_a_damaged_run_says_so(tmp_path, case):
    run = Run.create(tmp_path, progressive((96, 128)), ClassTable(["a", "b"]), dict(name="toy"), name="<b>run")
    run.update(seconds=1., error="no", lrs=[.1], stages_done=1, history=None)
    odd_values.spoil(run.path, *case[:2], case[3])
    html = run._repr_html_()
    assert "<script" not in html and "<b>run" not in html and "Traceback" not in html and repr(run).startswith("Run(")
    if "damaged" in html:
        assert case[0] in html


def test_a_table_of_classes():
    table = ClassTable(["road", EVIL, "never", "void"], 3)
    cm = ConfusionMatrix(table).update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 1, 0]]))
    df = per_class(cm)
    html = style_classes(df, table).to_html()
    assert "<script" not in html and safe_text(EVIL).replace("<", "&lt;").replace(">",
        "&gt;") in html and "nan" not in html
    rows = re.findall(r"<tr>.*?</tr>", html, re.S)[2:]
    assert len(rows) == 3 and rows[2].count("–") == df.loc["never"].isna().sum() > 0
    for row, rgb in zip(rows, table.colors):
        assert f"rgb{rgb}" in row
    widths = [float(width) for width in re.findall(r"#56b4e966 ([\d.]+)%, transparent", html)]
    assert widths == pytest.approx([100*df.iou.iloc[0], 100*df.iou.iloc[1]], abs=.06)
    assert html == style_classes(df, table).to_html() != style_classes(df*.5, table).to_html()
    assert df.iou.iloc[0] == pytest.approx(2/3)  # it is still the table that it was
