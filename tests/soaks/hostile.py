"""Give run folders of a stranger to every command: nothing outside is read or written, nothing hangs or crashes.

    python tests/soaks/hostile.py [--n 500] [--seed 0] OUT.json

Each hostile run is a finished or a killed one in which files and folders are replaced by links, pipes, sockets, hard
links, folders, huge or damaged files, or in which values, cells and names are odd; many have correct checksums. Every
command that takes a run gets it, in a forked process with limits of time and memory. Beside it lies a private folder:
it may not be opened (Linux's inotify tells), no file outside the run, the output and the cache may be written (an audit
hook tells), no output may hold the secret of the private files, and the intact run beside it stays listed. `--only N`
repeats one trial. Ends with 1 where anything is wrong.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers

from helpers.soaking import soak


def make(folder, seed):
    "The trials."
    from helpers.hostile import Attacks
    from helpers.material import make_material
    return Attacks(make_material(folder), seed)


if __name__ == "__main__":
    sys.exit(soak(__doc__, 500, make, what="hostile runs"))
