"""The answers of an arm behind lm-eval's interface, so that lm-eval itself scores them and writes its own files."""

from collections.abc import Callable

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from cft.errors import EvalError


class AnsweredLM(LM):
    """Gives answers that are there already; greedy or sampled, all that a task asked for."""

    def __init__(
        self, prompts: list[str], responses: list[list[str]], chat: Callable[..., str], template: str | None, name: str
    ) -> None:
        """
        Args:
            responses: the samples of each prompt.
            chat: renders messages to a prompt, as `cft.models.generate.render`.
            template: the chat template, which lm-eval writes down.
            name: of the tokenizer.
        """
        super().__init__()
        self.prompts, self.responses, self.chat, self.template, self.name = prompts, responses, chat, template, name

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Every sample of the first prompt, of the second ...: lm-eval repeats a request for each sample."""
        asked = [request.args[0] for request in requests]
        known = [prompt for prompt, samples in zip(self.prompts, self.responses, strict=True) for _ in samples]
        if asked != known:
            raise RuntimeError("lm-eval asks other prompts than were answered")
        return [response for samples in self.responses for response in samples]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.chat(chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self.template

    @property
    def tokenizer_name(self) -> str:
        return self.name.replace("/", "__")

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise EvalError("Tasks that need log-likelihoods are not offered; run them with lm_eval itself.")

    loglikelihood_rolling = loglikelihood
