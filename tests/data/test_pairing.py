"""Walking folders and matching names, also where there are many."""
from helpers.layouts import draw_folders
import os

from helpers.work import growth

import segfast.data.autodetect as autodetect
from segfast.data.open import open_data
from segfast.data.pairing import find_affixes


def test_the_work_of_finding_affixes_grows_with_the_number_of_files():
    def names(n): return [str(i) for i in range(n)], [f"{i}_mask" for i in range(n)]
    assert find_affixes(*names(4000))[0] == 1.0
    assert growth(find_affixes, names) < 3


def test_unreadable_and_looping_folders(tmp_path):
    draw_folders(tmp_path)
    (tmp_path/"truth/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path/"photos/gone.png").symlink_to(tmp_path/"nowhere.png")
    os.mkfifo(tmp_path/"photos/pipe.png")
    assert len(open_data(tmp_path).pairs) == 5


def test_the_work_of_matching_folders_grows_with_the_number_of_files():
    def files(n):
        return [tuple(sorted(f"a/{name}.png" for i in range(n) for name in (f"images/{i}", f"masks/{i}_mask")))]
    assert autodetect.match_folders(*files(20_000))[:2] == ("images", "masks")
    assert growth(autodetect.match_folders, files) < 3
