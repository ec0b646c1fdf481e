"""A small sample of each soak, in one process that imports PyTorch once.

    python tests/helpers/sample.py FOLDER OUT.json

Only kills at counted operations, so that a slow machine has the same kills as a fast one.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.forking import load_library
from helpers.material import make_material

NUMBERS = dict(kills=10, flips=25, hostile=15)
# of the commands, those that are fast
READERS = {"runs", "clean one", "compare", "report", "predict", "export", "recipe", "pages"}


def main(folder, out):
    "Run the samples; what was wrong, by the name of the soak, into a file."
    load_library()
    m, found = make_material(folder), {}

    def sample(name, trials, **options):
        done = [trials.trial(i, **options) for i in range(NUMBERS[name])]
        found[name] = dict(n=len(done), wrong=[item for item in done if item["wrong"]])
    from helpers.flips import Flips
    from helpers.hostile import Attacks
    from helpers.kills import Export, Fix, Kills, Predict, Report, Resume, Train
    sample("kills", Kills(m, kinds=(Train, Resume, Predict, Export, Fix, Report), times=False))
    sample("flips", Flips(m))
    sample("hostile", Attacks(m), names=READERS)
    Path(out).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__": main(*sys.argv[1:])
