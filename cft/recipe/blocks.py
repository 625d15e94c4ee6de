"""The blocks of a recipe, and what each key means. Every type is strict: no text for a number, no 1 for true."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, TypeAdapter

from cft.recipe.faults import KeyPath, Origin
from cft.recipe.source import dump_yaml
from cft.suggest import did_you_mean

Style = Literal[
    "numbered check",
    "examiner, concept first",
    "first error, then another grouping",
    "thinking aloud, checked twice",
    "re-derivation",
]


def _once(items: list[Any]) -> list[Any]:
    twice = [item for i, item in enumerate(items) if item in items[:i]]
    if twice:
        name = getattr(twice[0], "kind", None) or getattr(twice[0], "model", twice[0])
        raise ValueError(f"names {name!r} twice. Name it once")
    return items


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no address of a server. Write http://HOST:PORT/v1 or https://HOST/v1")
    if parts.username or parts.query:
        raise ValueError("holds more than an address. Keys belong in the environment: name the variable in api_key_env")
    return url


def _servers(given: Any) -> str | list[str]:
    """One address, or several in alphabetical order: the order in which they are written means nothing."""
    if not isinstance(given, list):
        return _ADDRESS.validate_python(given, strict=True)
    urls = _ADDRESSES.validate_python(given, strict=True)
    _once([url.rstrip("/").lower() for url in urls])
    return sorted(urls) if len(urls) > 1 else urls[0]


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 60:
        raise ValueError("is no name of an environment variable. Write the name, never the key: OPENAI_API_KEY")
    return name


def _folder_name(name: str) -> str:
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-"):
        raise ValueError("becomes a folder's name. Use only a-z, 0-9, _ and -")
    return name


PROMPTS = ("system", "plain", "fewshot", "python")  # variants of eval/tasks/prompts
ARM = rf"(base|adapter|merged|step-[1-9]\d*)(?:@({'|'.join(PROMPTS)}))?"


def _arm(name: str) -> str:
    if not re.fullmatch(ARM, name):
        names = [f"{model}{prompt}" for model in ("base", "adapter", "merged", "step-1") for prompt in ("", *VARIANTS)]
        near = did_you_mean(name, names)
        raise ValueError(
            "is not known. "
            + (near or f"Name base, adapter, merged or step-N, and, if you like, a prompt: {', '.join(VARIANTS)}")
        )
    return name


VARIANTS = tuple(f"@{prompt}" for prompt in PROMPTS)
Text = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Text], AfterValidator(_once)]
Count = Annotated[int, Field(ge=1)]


_ADDRESS = TypeAdapter(Annotated[str, AfterValidator(_server)])
_ADDRESSES = TypeAdapter(Annotated[list[Annotated[str, AfterValidator(_server)]], Field(min_length=1)])


class Block(BaseModel):
    """A mapping of a recipe: no key but its own, no value but of its type, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelBlock(Block):
    """The base model."""

    id: Text = Field(description="Name in `cft models`, hub id org/name, local folder, or GGUF file.")
    revision: Text | None = Field(None, description="Hub commit, tag or branch; null takes the pinned or newest one.")
    dtype: Literal["auto", "bfloat16", "float32", "float16"] = Field(
        "bfloat16",
        description="Type of the weights; auto: bfloat16, or what this machine computes in where it would emulate it.",
    )
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: 4-bit weights (QLoRA), by bitsandbytes.")
    attn_implementation: Text = Field(
        "auto",
        description="transformers' attention: sdpa, eager, flash_attention_2; auto: flash if it is there.",
    )
    chat_template: Text | None = Field(
        None, description="null: the tokenizer's own; plain: the shipped plain one; or a path to a .jinja file."
    )
    trust_remote_code: bool = Field(False, description="Run Python code that the model's repository brings.")


class PriceBlock(Block):
    """USD for a million tokens."""

    input: float = Field(ge=0, description="USD for a million tokens of prompts.")
    output: float = Field(ge=0, description="USD for a million tokens of answers.")


