"""A Modelfile for Ollama: the chat template in Ollama's own language, where answers stop, and greedy decoding.

A Jinja template cannot be translated in general. It is rendered with marks in place of the texts, and from what stands
between them a Go template is made; then both are rendered for several conversations and must agree.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cft.errors import RunError
from cft.export.trained import Trained
from cft.files import read_json, write_text
from cft.models.load import load_tokenizer, starts_with_bos

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM, USER, ANSWER = "SYSTEMxMARK", "USERxMARK", "ANSWERxMARK"
SMALLEST_CONTEXT = 4096


@dataclass(frozen=True)
class Turns:
    """What a chat template writes around the texts of a conversation."""

    default_system: str  # in front of a conversation without a system message
    before_system: str | None  # None: the template takes no system message
    after_system: str
    before_user: str
    after_user: str
    before_answer: str
    after_answer: str
    begin_answer: str  # what asks for the next answer

    def render(self, messages: list[dict]) -> str:
        """A conversation as Ollama will write it."""
        around = {
            "system": (self.before_system or "", self.after_system),
            "user": (self.before_user, self.after_user),
            "assistant": (self.before_answer, self.after_answer),
        }
        text = "" if messages[0]["role"] == "system" else self.default_system
        for message in messages:
            before, after = around[message["role"]]
            text += before + message["content"] + after
        return text + self.begin_answer

    def go_template(self) -> str:
        """The same as a Go template over Ollama's .System and .Messages, which holds the system message too."""
        lit = go_literal
        head = ""
        if self.before_system is not None:
            otherwise = f"{{{{ else }}}}{lit(self.default_system)}" if self.default_system else ""
            system = lit(self.before_system) + "{{ .System }}" + lit(self.after_system)
            head = f"{{{{ if .System }}}}{system}{otherwise}{{{{ end }}}}"
        else:
            head = lit(self.default_system)
        user = lit(self.before_user) + "{{ .Content }}" + lit(self.after_user)
        said = lit(self.before_answer) + "{{ .Content }}" + lit(self.after_answer)
        return (
            f'{head}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user}'
            f'{{{{ else if eq .Role "assistant" }}}}{said}{{{{ end }}}}{{{{ end }}}}{lit(self.begin_answer)}'
        )


def go_literal(text: str) -> str:
    """Text that a Go template writes as it is."""
    return text.replace("{{", '{{ "{{" }}')


def conversation(*texts: str) -> list[dict]:
    """Messages of which the role is told by the mark they begin with."""
    roles = {SYSTEM: "system", USER: "user", ANSWER: "assistant"}
    told = [(next(role for mark, role in roles.items() if text.startswith(mark)), text) for text in texts]
    return [{"role": role, "content": text} for role, text in told]


def find_turns(tokenizer: "PreTrainedTokenizerBase") -> Turns:
    """What the tokenizer's chat template writes, checked on conversations of up to five messages.

    Raises:
        RunError: the template does not write every message of a role alike.
    """
    import jinja2

    def write(*texts: str, ask: bool = True) -> str:
        text = tokenizer.apply_chat_template(conversation(*texts), tokenize=False, add_generation_prompt=ask)
        if starts_with_bos(tokenizer):  # llama.cpp writes it itself
            text = text.removeprefix(tokenizer.bos_token)
        return text

    if tokenizer.chat_template is None:
        return Turns("", None, "", "", "\n", "", tokenizer.eos_token or "", "")
    try:
        whole = write(USER, ask=False)
        front, after_user = whole.split(USER)
        begin = write(USER).removeprefix(whole)
        between, rest = write(USER + "1", ANSWER, USER + "2").split(USER + "1")[1].split(ANSWER)
        next_user = rest.split(USER + "2")[0]
        before_answer = between.removeprefix(after_user)
        last = write(USER, ANSWER, ask=False).split(ANSWER)[1]
        before_user = next_user.removeprefix(last)
        if not next_user.startswith(last) or not front.endswith(before_user):
            before_user = common_end(front, next_user)
        after_answer = next_user.removesuffix(before_user)
        default = front.removesuffix(before_user)
        try:
            before_system, follows = write(SYSTEM, USER).split(USER)[0].split(SYSTEM)
            after_system = follows.removesuffix(before_user)
        except (jinja2.TemplateError, ValueError):
            before_system, after_system = None, ""
        turns = Turns(default, before_system, after_system, before_user, after_user, before_answer, after_answer, begin)
        tried = [(USER,), (USER, ANSWER, USER + "2"), (USER, ANSWER, USER + "2", ANSWER + "2", USER + "3")]
        tried += [(SYSTEM, *one) for one in tried] if before_system is not None else []
        agrees = all(turns.render(conversation(*one)) == write(*one) for one in tried)
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise RunError(f"the chat template cannot be read ({error}). {BY_HAND}") from None
    if not agrees or '"""' in turns.go_template():
        raise RunError(f"the chat template does not write each message alike. {BY_HAND}")
    return turns


BY_HAND = "Write the Modelfile's TEMPLATE by hand, or serve with llama.cpp, which takes the Jinja template itself."


def common_end(one: str, other: str) -> str:
    """The longest text that both end in."""
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return one[len(one) - n :]


def modelfile(
    tokenizer: "PreTrainedTokenizerBase", source: str, *, context: int, answer: int, temperature: float
) -> str:
    """The text of a Modelfile.

    Args:
        source: file or folder, relative to the Modelfile.
        context: tokens of question and answer together.
        answer: most tokens of an answer.
    """
    lines = [
        f"FROM {source}",
        f'TEMPLATE """{find_turns(tokenizer).go_template()}"""',
        f'PARAMETER stop "{tokenizer.eos_token}"',
        f"PARAMETER num_ctx {context}",
        f"PARAMETER num_predict {answer}",
        f"PARAMETER temperature {temperature:g}",
        "PARAMETER repeat_penalty 1.0",
    ]
    return "\n".join(lines) + "\n"


def export_ollama(trained: Trained, out: Path, console: Console) -> dict:
    """Write a Modelfile beside the GGUF if there is one, else into the merged folder.

    Returns:
        {"path", "from", "command"}

    Raises:
        RunError: the chat template cannot be written in Ollama's language.
    """
    tokenizer = load_tokenizer(trained.block)
    record = read_json(out / "gguf" / "export.json")
    current = record and all(record["made_from"].get(key) == value for key, value in trained.identity.items())
    folder, source = (out / "gguf", f"./{record['file']}") if current else (out / "merged", ".")
    limits = read_json(out / "merged" / "config.json")["max_position_embeddings"]
    wanted = max(SMALLEST_CONTEXT, 2 ** math.ceil(math.log2(trained.recipe.eval.max_new_tokens + 1024)))
    text = modelfile(
        tokenizer, source, context=min(limits, wanted), answer=trained.recipe.eval.max_new_tokens,
        temperature=trained.recipe.eval.temperature,
    )  # fmt: skip
    write_text(folder / "Modelfile", text)
    command = f"ollama create {trained.name} -f {folder / 'Modelfile'} && ollama run {trained.name}"
    return {"path": str(folder / "Modelfile"), "from": source, "command": command, "made": True}
