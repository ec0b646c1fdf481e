"""Write README.md from nbs/index.ipynb: without hidden cells and directives, outputs as text, links from the root."""
import os
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parents[1]
source, target = root/"nbs"/"index.ipynb", root/"README.md"
hidden = re.compile(r"^#\| *(hide|default_exp|exporti?|include: *false)\b", re.M)
directive = re.compile(r"^#\|.*\n?", re.M)
link = re.compile(r"(\]\()([^)#:\s]+)(?=[)#])")


def from_root(match):
    "A link that is relative to nbs/, made relative to the root, where the README stands"
    path = os.path.normpath(source.parent/match[2])
    return match[1] + Path(path).relative_to(root).as_posix()


def visible(nb):
    "The notebook without hidden cells and without the directive lines of the others"
    nb.metadata["language_info"] = {"name": "python"}  # names the language of the code fences; nbdev-clean removes it
    nb.cells = [c for c in nb.cells if not (c.cell_type == "code" and hidden.search(c.source))]
    for c in nb.cells:
        if c.cell_type == "code":
            c.source = directive.sub("", c.source).strip()
        else:
            c.source = link.sub(from_root, c.source)
    return nb


# Text only, so that no image has to be stored beside the README.
text_only = Config(NbConvertBase=dict(display_data_priority=["text/markdown", "text/plain"]))
text, _ = MarkdownExporter(config=text_only).from_notebook_node(visible(nbformat.read(source, as_version=4)))
text = re.sub(r"[ \t]+$", "", text, flags=re.M)
text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
note = "<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook. -->"
target.write_text(f"{note}\n\n{text}", encoding="utf-8", newline="\n")
