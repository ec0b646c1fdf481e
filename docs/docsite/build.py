"""Build the site: read sources and navigation, write Markdown, run the generator, look for faults in what it made."""
import fnmatch
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import yaml
from docsite import commands, faults
from docsite.api import ModulePage
from docsite.pages import Writer, page_of, symbol_table
from fastcore.nbio import read_nb
from nbdev.processors import _default_exp

COMMANDS = "commands"  # the page that no file is the source of


class Faults(Exception):
    "The site is not to be published; one line a fault"
    def __init__(self, lines):
        self.lines = list(lines)
        super().__init__(f"{len(self.lines)} faults:\n" + "\n".join(self.lines))


def settings(root):
    "Where the sources and the site are on the web, from settings.ini"
    config = ConfigParser(delimiters=["="])
    config.read(Path(root)/"settings.ini", encoding="utf-8")
    c = config["DEFAULT"]
    return dict(source_url=f"{c['git_url']}/blob/{c['branch']}", site_url=c["doc_host"] + c["doc_baseurl"],
                repo=c["git_url"])


def notebooks(root):
    "All notebooks, as paths from the root"
    found = sorted(Path(root, "nbs").rglob("*.ipynb"))
    return [p.relative_to(root).as_posix() for p in found
            if not any(part.startswith((".", "_")) for part in p.relative_to(root).parts)]


def leaves(nav):
    for item in nav:
        value = next(iter(item.values())) if isinstance(item, dict) else item
        yield from leaves(value) if isinstance(value, list) else [value]


def source_of(line):
    return line if line == COMMANDS else line[3:] if line.startswith("../") else f"nbs/{line}"


def filled(nav, sources, named=None):
    """The navigation with patterns replaced by what no other line names, in order of file name; sections that stay
    empty go"""
    named = {source_of(leave) for leave in leaves(nav)} if named is None else named
    result = []
    for item in nav:
        title, value = next(iter(item.items())) if isinstance(item, dict) else (None, item)
        if isinstance(value, list):
            if inner := filled(value, sources, named):
                result.append({title: inner})
        elif "*" in value:
            pattern = source_of(value)
            result += [source for source in sources if fnmatch.fnmatch(source, pattern)
                       and source.count("/") == pattern.count("/") and source not in named]
        else:
            result.append({title: source_of(value)} if title else source_of(value))
    return result


def pages_of(sources):
    "The page of every source; two notebooks of one folder can differ in their numbers alone, and would have the same"
    def page(source): return page_of(Path(f"{source}.md" if source == COMMANDS else source.removeprefix("nbs/")))
    pages, by_page = {source: page(source) for source in sources}, {}
    for source in sources:
        by_page.setdefault(pages[source], []).append(source)
    if clashes := {page: named for page, named in by_page.items() if len(named) > 1}:
        raise Faults(f"{', '.join(named)}: all make the page {page}" for page, named in clashes.items())
    return pages


def as_pages(nav, pages):
    return [({k: as_pages(v, pages) if isinstance(v, list) else pages[v] for k, v in entry.items()}
             if isinstance(entry, dict) else pages[entry]) for entry in nav]


def write_pages(root, folder, nav, links, app=None):
    "Markdown of every page of the navigation; returns the module pages by source, and the path of every page"
    sources = list(dict.fromkeys(leaves(nav)))
    if absent := [item for item in sources if item != COMMANDS and not (root/item).is_file()]:
        raise Faults(f"{key}: named in the navigation, but not there" for key in absent)
    if outside := sorted(set(notebooks(root)) - set(sources)):
        raise Faults(f"{path}: outside the navigation (docs/site.yml)" for path in outside)
    pages = pages_of(sources)
    modules = {source: _default_exp(read_nb(root/source)) for source in sources if source.endswith(".ipynb")}
    module_pages = {source: ModulePage(name, root, links["source_url"]) for source, name in modules.items() if name}
    writer = Writer(root, folder, links["source_url"], pages, symbol_table(module_pages, pages))
    for item in sources:
        if item == COMMANDS:
            writer.write(pages[item], writer.markdown(commands.page(app), item, pages[item], "cli"))
        else:
            (writer.notebook if item.endswith(".ipynb") else writer.text)(item)
    return module_pages, pages


