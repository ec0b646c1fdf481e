"What a person sees: fixed widths, names that are no markup, plain lines, the time left, a display that goes away."
import errno
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.problems import missing
from rich.console import Console

from segfast.core.errors import UsageError
from segfast.data.classes import ClassTable
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.presets import progressive
from segfast.report.console import (Lines, Plan, Quiet, Screen, TimeLeft, make_screen, open_console, run_table,
                                    score_table)
from segfast.core.text import time_text
from segfast.runs.recipe import lr_text
from segfast.core.errors import safe_text

NAN = float("nan")
EVIL = "[red]sky[/red]\x1b[31m\r\x9b2J\x07"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def recipe():
    return progressive((96, 128), (2, 2, 1))


def plan(names=("sky", "road", "void"), void=2, **kwargs):
    facts = [("data", "4 train, 2 valid"), ("run", "runs/a")]
    return Plan("Training on toy", facts, recipe(), classes=ClassTable(names, void), **kwargs)


def row(stage=1, epoch=1, **kwargs):
    scores = dict(train_loss=1.5, valid_loss=1.25, accuracy=0.8, mean_iou=0.5, mean_dice=0.6)
    return dict(stage=stage, name="half", epoch=epoch, epochs=2, size="48x64", lr=1e-3, **scores, seconds=10.,
                images_per_second=6.4) | kwargs


def scores(names, **kwargs):
    one = dict(iou=0.5, dice=0.6, precision=0.7, recall=0.8, pixels=100)
    return dict(accuracy=0.9, mean_iou=0.5, mean_dice=0.6, images=2, seconds=3.,
                classes={n: one for n in names}) | kwargs


def printed(view, width=100, **kwargs):
    console = Console(file=io.StringIO(), width=width, **kwargs)
    console.print(view)
    return console.file.getvalue()


def terminal(width=100, height=40, color="truecolor"):
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=color,
                   force_jupyter=False, legacy_windows=False, _environ={})


def drawn(screen):
    "The display as it stands, without colors."
    from segfast.report.console import ConsoleView
    size = screen.console.size
    console = Console(file=io.StringIO(), width=size.width, height=size.height, color_system=None)
    console.print(ConsoleView(lambda width, _: screen.draw(width, True)))
    return console.file.getvalue()


def train(screen, size=(24, 32)):
    "Every method, as a training calls them."
    p = plan()
    image, mask = np.full((*size, 3), 90, np.uint8), np.zeros(size, np.uint8)
    mask[:4] = 2
    for i in range(3):
        screen.work("decoding", i, 2)
    screen.plan(p)
    for i, stage in enumerate(p.recipe.stages):
        screen.stage(i, stage)
        screen.work("finding the rate", 0, 5)
        screen.work("finding the rate", 5, 5)
        for e in range(stage.epochs):
            screen.batch(1, 2, loss=0.5)
            screen.batch(1, 1, training=False)
            screen.sample(image=image, truth=mask, prediction=mask, classes=p.classes)
            screen.epoch(row(i+1, e+1, epochs=stage.epochs, accuracy=0.5 + 0.1*i + 0.01*e))
    screen.say(f"careful: {EVIL}")
    screen.done(50.)


# Text

@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (59.6, "1:00"), (127, "2:07"), (3599.7, "1:00:00"),
                                           (3727, "1:02:07"), (360000, "100:00:00"), (NAN, "–"), (None, "–"),
                                           (float("inf"), "–")])
