"""The two prompts: SOLVE_PROMPT for students, demonstrations and evaluation; CRITIQUE_PROMPT for critique training."""

SOLVE_PROMPT = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."

CRITIQUE_PROMPT = """A student was given the problem below and wrote the solution that follows it. Judge the solution.
Go through it step by step and check every step against the problem. Say whether the solution is correct or \
incorrect; where it goes wrong, name the first mistake, explain it, and correct it. Then give the right final answer \
within \\boxed{}.

Problem:
{question}

Student's solution:
{solution}"""


def solve_prompt(question: str) -> str:
    """The user message that asks for a solution."""
    return SOLVE_PROMPT.replace("{question}", question.strip())


def critique_prompt(question: str, solution: str) -> str:
    """The user message that shows a student's solution and asks for a critique of it."""
    before, after = CRITIQUE_PROMPT.split("{question}")
    return before + question.strip() + after.replace("{solution}", solution.strip())


def messages(user: str, assistant: str | None = None) -> list[dict[str, str]]:
    """A conversation of one user message, and of one answer where it is given."""
    answer = [] if assistant is None else [{"role": "assistant", "content": assistant}]
    return [{"role": "user", "content": user}, *answer]


def training_row(user: str, assistant: str) -> dict[str, list[dict[str, str]]]:
    """TRL's conversational prompt/completion form: the loss falls on the completion only."""
    return {"prompt": messages(user), "completion": [{"role": "assistant", "content": assistant}]}
