"""Kill commands at any moment: nothing is torn, and the next command comes to the same result.

    python tests/soaks/kills.py [--n 1000] [--seed 0] OUT.json

Trains, resumes, predicts, exports, fixes, cleans, reports and evaluates in forked processes. Two of three kills come at
a file operation that is drawn from all operations of the command (a write is then half done), the others at a random
time. After each kill every file that has its final name is whole, and is the old one or the new one; then the command
is given again (a training is resumed), some of these are killed too, and the result equals that of a command that was
left in peace, bit for bit. `--only N` repeats one trial. Ends with 1 where anything is wrong.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers

from helpers.soaking import soak


def make(folder, seed):
    "The trials."
    from helpers.kills import Kills
    from helpers.material import make_material
    return Kills(make_material(folder), seed)


if __name__ == "__main__":
    sys.exit(soak(__doc__, 1000, make, lambda found: found["kills"], "kills"))
