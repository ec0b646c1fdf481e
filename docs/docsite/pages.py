"""A notebook to a Markdown page: nbdev's processors, then cells and outputs as text, then links."""
import base64
import hashlib
import os
import re
from pathlib import Path

from docsite.api import ModulePage, public
from fastcore.nbio import mk_cell, read_nb
from latex2mathml.converter import convert as mathml
from nbdev.config import nbpath2html
from nbdev.process import NBProcessor, Processor
from nbdev.processors import (
    _default_exp,
    add_show_docs,
    clean_magics,
    hide_,
    hide_line,
    populate_language,
    rm_export,
    rm_header_dash,
    strip_ansi,
)

IMAGES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}


def page_of(source):
    "Where a source file's page lies, as nbdev names it: `nbs/tutorials/01_first_run.ipynb` is `tutorials/first_run.md`"
    return Path(nbpath2html(source).as_posix()).with_suffix(".md").as_posix()


# A link or an image, inline code, and inline mathematics of a Markdown line
INLINE = re.compile(r"(?P<link>(?P<image>!?)\[(?P<text>(?:`[^`]*`|\[[^\]]*\]|[^\]`])*)\]\((?P<to>[^()\s]+)\))"
                    r"|(?P<code>(?<!`)`[^`]+`(?!`))|``.+?``"
                    r"|\$(?P<math>[^$\s](?:[^$\n]*[^$\s])?)\$(?!\d)")


class Documented(Processor):
    "Entries in place of nbdev's `show_doc` calls, which would run the exported cells again; constants get one too"
    def __init__(self, nb, root, source_url):
        super().__init__(nb)
        name = _default_exp(nb)
        self.module_page = ModulePage(name, root, source_url) if name else None
        self.missing = [export for export in self.module_page.exports()
                        if "." not in export] if self.module_page else []

    def begin(self):
        for i in reversed(range(len(self.nb.cells))):
            cell = self.nb.cells[i]
            if cell.cell_type == "code" and "export" in cell.get("directives_", {}) and self.module_page:
                for symbol in reversed(self.constants(cell)):
                    self.nb.cells.insert(i + 1, mk_cell(self.module_page.entry(symbol), "markdown"))

    def constants(self, cell):
        "Names that a cell assigns and the module exports"
        names = [n for line in cell.source.splitlines()
                 if (m := re.match(r"([A-Za-z]\w*(?:\s*,\s*[A-Za-z]\w*)*)\s*(?::[^=]+)?=(?!=)", line))
                 for n in re.split(r"\s*,\s*", m[1])]
        return [n for n in dict.fromkeys(names) if n in self.missing]

    def cell(self, cell):
        if getattr(cell, "has_sd", 0) and (m := re.fullmatch(r"show_doc\((.+)\)", cell.source)):
            cell.cell_type, cell.source = "markdown", self.module_page.entry(m[1]) if public(m[1]) else None


