"""`data`: how examples are made."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field

from cft.recipe.blocks.base import MOST, Block, Count, File, Names, Text, once
from cft.recipe.blocks.endpoint import EndpointBlock

Style = Literal[
    "numbered check",
    "examiner, concept first",
    "first error, then another grouping",
    "thinking aloud, checked twice",
    "re-derivation",
]

TrajectoryFormat = Literal[
    *("auto", "openai", "sharegpt", "hermes", "glaive", "limi", "xlam", "toolace", "bfcl", "smolagents", "verifiers"),
    *("minimind", "claude_code", "codex"),
]


class StudentBlock(Block):
    """Who writes the solutions that are criticised, and how they are sampled."""

    model: Annotated[Text | None, File("model")] = Field(
        None, description="Model to sample from, as in model.id; null: the recipe's model."
    )
    endpoint: EndpointBlock | None = Field(None, description="Server that has the model; null: load it here.")
    samples: Count = Field(description="Solutions to sample for each problem, at each temperature.")
    temperatures: Annotated[list[Annotated[float, Field(ge=0)]], AfterValidator(once), Field(min_length=1)] = Field(
        default_factory=lambda: [0.9], description="Sampling temperatures; 0 is greedy."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    top_k: int = Field(
        50, ge=0, le=MOST, description="Most likely tokens that are sampled from, 0 is all; not for endpoints."
    )
    max_new_tokens: Count = Field(320, description="Most tokens of a solution; a longer one is truncated.")
    batch_size: Count = Field(24, description="Solutions sampled at a time; not for endpoints.")


class ExactTeacher(Block):
    """Criticises by computing: finds the first step that is wrong in a solution of a problem with checked steps."""

    kind: Literal["exact"]
    styles: Annotated[list[Style], AfterValidator(once), Field(min_length=1)] = Field(
        default_factory=lambda: list(get_args(Style)), description="Ways of writing; one critique for each."
    )


class FileTeacher(Block):
    """Critiques that stand in a JSONL file, with the solutions they speak of."""

    kind: Literal["file"]
    path: Annotated[Text, File("critiques")] = Field(description="Name in recipes/critiques, or path of a JSONL file.")
    styles: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="Only critiques of these styles; null: all."
    )


class ModelTeacher(Block):
    """A language model that is shown a solution and asked for a critique, once for each style and sample."""

    kind: Literal["model"]
    model: Annotated[Text, File("model")] = Field(description="Model as the endpoint names it, or as in model.id.")
    endpoint: EndpointBlock | None = Field(None, description="Server that has the model; null: load it here.")
    styles: Annotated[list[Text], AfterValidator(once), Field(min_length=1), File("template")] = Field(
        default_factory=lambda: ["step_check", "first_error", "rederivation", "verdict_last"],
        description="Prompt templates: names in recipes/teachers, or paths of files.",
    )
    samples: int = Field(1, ge=1, le=1000, description="Critiques of each style.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    max_new_tokens: Count = Field(1024, description="Most tokens of a critique; a longer one is dropped.")
    batch_size: Count = Field(8, description="Critiques written at a time; not for endpoints.")


Teacher = Annotated[ExactTeacher | FileTeacher | ModelTeacher, Field(discriminator="kind")]


class CritiquesData(Block):
    """Examples that show a solution and train the critique of it (CFT)."""

    builder: Literal["critiques"]
    problems: Annotated[Names, File("problem")] = Field(
        description="Names in recipes/problems, or paths of YAML files."
    )
    students: Annotated[list[StudentBlock], AfterValidator(once)] = Field(
        default_factory=list, description="Who writes solutions; none: only those of file teachers are used."
    )
    teachers: Annotated[list[Teacher], AfterValidator(once)] = Field(
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
    change: Literal["none", "shuffled", "no_verdict", "wrong_numbers"] = Field(
        "none",
        description="A control: shuffled puts each critique beside another candidate; no_verdict leaves out what it "
        "concludes; wrong_numbers changes every number in it.",
    )


Problems = Annotated[
    Names, File("problem"), Field(min_length=1, description="Names in recipes/problems, or paths of YAML files.")
]


class DemonstrationsData(Block):
    """Examples that show a question and train a solution of it (the SFT controls)."""

    builder: Literal["demonstrations"]
    problems: Problems
    students: Annotated[list[StudentBlock], AfterValidator(once)] = Field(
        default_factory=list,
        description="Who writes the solutions, of which the right ones are taken; none: the problem files' own.",
    )
    max_examples: Count | None = Field(None, description="Most training rows; null: all.")
    repeat: Count = Field(1, description="Times that each row stands among the examples.")


class PromptsData(Block):
    """Questions with their answers and no completion: the model's own are what reinforcement learning trains on."""

    builder: Literal["prompts"]
    problems: Problems
    students: Annotated[list[StudentBlock], AfterValidator(once)] = Field(
        default_factory=list,
        description="Whose most frequent answer, and most frequent wrong answer, are the labels of the rewards "
        "majority and incorrect.",
    )


