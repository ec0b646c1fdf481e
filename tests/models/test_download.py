"Downloads from a server of our own: right, wrong, broken off, not there; nothing of a failed one is ever trusted."
import errno
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from helpers.problems import missing
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.data.open import open_data
from segfast.models.weights import download_weights

# urllib leaves the socket to the garbage collector when nobody listens
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning")


class Server(ThreadingHTTPServer):
    """Serves `files` by path, each as (bytes, how): whole, or `half` of what it promises, or half and then nothing.

    It remembers what was asked.
    """
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.halfway, self.release = {}, [], Event(), Event()

    def url(self, name): return f"http://127.0.0.1:{self.server_port}/{name}"
    def handle_error(self, *args): pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Range"]))
        if self.path.strip("/") not in self.server.files: return self.send_error(404)
        content, how = self.server.files[self.path.strip("/")]
        self.send_response(200)
        if how != "unmeasured": self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if how == "whole" else content[:len(content)//2])
        if how == "stuck":
            self.wfile.flush()
            self.server.halfway.set()
            self.server.release.wait(60)

    def log_message(self, *args): pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def closed():
    "The address of a port at which nobody listens."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


# --- weights ---

def published(shape=(64, 64)):
    "The bytes of a state dict, and the name under which it is published."
    out = io.BytesIO()
    torch.save({"w": torch.ones(shape)}, out)
    return out.getvalue(), f"net-{hashlib.sha256(out.getvalue()).hexdigest()[:8]}.pth"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    "An empty cache of torch hub's."
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"torch"))
    return tmp_path/"torch/hub/checkpoints"


def refused(url, hub):
    with pytest.raises(DataError) as e: download_weights(url)
    lines = str(e.value).splitlines()
    assert len(lines) == 3
    for word in url, str(hub/url.rsplit("/", 1)[1]), "--weights none": assert word in str(e.value)


def test_weights_arrive_once(server, hub, capsys):
    content, name = published()
    server.files[name] = content, "whole"
    for _ in range(2): assert download_weights(server.url(name))["w"].sum() == 64*64
    assert server.asked == [(f"/{name}", None)]
    assert [file.name for file in hub.iterdir()] == [name]
    assert capsys.readouterr().out == "", "stdout is for results"


@pytest.mark.parametrize("how", ["half", "unmeasured"])
def test_weights_broken_off(server, hub, how):
    content, name = published()
    server.files[name] = content, how
    refused(server.url(name), hub)
    assert list(hub.iterdir()) == []
    server.files[name] = content, "whole"
    assert "w" in download_weights(server.url(name))
    assert [r for _, r in server.asked] == [None, None], "the second download began anew"


def test_weights_of_another_hash(server, hub):
    (content, name), (other, _) = published(), published((3, 3))
    server.files[name] = other, "whole"
    refused(server.url(name), hub)
    assert list(hub.iterdir()) == []
    server.files[name] = content, "whole"
    assert "w" in download_weights(server.url(name))


def test_weights_not_there(server, hub, closed):
    content, name = published()
    refused(server.url(name), hub)
    refused(f"{closed}/{name}", hub)
    assert list(hub.iterdir()) == []
    server.files[name] = content, "whole"
    assert "w" in download_weights(server.url(name))


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_weights_put_there_by_hand_are_not_trusted_blindly(server, hub, cut):
    "The message says where a file fetched elsewhere belongs; a broken one there is named, and never used."
    content, name = published()
    hub.mkdir(parents=True)
    (hub/name).write_bytes(content[:cut])
    with pytest.raises(DataError) as e: download_weights(server.url(name))
    assert not missing(e, hub/name, hashlib.sha256(content[:cut]).hexdigest()[:8], "--weights none")
    assert server.asked == [] and server.url(name) not in str(e.value), "nothing was downloaded"


def test_other_weights_put_there_by_hand(server, hub):
    (_, name), (other, _) = published(), published((3, 3))
    hub.mkdir(parents=True)
    (hub/name).write_bytes(other)
    with pytest.raises(DataError, match=name): download_weights(server.url(name))


