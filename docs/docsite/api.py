"""What stands on a page for an exported name: heading with anchor, source link, signature, docstring, table of
parameters."""
import ast
import importlib
import inspect
import re
from functools import cache
from html import escape
from pathlib import Path

from fastcore.docments import docments, isdataclass
from nbdev.doclinks import patch_name

empty = inspect.Parameter.empty


def anchor(symbol):
    "nbdev's anchor of a symbol, so that links made from `_modidx` hold"
    return symbol.lower()


@cache
def defined(file):
    "Line of every function, class, method and constant that a module defines, by name (`Run.history` for a method)"
    lines = {}
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = patch_name(node)
            for name in names if isinstance(names, list) else [names]:
                lines[name] = node.lineno
        if isinstance(node, ast.ClassDef):
            lines |= {f"{node.name}.{item.name}": item.lineno for item in node.body
                      if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                lines |= {item.id: node.lineno for item in ast.walk(target) if isinstance(item, ast.Name)
                          and isinstance(item.ctx, ast.Store)}
    return lines


def public(symbol):
    return not any(part.startswith("_") for part in symbol.split("."))


class ModulePage:
    "What the page of a module shows: the entries of its exported names"
    def __init__(self, name, root, source_url, lib="segfast"):
        self.name, self.source_url = name, f"{source_url}/{lib}/{name.replace('.', '/')}.py"
        self.file = Path(root)/lib/f"{name.replace('.', '/')}.py"
        self.module = importlib.import_module(f"{lib}.{name}")
        self.lines = defined(self.file)

    def exports(self):
        "Every public name that needs an anchor: functions, classes, their methods, constants in `__all__`"
        everything = set(getattr(self.module, "__all__", []))
        # a class that is not exported keeps its methods to itself
        hidden = {name for name in self.lines if "." not in name} - everything
        return [name for name in self.lines if public(name)
                and (name in everything or "." in name and name.split(".")[0] not in hidden)]

    def get(self, symbol):
        "The object of a name, functions without their wrappers; a class's attribute as it was written"
        owner, _, last = symbol.rpartition(".")
        if not owner:
            return getattr(self.module, last)
        holder = self.get(owner)
        return next((vars(item)[last] for item in holder.__mro__ if last in vars(item)), None) or getattr(holder, last)

    def entry(self, symbol, level=3):
        "Markdown of one name; a class brings its methods along"
        value, kind = self.get(symbol), "constant"
        if isinstance(value, property):
            value, kind = value.fget, "property"
        elif inspect.isclass(value):
            kind = "class"
        elif isinstance(value, (classmethod, staticmethod)):
            value, kind = value.__func__, "class method" if isinstance(value, classmethod) else "static method"
        elif callable(value) and hasattr(value, "__code__") or inspect.isroutine(value):
            kind = "method" if "." in symbol else "function"
        head = (f'{"#" * level} `{symbol}` {{ #{anchor(symbol)} .symbol data-kind="{kind}" }}\n\n<a class="source" '
                f'href="{self.source_url}#L{self.lines[symbol]}" title="Source of {symbol}">source</a>\n')
        if kind == "constant":
            body = f"```python\n{symbol} = {short(value)}\n```"
        else:
            doc = inspect.cleandoc(value.__doc__ or "") if not default_doc(value) else ""
            body = f"{signature(symbol, value, kind)}\n\n{doc}\n\n{table(value)}"
        methods = [m for m in self.exports() if m.startswith(f"{symbol}.") and kind == "class"
                   and m.split(".")[-1] in vars(value) and self.lines[m] > self.lines[symbol] and not self.patched(m)]
        return "\n\n".join([head + "\n" + body.strip(), *(self.entry(m, level + 1) for m in methods)])

    def patched(self, symbol):
        "Whether a method stands outside its class, by `@patch`: nbdev gives it an entry where it is written"
        return symbol in patches(self.file)


@cache
def patches(file):
    names = [patch_name(node) for node in ast.parse(Path(file).read_text(encoding="utf-8")).body
             if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {n for name in names for n in (name if isinstance(name, list) else [name]) if "." in n}


def default_doc(value):
    "A dataclass without a docstring is given its own signature for one"
    return inspect.isclass(value) and isdataclass(value) and (value.__doc__ or "").startswith(f"{value.__name__}(")


def short(value, limit=300):
    "The value of a constant, or what it is where the value says nothing"
    text = repr(value).replace("typing.", "")
    if " object at 0x" in text or len(text) > limit:
        text = f"... # {type(value).__module__.removeprefix('builtins')}.{type(value).__name__}".replace("# .", "# ")
        text += f" of {len(value)}" if hasattr(value, "__len__") else ""
    return text


def type_text(value):
    "An annotation without the modules that its names come from"
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).strip("'")


def default_text(value):
    return value.__name__ if inspect.isclass(value) or inspect.isroutine(value) else short(value,
        60).removeprefix("... # ")


def parameters(value):
    try:
        sig = inspect.signature(value)
    except (ValueError, TypeError):
        return None
    return sig


def signature(symbol, value, kind):
    "One line where it fits, else a parameter a line; a property has only its type"
    sig = parameters(value)
    if sig is None:
        return f"```python\n{symbol}(...)\n```"
    back = "" if sig.return_annotation is empty or kind == "class" else f" -> {type_text(sig.return_annotation)}"
    if kind == "property":
        return f"```python\n{symbol}{back}\n```"
    parts, star = [], False
    for name, p in sig.parameters.items():
        if name in ("self", "cls") and not parts:
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
        star |= p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + name
        parts.append(text + ("" if p.default is empty else f"={default_text(p.default)}"))
    word = "class " if kind == "class" else ""
    line = f"{word}{symbol}({', '.join(parts)}){back}"
    if len(line) > 92:
        line = f"{word}{symbol}(\n    " + ",\n    ".join(parts) + f",\n){back}"
    return f"```python\n{line}\n```"


def cell(text):
    "Text for a table: no line ends, no bars, no tags"
    return " ".join(str(text).split()).replace("|", "&#124;")


def code(text, symbols=True):
    "Code in a table, where a bar would end the column even between backticks"
    text = " ".join(text.split())
    if "|" not in text and "`" not in text:
        return f"`{text}`"
    return "<code>" + escape(text).replace("|", "&#124;").replace("`", "&#96;").replace("*", "&#42;").replace("_",
        "&#95;") + "</code>"


def grid(head, rows):
    "A Markdown table without the columns that are empty in every row"
    kept = [i for i in range(len(head)) if any(r[i] for r in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([r[i] for i in kept] for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(value):
    "Parameters with type, default and meaning, from fastcore's docments; none where nothing is said"
    try:
        found = docments(value, full=True)
    except Exception:
        return ""
    params = [(k, v) for k, v in found.items() if k not in ("self", "cls", "return")]
    back = found.get("return") or {}
    if not any(v.get("docment") or v.get("anno", empty) is not empty for _, v in params) and not back.get("docment"):
        return ""

    def row(name, v):
        anno, default = v.get("anno", empty), v.get("default", empty)
        return [name, code(type_text(anno)) if anno not in (empty, None) else "", code(default_text(default))
                if default is not empty else "", cell(v.get("docment") or "")]
    rows = [row(code(name), v) for name, v in params]
    if not inspect.isclass(value) and (back.get("docment") or back.get("anno", empty) not in (empty, None)):
        rows.append(row("**returns**", back))
    return grid(["", "Type", "Default", "Meaning"], rows) if rows else ""
