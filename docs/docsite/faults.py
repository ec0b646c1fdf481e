"""Looks over the built pages: links and anchors that lead nowhere, missing images, anything from another host,
symbols without an entry."""
import os
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
         "embed": "src", "object": "data"}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest", "prefetch",
                 "apple-touch-icon"}


@dataclass
class Page(HTMLParser):
    "What a page offers (anchors) and asks for (links, things loaded)"
    text: str
    ids: set = field(default_factory=set)
    links: list = field(default_factory=list)
    loads: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ("id", "name") if attrs.get(k) and (k == "id" or tag == "a")}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"] or "")
        if attrs.get(LOADS.get(tag)):
            self.loads.append(attrs[LOADS[tag]])
        if tag == "link" and LOADING_LINKS & set((attrs.get("rel") or "").split()):
            self.loads.append(attrs.get("href") or "")


def read_pages(site):
    "Every page below a folder, by path; the 404 page has only absolute addresses and belongs to no navigation"
    files = [p for p in sorted(Path(site).rglob("*.html")) if p.name != "404.html"]
    return {p.relative_to(site).as_posix(): Page(p.read_text(encoding="utf-8")) for p in files}


def link_faults(site, pages):
    "One line for each link or loaded thing that is not there, or comes from another host"
    for name, page in pages.items():
        for kind, targets in (("link", page.links), ("load", page.loads)):
            for target in dict.fromkeys(targets):
                url = urlsplit(target)
                if url.scheme == "data" or (kind == "link" and url.scheme in ("http", "https", "mailto")):
                    continue
                if url.scheme or url.netloc:
                    yield f"{name}: loads {target} from another host"
                    continue
                path = os.path.normpath(os.path.join(os.path.dirname(name), unquote(url.path))) if url.path else name
                if path.startswith("..") or url.path.startswith("/") or not (Path(site)/path).is_file():
                    yield f"{name}: {'broken link' if kind == 'link' else 'missing file'} {target}"
                elif url.fragment and path in pages and unquote(url.fragment) not in pages[
                    path].ids and url.fragment != "__skip":
                    yield f"{name}: no anchor {target}"


def symbol_faults(pages, wanted):
    "`wanted` is page to symbols: each needs an anchor there"
    for page, symbols in wanted.items():
        have = pages[page].ids if page in pages else set()
        for symbol in symbols:
            if symbol.lower() not in have:
                yield f"{page}: no entry for {symbol}"


def page_faults(pages, navigated):
    "Pages that the navigation does not name"
    for page in sorted(set(pages) - set(navigated)):
        yield f"{page}: outside the navigation"
