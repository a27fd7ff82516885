# SPDX-License-Identifier: PostgreSQL
"""A page as blocks, and the two forms in which it is written: Markdown and HTML.

Text may hold `code` and **strong** words and [links](to), as in Markdown.
"""

import html
import re
from typing import NamedTuple


class Heading(NamedTuple):
    text: str


class Text(NamedTuple):
    text: str


class Bullets(NamedTuple):
    items: tuple


class Table(NamedTuple):
    header: tuple
    rows: list


class Fold(NamedTuple):
    """Long tables behind a line that opens them."""
    summary: str
    blocks: tuple


def without_empty_columns(table):
    used = [i for i, name in enumerate(table.header) if not table.rows or any(row[i] for row in table.rows)]
    return Table(tuple(table.header[i] for i in used), [tuple(row[i] for i in used) for row in table.rows])


def _is_figure(block):
    return hasattr(block, "svg")


def _markdown_parts(blocks):
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"## {block.text}")
        elif isinstance(block, Fold):
            parts += [f"<details><summary>{html.escape(block.summary)}</summary>", *_markdown_parts(block.blocks), "</details>"]
        elif isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Bullets):
            parts.append("\n".join(f"- {item}" for item in block.items))
        elif isinstance(block, Table):
            lines = ["| " + " | ".join(block.header) + " |", "|" + "---|" * len(block.header)]
            lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in block.rows]
            parts.append("\n".join(lines))
        elif _is_figure(block):
            parts.append(f"![{block.caption}]({block.name}.svg)")
    return parts


def markdown(title, blocks):
    return "\n\n".join([f"# {title}", *_markdown_parts(blocks)]) + "\n"


def figures(blocks):
    """All charts among them."""
    for block in blocks:
        if _is_figure(block):
            yield block
        elif isinstance(block, Fold):
            yield from figures(block.blocks)


def _inline(text):
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]*)\*\*", r"<strong>\1</strong>", text)
    text = text.replace("/report.md)", "/report.html)")     # a page leads to pages
    return re.sub(r"\[([^]]*)\]\(([^)]*)\)", r'<a href="\2">\1</a>', text)


STYLE = """
:root { color-scheme: light }
body { font: 16px/1.45 sans-serif; color: #222; background: #fff; max-width: 76rem; margin: 0 auto; padding: 0 1rem 3rem }
h1 { font-size: 1.6rem; line-height: 1.2 } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }
p, ul, details > p { max-width: 52rem } .first { font-size: 1.15rem }
figure { margin: 1rem 0; break-inside: avoid } figure svg { width: 100%; height: auto; display: block }
figcaption { color: #555; font-size: .85rem }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 1.5rem; align-items: start }
.figures:has(> :only-child) { max-width: 40rem }
details { margin: 1rem 0 } summary { cursor: pointer; color: #0645ad }
table { border-collapse: collapse; font-size: .82rem; line-height: 1.3; margin: 1rem 0; max-width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .55rem .25rem 0; text-align: left; vertical-align: top; overflow-wrap: break-word }
th { border-bottom: 1px solid #888; background: #fff } td { font-variant-numeric: tabular-nums }
code { font-size: .9em; overflow-wrap: anywhere }
@media (max-width: 48rem) {
  .many thead { display: none } .many, .many tbody, .many tr, .many td { display: block }
  .many tr { border-top: 1px solid #888; padding: .4rem 0 } .many td { border: 0; padding: .05rem 0 } .many td:empty { display: none }
  .many td::before { content: attr(data-name) ": "; color: #666 } .many td[data-name=""]::before { content: "" }
}
@media print { body { max-width: none; font-size: 9.5pt; padding: 0 } table { font-size: 6.5pt }
  a { color: inherit } h2 { break-after: avoid } tr { break-inside: avoid } }
"""


def _table(table):
    """On a narrow screen a table of many columns becomes a list of cards, each cell with its column's name."""
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f'<td data-name="{html.escape(name)}">{_inline(cell)}</td>' for name, cell in zip(table.header, row))
                   + "</tr>\n" for row in table.rows)
    kind = ' class="many"' if len(table.header) > 2 else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"


def _page_parts(blocks, first=False):
    parts, in_figures = [], False
    for block in blocks:
        if in_figures and not _is_figure(block):
            parts.append("</div>")
            in_figures = False
        if isinstance(block, Heading):
            parts.append(f"<h2>{_inline(block.text)}</h2>")
        elif isinstance(block, Text):
            parts.append(f'<p{" class=first" if first else ""}>{_inline(block.text)}</p>')
            first = False
        elif isinstance(block, Bullets):
            parts.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in block.items) + "</ul>")
        elif isinstance(block, Table):
            parts.append(_table(block))
        elif isinstance(block, Fold):
            parts += [f"<details><summary>{html.escape(block.summary)}</summary>", *_page_parts(block.blocks), "</details>"]
        elif _is_figure(block):
            if not in_figures:
                parts.append('<div class="figures">')
                in_figures = True
            parts.append(f"<figure>{block.svg}<figcaption>{_inline(block.caption)}</figcaption></figure>")
    if in_figures:
        parts.append("</div>")
    return parts


def page(title, blocks):
    """One HTML file that needs nothing else; figures that follow each other stand side by side."""
    return "\n".join(
        ["<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
         '<meta name="viewport" content="width=device-width, initial-scale=1">',
         f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>", f"<h1>{html.escape(title)}</h1>",
         *_page_parts(blocks, first=True)]) + "\n</body></html>\n"
