"""Archives: unpacked once, refused when they are hostile, broken or too large."""
import io
import os
import shutil
import tarfile
import zipfile

import pytest
from helpers.layouts import draw_segnet
from helpers.refusals import refuses

import segfast.data.archives as archives
from segfast.core.errors import DataError
from segfast.core.files import cache_dir
from segfast.data.archives import unpack
from segfast.data.open import open_data


# Archives

def pack(root, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for p in sorted(root.rglob("*")):
                archive.write(p, p.relative_to(root.parent))
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
            archive.add(root, root.name)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache/unpacked"


def kept(cache): return list(cache.iterdir()) if cache.is_dir() else []


@pytest.mark.parametrize("ending", [".zip", ".tgz", ".tar.gz", ".tar"])
def test_archives(tmp_path, cache, ending):
    truth, split = draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/f"my data{ending}")
    data = open_data(path)
    assert data.name == "my data" and data.layout == "segnet" and data.splits == split
    assert str(path) in data.origin and str(data.root) in data.origin
    before = [(p, p.stat().st_mtime_ns) for p in sorted(cache.rglob("*"))]
    again = open_data(str(path))
    assert again.pairs.equals(data.pairs) and [(p, p.stat().st_mtime_ns)
                                               for p in sorted(cache.rglob("*"))] == before, "unpacked once"
    os.utime(path, (1, 1))
    open_data(path)
    assert len(kept(cache)) == 2, "another time, another key"


