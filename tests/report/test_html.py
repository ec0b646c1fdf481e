"The report in a real browser: what it shows, what it does, and that it asks for nothing."
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import odd_values
from helpers.problems import missing
from PIL import Image

from segfast.core.errors import DataError, UsageError
from segfast.report.examples import Confused, image_scores, keep_examples, pick_examples
from segfast.data.classes import ClassTable
from segfast.report.html import write_report
from segfast.runs.presets import progressive
from segfast.runs.run import Run
from segfast.core.files import write_json, write_table

EVIL = "<script>alert(1)</script>"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run")


def made(folder, n=12, epochs=(2, 2, 2), images=8, size=(60, 80), name="made", data="street", names=None, finder=True):
    "A run folder as a training leaves it, written by hand: its predictions are random."
    rng = np.random.default_rng(3)
    names = names or [f"class {i}" for i in range(n - 1)] + ["Void"]
    classes = ClassTable(names, void=n - 1)
    recipe = progressive(size, epochs=epochs, weights="none", model="fast")
    share = {k: 1/n for k in names[:-1]}
    facts = dict(name=data, root=f"/data/{data}", layout="camvid", origin="a test", opened=dict(source=f"/data/{data}"),
                 problem_count=1, problems=[dict(kind="warning", code="x", file=EVIL, message="is odd.", fix="")],
                 fingerprint=dict(digest="0"*64, images=40, splits=dict(train=32, valid=images), sizes={"60x80": 40},
                                  mean=[.5]*3, std=[.2]*3, class_share=share, class_images=dict.fromkeys(share, 3),
                                  void_share=0, duplicates=0))
    run = Run.create(folder, recipe, classes, facts, name, dict(device="cpu", threads=1))
    k = 0
    for stage, settings in enumerate(recipe.stages, 1):
        for epoch in range(1, settings.epochs + 1):
            k += 1
            h, w = settings.size
            run.append(dict(stage=stage, name=settings.name, epoch=epoch, size=f"{h}x{w}", lr=settings.lr,
                            train_loss=3/k, valid_loss=3.5/k, accuracy=.9 - .5/k, mean_iou=.6 - .5/k, mean_dice=.5,
                            seconds=2, images_per_second=50 + k))
    if finder:
        lrs = np.geomspace(1e-6, 1, 50)
        write_json(run.path/"plots/lr-1.json", dict(lrs=lrs, losses=2 - 1/(1 + 3e-4/lrs) + lrs, valley=2e-4,
                                                    steep=1e-4, min10=1e-3))
    total, rows, kept, confused = np.zeros((n, n), np.int64), [], [], Confused(classes)
    for i in range(images):
        truth = np.repeat(np.repeat(rng.integers(0, n, (6, 8)), 10, 0), 10, 1).astype(np.uint8)
        pred = np.where(rng.random(truth.shape) < .05*(i + 1), rng.integers(0, n - 1, truth.shape),
                        truth).astype(np.uint8)
        matrix = np.bincount((truth.astype(int)*n + pred).ravel(), minlength=n*n).reshape(n, n)
        matrix[n - 1] = 0
        confused(i, matrix)
        total += matrix
        tp, true, pred_pixels = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        rows += [(f"images/{i}.png", c, names[c], tp[c], pred_pixels[c] - tp[c], true[c] - tp[c])
                 for c in range(n) if true[c] + pred_pixels[c]]
        kept.append((rng.integers(0, 255, (*truth.shape, 3), np.uint8), truth, pred))
    counts = pd.DataFrame(rows, columns=["image", "id", "class", "tp", "fp", "fn"])
    counts.to_csv(run.path/"per_image_counts.csv", index=False)
    tp, true, pred = total.diagonal(), total.sum(1), total.sum(0)
    per = {names[c]: dict(iou=tp[c]/(true[c] + pred[c] - tp[c]) if true[c] else None, dice=None, precision=None,
                          recall=tp[c]/true[c] if true[c] else None, pixels=int(true[c])) for c in range(n - 1)}
    write_json(run.path/"scores.json", dict(accuracy=tp.sum()/true.sum(), mean_iou=.5, mean_dice=.6, mean_accuracy=.5,
                                            fw_iou=.5, classes=per, confusion=total.tolist(), images=images,
                                            split="valid", checkpoint="last"))
    ids = {i: f"images/{i}.png" for i in range(images)}
    picked = pick_examples(list(ids), list(ids.values()), image_scores(counts), confused.top())
    p = np.stack([(kept[0][2] == c)*1. for c in range(n)])
    keep_examples(run.path, classes, picked, ids, ((i, *kept[i]) for i in picked), (next(iter(picked)), p))
    run.update(status="done", accuracy=.5, mean_iou=.5, seconds=100., stages_done=3, lrs=[1e-3, 5e-4, 5e-4])
    return run


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    "A run whose data and first class are called like a script, and its report."
    run = made(tmp_path_factory.mktemp("runs"), data=EVIL,
               names=[EVIL, '"><img src=x onerror=alert(2)>', "it's $x$ & \x1b[31mred", "道路 🚗",
                      *(f"class {i}" for i in range(7)), "Void"])
    return run, write_report(run)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    "Debian's Chromium, without a window and without a network of its own."
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def opened(browser, path, width=1280, scheme="light", height=800):
    "The browser with a file open at a width, and its logs read up to here."
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 500))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                            dict(media="", features=[dict(name="prefers-color-scheme", value=scheme)]))
    browser.get("about:blank")
    for kind in "browser", "performance":
        browser.get_log(kind)
    browser.get(Path(path).resolve().as_uri())
    return browser


