"""The schema of `baselines.yaml`, and its reading: every score with the protocol it was measured under."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from cft.errors import EvalError
from cft.models.catalogue import load_entries
from cft.recipe.faults import show
from cft.suggest import did_you_mean

BASELINES_FILE = Path(__file__).with_name("baselines.yaml")
SHARED = ("models", "benchmarks", "prompts", "graders", "papers", "protocols")  # the sections that others refer to
_SCORE = re.compile(r"(\d+(?:\.\d+)?)\s*±\s*(\d+(?:\.\d+)?)")


def _known(section: str) -> AfterValidator:
    """The word must be a key of that section of the file; outside of a file every word is let through."""

    def check(word: str, info: ValidationInfo) -> str:
        known = (info.context or {}).get(section)
        if known is not None and word not in known:
            raise ValueError(f"is not among the {section}. {did_you_mean(word, known)}")
        return word

    return AfterValidator(check)


def _read_score(written: Any) -> Any:
    """51.7, or "51.7 ± 5.5" with the spread."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        return {"value": written}
    if isinstance(written, str) and (found := _SCORE.fullmatch(written.strip())):
        return {"value": float(found[1]), "spread": float(found[2])}
    raise ValueError('is no score. Write per cent, such as 51.7 or "51.7 ± 5.5"')


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Protocol(_Strict):
    """How a score was measured. None means that it is not known.

    Attributes:
        model: the base model under its published name.
        prompt: a key of `prompts` in the file.
        samples: answers a question.
        max_tokens: of one answer.
        grader: a key of `graders` in the file.
        precision: of the weights and activations, in torch's words.
        selection: on which questions the scored checkpoint was chosen; "none" for an untrained model or a last step.
        metric: "accuracy" is the mean over questions and samples.
    """

    model: Annotated[str, _known("models")] | None = None
    prompt: Annotated[str, _known("prompts")] | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    samples: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    grader: Annotated[str, _known("graders")] | None = None
    precision: str | None = None
    selection: Literal["none", "validation", "test", "best per benchmark"] | None = None
    metric: str = "accuracy"


class _NamedProtocol(Protocol):
    note: str = ""
    per_benchmark: dict[Annotated[str, _known("benchmarks")], Protocol] = {}


class Benchmark(_Strict):
    """A set of questions, or the mean over several."""

    items: int | None = Field(None, ge=1)
    mean_of: list[Annotated[str, _known("benchmarks")]] = []
    note: str = ""


class Paper(_Strict):
    """Where numbers stand."""

    title: str
    arxiv: str = ""
    repository: str = ""  # OWNER/NAME@COMMIT, or another address


class _Score(_Strict):
    value: float = Field(ge=0, le=100)
    spread: float | None = Field(None, ge=0)


class _Row(_Strict):
    model: Annotated[str, _known("models")]
    method: str
    data: str | None = None  # none: nothing was trained
    scores: dict[Annotated[str, _known("benchmarks")], Annotated[_Score, BeforeValidator(_read_score)]] = Field(
        min_length=1
    )
    but: Protocol = Protocol()  # what differs from the table's protocol
    note: str = ""


class _Table(_Strict):
    paper: Annotated[str, _known("papers")]
    where: str
    checked: str | None  # against what; null: taken from a secondary summary only
    protocol: Annotated[str, _known("protocols")]
    rows: list[_Row] = Field(min_length=1)


class _File(_Strict):
    models: dict[str, str]
    benchmarks: dict[str, Benchmark]
    prompts: dict[str, str]
    graders: dict[str, str]
    papers: dict[str, Paper]
    protocols: dict[str, _NamedProtocol]
    tables: list[_Table] = Field(min_length=1)


