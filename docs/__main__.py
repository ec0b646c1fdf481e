"""`python docs` builds the documentation site in `_docs/site`; `python docs --serve` shows it on this computer."""
import argparse
import sys
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

warnings.filterwarnings("ignore", message="`torch.jit.script`")
from docsite.build import Faults, build

root = Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser(prog="python docs", description=__doc__)
parser.add_argument("--out", help="folder for pages and site; anything in it is deleted  [default: _docs]")
parser.add_argument("--generator", choices=("material", "zensical"), default="material")
parser.add_argument("--serve", action="store_true", help="then serve it on 127.0.0.1:8000")
args = parser.parse_args()
try:
    site, pages, _ = build(root, args.out, args.generator)
except Faults as e:
    sys.exit(str(e))
print(f"{site}: {pages} pages")
if args.serve:
    print("http://127.0.0.1:8000 (Ctrl-C ends it)")
    try:
        ThreadingHTTPServer(("127.0.0.1", 8000), partial(SimpleHTTPRequestHandler, directory=site)).serve_forever()
    except KeyboardInterrupt:
        pass
