"""Words for what the diagnosis found. A sentence says only what was computed; the candidate's words stand in quotes."""

import random
import re
from collections.abc import Sequence
from itertools import groupby

from data_builders.arithmetic.expressions import Number, evaluate, show, show_number
from data_builders.problems import Problem, Step
from data_builders.teachers.exact.diagnosis import Diagnosis, Fault, Line
from data_builders.teachers.exact.reading import Reading
from data_builders.teachers.exact.working import work_out

SLIPS = {"+": "an addition slip", "-": "a subtraction slip", "*": "a multiplication slip"}
DOES = {
    "+": ("add", "adds"),
    "-": ("subtract", "subtracts"),
    "*": ("multiply", "multiplies"),
    "/": ("divide", "divides"),
}
# One of the wordings is chosen. {quote} is the candidate's line, {number} is {says}, {step} is {step_says}.
WORDINGS = {
    "slip": (
        '"{quote}" is {slip}: {why}{shown} = {true}.',
        'The student writes "{quote}", which is not true: {why}{shown} = {true}.',
        '"{quote}" does not hold: {why}{shown} = {true}.',
        'The line "{quote}" has {slip} in it: {why}{shown} = {true}.',
    ),
    "slip, too": (
        "Besides, {shown} is {true}, not {claimed}.",
        "And even as it stands, {shown} makes {true} and not {claimed}.",
        "The arithmetic fails too, since {shown} = {true}, not {claimed}.",
    ),
    "division slip": (
        '"{quote}" does not hold, since {why_not}',
        'The student writes "{quote}", which is false, since {why_not}',
    ),
    "units": (
        '"{quote}" adds {left_} to {right}, and these are not the same kind of thing.',
        'In "{quote}" two different things are put into one sum: {left_} and {right}.',
        '"{quote}" mixes {left_} with {right}.',
    ),
    "units of a difference": (
        '"{quote}" subtracts {right_} from {left}, and these are not the same kind of thing.',
        'In "{quote}" one thing is subtracted from another: {left_} minus {right}.',
    ),
    "price": (
        '"{quote}" puts together {left_} and {right}; these two do not belong in one {result}.',
        'In "{quote}" the numbers do not fit each other: {left_} and {right}.',
        '"{quote}" joins {left_} with {right}, which does not fit.',
    ),
    "price, twice": ('"{quote}" takes {left}, twice.',),
    "unused": (
        '"{quote}" brings in {number}, {says}, and the answer does not depend on that.',
        'The {number} in "{quote}" is {says}, which has no part in {asked}.',
        '"{quote}" uses the {number}, but {says} is not needed here.',
    ),
    "stranger": (
        'The {number} in "{quote}" is not a number of the problem.',
        '"{quote}" starts from {number}, which the problem does not give.',
    ),
    "operand": (
        '"{quote}" takes the wrong number: {number} is {says}. For {step_says} it has to be {step}.',
        'In "{quote}" the {number} is {says}, but what is needed is {step_says}, {step}.',
    ),
    "operation": (
        '"{quote}" {does} where one has to {needed}: {step_says} is {step}.',
        'In "{quote}" the numbers are the right ones, but one has to {needed}. That makes {step}, {step_says}.',
    ),
    "sign": (
        '"{quote}" subtracts, but nothing has to be subtracted to find {asked}.',
        'The subtraction "{quote}" compares two amounts; for {asked} they have to be added.',
    ),
    "part": (
        '{number} is called "{label}", but it is only {says}; {step_says}, {step}, is left out.',
        'The student takes {number} for "{label}". That is {says} alone, and {step_says}, {step}, never comes in.',
        'The {number} labelled "{label}" is no more than {says}. What is missing is {step_says}, {step}.',
    ),
    "dropped": (
        'The sum "{quote}" leaves out the {number} found before for {says}.',
        'In "{quote}" the {number} found before for {says} is forgotten.',
    ),
    "short": (
        '"{quote}" is calculated correctly, but it is only {says}.',
        'The last result, "{quote}", is no more than {says}.',
    ),
    "short of all": (
        '"{quote}" is calculated correctly, but it does not hold all of {asked}.',
        'The last result, "{quote}", holds only a part of {asked}.',
    ),
    "instead": (
        "What is needed is {step_says}: {step}.",
        "It should be {step}, {step_says}.",
        "The right step is {step}, which is {step_says}.",
    ),
    "absent": (
        "{step_Says}, {step}, is missing.",
        "The work never gets to {step_says}, {step}.",
        "Also missing is {step_says}: {step}.",
        "Nowhere does it have {step_says}, which is {step}.",
    ),
    "unfinished": (
        'The text is cut off after "{last_words}", so it never comes to an end.',
        'The work breaks off at "{last_words}" and is left unfinished.',
        'It stops in the middle, at "{last_words}".',
    ),
    "cut off": ("The text is cut off before its end.",),
    "no box": ("No final answer is put in a box.", "It ends without a boxed answer."),
    "other quantity": (
        "The answer given, {answer}, is {says}; the question asks for {asked}.",
        "The question asks for {asked}, but {answer} is {says}.",
    ),
    "miscopied": ("The last line of work arrives at {right}, yet {answer} is put in the box.",),
    "from nowhere": ("The boxed {answer} stands nowhere in the work before it.",),
}