@dataclass(frozen=True)
class Baseline:
    """One published score.

    Attributes:
        data: what it was trained on; None for an untrained model.
        value: per cent.
        spread: standard deviation over seeds, in points, where published.
        where: table or section of the paper.
        checked: the primary source it was re-checked against; None if taken from a secondary summary.
        row: position of its row in the file; scores of one row belong to one model.
    """

    benchmark: str
    method: str
    data: str | None
    value: float
    spread: float | None
    protocol: Protocol
    paper: Paper
    where: str
    checked: str | None
    note: str
    row: int

    @property
    def model(self) -> str:
        """The base model, as published."""
        return self.protocol.model or ""

    @property
    def source(self) -> str:
        """For a citation: paper, place, repository."""
        arxiv = self.paper.arxiv and f"arXiv {self.paper.arxiv}"
        return ", ".join(part for part in (arxiv or self.paper.title, self.where, self.paper.repository) if part)


@dataclass(frozen=True)
class Baselines:
    """All of `baselines.yaml`; `prompts` and `graders` say in words what their keys mean."""

    rows: list[Baseline]
    models: Mapping[str, str]  # published name -> hub id
    benchmarks: Mapping[str, Benchmark]
    prompts: Mapping[str, str]
    graders: Mapping[str, str]

    def model_name(self, model: str) -> str:
        """The published name of a name in `cft/models/models.yaml` or a hub id; other models keep their own."""
        entry = load_entries().get(model)
        hub_id = entry.hub_id if entry else model
        return next((name for name, hub in self.models.items() if hub.lower() == hub_id.lower()), hub_id)

    def of(self, benchmark: str) -> list[Baseline]:
        """The scores of one benchmark; "cft_math500" is "math500".

        Raises:
            EvalError: nothing of that name is listed.
        """
        name = benchmark.removeprefix("cft_")
        if name not in self.benchmarks:
            raise EvalError(f"no baselines for the benchmark {benchmark!r}. {did_you_mean(name, self.benchmarks)}")
        return [row for row in self.rows if row.benchmark == name]


def load_baselines(path: Path | None = None) -> Baselines:
    """Read `baselines.yaml`, or another file of that form.

    Raises:
        EvalError: the file cannot be read or has faults; all of them are listed with key, value and fix.
    """
    path = path or BASELINES_FILE
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {key: list(raw[key]) for key in SHARED if isinstance(raw.get(key), dict)}
        file = _File.model_validate(raw, context=known)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise EvalError(f"{path}: cannot be read as YAML mappings ({' '.join(str(error).split())[:200]}).") from None
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc'] if e['loc'][-1] != '[key]' else e['loc'][:-1]))} = {show(e['input'])}: "
            + e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        ]
        raise _faulty(path, faults) from None
    rows = list(_flat(file))
    places: dict[tuple, Baseline] = {}
    twice = []
    for row in rows:
        key = (row.benchmark, row.method, row.data, row.protocol, row.paper, row.where)
        if key in places:
            twice.append(f"{row.model}, {row.method}, {row.benchmark}: two scores from {row.source}; remove one")
        places[key] = row
    if twice:
        raise _faulty(path, twice)
    return Baselines(rows, file.models, file.benchmarks, file.prompts, file.graders)


def _faulty(path: Path, faults: list[str]) -> EvalError:
    return EvalError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}\n  " + "\n  ".join(faults))


def _flat(file: _File) -> Iterator[Baseline]:
    """One `Baseline` a score; a row's own protocol wins over the benchmark's, and this over the table's."""
    for position, (table, row) in enumerate((part, row) for part in file.tables for row in part.rows):
        named = file.protocols[table.protocol]
        for benchmark, score in row.scores.items():
            fields = named.model_dump(exclude={"note", "per_benchmark"})
            if benchmark in named.per_benchmark:
                fields |= named.per_benchmark[benchmark].model_dump(exclude_unset=True)
            fields |= row.but.model_dump(exclude_unset=True) | {"model": row.model}
            if row.data is None:
                fields["selection"] = "none"  # there is one checkpoint
            yield Baseline(
                benchmark=benchmark,
                method=row.method,
                data=row.data,
                value=score.value,
                spread=score.spread,
                protocol=Protocol(**fields),
                paper=file.papers[table.paper],
                where=table.where,
                checked=table.checked,
                note=row.note,
                row=position,
            )
