"""Flip random bits in files of runs and caches: no difference without a word, no traceback.

    python tests/soaks/flips.py [--n 10000] [--seed 0] OUT.json

Each trial flips one bit of one file (all files have the same chance, so small ones are hit as well as large ones) of a
finished run, of a run that was killed, of the decoded images, of the database of checks, or of an unpacked archive. The
time of the file stays as it was. Then a command runs: it must end with an error that names the file, or say what is
damaged, or come to the same result bit for bit. `--only N` repeats one trial. Ends with 1 where anything is wrong.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers

from helpers.soaking import soak


def make(folder, seed):
    "The trials."
    from helpers.flips import Flips
    from helpers.material import make_material
    return Flips(make_material(folder), seed)


if __name__ == "__main__":
    sys.exit(soak(__doc__, 10000, make, what="flips"))
