"""Print the notebooks in groups for nbdev-test, folder by folder: one regular expression for --path-re per line."""
import math
import re
import subprocess
from itertools import groupby
from pathlib import Path, PurePosixPath

# Notebooks per group: a process that trained keeps its memory, and all in one are too much for a small machine.
LARGEST = 8


def find_notebooks(root):
    """The notebooks that git has or would add, from the root, without those that nbdev leaves out: names with _ or .
    first."""
    command = ["git", "ls-files", "-coz", "--exclude-standard", "--", "nbs/*.ipynb"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout.decode().split("\0")
    paths = {PurePosixPath(name) for name in listed if name and (root/name).is_file()}
    return sorted(p for p in paths if not any(part.startswith((".", "_")) for part in p.parts))


def group_notebooks(paths):
    "Groups of one folder each, in the order of the names, of at most `LARGEST` and as even as can be."
    groups = []
    for _, members in groupby(sorted(paths, key=lambda p: (p.parent, p.name)), key=lambda p: p.parent):
        members = list(members)
        n = math.ceil(len(members)/LARGEST)
        cuts = [round(i*len(members)/n) for i in range(n + 1)]
        groups += [members[start:end] for start, end in zip(cuts, cuts[1:])]
    return groups


def pattern(group):
    "What nbdev-test's --path-re takes to find these notebooks and no others."
    names = "|".join(re.escape(p.stem) for p in group)
    return f"/{re.escape(group[0].parent.as_posix())}/({names})\\.ipynb$"


if __name__ == "__main__":
    for group in group_notebooks(find_notebooks(Path(__file__).resolve().parents[1])):
        print(pattern(group))
