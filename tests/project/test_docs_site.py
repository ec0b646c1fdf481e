"""The documentation site: what its builder makes of a notebook, that it notices each kind of fault, and that the real
site has none."""
import json
import re
import shutil
import sys

import pytest
import yaml

for package in ("mkdocs", "material", "latex2mathml", "nbdev"):
    pytest.importorskip(package)

from docsite import build, commands, faults  # noqa: E402
from docsite.pages import Writer  # noqa: E402
from helpers.site import ROOT, site  # noqa: E402, F401

import segfast  # noqa: E402

pytestmark = pytest.mark.slow # each test builds a site

SITE = ("site_name: toy\nuse_directory_urls: false\nnav:\n{nav}theme: {{name: material, font: false, palette: "
        "{{}}}}\nextra: {{}}\nplugins: [search]\nmarkdown_extensions: [attr_list, md_in_html, tables, "
        "pymdownx.superfences]\nvalidation: {{links: {{not_found: ignore, anchors: ignore, unrecognized_links: "
        "ignore}}}}\n")
NAV = ("index.ipynb", "toys.ipynb", "lesson/01_first.ipynb", "../LOG.md")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def notebook(file, *cells):
    "Cells are Markdown, or ('code', source, outputs)."
    made = []
    for c in cells:
        kind, source, outputs = ("markdown", c, None) if isinstance(c, str) else c
        made.append(dict(cell_type=kind, id=f"c{len(made)}", metadata={}, source=source)
                    | ({} if kind == "markdown" else dict(execution_count=None, outputs=outputs)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(cells=made, metadata=dict(kernelspec=dict(name="python3", language="python",
        display_name="python3")), nbformat=4, nbformat_minor=5)))


def result(**data):
    return dict(output_type="execute_result", metadata={}, execution_count=None,
                data={k.replace("_", "/"): v for k, v in data.items()})


