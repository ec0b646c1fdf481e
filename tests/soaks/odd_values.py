"""Some 2,000 odd values in the files of a run, one by one: each gives a report, a comparison and a notebook card.

    python tests/soaks/odd_values.py [PATTERN]

PATTERN chooses cases by "file key name", such as "scores.json classes". Ends with 1 and names the cases in which
something else than a `DataError` or a `UsageError` was raised, HTML of the run came through, or a part was lost for a
reason that names no value. Warnings count as errors.
"""
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

for name in "OMP_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ.setdefault(name, "1")
os.environ["MPLBACKEND"] = "agg"
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1]/"report")]

from helpers.odd_values import cases, spoil
from test_html import made

import segfast.report.compare as comparing
import segfast.report.html as html
from segfast.core.errors import DataError, UsageError
from segfast.runs.run import Run

PLANNED = DataError, UsageError


def draw_once(holder, name, key):
    "Make a function that draws return the same drawing for the same values."
    draw, drawn = getattr(holder, name), {}

    def remembered(*args):
        k = key(*args)
        if k not in drawn:
            drawn[k] = draw(*args)
        return drawn[k]
    setattr(holder, name, remembered)


def report_flaw(path):
    "Write the report of a run; what is wrong with it, or None."
    try:
        page = html.write_report(path).read_text(encoding="utf-8")
    except PLANNED:
        return None
    if "<script>alert(1)" in page:
        return "HTML of the run came through"
    found = re.search(r"[^<>]*cannot be shown \(\w+: [^<>]*", page)
    return found and found[0]


def compare_flaw(path, other):
    "Compare a run with another; what is wrong with the result, or None."
    try:
        found = comparing.compare([path, other], resamples=100)
        found.to_dict(), repr(found)
        found.save_html(path.parent/"c.html")
        page = (path.parent/"c.html").read_text(encoding="utf-8")
    except PLANNED:
        return None
    return "HTML of the run came through" if "<script>alert(1)" in page else None


def card_flaw(path):
    "Show a run as a notebook does; what is wrong with the card, or None."
    try:
        card = Run(path)._repr_html_()
    except PLANNED:
        return None
    return "HTML of the run came through" if "<script>alert(1)" in card else None


def flaws_of(path, other):
    "What is wrong with a report, a comparison and a card of a run."
    for look, args in (report_flaw, [path]), (compare_flaw, [path, other]), (card_flaw, [path]):
        try:
            flaw = look(*args)
        except Exception:
            flaw = traceback.format_exc(limit=-4)
        if flaw:
            yield f"{look.__name__}: {flaw}"


def main(pattern=""):
    "Try all cases; the exit code."
    warnings.simplefilter("error")
    folder, bad, start = Path(tempfile.mkdtemp(prefix="soak-")), 0, time.time()
    run = made(folder/"whole", 4, (1, 1, 1), 4, (32, 48), data="street")
    (run.path/"data.csv").write_text("image,mask,split,image_sha256,mask_sha256\r\n" + "".join(
        f"images/{i}.png,m,valid,a,b\r\n" for i in range(4)))
    for name, column in ("per_class", "iou"), ("per_image", "accuracy"):
        (run.path/f"{name}.csv").write_text(f"{column}\r\n0.5\r\n")
    other = shutil.copytree(run.path, folder/"good")
    for name in "history_chart", "lr_chart", "class_bars":
        draw_once(html, name, lambda *args: repr([v.to_csv() if hasattr(v, "to_csv") else v for v in args]))
    draw_once(comparing.Comparison, "curves",
              lambda self, names: repr([html.read_history(run).to_csv() for run in self.runs]))
    chosen = [case for case in cases() if re.search(pattern, " ".join(map(str, case[:3])))]
    for i, (file, key, name, text) in enumerate(chosen, 1):
        copy = shutil.copytree(run.path, folder/"copy/made")
        spoil(copy, file, key, text)
        for flaw in flaws_of(copy, other):
            bad += 1
            print(f"{file} {key} {name}: {flaw}", flush=True)
        shutil.rmtree(folder/"copy")
        if i % 100 == 0:
            print(f"{i} of {len(chosen)}, {time.time() - start:.0f} s", flush=True)
    shutil.rmtree(folder)
    print(f"{len(chosen)} cases, {bad} failed, {time.time() - start:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