def requests(browser):
    "The addresses that were asked for."
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def css(browser, selector, what="all"):
    from selenium.webdriver.common.by import By
    return browser.find_elements(By.CSS_SELECTOR, selector) if what == "all" else browser.find_element(By.CSS_SELECTOR,
        selector)


def one(browser, selector): return css(browser, selector, "one")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_said_and_nothing_is_asked(browser, evil, width, scheme):
    page = opened(browser, evil[1], width, scheme)
    assert page.get_log("browser") == []
    asked = requests(page)
    assert [address for address in asked if not address.startswith("data:")] == [evil[1].resolve().as_uri()]
    assert any(address.startswith("data:image/") for address in asked) or css(page, "img")
    assert page.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("n", [2, 12, 32])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways(browser, tmp_path, n, width):
    names = ["a"*120] + [f"a class with a name {i}" for i in range(n - 2)] + ["Void"]
    page = opened(browser, write_report(made(tmp_path, n, names=names, data="d"*150)), width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.get_log("browser") == []
    texts = page.execute_script("return [...document.querySelectorAll('.matrix tbody tr')].map(r => r.cells.length)")
    assert len(texts) == n - 1 and set(texts) <= {n, 2}


def test_the_policy_stops_what_slips_through(browser, evil, tmp_path):
    "A negative control: the same page with a script and an image from elsewhere in it."
    text = evil[1].read_text(encoding="utf-8")
    bad = tmp_path/"bad.html"
    bad.write_text(text.replace("</main>", '<script>document.title = "taken"</script><img '
                                           'src="http://127.0.0.1:9/x.png" alt=""></main>'), encoding="utf-8")
    page = opened(browser, bad)
    assert page.title != "taken"
    said = [entry["message"] for entry in page.get_log("browser")]
    assert any("Content Security Policy" in entry for entry in said) and len(said) >= 2


def test_names_are_text(browser, evil):
    page = opened(browser, evil[1])
    assert EVIL in one(page, "h1").text and EVIL in page.title
    assert EVIL in [cell.text for cell in css(page, ".matrix tbody th")]
    assert page.execute_script("return document.scripts.length") == 1
    assert any(EVIL in item.text for item in css(page, ".problems li"))
    body = page.execute_script("return document.body.textContent")
    assert "$x$" in body and "道路 🚗" in body and "\x1b" not in body and "onerror=alert(2)" in body


def test_pointing_at_a_chart_shows_the_values_of_all(browser, evil):
    from selenium.webdriver import ActionChains
    page = opened(browser, evil[1])
    history = evil[0].history
    chart = one(page, ".curve svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart)
    xs = json.loads(one(page, ".curve").get_attribute("data-xs"))
    assert one(page, ".rule").value_of_css_property("visibility") == "hidden"
    for epoch in 2, 5:
        offset = xs[epoch - 1]/360*chart.size["width"] - chart.size["width"]/2
        ActionChains(page).move_to_element_with_offset(chart, round(offset), 5).perform()
        row = history.iloc[epoch - 1]
        values = [float(value.text) for value in css(page, ".keys b")]
        want = [row[c] for c in ("train_loss", "valid_loss", "accuracy", "mean_iou", "lr", "images_per_second")]
        assert values == pytest.approx(want, rel=1e-3)
        assert not missing(one(page, "#epoch-text").text, epoch, 6, row.stage, row["name"],
                           row["size"].replace("x", "×"))
        box = page.execute_script("const r = document.querySelector('.rule').getBoundingClientRect(), s = "
                                  "document.querySelector('.curve svg').getBoundingClientRect(); return (r.left + "
                                  "r.width/2 - s.left)/s.width")
        assert box == pytest.approx(xs[epoch - 1]/360, abs=.01)
    assert one(page, ".rule").value_of_css_property("visibility") == "visible"


def test_where_the_rule_stands_is_where_the_curve_is(browser, evil):
    "The dots that matplotlib drew lie at the places that the page uses."
    page = opened(browser, evil[1])
    dots = page.execute_script("""const chart = document.querySelector('.curve svg');
        const box = chart.getBoundingClientRect();
        const middle = use => { const dot = use.getBoundingClientRect(); return dot.left + dot.width/2 };
        return [...chart.querySelectorAll('use')].map(use => (middle(use) - box.left)/box.width*360)""")
    xs = json.loads(one(page, ".curve").get_attribute("data-xs"))
    near = [min(abs(dot - x) for dot in dots) for x in xs]
    assert max(near) < 1


def test_the_epoch_is_chosen_by_keyboard(browser, evil):
    from selenium.webdriver.common.keys import Keys
    page = opened(browser, evil[1])
    slider = one(page, "#epoch")
    assert "epoch" in slider.accessible_name.lower()
    slider.send_keys(Keys.HOME)
    assert not missing(one(page, "#epoch-text").text, 1, 6)
    slider.send_keys(Keys.ARROW_RIGHT)
    assert not missing(slider.get_attribute("aria-valuetext"), 2, 6, "1.75")


def test_truth_and_prediction_under_a_slider(browser, evil):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys
    page = opened(browser, evil[1])
    box = one(page, ".compare")
    slider = one(box, "input")
    assert re.search(r"images/\d\.png", slider.accessible_name)

    def cut():
        return float(re.search(r"([\d.]+)%\)?$", page.execute_script("return getComputedStyle(arguments[0]).clipPath",
            one(box, ".over")))[1])
    assert cut() == 50
    slider.send_keys(Keys.ARROW_RIGHT*5)
    assert cut() == 55
    slider.send_keys(Keys.END)
    assert cut() == 100
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
    ActionChains(page).move_to_element_with_offset(slider, -round(box.size["width"]/4), 0).click().perform()
    assert cut() == pytest.approx(25, abs=2)


def test_the_switch_and_the_setting(browser, evil):
    def ground(): return page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page = opened(browser, evil[1], scheme="light")
    light = ground()
    one(page, "#theme").click()
    dark = ground()
    assert light != dark and one(page, "#theme").get_attribute("aria-pressed") == "true"
    one(page, "#theme").click()
    assert ground() == light
    page = opened(browser, evil[1], scheme="dark")
    assert ground() == dark
    assert len({page.execute_script("return getComputedStyle(document.querySelector('.curve svg "
                                    "path[style*=accent]')).stroke"), None}) == 2


def test_the_recipe_can_be_copied(browser, evil):
    from segfast.runs.recipe import from_toml
    page = opened(browser, evil[1])
    page.execute_script("document.addEventListener('copy', e => { window.copied = getSelection().toString() }); "
                        "navigator.clipboard.writeText = t => { window.copied = t; return Promise.resolve() }")
    button = one(page, "button[data-copy=toml]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    before = button.text
    button.click()
    for _ in range(50):
        if button.text != before:
            break
        time.sleep(.05)
    assert button.text != before and from_toml(page.execute_script("return window.copied")) == evil[0].recipe


def test_it_can_be_read_without_seeing(browser, evil):
    page = opened(browser, evil[1])
    assert [image for image in css(page, "img") if not image.get_attribute("alt")] == []
    assert all(tag.accessible_name for kind in ("svg[role=img]", "input", "button", "nav", "[role=region]")
               for tag in css(page, kind) if tag.is_displayed())
    assert css(page, "table") and all(css(tag, "caption") for tag in css(page, "table"))
    assert all(cell.get_attribute("scope") in ("row", "col") for cell in css(page, "th"))
    levels = [int(heading.tag_name[1]) for heading in css(page, "h1,h2,h3,h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(levels, levels[1:], strict=False))
    from selenium.webdriver.common.keys import Keys
    one(page, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("href").endswith("#main") and page.switch_to.active_element.text
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "main"


def test_paper(browser, evil):
    page = opened(browser, evil[1], scheme="dark")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia",
                         dict(media="print", features=[dict(name="prefers-color-scheme", value="dark")]))
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
    assert not one(page, ".bar").is_displayed()
    assert not any(slider.is_displayed() for slider in css(page, ".compare input"))
    left, right = (image.rect for image in css(one(page, ".compare"), "img"))
    assert right["x"] >= left["x"] + left["width"] - 1 # side by side: paper has no slider
    assert page.execute_cdp_cmd("Page.printToPDF", {})["data"]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(media=""))


def test_without_a_script(browser, evil):
    page = browser
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", dict(value=True))
    try:
        opened(page, evil[1])
        assert one(page, "h1").is_displayed() and not one(page, "#theme").is_displayed() and one(page,
            ".keys b").text == "0.5"
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", dict(value=False))


def test_the_file_stays_small(tmp_path, evil):
    "Noise is what compresses worst, and 32 classes of it."
    def left_out(text): return re.search(r"<footer>[^<]*?(\d+) [^<\d]+ 5 MB", text)
    rng = np.random.default_rng(0)
    run = made(tmp_path, 32)
    folder = run.path/"report"
    change(folder/"examples.json", without_key="files")
    for path in folder.glob("*-image.jpg"):
        Image.fromarray(rng.integers(0, 255, (512, 512, 3), np.uint8)).save(path, quality=82)
    for path in folder.glob("*-*.png"):
        if "probability" not in path.name:
            Image.fromarray(rng.integers(0, 31, (512, 512), np.uint8)).save(path)
    path = write_report(run)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5_000_000 and int(left_out(text)[1]) > 0 and not left_out(
        evil[1].read_text(encoding="utf-8"))
    assert path.stat().st_size > 3_000_000


def change(path, without_key=None, **values):
    "Change values of a JSON file as somebody does who knows of its checksum."
    found = json.loads(path.read_text(encoding="utf-8")) | values
    for key in (without_key, "checksum"):
        found.pop(key, None)
    path.write_text(json.dumps(found), encoding="utf-8")


def banner(path): return re.search(r'class="banner"[^>]*><p>(.*?)</p>', Path(path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_finished(tmp_path, state):
    run = made(tmp_path/"a folder")
    for name in "scores.json", "per_image_counts.csv":
        (run.path/name).unlink()
    shutil.rmtree(run.path/"plots")
    shutil.rmtree(run.path/"report")
    run.update(status=state, error="RuntimeError: <b>no</b>" if state == "failed" else None)
    text = write_report(run).read_text(encoding="utf-8")
    assert banner(run.path/"report.html") and (state == "running" or state in banner(run.path/"report.html")[1].lower())
    assert "<b>no</b>" not in text and ("&lt;b&gt;no&lt;/b&gt;" in text) == (state == "failed")
    assert "segfast resume made<" in text and "a folder" not in text
    text = write_report(run, with_paths=True).read_text(encoding="utf-8")
    assert f"segfast resume &#39;{tmp_path}/a folder/made&#39;" in text
    assert 'id="training"' in text and 'id="classes"' not in text


def test_each_state_has_a_banner_of_its_own(tmp_path):
    run, said = made(tmp_path), []
    for state in "running", "interrupted", "failed":
        run.update(status=state)
        said.append(banner(write_report(run))[1])
    assert len(set(said)) == 3 and all(said)
    run.update(status="done")
    assert banner(write_report(run)) is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A finished run with all files, in a folder and for data that nobody else should learn of."
    folder = tmp_path_factory.mktemp("xprivatex")
    run = made(folder, 4, (1, 1, 1), 4, (32, 48), data="street")
    images = [f"images/{i}.png" for i in range(4)]
    tables = dict(data=dict(image=images, mask=images, split="valid"), per_class=dict(iou=[.5, .6]),
                  per_image=dict(image=images, accuracy=.5))
    for name, columns in tables.items():
        write_table(run.path/f"{name}.csv", pd.DataFrame(columns))
    return run


DRAWN = {}


@pytest.fixture
def drawn_once(monkeypatch):
    "Charts of the same values are drawn only once for all tests."
    import segfast.report.html as html
    for name in "history_chart", "lr_chart", "class_bars":
        def chart(*values, draw=getattr(html, name)):
            key = repr([v.to_csv() if hasattr(v, "to_csv") else v for v in values])
            if key not in DRAWN:
                DRAWN[key] = draw(*values)
            return DRAWN[key]
        monkeypatch.setattr(html, name, chart)


@pytest.fixture
def copy(whole, drawn_once, tmp_path):
    "A copy of a finished run."
    return Run(shutil.copytree(whole.path, tmp_path/"made"))


def problems(text):
    "What the page says cannot be shown, part by part."
    return [re.sub(r"\s+", " ", found) for found in re.findall(r'<p class="problem">(.*?)</p>', text, re.S)]


def page_of(run, **options): return write_report(run, **options).read_text(encoding="utf-8")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 60\n%%EndComments\nshowpage\n"
GIF = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
STRANGE = dict(ps=POSTSCRIPT, svg=b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert('xprivatex')</script></svg>",
               html=b"<html>xprivatex</html>", gif=GIF, empty=b"")
PLACES = [(kind, "ps", False) for kind in ("0-image.jpg", "0-truth.png", "0-prediction.png", "probability-*.png")] + [
    ("0-truth.png", content, False) for content in STRANGE] + [("0-image.jpg", "html", True)]


@pytest.mark.parametrize("kind, content, seal", PLACES)
def test_no_other_file_gets_into_the_page(copy, monkeypatch, kind, content, seal):
    "A run folder may come from anybody: PostScript must not reach the interpreter that Pillow would start for it."
    content = STRANGE[content]
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kw: pytest.fail("Ghostscript was started"))
    if not seal:
        change(copy.path/"report/examples.json", without_key="files")
    file = sorted((copy.path/"report").glob(f"*{kind}"))[0]
    file.write_bytes(content)
    text = page_of(copy)
    assert "xprivatex" not in text and (not content or base64.b64encode(content)[:40].decode() not in text)
    assert problems(text) and all(file.name in line for line in problems(text)), problems(text)
    assert 'id="training"' in text and 'id="confusion"' in text


@pytest.mark.parametrize("kind, code", [("0-image.jpg", "missing"), ("0-truth.png", "undecodable")])
def test_an_image_that_cannot_be_read_is_named(copy, kind, code):
    from segfast.report.examples import read_kept
    change(copy.path/"report/examples.json", without_key="files")
    path = sorted((copy.path/"report").glob(f"*{kind}"))[0]
    if code == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError) as e:
        read_kept(path)
    assert (e.value.problems[0].code, e.value.problems[0].file) == (code, str(path))
    assert not missing(" ".join(problems(page_of(copy))), path.name)


def test_metadata_of_an_image_stay_behind(copy):
    change(copy.path/"report/examples.json", without_key="files")
    for path in (copy.path/"report").glob("*-image.jpg"):
        with Image.open(path) as im:
            im.load()
            im.save(path, comment=b"xprivatex"*20, exif=b"Exif\0\0" + b"xprivatex"*20)
    text = page_of(copy)
    images = [base64.b64decode(found) for found in re.findall(r"base64,([\w+/=]+)", text)]
    assert len(images) > 5 and not problems(text) and not any(b"xprivatex" in image for image in images)


# --- links and names that lead out of the run

def secret(folder):
    "A private image of one color that occurs nowhere else."
    path = folder/"private.png"
    Image.new("RGB", (16, 16), (1, 2, 3)).save(path)
    return path


LINKED = ["report/00-image.jpg", "report/00-truth.png", "report/examples.json", "report/probability-0.png",
          "plots/lr-1.json", "plots/x.png", "scores.json", "data.json", "per_image_counts.csv", "recipe.toml", "report",
          "plots"]


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("name", LINKED)
def test_a_link_in_a_run_is_refused(copy, tmp_path, name, kind):
    "Also where the run was opened before, and nothing is written through the link."
    path, aim = copy.path/name, tmp_path/"aim"
    if path.is_dir():
        shutil.move(path, aim)
    else:
        shutil.copy(path, aim) if path.exists() else aim.write_text("private")
        path.unlink(missing_ok=True)
    before = {file: file.read_bytes() for file in [aim, *aim.rglob("*")] if file.is_file()} if kind == "link" else {}
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(aim if kind == "link" else tmp_path/"nowhere")
    for run in copy, copy.path:
        with pytest.raises(DataError) as e:
            write_report(run)
        assert not missing(e, path)
    assert {file: file.read_bytes() for file in before} == before and not (tmp_path/"nowhere").exists()


def example(copy, **values):
    "Change the first example, without the checksum."
    path = copy.path/"report/examples.json"
    examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
    change(path, without_key="files", examples=[{**examples[0], **values}, *examples[1:]])


NUMBERS = ["/etc/passwd", "../../private", "../private", 10**19, 1000, -1, 1.5, None, True, [0], {"a": 0}, "0", "00"]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_a_number_is_never_a_path(copy, tmp_path, number):
    for suffix in "-image.jpg", "-truth.png", "-prediction.png":
        Image.new("RGB", (16, 16), (1, 2, 3)).save(copy.path/f"private{suffix}")
        Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path/f"private{suffix}")
    example(copy, number=number)
    text = page_of(copy)
    assert any("report/examples.json: the value examples.1.number" in line for line in problems(text)), problems(text)
    assert 'id="training"' in text and "data:image/jpeg" not in text


@pytest.mark.parametrize("name", ["lr-../../x.json", "lr-<script>.json", "lr-99999999999999999999.json",
                                  "lr-0.json", "lr-.json"])
def test_other_files_of_learning_rates_are_not_read(copy, name):
    path = copy.path/"plots"/name.replace("/", "_")
    path.write_text("no JSON: xprivatex")
    text = page_of(copy)
    assert not problems(text) and "xprivatex" not in text and text.count("Stage 1</figcaption>") == 1


@pytest.mark.parametrize("place", ["out", "inside"])
@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link"])
def test_nothing_is_written_through_a_name(copy, tmp_path, place, kind):
    victim = tmp_path/"victim.txt"
    victim.write_text("precious")
    path = tmp_path/"out.html" if place == "out" else copy.path/"report.html"
    path.unlink(missing_ok=True)
    if kind == "hard link":
        os.link(victim, path)
    else:
        path.symlink_to(victim if kind == "link" else tmp_path/"nowhere.txt")
    try:
        write_report(copy, path if place == "out" else None)
    except (DataError, UsageError) as e:
        assert not missing(e, path) and (place == "out" or kind != "hard link")
    assert victim.read_text() == "precious" and not (tmp_path/"nowhere.txt").exists()
    assert not list(tmp_path.glob(".part-*")) + list(copy.path.glob(".part-*"))


# --- what a page may say

def test_a_page_names_no_folder_and_no_machine(tmp_path, monkeypatch):
    import platform
    home = tmp_path/"xhomex/jane"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(platform, "node", lambda: "xhostx")
    monkeypatch.setattr("sys.argv", ["/opt/xtoolx/segfast", "train", "/mnt/xdatax/street"])
    run = made(home/"xfolderx", 4, (1, 1, 1), 4, (32, 48))
    path = run.path/"data.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    told = [dict(kind="warning", code="x", file="a.png", fix="",
                 message=f"is in {home}/xdatax/a b.png and /mnt/xmntx/c.png.")]
    change(path, root=f"{home}/xdatax/my street",
           origin=f"archive {home}/xdatax/street.tgz, unpacked in /tmp/xcachex/street",
           opened=dict(data["opened"], source=f"{home}/xdatax/my street"), problems=told)
    change(run.path/"environment.json", cpu="xcpux", platform="Linux", hostname="xhostx")
    from dataclasses import replace
    run.save_recipe(replace(run.recipe, weights="xrunsx/first/model.safetensors",
                            model_options=dict(weights_file="/srv/xsrvx/m.pth")))
    error = (f"OSError: [Errno 2] No such file: '{home}/xdatax/my street/images/1.png' on xhostx "
             "(C:\\\\Users\\\\xjanex\\\\b.png, https://xkeyx@xwandbx.example/p/1, ~/xrelx/c.png, in xrunsx/made/plots)")
    run.update(status="failed", error=error)
    (run.path/"scores.json").write_text("broken")
    said = re.compile("x(home|host|tool|data|folder|mnt|cache|cpu|runs|srv|jane|key|wandb|rel)x|jane")
    text = write_report(run).read_text(encoding="utf-8")
    assert not said.findall(text) and "scores.json" in text and "images/1.png" in text and "model.safetensors" in text
    for line in re.findall(r"segfast (?:train|resume|report|predict|evaluate|export) [^<]*", text):
        assert "/" not in line.replace("made/recipe.toml", ""), line
    text = write_report(run, with_paths=True).read_text(encoding="utf-8")
    assert not missing(text, f"{home}/xdatax/my street", "xcpux", "/opt/xtoolx/segfast", f"{run.path}")


def test_the_command_line_chooses(copy):
    from typer.testing import CliRunner

    from segfast.cli import app
    for options, there in (([], False), (["--with-paths"], True)):
        res = CliRunner().invoke(app, ["report", str(copy.path), *options])
        assert res.exit_code == 0, res.output
        assert (str(copy.path) in (copy.path/"report.html").read_text(encoding="utf-8")) == there


def test_a_name_like_a_formula_is_matched_exactly(copy):
    from segfast.report.examples import read_examples
    from segfast.report.html import image_score, read_run
    rows = []
    for image, tp in ("=1+1.png", 1), ("'=1+1.png", 2), ("NA", 3):
        rows += [(image, 0, "class 0", tp, 1, 1)]
    (copy.path/"scores.json").unlink()
    columns = ["image", "id", "class", "tp", "fp", "fn"]
    write_table(copy.path/"per_image_counts.csv", pd.DataFrame(rows, columns=columns))
    found = read_run(copy)
    scores = [image_score(found, dict(image=image), "mean_iou") for image in ("=1+1.png", "'=1+1.png", "NA", "1+1.png")]
    assert scores == [1/3, 2/4, 3/5, None] and read_examples(copy.path)["examples"]


# --- values that nobody expects

SECTIONS = "data", "recipe", "environment", "next"
ALWAYS_SHOWN = "training", "classes", "confusion", "images", "probabilities"  # where the files are whole


@pytest.mark.parametrize("file, key, name, text", [*odd_values.some_cases()], ids=odd_values.case_id)
def test_odd_values_hide_no_other_part(copy, file, key, name, text):
    odd_values.spoil(copy.path, file, key, text)
    assert "<script>" not in copy._repr_html_()
    try:
        page = page_of(copy)
    except DataError as e:
        assert file == "status.json" and not missing(e, copy.path)
        return
    assert all(f'<h2 id="{part}"' in page for part in SECTIONS) and "<script>alert(1)" not in page
    listed = re.search(r"on this page\.</p><ul>(.*?)</ul>", page)
    told = problems(page) + re.findall(r"<li>(.*?)</li>", listed[1] if listed else "")
    assert all(re.search(rf"{re.escape(file)}|recipe\.toml|classes\.csv", line) for line in told), told
    if file not in ("status.json", "classes.csv", "recipe.toml"):
        assert len([line for line in told if not line.startswith(file)]) <= 4
        shown = [part for part in ALWAYS_SHOWN if f'<h2 id="{part}"' in page]
        assert len(shown) >= 3, shown


BOMBS = {
    "problems": ("data.json", dict(problems=[dict(kind="warning", message="odd")]*20_000, problem_count=20_000)),
    "packages": ("environment.json", dict(packages={f"package {i}": "1" for i in range(20_000)})),
    "classes": ("scores.json", dict(classes={f"class {i}": dict(iou=.5, pixels=1) for i in range(20_000)})),
    "sizes": ("data.json", dict(fingerprint=dict(sizes={f"{i}x1": 1 for i in range(20_000)},
                                                 splits={f"split {i}": 1 for i in range(20_000)}))),
    "reasons": ("report/examples.json", dict(examples=[dict(number=0, image="a", pixels=1, wrong=0,
                                                            why=[["worst", 0]]*20_000)]))}


@pytest.mark.parametrize("name", BOMBS)
def test_very_many_values_do_not_fill_the_page(copy, name):
    file, values = BOMBS[name]
    change(copy.path/file, **values)
    start = time.process_time()
    page = page_of(copy)
    assert len(page) < 500_000 and time.process_time() - start < 5 and 'id="training"' in page


def test_very_many_stages_and_epochs(copy):
    stages = "".join(f'[[stages]]\nname = "s{i}"\nsize = [32, 32]\nepochs = 1\n' for i in range(3_000))
    (copy.path/"recipe.toml").write_text('model = "fast"\n' + stages)
    head, *rows = (copy.path/"history.csv").read_text().strip().split("\n")
    (copy.path/"history.csv").write_text("\n".join([head, *rows*10_000]))
    change(copy.path/"status.json", without_key="history")
    page = page_of(copy)
    assert len(page) < 500_000 and not missing(page, "recipe.toml", "history.csv", "10,000")


def test_a_run_of_which_nothing_can_be_read(copy):
    for path in copy.path.rglob("*"):
        if path.is_file() and path.name != "status.json":
            path.write_bytes(b"\0\xff<script>alert(1)</script>")
    page = page_of(copy)
    assert "<script>alert(1)" not in page and all(f'<h2 id="{part}"' in page for part in SECTIONS)
    assert not missing(page, "recipe.toml", "classes.csv", "data.json", "environment.json", "history.csv",
                       "scores.json", "report/examples.json")
    (copy.path/"status.json").write_text("{")
    with pytest.raises(DataError) as e:
        write_report(copy.path)
    assert not missing(e, copy.path)


def test_the_matrix_is_that_of_scikit_learn(tmp_path):
    from sklearn.metrics import confusion_matrix

    from segfast.report.html import matrix_rows
    rng = np.random.default_rng(1)
    truth, pred = rng.integers(0, 4, 5000), rng.integers(0, 4, 5000)
    truth[truth == 3] = 0
    rows = matrix_rows(confusion_matrix(truth, pred, labels=range(4)), ClassTable("abcd"))
    want = confusion_matrix(truth, pred, labels=range(4), normalize="true")
    for true in range(3):
        assert [c[0] for c in rows[true][1]] == pytest.approx(want[true], abs=6e-4)
    assert rows[3] == ("d", None)


def test_images_are_ranked_as_torchmetrics_ranks_them():
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex
    rng = np.random.default_rng(2)
    rows, want = [], {}
    for i in range(6):
        truth = rng.integers(0, 3, (20, 20))
        pred = np.where(rng.random(truth.shape) < .15*i, rng.integers(0, 3, truth.shape), truth)
        iou = MulticlassJaccardIndex(3, average="none")(torch.tensor(pred), torch.tensor(truth))
        want[str(i)] = float(iou.mean())
        rows += [(str(i), c, ((truth == c) & (pred == c)).sum(), ((truth != c) & (pred == c)).sum(),
                  ((truth == c) & (pred != c)).sum()) for c in range(3)]
    scores = image_scores(pd.DataFrame(rows, columns=["image", "id", "tp", "fp", "fn"]))
    assert scores.mean_iou.to_dict() == pytest.approx(want)
    assert list(scores.index) == sorted(want, key=want.get)


def test_a_training_ends_with_a_report(small, tiny, tmp_path):
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    run = train(small, Recipe([Stage("only", (32, 48), 1, lr="find", batch_size=4, precision="fp32")], model=tiny,
                              weights="none"), out=tmp_path, name="r", device="cpu", screen="quiet")
    text = (run.path/"report.html").read_text(encoding="utf-8")
    assert f"{100*run.scores['mean_iou']:.1f}%" in text and 'id="lr-1-title"' in text and "segfast report" not in (
        run.path/"log.txt").read_text()
    ids = np.unique(np.asarray(Image.open(run.path/"report/00-prediction.png")))
    assert set(ids.tolist()) <= set(range(len(small.classes)))
    before = (run.path/"report.html").stat().st_mtime_ns
    assert write_report(run.path).stat().st_mtime_ns > before


def test_a_report_that_fails_does_not_fail_the_training(small, tiny, tmp_path, monkeypatch, capsys):
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train

    def broken(run): raise ZeroDivisionError("no \x1b[31m report")
    monkeypatch.setattr("segfast.training.train.write_report", broken)
    run = train(small, Recipe([Stage("only", (32, 48), 1, batch_size=4, precision="fp32")], model=tiny, weights="none"),
                out=tmp_path, name="r", device="cpu", screen="lines")
    said = capsys.readouterr()
    for text in (run.path/"log.txt").read_text(), said.out + said.err:
        assert "\x1b" not in text and not missing(text, "ZeroDivisionError", f"segfast report {run.path}")
    assert run.state == "done" and not (run.path/"report.html").exists()


def test_an_interrupted_training_has_a_report(small, tiny, tmp_path, monkeypatch):
    import segfast.training.train as train_module
    from segfast.runs.recipe import Recipe, Stage
    def interrupt(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(train_module, "score_split", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_module.train(small, Recipe([Stage("only", (32, 48), 1, batch_size=4, precision="fp32")], model=tiny,
                                         weights="none"), out=tmp_path, name="r", device="cpu", screen="quiet")
    assert Run(tmp_path/"r").status["status"] == "interrupted" and "interrupted" in banner(tmp_path/"r/report.html")[
        1].lower()


def test_it_is_light():
    code = ("import sys, segfast.report.html; print([o for o in ('torch', 'fastai', 'matplotlib', "
            "'jinja2') if o in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_no_part_of_a_file_is_ever_seen(evil, tmp_path, monkeypatch):
    "Atomic: when writing fails, the old report is still whole, and nothing else is left."
    run, path = evil
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError) as e:
        write_report(run)
    assert not missing(e, path, "No space left on device")
    assert path.read_bytes() == old and not list(run.path.glob(".report*"))


def test_what_cannot_be_read_is_said_at_the_terminal_too(tmp_path, caplog):
    run = made(tmp_path, 4, (1, 1, 1), 4, (32, 48))
    write_report(run)
    assert not caplog.records
    (run.path/"scores.json").write_text("broken")
    write_report(run)
    assert len(caplog.records) == 1 and "scores.json" in caplog.text and str(run.path) in caplog.text
