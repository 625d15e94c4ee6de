"""Words for what the diagnosis found. A sentence says only what was computed; the candidate's words stand in quotes."""

import random
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby

from data_builders.arithmetic.expressions import Number, Operation, evaluate, show, show_number
from data_builders.problems import Problem, Step
from data_builders.teachers.exact.findings import Diagnosis, Fault, Line
from data_builders.teachers.exact.reading import Reading
from data_builders.teachers.exact.working import work_out


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

    def fault(self, line: Line, fault: Fault, also: bool) -> str:
        """A sentence or two on one fault of a line. `also` is True for the second fault of the same line."""
        return getattr(self, f"_{fault.kind}")(line, fault, also)

    def explain(self, line: Line) -> str:
        """Everything that is wrong with a line."""
        return " ".join(self.fault(line, fault, i > 0) for i, fault in enumerate(line.faults))

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
        answer, asked = self.answer(), self.problem.asked
        match self.found.ending:
            case "unfinished":
                return (
                    self.pick(
                        f'The text is cut off after "{self.found.last_words}", so it never comes to an end.',
                        f'The work breaks off at "{self.found.last_words}" and is left unfinished.',
                        f'It stops in the middle, at "{self.found.last_words}".',
                    )
                    if '"' not in self.found.last_words and self.found.last_words
                    else "The text is cut off before its end."
                )
            case "no box":
                return self.pick("No final answer is put in a box.", "It ends without a boxed answer.")
            case "other quantity":
                return self.pick(
                    f"The answer given, {answer}, is {self.found.ending_step.says}; the question asks for {asked}.",
                    f"The question asks for {asked}, but {answer} is {self.found.ending_step.says}.",
                )
            case "miscopied":
                return f"The last line of work arrives at {self.problem.answer}, yet {answer} is put in the box."
            case "from nowhere":
                return f"The boxed {answer} stands nowhere in the work before it."
        return ""

    def absent(self) -> list[str]:
        """A sentence for each step that never comes, two at most."""
        return [
            self.pick(
                f"{capital(step.says)}, {step.shown}, is missing.",
                f"The work never gets to {step.says}, {step.shown}.",
                f"Also missing is {step.says}: {step.shown}.",
                f"Nowhere does it have {step.says}, which is {step.shown}.",
            )
            for step in self._absent_steps()
        ]

    def _absent_steps(self) -> list[Step]:
        told = {fault.instead.name for line in self.found.lines for fault in line.faults if fault.instead}
        return [step for step in self.found.absent if step.name not in told][:2]

    def _slip(self, line: Line, fault: Fault, also: bool) -> str:
        node, claimed = line.claim.slip
        if node.op == "/" and isinstance(node.right, Number):
            return self._division_slip(line, node, claimed)
        shown, true = show(node), show_number(evaluate(node))
        why = " ".join(self.choice.choice(reasons) for reasons in [list(work_out(node))] if reasons)
        if also:
            return self.pick(
                f"Besides, {shown} is {true}, not {show_number(claimed)}.",
                f"And even as it stands, {shown} makes {true} and not {show_number(claimed)}.",
                f"The arithmetic fails too, since {shown} = {true}, not {show_number(claimed)}.",
            )
        because = f": {why}, so {shown} = {true}." if why else f": {shown} = {true}."
        kind = {"+": "an addition slip", "-": "a subtraction slip", "*": "a multiplication slip"}.get(node.op, "a slip")
        return self.pick(
            f'"{line.quote}" is {kind}{because}',
            f'The student writes "{line.quote}", which is not true{because}',
            f'"{line.quote}" does not hold{because}',
            f'The line "{line.quote}" has {kind} in it{because}',
        )

    def _division_slip(self, line: Line, node: Operation, claimed: Fraction) -> str:
        back, divided = show_number(claimed * node.right.value), show(node.left)
        why = f"since {show_number(claimed)} × {show(node.right)} = {back}, and that is not {divided}."
        return self.pick(
            f'"{line.quote}" does not hold, {why}', f'The student writes "{line.quote}", which is false, {why}'
        )

    def _units(self, line: Line, fault: Fault, also: bool) -> str:
        left, right = self._side(fault.clash.left), self._side(fault.clash.right)
        if fault.clash.op == "+":
            sentence = self.pick(
                f'"{line.quote}" adds {pair(left, "to", right)}, and these are not the same kind of thing.',
                f'In "{line.quote}" two different things are put into one sum: {pair(left, "and", right)}.',
                f'"{line.quote}" mixes {pair(left, "with", right)}.',
            )
        else:
            sentence = self.pick(
                f'"{line.quote}" subtracts {pair(right, "from", left)}, and these are not the same kind of thing.',
                f'In "{line.quote}" one thing is subtracted from another: {pair(left, "minus", right)}.',
            )
        return f"{sentence} {self._instead(fault)}".strip()

    def _price(self, line: Line, fault: Fault, also: bool) -> str:
        left, right = self._side(fault.clash.left), self._side(fault.clash.right)
        if left == right:
            sentence = f'"{line.quote}" takes {left}, twice.'
        else:
            sentence = self.pick(
                f'"{line.quote}" puts together {pair(left, "and", right)}; these two do not belong in one '
                f"{'product' if fault.clash.op == '*' else 'quotient'}.",
                f'In "{line.quote}" the numbers do not fit each other: {pair(left, "and", right)}.',
                f'"{line.quote}" joins {pair(left, "with", right)}, which does not fit.',
            )
        return f"{sentence} {self._instead(fault)}".strip()

    def _unused(self, line: Line, fault: Fault, also: bool) -> str:
        number = show_number(fault.number)
        sentence = self.pick(
            f'"{line.quote}" brings in {number}, {fault.says}, and the answer does not depend on that.',
            f'The {number} in "{line.quote}" is {fault.says}, which has no part in {self.problem.asked}.',
            f'"{line.quote}" uses the {number}, but {fault.says} is not needed here.',
        )
        return f"{sentence} {self._instead(fault)}".strip()

    def _stranger(self, line: Line, fault: Fault, also: bool) -> str:
        number = show_number(fault.number)
        return self.pick(
            f'The {number} in "{line.quote}" is not a number of the problem.',
            f'"{line.quote}" starts from {number}, which the problem does not give.',
        )

    def _operand(self, line: Line, fault: Fault, also: bool) -> str:
        number, right = show_number(fault.number), fault.instead
        return self.pick(
            f'"{line.quote}" takes the wrong number: {number} is {fault.says}. '
            f"For {right.says} it has to be {right.shown}.",
            f'In "{line.quote}" the {number} is {fault.says}, but what is needed is {right.says}, {right.shown}.',
        )

    def _sign(self, line: Line, fault: Fault, also: bool) -> str:
        if fault.instead:
            does = {"+": "adds", "-": "subtracts", "*": "multiplies", "/": "divides"}[line.claim.expression.op]
            needed = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}[fault.instead.expression.op]
            return self.pick(
                f'"{line.quote}" {does} where one has to {needed}: {fault.instead.says} is {fault.instead.shown}.',
                f'In "{line.quote}" the numbers are the right ones, but one has to {needed}. '
                f"That makes {fault.instead.shown}, {fault.instead.says}.",
            )
        return self.pick(
            f'"{line.quote}" subtracts, but nothing has to be subtracted to find {self.problem.asked}.',
            f'The subtraction "{line.quote}" compares two amounts; for {self.problem.asked} they have to be added.',
        )

    def _part(self, line: Line, fault: Fault, also: bool) -> str:
        number, missing = show_number(fault.number), fault.instead
        return self.pick(
            f'{number} is called "{fault.quote}", but it is only {fault.says}; {missing.says}, {missing.shown}, '
            "is left out.",
            f'The student takes {number} for "{fault.quote}". That is {fault.says} alone, and {missing.says}, '
            f"{missing.shown}, never comes in.",
            f'The {number} labelled "{fault.quote}" is no more than {fault.says}. What is missing is {missing.says}, '
            f"{missing.shown}.",
        )

    def _dropped(self, line: Line, fault: Fault, also: bool) -> str:
        return self.pick(
            f'The sum "{line.quote}" leaves out the {show_number(fault.number)} found before for {fault.says}.',
            f'In "{line.quote}" the {show_number(fault.number)} found before for {fault.says} is forgotten.',
        )

    def _short(self, line: Line, fault: Fault, also: bool) -> str:
        if fault.says:
            return self.pick(
                f'"{line.quote}" is calculated correctly, but it is only {fault.says}.',
                f'The last result, "{line.quote}", is no more than {fault.says}.',
            )
        return self.pick(
            f'"{line.quote}" is calculated correctly, but it does not hold all of {self.problem.asked}.',
            f'The last result, "{line.quote}", holds only a part of {self.problem.asked}.',
        )

    def _instead(self, fault: Fault) -> str:
        if fault.instead is None:
            return ""
        step = fault.instead
        return self.pick(
            f"What is needed is {step.says}: {step.shown}.",
            f"It should be {step.shown}, {step.says}.",
            f"The right step is {step.shown}, which is {step.says}.",
        )

    def _side(self, reading: Reading) -> str:
        shown, says = show(reading.node), reading.says
        if says and not all(source.sound for source in reading.sources):
            says = f"meant as {says}"
        return f"{shown}, {says}" if says else shown


def right(line: Line) -> str:
    """A sound line, shortly: `14 × 9 = 126`."""
    return f"{show(line.claim.expression)} = {show_number(line.claim.value)}"


def pair(left: str, word: str, right: str) -> str:
    """`7, the number of boxes, with 12, the number of muffins`; a bare number takes no comma."""
    return f"{left}{',' if ', ' in left else ''} {word} {right}"


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
