"""A Modelfile for Ollama: the chat template in Ollama's own language, where answers stop, and greedy decoding.

Ollama does not run the Jinja template that a GGUF file holds. It looks for the nearest one in a list of its own (edit
distance below 100) and takes that entry's Go template, which knows no default system message; where none is near, it
writes the bare prompt (ollama/ollama: `detectChatTemplate` in server/model.go and `Named` in template/template.go;
support of Jinja is an open request, issue 10222). So the Modelfile must say what the adapter was trained with.

A Jinja template cannot be translated in general. It is rendered with marks in place of the texts, and a Go template is
made of what stands between the marks; then both are rendered for several conversations and must agree.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import RunError
from cft.export.folder import RECORD
from cft.export.trained import Trained
from cft.files import read_json, write_text
from cft.models.load import load_tokenizer, starts_with_bos
from cft.words import shell_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SMALLEST_CONTEXT = 4096
TURNS = ("user", "assistant", "user", "assistant", "user")
BY_HAND = "Write the Modelfile's TEMPLATE by hand, or serve with llama.cpp, which takes the Jinja template itself."


@dataclass(frozen=True)
class Turns:
    """What a chat template writes around the texts of a conversation that ends with a question."""

    start: str  # before the first question where there is no system message
    system: tuple[str, str] | None  # before a system message, and between it and the first question; None: not taken
    after_question: str
    before_answer: str
    after_answer: str  # up to the next question
    ask: str  # after the last question: what begins the answer

    def render(self, messages: list[dict]) -> str:
        """A conversation as Ollama will write it."""
        text = self.start
        if messages[0]["role"] == "system":
            text = messages[0]["content"].join(self.system)
        for message in messages:
            if message["role"] == "user":
                text += message["content"] + self.after_question
            elif message["role"] == "assistant":
                text += self.before_answer + message["content"] + self.after_answer
        return text + self.ask

    def go_template(self) -> str:
        """The same as a Go template over Ollama's .System and .Messages, which holds the system message too."""
        start = go_literal(self.start)
        if self.system is not None:
            system = "{{ .System }}".join(map(go_literal, self.system))
            start = f"{{{{ if .System }}}}{system}{{{{ else }}}}{start}{{{{ end }}}}"
        question = "{{ .Content }}" + go_literal(self.after_question)
        answer = go_literal(self.before_answer) + "{{ .Content }}" + go_literal(self.after_answer)
        return (
            f'{start}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{question}'
            f'{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}{{{{ end }}}}{go_literal(self.ask)}'
        )


def go_literal(text: str) -> str:
    """Text that a Go template writes as it is."""
    return text.replace("{{", '{{ "{{" }}')


def find_turns(tokenizer: "PreTrainedTokenizerBase") -> Turns:
    """What the chat template writes, checked on conversations. Raises RunError if messages of a role differ in form."""
    import jinja2

    if tokenizer.chat_template is None:
        return Turns("", None, "\n", "", tokenizer.eos_token or "", "")

    def conversation(roles: tuple[str, ...]) -> list[dict]:
        return [{"role": role, "content": f"MARK{number}"} for number, role in enumerate(roles)]

    def write(roles: tuple[str, ...]) -> str:
        text = tokenizer.apply_chat_template(conversation(roles), tokenize=False, add_generation_prompt=True)
        return text.removeprefix(tokenizer.bos_token) if starts_with_bos(tokenizer) else text  # llama.cpp writes it

    try:
        start, answered, after_answer, asked = re.split(r"MARK\d", write(TURNS[:3]))
        try:
            before, after, _ = re.split(r"MARK\d", write(("system", "user")))
            system = before, after
        except (jinja2.TemplateError, ValueError):
            system = None
        same = 0  # characters that follow every question
        while answered[same : same + 1] == asked[same : same + 1] != "":
            same += 1
        turns = Turns(start, system, asked[:same], answered[same:], after_answer, asked[same:])
        tried = [TURNS[:n] for n in (1, 3, 5)]
        tried += [("system", *roles) for roles in tried] if system else []
        agrees = all(turns.render(conversation(roles)) == write(roles) for roles in tried)
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise RunError(f"the chat template cannot be read ({error}). {BY_HAND}") from None
    if not agrees or '"""' in turns.go_template():
        raise RunError(f"the chat template does not write each message alike. {BY_HAND}")
    return turns


def modelfile(
    tokenizer: "PreTrainedTokenizerBase", source: str, *, context: int, answer: int, temperature: float
) -> str:
    """A Modelfile for `source`, a file or folder beside it; `context` and `answer` are the most tokens of each."""
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


def export_ollama(trained: Trained, out: Path) -> dict:
    """Write a Modelfile beside the GGUF if there is one, else into the merged folder. Returns {"path", "command"}."""
    tokenizer = load_tokenizer(trained.block)
    record = read_json(out / "gguf" / RECORD)
    current = record and all(record["made_from"].get(key) == value for key, value in trained.identity.items())
    folder, source = (out / "gguf", f"./{record['file']}") if current else (out / "merged", ".")
    limits = read_json(out / "merged" / "config.json")["max_position_embeddings"]
    wanted = max(SMALLEST_CONTEXT, 2 ** math.ceil(math.log2(trained.recipe.eval.max_new_tokens + 1024)))
    answer, temperature = trained.recipe.eval.max_new_tokens, trained.recipe.eval.temperature
    text = modelfile(tokenizer, source, context=min(limits, wanted), answer=answer, temperature=temperature)
    write_text(folder / "Modelfile", text)
    command = shell_line("ollama", "create", trained.name, "-f", folder / "Modelfile")
    command += " && " + shell_line("ollama", "run", trained.name)
    return {"path": str(folder / "Modelfile"), "from": source, "command": command, "made": True}