class VerdictsData(Block):
    """Critique prompts on graded candidates, as many right as wrong; the reward `verdict` knows which is which."""

    builder: Literal["verdicts"]
    problems: Problems
    students: Annotated[list[StudentBlock], AfterValidator(once)] = Field(
        min_length=1, description="Who writes the candidates."
    )
    max_examples: Annotated[int, Field(ge=2, le=MOST)] | None = Field(
        None, description="Most training rows, half right and half wrong; null: all."
    )


class TrajectoriesData(Block):
    """Conversations with tool calls that exist already, of whatever common format, as rows of messages and tools."""

    builder: Literal["trajectories"]
    path: Annotated[Text, File("trajectories")] = Field(
        description="Name in recipes/trajectories, or path of a JSON or JSONL file, or of a folder of them."
    )
    format: TrajectoryFormat = Field("auto", description="What the records are; auto: told by their keys.")
    missing_tools: Literal["infer", "refuse"] = Field(
        "infer", description="A row with calls but no tools: infer writes schemas by its calls."
    )
    misfits: Literal["refuse", "keep"] = Field(
        "refuse", description="A row with a call that does not fit its tool's schema, such as one without an argument."
    )
    max_examples: Count | None = Field(None, description="Most training rows, drawn by the seed; null: all.")


def _ordered(bounds: list[float]) -> list[float]:
    """A validator: [low, high] in this order."""
    if bounds[0] > bounds[1]:
        raise ValueError("has its bounds reversed. Write [low, high]")
    return bounds


class ExamineeBlock(StudentBlock):
    """A student whose solutions tell how hard a question is."""

    pass_rate: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2), AfterValidator(_ordered)
    ] = Field(description="[low, high]: a question stays if the share of right solutions is neither below nor above.")


class CuratedData(Block):
    """Few demonstrations out of a pool of questions with worked solutions; every row that goes has its reason."""

    builder: Literal["curated"]
    path: Annotated[Text | None, File("pool")] = Field(
        None, description="JSON, JSONL or Parquet file of the pool; goes before data.hub."
    )
    hub: Text | None = Field(None, description="Data set on the hub whose split train is the pool.")
    revision: Text | None = Field(None, description="Its commit; what a branch names may change between two runs.")
    limit: Count | None = Field(None, description="Only the first rows of the pool; null: all.")
    solution: Annotated[Names, Field(min_length=1)] = Field(
        default_factory=lambda: ["solution"], description="Keys whose texts, joined, are a row's worked solution."
    )
    answer: Text = Field("answer", description="Key of the answer; in a row without it, the solution's last box.")
    subject: Text = Field("subject", description="Key of the subject, which choose: spread goes by.")
    pictures: bool = Field(False, description="Keep rows with the marks of a picture.")
    least_words: Count = Field(1, description="Fewest words of a solution.")
    most_words: Count | None = Field(None, description="Most words of a solution; null: any number.")
    students: Annotated[list[ExamineeBlock], AfterValidator(once)] = Field(
        default_factory=list, description="Who tries the questions that are left, one after the other."
    )
    choose: Literal["first", "longest", "score", "spread"] = Field(
        "first", description="Which rows of those left: score is LIMO's way, spread is s1's (data_builders/README.md)."
    )
    max_examples: Count | None = Field(None, description="Rows to choose; null: all.")
    repeat: ClassVar[int] = 1


class NoData(Block):
    """No examples, for recipes that only score the base model."""

    builder: Literal["none"]


DataBlock = Annotated[
    CritiquesData | DemonstrationsData | PromptsData | VerdictsData | TrajectoriesData | CuratedData | NoData,
    Field(discriminator="builder"),
]