class EndpointBlock(Block):
    """An OpenAI-compatible server, hosted or on this machine, and how it is asked; or several with the same model."""

    base_url: Annotated[str | list[str], PlainValidator(_servers)] = Field(
        description="Where it is, e.g. http://localhost:8000/v1 for `vllm serve`; a list: servers that share the work."
    )
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = Field(
        None, description="Environment variable with the API key; null: the server needs none."
    )
    concurrency: Count = Field(8, description="Most calls in flight, at each server.")
    max_attempts: Count = Field(6, description="Most attempts at one call; waits for a rate limit do not count.")
    timeout: float = Field(120, gt=0, description="Seconds without any sign of life after which an attempt has failed.")
    patience: float = Field(600, gt=0, description="Seconds without any answer after which the run stops.")
    stream: bool = Field(True, description="Ask for answers in pieces, so that a stalled one is noticed early.")
    batch: bool = Field(False, description="Write a batch file and read its results, instead of asking at once.")
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the server calls the token limit; OpenAI's newer models the second."
    )
    send_seed: bool = Field(False, description="Send a seed with each call, another one for each sample.")
    price: PriceBlock | None = Field(None, description="What tokens cost; null: as in recipes/prices.yaml.")
    extra_body: dict[str, Any] = Field(default_factory=dict, description="Further keys of the request's body.")

    @property
    def addresses(self) -> list[str]:
        """All servers, at least one."""
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url

    @property
    def in_flight(self) -> int:
        """Most calls in flight at all servers together."""
        return self.concurrency * len(self.addresses)