def test_time_text(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize("lr, parts", [(1e-3, ["1e-03"]), (slice(7.5e-6, 7.5e-4), ["7.5e-06", "7.5e-04"]),
                                       ("find", ["find"])])
def test_lr_text(lr, parts):
    text = lr_text(Stage("a", (32, 32), 1, lr=lr))
    assert not missing(text, *parts) and text.startswith(parts[0]) and text.endswith(parts[-1])


def test_safe_leaves_no_control_character():
    assert not CONTROL.search(safe_text("".join(map(chr, range(256)))).replace("\n", ""))
    assert safe_text("Straße 道路") == "Straße 道路"


# Plan and tables

@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("make", [lambda: plan(memory=[1e8, 2e8, 3e9]),
                                  lambda: score_table(scores(["sky", "road"]), plan().classes),
                                  lambda: run_table([dict(name="2026-11-20-demo-brave-otter", data="demo",
    status="done", stages="3/3", accuracy=0.9, mean_iou=0.5, seconds=250, started="2026-11-20T09:12:04+00:00")])])
def test_no_line_is_wider_than_the_terminal(make, width):
    text = printed(make(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "…" not in text


def test_the_plan_says_what_each_stage_does():
    text = printed(plan(memory=[1e8, None, 3.21e9]))
    def rows(text): return [" ".join(line.split()) for line in text.splitlines() if re.match(r" +\d ", line)]
    wanted = (r"1 half-frozen 48x64 2 (\D+) 1e-03 auto auto 100 MB",
              r"2 half 48x64 2 (\D+) 2\.5e-06 \S+ 2\.5e-04 auto auto –",
              r"3 full 96x128 1 (\D+) 1e-06 \S+ 1e-04 auto auto 3\.2 GB")
    trained = [re.fullmatch(want, row)[1] for want, row in zip(wanted, rows(text), strict=True)]
    assert trained[0] != trained[1] == trained[2], "a frozen stage trains less"
    assert "data 4 train, 2 valid" in [" ".join(line.split()) for line in text.splitlines()]
    assert all(line.endswith("auto auto") for line in rows(printed(plan()))), "without a column of memory"


def test_names_are_text_and_never_markup_or_controls():
    names = [EVIL, "road"]
    evil = Plan(EVIL, [(EVIL, EVIL)], Recipe([Stage(EVIL, (48, 64), 1)]), classes=ClassTable(names))
    runs = run_table([dict(name=EVIL, data=EVIL, status=EVIL, stages=EVIL, accuracy=None, mean_iou=NAN, seconds=None,
                           started=None)])
    for view in evil, score_table(scores(names), evil.classes), runs:
        text = printed(view, 400)
        assert r"[red]sky" in text and not CONTROL.search(text)
    console = terminal(400)
    console.print(evil)
    assert r"\x1b[31m\r\x9b2J\x07" in console.file.getvalue() and not re.search(r"[\r\x07\x9b]|\x1b\[2J",
        console.file.getvalue())


def test_swatches_have_the_colors_of_the_classes():
    console = terminal()
    console.print(Plan("a", [], recipe(), classes=ClassTable(["sky", "road"], colors=[(1, 2, 3), (250, 251, 252)])))
    assert "38;2;1;2;3m" in console.file.getvalue() and "38;2;250;251;252m" in console.file.getvalue()


def test_an_ascii_console_gets_ascii():
    class Ascii(io.StringIO):
        encoding = "ascii"
    for view in plan(["Straße", "road"], None), score_table(scores(["sky"]), ClassTable(["sky"])):
        console = Console(file=Ascii(), width=100)
        console.print(view)
        assert console.file.getvalue().isascii()


def test_score_table_keeps_the_order_and_shows_absent_classes_as_a_dash():
    classes = ClassTable(["sky", "void", "road", "pole"], void=1)
    found = scores(["road", "sky"])
    found["classes"]["pole"] = dict.fromkeys(("iou", "dice", "precision", "recall")) | dict(pixels=0)
    lines = [" ".join(line.split()) for line in printed(score_table(found, classes)).splitlines()]
    assert [line.split()[0] for line in lines[2:5]] == ["sky", "road", "pole"]
    assert lines[2] == "sky 0.500 ━━━━━━ 0.600 0.700 0.800 50.0%"
    assert lines[4] == "pole – – – – 0.0%"
    assert re.findall(r"\d+(?:[.:]\d+)?", lines[-1]) == ["0.900", "0.500", "0.600", "2", "0:03"]


def test_score_table_without_any_pixel():
    absent = dict.fromkeys(("iou", "dice", "precision", "recall")) | dict(pixels=0)
    text = printed(score_table(scores([], accuracy=NAN, mean_iou=None, classes={"sky": absent}), ClassTable(["sky"])))
    assert text.splitlines()[-1].count("–") == 2 and "nan" not in text


def test_run_table_is_never_without_the_whole_name():
    name = "2026-11-20-a-data-set-with-a-long-name-brave-otter"
    row = dict(name=name, data="d", status="failed", stages="1/3", accuracy=None, mean_iou=None, seconds=None,
             started="2026-11-20T09:12:04+00:00")
    assert name in printed(run_table([row]), 80) and name in printed(run_table([row]), 200)
    assert len(printed(run_table([])).strip().splitlines()) == 1, "no table where there is no run"


# Time left

def test_time_left_weighs_epochs_by_pixels():
    eta = TimeLeft(Recipe([Stage("half", (48, 64), 2), Stage("full", (96, 128), 1)]))
    assert eta.left is None and eta.share == 0
    eta.end(1, 10.)
    assert eta.share == pytest.approx(1/6) and eta.left == pytest.approx(50)
    eta.end(2, 10.)
    eta.begin(1)
    assert eta.left == pytest.approx(40)
    eta.move(0.)
    assert eta.left == pytest.approx(40)
    eta.end(1, 25.)
    assert (eta.share, eta.left) == (1, 0)


def test_time_left_takes_the_speed_of_the_running_stage():
    now = [0.]
    eta = TimeLeft(Recipe([Stage("frozen", (48, 64), 1), Stage("free", (48, 64), 2)]), clock=lambda: now[0])
    eta.end(1, 10.)
    eta.begin(1)
    eta.move(0.01)
    assert eta.left == pytest.approx(19.9)  # nothing measured here yet: the stage before
    now[0] = 15.
    eta.move(0.51)
    assert eta.left == pytest.approx(30*1.49)  # half an epoch in 15 s


def test_time_left_forgives_a_slow_first_epoch_and_a_missing_time():
    eta = TimeLeft(Recipe([Stage("a", (48, 64), 5)]))
    for e, seconds in enumerate((60., 10., 10., NAN), 1):
        eta.end(e, seconds)
    assert eta.left == pytest.approx(10)


# The live screen

@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("height", [10, 24, 60])
@pytest.mark.parametrize("color", ["truecolor", "256", None])
def test_a_training_on_a_terminal(width, height, color):
    console = terminal(width, height, color)
    with Screen(console) as screen:
        train(screen)
    out = console.file.getvalue()
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # the cursor goes and comes back
    assert "careful: [red]sky" in out and "\x1b[31m\r" not in out and "\x07" not in out
    assert "▀" not in out if color is None or height == 10 else "▀" in out or height < 60
    final = drawn(screen).splitlines()
    assert max(map(len, final)) <= width and not any("…" in line for line in final)
    assert [re.search(r"\b0\.\d{3}\b", line)[0] for line in final if "✓" in line] == ["0.510", "0.610", "0.700"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_display_goes_away_when_the_training_fails(error):
    console, stdout, stderr = terminal(), sys.stdout, sys.stderr
    screen = Screen(console)
    with pytest.raises(error), screen:
        screen.plan(plan())
        screen.stage(0, screen.recipe.stages[0])
        raise error
    assert console.file.getvalue().endswith("\n\x1b[?25h") or console.file.getvalue().rstrip().endswith("\x1b[?25h")
    assert not screen.live.is_started and (sys.stdout, sys.stderr) == (stdout, stderr)
    title = next(line for line in drawn(screen).splitlines() if "Training on toy" in line)
    assert re.fullmatch(r" +Training on toy +\d:\d\d +\S.*", title), "after the time it says how it ended"


def test_what_goes_to_a_pipe_stays_on_stdout(capsys):
    with Screen(terminal()) as screen:
        screen.plan(plan())
        print('{"run": "a"}')
    assert capsys.readouterr().out == '{"run": "a"}\n'


def test_the_screen_while_it_trains():
    screen = Screen(terminal(100))
    with screen:
        screen.plan(plan())
        screen.stage(0, screen.recipe.stages[0])
        screen.epoch(row(1, 1, accuracy=0.9))
        screen.epoch(row(1, 2, accuracy=0.7))
        screen.stage(1, screen.recipe.stages[1])
        screen.batch(3, 8, loss=0.25)
        text = drawn(screen)
    assert re.search(r"✓ half-frozen .*\b2\b.*\b0\.700\b.*\b0:20$", text, re.M)
    assert re.search(r"▸ half .*\b1\b.*\b2\b", text) and re.search(r"· full .*\b1\b", text)
    assert re.search(r"\b3/8\b.*\b0\.250\b", text) and re.search(r"\b29%.*\b0:5\d\b", text)
    assert [line.split()[2:4] for line in text.splitlines() if "●" in line] == [["1", "48x64"]]


def test_the_best_epoch_stays_in_sight():
    screen = Screen(terminal())
    screen.started = 0.
    screen.recipe = Recipe([Stage("a", (48, 64), 30)])
    screen.stage(0, screen.recipe.stages[0])
    for e in range(30):
        screen.epoch(row(1, e+1, epochs=30, accuracy=NAN if e == 7 else 0.9 if e == 3 else 0.5))
    rows = [line for line in drawn(screen).splitlines() if "48x64" in line and "0.6" in line]
    assert len(rows) == 8 and "●" in rows[0] and rows[0].split()[2] == "4"


def test_nan_is_a_dash():
    screen = Screen(terminal())
    screen.started = 0.
    screen.epoch(row(**dict.fromkeys(("train_loss", "valid_loss", "accuracy", "mean_iou", "mean_dice",
                                      "images_per_second", "seconds"), NAN)))
    assert "nan" not in drawn(screen) and "–" in drawn(screen)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_name_of_a_preparation_is_not_cut(width):
    screen = Screen(terminal(width))
    screen.work("finding the rate", 30, 100)
    assert re.search(r"^  finding the rate  [━╸]+ +30/100", drawn(screen))


def test_evaluating_needs_no_plan():
    screen = Screen(terminal())
    with screen:
        screen.work("evaluating", 3, 10)
        assert "evaluating" in drawn(screen) and "3/10" in drawn(screen)
        screen.work("evaluating", 10, 10)
        assert "✓ evaluating" in drawn(screen)


def test_a_resumed_run_goes_on_where_its_repeated_rows_end():
    for screen in Screen(terminal()), Lines(io.StringIO()):
        screen.plan(plan())
        for past in row(1, 1), row(1, 2), row(2, 1):
            screen.epoch(past)
        screen.stage(1, screen.recipe.stages[1])
        assert screen.left.share == pytest.approx(3/8) and screen.left.left == pytest.approx(50)


def test_after_the_last_epoch_only_the_evaluation_is_shown():
    screen = Screen(terminal())
    with screen:
        screen.plan(plan())
        screen.stage(2, screen.recipe.stages[2])
        screen.epoch(row(3, 1))
        lines = [line for line in drawn(screen).splitlines() if line.strip()]
        at = next(i for i, line in enumerate(lines) if re.search(r"\b100%.*\b0:00\b", line))
        assert "✓ full" in lines[at - 1], "no bar of an epoch between the stages and the whole run"
        screen.work("evaluating", 1, 4)
        assert "1/4" in drawn(screen)


# Plain lines

def test_lines_are_plain_and_few():
    out = io.StringIO()
    with Lines(out) as screen:
        train(screen)
    text = out.getvalue()
    assert not CONTROL.search(text)
    lines = text.splitlines()
    assert sum("train_loss" in line for line in lines) == 5
    assert sum(line.startswith("decoding") for line in lines) == 2 and sum(line.startswith("finding the rate")
        for line in lines) == 6
    assert lines[0] == "decoding ..." and re.fullmatch(r"decoding: 2\b.* \d+\.\d s", lines[1])
    assert any(not missing(line, "1/3", "half-frozen", "48x64", 2, "1e-03") for line in lines)
    epoch = next(line for line in lines if "train_loss" in line)
    assert re.findall(r"\d\S*", epoch) == ["1/3", "1/2", "48x64", "1.0e-03", "1.5000", "1.2500", "0.5000", "0.5000",
                                           "0.6000", "10.0", "6.4", "1:10"]
    assert not missing(epoch, "train_loss 1.5000", "valid_loss 1.2500", "mean_iou 0.5000", "mean_dice 0.6000")
    assert lines[-2] == r"careful: [red]sky[/red]\x1b[31m\r\x9b2J\x07" and lines[-1].endswith(" 0:50")


def test_lines_show_nan_as_a_dash_and_survive_an_ascii_file():
    raw = io.BytesIO()
    screen = Lines(io.TextIOWrapper(raw, encoding="ascii"))
    screen.epoch(row(accuracy=NAN, mean_iou=NAN))
    assert rb"mean_iou \u2013  " in raw.getvalue() and raw.getvalue().count(rb"\u2013") == 2


def test_lines_are_flushed_one_by_one():
    class Slow(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1
    out = Slow()
    screen = Lines(out)
    screen.say("a")
    screen.say("b")
    assert out.flushed == 2


def test_quiet_says_nothing(capsys):
    with Quiet() as screen:
        train(screen)
    assert capsys.readouterr() == ("", "")


# Choosing

def test_make_screen(monkeypatch):
    assert [type(make_screen(kind)) for kind in ("live", "lines", "quiet")] == [Screen, Lines, Quiet]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(make_screen()) is Lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(make_screen()) is Screen
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_screen()) is Lines
    with pytest.raises(UsageError) as e:
        make_screen("lively")
    assert not missing(e, "'lively'", "'live'", "lines", "quiet")


def test_the_import_is_light():
    code = ("import sys, segfast.report.console; print([o for o in ('torch', 'fastai', 'pandas', "
            "'matplotlib') if o in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"


# Output that is lost

class Broken(io.StringIO):
    "A terminal or a pipe that vanishes after some writes."
    def __init__(self, error, after=0): super().__init__(); self.error, self.left = error, after
    def isatty(self): return True

    def write(self, text):
        self.left -= 1
        if self.left < 0: raise self.error
        return len(text)


ERRORS = dict(pipe=BrokenPipeError(errno.EPIPE, "Broken pipe"), disk=OSError(errno.ENOSPC, "No space left on device"),
              terminal=OSError(errno.EIO, "Input/output error"), closed=ValueError("I/O operation on closed file."))


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("kind", ["lines", "live"])
def test_a_training_survives_its_display(monkeypatch, kind, error, after):
    broken = Broken(error, after)
    monkeypatch.setattr(sys, "stderr", broken)
    with make_screen(kind) as screen: train(screen)
    assert broken.left < 0, "it was tried"


@pytest.mark.parametrize("kind", ["auto", "lines", "live", "quiet"])
def test_a_training_without_stderr(monkeypatch, kind):
    "Python has None for a stream that was closed before it started."
    monkeypatch.setattr(sys, "stderr", None)
    with make_screen(kind) as screen: train(screen)
    assert sys.stderr is None, "and it stays as it was"


@pytest.mark.parametrize("width", [0, 1, 2, 5, 19])
@pytest.mark.parametrize("height", [0, 1, 5])
def test_a_training_on_a_terminal_that_is_far_too_small(width, height):
    with Screen(terminal(width, height)) as screen: train(screen)
    assert len(screen.rows) == 5


@pytest.mark.parametrize("columns", ["0", "-1", "abc", "", "1", "19", "²", "1"*5000, "1e9", "4294967296"])
def test_a_width_that_is_not_sensible_is_not_used(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    console = open_console(io.StringIO(), piped=100)
    assert console.width == 100 and 0 < console.height < 1000
    monkeypatch.setenv("COLUMNS", "70")
    assert open_console(io.StringIO(), piped=100).width == 70


@pytest.mark.skipif(os.name == "nt", reason="Windows has no TERM")
def test_without_a_known_terminal_there_is_no_live_display(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken(None))
    monkeypatch.delenv("TERM", raising=False)
    assert type(make_screen()) is Lines