def streets(file, n=5):
    "The image of the home page: scenes of the demo above their masks"
    import numpy as np
    from PIL import Image
    from segfast.data.demo import COLORS, scene
    drawn = [scene(size=(150, 200), seed=i) for i in range(n)]
    strip = np.concatenate([np.concatenate([np.asarray(image), np.array(COLORS, np.uint8)[mask]])
                            for image, mask in drawn], axis=1)
    Image.fromarray(strip).save(file, quality=82)


def home(file, more):
    "The README, and below its first lines an image and ways in; without the sidebar, which would have one entry"
    head, line, rest = file.read_text(encoding="utf-8").partition("\n## ")
    file.write_text(f"---\nhide: [navigation]\n---\n\n{head}\n{more}{line}{rest}", encoding="utf-8")


def configuration(root, out, nav, links):
    "The generator's configuration beside its pages, with the addresses of settings.ini"
    config = yaml.safe_load((root/"docs"/"site.yml").read_text(encoding="utf-8"))
    config |= dict(site_url=links["site_url"], docs_dir="pages", site_dir="site", nav=nav)
    config["extra"]["social"] = [dict(icon="fontawesome/brands/git-alt", link=links["repo"], name="Source")]
    (out/"mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def generate(out, generator):
    "Run the generator; its warnings are faults"
    command = dict(material=[sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", "mkdocs.yml"],
                   zensical=[sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", "mkdocs.yml"])[
        generator]
    made = subprocess.run(command, cwd=out, capture_output=True, text=True,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    said = made.stdout + made.stderr
    if made.returncode:
        raise Faults(line for line in said.splitlines() if line.strip())
    return said


def wanted(module_pages, pages):
    "Page to symbols, from the index that nbdev keeps of the library, and from `__all__`"
    table = {Path(page).with_suffix(".html").as_posix(): [] for page in pages.values()}
    for source, module_page in module_pages.items():
        table[Path(pages[source]).with_suffix(".html").as_posix()] = module_page.exports()
    return table


def library_modules(root, lib="segfast"):
    "The modules that notebooks export, by their names in the library: `cli`, `data.splits`"
    files = [p for p in Path(root, lib).rglob("*.py") if p.name not in ("__init__.py", "_modidx.py")]
    return {".".join(p.relative_to(Path(root, lib)).with_suffix("").parts) for p in files}


def module_faults(modules, module_pages):
    "Modules of the library that have no page"
    for name in sorted(modules - {module_page.name for module_page in module_pages.values()}):
        yield f"segfast/{name.replace('.', '/')}.py: no page"


def build(root, out=None, generator="material"):
    "Build the site below `out` (`_docs/`); raises `Faults` with every fault found"
    root = Path(root).resolve()
    out = Path(out).resolve() if out else root/"_docs"
    sys.path.insert(0, str(root))
    links, config = settings(root), yaml.safe_load((root/"docs"/"site.yml").read_text(encoding="utf-8"))
    if root.is_relative_to(out) or (out.exists() and any(out.iterdir()) and not (out/"pages").is_dir()):
        raise Faults([f"{out}: is no folder of a site; nothing was deleted. Take another --out"])
    shutil.rmtree(out, ignore_errors=True)
    (out/"pages").mkdir(parents=True)
    nav = filled(config["nav"], [COMMANDS, *notebooks(root)])
    app = import_module("segfast.cli").app if COMMANDS in leaves(nav) else None
    module_pages, pages = write_pages(root, out/"pages", nav, links, app)
    shutil.copytree(root/"docs"/"theme", out/"pages"/"assets")
    if (root/"docs"/"home.md").is_file():
        streets(out/"pages"/"assets"/"streets.jpg")
        home(out/"pages"/pages["nbs/index.ipynb"], (root/"docs"/"home.md").read_text(encoding="utf-8"))
    configuration(root, out, as_pages(nav, pages), links)
    said = generate(out, generator)
    built = faults.read_pages(out/"site")
    found = [*faults.link_faults(out/"site", built), *faults.symbol_faults(built, wanted(module_pages, pages)),
             *faults.page_faults(built, [Path(page).with_suffix(".html").as_posix() for page in pages.values()]),
             *module_faults(library_modules(root), module_pages)]
    if found:
        raise Faults(found)
    return out/"site", len(built), said
