"""Answers that are kept in the user's cache."""

import pytest

from cft.cache import cache_folder, remembered


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Asks for the length of a text, and says how often it was worked out."""
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    worked_out = []

    def length(text: str) -> tuple[int, int]:
        return remembered("lengths", [text], lambda: worked_out.append(text) or len(text)), len(worked_out)

    return length


def test_the_same_question_is_worked_out_once_and_another_one_again(ask):
    assert [ask("four"), ask("four"), ask("eight"), ask("four")] == [(4, 1), (4, 1), (5, 2), (4, 2)]


@pytest.mark.parametrize("damaged", ["", '{"answer', "[]", "null", "{}", "\udcff"])
def test_a_damaged_record_is_as_good_as_none_and_is_written_again(ask, damaged):
    ask("four")
    (record,) = (cache_folder() / "lengths").iterdir()
    record.write_bytes(damaged.encode(errors="surrogateescape"))
    assert [ask("four"), ask("four")] == [(4, 2), (4, 2)]


def test_without_a_cache_that_can_be_written_everything_is_worked_out(ask):
    cache_folder().write_text("a file in its place")
    assert [ask("four"), ask("four")] == [(4, 1), (4, 2)]


def test_another_version_of_a_library_makes_it_another_question(ask, monkeypatch, tmp_path):
    ask("four")
    (tmp_path / "trl-99.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert ask("four") == (4, 2)
