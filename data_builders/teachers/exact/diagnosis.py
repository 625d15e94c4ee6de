"""What is wrong with a candidate, and where first: its arithmetic held against the checked steps of the problem.

A claim is faulted only on grounds that can be shown: false arithmetic, unlike units in one sum, a price on the wrong
goods, a number the problem does not hold, a part that is called the whole or is left out. All else is left alone.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

from data_builders.arithmetic.claims import Claim, claims, numbers, words_before
from data_builders.arithmetic.expressions import Name, leaves
from data_builders.arithmetic.markup import bounded, plain
from data_builders.arithmetic.quantities import Quantity, combine, is_part, symbols
from data_builders.problems import Problem, Step
from data_builders.teachers.exact.reading import (
    UNKNOWN,
    Clash,
    Reader,
    Reading,
    answer_value,
    each_operation,
    operation,
)

_WHOLE_WORDS = re.compile(
    r"\b(?:total|revenue|earn\w*|income|takings|sales|money|cost|altogether|sum)\b", re.IGNORECASE
)


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


def diagnose(problem: Problem, text: str, *, outcome: str, answer: str | None) -> Diagnosis:
    """Hold `text`, a candidate with this grade and boxed answer, against the steps of `problem`."""
    reader, value, text = Reader(problem), answer_value(answer), bounded(text)
    lines: list[Line] = []
    for claim in claims(text):
        lines.append(_read_line(reader, claim, text, lines))
    path = _path(lines, value)
    broken = not path or any(lines[i].reading is None for i in path)
    for i, line in enumerate(lines):
        structure = part = None
        if not line.claim.goes_on:
            if line.reading and (broken or i in path):
                structure = _structure_fault(reader, line, problem)
            elif not line.reading and i in path:
                structure = _stranger(reader, line, problem)
            part = _part_fault(reader, line, lines, problem, text)
        slip = Fault("slip") if line.claim.slip else None
        line.faults += [fault for fault in (structure, slip, part) if fault]
    if path:
        last = lines[max(path)]
        if dropped := _dropped(reader, lines, path, problem):
            last.faults.append(dropped)
        short = last.sound and last.step not in problem.steps and value != problem.steps[-1].value
        if short and not last.faults and outcome != "correct":
            last.faults.append(Fault("short", says=last.step.says if last.step else ""))
    ending, step = _ending(problem, lines, text, outcome, value)
    last_words = " ".join(plain(text).rstrip("\\({[ .").split()[-4:])
    return Diagnosis(lines, _absent(lines, problem, text), ending, step, last_words, value, "```" in text)


def _read_line(reader: Reader, claim: Claim, text: str, before: list[Line]) -> Line:
    quote = plain(text[claim.start : claim.end])
    head = before[-1] if claim.goes_on else None
    reading = head.reading if head else reader.read(claim.expression)
    clashes = bool(reading and reading.clashes)
    makers = [head] if head else [before[k] for k in _makers(claim, before)]
    line = Line(claim, quote, reading, clean=not clashes and claim.slip is None and all(m.clean for m in makers))
    quantity = reading.quantity if reading and not clashes else UNKNOWN
    trusted = quantity.polynomial is not None and all(s.sound for s in reading.sources) and (head is None or head.sound)
    if quantity.polynomial is None and line.clean:
        # 90 + 36 = 126: true arithmetic that arrives at a step's value gets the benefit of the doubt
        quantity = next((step.quantity for step in reader.steps if step.value == claim.value), UNKNOWN)
        trusted = True
    if quantity.polynomial is not None:
        line.known, line.step = reader.known(quantity), reader.step_of(quantity)
        line.sound = line.known and trusted and claim.slip is None and claim.value == reader.true_value(quantity)
    reader.learn(claim.value, quantity, line.step.says if line.step else "", line.sound)
    return line


def _makers(claim: Claim, before: list[Line]) -> list[int]:
    """For every number of a claim, the last earlier line that arrived at it."""
    last = {line.claim.value: k for k, line in enumerate(before)}
    return [last[leaf.value] for leaf in leaves(claim.expression) if leaf.value in last]


def _path(lines: list[Line], answer: Fraction | None) -> set[int]:
    """The claims that the boxed answer rests on; none where no claim arrives at it."""
    path, queue = set(), [i for i, line in enumerate(lines) if line.claim.value == answer][-1:]
    while queue:
        i = queue.pop()
        path.add(i)
        line = lines[i]
        if line.claim.goes_on:
            queue.append(i - 1)
            continue
        if line.step and (line.reading is None or line.reading.quantity.polynomial is None):
            continue  # what it was worked out from does not matter
        queue += [k for k in _makers(line.claim, lines[:i]) if k not in path]
    return path


def _stranger(reader: Reader, line: Line, problem: Problem) -> Fault | None:
    """A number that neither the problem nor an earlier line holds."""
    strange = [leaf.value for leaf in leaves(line.claim.expression) if not reader.sources(leaf.value)]
    strange = [v for v in strange if v not in numbers(problem.question) and not reader.within_reach(v)]
    return Fault("stranger", number=strange[0]) if strange and not line.step else None


def _structure_fault(reader: Reader, line: Line, problem: Problem) -> Fault | None:
    """The wrong things put together, whatever the arithmetic."""
    reading = line.reading
    extra = [s for s in reading.sources if s.origin == "given" and symbols(s.quantity.polynomial) <= reader.unused]
    if extra:
        rest = sorted(s.value for s in reading.sources if s is not extra[0])
        same = [s for s in problem.steps if sorted(value for value, _ in s.operands) == rest]
        return Fault("unused", number=extra[0].value, says=extra[0].says, instead=same[0] if len(same) == 1 else None)
    if turned := _other_sign(reading, line, problem):
        return Fault("sign", instead=turned)
    if reading.clashes:
        clash = reading.clashes[0]
        return Fault("units" if clash.op in "+-" else "price", clash=clash, instead=_nearest(clash, problem))
    if line.known or len(reading.sources) != 2:
        return None
    op, (left, right) = line.claim.expression.op, reading.sources
    if op == "-" and not reader.subtracts and left.quantity.unit == reader.whole.unit:
        return Fault("sign")
    if reading.quantity.polynomial is None or op not in "-/":
        return None
    shared = [
        (step, (left, right)[1 - k])
        for step in problem.steps
        if operation(step) == op and len(step.operands) == 2 and step.value != line.claim.value
        for k in (0, 1)
        if step.operands[k][0] == (left, right)[k].value and step.operands[1 - k][0] != (left, right)[1 - k].value
    ]
    if len(shared) != 1 or not shared[0][1].says:
        return None
    step, wrong = shared[0]
    return Fault("operand", number=wrong.value, says=wrong.says, instead=step)


def _other_sign(reading: Reading, line: Line, problem: Problem) -> Step | None:
    """The step that does something else with just the two quantities of this line."""
    if line.known or len(reading.sources) != 2:
        return None
    here = sorted(str(s.quantity.polynomial) for s in reading.sources)
    for step in problem.steps:
        there = sorted(str(quantity.polynomial) for _, quantity in step.operands)
        if here == there and len(there) == 2 and operation(step) != line.claim.expression.op:
            return step
    return None


def _nearest(clash: Clash, problem: Problem) -> Step | None:
    """The one step that has the same operation on one of the clashing operands."""
    for side in (clash.left, clash.right) if clash.op in "*/" else (clash.right, clash.left):
        if clash.op in "*/" and any(power < 0 for _, power in side.quantity.unit or ()):
            continue  # a price goes with many things; what it is charged for decides
        same = [
            step
            for step in problem.steps
            if operation(step) == clash.op and side.quantity.polynomial in [q.polynomial for _, q in step.operands]
        ]
        if len(same) == 1:
            return same[0]
    return None


def _part_fault(reader: Reader, line: Line, lines: list[Line], problem: Problem, text: str) -> Fault | None:
    """A part that the candidate calls the whole, where the rest of that whole never comes."""
    if not (line.step and line.sound):
        return None
    label = words_before(text, line.claim.start)
    words = label.lower()
    things = {name for g in problem.given for name, _ in g.unit} - {name for name, _ in reader.whole.unit}
    if not _WHOLE_WORDS.search(words) or any(thing[:5] in words for thing in things):
        return None
    for whole in problem.steps:
        if not whole.label or whole is line.step or not all(word in words for word in whole.label):
            continue
        if not is_part(line.step.quantity.polynomial, whole.quantity.polynomial):
            continue
        rest = combine("-", whole.quantity, line.step.quantity).polynomial
        missing = next((s for s in problem.steps if s.quantity.polynomial == rest), None)
        if missing and not _present(missing, lines, problem, text):
            return Fault("part", number=line.claim.value, says=line.step.says, instead=missing, quote=label)
    return None


def _present(step: Step, lines: list[Line], problem: Problem, text: str) -> bool:
    """Whether the text holds the step's value, or works out, rightly or not, what it stands for or is part of."""
    if step.value in numbers(text):
        return True
    return any(_covers(part, step, problem) for line in lines if line.reading for part in line.reading.parts)