def test_weights_at_the_command_line(server, hub, demo_dir, monkeypatch, tmp_path):
    _, name = published()
    street = shutil.copytree(demo_dir, tmp_path/"street")
    monkeypatch.setattr("segfast.models.zoo.download_weights", lambda url=None: download_weights(server.url(name)))
    res = CliRunner().invoke(app, ["train", str(street), "--size", "32x48", "--device", "cpu", "--out",
                                   str(tmp_path/"runs")])
    assert res.exit_code == 1
    assert server.url(name) in res.stderr and "--weights none" in res.stderr and "Traceback" not in res.stderr
    assert res.stdout == ""
    assert not (tmp_path/"runs").exists()


def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_weights_on_a_full_disk(server, hub, monkeypatch):
    "The folder is named, and nothing is left in it."
    content, name = published()
    server.files[name] = content, "whole"
    with monkeypatch.context() as patch:
        patch.setattr(torch.hub, "READ_DATA_CHUNK", 100)
        patch.setattr(hashlib, "sha256", lambda *args: type("Full", (), dict(update=full))())
        with pytest.raises(DataError) as e: download_weights(server.url(name))
    assert not missing(e, hub, "No space left on device", "TORCH_HOME", "--weights none") and list(hub.iterdir()) == []
    assert "w" in download_weights(server.url(name))


def test_what_killed_downloads_left_is_swept(server, hub):
    content, name = published()
    server.files[name] = content, "whole"
    hub.mkdir(parents=True)
    for mark, time in ("old", (1, 1)), ("new", None):
        (hub/f"{name}.{mark}.partial").write_bytes(content[:50])
        os.utime(hub/f"{name}.{mark}.partial", time)
    (hub/"other.pth.old.partial").write_bytes(b"of another program")
    assert "w" in download_weights(server.url(name))
    assert sorted(p.name for p in hub.iterdir()) == sorted([name, f"{name}.new.partial", "other.pth.old.partial"])


def test_a_pipe_in_place_of_the_weights(server, hub):
    _, name = published()
    hub.mkdir(parents=True)
    os.mkfifo(hub/name)
    with pytest.raises(DataError) as e: download_weights(server.url(name))
    assert not missing(e, hub/name) and server.asked == []


