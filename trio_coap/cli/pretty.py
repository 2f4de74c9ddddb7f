"""Payloads for a terminal: JSON indented, CBOR in diagnostic notation, links as a table, octets as a dump.

Rule 1: whatever does not have the format that it claims is shown as what it is.  Rule 2: colours come from rich, if
it is installed; without it the text is the same, but plain.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TextIO

from trio_coap.cli.describe import is_textual, printable
from trio_coap.cli.diagnostic import diagnose_sequence_untrusted, diagnose_untrusted
from trio_coap.wire.contentformats import LINK_FORMAT, is_cbor, is_json, media_type_of
from trio_coap.wire.linkformat import Link, LinkFormatError, parse_links

_FIRST_COLUMNS = ("rt", "if", "ct", "sz", "obs", "title")

MAX_COLUMNS = 16
"""Attributes up to which links are a table: more fit no terminal, and each costs a cell for every link."""

Table = list[list[str]]
"""Rows of cells; the first row has the names of the columns."""


def show_payload(payload: bytes, content_format: int | None, stream: TextIO | None = None) -> None:
    """Print *payload* to a terminal, by default standard output, in the way that suits its format."""
    stream = sys.stdout if stream is None else stream
    table = _read_link_table(payload) if content_format == LINK_FORMAT else None
    if table is not None:
        _show_table(table, stream)
        return
    text, is_structured = payload_text(payload, content_format)
    text = text.removesuffix("\n")  # Printing ends the line.
    try:
        import rich.console
        import rich.highlighter
        import rich.text
    except ImportError:
        print(text, file=stream)
        return
    shown = rich.text.Text(text)
    if is_structured:
        rich.highlighter.JSONHighlighter().highlight(shown)
    rich.console.Console(file=stream).print(shown, soft_wrap=True)


def show_links(links: Sequence[Link], stream: TextIO | None = None) -> None:
    """Print *links* to a terminal, by default standard output, as a table, whose targets are URIs."""
    stream = sys.stdout if stream is None else stream
    table = _link_table(links)
    if table is None:
        table = [["path"], *([printable(link.target, one_line=True)] for link in links)]
    table[0][0] = "URI"
    _show_table(table, stream)


def _show_table(table: Table, stream: TextIO) -> None:
    try:
        import rich.console
        import rich.table
        import rich.text
    except ImportError:
        print(_aligned(table), file=stream)
        return
    grid = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for name in table[0]:
        grid.add_column(name, overflow="fold")
    for row in table[1:]:
        grid.add_row(*map(rich.text.Text, row))
    rich.console.Console(file=stream).print(grid)


def payload_text(payload: bytes, content_format: int | None) -> tuple[str, bool]:
    """Return the text for *payload*, and whether it is JSON or like it."""
    if content_format is not None and is_json(content_format):
        text = _json(payload)
    elif content_format is not None and is_cbor(content_format):
        text = _cbor(payload, is_sequence=False)
    elif content_format is not None and (media_type_of(content_format) or "").endswith("cbor-seq"):
        text = _cbor(payload, is_sequence=True)
    else:
        text = None
    if text is not None:
        return printable(text), True
    # Without a format, or in one that nobody knows, text is the best guess where it is text.
    if content_format is None or is_textual(content_format) or media_type_of(content_format) is None:
        try:
            return _guess(payload, is_text=is_textual(content_format)), False
        except UnicodeDecodeError:
            pass
    return hex_dump(payload), False


def hex_dump(data: bytes) -> str:
    """Return *data* as lines of offset, sixteen octets and their characters."""
    lines = []
    for start in range(0, len(data), 16):
        octets = data[start : start + 16]
        characters = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in octets)
        lines.append(f"{start:06x}  {octets.hex(' '):47}  {characters}")
    return "\n".join(lines)


def _guess(payload: bytes, *, is_text: bool) -> str:
    text = payload.decode()
    return hex_dump(payload) if not is_text and "\0" in text else printable(text)


def _json(payload: bytes) -> str | None:
    try:
        # JSON has neither NaN nor infinity, and 1e999 would become one.
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _cbor(payload: bytes, *, is_sequence: bool) -> str | None:
    try:
        return "\n".join(diagnose_sequence_untrusted(payload)) if is_sequence else diagnose_untrusted(payload)
    except ValueError:
        return None


def _read_link_table(payload: bytes) -> Table | None:
    """Return the links of *payload* as a table, or None if there are none, or it is malformed."""
    try:
        return _link_table(parse_links(payload))
    except LinkFormatError:
        return None


def _link_table(links: Sequence[Link]) -> Table | None:
    """Return *links* as a table, or None if there are none, or there would be too many columns."""
    found = dict.fromkeys(name for link in links for name in link.attributes)
    if not links or len(found) > MAX_COLUMNS:
        return None
    columns = [name for name in _FIRST_COLUMNS if name in found]
    columns += [name for name in found if name not in columns]
    rows = [["path", *columns]]
    for link in links:
        cells = [" ".join(value or "yes" for value in link.attributes.get(name, ())) for name in columns]
        rows.append([link.target, *cells])
    return [[printable(cell, one_line=True) for cell in row] for row in rows]


def _aligned(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)
