"""The styles of the programmatic teacher: one function builds one kind of text from a diagnosis."""

from collections.abc import Callable

from data_builders.arithmetic.expressions import Operation
from data_builders.arithmetic.quantities import is_part
from data_builders.problems import Step
from data_builders.teachers.exact.diagnosis import Diagnosis, Line
from data_builders.teachers.exact.phrasing import Words, capital, join, right
from data_builders.teachers.exact.working import inverse_check

MAX_REMARKS = 9
FINE = ("right", "correct", "good", "that holds", "this is fine")


def _opening(words: Words) -> str:
    """The verdict in one sentence."""
    answer, ending = words.answer(), words.found.ending
    if ending in ("unfinished", "no box") and not (words.found.first or words.found.absent):
        return words.pick("The solution is unfinished.", "This solution is unfinished.", "This attempt is unfinished.")
    if ending == "unfinished":
        return words.pick("This solution is incorrect and unfinished.", "The solution is incorrect, and unfinished.")
    if ending == "no box" or not answer:
        return words.pick("This solution is incorrect.", "The solution does not hold; it is incorrect.")
    return words.pick(
        f"The answer {answer} is incorrect.",
        f"This solution is incorrect; its {answer} does not answer the question.",
        f"The solution ends in {answer}, and that answer is incorrect.",
        f"The final answer of {answer} is incorrect.",
    )


def _numbered(words: Words) -> str:
    """A numbered check of every line, then the calculation again."""
    items, shown = [], []
    for line in _worth_telling(words.found):
        if line.faults:
            items += _flush(words, shown, ": ", *FINE)
            firsts = "This is the first mistake in the calculation. ", "Here the calculation first goes wrong. "
            items.append((words.pick(*firsts) if line is words.found.first else "") + words.explain(line))
        elif _good(line):
            shown.append(right(line))
        elif remark := _carried(words, line):
            items += [*_flush(words, shown, ": ", *FINE), remark]
    items += _flush(words, shown, ": ", *FINE) + words.absent()
    if ending := words.ending():
        items.append(ending)
    intros = "Let's check this step by step.", "Let's go through the lines one by one.", "Let's check each line."
    again = "Now let's do it again.", "Let's work it out properly.", "Here is the calculation with everything in place."
    intro, again = words.pick(*intros), words.pick(*again)
    parts = [f"{intro} {_opening(words)}", *(f"{i}. {item}" for i, item in enumerate(items, 1))]
    return "\n".join([*parts, f"{again} {words.redo(words.problem.steps, brief=True)}", words.box()])


def _examiner(words: Words) -> str:
    """What the problem turns on, then the faults in prose, then the account."""
    sound = [right(line) for line in words.found.lines if _good(line)]
    idea = words.pick(*words.problem.ideas) if words.problem.ideas else f"The question asks for {words.problem.asked}."
    told = [idea, _opening(words)]
    if sound:
        verb = "is" if len(sound[:3]) == 1 else "are"
        right_steps = f"{join(sound[:3])} {verb} right."
        told.append(words.pick(f"The work is sound in part, since {right_steps}", f"Of its steps, {right_steps}"))
    for i, line in enumerate(_faulty(words.found)[:4]):
        if i:
            told.append(f"{words.pick('Further on,', 'Then,', 'After that,')} {_continue(words.explain(line))}")
        else:
            first = words.pick("The first mistake in it is this. ", "It first goes wrong here. ")
            told.append(first + words.explain(line))
    told += [*words.absent(), words.ending()]
    leads = "The correct account is as follows.", "Properly it runs like this.", "Now the account as it should be."
    again = f"{words.pick(*leads)} {words.redo(words.problem.steps, brief=True)}"
    return "\n".join([" ".join(filter(None, told)), again, words.box()])