class Words:
    """Builds sentences about one diagnosis; `seed` chooses between wordings."""

    def __init__(self, problem: Problem, diagnosis: Diagnosis, seed: str) -> None:
        self.problem, self.found, self.choice = problem, diagnosis, random.Random(seed)
        self._told: set[str] = set()

    def pick(self, *wordings: str) -> str:
        """One of the wordings, a fresh one while there are any."""
        keys = {w: re.sub(r'"[^"]*"|[\d.,−]+', "", w)[:20] for w in wordings}
        chosen = self.choice.choice([w for w in wordings if keys[w] not in self._told] or wordings)
        self._told.add(keys[chosen])
        return chosen

    def explain(self, line: Line) -> str:
        """Everything that is wrong with a line."""
        return " ".join(self._fault(line, fault) for fault in line.faults)

    def redo(self, steps: Sequence[Step], *, brief: bool = False) -> str:
        """The calculation in full. `brief` gives the steps that the candidate had right without words around them."""
        had = {line.step.shown for line in self.found.lines if line.step and line.sound} if brief else set()
        told: list[str] = []
        for right_before, group in groupby(steps, key=lambda step: step.shown in had):
            if right_before:
                told.append(f"{self.pick('As before,', 'Again,', 'We keep')} {join([step.shown for step in group])}.")
            else:
                told += [
                    self.choice.choice(step.tell) if step.tell else f"{capital(step.says)}: {step.shown}."
                    for step in group
                ]
        return " ".join(told)

    def box(self) -> str:
        """The last line."""
        asked = self.problem.asked
        line = self.pick(
            f"{capital(asked)}: ", "The correct answer is ", "So the right answer is ", f"This gives {asked}: ",
            "Final answer: ", "Hence the answer is ",
        )  # fmt: skip
        return f"{line}\\boxed{{{self.problem.answer}}}"

    def answer(self) -> str:
        """The candidate's own answer, or "" where it has none."""
        return "" if self.found.answer is None else show_number(self.found.answer)

    def ending(self) -> str:
        """What is wrong with the way the candidate ends, or ""."""
        found, ending = self.found, self.found.ending
        if ending == "unfinished" and ('"' in found.last_words or not found.last_words):
            ending = "cut off"
        names = {"last_words": found.last_words, "answer": self.answer(), "right": self.problem.answer}
        return self._say(ending, names, found.ending_step.says if found.ending_step else "") if ending else ""

    def absent(self) -> list[str]:
        """A sentence for each step that never comes, two at most."""
        told = {fault.instead.name for line in self.found.lines for fault in line.faults if fault.instead}
        absent = [step for step in self.found.absent if step.name not in told]
        return [self._say("absent", _step(step)) for step in absent[:2]]

    def _say(self, kind: str, names: dict[str, str], says: str = "") -> str:
        wordings = [w.format(**names, says=says, asked=self.problem.asked) for w in WORDINGS[kind]]
        return self.pick(*wordings) if len(wordings) > 1 else wordings[0]

    def _fault(self, line: Line, fault: Fault) -> str:
        """A sentence or two on one fault of a line."""
        kind, clash, op = fault.kind, fault.clash, getattr(line.claim.expression, "op", "")
        names = {"quote": line.quote, "label": fault.quote} | (_step(fault.instead) if fault.instead else {})
        if fault.number is not None:
            names["number"] = show_number(fault.number)
        if kind == "slip":
            kind = self._slip(line, fault, names)
        elif clash:
            left, right = self._side(clash.left), self._side(clash.right)
            names |= {"left": left, "right": right, "result": "product" if clash.op == "*" else "quotient"}
            names |= {f"{key}_": side + "," * (", " in side) for key, side in (("left", left), ("right", right))}
            kind = "units of a difference" if clash.op == "-" else kind
            kind = "price, twice" if kind == "price" and left == right else kind
        elif kind == "sign" and fault.instead:
            kind = "operation"
            names |= {"does": DOES[op][1], "needed": DOES[fault.instead.expression.op][0]}
        elif kind == "short" and not fault.says:
            kind = "short of all"
        sentence = self._say(kind, names, fault.says)
        belongs = fault.instead and fault.kind in ("units", "price", "unused")
        return f"{sentence} {self._say('instead', names)}" if belongs else sentence

    def _slip(self, line: Line, fault: Fault, names: dict[str, str]) -> str:
        """The kind of wording for a slip; adds to the names what that needs."""
        node, claimed = line.claim.slip
        names["claimed"] = show_number(claimed)
        if node.op == "/" and isinstance(node.right, Number):
            back = show_number(claimed * node.right.value)
            names["why_not"] = f"{names['claimed']} × {show(node.right)} = {back}, and that is not {show(node.left)}."
            return "division slip"
        reasons = list(work_out(node))
        why = f"{self.choice.choice(reasons)}, so " if reasons else ""
        names |= {
            "shown": show(node),
            "true": show_number(evaluate(node)),
            "why": why,
            "slip": SLIPS.get(node.op, "a slip"),
        }
        return "slip" if fault is line.faults[0] else "slip, too"

    def _side(self, reading: Reading) -> str:
        shown, says = show(reading.node), reading.says
        if says and not all(source.sound for source in reading.sources):
            says = f"meant as {says}"
        return f"{shown}, {says}" if says else shown


def _step(step: Step) -> dict[str, str]:
    return {"step": step.shown, "step_says": step.says, "step_Says": capital(step.says)}


def right(line: Line) -> str:
    """A sound line, shortly: `14 × 9 = 126`."""
    return f"{show(line.claim.expression)} = {show_number(line.claim.value)}"


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