def toy(root, lesson="See [toys](../toys.ipynb#twice) and `twice`.", nav=NAV):
    """A project of one module, one lesson and a log; the module is the real `segfast.core.errors`, so that nothing need
    be installed."""
    (root/"docs"/"theme").mkdir(parents=True)
    (root/"docs"/"site.yml").write_text(SITE.format(nav="".join(f"  - {entry}\n" for entry in nav)))
    (root/"settings.ini").symlink_to(ROOT/"settings.ini")
    shutil.copytree(ROOT/"segfast", root/"segfast", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (root/"LOG.md").write_text("# Log\n\nNothing.\n")
    notebook(root/"nbs"/"index.ipynb", "# Home")
    notebook(root/"nbs"/"toys.ipynb", "# toys\n\n> Toys\n\n## Twice", ("code", "#| hide\nsecret = 1", []))
    notebook(root/"nbs"/"lesson"/"01_first.ipynb", "# First", lesson, ("code", "2 * 2", [result(text_plain="4")]))
    return root


@pytest.fixture
def light(monkeypatch):
    "A build without the library's own pages: only links and navigation are looked at."
    monkeypatch.setattr(build, "library_modules", lambda root: set())
    monkeypatch.setattr("docsite.pages.others", dict)


@pytest.fixture
def package(tmp_path, monkeypatch):
    "A function that adds a module of a subpackage to the toy, which can be imported, and the notebook that `nb` names."
    before = set(sys.modules)
    monkeypatch.setattr(segfast, "__path__", [*segfast.__path__, str(tmp_path/"segfast")])

    def add(name, source, nb=None, prose="", export=None):
        file = tmp_path/"segfast"/(name.replace(".", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent/"__init__.py").write_text('"""Planted."""\n')
        file.write_text(f"{source}\n")
        if nb:
            exported = ("code", f"#| export\n{export or source}", [])
            notebook(tmp_path/"nbs"/nb, ("code", f"#| default_exp {name}", []), f"# {name}\n\n{prose}", exported)
    yield add
    for name in set(sys.modules) - before:
        if name.startswith("segfast.planted"):
            del sys.modules[name]
    vars(segfast).pop("planted", None)


def found(root):
    with pytest.raises(build.Faults) as e:
        build.build(root)
    return "\n".join(e.value.lines)


# ---- what the pages hold

@pytest.fixture
def page(tmp_path):
    "Markdown of a notebook with these cells."
    def make(*cells):
        notebook(tmp_path/"nbs"/"a.ipynb", *cells)
        Writer(tmp_path, tmp_path/"out", "https://host/blob/main",
               {"nbs/a.ipynb": "a.md", "nbs/t/01_b.ipynb": "t/b.md"},
               {"Run": "runs.md#run", "Run.plot": "runs.md#run.plot"}).notebook("nbs/a.ipynb")
        return (tmp_path/"out"/"a.md").read_text()
    return make


def test_hidden_cells_are_dropped_and_outputs_kept(page):
    text = page("# A", ("code", "#| hide\nsecret = 1", []),
                ("code", "#| echo: false\nprint(1)", [dict(output_type="stream", name="stdout", text="shown\n")]),
                ("code", "1 + 1", [result(text_plain="2")]))
    assert "secret" not in text and "print(1)" not in text
    assert "```{ .text .output .no-copy }\nshown\n```" in text and "```python\n1 + 1\n```" in text


def test_an_image_becomes_a_file_and_a_table_stays_html(page, tmp_path):
    text = page(("code", "fig", [result(image_png=PIXEL, text_plain="<Figure>")]),
                ("code", "df", [result(text_html="<table>\n\n<tr><td>x</td></tr></table>", text_plain="x")]))
    file = re.search(r"!\[[^]]+\]\((a/\w+\.png)\)", text)[1]
    assert (tmp_path/"out"/file).read_bytes().startswith(b"\x89PNG")
    assert '<div class="output html">\n<table>\n<tr>' in text and "<Figure>" not in text


def test_symbols_are_linked_but_not_in_code_nor_in_headings(page):
    text = page("## `Run`\n\nA `Run`, `Run.plot()` and `Nothing`.\n\n```python\n`Run`\n```\n\n    `Run` indented")
    assert "## `Run`\n" in text and "```python\n`Run`\n```" in text and "    `Run` indented" in text
    assert "[`Run`](runs.md#run), [`Run.plot()`](runs.md#run.plot) and `Nothing`" in text


def test_links_lead_to_pages_or_to_the_repository(page, tmp_path):
    (tmp_path/"LICENSE").write_text("x")
    text = page("[b](t/01_b.ipynb#x) [l](../LICENSE) [w](https://e.org) [`t/01_b.ipynb`](t/01_b.ipynb)")
    assert "[b](t/b.md#x) [l](https://host/blob/main/LICENSE) [w](https://e.org) [`t/01_b.ipynb`](t/b.md)" in text


def test_lists_and_formulas_are_read_as_commonmark_reads_them(page):
    text = page("Words:\n- one\n- two\n\nThe weight $1/f_c$ costs `$HOME` and 5 $.")
    assert "Words:\n\n- one\n- two" in text and "<math" in text and "`$HOME` and 5 $." in text


def test_a_fence_in_an_output_does_not_end_the_block(page):
    assert "````{ .text .output .no-copy }\n```\n````" in page(("code", "x", [result(text_plain="```")]))


def test_commands_come_with_every_option_default_and_group():
    from segfast.cli import app
    text = commands.page(app)
    for key, command, _ in commands.subcommands(app):
        assert f"{{ #{key} }}" in text
        part = text.split(f"{{ #{key} }}")[1].split("\n## ")[0]
        for p in command.params:
            assert all(item in part for item in [*p.opts, *p.secondary_opts] if item.startswith("-")), (key, p.name)
    train = text.split("{ #train }")[1].split("\n## ")[0]
    for text in "**Data**", "**Training**", "`--seed N` | `42`", "| `--out DIR` | `runs` |": assert text in train


# ---- faults that are noticed; the first is the control

def test_a_sound_site_is_built(tmp_path, light):
    site, pages, _ = build.build(toy(tmp_path, "See [toys](../toys.ipynb#twice)."))
    assert pages == 4 and 'href="../toys.html#twice"' in (site/"lesson"/"first.html").read_text()


def test_zensical_reads_the_same_configuration(tmp_path, light):
    pytest.importorskip("zensical")
    assert build.build(toy(tmp_path, "See [toys](../toys.ipynb#twice)."), generator="zensical")[1] == 4


@pytest.mark.parametrize("lesson, said", [
    ("[gone](../gone.ipynb)", "lesson/first.html: broken link ../gone.ipynb"),
    ("[gone](../toys.ipynb#thrice)", "lesson/first.html: no anchor ../toys.html#thrice"),
    ("[gone](#nowhere)", "lesson/first.html: no anchor #nowhere"),
    ("![gone](gone.png)", "lesson/first.html: missing file gone.png"),
    ("<img src='https://example.org/x.png'>", "lesson/first.html: loads https://example.org/x.png from another host"),
    ("<a href='gone.html'>gone</a>", "lesson/first.html: broken link gone.html"),
])
def test_broken_links_and_images_stop_the_build(tmp_path, light, lesson, said):
    assert said in found(toy(tmp_path, lesson))


def test_the_generators_own_warnings_stop_the_build(tmp_path, light):
    root = toy(tmp_path, "[gone](gone.md)")
    config = root/"docs"/"site.yml"
    config.write_text(config.read_text().replace("not_found: ignore", "not_found: warn"))
    assert "gone.md" in found(root)


def test_a_notebook_outside_the_navigation_stops_the_build(tmp_path, light):
    root = toy(tmp_path)
    notebook(root/"nbs"/"lost.ipynb", "# Lost")
    assert found(root) == "nbs/lost.ipynb: outside the navigation (docs/site.yml)"


def test_a_page_that_is_not_there_stops_the_build(tmp_path, light):
    assert found(toy(tmp_path, nav=(*NAV, "gone.ipynb"))) == "nbs/gone.ipynb: named in the navigation, but not there"


def test_pages_outside_the_navigation_are_found_in_the_site():
    assert list(faults.page_faults({"a.html": None, "b.html": None}, ["a.html"])) == ["b.html: outside the navigation"]


def test_a_module_without_a_page_stops_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr("docsite.pages.others", dict)
    assert "segfast/metrics/confusion.py: no page" in found(toy(tmp_path, "Nothing."))


def test_an_export_without_an_entry_stops_the_build(tmp_path, light, monkeypatch):
    root = toy(tmp_path, "Nothing.")
    notebook(root/"nbs"/"toys.ipynb", ("code", "#| default_exp core.errors", []), "# errors\n\n## Twice",
             ("code", "#| export\ndef safe_text(text): pass", []))
    said = found(root)
    assert "toys.html: no entry for DataError" in said and "no entry for safe_text" not in said


# ---- modules and notebooks in packages

TWICE = '__all__ = ["twice"]\ndef twice(x):\n    "Twice"\n    return 2*x'


def test_a_module_of_a_package_without_a_page_stops_the_build(tmp_path, monkeypatch, package):
    monkeypatch.setattr("docsite.pages.others", dict)
    package("planted.deeper.toys", TWICE)
    package("planted.toys", TWICE, "planted/01_toys.ipynb")
    said = found(toy(tmp_path, "Nothing.", (*NAV, "planted/*.ipynb")))
    assert "segfast/planted/deeper/toys.py: no page" in said
    assert "segfast/planted/toys.py: no page" not in said and "__init__" not in said


def test_an_export_of_a_package_without_an_entry_stops_the_build(tmp_path, light, package):
    twice = "def twice(x): return 2*x"
    package("planted.toys", f'__all__ = ["twice", "Thrice"]\n{twice}\nclass Thrice: pass', "planted/01_toys.ipynb",
            export=twice)
    said = found(toy(tmp_path, "Nothing.", (*NAV, "planted/*.ipynb")))
    assert "planted/toys.html: no entry for Thrice" in said and "no entry for twice" not in said


def test_a_notebook_of_a_package_outside_the_navigation_stops_the_build(tmp_path, light):
    root = toy(tmp_path, nav=(*NAV, "planted/*.ipynb"))
    notebook(root/"nbs"/"planted"/"deeper"/"01_lost.ipynb", "# Lost")
    assert found(root) == "nbs/planted/deeper/01_lost.ipynb: outside the navigation (docs/site.yml)"


def test_two_notebooks_of_one_page_stop_the_build(tmp_path, light):
    root = toy(tmp_path, nav=(*NAV, "planted/*.ipynb"))
    for name in ("01_toys", "02_toys"):
        notebook(root/"nbs"/"planted"/f"{name}.ipynb", f"# {name}")
    assert found(root) == "nbs/planted/01_toys.ipynb, nbs/planted/02_toys.ipynb: all make the page planted/toys.md"


def test_modules_of_one_name_have_each_its_page_and_its_links(tmp_path, light, package):
    prose = "`twice`, `a.toys.twice`, `planted.b.toys.twice`, `segfast.planted.a.toys`, [first](../../toys.ipynb#twice)"
    for name in "a", "b":
        package(f"planted.{name}.toys", TWICE, f"planted/{name}/01_toys.ipynb", prose)
    nav = (*NAV, "planted/a/*.ipynb", "planted/b/*.ipynb")
    site, pages, _ = build.build(toy(tmp_path, "See `twice` and `planted.b.toys.twice`.", nav))
    assert pages == 6
    read = faults.read_pages(site)
    a, b, lesson = (read[name].links for name in ("planted/a/toys.html", "planted/b/toys.html", "lesson/first.html"))
    assert [link.partition("/blob/main/")[2] for link in a if "/blob/" in link] == ["segfast/planted/a/toys.py#L2"]
    assert [link.partition("/blob/main/")[2] for link in b if "/blob/" in link] == ["segfast/planted/b/toys.py#L2"]
    assert {"#twice", "../b/toys.html#twice"} <= set(a)
    assert {"#twice", "../a/toys.html", "../a/toys.html#twice", "../../toys.html#twice"} <= set(b)
    assert {"../planted/a/toys.html#twice", "../planted/b/toys.html#twice"} <= set(lesson)


PACKAGES = ("core", "data", "data/detect", "data/formats", "metrics", "models", "runs", "report", "inference",
            "training", "tools")


def test_the_navigation_takes_the_notebooks_of_every_package_once():
    planted = [f"nbs/{name}/{number}_planted.ipynb" for name in PACKAGES for number in ("00", "47")]
    nav = yaml.safe_load((ROOT/"docs"/"site.yml").read_text(encoding="utf-8"))["nav"]
    taken = list(build.leaves(build.filled(nav, [build.COMMANDS, *build.notebooks(ROOT), *planted])))
    assert [name for name in taken if "planted" in name] == planted
    assert sorted(set(taken)) == sorted(taken)


# ---- notebooks

def test_notebooks_are_small():
    sizes = {p.relative_to(ROOT).as_posix(): p.stat().st_size for p in ROOT.glob("nbs/**/*.ipynb")
             if ".ipynb_checkpoints" not in p.parts}
    assert {k: v for k, v in sizes.items() if v > 500_000} == {}
    assert sum(sizes.values()) <= 9_000_000


def test_notebooks_hold_no_path_of_this_machine():
    odd = re.compile(r"/tmp/|/root/|/home/\w|/work/")
    for p in ROOT.glob("nbs/**/*.ipynb"):
        for c in json.loads(p.read_text(encoding="utf-8"))["cells"]:
            text = json.dumps([{k: v for k, v in item.get("data", item).items() if not k.startswith("image/")}
                               for item in c.get("outputs", [])])
            assert not odd.search(text), (p.name, odd.search(text), c["source"][:1])


# ---- the real site


def test_the_real_site_has_every_page_and_symbol(site):
    pages = faults.read_pages(site)
    index = json.loads((site/"search"/"search_index.json").read_text())["docs"]
    assert {"index.html", "commands.html", "changelog.html", "metrics/confusion.html", "data/formats/voc.html",
            "tutorials/first_run.html", "explanations/void_pixels.html", "cli.html", "all.html"} <= set(pages)
    assert any(item["location"] == "metrics/confusion.html#confusionmatrix" for item in index)
    from segfast._modidx import d
    for module, symbols in d["syms"].items():  # nbdev's own index names page and anchor of each symbol
        shown = set(getattr(__import__(module, fromlist=["x"]), "__all__", []))
        for name, (at, _) in symbols.items():
            short = name.removeprefix(f"{module}.")
            if short in shown:
                page, _, anchor = at.partition("#")
                assert anchor in pages[page].ids, name


def test_nothing_is_loaded_from_elsewhere(site):
    for name, page in faults.read_pages(site).items():
        assert not [load for load in page.loads if re.match(r"(https?:)?//", load)], name
    for css in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", css.read_text(encoding="utf-8")), css.name