CUT = """
import sys
from segfast.models.weights import download_weights
download_weights(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_a_download_of_weights(server, hub):
    content, name = published()
    server.files[name] = content, "stuck"
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CUT, server.url(name)], stderr=subprocess.DEVNULL)
    assert server.halfway.wait(60)
    child.kill()
    child.wait()
    server.release.set()
    assert not (hub/name).exists()
    for part in hub.iterdir(): os.utime(part, (1, 1))
    server.files[name] = content, "whole"
    assert "w" in download_weights(server.url(name)) and [p.name for p in hub.iterdir()] == [name]


# --- data sets ---

@pytest.fixture
def archive(demo_dir):
    "An archive in CamVid's layout."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar: tar.add(demo_dir, "camvid_tiny")
    return out.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty home of fastai's."
    from fastai.data import external
    monkeypatch.setenv("FASTAI_HOME", str(tmp_path/"fastai"))
    getattr(external.fastai_cfg, "cache_clear", lambda: None)()
    yield tmp_path/"fastai"
    getattr(external.fastai_cfg, "cache_clear", lambda: None)()


@pytest.fixture
def tiny(server, home, monkeypatch):
    "The address at which `camvid_tiny` is looked for."
    from fastai.data.external import URLs
    monkeypatch.setattr(URLs, "CAMVID_TINY", server.url("camvid_tiny.tgz"))
    return "camvid_tiny.tgz"


def left(home): return sorted(str(path.relative_to(home)) for path in home.rglob("camvid_tiny*"))


def three_lines(words):
    with pytest.raises(DataError) as e: open_data("camvid_tiny")
    assert len(str(e.value).splitlines()) == 3
    for word in words: assert word in str(e.value)


def test_archive_arrives_once(server, home, tiny, archive, capsys):
    server.files[tiny] = archive, "whole"
    for _ in range(2):
        data = open_data("camvid_tiny")
        assert data.splits == {"train": 8, "valid": 2} and data.name == "camvid_tiny"
        assert server.url(tiny) in data.origin
    assert server.asked == [(f"/{tiny}", None)]
    assert capsys.readouterr().out == "", "stdout is for results"


@pytest.mark.parametrize("how", ["half", "unmeasured"])
def test_archive_broken_off(server, home, tiny, archive, how):
    server.files[tiny] = archive, how
    three_lines([server.url(tiny), "2 MB", "FOLDER"])
    assert left(home) == []
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10
    assert [r for _, r in server.asked] == [None, None], "the second download began anew"


def test_archive_not_there(server, home, tiny, archive, closed, monkeypatch):
    from fastai.data.external import URLs
    three_lines([server.url(tiny), "404"])
    with monkeypatch.context() as m:
        m.setattr(URLs, "CAMVID_TINY", f"{closed}/{tiny}")
        three_lines([f"{closed}/{tiny}", os.strerror(errno.ECONNREFUSED)])
    assert left(home) == []
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10


def test_archive_that_is_none(server, home, tiny, archive):
    server.files[tiny] = b"<html>Please log in to the hotel's network</html>", "whole"
    three_lines([server.url(tiny)])
    assert left(home) == []
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_unpacking_broken_off(server, home, tiny, archive, monkeypatch, error):
    "It is unpacked beside its place, and takes it in one step."
    server.files[tiny] = archive, "whole"

    def half(self, path, **kwargs):
        (Path(path)/"images").mkdir()
        assert Path(path).parent == home/"data", "on the same file system"
        raise error
    with monkeypatch.context() as m:
        m.setattr(tarfile.TarFile, "extractall", half)
        with pytest.raises(DataError if isinstance(error, OSError) else KeyboardInterrupt): open_data("camvid_tiny")
    assert list((home/"data").iterdir()) == []
    assert len(open_data("camvid_tiny").pairs) == 10


@pytest.mark.parametrize("step", ["fastdownload.FastDownload.download", "tarfile.TarFile.extractall"])
def test_an_archive_on_a_full_disk(server, home, tiny, archive, monkeypatch, step):
    server.files[tiny] = archive, "whole"
    with monkeypatch.context() as patch:
        patch.setattr(step, full if "tarfile" not in step else lambda *args, **kwargs: full())
        three_lines([str(home/"data"), "No space left on device", "FASTAI_HOME"])
    assert left(home) == [] and not list((home/"data").glob("*"))
    assert len(open_data("camvid_tiny").pairs) == 10


@pytest.mark.filterwarnings("ignore:flock not supported:UserWarning")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks(server, home, tiny, archive, monkeypatch, code):
    "CIFS, 9p, some of FUSE."
    import fcntl
    server.files[tiny] = archive, "whole"
    def refuse(*args): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(open_data("camvid_tiny").pairs) == 10


def tar_of(*names, kind=tarfile.REGTYPE, target=""):
    "An archive with empty members."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry)
    return out.getvalue()


@pytest.mark.parametrize("evil", [tar_of("camvid_tiny/codes.txt", "../../out.txt"), tar_of("/out.txt"),
                                  tar_of("a", kind=tarfile.SYMTYPE, target="/etc"),
                                  tar_of("a", kind=tarfile.LNKTYPE, target="../../config.ini"),
                                  tar_of("a", kind=tarfile.CHRTYPE), tar_of("a.txt", "a.txt")],
                         ids=["outside", "absolute", "link", "hard link", "device", "twice"])
def test_an_archive_of_somebody_else(server, home, tiny, archive, tmp_path, evil):
    "fastai unpacks with Python's defaults, which before 3.14 let a member lead anywhere."
    server.files[tiny] = evil, "whole"
    with tarfile.open(fileobj=io.BytesIO(evil)) as t: three_lines([server.url(tiny), repr(t.getnames()[-1])])
    assert left(home) == [] and list((home/"data").iterdir()) == [] and not list(tmp_path.rglob("out.txt"))
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10


@pytest.mark.parametrize("change", [lambda raw: raw + bytes(9), lambda raw: raw[:4] + bytes(4) + raw[8:]],
                         ids=["length", "hash"])
def test_length_and_hash_are_those_of_the_list(server, home, tiny, archive, monkeypatch, change):
    "An archive that unpacks well, and is another one."
    published = len(archive), hashlib.md5(archive[:2**20]).hexdigest()
    monkeypatch.setattr("fastdownload.core.read_checks", lambda file: {server.url(tiny): published})
    server.files[tiny] = change(archive), "whole"
    with tarfile.open(fileobj=io.BytesIO(change(archive)), mode="r:gz") as t: assert t.getnames()
    three_lines([server.url(tiny), "corrupt"])
    assert left(home) == []
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10


def test_fastai_knows_length_and_hash_of_what_is_downloaded():
    from fastai.data import download_checks
    from fastai.data.external import URLs
    from fastdownload.core import read_checks
    known = read_checks(Path(download_checks.__file__))
    assert all(len(known[url]) == 2 for url in (URLs.CAMVID, URLs.CAMVID_TINY))


def test_what_a_killed_download_left_is_begun_anew(server, home, tiny, archive):
    (home/"archive").mkdir(parents=True)
    (home/"archive/camvid_tiny.tgz.part").write_bytes(b"x"*(len(archive) + 100))
    (home/"archive/camvid_tiny.tgz.lock").touch()
    old = home/"data/.part-0123456789abcdef"
    (old/"camvid_tiny/images").mkdir(parents=True)
    os.utime(old, (1, 1))
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10
    assert [path.name for path in (home/"data").iterdir()] == ["camvid_tiny"] and not (
        home/"archive/camvid_tiny.tgz.part").exists()


def test_half_an_archive_under_the_whole_ones_name(server, home, tiny, archive, monkeypatch):
    "As another program may have left it: fastai's list says that it is short, and it is fetched again."
    monkeypatch.setattr("fastdownload.core.read_checks",
                        lambda file: {server.url(tiny): (len(archive), hashlib.md5(archive[:2**20]).hexdigest())})
    (home/"archive").mkdir(parents=True)
    (home/"archive/camvid_tiny.tgz").write_bytes(archive[:999])
    server.files[tiny] = archive, "whole"
    assert len(open_data("camvid_tiny").pairs) == 10 and server.asked == [(f"/{tiny}", None)]


CHILD = """
import sys
from fastai.data.external import URLs
from segfast.data.open import open_data
URLs.CAMVID_TINY = sys.argv[1]
print(len(open_data("camvid_tiny").pairs))
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_a_download(server, home, tiny, archive):
    server.files[tiny] = archive, "stuck"
    command = [sys.executable, "-W", "ignore", "-c", CHILD, server.url(tiny)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.halfway.wait(60)
    child.kill()
    child.communicate()
    server.release.set()
    assert not (home/"data/camvid_tiny").exists() and not (home/"archive/camvid_tiny.tgz").exists()
    server.files[tiny] = archive, "whole"
    assert subprocess.run(command, capture_output=True, text=True).stdout == "10\n"


# --- a name and a folder of that name ---

def test_known_name_wins_over_a_folder(server, home, tiny, archive, demo_dir, tmp_path, monkeypatch):
    server.files[tiny] = archive, "whole"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demo_dir, "camvid_tiny")
    named, folder = open_data("camvid_tiny"), open_data("./camvid_tiny")
    assert home in named.root.parents and server.url(tiny) in named.origin and "./camvid_tiny" in named.origin
    assert folder.root.resolve() == tmp_path/"camvid_tiny" and "camvid_tiny" in folder.origin and server.url(
        tiny) not in folder.origin
    assert open_data(Path("camvid_tiny")).root.resolve() == tmp_path/"camvid_tiny"


@pytest.mark.slow
def test_the_plan_says_which_was_taken(server, home, tiny, archive, demo_dir, tmp_path, monkeypatch):
    server.files[tiny] = archive, "whole"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demo_dir, "camvid_tiny")

    def began(*args): raise DataError("far enough")
    monkeypatch.setattr("segfast.training.train.train_stages", began)
    args = ["--size", "32x48", "--weights", "none", "--epochs", "1,1,1", "--device", "cpu"]
    plan = CliRunner().invoke(app, ["train", "camvid_tiny", *args]).stderr
    assert any(not missing(line, server.url(tiny), "./camvid_tiny") for line in plan.splitlines())
    plan = CliRunner().invoke(app, ["train", "./camvid_tiny", *args]).stderr
    assert not missing(plan, "camvid_tiny") and server.url(tiny) not in plan and "./camvid_tiny" not in plan
