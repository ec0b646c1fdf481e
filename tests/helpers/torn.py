"""Kill a command at a chosen file operation, in the midst of a write if it is one, and tell whether files are whole."""
import builtins
import csv
import io
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

EVENTS = "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operations:
    """Counts the file operations of this process below a folder, and kills it at one of them.

    Counted before they happen: files that are opened for writing, writes, syncs, renames, deletions, new folders,
    links. A write, and a file of weights, is half done when the process dies.
    """
    def __init__(self, folder, die_at=None):
        self.folder, self.die_at, self.seen, self.pid = os.path.realpath(folder), die_at, [], os.getpid()

    def __call__(self, what, path="", half=None):
        if os.getpid() != self.pid: return
        self.seen.append(f"{what} {str(path).replace(self.folder, '.')}")
        if len(self.seen) != self.die_at: return
        if half: half()
        os.kill(self.pid, signal.SIGKILL)

    def inside(self, path):
        "Whether a path is below the folder that is watched."
        with suppress(TypeError, ValueError):
            return os.path.realpath(os.fsdecode(path)).startswith(self.folder)
        return False

    def watch(self):
        "Begin to count; for the rest of this process's life."
        def look(event, args):
            if event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & WRITES:
                if self.inside(args[0]): self("open", args[0])
            elif event in EVENTS and self.inside(args[1] if event == "os.rename" else args[0]):
                self(event, args[1] if event == "os.rename" else args[0])
        sys.addaudithook(look)
        self._watch_writes()
        self._watch_weights()
        return self

    def _watch_writes(self):
        real, sync, count = io.open, os.fsync, self

        class Torn(io.FileIO):
            def write(self, data):
                if count.inside(self.name) if not isinstance(self.name, int) else self.name > 2:
                    count("write", self.name, lambda: io.FileIO.write(self, bytes(data)[:len(data)//2]))
                return super().write(data)

        def open_torn(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True,
                      opener=None):
            if not set(mode) & set("wax+"):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = Torn(file, "".join(k for k in mode if k in "rwax+"), closefd, opener)
            if buffering == 0: return raw
            binary = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

        def fsync(fd):
            self("sync")
            return sync(fd)
        builtins.open = io.open = open_torn
        os.fsync = fsync

    def _watch_weights(self):
        for module in [module for name, module in sys.modules.items() if name.startswith("segfast.")]:
            real = getattr(module, "save_file", None)
            if real is None: continue

            def save_file(tensors, path, *args, real=real, **kwargs):
                def half():
                    real(tensors, path, *args, **kwargs)
                    os.truncate(path, os.path.getsize(path)//2)
                self("weights", path, half)
                return real(tensors, path, *args, **kwargs)
            module.save_file = save_file


def is_part(path):
    "Whether a file, or a folder above it, has the name of something that is not finished."
    return any(part.startswith(".") and (".part" in part or part.endswith(".old") or part.startswith(".repair-"))
               for part in Path(path).parts)


GROWING = "log.txt", "history.csv" # lines are added at the end: the last one may be cut short


def flaw(path):
    "Why a file is not whole; None if it is."
    path = Path(path)
    check = CHECKS.get(path.suffix)
    try: return check(path) if check else None
    except Exception as e: return f"{type(e).__name__}: {e}"


def _text(path):
    text = path.read_bytes().decode("utf-8")
    return None if text.endswith("\n") or path.name in GROWING else "does not end with a line end"


def _json(path):
    from segfast.core.files import read_json
    if isinstance(json.loads(path.read_text("utf-8")), dict): read_json(path) # compares its checksum, if it has one


def _toml(path):
    from segfast.core.files import parse_toml
    parse_toml(path.read_text("utf-8"))
    return _text(path)


def _csv(path):
    with open(path, newline="", encoding="utf-8") as file: rows = list(csv.reader(file))
    if path.name in GROWING: rows = rows[:-1]
    widths = {len(row) for row in rows}
    return f"rows of {sorted(widths)} cells" if len(widths) > 1 else _text(path)


def _tensors(path):
    from safetensors.torch import load_file
    load_file(path)


def _image(path):
    from PIL import Image
    with Image.open(path) as im: im.verify()
    with Image.open(path) as im: im.load()


def _array(path):
    import numpy as np
    np.load(path, allow_pickle=False)


def _html(path):
    return None if path.read_text("utf-8").rstrip().endswith("</html>") else "ends before </html>"


CHECKS = {".json": _json, ".toml": _toml, ".csv": _csv, ".safetensors": _tensors, ".png": _image, ".jpg": _image,
          ".npy": _array, ".html": _html, ".md": _text, ".txt": _text}


def torn_files(folder):
    "The files below a folder that are not whole, with the reason; those that are being written do not count."
    folder = Path(folder)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not is_part(file.relative_to(folder))]
    return [f"{file.relative_to(folder)}: {why}" for file in files if file.name != ".lock" and (why := flaw(file))]


def parts_in(folder):
    "What was left half done below a folder."
    folder = Path(folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if is_part(path.name))


def plain(name, raw):
    "The content of a file; the values beside the tensors of a .safetensors file, which has them in any order, sorted."
    if not name.endswith(".safetensors") or len(raw) < 8: return raw
    n = int.from_bytes(raw[:8], "little")
    try: return json.dumps(json.loads(raw[8:8 + n]), sort_keys=True).encode() + raw[8 + n:]
    except ValueError: return raw


def content(folder):
    "Relative path -> content of all files below a folder, those half done left out."
    folder = Path(folder)
    return {str(file.relative_to(folder)): plain(file.name, file.read_bytes()) for file in sorted(folder.rglob("*"))
            if file.is_file() and not is_part(file.relative_to(folder))}