def _covers(part: Quantity, step: Step, problem: Problem) -> bool:
    """Whether a quantity holds what a step stands for. One that is no step itself gets the benefit of the doubt."""
    if step.quantity.polynomial is None:
        return True
    wanted = {monomial for monomial, _ in step.quantity.polynomial}
    if part.polynomial is None or part.unit != step.quantity.unit or not wanted <= {m for m, _ in part.polynomial}:
        return False
    same = next((s for s in problem.steps if s.quantity.polynomial == part.polynomial), None)
    return same is None or step.name in _needs(same, problem)


def _needs(step: Step, problem: Problem) -> set[str]:
    """The names of a step and of all the steps it rests on."""
    steps, names, queue = {s.name: s for s in problem.steps}, set(), [step.name]
    while queue:
        name = queue.pop()
        if name in steps and name not in names:
            names.add(name)
            queue += [leaf.name for leaf in leaves(steps[name].expression) if isinstance(leaf, Name)]
    return names


def _dropped(reader: Reader, lines: list[Line], path: set[int], problem: Problem) -> Fault | None:
    """Something worked out before that the last sum leaves out."""
    last = lines[max(path)]
    if {node.op for node in each_operation(last.claim.expression)} != {"+"} or not last.reading:
        return None
    readings = [lines[k].reading for k in path if lines[k].reading and lines[k] is not last]
    inside = [part for reading in readings for part in reading.parts] + [s.quantity for s in last.reading.sources]
    summed = [leaf.value for leaf in leaves(last.claim.expression)]
    for i, line in enumerate(lines):
        if i in path or line.step not in problem.steps[:-1] or line.step.quantity.unit != reader.whole.unit:
            continue
        if line.claim.value not in summed and not any(_covers(part, line.step, problem) for part in inside):
            return Fault("dropped", number=line.claim.value, says=line.step.says)
    return None


