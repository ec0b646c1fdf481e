"""The page of the command line, from the Typer app: every command with its usage, arguments, options and defaults."""
import re

import typer
from docsite.api import cell, code, grid

def plain(text):
    "A help without rich markup: bold words are commands, which Markdown shows as code"
    return re.sub(r"\[bold\](.*?)\[/\]", r"`\1`", text or "")


def default(param):
    "The default: the words that describe it, else the value itself"
    if isinstance(param.show_default, str):
        return param.show_default
    if param.required:
        return "required"
    value = param.default() if callable(param.default) else param.default
    if value is None or value is False or param.show_default is False:
        return ""
    if value is True:
        return param.opts[0]
    return str(value)


def row(param, ctx):
    "How it is written, its default, and what it does"
    record = (param.get_help_record(ctx) or (param.metavar or param.name.upper(),))[0]
    metavar = "" if getattr(param, "is_flag", False) else (param.metavar or record.rsplit(" ", 1)[-1])
    metavar = {"<str>": "TEXT", "<path>": "PATH", "<int>": "N", "<int range>": "N", "range>": "N",
               "<float>": "X"}.get(metavar, metavar)
    names = [*param.opts, *param.secondary_opts] if param.opts[0].startswith("-") else []
    value = default(param)
    return [code(" ".join(filter(None, [", ".join(names), metavar]))), value if value in ("", "required")
            else code(value) + ("{ .nb }" if value.startswith("-") else ""), cell(plain(param.help))]


def tables(command, ctx):
    "The arguments, then the options panel by panel, in the order of the command's help"
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and not p.hidden]
    sections = {"Arguments": arguments}
    for p in options:
        sections.setdefault(p.rich_help_panel or "Options", []).append(p)
    for title, params in sections.items():
        if params:
            yield f"**{title}**\n\n" + grid(["", "Default", "Meaning"], [row(p, ctx) for p in params])


def usage(name, command, ctx):
    return f"```sh\n{name} {' '.join(command.collect_usage_pieces(ctx))}\n```"


def subcommands(app, name="segfast"):
    "Name, command and context of every visible command"
    top = typer.main.get_command(app)
    ctx = typer.Context(top, info_name=name)
    for key, command in top.commands.items():
        if not command.hidden:
            yield key, command, typer.Context(command, info_name=key, parent=ctx)


def page(app, name="segfast"):
    "The whole page as Markdown"
    top = typer.main.get_command(app)
    found = list(subcommands(app, name))
    panels = {}
    for key, command, _ in found:
        panels.setdefault(command.rich_help_panel, []).append(f"| [`{name} {key}`](#{key}) | {cell(command.help)} |")
    index = "\n\n".join(f"**{title}**\n\n| command | |\n|---|---|\n" + "\n".join(rows)
                        for title, rows in panels.items())
    parts = [f"# Command line\n\n> {top.help}", index,
             "Every command also takes `--help`. Results go to stdout and everything else to stderr. Exit codes: 0 "
             "is success, 1 is a problem with the data or the run, 2 is a wrong command line, 130 is an interruption. "
             "`segfast --version` prints the version."]
    for key, command, ctx in found:
        parts += [f"## `{name} {key}` {{ #{key} }}", command.help or "", usage(f"{name} {key}", command, ctx),
                  *tables(command, ctx)]
    return "\n\n".join(parts) + "\n"