def fenced(text, language, classes=""):
    "A code block whose fence is longer than any in the text"
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`{3,}", text)), default=0))
    info = f"{{ .{language} {classes} }}" if classes else language
    return f"{fence}{info}\n{text.rstrip()}\n{fence}"


class Writer:
    "Turns the notebooks of a project into Markdown below a folder"
    def __init__(self, root, folder, source_url, pages, symbols, nbs="nbs"):
        self.root, self.folder, self.source_url, self.nbs = Path(root), Path(folder), source_url, nbs
        self.pages, self.symbols = pages, symbols  # source path to page; symbol to page#anchor

    def notebook(self, source):
        "Write the page of a notebook"
        nb = read_nb(self.root/source)
        documented = Documented(nb, self.root, self.source_url)
        procs = [populate_language, add_show_docs, strip_ansi, hide_line, rm_header_dash, documented, rm_export,
                 clean_magics, hide_]
        NBProcessor(nb=nb, procs=procs, rm_directives=True).process()
        page, here = self.pages[source], documented.module_page.name if documented.module_page else ""
        parts = [p for c in nb.cells for p in self.cell(c, source, page, here)]
        self.write(page, "\n\n".join(parts) + "\n")

    def text(self, source):
        "Write the page of a Markdown file"
        self.write(self.pages[source], self.markdown((self.root/source).read_text(encoding="utf-8"), source,
                                                     self.pages[source], ""))

    def write(self, page, text):
        target = self.folder/page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def cell(self, cell, source, page, here):
        if cell.cell_type == "markdown":
            yield self.markdown(cell.source, source, page, here)
        elif cell.cell_type == "code":
            # Quarto's words: echo, output, include
            said = {k.rstrip(":"): v for k, v in getattr(cell, "directives_", {}).items()}
            if said.get("include") == "false":
                return
            if cell.source.strip() and said.get("echo") != "false":
                language = cell.metadata.get("language", "python")
                yield fenced(re.sub(r"^%%\w+.*\n", "", cell.source), language)
            texts = []
            for item in [*(cell.get("outputs", []) if said.get("output") != "false" else []), None]:
                if item is not None and item.output_type == "stream":
                    texts.append("".join(item.text))
                    continue
                if joined := "".join(texts).strip("\n"):
                    yield fenced(joined, "text", ".output .no-copy")
                texts = []
                if item is not None:
                    yield self.output(item, source, page, here)

    def output(self, value, source, page, here):
        "A result: an image as a file, a table as HTML, else as text"
        if value.output_type == "error":
            return fenced(f"{value.ename}: {value.evalue}", "text", ".output .no-copy")
        data = {k: v if isinstance(v, str) else "".join(v) for k, v in value.data.items() if isinstance(v, (str, list))}
        for mime, suffix in IMAGES.items():
            if mime in data:
                return self.picture(data[mime], suffix, page)
        if "text/html" in data:
            html = re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.S)
            return '<div class="output html">\n' + re.sub(r"\n\s*\n", "\n", html.strip()) + "\n</div>"
        if "text/markdown" in data:
            return self.markdown(data["text/markdown"], source, page, here)
        return fenced(data.get("text/plain", ""), "text", ".output .no-copy")

    def picture(self, data, suffix, page):
        raw = data.encode() if suffix == "svg" else base64.b64decode(data)
        file = self.folder/Path(page).with_suffix("")/f"{hashlib.sha1(raw).hexdigest()[:12]}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)
        link = os.path.relpath(file, (self.folder/page).parent)
        return f"![Picture that the code above draws]({Path(link).as_posix()}){{ .output loading=lazy }}"

    def markdown(self, text, source, page, here):
        """Links to other sources and to symbols, formulas, and a blank line where Python-Markdown wants one before a
        list"""
        lines, fence, item = [], None, False
        for line in text.splitlines():
            mark = re.match(r"\s*(```+|~~~+)", line)
            if mark and (fence is None or line.strip().startswith(fence)):
                fence = mark[1] if fence is None else None
            elif fence is None and not line.startswith("    "):
                starts = bool(re.match(r"\s*([-*+]|\d+\.)\s", line))
                if starts and not item and lines and lines[-1].strip():
                    lines.append("")
                item = starts or (item and bool(line.strip()))
                line = self.linked(line, source, page, here)
            lines.append(line)
        return "\n".join(lines)

    def linked(self, line, source, page, here):
        heading = line.startswith("#")

        def one(m):
            if m["link"]:
                text = self.linked(m["text"], source, page, here) if m["image"] and not heading else m["text"]
                return f"[{text}]({self.target(m['to'], source, page)})"
            if m["code"]:
                return m[0] if heading else self.symbol(m["code"], page, here) or m[0]
            return mathml(m["math"])
        def replaced(m):
            if not (m["link"] or m["code"] or m["math"]):
                return m[0]
            return ("!" if m["image"] else "") + one(m)
        return INLINE.sub(replaced, line)

    def target(self, to, source, page):
        "A link as it must read on the page: to another page, or to the file in the repository"
        path, mark, at = to.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return to
        wanted = os.path.normpath(Path(source).parent/path).replace(os.sep, "/")
        if wanted in self.pages:
            return os.path.relpath(self.pages[wanted], Path(page).parent).replace(os.sep, "/") + mark + at
        if (self.root/wanted).exists() and not wanted.startswith(".."):
            return f"{self.source_url}/{wanted}{mark}{at}"
        return to

    def symbol(self, quoted, page, here):
        "A backticked name as a link, or None: names of the module of this page come first"
        name = re.sub(r"\(\)$", "", quoted.strip("`"))
        found = self.symbols.get(f"{here}.{name}") or self.symbols.get(name) or self.symbols.get(re.sub(r"^segfast\.",
            "", name))
        if not found:
            return None
        if not re.match(r"https?:", found):
            to, _, at = found.partition("#")
            found = (os.path.relpath(to, Path(page).parent) if to != page else "") + (f"#{at}" if at else "")
        return f"[{quoted}]({found})"


def symbol_table(module_pages, pages):
    """Name to page#anchor: `data.splits.k_folds` and, where they are not taken, `splits.k_folds` and `k_folds`;
    also the names of fastai and fastcore"""
    table, own, short = others(), {}, {}
    for source, module_page in module_pages.items():
        for symbol in module_page.exports():
            at = f"{pages[source]}#{symbol.lower()}"
            own[f"{module_page.name}.{symbol}"] = at
            parts = [*module_page.name.split("."), symbol]
            for i in range(1, len(parts)):
                short.setdefault(".".join(parts[i:]), at)
        own[f"segfast.{module_page.name}"] = pages[source]
    return table | short | own


def others():
    "What fastai and fastcore say of their own symbols; words that are common English are left out"
    from nbdev.doclinks import NbdevLookup
    syms = NbdevLookup(incl_libs=("fastai", "fastcore")).syms
    return {k: v[0] for k, v in syms.items()
            if isinstance(v, tuple) and v[0].startswith("https://") and re.search("[A-Z_]", k) and "segfast" not in k}
