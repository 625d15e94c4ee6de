r"""Which of one question's sampled answers vote together."""

from eval.grading import same_answer_groups


def test_equal_answers_share_the_index_of_the_first() -> None:
    answers = ["1/2", "3", r"\frac{1}{2}", "0.5", "3.0", "7"]
    assert same_answer_groups(answers) == [0, 1, 0, 0, 1, 5]


def test_samples_without_an_answer_have_no_group() -> None:
    assert same_answer_groups([None, "4", "", "  ", "4"]) == [None, 1, None, None, 1]
    assert same_answer_groups([]) == []


def test_equality_is_that_of_mathematics_not_of_spelling() -> None:
    answers = [r"\frac{1}{\sqrt{2}}", "x+1", r"\frac{\sqrt{2}}{2}", "1+x", "(1,2)", "(2,1)", r"\{1,2\}", r"\{2,1\}"]
    assert same_answer_groups(answers) == [0, 1, 0, 1, 4, 5, 6, 6]


def test_what_cannot_be_decided_is_equal_by_its_text_only() -> None:
    long = "1" * 100_000
    deep = "(" * 500 + "1" + ")" * 500
    assert same_answer_groups([long, "1", deep, long, long + "2", deep, "1.0"]) == [0, 1, 2, 0, 4, 2, 1]


def test_many_spellings_of_one_answer_and_many_answers() -> None:
    answers = [form.format(n) for n in range(16) for form in ("{}", "{}.0", "${}$", r"\text{{ {} }}")]
    assert same_answer_groups(answers) == [4 * (index // 4) for index in range(64)]
