"""Terminal output of the demo: steps, bars, tables and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BAR = 30


class Screen:
    """A terminal. Names and messages are escaped, so that brackets in them are not markup.

    ``failures`` counts the unexpected results.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.failures = 0

    def heading(self, title: str) -> None:
        """Begin a section."""
        self._console.rule(f"[bold]{escape(title)}")

    def step(self, text: str) -> None:
        """Show the next step, usually the command."""
        self._print(f"[dim]→ {escape(text)}[/]")

    def answer(self, text: str) -> None:
        """Show the output of a command, or commands to type, unframed so that they can be copied."""
        self._print(escape(text))

    def bars(self, counts: Mapping[str, int], errors: Mapping[str, int]) -> None:
        """Draw a bar per pod for its share of the calls, and a line per kind of error."""
        most = max(counts.values(), default=1) or 1
        for pod, count in sorted(counts.items()):
            bar = "█" * round(_BAR * count / most)
            self._print(f"  {escape(f'{pod:<30}')} [cyan]{bar:<{_BAR}}[/] {count:>5}")
        for error, count in errors.items():
            self._print(f"  [red]{count} failed: {escape(error)}[/]")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""
        table = Table(*head)
        for row in rows:
            table.add_row(*map(escape, row))
        self._console.print(table)

    def result(self, ok: bool, message: str, failure: str) -> None:
        """Show ``message`` if ``ok``, else ``failure``, and count it."""
        if ok:
            self._print(f"  [bold green]{escape(message)}[/]\n")
            return
        self.failures += 1
        self._print(f"  [bold red]Unexpected: {escape(failure)}[/]\n")

    def problem(self, text: str) -> None:
        """Show why the demo ended early."""
        self._print(f"[red]{escape(text)}[/]")

    def note(self, text: str) -> None:
        """Show a closing remark."""
        self._print(f"[dim]{escape(text)}[/]")

    def _print(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)
