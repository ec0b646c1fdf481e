"The local page: what it shows, what it refuses, and one walk through it in a real browser."
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra `ui` is not installed")

from helpers.problems import missing  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from segfast.report.compare import compare  # noqa: E402
from segfast.core.errors import DataError, UsageError  # noqa: E402
from segfast.runs.run import Run  # noqa: E402
from segfast.core.files import check_plain, write_json  # noqa: E402
from segfast.runs.listing import run_row  # noqa: E402
from segfast.tools import ui  # noqa: E402
from segfast.tools.ui import MOST_BYTES, Pages, serve_ui, ui_app, uploaded_image  # noqa: E402

HOST = "http://127.0.0.1:8110"
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def one(small, tmp_path_factory):
    "A finished run of a minute's work, and its folder of runs."
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    recipe = Recipe([Stage("full", (32, 48), 1, batch_size=4, precision="fp32")], weights="none", model="unet",
                    model_options=dict(channels=[8, 8], middle=8))
    return train(small, recipe, out=tmp_path_factory.mktemp("ui")/"runs", name="first", device="cpu", screen="quiet")


@pytest.fixture
def runs(one, tmp_path):
    "A folder with two runs, and a secret beside it."
    for name in ("first", "second"):
        shutil.copytree(one.path, tmp_path/"runs"/name)
    (tmp_path/"secret.txt").write_text("the secret")
    return tmp_path/"runs"


@pytest.fixture
def client(runs): return ask(runs)


def ask(runs, **headers):
    return TestClient(ui_app(runs, "cpu"), HOST, headers=dict(origin=HOST) | headers)


def png(size=(60, 40), mode="RGB", **kwargs):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, kwargs.pop("format", "PNG"), **kwargs)
    return file.getvalue()


def send(client, raw, name="a.png", run="first", **kwargs):
    return client.post(f"/run/{run}/mask", files=dict(image=(name, raw)), **kwargs)


# What it shows

def test_the_list_has_each_run_and_sorts_both_ways(client, runs):
    Run(runs/"second").update(mean_iou=.99)
    page = client.get("/?sort=mean_iou").text
    assert page.index("/run/second") < page.index("/run/first") and 'aria-sort="descending"' in page
    page = client.get("/?sort=mean_iou&reverse=1").text
    assert page.index("/run/first") < page.index("/run/second") and 'aria-sort="ascending"' in page
    assert client.get("/?sort=<script>").status_code == 200


def test_an_empty_folder_says_how_to_begin(tmp_path):
    assert "segfast train demo" in ask(tmp_path).get("/").text


def test_a_run_shows_its_scores_and_how_to_make_a_report(client, one, runs):
    (runs/"first"/"report.html").unlink()
    page = client.get("/run/first").text
    assert f'{one.scores["mean_iou"]:.3f}' in page and "segfast report" in page
    assert client.get("/run/first/report").status_code == 404
    assert client.get("/run/first/history.png").headers["content-type"] == "image/png"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["scores.json", "recipe.toml", "classes.csv", "data.json", "status.json"])
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"classes": {"a": 3}, "status": 7}', "\0\xff"])
def test_a_damaged_run_is_shown_as_far_as_it_goes(client, runs, file, text):
    (runs/"second"/file).write_bytes(text.encode("latin1"))
    assert client.get("/").status_code == 200
    assert client.get("/run/second").status_code in (200, 400)
    assert client.get("/compare?run=first&run=second").status_code in (200, 400)


def test_two_runs_are_compared(client, runs):
    page = client.get("/compare?run=second&run=first")
    verdict = compare([Run(runs/"second"), Run(runs/"first")]).versus[0]["sentence"]
    assert page.status_code == 200 and verdict in unescape(page.text) and "data:image/png;base64," in page.text
    for wrong in ("", "?run=first", "?run=first&run=first", "?" + "&".join(f"run={i}" for i in range(9))):
        assert client.get(f"/compare{wrong}").status_code == 400
    assert client.get("/compare?run=first&run=nobody").status_code == 404


def test_an_image_comes_back_as_the_mask_that_predict_gives(client, one):
    raw = png()
    page = send(client, raw, "street 1.png")
    assert page.status_code == 200 and "street 1.png</h1>" in page.text and "40×60" in page.text
    token = str(page.url).rpartition("/")[2]
    answer = client.get(f"/mask/{token}/mask.png?download=1")
    assert answer.headers["content-disposition"] == 'attachment; filename="street-1-mask.png"'
    expected = one.predict(Image.open(io.BytesIO(raw)), device="cpu")
    assert (np.asarray(Image.open(io.BytesIO(answer.content))) == expected.ids).all()
    assert Image.open(io.BytesIO(client.get(f"/mask/{token}/image.jpg").content)).size == (60, 40)
    for name, share in expected.shares.items():
        assert name in page.text and f"{share:.1%}" in page.text


def test_only_the_last_masks_are_kept(runs):
    pages = Pages(runs, "cpu")
    tokens = [pages.predict(Run(runs/"first"), "first", "a.png", png((16, 16))) for _ in range(10)]
    assert list(pages.answers) == tokens[-8:]
    assert ask(runs).get(f"/mask/{tokens[0]}").status_code == 404


def test_a_run_without_weights_shows_no_mask(client, runs):
    assert 'type="file"' in client.get("/run/second").text
    shutil.rmtree(runs/"second"/"checkpoints")
    assert 'type="file"' not in client.get("/run/second").text
    assert send(client, png(), run="second").status_code == 409


