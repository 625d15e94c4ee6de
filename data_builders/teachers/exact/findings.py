"""What the diagnosis of a candidate finds, for the words that tell it."""

from dataclasses import dataclass, field
from fractions import Fraction

from data_builders.arithmetic.claims import Claim
from data_builders.problems import Step
from data_builders.teachers.exact.reading import Clash, Reading


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a claim, and what the words about it need."""

    kind: str  # slip | units | price | unused | stranger | operand | sign | part | dropped | short
    clash: Clash | None = None
    number: Fraction | None = None  # the number it is about
    says: str = ""  # what that number is
    instead: Step | None = None  # the step that belongs here
    quote: str = ""  # the candidate's own name for it


@dataclass
class Line:
    """One claim of the candidate with what was found."""

    claim: Claim
    quote: str  # the candidate's own words
    reading: Reading | None
    step: Step | None = None  # the step of the problem that it carries out
    known: bool = False  # it is part of a known way to the answer
    sound: bool = False  # known, its value is right, and it rests on nothing wrong
    clean: bool = True  # no slip and no clash in it or in what it rests on
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Diagnosis:
    """The candidate's lines in order, and what is wrong beyond single lines."""

    lines: list[Line]
    absent: list[Step]  # steps whose value the text never holds
    ending: str | None  # unfinished | no box | other quantity | miscopied | from nowhere
    ending_step: Step | None  # the step whose value is given as the answer
    last_words: str
    answer: Fraction | None
    program: bool  # the text holds a block of code

    @property
    def first(self) -> Line | None:
        """The first line that goes wrong."""
        return next((line for line in self.lines if line.faults), None)
