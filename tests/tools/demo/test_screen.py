"""The demo's screen."""

from io import StringIO

from rich.console import Console

from tools.demo.screen import Screen


def drawn() -> tuple[Screen, StringIO]:
    stream = StringIO()
    return Screen(Console(file=stream, width=80)), stream


def test_what_others_say_is_shown_letter_by_letter() -> None:
    """Brackets in names and errors are printed literally."""
    screen, stream = drawn()
    texts = ["[red]", "[/]", "ipv6:[::1]:50051"]
    for text in texts:
        screen.heading(text)
        screen.step(text)
        screen.answer(text)
        screen.bars({text: 1}, {text: 1})
        screen.table(("head",), ((text,),))
        screen.result(True, text, "")
        screen.result(False, "", text)
        screen.problem(text)
        screen.note(text)
    for text in texts:
        assert stream.getvalue().count(text) == 10


def test_bars_are_as_long_as_the_shares() -> None:
    """The pod with the most answers has the longest bar; a pod without answers has none and is listed."""
    screen, stream = drawn()
    screen.bars({"a": 100, "b": 50, "c": 0}, {})
    assert [line.count("█") for line in stream.getvalue().splitlines()] == [30, 15, 0]


def test_no_calls_at_all_are_drawn_as_well() -> None:
    """A chart without any answer is drawn."""
    screen, stream = drawn()
    screen.bars({"a": 0}, {"503": 300})
    assert "300 failed: 503" in stream.getvalue()


def test_what_is_not_as_it_should_be_is_counted() -> None:
    """Unexpected results are counted, and only expected ones print their message."""
    screen, stream = drawn()
    screen.result(True, "balanced", "it should be balanced")
    assert (screen.failures, "it should be" in stream.getvalue()) == (0, False)
    screen.result(False, "moral", "it should be balanced")
    assert (screen.failures, "moral" in stream.getvalue()) == (1, False)
