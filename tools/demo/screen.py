"""How the demo looks: steps, bars, tables, and what is to be learned of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BAR = 30


class Screen:
    """A terminal. Names and messages are shown letter by letter: what stands in brackets in them is no markup.

    ``flaws`` counts what was not as it should be.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.flaws = 0

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.rule(f"[bold]{escape(title)}")

    def step(self, text: str) -> None:
        """Say what is done next, as a rule the very command."""
        self._print(f"[dim]→ {escape(text)}[/]")

    def answer(self, text: str) -> None:
        """Show what a command printed, or what to type; no frame, which would be copied with it."""
        self._print(escape(text))

    def bars(self, counts: Mapping[str, int], errors: Mapping[str, int]) -> None:
        """A bar for each pod, as long as its share of the calls, and a line for each way that calls failed."""
        most = max(counts.values(), default=1) or 1
        for pod, count in sorted(counts.items()):
            bar = "█" * round(_BAR * count / most)
            self._print(f"  {escape(f'{pod:<30}')} [cyan]{bar:<{_BAR}}[/] {count:>5}")
        for error, count in errors.items():
            self._print(f"  [red]{count} failed: {escape(error)}[/]")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of texts."""
        table = Table(*head)
        for row in rows:
            table.add_row(*map(escape, row))
        self._console.print(table)

    def verdict(self, holds: bool, moral: str, otherwise: str) -> None:
        """What is to be learned, where it was so; else what should have been, which is counted as a flaw."""
        if holds:
            self._print(f"  [bold green]{escape(moral)}[/]\n")
            return
        self.flaws += 1
        self._print(f"  [bold red]Not as it should be: {escape(otherwise)}[/]\n")

    def problem(self, text: str) -> None:
        """Why it ended early."""
        self._print(f"[red]{escape(text)}[/]")

    def note(self, text: str) -> None:
        """A last remark."""
        self._print(f"[dim]{escape(text)}[/]")

    def _print(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)