def test_a_run_that_is_being_trained_shows_no_mask(client, runs):
    import psutil
    Run(runs/"second").update(status="running", pid=os.getpid(), pid_started=psutil.Process().create_time())
    assert send(client, png(), run="second").status_code == 409


# Everything foreign is text

def test_names_are_text(client, runs, tmp_path):
    folder = runs/'"><img src=x onerror=alert(1)> &\u202e\udcff'
    shutil.copytree(runs/"first", folder)
    write_json(folder/"data.json", dict(name=EVIL))
    (folder/"classes.csv").write_text((folder/"classes.csv").read_text().replace("Sky", EVIL))
    scores = json.loads((folder/"scores.json").read_text().replace('"Sky"', json.dumps(EVIL)))
    write_json(folder/"scores.json", scores)
    (folder/"recipe.toml").write_text((folder/"recipe.toml").read_text().replace('"full"', f'"{EVIL}"'))
    Run(folder).update(error=EVIL, stages_done=EVIL, started=EVIL)
    page = client.get("/").text
    address = next(link for link in page.split('"') if link.startswith("/run/n-"))
    token = str(send(client, png(), f"{EVIL}.png", run=address[5:]).url)
    pages = [page, client.get(address).text, client.get(f"/compare?run=first&run={address[5:]}").text,
             client.get(token).text]
    for page in pages:
        assert "<script>alert" not in page and "<img src=x" not in page and "\u202e" not in page
        assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in pages[1]


def test_a_file_name_cannot_add_a_header(client):
    page = send(client, png(), 'a"\r\nX-Evil: 1\r\n/../b.png')
    answer = client.get(str(page.url) + "/mask.png?download=1")
    assert "x-evil" not in answer.headers and ".." not in answer.headers["content-disposition"]


# No path outside

PATHS = ["/run/..", "/run/../secret.txt", "/run/..%2fsecret.txt", "/run/..%2Fsecret.txt", "/run/%2e%2e/secret.txt",
         "/run/..%252fsecret.txt", "/run/first/../../secret.txt", "/run/first/..%2f..%2fsecret.txt", "/run//etc/passwd",
         "/run/%2fetc%2fpasswd", "/run/first%00", "/run/first/report/..%2f..%2f..%2fsecret.txt",
         "/run/first/%2e%2e%2f%2e%2e%2fsecret.png", "/run/first/..%5c..%5csecret.txt", "/run/first/status.json",
         "/run/first/plots/history.png", "/run/first/checkpoints/last/model.safetensors", "/run/first/secret.png",
         "/run/./first", "/mask/..%2f..%2fsecret.txt", "/mask/first/mask.png", "/secret.txt", "//etc/passwd",
         "/ui.css/../secret.txt", "/compare?run=../secret.txt&run=/etc/passwd"]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(runs, path):
    "As a server sees it: the test client would tidy the path up."
    status, body = raw_request(runs, path)
    assert status in (400, 404) and b"the secret" not in body and b"root:" not in body


def raw_request(runs, path, method="GET", headers=(), body=b""):
    "One request to the application, past every client that would tidy it up."
    import asyncio
    from urllib.parse import unquote
    raw, _, query = path.partition("?")
    sent, parts = [], iter([dict(type="http.request", body=body, more_body=False)])
    scope = dict(type="http", http_version="1.1", method=method, path=unquote(raw), raw_path=raw.encode(),
                 query_string=query.encode(), root_path="", scheme="http", server=("127.0.0.1", 8110),
                 client=("127.0.0.1", 5), headers=[(b"host", b"127.0.0.1:8110"), *headers])

    async def receive(): return next(parts, dict(type="http.disconnect"))
    async def put(message): sent.append(message)
    asyncio.run(ui_app(runs, "cpu")(scope, receive, put))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_the_check_of_paths_can_fail(runs):
    assert raw_request(runs, "/run/first")[0] == 200


@pytest.mark.parametrize("file", ["report.html", "plots/history.png", "status.json", "recipe.toml", "scores.json",
                                  "checkpoints/last/model.safetensors", "evaluation"])
def test_a_run_with_a_link_that_leads_out_is_not_shown(client, runs, tmp_path, file):
    path = runs/"second"/file
    target = tmp_path/"outside"
    if path.exists():
        shutil.move(path, target)
    else:
        target.mkdir() if file == "evaluation" else target.write_text("the secret")
    path.symlink_to(target)
    for at in ("/run/second", "/run/second/report", "/run/second/history.png", "/compare?run=first&run=second"):
        assert client.get(at).status_code == 404
    assert send(client, png(), run="second").status_code == 404
    assert client.get("/run/first").status_code == 200


def test_a_run_that_is_a_link_out_is_not_listed(client, runs, tmp_path):
    shutil.move(runs/"second", tmp_path/"away")
    (runs/"second").symlink_to(tmp_path/"away")
    assert "/run/second" not in client.get("/").text and client.get("/run/second").status_code == 404


def test_links_inside_the_folder_and_to_themselves(client, runs):
    (runs/"third").symlink_to(runs/"first")
    assert client.get("/run/third").status_code == 200
    (runs/"second"/"loop").symlink_to(runs/"second"/"loop")
    assert client.get("/run/second").status_code == 404


# Who is answered

@pytest.mark.parametrize("host", ["evil.example", "evil.example:8110", "127.0.0.1.evil.example",
                                  "localhost.evil.example", "0.0.0.0:8110", "192.168.0.4", "[::1]:8110",
                                  "127.0.0.1@evil.example", ""])
