r"""Prompt templates of teachers: plain text files with placeholders, in recipes/teachers or wherever you keep them.

A placeholder is a word in braces that stands alone, `{question}`; the braces of LaTeX (`\boxed{}`, `\frac{ab}{cd}`) are
left as they are.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from cft.errors import DataError
from cft.files import content_id
from cft.recipe.load import recipes_folder

PLACEHOLDERS = {
    "question": "the problem's text",
    "solution": "what the student wrote",
    "answer": "the true answer; a critique that mentions having been told it is dropped",
}
NEEDED = ("question", "solution")
_PLACEHOLDER = re.compile(r"(?<![A-Za-z}\\_^])\{([A-Za-z_]{2,})\}")


@dataclass(frozen=True)
class Template:
    """A teacher's prompt."""

    name: str  # the style: the file's name without its ending
    text: str

    @property
    def version(self) -> str:
        """ "name@hash of the text": part of the identity of every call made with it."""
        return f"{self.name}@{content_id(self.text, length=8)}"

    def fill(self, *, question: str, solution: str, answer: str) -> str:
        """The user message. What is filled in is never looked at for placeholders."""
        values = {"question": question.strip(), "solution": solution.strip(), "answer": answer.strip()}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.text)


def templates_folder() -> Path:
    """Where the shipped templates are."""
    return recipes_folder() / "teachers"


def find_template(name_or_path: str) -> Path:
    """The file of a shipped template's name, or the path as it is given.

    Raises:
        DataError: with the nearest name when there is no such file.
    """
    shipped = templates_folder() / f"{name_or_path}.md"
    for path in (shipped, Path(name_or_path).expanduser()):
        if path.is_file():
            return path
    names = sorted(p.stem for p in templates_folder().glob("*.md"))
    near = difflib.get_close_matches(name_or_path, names, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise DataError(
        f"style {name_or_path!r}: no such template.{meant} Shipped: {', '.join(names)}; or give a file's path."
    )


def load_template(name_or_path: str) -> Template:
    """Read and check a template.

    Raises:
        DataError: when it has an unknown placeholder or lacks a needed one.
    """
    path = find_template(name_or_path)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}). Save the file as UTF-8.") from None
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        for found in _PLACEHOLDER.findall(line):
            if found not in PLACEHOLDERS:
                near = difflib.get_close_matches(found, PLACEHOLDERS, n=1)
                known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                mend = f"did you mean {{{near[0]}}}?" if near else f"known: {known}"
                faults.append(f"line {number}: unknown placeholder {{{found}}}; {mend}")
    for name in NEEDED:
        if name not in _PLACEHOLDER.findall(text):
            faults.append(f"has no {{{name}}} ({PLACEHOLDERS[name]}); add it, or the teacher will not see it")
    if faults:
        raise DataError(f"{path}: {len(faults)} fault(s)\n  " + "\n  ".join(faults))
    return Template(path.stem, text)
