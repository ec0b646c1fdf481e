"What an error says apart from its wording: the values that its text names, and the codes and files of its problems."
import re


def missing(text, *values):
    "Those of the values that a text does not name as a whole, wherever its lines are broken."
    text = " ".join(str(getattr(text, "value", text)).split())
    return [v for v in map(str, values) if not re.search(rf"(?<![\w.]){re.escape(v)}(?!\w|\.\d)", text)]


def problems_of(error):
    "The problems of a `DataError`, or of what `pytest.raises` caught."
    return getattr(error, "value", error).problems


def codes_of(error):
    "Their codes, in order."
    return [p.code for p in problems_of(error)]


def files_of(error):
    "Their files, in order."
    return [p.file for p in problems_of(error)]


def is_crash(text):
    "Whether a command met an error that it does not explain: it offers `--debug`, or shows a traceback."
    return "--debug" in str(text) or "Traceback" in str(text)
