"""How results are printed: titles, lines, and tables with figures to the right."""

import sys
from collections.abc import Iterable, Sequence


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def line(text: str = "") -> None:
    print(text, flush=True)


def doing(text: str) -> None:
    """For who waits; not part of the results."""
    print(f"  ... {text}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(one[column]) for one in lines) for column in range(len(head))]
    for one in lines:
        cells = (
            cell.rjust(width) if _is_figure(cell, head) else cell.ljust(width)
            for cell, width in zip(one, widths, strict=True)
        )
        print("  ".join(cells).rstrip(), flush=True)


def _is_figure(cell: str, head: Sequence[str]) -> bool:
    return cell[:1].isdigit() or cell in head[1:] or cell == "-"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
