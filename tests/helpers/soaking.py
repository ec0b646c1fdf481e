"""What the long trials in tests/soaks share: options, a folder, the loop, the summary."""
import argparse
import collections
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path


def soak(doc, n, make, counted=lambda found: 1, what="trials"):
    """Run trials until `n` are counted. `make(folder, seed)` gives an object whose `trial(i)` returns a dict: `kind`,
    `wrong` (a list of texts, empty where all is well), and what else is worth keeping. The exit code is 1 where
    anything was wrong."""
    args = options(doc, n)
    from helpers.forking import load_library
    load_library()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began, trials, bad, kinds, done = time.perf_counter(), make(folder, args.seed), [], collections.Counter(), 0
    numbers = iter([args.only]) if args.only is not None else iter(range(args.first, sys.maxsize))
    took, told = collections.Counter(), began
    for i in numbers:
        start = time.perf_counter()
        found = trials.trial(i)
        took[found["kind"]] += time.perf_counter() - start
        if time.perf_counter() - told > 60:
            told = time.perf_counter()
            print(f"{done} {what}, {len(bad)} wrong, {told - began:.0f} s", file=sys.stderr, flush=True)
        done += counted(found)
        kinds[found["kind"]] += counted(found)
        if found["wrong"]:
            bad.append(found | dict(repeat=f"python {sys.argv[0]} --seed {args.seed} --only {i} OUT.json"))
            print(json.dumps(bad[-1], indent=1, default=str), flush=True)
        if args.only is None and done >= args.n: break
        if args.seconds and time.perf_counter() - began > args.seconds: break
    seconds = round(time.perf_counter() - began)
    args.out.write_text(json.dumps(dict(n=done, seed=args.seed, seconds=seconds, kinds=kinds,
                                        seconds_each={k: round(took[k]/max(kinds[k], 1), 2) for k in kinds},
                                        wrong=bad), indent=1,
                                   default=str) + "\n", encoding="utf-8")
    each = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    print(f"{done} {what} in {seconds} s ({each}): {f'{len(bad)} WRONG' if bad else 'nothing wrong'}")
    if args.keep: print(f"kept: {folder}")
    else: shutil.rmtree(folder, ignore_errors=True)
    return int(bool(bad))


def options(doc, n):
    "The options of a soak."
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, help="JSON file for the figures and for everything that went wrong")
    p.add_argument("--n", type=int, default=n)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--first", type=int, default=0, help="number of the first trial")
    p.add_argument("--only", type=int, help="repeat one trial")
    p.add_argument("--seconds", type=float, help="stop after so long")
    p.add_argument("--keep", action="store_true", help="leave the files of the last trial where they are")
    return p.parse_args()
