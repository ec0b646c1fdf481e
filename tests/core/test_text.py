"""Numbers, shares, durations, dates, sizes and counts as people read them; what does not exist is a dash."""
from datetime import datetime

import numpy as np
import pytest

from segfast.core.text import (DASH, a_few, compact_text, count_text, date_text, duration_text, is_missing,
                               number_text, percent_text, plural, scaled_text, shape_text, share_text, short_date_text,
                               significant_text, size_text, speed_text, time_text)

NOTHING = [None, float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")]


@pytest.mark.parametrize("x", NOTHING, ids=repr)
@pytest.mark.parametrize("text", [number_text, significant_text, speed_text, percent_text, time_text, duration_text,
                                  size_text, lambda x: scaled_text(x, "M"), lambda x: share_text(x, 10)])
def test_what_does_not_exist_is_a_dash(text, x):
    assert text(x) == DASH and is_missing(x)


@pytest.mark.parametrize("x", [0, 1, -2.5, np.float32(3), np.int64(4), "text", ""])
def test_what_exists_is_not_missing(x):
    assert not is_missing(x)


def test_number_text_takes_numbers_only():
    assert [number_text(x) for x in ("0.5", [0.5], {})] == [DASH]*3
    assert [number_text(x, 2) for x in (0.125, np.float32(0.5), np.int64(3), 1e6)] == ["0.12", "0.50", "3.00",
        "1000000.00"]


@pytest.mark.parametrize("x, text", [(0, "0"), (1, "1"), (0.01, "0.01"), (0.009, "9e-3"), (0.00025, "2.5e-4"),
                                     (-0.00025, "-2.5e-4"), (1e-10, "1e-10"), (12345.678, "1.235e+04")])
def test_compact_text(x, text):
    assert compact_text(x) == text


@pytest.mark.parametrize("x, text", [(99.94, "99.9"), (100, "100"), (213.7, "214"), (0, "0.0")])
def test_speed_text(x, text):
    assert speed_text(x) == text


@pytest.mark.parametrize("n, total, text", [(0, 5, "0.0%"), (1, 1001, "<0.1%"), (1, 1000, "0.1%"), (5, 5, "100.0%"),
                                            (5, 0, DASH)])
def test_share_text(n, total, text):
    assert share_text(n, total) == text


@pytest.mark.parametrize("seconds, clock, words",
                         [(0, "0:00", "0 s"), (59.4, "0:59", "59 s"), (59.6, "1:00", "1 min 0 s"),
                          (3599.6, "1:00:00", "1 h 0 min"), (90061, "25:01:01", "25 h 1 min")])
def test_durations(seconds, clock, words):
    assert (time_text(seconds), duration_text(seconds)) == (clock, words)


def test_dates():
    day = datetime(2026, 3, 1, 4, 5, 6).isoformat()
    assert date_text(day) == "1 March 2026, 04:05" and short_date_text(day) == "2026-03-01 04:05"
    assert date_text("soon\x1b") == "soon\x1b" and short_date_text("soon\x1b") == r"soon\x1b"
    assert date_text(None) == date_text("") == short_date_text(None) == DASH


@pytest.mark.parametrize("n, text", [(0, "0 MB"), (999_400_000, "999 MB"), (1e9, "1.0 GB"),
                                     (12_340_000_000, "12.3 GB")])
def test_size_text(n, text):
    assert size_text(n) == text


def test_counts():
    assert [count_text(n, "image") for n in (0, 1, 2, 1234)] == ["0 images", "1 image", "2 images", "1,234 images"]
    assert [plural(n, "class", "classes") for n in (0, 1, 2)] == ["classes", "class", "classes"]
    assert shape_text((96, 128)) == "96x128" and shape_text([1, 2], "×") == "1×2"


def test_a_few():
    assert a_few([]) == "" and a_few(["a"]) == "a" and a_few(list("abc"), 3) == "a, b, c" and a_few(list("abcd"),
        3) == "a, b, c and 1 more"
    assert a_few(["\x1b[2J"]) == r"\x1b[2J"