def _first_error(words: Words) -> str:
    """The first error only, explained; then the answer by another route where the problem has one."""
    told, first = [_opening(words)], words.found.first
    before = [right(x) for x in words.found.lines[: words.found.lines.index(first)] if _good(x)] if first else []
    if before:
        told.append(f"Up to a point the work is good: {join(before[-3:])}.")
    if first:
        late = "The first wrong step is the next one. ", "Then comes the first mistake. "
        early = "It goes wrong early. ", "The first mistake comes early. "
        told.append(words.pick(*(late if before else early)) + words.explain(first))
        later = len(_faulty(words.found)) - 1
        if later > 1:
            told.append(words.pick("Later lines have faults of their own.", "That is not the only mistake."))
        elif later:
            told.append("One more line further on has a fault of its own.")
    else:
        told += words.absent()
    told.append(words.ending())
    steps = words.problem.other_steps or words.problem.steps
    others = "Let us take another route.", "Here is a different grouping.", "Now in another order."
    lead = words.pick(*others) if words.problem.other_steps else "Let us do it in order."
    return "\n".join([" ".join(filter(None, told)), f"{lead} {words.redo(steps)}", words.box()])


def _aloud(words: Words) -> str:
    """Thinking aloud, line by line; the result is checked a second time."""
    intros = "Let me follow this line by line.", "Let me see what was done here.", "Let me go through it slowly."
    told, shown = [words.pick(*intros)], []
    for line in _worth_telling(words.found):
        if line.faults and line is words.found.first:
            told += _flush(words, shown, ", ", "yes", "fine", "good")
            wait = words.pick("Wait.", "Hmm.", "Stop.")
            mark = words.pick(" That is the first mistake.", " So this is where it first goes wrong.")
            told.append(f"{wait} {words.explain(line)}{mark}")
        elif line.faults:
            told += _flush(words, shown, ", ", "yes", "fine", "good")
            told.append(f"{words.pick('Also,', 'Reading on,', 'Then,')} {_continue(words.explain(line))}")
        elif _good(line):
            shown.append(right(line))
    told += _flush(words, shown, ", ", "right", "good")
    told += [*words.absent(), words.ending(), _opening(words)]
    redo = words.pick("Now carefully.", "Let me do it again.", "Once more, from the start.")
    again = f"{redo} {words.redo(words.problem.steps, brief=True)}"
    return "\n\n".join(filter(None, [" ".join(filter(None, told)), again, _second_check(words), words.box()]))


def _rederive(words: Words) -> str:
    """Says no more than that the answer does not follow, and works it out."""
    answer = words.answer()
    if answer and words.found.ending != "unfinished":
        verdict = words.pick(
            f"The final answer {answer} does not follow from the problem, so the solution is incorrect.",
            f"The answer {answer} is incorrect; it is not what the numbers of the problem give.",
            f"The solution is incorrect, because the numbers of the problem do not lead to {answer}.",
        )
    else:
        verdict = " ".join(filter(None, [_opening(words), words.ending()]))
    bound = next((s for s in words.problem.steps[:-1] if _must_exceed(words, s)), None)
    plausible = f"{capital(bound.says)} alone, {bound.shown}, is already more than that." if bound else ""
    lead = words.pick("Here is the calculation.", "The calculation goes like this.", "Let us work it out.")
    program = words.found.program and not words.found.lines
    unseen = "I find no worked line in it that could be checked, only a program." if program else ""
    parts = [" ".join(filter(None, [verdict, plausible, unseen])), f"{lead} {words.redo(words.problem.steps)}"]
    return "\n".join(filter(None, [*parts, _second_check(words), words.box()]))


def confirm(words: Words, style: str) -> str:
    """For a right solution: says so, does it again, and boxes the answer."""
    sound = [right(line) for line in words.found.lines if _good(line)][:6]
    if words.found.first:
        return _confirm_answer_only(words)
    openings = "The solution is correct.", "This solution is correct.", "The answer is correct."
    opening = words.pick(*openings, f"The final answer {words.answer() or words.problem.answer} is correct.")
    checked = f"{join(sound)} {'is' if len(sound) == 1 else 'are'} right." if sound else ""
    if style == "numbered check" and sound:
        lines = [f"{i}. {line}: right." for i, line in enumerate(sound, 1)]
        parts = [f"Let's check this step by step. {opening}", *lines]
    elif style == "examiner, concept first" and words.problem.ideas:
        parts = [" ".join(filter(None, [words.pick(*words.problem.ideas), opening, capital(checked)]))]
    elif style == "thinking aloud, checked twice":
        parts = [" ".join(filter(None, ["Let me follow this line by line.", capital(checked), opening]))]
    else:
        parts = [" ".join(filter(None, [opening, capital(checked)]))]
    other = style == "first error, then another grouping" and words.problem.other_steps
    leads = "Working it out again gives the same.", "A calculation of my own agrees.", "Done again, it comes out alike."
    parts.append(f"{words.pick(*leads)} {words.redo(other or words.problem.steps)}")
    if style == "thinking aloud, checked twice":
        parts.append(_second_check(words))
    return "\n".join(filter(None, [*parts, words.box()]))


