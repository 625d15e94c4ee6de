r"""Prompt templates of teachers: plain text files with placeholders, in recipes/teachers or wherever you keep them.

A placeholder is a word in braces that stands alone, `{question}`; the braces of LaTeX (`\boxed{}`, `\frac{ab}{cd}`) are
left as they are.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cft.files import content_id, faulty
from cft.foreign import read_text
from cft.recipe.shipped import by_stem, find_file, recipes_folder
from cft.suggest import did_you_mean

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
    """The file of a shipped template's name, or of a path. A DataError says the nearest name."""
    return find_file(name_or_path, by_stem(templates_folder(), ".md"), "template of a critique", suffix=".md")


def load_template(name_or_path: str) -> Template:
    """Read and check a template.

    Raises:
        DataError: when it has an unknown placeholder or lacks a needed one.
    """
    path = find_template(name_or_path)
    text = read_text(path).strip()
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in _PLACEHOLDER.findall(line):
            if word not in PLACEHOLDERS:
                known = did_you_mean(word, PLACEHOLDERS)
                faults.append(f"line {number}: unknown placeholder {{{word}}}. {known}")
    for name in NEEDED:
        if name not in _PLACEHOLDER.findall(text):
            faults.append(f"has no {{{name}}} ({PLACEHOLDERS[name]}); add it, or the teacher will not see it")
    if faults:
        raise faulty(path, faults)
    return Template(path.stem, text)