def test_another_host_is_refused(client, host):
    for path in ("/", "/run/first", "/ui.css"):
        assert client.get(path, headers=dict(host=host)).status_code == 400


# Python 3.10 gets a Starlette (1.7) that compares hosts as they are written
ANY_CASE = pytest.param("LOCALHOST", marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="older Starlette"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8110", "localhost:8110", ANY_CASE])
def test_the_machine_itself_is_answered(client, host):
    assert client.get("/", headers=dict(host=host)).status_code == 200


@pytest.mark.parametrize("headers", [dict(origin="http://evil.example"), dict(origin="null"),
                                     dict(origin="https://127.0.0.1:8110"), dict(origin="http://127.0.0.1:8111"),
                                     dict(origin="http://localhost:8110"), dict(origin=""),
                                     {"origin": HOST, "sec-fetch-site": "cross-site"},
                                     {"origin": HOST, "sec-fetch-site": "same-site"},
                                     {"origin": HOST, "sec-fetch-site": "none"}])
def test_nothing_is_taken_from_another_site(runs, headers, monkeypatch):
    monkeypatch.setattr(Pages, "predict", lambda *_: pytest.fail("was looked at"))
    assert send(ask(runs, **headers), png()).status_code == 403


def test_nothing_is_taken_from_nobody(runs):
    client = TestClient(ui_app(runs, "cpu"), HOST)
    assert send(client, png()).status_code == 403


def test_other_sites_may_link_but_not_embed(client):
    site = {"sec-fetch-site": "cross-site"}
    assert client.get("/run/first/history.png", headers=site | {"sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/compare?run=first&run=second", headers=site | {"sec-fetch-mode": "cors"}).status_code == 403
    assert client.get("/", headers=site | {"sec-fetch-mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, method):
    answer = client.request(method, "/run/first")
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers


def test_only_the_upload_takes_a_post(client):
    for path in ("/", "/run/first", "/compare", "/mask/x"):
        assert client.post(path).status_code in (404, 405)
    assert client.get("/run/first/mask").status_code in (404, 405)


# What a browser is told

@pytest.mark.parametrize("path", ["/", "/run/first", "/run/nobody", "/compare?run=first&run=second",
                                  "/run/first/history.png", "/ui.js", "/ui.css", "/nothing"])
def test_headers(client, path):
    headers = client.get(path).headers
    csp = dict(rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";"))
    assert csp["default-src"] == csp["frame-ancestors"] == csp["base-uri"] == "'none'" and csp["script-src"] == csp[
        "style-src"] == csp["form-action"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    assert not {"set-cookie", "server", "access-control-allow-origin"} & set(headers)


def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(client):
    for page in (client.get("/"), client.get("/run/first"), client.get("/compare?run=first&run=second"),
                 send(client, png())):
        assert "://" not in page.text.replace("http://www.w3.org/2000/svg", "")
        assert not any(word in page.text for word in (" style=", "<style", " onclick"))
        assert page.text.count("<h1") == page.text.count("<main") == 1 and 'lang="en"' in page.text
    css, js = client.get("/ui.css").text, client.get("/ui.js").text
    assert "url(" not in css and "@import" not in css and "://" not in js and "innerHTML" not in js


def test_a_report_is_served_in_a_sandbox(client, runs):
    (runs/"first"/"report.html").write_text("<!doctype html><script>1</script>")
    answer = client.get("/run/first/report")
    csp = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and csp.startswith(
        "sandbox ") and "allow-same-origin" not in csp and "default-src 'none'" in csp
    assert "/run/first/report" in client.get("/run/first").text


def test_nothing_is_written_where_it_is_started(client, tmp_path, monkeypatch):
    (tmp_path/"cwd").mkdir()
    monkeypatch.chdir(tmp_path/"cwd")
    send(client, png())
    assert not list(Path().iterdir())


# What is sent

def bad_png(width, height):
    "A PNG that claims a size and holds almost nothing."
    import struct
    import zlib

    def part(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + part(b"IDAT",
        zlib.compress(b"\0"*1000)) + part(b"IEND", b"")


BAD = dict(empty=b"", text=b"no image", html=b"<html><script>alert(1)</script>",
           svg=b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", pdf=b"%PDF-1.4",
           eps=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", cut=png()[:300], huge=bad_png(60_000, 60_000),
           large=bad_png(8_000, 7_000), zip=b"PK\x03\x04" + b"\0"*40, damaged=png().replace(b"IDAT", b"IDAU", 1))


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_refused_with_a_reason(client, kind):
    page = send(client, BAD[kind], f"{kind}.png")
    assert page.status_code == 400 and f"{kind}.png:" in page.text
    assert "/tmp" not in page.text and "Traceback" not in page.text
    assert ("the file is empty" in page.text) == (kind == "empty")


@pytest.mark.parametrize("format, mode", [("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"),
                                          ("JPEG", "CMYK"), ("BMP", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB"),
                                          ("GIF", "P"), ("PPM", "RGB")])
def test_images_of_each_format_are_taken(format, mode):
    assert uploaded_image(png((30, 20), mode, format=format), "a").size == (30, 20)


def test_a_turned_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert uploaded_image(png((30, 20), format="JPEG", exif=exif), "a").size == (20, 30)


def test_no_file_is_said(client):
    assert client.post("/run/first/mask", data=dict(other="x"), files=dict(none=("a", b"b"))).status_code == 400
    assert client.post("/run/first/mask", data=dict(image="text")).status_code == 400
    assert client.post("/run/first/mask", content=b"not a form").status_code == 400


def test_two_files_are_refused(client):
    assert client.post("/run/first/mask", files=[("image", ("a.png", png())),
                                                 ("image", ("b.png", png()))]).status_code == 400


def test_a_file_that_says_it_is_too_large_is_refused_unread(runs):
    "Before anything is received: there is nothing to receive here."
    length = str(MOST_BYTES + (1 << 20)).encode()
    status, _ = raw_request(runs, "/run/first/mask", "POST", [(b"origin", HOST.encode()), (b"content-length", length)])
    assert status == 413


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"9"*30, b"0x10", "٣".encode()])
def test_a_strange_length_is_refused(runs, length):
    assert raw_request(runs, "/run/first/mask", "POST",
                       [(b"origin", HOST.encode()), (b"content-length", length)])[0] == 400


def test_a_file_that_does_not_say_its_length_is_counted(client):
    taken = 0

    def chunks():
        nonlocal taken
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(200):
            taken += 1 << 20
            yield bytes(1 << 20)
    answer = client.post("/run/first/mask", content=chunks(),
                         headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413


# Many runs

def count_reads(monkeypatch):
    "The names of the runs that are read from now on."
    names = []
    monkeypatch.setattr(ui, "run_row", lambda path: (names.append(path.name), run_row(path))[1])
    return names


def settle(): time.sleep(.06)  # a file that has changed just now is read once more


def test_only_a_run_that_changed_is_read_again(client, runs, monkeypatch):
    names = count_reads(monkeypatch)
    settle()
    client.get("/")
    assert sorted(names) == ["first", "second"]
    names.clear()
    for path in ("/", "/?sort=name", "/run/first", "/run/first/history.png", "/compare?run=first&run=second"):
        assert client.get(path).status_code == 200
    assert names == []
    Run(runs/"second").update(seconds=7)
    settle()
    assert "0:07" in client.get("/").text and names == ["second"]


@pytest.mark.parametrize("file", ["status.json", "data.json", "recipe.toml"])
def test_a_file_of_the_same_size_and_time_is_noticed(client, runs, file, monkeypatch):
    settle()
    client.get("/")
    names, path = count_reads(monkeypatch), runs/"second"/file
    facts = path.stat()
    (runs/"copy").write_bytes(path.read_bytes())
    os.utime(runs/"copy", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(runs/"copy", path)
    settle()
    client.get("/")
    assert names == ["second"]


def test_new_and_deleted_runs_are_noticed(client, runs):
    assert "/run/third" not in client.get("/").text
    os.rename(runs/"second", runs/"third")
    assert client.get("/run/third").status_code == 200 and client.get("/run/second").status_code == 404
    page = client.get("/").text
    assert "/run/third" in page and "/run/second" not in page


def test_a_page_of_one_run_lists_no_others(client, monkeypatch):
    client.get("/")
    monkeypatch.setattr(ui, "run_rows", lambda *_: pytest.fail("listed all runs"))
    for path in ("/run/first", "/run/first/report", "/run/first/history.png"):
        assert client.get(path).status_code == 200
    assert send(client, png()).status_code == 200


def test_a_run_whose_training_died_is_noticed(client, runs):
    import psutil
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        Run(runs/"second").update(status="running", pid=process.pid, pid_started=started)
        settle()
        assert all("running" in client.get("/").text for _ in range(2))
        process.communicate(b"\n")
    assert "interrupted" in client.get("/").text


def test_the_list_is_right_while_runs_come_and_go(client, runs):
    "Sixteen threads ask, as Starlette's pool does."
    from concurrent.futures import ThreadPoolExecutor
    stop = threading.Event()

    def move():
        while not stop.is_set():
            os.rename(runs/"second", runs/"moved")
            os.rename(runs/"moved", runs/"second")
    mover = threading.Thread(target=move)
    mover.start()
    with ThreadPoolExecutor(16) as pool:
        pages = list(pool.map(lambda i: client.get(("/", "/run/first")[i % 2]), range(64)))
    stop.set()
    mover.join()
    assert {page.status_code for page in pages} == {200} and all("first" in page.text for page in pages)


@pytest.mark.slow
def test_a_thousand_runs_are_shown_quickly(one, tmp_path):
    small = ("status.json", "data.json", "recipe.toml", "scores.json", "classes.csv")
    for i in range(1000):
        (tmp_path/f"run-{i}").mkdir()
        for name in small:
            shutil.copyfile(one.path/name, tmp_path/f"run-{i}"/name)
    client = ask(tmp_path)
    client.get("/")

    def seconds(path):
        start = time.process_time()
        assert client.get(path).status_code == 200
        return time.process_time() - start
    assert min(seconds("/") for _ in range(5)) < .3, "0.9 s where each run is read each time"
    assert min(seconds("/run/run-7") for _ in range(5)) < .1


def test_a_name_like_an_address_takes_no_other_runs_place(client, runs):
    os.rename(runs/"second", runs/"a run")
    address = ui.address_of("a run")
    shutil.copytree(runs/"first", runs/address)
    page = client.get("/").text
    assert page.count('href="/run/n-') == 2 and ">a run<" in page and f">{address}<" in page


# A run from a stranger

def pipe(path): os.mkfifo(path)
def zeros(path): path.symlink_to("/dev/zero")
def folder(path): path.mkdir()
def nested(path): path.write_text('{"status":' + "["*100_000)
def long_number(path): path.write_text('{"status": "done", "format": 1, "mean_iou": ' + "9"*5000 + "}")
def a_list(path): path.write_text('{"status": ["x"], "format": 1, "stages": {"a": 1}, "pid": [1], "started": [2]}')
def deep_toml(path): path.write_text("a = " + "["*5000 + "]"*5000)
def loop(path): path.symlink_to(path)
def nulls(path): path.write_bytes(bytes(1 << 20))


@pytest.mark.parametrize("make", [pipe, zeros, folder, nested, long_number, a_list, deep_toml, loop, nulls])
@pytest.mark.parametrize("file", ["status.json", "data.json", "recipe.toml", "scores.json", "classes.csv",
                                  "report.html", "plots/history.png"])
def test_one_hostile_run_hides_nothing(client, runs, file, make):
    (runs/"second"/file).unlink(missing_ok=True)
    make(runs/"second"/file)
    start = time.monotonic()
    page = client.get("/").text
    assert "/run/first" in page and "/run/second" in page
    if file == "status.json" or make in (pipe, zeros, loop):
        assert 'class="state damaged"' in page or 'class="state outdated"' in page or make is a_list
    for path in ("", "/report", "/history.png"):
        answer = client.get(f"/run/second{path}")
        assert answer.status_code in (200, 400, 404) and "root:" not in answer.text
    assert client.get("/compare?run=first&run=second").status_code in (200, 400, 404)
    assert client.get("/run/first").status_code == 200 and time.monotonic() - start < 20


ODD = [None, True, -1, 2**63, 1e308, "", "x", "\0\x1b[2J", "9"*5000, "²/٣", [], [[1]], {}, {"a": {"b": []}},
       "x"*300_000]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("file", ["status.json", "data.json", "scores.json"])
def test_odd_values_hide_nothing(client, runs, file, value):
    "Each value of a file of a run at once, and the first levels below."
    path = runs/"second"/file
    found = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    keep = {"format": 1} if file == "status.json" else {}
    deeper = {k: {name: value for name in v} if isinstance(v, dict) else v for k, v in found.items()}
    for values in ({k: value for k in found} | keep, deeper, *([{**found, "status": value}] if keep else ())):
        path.write_text(json.dumps(values))
        for sort in ("stages", "mean_iou"):
            page = client.get(f"/?sort={sort}").text
            assert "/run/first" in page and "/run/second" in page and len(page) < 20_000 and "\x1b" not in page
        assert client.get("/run/second").status_code in (200, 400)
    assert client.get("/compare?run=first&run=second").status_code in (200, 400)


@pytest.mark.parametrize("swapped", ["report.html", "plots/history.png", "plots", ""])
def test_a_link_that_appears_after_the_check_is_not_followed(client, runs, tmp_path, monkeypatch, swapped):
    outside = tmp_path/"outside"
    shutil.copytree(runs/"second", outside)
    (outside/"report.html").write_text("the secret")
    (outside/"plots"/"history.png").write_text("the secret")
    path = "/run/second/report" if "plots" not in swapped else "/run/second/history.png"
    assert client.get(path).status_code == 200

    def late(folder):
        check_plain(folder)
        target = runs/"second"/swapped
        shutil.move(target, tmp_path/"gone")
        target.symlink_to(outside/swapped)
    monkeypatch.setattr(ui, "check_plain", late)
    answer = client.get(path)
    assert answer.status_code in (400, 404) and "the secret" not in answer.text


@pytest.mark.parametrize("path, file", [("report", "report.html"), ("history.png", "plots/history.png")])
def test_a_file_that_is_too_large_is_said(client, runs, path, file):
    os.truncate(runs/"first"/file, ui.MOST_SERVED + 1)
    answer = client.get(f"/run/first/{path}")
    assert answer.status_code == 400 and file in answer.text and "64 MB" in answer.text


def test_a_run_that_vanishes_while_its_page_is_made(client, runs, monkeypatch):
    original = ui.run_summary
    monkeypatch.setattr(ui, "run_summary", lambda run: (shutil.rmtree(run.path), original(run)))
    page = client.get("/run/second")
    assert page.status_code in (200, 400, 404) and "second" in page.text
    assert client.get("/run/second").status_code == 404


# Weights

def damage(path):
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 1
    path.write_bytes(raw)


def spoil(path):
    "Weights that are not numbers, with the checksum that belongs to them."
    import torch
    from safetensors.torch import load_file, save_file
    from segfast.runs.run import file_checksum, state_checksum
    save_file({k: torch.full_like(v, float("nan")) if v.is_floating_point() else v for k, v in load_file(path).items()},
              path)
    state = {k: v for k, v in json.loads(path.with_name("state.json").read_text()).items() if k != "checksum"}
    state["sha256"][path.name] = file_checksum(path)
    state["sha256"]["state.json"] = state_checksum(state)
    write_json(path.with_name("state.json"), state)


@pytest.mark.parametrize("change", [damage, spoil])
def test_damaged_weights_are_named_and_no_others_are_taken(client, runs, change):
    last, best = (runs/"second"/"checkpoints"/kind/"model.safetensors" for kind in ("last", "best"))
    shutil.copytree(last.parent, runs/"second"/"checkpoints"/"previous")
    assert send(client, png(), run="second").status_code == 200, "the model is in memory now"
    for path in (last, best):
        raw = path.read_bytes()
        path.unlink()  # they may be one file with two names
        path.write_bytes(raw)
        change(path)
    answer = send(client, png(), run="second")
    assert answer.status_code == 400 and "model.safetensors" in answer.text
    assert send(client, png()).status_code == 200


@pytest.mark.parametrize("old, new, said", [(r"size = \[[^]]*\]", "size = [16384, 16384]", "segfast predict"),
                                            (r"middle = 8", "middle = 1000000000000", "its model cannot predict"),
                                            (r"middle = 8", 'middle = "x"', "middle")])
def test_a_model_that_would_eat_the_memory_is_refused(client, runs, old, new, said):
    text = (runs/"second"/"recipe.toml").read_text()
    assert re.search(old, text)
    (runs/"second"/"recipe.toml").write_text(re.sub(old, new, re.sub("(?m)^# SHA-256 of .*\n", "", text)))
    answer = send(client, png(), run="second")
    assert answer.status_code == 400 and said in answer.text
    assert send(client, png()).status_code == 200


def test_a_page_and_a_plot_with_a_flipped_bit_are_not_shown(client, runs):
    for name, address in ("report.html", "/run/second/report"), ("plots/history.png", "/run/second/history.png"):
        path = runs/"second"/name
        raw = path.read_bytes()
        assert client.get(address).content == raw
        for at in len(raw)//3, len(raw)//2, len(raw) - 60:
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
            answer = client.get(address)
            assert answer.status_code == 400 and path.name in answer.text, at
        path.write_bytes(raw)


# Many images

def test_who_finds_no_place_is_asked_to_come_back(client, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor
    free, waiting, original = threading.Event(), threading.Semaphore(0), Pages.predict

    def slow(*args):
        waiting.release()
        assert free.wait(60)
        return original(*args)
    monkeypatch.setattr(Pages, "predict", slow)
    with ThreadPoolExecutor(10) as pool:
        first = [pool.submit(send, client, png(), follow_redirects=False) for _ in range(ui.MOST_UPLOADS)]
        for _ in first:
            assert waiting.acquire(timeout=60)
        late = [send(client, png()) for _ in range(6)]
        free.set()
        answers = [future.result() for future in first]
    assert [answer.status_code for answer in answers] == [303]*ui.MOST_UPLOADS
    assert {answer.status_code for answer in late} == {503} and late[0].headers["retry-after"]
    assert "Try again" in late[0].text and send(client, png()).status_code == 200


def test_one_image_is_in_memory_at_a_time(client, monkeypatch):
    "It is decoded under the same lock, from a file and not from bytes."
    from concurrent.futures import ThreadPoolExecutor
    now, most, kinds, original = [], [], set(), ui.uploaded_image

    def decode(raw, name):
        now.append(1)
        most.append(len(now))
        kinds.add(isinstance(raw, bytes))
        time.sleep(.05)
        image = original(raw, name)
        now.pop()
        return image
    monkeypatch.setattr(ui, "uploaded_image", decode)
    with ThreadPoolExecutor(ui.MOST_UPLOADS) as pool:
        answers = list(pool.map(lambda _: send(client, png()), range(ui.MOST_UPLOADS)))
    assert {answer.status_code for answer in answers} == {200} and set(most) == {1} and kinds == {False}


@pytest.mark.slow
def test_ten_large_images_at_once_take_the_memory_of_one(served):
    "25 million pixels each; they took 2.5 GB and more."
    from concurrent.futures import ThreadPoolExecutor

    import psutil
    process, address = served
    port, file = int(address.split(":")[2].strip("/")), io.BytesIO()
    assert upload(port, png()) == b"HTTP/1.1 303"
    Image.new("RGB", (6000, 4100), (90, 120, 200)).save(file, "PNG")
    memory = psutil.Process(process.pid).memory_info
    base, peak, stop = memory().rss, [0], threading.Event()

    def watch():
        while not stop.wait(.01):
            peak[0] = max(peak[0], memory().rss)
    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: upload(port, file.getvalue()), range(10)))
    stop.set()
    watcher.join()
    assert set(answers) == {b"HTTP/1.1 303", b"HTTP/1.1 503"}
    assert peak[0] - base < 6000*4100*ui.PIXEL_BYTES + (100 << 20)
    assert memory().rss - base < 150 << 20, "and it is given back"


def test_the_limit_of_pixels_is_shown_and_kept(client, monkeypatch):
    import psutil
    from types import SimpleNamespace
    assert f"{ui.MOST_PIXELS/1e6:.0f} million pixels" in client.get("/run/first").text
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=96 << 20))
    assert "2 million pixels" in client.get("/run/first").text
    page = send(client, png((1500, 1500), "L"), "photo.png")
    assert page.status_code == 400 and "photo.png: has 2 million pixels" in page.text


def test_the_kept_masks_are_limited_in_bytes(runs):
    pages = Pages(runs, "cpu")
    tokens = [pages.keep(ui.Answer("first", "first", "a.png", (1, 1), [], b"", bytes(ui.KEPT_BYTES//3), 0))
              for _ in range(5)]
    assert list(pages.answers) == tokens[-3:]


def test_a_full_temporary_folder_is_said(client, monkeypatch):
    import errno
    import tempfile

    def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    page = send(client, png())
    assert page.status_code == 400 and tempfile.gettempdir() in page.text and "No space left" in page.text
    monkeypatch.undo()
    assert all(send(client, png()).status_code == 200 for _ in range(ui.MOST_UPLOADS + 1)), "its place is free again"


# On this machine only

def test_a_port_that_is_taken_and_a_folder_that_is_not_there(runs):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError) as e:
        port = taken.getsockname()[1]
        serve_ui(runs, port)
    assert not missing(e, "--port", port, 0)
    with pytest.raises(DataError) as e:
        serve_ui(runs/"nowhere")
    assert not missing(e, runs/"nowhere", "segfast ui")


# a line each time
CODE = ("import sys, segfast.tools.ui; segfast.tools.ui.serve_ui(sys.argv[1], 0, device='cpu', say=lambda t: "
        "print(repr(t), flush=True))")


@pytest.fixture
def served(runs):
    "The page in a process of its own, and its address."
    with subprocess.Popen([sys.executable, "-c", CODE, str(runs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        line = process.stdout.readline()
        yield process, re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        process.kill()


def test_it_listens_on_loopback_alone_and_ends_calmly(served):
    import psutil
    process, address = served
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.status == 200 and answer.headers["Server"] is None
    connections = psutil.Process(process.pid).net_connections()
    listening = [connection.laddr.ip for connection in connections if connection.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and len(out.splitlines()) == 1 and err == "", "it says that it ended"


def test_it_opens_nothing_by_itself(runs, monkeypatch):
    opened, ran = [], threading.Event()
    monkeypatch.setattr("segfast.tools.ui.webbrowser.open", lambda address: (opened.append(address), ran.set()))
    monkeypatch.setattr("segfast.tools.ui.uvicorn.Server.run", lambda self, sockets: None)
    serve_ui(runs, 0, say=lambda _: None)
    assert not opened
    serve_ui(runs, 0, open_page=True, say=lambda _: None)
    assert ran.wait(5) and opened[0].startswith("http://127.0.0.1:")


def test_forwarded_headers_change_nothing(served):
    _, address = served
    request = urllib.request.Request(address, headers={"X-Forwarded-Host": "evil.example", "Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=20)


# Who does not finish

def wait(what, seconds=30):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "waited in vain"
        time.sleep(.1)

HASTY = """
import sys, time, segfast.tools.ui as ui
ui.IDLE_SECONDS, ui.LOOK_SECONDS, ui.BODY_SECONDS = 1, .2, 2.5

def predict(self, run, address, file, raw):
    "As slow as a small model, without the seconds that importing torch takes."
    ui.uploaded_image(raw, file)
    time.sleep(.3)
    return self.keep(ui.Answer(address, run.name, file, (1, 1), [], b"", b"", .3))
ui.Pages.predict = predict
ui.serve_ui(sys.argv[1], 0, device="cpu", say=lambda text: print(repr(text), flush=True))
"""


@pytest.fixture(scope="module")
def hasty(one, tmp_path_factory):
    "A page that waits for seconds only, and its port; at the end it must have printed nothing."
    runs = tmp_path_factory.mktemp("hasty")/"runs"
    shutil.copytree(one.path, runs/"first")
    with open(runs/"first"/"report.html", "wb") as file:
        file.truncate(60 << 20)
    with subprocess.Popen([sys.executable, "-c", HASTY, str(runs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        yield process, int(re.search(r"127\.0\.0\.1:(\d+)/", process.stdout.readline())[1])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0 and "Stopped" in out and err == ""


def connect(port): return socket.create_connection(("127.0.0.1", port), timeout=20)


def is_answered(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/run/first", timeout=20) as answer:
        return answer.status == 200


def closes(link, drip=b""):
    "Wait until the other side closes a connection; meanwhile a byte now and then."
    link.settimeout(.2 if drip else 20)
    end, got = time.monotonic() + 20, b""
    while time.monotonic() < end:
        try:
            if drip:
                link.sendall(drip)
            piece = link.recv(1 << 16)
            if not piece:
                return got
            got += piece
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return got
    pytest.fail("the connection stayed open")


def upload_head(port, length):
    return (f"POST /run/first/mask HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n").encode()


def upload_body(raw):
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + raw + b"\r\n--x--\r\n"


@pytest.mark.parametrize("start, drip", [(b"", b""), (b"GET / HT", b""), (b"GET / HTTP/1.1\r\nHost: 127.0.0.1", b""),
                                         (b"GET / HTTP/1.1\r\nX: ", b"a"), (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
                                         (b"", b"\r\n")])
def test_a_request_that_never_ends_is_not_waited_for(hasty, start, drip):
    with connect(hasty[1]) as link:
        link.sendall(start)
        closes(link, drip)
    assert is_answered(hasty[1])


@pytest.mark.parametrize("drip", [b"", b"X: y\r\n"])
def test_a_connection_is_not_kept_without_a_next_request(hasty, drip):
    with connect(hasty[1]) as link:
        link.sendall(f"GET /ui.svg HTTP/1.1\r\nHost: 127.0.0.1:{hasty[1]}\r\n\r\n".encode())
        assert closes(link, drip).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("body, drip", [(b"", b""), (upload_body(b"\x89PNG")[:80], b""),
                                        (upload_body(b"\x89PNG")[:80], b"a")], ids=["nothing", "part", "drip"])
def test_an_image_that_never_arrives_is_not_waited_for(hasty, body, drip):
    with connect(hasty[1]) as link:
        link.sendall(upload_head(hasty[1], 1 << 20) + body)
        assert closes(link, drip).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", ["/", "/run/first/history.png", "/run/first/mask"])
def test_a_body_where_none_belongs_is_not_waited_for(hasty, path):
    with connect(hasty[1]) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{hasty[1]}\r\nContent-Length: 9\r\n\r\n".encode())
        assert closes(link, b"a")


def connections(process):
    import psutil
    return [found for found in psutil.Process(process.pid).net_connections() if found.status != "LISTEN"]


def test_an_answer_that_nobody_takes_is_not_kept(hasty):
    process, port = hasty
    with connect(port) as link:
        link.sendall(f"GET /run/first/report HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        wait(lambda: connections(process), 5)
        wait(lambda: not connections(process), 20)


def test_connections_are_limited_and_the_page_is_answered_all_the_same(hasty):
    process, port = hasty
    links = [connect(port) for _ in range(3*ui.MOST_CONNECTIONS)]
    assert is_answered(port)
    assert len(connections(process)) <= ui.MOST_CONNECTIONS + 1
    for link in links:
        link.close()


def upload(port, raw):
    body = upload_body(raw)
    with connect(port) as link:
        link.sendall(upload_head(port, len(body)) + body)
        link.settimeout(120)
        return link.recv(1 << 16)[:12]


def test_an_upload_that_is_aborted_frees_its_place_and_its_file(hasty):
    process, port = hasty
    for _ in range(ui.MOST_UPLOADS + 1):
        with connect(port) as link:
            link.sendall(upload_head(port, 20 << 20) + upload_body(bytes(4 << 20))[:3 << 20])
            time.sleep(.1)
    wait(lambda: not connections(process), 20)
    if os.path.isdir("/proc/self/fd"):
        files = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
        assert not any("(deleted)" in file for file in files)
    assert upload(port, png()) == b"HTTP/1.1 303"


def test_a_browser_that_leaves_before_its_mask_is_ready(hasty):
    process, port = hasty
    body = upload_body(png((1500, 1000)))
    for _ in range(ui.MOST_UPLOADS):
        with connect(port) as link:
            link.sendall(upload_head(port, len(body)) + body)
    wait(lambda: upload(port, png()) == b"HTTP/1.1 303", 60)


def test_a_file_that_is_too_large_gets_its_answer(hasty):
    with connect(hasty[1]) as link:
        link.sendall(upload_head(hasty[1], 40 << 20) + bytes(40 << 20))
        assert link.recv(1 << 16).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: " + b"a"*40_000, b"\0"*100,
                                  b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                                  b"Connection: upgrade\r\n\r\n", b"upload"])
def test_nonsense_is_no_news(hasty, sent):
    "Nothing in the terminal: the fixture looks at it."
    with connect(hasty[1]) as link:
        link.sendall(upload_head(hasty[1], 99) + b"a"*99 if sent == b"upload" else sent)
        closes(link)
    assert is_answered(hasty[1])


@pytest.mark.parametrize("moment", ["waits", pytest.param("predicts", marks=pytest.mark.slow)])
def test_ctrl_c_while_an_image_arrives_or_is_predicted(served, moment):
    process, address = served
    port, body = int(address.split(":")[2].strip("/")), upload_body(png((600, 400)))
    with connect(port) as link, connect(port) as silent:
        silent.sendall(b"GET / HT")
        link.sendall(upload_head(port, len(body)) + body[:len(body)//2 if moment == "waits" else len(body)])
        time.sleep(.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and len(out.splitlines()) == 1 and err == ""


# In a browser

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900")


@pytest.fixture
def browser(tmp_path):
    "A fresh Chromium without a window."
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path/'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def test_a_walk_through_the_page(browser, served, runs, tmp_path):
    def find(css): return browser.find_element("css selector", css)
    _, address = served
    (tmp_path/"photo.png").write_bytes(png((96, 64)))
    browser.get(address)
    button = find("form.choose button")
    assert not button.is_enabled()
    for box in browser.find_elements("css selector", "input[type=checkbox]"):
        box.click()
    assert button.is_enabled()
    button.click()
    wait(lambda: "/compare?" in browser.current_url
         and browser.execute_script("return document.querySelector('h1')?.textContent"))
    browser.get(address)
    browser.find_element("link text", "first").click()
    find("#image").send_keys(str(tmp_path/"photo.png"))
    find("form.drop button").click()
    wait(lambda: "/mask/" in browser.current_url)
    assert find("h1").text.endswith("photo.png")
    wait(
        lambda: all(
         browser.execute_script("return [...document.images].map(im => im.complete && im.naturalWidth === 96)")))
    before = browser.execute_script("return getComputedStyle(document.querySelector('.mask')).opacity")
    find("#strength").send_keys("\ue012"*20)  # the left arrow: it works without a mouse
    after = browser.execute_script("return getComputedStyle(document.querySelector('.mask')).opacity")
    assert float(after) < float(before)
    for width in (1280, 390):
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 500))
        for path in ("", "run/first", "compare?run=first&run=second", browser.current_url.removeprefix(address)):
            browser.get(address + path)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, path
    assert browser.get_log("browser") == []


def test_a_dropped_file_is_sent(browser, served):
    _, address = served
    browser.get(address + "run/first")
    browser.execute_async_script("""const done = arguments[0];
        const canvas = Object.assign(document.createElement("canvas"), {width: 40, height: 30});
        canvas.toBlob(blob => {
            const data = new DataTransfer();
            data.items.add(new File([blob], "drawn.png", {type: "image/png"}));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
            done();
        });""")
    wait(lambda: "/mask/" in browser.current_url)
    assert browser.find_element("css selector", "h1").text.endswith("drawn.png")


def test_a_hostile_report_can_do_nothing_to_the_page(browser, served, runs):
    "Its script runs, as that of a real report must, but it belongs to no site and reaches nothing."
    _, address = served
    (runs/"first"/"report.html").write_text("""<!doctype html><title>report</title><script>
        const seen = {origin: self.origin}; document.title = "ran";
        fetch("/").then(() => seen.fetch = "answered", () => seen.fetch = "refused")
            .then(() => { document.title = JSON.stringify(seen); });</script>""")
    browser.get(address + "run/first/report")
    wait(lambda: browser.title.startswith("{"))
    assert json.loads(browser.title) == dict(origin="null", fetch="refused")
