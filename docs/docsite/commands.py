"""The page of the command line, from the Typer app: every command with its usage, arguments, options and defaults."""
import re

import typer
from docsite.api import cell, code, grid

# Where a command or an option says nothing of its group (Typer's `rich_help_panel`), this does.
GROUPS = {"Data": "--layout --border --split --classes --check --data --data-changed",
          "Model": "--model --weights --from --size", "Training": "--progressive --recipe --epochs --batch-size --lr "
                                                                  "--aug --precision --seed --set "
                                                                  "--stage --steps --extend",
          "Computer": "--device --workers", "Output": "--out --name --log --json --plot --html --report --debug "
                                                      "--as-masks --overwrite --add",}


def group(option):
    panel = getattr(option, "rich_help_panel", None)
    if isinstance(panel, str):
        return panel
    return next((g for g, names in GROUPS.items() if set(option.opts) & set(names.split())), "Options")


def default(param):
    "The default: what the help says in brackets, else the value itself"
    if m := re.search(r"\s*\[default: (.*)\]$", param.help or ""):
        return m[1]
    if param.required:
        return "required"
    value = param.default() if callable(param.default) else param.default
    if value is None or value is False or getattr(param, "show_default", True) is False:
        return ""
    if value is True:
        return param.opts[0]
    return str(value)


def row(param, ctx):
    "How it is written, its default, and what it does"
    text = re.sub(r"\s*\[default: .*\]$", "", param.help or "")
    record = (param.get_help_record(ctx) or (param.metavar or param.name.upper(),))[0]
    metavar = "" if getattr(param, "is_flag", False) else (param.metavar or record.rsplit(" ", 1)[-1])
    metavar = {"<str>": "TEXT", "<path>": "PATH", "<int>": "N", "<int range>": "N", "range>": "N",
               "<float>": "X"}.get(metavar, metavar)
    names = [*param.opts, *param.secondary_opts] if param.opts[0].startswith("-") else []
    value = default(param)
    return [code(" ".join(filter(None, [", ".join(names), metavar]))), value if value in ("", "required")
            else code(value) + ("{ .nb }" if value.startswith("-") else ""), cell(text)]


def tables(command, ctx):
    "The arguments, then the options group by group"
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and not p.hidden]
    sections = {"Arguments": arguments, **{g: [] for g in GROUPS}}
    for p in options:
        sections.setdefault(group(p), []).append(p)
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
    index = "\n".join(f"| [`{name} {k}`](#{k}) | {cell(c.help or '')} |" for k, c, _ in found)
    parts = [f"# Command line\n\n> {top.help}", f"| command | |\n|---|---|\n{index}",
             "Every command also takes `--help`. Results go to stdout and all else to stderr. The exit code is 0 when "
             "all went well, 1 when the data or the run is at fault, 2 when the command line is, and 130 after an "
             "interruption. `segfast --version` prints the version."]
    for key, command, ctx in found:
        parts += [f"## `{name} {key}` {{ #{key} }}", command.help or "", usage(f"{name} {key}", command, ctx),
                  *tables(command, ctx)]
    return "\n\n".join(parts) + "\n"