class StudentBlock(Block):
    """Who writes the solutions that are criticised, and how they are sampled."""

    model: Text | None = Field(None, description="Model to sample from, as in model.id; null: the recipe's model.")
    endpoint: EndpointBlock | None = Field(None, description="Server that has the model; null: load it here.")
    samples: Count = Field(description="Solutions to sample for each problem, at each temperature.")
    temperatures: Annotated[list[Annotated[float, Field(ge=0)]], AfterValidator(_once), Field(min_length=1)] = Field(
        default_factory=lambda: [0.9], description="Sampling temperatures; 0 is greedy."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    top_k: int = Field(50, ge=0, description="Most likely tokens that are sampled from, 0 is all; not for endpoints.")
    max_new_tokens: Count = Field(320, description="Most tokens of a solution; a longer one is truncated.")
    batch_size: Count = Field(24, description="Solutions sampled at a time; not for endpoints.")


class ExactTeacher(Block):
    """Criticises by computing: finds the first step that is wrong in a solution of a problem with checked steps."""

    kind: Literal["exact"]
    styles: Annotated[list[Style], AfterValidator(_once), Field(min_length=1)] = Field(
        default_factory=lambda: list(get_args(Style)), description="Ways of writing; one critique for each."
    )


class FileTeacher(Block):
    """Critiques that stand in a JSONL file, with the solutions they speak of."""

    kind: Literal["file"]
    path: Text = Field(description="Name in recipes/critiques, or path of a JSONL file.")
    styles: Names | None = Field(None, description="Only critiques of these styles; null: all.")


class ModelTeacher(Block):
    """A language model that is shown a solution and asked for a critique, once for each style and sample."""

    kind: Literal["model"]
    model: Text = Field(description="Model as the endpoint names it, or as in model.id.")
    endpoint: EndpointBlock | None = Field(None, description="Server that has the model; null: load it here.")
    styles: Annotated[list[Text], AfterValidator(_once), Field(min_length=1)] = Field(
        default_factory=lambda: ["step_check", "first_error", "rederivation", "verdict_last"],
        description="Prompt templates: names in recipes/teachers, or paths of files.",
    )
    samples: Count = Field(1, description="Critiques of each style.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    max_new_tokens: Count = Field(1024, description="Most tokens of a critique; a longer one is dropped.")
    batch_size: Count = Field(8, description="Critiques written at a time; not for endpoints.")


Teacher = Annotated[ExactTeacher | FileTeacher | ModelTeacher, Field(discriminator="kind")]


class CritiquesData(Block):
    """Examples that show a solution and train the critique of it (CFT)."""

    builder: Literal["critiques"]
    problems: Names = Field(description="Names in recipes/problems, or paths of YAML files.")
    students: Annotated[list[StudentBlock], AfterValidator(_once)] = Field(
        default_factory=list, description="Who writes solutions; none: only those of file teachers are used."
    )
    teachers: Annotated[list[Teacher], AfterValidator(_once)] = Field(
        min_length=1, description="Who criticises: {kind: exact}, {kind: file, path: ...}, {kind: model, model: ...}."
    )
    prompt: Literal["critique", "solve"] = Field(
        "critique", description="critique: the prompt shows the solution; solve: only the question (a control)."
    )
    right_share: float = Field(0.0, ge=0, le=1, description="Most of the criticised solutions that may be right.")
    max_candidates: Count | None = Field(
        None, description="Most sampled solutions to criticise, spread over wrong answers and students; null: all."
    )
    trim: float = Field(0.0, ge=0, lt=0.5, description="Share of the critiques to drop at each end of their lengths.")
    max_examples: Count | None = Field(None, description="Most training rows, spread over wrong answers; null: all.")


class DemonstrationsData(Block):
    """Examples that show a question and train its worked solution (the SFT control)."""

    builder: Literal["demonstrations"]
    problems: Names = Field(min_length=1, description="Names in recipes/problems, or paths of YAML files.")


class NoData(Block):
    """No examples, for recipes that only score the base model."""

    builder: Literal["none"]


DataBlock = Annotated[CritiquesData | DemonstrationsData | NoData, Field(discriminator="builder")]


class SelectBlock(Block):
    """Which step's adapter is kept: the one with the highest accuracy on validation items, asked during training."""

    task: Text = Field(
        "cft_wordproblems_validation", description="Task whose items choose; none of eval.tasks, no item of theirs."
    )
    data: Text | None = Field(None, description="Local file of its items; null: from where the task has them.")
    steps: Annotated[list[Count], AfterValidator(_once)] = Field(
        default_factory=list, description="Optimizer steps after which the items are asked; or give `every`."
    )
    every: Count | None = Field(None, description="Ask after each so many optimizer steps, and after the last.")
    limit: Count | None = Field(100, description="Ask only the first items of the task; null: all.")
    max_new_tokens: Count | None = Field(None, description="Most tokens of an answer; null: as eval.max_new_tokens.")
    batch_size: Count | None = Field(None, description="Answers generated at a time; null: as eval.batch_size.")
    patience: Count | None = Field(3, description="Askings without a new best that stop the training; null: never.")
    leak: float | None = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of answers that pass a verdict ('Conclusion: wrong'), above the base's, at which training "
        "stops; at least 2 answers; null: never.",
    )
    include_base: bool = Field(True, description="Ask the untrained model first, for comparison; it is never chosen.")


class TrainBlock(Block):
    """How the adapter is trained. `lora` and `args` go to the libraries under the libraries' own names."""

    method: Literal["cft", "sft", "grpo", "none"] = Field(
        description="cft: on critiques; sft: on demonstrations or critiques; none: no training."
    )
    full: bool = Field(False, description="Train all weights instead of a LoRA adapter; the product is a whole model.")
    lora: dict[str, Any] = Field(default_factory=dict, description="Keys of peft.LoraConfig.")
    args: dict[str, Any] = Field(default_factory=dict, description="Keys of trl.SFTConfig.")
    keep_steps: Annotated[list[Count], AfterValidator(_once)] = Field(
        default_factory=list, description="Optimizer steps after which the adapter is kept, as the arm step-N."
    )
    select: SelectBlock | None = Field(
        None, description="Keep the step that is best on validation items; null: keep the last step."
    )


class EvalBlock(Block):
    """What is scored, how it is decoded, and by what."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of eval/tasks.")
    arms: Annotated[list[Annotated[str, AfterValidator(_arm)]], AfterValidator(_once), Field(min_length=1)] = Field(
        default_factory=lambda: ["base", "adapter"],
        description="What is scored: base, adapter, merged, step-N; with another prompt base@fewshot.",
    )
    limit: Count | None = Field(None, description="Score only the first items of each task; null: all.")
    max_new_tokens: Count = Field(2048, description="Most tokens of an answer; a longer one is truncated.")
    batch_size: Count = Field(32, description="Answers generated at a time.")
    samples: Count = Field(1, description="Answers to each item; more than one need a temperature.")
    temperature: float = Field(0.0, ge=0, description="Temperature of sampling; 0 is greedy.")
    top_k: int = Field(0, ge=0, description="Tokens that are sampled from; 0 is all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    data: dict[str, Text] = Field(default_factory=dict, description="Task to the local file of its items.")
    data_dir: Text | None = Field(
        None, description="Folder of local files of items; null: from where the task has them."
    )
    backend: Literal["transformers", "hf", "vllm"] = Field(
        "transformers", description="What answers: our batched decoding, or lm-eval's own hf or vllm model."
    )
    endpoint: EndpointBlock | None = Field(None, description="Server that answers in place of this machine.")
    served: dict[str, Text] = Field(
        default_factory=dict, description="Arm's model (base, adapter ...) to its name at the endpoint."
    )

    @property
    def models(self) -> set[str]:
        """What answers in the arms: base, adapter, merged, step-N."""
        return {arm.partition("@")[0] for arm in self.arms}


class Recipe(Block):
    """One experiment."""

    name: Annotated[str, AfterValidator(_folder_name)] = Field(description="Name of the run's folder: a-z, 0-9, _, -.")
    description: str = Field("", description="What the experiment is for; no part of the fingerprint.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of sampling, data order and training.")
    model: ModelBlock = Field(description="The base model: {id: ...}.")
    data: DataBlock = Field(description="How examples are made: {builder: critiques, ...}.")
    train: TrainBlock = Field(description="How the adapter is trained: {method: cft, ...}.")
    eval: EvalBlock = Field(description="What is scored: {tasks: [...]}.")

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def source(self) -> Path | None:
        """The file that the recipe was read from; no part of the recipe's identity."""
        return self._origin.path

    @property
    def origin(self) -> Origin:
        """Where each value was written; no part of the recipe's identity."""
        return self._origin

    def dump(self) -> dict[str, Any]:
        """All that decides the result, as plain values, for fingerprints: everything but the description."""
        return self.model_dump(mode="json", exclude={"description"})

    def to_yaml(self) -> str:
        """The recipe with all defaults and overrides written out; reads back as an equal recipe."""
        return dump_yaml(self.model_dump(mode="json"))


DATA_BLOCKS = {"critiques": CritiquesData, "demonstrations": DemonstrationsData, "none": NoData}
TEACHERS = {"exact": ExactTeacher, "file": FileTeacher, "model": ModelTeacher}


def models_of(raw: dict[str, Any]) -> dict[KeyPath, type[BaseModel]]:
    """The model that reads each mapping of `raw`, as far as `raw` tells which."""
    models: dict[KeyPath, type[BaseModel]] = {
        (): Recipe,
        ("model",): ModelBlock,
        ("train",): TrainBlock,
        ("eval",): EvalBlock,
    }
    train = raw.get("train")
    if isinstance(train, dict) and isinstance(train.get("select"), dict):
        models["train", "select"] = SelectBlock
    scored = raw.get("eval")
    if isinstance(scored, dict) and isinstance(scored.get("endpoint"), dict):
        models["eval", "endpoint"] = EndpointBlock
        models["eval", "endpoint", "price"] = PriceBlock
    data = raw.get("data")
    if isinstance(data, dict) and (block := DATA_BLOCKS.get(str(data.get("builder")))):
        models["data",] = block
        if block is CritiquesData:
            for key, kind_of in (("students", lambda _: StudentBlock), ("teachers", lambda t: TEACHERS.get(str(t)))):
                entries = data.get(key)
                for i, entry in enumerate(entries if isinstance(entries, list) else []):
                    if isinstance(entry, dict) and (kind := kind_of(entry.get("kind"))):
                        models["data", key, i] = kind
                        if "endpoint" in kind.model_fields and isinstance(entry.get("endpoint"), dict):
                            models["data", key, i, "endpoint"] = EndpointBlock
                            models["data", key, i, "endpoint", "price"] = PriceBlock
    return models