@pytest.mark.parametrize("ending", [".zip", ".tgz", ".tar"])
@pytest.mark.parametrize("share", [0, .02, .5, .9, .99])
def test_truncated_archives(tmp_path, cache, ending, share):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/f"cut{ending}")
    size = path.stat().st_size*share
    if ending == ".tar":  # of what comes before its padding; the last cut is exactly where the closing blocks begin
        with tarfile.open(path) as archive:
            last = archive.getmembers()[-1]
        size = (last.offset_data + -(-last.size//512)*512)*(share if share < .99 else 1)
    path.write_bytes(path.read_bytes()[:int(size)])
    with refuses(DataError, path, code="undecodable", file=str(path)):
        open_data(path)
    assert not kept(cache)


def tar_with(path, *members):
    with tarfile.open(path, "w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"out") if member.size else None)
    return path


@pytest.mark.parametrize("name, kind, target, cause", [
    ("../out.txt", tarfile.REGTYPE, "", type(None)), ("a/../../out.txt", tarfile.REGTYPE, "", type(None)),
    ("/tmp/out.txt", tarfile.REGTYPE, "", type(None)),
    ("a/link", tarfile.SYMTYPE, "../../..", tarfile.LinkOutsideDestinationError),
    ("a/link", tarfile.LNKTYPE, "../../x", tarfile.LinkOutsideDestinationError),
    ("a/link", tarfile.SYMTYPE, "/etc", tarfile.AbsoluteLinkError),
    ("pipe", tarfile.FIFOTYPE, "", tarfile.SpecialFileError)])
def test_evil_tars(tmp_path, cache, name, kind, target, cause):
    path = tar_with(tmp_path/"evil.tar", ("good.txt", tarfile.REGTYPE, ""), (name, kind, target))
    with refuses(DataError, path, name) as e:
        open_data(path)
    assert type(e.value.__cause__) is cause and e.value.problems[0].code != "undecodable" and not kept(cache)
    assert not list(tmp_path.rglob("out.txt")) and not list(tmp_path.rglob("good.txt"))


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "a\\..\\..\\out.txt", "C:/out.txt"])
def test_evil_zips(tmp_path, cache, name):
    with zipfile.ZipFile(tmp_path/"evil.zip", "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "out")
    with refuses(DataError, tmp_path/"evil.zip", "out.txt") as e:
        unpack(tmp_path/"evil.zip")
    assert e.value.problems[0].code != "undecodable" and not kept(cache) and not list(tmp_path.rglob("out.txt"))


def test_a_link_in_a_zip(tmp_path, cache):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    for name, member in ("evil.zip", link), ("plain.zip", "link"):
        with zipfile.ZipFile(tmp_path/name, "w") as archive:
            archive.writestr(member, "/etc/passwd")
    with refuses(DataError, tmp_path/"evil.zip", "link"):
        unpack(tmp_path/"evil.zip")
    assert not kept(cache)
    assert (unpack(tmp_path/"plain.zip")/"link").read_text() == "/etc/passwd", "a file with that content is no link"


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.tar.gz", "x.tar"])
@pytest.mark.parametrize("content", [b"", b"just words, and no archive at all", bytes(2048)])
def test_what_is_no_archive(tmp_path, cache, name, content):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(DataError):
        open_data(tmp_path/name)
    assert cache_dir() == cache.parent


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_what_is_no_file(tmp_path, cache, make):
    make(tmp_path/"x.tar")
    with pytest.raises(DataError): unpack(tmp_path/"x.tar")


# Archives, again

def test_bombs(tmp_path, cache, monkeypatch):
    with zipfile.ZipFile(tmp_path/"bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(3_000_000))
    with tarfile.open(tmp_path/"bomb.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = 3_000_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    monkeypatch.setattr(archives, "_BOMB", 1e6)
    for name in "bomb.zip", "bomb.tgz":
        with refuses(DataError, tmp_path/name) as e:
            unpack(tmp_path/name)
        assert e.value.problems[0].code != "undecodable"
    monkeypatch.setattr(archives, "_MOST", 0)
    with refuses(DataError, tmp_path/"bomb.zip", 0):
        unpack(tmp_path/"bomb.zip")
    assert not kept(cache)
    monkeypatch.setattr(archives, "_BOMB", 2e9)
    monkeypatch.setattr(archives, "_MOST", 1)
    for name in "bomb.zip", "bomb.tgz":  # nothing but the two limits was in the way
        assert (unpack(tmp_path/name)/"a.png").stat().st_size == 3_000_000


def test_a_disk_that_is_too_small(tmp_path, cache, monkeypatch):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with refuses(DataError, path, "SEGFAST_CACHE"):
        unpack(path)
    monkeypatch.undo()
    monkeypatch.setenv("SEGFAST_CACHE", str(cache.parent))
    assert not kept(cache) and unpack(path).is_dir()


def test_encrypted_and_repeated_members(tmp_path, cache):
    draw_segnet(tmp_path/"inner")
    raw = bytearray(pack(tmp_path/"inner", tmp_path/"x.zip").read_bytes())
    at = raw.find(b"PK\x01\x02")
    raw[at + 8] |= 1
    name = bytes(raw[at + 46:]).split(b"PK\x01\x02")[0].decode()
    (tmp_path/"locked.zip").write_bytes(raw)
    with refuses(DataError, tmp_path/"locked.zip", repr(name)) as e:
        unpack(tmp_path/"locked.zip")
    assert e.value.problems[0].code != "undecodable" and name
    tar_with(tmp_path/"twice.tar", ("a.txt", tarfile.REGTYPE, ""), ("./a.txt", tarfile.REGTYPE, ""))
    with zipfile.ZipFile(tmp_path/"twice.zip", "w") as archive:
        with pytest.warns(UserWarning):
            archive.writestr("a.txt", "1")
            archive.writestr("a.txt", "2")
    for name in "twice.tar", "twice.zip":
        with refuses(DataError, tmp_path/name, "a.txt") as e:
            unpack(tmp_path/name)
        assert e.value.problems[0].code != "undecodable"
    assert not kept(cache)


@pytest.mark.parametrize("members, culprit", [
    ([("a", tarfile.SYMTYPE, "b"), ("a/x.txt", tarfile.REGTYPE, "")], "a/x.txt"),
    ([("b/c", tarfile.DIRTYPE, ""), ("a", tarfile.SYMTYPE, "b/c"), ("d", tarfile.SYMTYPE, "a/../..")], "d")])
def test_links_through_links(tmp_path, cache, members, culprit):
    path = tar_with(tmp_path/"chain.tar", *members)
    with refuses(DataError, path, culprit) as e:
        unpack(path)
    assert e.value.problems[0].code != "undecodable" and not kept(cache)


def test_a_link_that_stays_inside_is_fine(tmp_path, cache):
    draw_segnet(tmp_path/"inner")
    (tmp_path/"inner/val/2.png").rename(tmp_path/"inner/val/real.png")
    (tmp_path/"inner/val/2.png").symlink_to("real.png")
    data = open_data(pack(tmp_path/"inner", tmp_path/"x.tar"))
    assert "val/2.png" in data.pairs["image"].tolist() and data.path("val/2.png").is_file()


def test_what_a_mac_adds(tmp_path, cache):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/inner/train/._0.png", "x")
        archive.writestr("inner/train/._0.png", "x")
    assert open_data(path).splits == {"train": 2, "valid": 1, "test": 1}


def test_two_processes_unpack_one_archive(tmp_path, cache):
    from multiprocessing import get_context
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.zip")
    with get_context("spawn").Pool(2) as pool:
        found = pool.map(unpack, [path]*4)
    assert len(set(found)) == 1 and len(kept(cache)) == 1


def content(folder):
    "Names and bytes of all files below a folder; links by their target."
    return {p.relative_to(folder).as_posix(): os.readlink(p) if p.is_symlink() else p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_symlink() or not p.is_dir()}


def swap(path):
    "Other bytes, of equal size and time, as `cp -p` of another file gives."
    status, raw = path.stat(), path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [swap, lambda p: p.unlink(), lambda p: p.write_bytes(b""),
                                    lambda p: os.truncate(p, 9),
                                    lambda p: (p.unlink(), p.symlink_to("/etc/passwd")),
                                    lambda p: (p.unlink(), p.symlink_to(p.parents[1]/"val/2.png")),
                                    lambda p: (p.unlink(), os.mkfifo(p)), lambda p: (p.unlink(), p.mkdir()),
                                    lambda p: (p.parent/"9.png").write_bytes(p.read_bytes()),
                                    lambda p: (p.parent/"more").symlink_to("/etc"),
                                    lambda p: p.rename(p.with_name("z.png")),
                                    lambda p: os.replace(p.with_name("1.png"), p), lambda p: shutil.rmtree(p.parent)],
                         ids=["equal size and time", "gone", "empty", "cut", "link", "link inside", "pipe", "folder",
                              "more", "link to a folder", "renamed", "swapped", "a folder gone"])
@pytest.mark.parametrize("reads", [1, 2])
def test_what_was_changed_in_the_cache_is_unpacked_again(tmp_path, cache, caplog, change, reads):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.tar")
    for _ in range(reads): root = unpack(path)
    first = content(root)
    change(root/"train/0.png")
    again = unpack(path)
    assert content(again) == first
    said = [record.getMessage() for record in caplog.records]
    assert any(str(root.parent) in text and "unpacked again" in text for text in said)
    caplog.clear()
    assert unpack(path) == again and not caplog.records and len(kept(cache)) == 1


def test_a_link_in_place_of_the_unpacked_folder(tmp_path, cache):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.tar")
    root = unpack(path)
    first, theirs = content(root), tmp_path/"theirs"
    for inner in (root.parent, root):
        inner.rename(theirs)
        inner.symlink_to(theirs)
        assert content(unpack(path)) == first and not inner.is_symlink() and theirs.is_dir()
        shutil.rmtree(theirs)


def test_what_programs_that_show_folders_add_is_no_damage(tmp_path, cache, caplog):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.zip")
    root = unpack(path)
    for name in ".DS_Store", "Thumbs.db", "desktop.ini": (root/"train"/name).write_text("x")
    before = root.stat().st_ino
    assert unpack(path).stat().st_ino == before and not caplog.records


def test_an_archive_replaced_by_one_of_equal_size_and_time(tmp_path, cache):
    for name, text in ("a", b"one"), ("b", b"two"):
        (tmp_path/f"{name}.tar").write_bytes(tar_with(tmp_path/"any.tar", ("a.txt", tarfile.REGTYPE, "")).read_bytes()
                                             .replace(b"out", text))
        os.utime(tmp_path/f"{name}.tar", (1, 1))
    assert (unpack(tmp_path/"a.tar")/"a.txt").read_bytes() == b"one"
    shutil.copy2(tmp_path/"b.tar", tmp_path/"a.tar")
    assert (unpack(tmp_path/"a.tar")/"a.txt").read_bytes() == b"two"


def test_an_archive_that_changes_while_it_is_unpacked(tmp_path, cache, monkeypatch):
    draw_segnet(tmp_path/"inner")
    path, unzip = pack(tmp_path/"inner", tmp_path/"x.zip"), archives.extract_zip

    def slow(path, part):
        unzip(path, part)
        path.write_bytes(path.read_bytes() + b"x")
    monkeypatch.setattr(archives, "extract_zip", slow)
    with refuses(DataError, path): unpack(path)
    assert not kept(cache)


def test_the_unpacked_folder_follows_the_umask(tmp_path, cache):
    draw_segnet(tmp_path/"inner")
    before = os.umask(0o027)
    try: root = unpack(pack(tmp_path/"inner", tmp_path/"x.tar"))
    finally: os.umask(before)
    assert oct(root.parent.stat().st_mode & 0o777) == "0o750"


def test_hard_links_become_copies_and_count(tmp_path, cache, monkeypatch):
    members = [("a.png", tarfile.REGTYPE, ""), *((f"{i}.png", tarfile.LNKTYPE, f"{i - 1}.png" if i else "a.png")
                                                 for i in range(40))]
    path = tar_with(tmp_path/"x.tar", *members)
    root = unpack(path)
    assert {p.read_bytes() for p in root.iterdir()} == {b"out"} and all(p.stat().st_nlink == 1 for p in root.iterdir())
    monkeypatch.setattr(archives, "_BOMB", 100)
    real = archives.check_unpacked_size
    sizes = []
    monkeypatch.setattr(archives, "check_unpacked_size", lambda path, size, n, folder: sizes.append(size) or real(
        path, size, n, folder))
    os.utime(path, (1, 1))
    unpack(path)
    assert sizes[-1] == 41*3


def test_an_archive_that_another_process_unpacked_meanwhile(tmp_path, cache, monkeypatch):
    draw_segnet(tmp_path/"inner")
    path, unzip = pack(tmp_path/"inner", tmp_path/"x.zip"), archives.extract_zip

    def slow(path, part):
        unzip(path, part)
        monkeypatch.setattr(archives, "extract_zip", unzip)
        unpack(path)
    monkeypatch.setattr(archives, "extract_zip", slow)
    assert (unpack(path)/"train").is_dir() and len(kept(cache)) == 1


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    draw_segnet(tmp_path/"inner")
    (tmp_path/"taken").touch()
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"taken/cache"))
    with refuses(DataError, tmp_path/"taken/cache/unpacked", "SEGFAST_CACHE"):
        unpack(pack(tmp_path/"inner", tmp_path/"x.zip"))


def test_an_archive_is_not_blamed_for_a_full_disk(tmp_path, cache, monkeypatch):
    draw_segnet(tmp_path/"inner")
    path = pack(tmp_path/"inner", tmp_path/"x.zip")
    def full(*args, **kwargs): raise OSError(28, "No space left on device")
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with refuses(DataError, "No space left on device", "SEGFAST_CACHE") as e:
        unpack(path)
    assert e.value.__cause__.errno == 28 and str(path) not in str(e.value) and not kept(cache)
