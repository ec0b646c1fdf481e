"""Cells that a spreadsheet would compute, and their way back."""
import io
import random

import pandas as pd
import pytest

from segfast.core.errors import csv_cell, from_csv_cell

NAMES = ["=1+1.png", "+1.png", "-a.png", "@SUM(A1).png", "\t=1.png", "\r=1.png", "\n=1.png", "＝1.png", "'x.png",
         "'=1.png", "''=1.png", "'", "''", "", "road", "a=1.png", " =1.png", "'-", "NA", "001"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_and_read_back(name):
    assert csv_cell(name)[:1] not in tuple("=+-@\t\r\n＝＋－＠") or not name
    assert from_csv_cell(csv_cell(name)) == name


def test_any_name_is_read_back():
    rng = random.Random(0)
    names = ["".join(rng.choices("'=+-@\t\r\nab,\"", k=rng.randint(0, 6))) for _ in range(5000)]
    cells = list(map(csv_cell, names))
    assert list(map(from_csv_cell, cells)) == names
    assert len(set(cells)) == len(set(names)), "two names never become one"
    table = pd.DataFrame(dict(image=cells, n=range(len(cells)))).to_csv(index=False, lineterminator="\r\n")
    read = pd.read_csv(io.BytesIO(table.encode()), dtype=str, keep_default_na=False)
    assert [from_csv_cell(cell) for cell in read.image] == names


def test_numbers_stay_numbers():
    assert (csv_cell(-1.5), from_csv_cell(-1.5), from_csv_cell("-1.5")) == (-1.5, -1.5, "-1.5")
