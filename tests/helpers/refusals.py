"Refusals apart from their wording: what was raised, the problems it holds, and the values that its text names."
import re
from contextlib import contextmanager

import pytest
import typer
from helpers.problems import missing
from typer.core import TyperGroup
from typer.testing import CliRunner

from segfast.core.errors import DataError, UsageError

PLANNED = DataError, UsageError, typer.BadParameter.__base__  # whatever else a command raises is a bug


@contextmanager
def refuses(error, *values, code=None, file=None, **fields):
    "Expect an error whose text names all the values; a code, a file and other fields are those of its first problem."
    with pytest.raises(error) as caught:
        yield caught
    if lost := missing(caught, *values):
        raise AssertionError(f"{lost} not named in: {caught.value}")
    asked = {k: v for k, v in dict(code=code, file=file).items() if v is not None} | fields
    found = {k: getattr(caught.value.problems[0], k) for k in asked}
    if found != asked:
        raise AssertionError(f"the first problem has {found}, not {asked}: {caught.value}")


def invoke(app, args):
    "Run a command. The result has what it raised as `error`, before any text was made of it; None: it came to its end."
    raised, group = [], TyperGroup.invoke

    def spy(self, ctx):
        try:
            return group(self, ctx)
        except Exception as e:
            raised.append(e)
            raise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TyperGroup, "invoke", spy)
        result = CliRunner().invoke(app, args)
    result.error = next((e for e in raised if not isinstance(e, (typer.Exit, typer.Abort))), None)
    return result


def first_named(error, names):
    "Which of some names the text of an error names first: the one that it suggests."
    text = str(getattr(error, "value", error))
    found = {name: re.search(rf"(?<![\w.]){re.escape(str(name))}(?!\w)", text) for name in names}
    return min((name for name, at in found.items() if at), key=lambda name: found[name].start(), default=None)