def _confirm_answer_only(words: Words) -> str:
    """For a right answer that the lines before it do not bear out."""
    opening = words.pick("The final answer is correct", f"The answer {words.problem.answer} is correct")
    told = f"{opening}, but not every line before it holds. {words.explain(words.found.first)}"
    lead = words.pick("Here is the calculation.", "Properly it runs like this.")
    return "\n".join([told, f"{lead} {words.redo(words.problem.steps)}", words.box()])


def _worth_telling(found: Diagnosis) -> list[Line]:
    """The lines to speak of: faulty ones first of all, then others up to the limit, in the candidate's order."""
    told, seen, room = [], set(), MAX_REMARKS - len(_faulty(found))
    for line in found.lines:
        same = (right(line), bool(line.faults))
        if same in seen or (not line.faults and (room <= 0 or line.claim.goes_on)):
            continue
        seen.add(same)
        room -= not line.faults
        told.append(line)
    return told


def _good(line: Line) -> bool:
    """Whether a line may be called right: a step of a known way with the right value, and nothing against it."""
    return line.sound and line.step is not None and not line.faults and not line.claim.goes_on


def _faulty(found: Diagnosis) -> list[Line]:
    return [line for line in found.lines if line.faults]


def _carried(words: Words, line: Line) -> str:
    """A line that does the right thing, or true arithmetic, with a number that was wrong before."""
    if line.claim.slip or not isinstance(line.claim.expression, Operation) or line.claim.goes_on:
        return ""
    if line.step in words.problem.steps and line.step.value != line.claim.value:
        return words.pick(
            f"{right(line)} is calculated properly from what came before, but it should be {line.step.shown}.",
            f"{right(line)} carries the earlier mistake on; the right numbers are {line.step.shown}.",
            f"{right(line)} rests on a wrong number. It should be {line.step.shown}.",
        )
    if line.clean:
        return ""
    return words.pick(
        f"{right(line)} is true as arithmetic, but it rests on what went wrong before.",
        f"{right(line)} is calculated properly, only from a wrong start.",
        f"The arithmetic in {right(line)} holds, but the numbers going in were wrong.",
    )


def _flush(words: Words, shown: list[str], mark: str, *wordings: str) -> list[str]:
    """One sentence for the sound lines gathered so far; empties the list."""
    told = [f"{join(shown)}{mark}{words.pick(*wordings)}."] if shown else []
    shown.clear()
    return told


def _continue(sentence: str) -> str:
    """A sentence to stand after "Also,": its first word loses the capital unless it is a quotation or a number."""
    return sentence[:1].lower() + sentence[1:]


def _second_check(words: Words) -> str:
    done = {step.quantity.polynomial for step in words.problem.steps[:-1]}
    other = [step.shown for step in words.problem.other_steps if step.quantity.polynomial not in done]
    if other:
        leads = "Does another grouping agree?", "As a check, grouped in another way:", "Another way to see it:"
        return f"{words.pick(*leads)} {join(other)}. {words.pick('The same.', 'That agrees.', 'It fits.')}"
    back = inverse_check(words.problem.steps[-1])
    lead = words.pick("As a check, backwards:", "Going back as a check,")
    return f"{lead} {back}, as it should be." if back else ""


def _must_exceed(words: Words, step: Step) -> bool:
    """Whether `step`, a part of the answer, is alone more than the candidate's answer."""
    whole = words.problem.steps[-1].quantity
    answer = words.found.answer
    part = step.quantity.unit == whole.unit and is_part(step.quantity.polynomial, whole.polynomial)
    return answer is not None and part and step.value > answer and all(c > 0 for _, c in whole.polynomial)


STYLES: dict[str, Callable[[Words], str]] = {
    "numbered check": _numbered,
    "examiner, concept first": _examiner,
    "first error, then another grouping": _first_error,
    "thinking aloud, checked twice": _aloud,
    "re-derivation": _rederive,
}