def _absent(lines: list[Line], problem: Problem, text: str) -> list[Step]:
    """Steps that never come although all they need is there; none where no arithmetic was found at all."""
    if not lines:
        return []
    makers = {step.name for step in problem.steps}
    absent = [step for step in problem.steps[:-1] if not _present(step, lines, problem, text)]
    names = {step.name for step in absent}
    left = []
    for step in absent:
        operands = [leaf.name for leaf in leaves(step.expression) if isinstance(leaf, Name)]
        other_order = operation(step) in ("+", "-") and makers.issuperset(operands)  # it may be done in another
        if not other_order and not names & set(operands):
            left.append(step)
    return left


def _ending(
    problem: Problem, lines: list[Line], text: str, outcome: str, answer: Fraction | None
) -> tuple[str | None, Step | None]:
    """What is wrong with the way the candidate ends."""
    right = problem.steps[-1].value
    if outcome == "truncated" and answer in (None, right):
        return "unfinished", None
    if outcome == "no_answer":
        return "no box", None
    if outcome == "correct" or answer is None:
        return None, None
    other = next((s for s in problem.steps[:-1] if s.value == answer), None)
    if other:
        return "other quantity", other
    if lines and lines[-1].sound and lines[-1].claim.value == right:
        return "miscopied", None
    if answer >= 0 and answer not in numbers(re.sub(r"\\boxed\s*\{[^{}]*\}", " ", text)):
        return "from nowhere", None
    return None, None
