"""Building blocks of a report page: escaped HTML, tables, bars, and the style sheet."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """HTML made by this module. Every other string is escaped when it enters a page."""


def escape(value: object) -> Markup:
    """Escape a value unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object], separator: str = "\n") -> Markup:
    """Join several pieces of markup into one."""
    return Markup(separator.join(escape(part) for part in parts))


def breakable_path(path: str) -> Markup:
    """Allow a line break after each slash of a path."""
    return Markup(escape(path).replace("/", "/<wbr>"))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """Return `<name attributes>content</name>`; write the attribute class as `class_`."""
    pairs = (f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{''.join(pairs)}>{join(content, '')}</{name}>")


def section(title: str, *content: object) -> Markup:
    """Return a section of the page with a title."""
    return tag("section", tag("h2", title), join(content))


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], marked_row: int = -1
) -> Markup:
    """Return a table that scrolls sideways on a narrow page.

    Args:
      header: Titles of the columns.
      rows: Cells of each row. The first one names the row.
      marked_row: Index of the row to highlight, or -1 for none.
    """
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = []
    for index, (name, *cells) in enumerate(rows):
        line = [tag("th", name, scope="row"), *(tag("td", cell) for cell in cells)]
        body.append(tag("tr", *line, class_="marked" if index == marked_row else "plain"))
    width = "narrow" if len(header) <= 5 else "wide"
    grid = tag("table", tag("thead", head), tag("tbody", *body), class_=width)
    return tag("div", grid, class_="scroll", tabindex="0")


def definition_list(rows: Iterable[tuple[object, object]]) -> Markup:
    """Return a list of names and their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def command(line: str) -> Markup:
    """Return a command line that breaks only between words and is copied as one line."""
    return tag("pre", join((tag("span", word) for word in line.split(" ")), " "))


def image(png: bytes, description: str) -> Markup:
    """Return a PNG image embedded in the page."""
    data = base64.b64encode(png).decode("ascii")
    return Markup(f'<img src="data:image/png;base64,{data}" alt="{escape(description)}">')


def linked_image(path: str, description: str) -> Markup:
    """Return an image that stays in a file beside the page (see `document`).

    Args:
      path: Path of the file, relative to the page, with / and without characters that a URL
        escapes.
      description: Text to show if the file is missing.
    """
    return Markup(f'<img src="{escape(path)}" alt="{escape(description)}">')


def bar(share: float) -> Markup:
    """Return a bar that fills `share` (0..1) of its cell."""
    return tag("span", tag("i", style=f"width:{share:.1%}"), class_="bar")


def interval_strip(value: float, interval: Sequence[float] | None, reference: float) -> Markup:
    """Draw a value on a scale from 0 to 1, with its interval and a reference tick."""
    parts = [tag("b", style=f"left:{reference:.2%}")]
    if interval is not None:
        low, high = interval
        parts.append(tag("i", style=f"left:{low:.2%};width:{high - low:.2%}"))
    parts.append(tag("u", style=f"left:{value:.2%}"))
    return tag("span", *parts, class_="strip")


def confusion_table(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Markup:
    """Return a confusion matrix as a table of counts and row shares, shaded by share."""
    rows = []
    for name, line in zip(names, counts, strict=True):
        total = max(sum(line), 1)
        cells = (_heat_cell(count, count / total) for count in line)
        rows.append(tag("tr", tag("th", name, scope="row"), *cells, tag("td", sum(line))))
    head = [tag("th", cell, scope="col") for cell in ("true \\ answer", *names, "sum")]
    grid = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows), class_="heat")
    return tag("div", grid, class_="scroll", tabindex="0")


def _heat_cell(count: int, share: float) -> Markup:
    ink = "#fff" if share > 0.72 else "inherit"
    style = f"background:rgba(0,92,153,{share:.2f});color:{ink}"
    return tag("td", tag("strong", count), tag("small", f"{share:.0%}"), style=style)


def document(title: str, *content: object, allow_local_images: bool = False) -> str:
    """Return the whole page. Its policy forbids scripts and anything from outside.

    Args:
      title: Title of the page.
      content: Sections of the page.
      allow_local_images: Whether the page may show images from files beside it (`linked_image`).
    """
    # For a page that is opened as a file, some browsers hold that no file is its own.
    images = "data: 'self' file:" if allow_local_images else "data:"
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{join(content)}
</body>
</html>
"""


_STYLE = """
:root { --ink: #1d2733; --faint: #5b6876; --rule: #dde2e8; --wash: #f5f7f9; --blue: #005c99;
  --amber: #8a4b00; --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  "DejaVu Sans", sans-serif; --serif: Charter, "Iowan Old Style", Georgia, "DejaVu Serif", serif; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2.5rem 1.5rem 3rem; color: var(--ink);
  background: #fff; font: 1rem/1.55 var(--sans); font-variant-numeric: tabular-nums; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; }
h1 { font-size: 2rem; margin: .2rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 .7rem; }
p { margin: .5rem 0; max-width: 46rem; }
section { margin-top: 2.4rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }
pre { margin: .6rem 0; padding: .8rem 1rem; background: var(--wash); border-radius: 6px;
  white-space: pre-wrap; }
pre span { display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
.over { color: var(--faint); font-size: .85rem; letter-spacing: .04em; margin: 0; }
.lead { font-size: 1.06rem; }
.small, .over, small { color: var(--faint); }
.small { font-size: .875rem; }
.note { border-left: 4px solid #e69f00; background: #fdf6e7; padding: .7rem 1rem; margin: 1rem 0;
  max-width: none; border-radius: 0 6px 6px 0; }
.note code { white-space: nowrap; }
.failed { border-color: #b3261e; background: #fceeed; font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; margin: 1.4rem 0 .4rem; }
.card { border: 1px solid var(--rule); border-radius: 8px; padding: .9rem 1.1rem 1.1rem; }
.card .name { color: var(--faint); font-size: .9rem; }
.card .value { display: block; font: 600 2.1rem/1.2 var(--serif); }
.strip { display: block; position: relative; height: 1rem; margin-top: .7rem;
  background: linear-gradient(var(--rule), var(--rule)) center / 100% 2px no-repeat; }
.strip i, .strip b, .strip u { position: absolute; display: block; }
.strip i { top: 5px; height: 6px; background: #8fc1e3; border-radius: 3px; }
.strip b { top: 0; width: 2px; height: 16px; margin-left: -1px; background: var(--faint); }
.strip u { top: 2px; width: 12px; height: 12px; margin-left: -6px; border-radius: 50%;
  background: var(--blue); border: 2px solid #fff; }
td .strip { margin: 0; }
.under { display: block; font-size: .8rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; }
.wide { min-width: 100%; }
.narrow { min-width: min(100%, 34rem); }
th, td { padding: .38rem .7rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th:first-child { text-align: left; padding-left: .4rem; }
thead th { color: var(--faint); font-weight: 500; font-size: .85rem; vertical-align: bottom;
  border-bottom: 1.5px solid var(--ink); }
tbody th { font-weight: 400; }
tr.marked { background: #eaf3fa; }
tr.marked th, tr.marked td { font-weight: 600; }
td small { font-weight: 400; }
.heat td { text-align: center; min-width: 5.2rem; border: 2px solid #fff; padding: .5rem; }
.heat td:last-child { min-width: 3.5rem; color: var(--faint); }
.heat td strong { display: block; font-size: 1.1rem; font-weight: 600; line-height: 1.25; }
.heat td small { color: inherit; }
.heat thead th { text-align: center; }
.heat thead th:first-child { text-align: left; white-space: normal; }
.heat tbody th { border: 0; }
.bar { display: block; width: 9rem; height: .6rem; background: #e9edf1;
  border-radius: 3px; overflow: hidden; }
.bar i { display: block; height: 100%; background: #56a0d3; }
.tag { font-size: .78rem; font-weight: 500; border: 1px solid currentColor; border-radius: 4px;
  padding: 0 .35rem; color: var(--amber); white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 1rem; }
.matrices { display: flex; flex-wrap: wrap; gap: 1rem 2.4rem; }
.matrices > div { min-width: 0; }
h3 { font-size: 1rem; margin: .4rem 0 0; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr));
  gap: 1.4rem 1.6rem; margin-top: 1.2rem; }
.clips.flow { grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
figure { margin: 0; min-width: 0; }
figure img { margin-bottom: .4rem; border-radius: 3px; color: var(--faint); font-size: .85rem; }
figcaption { font-size: .875rem; line-height: 1.45; overflow-wrap: anywhere; }
figcaption strong, figcaption span { display: block; }
.legend { display: flex; align-items: center; gap: 1rem; }
.legend img { width: 4.5rem; flex: none; }
img { width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); margin: .8rem 0;
  gap: .8rem 1.4rem; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--blue); }
.config td, .config th { text-align: left; white-space: normal; overflow-wrap: anywhere;
  font: .82rem/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
footer { margin-top: 2.6rem; padding-top: 1rem; border-top: 3px solid var(--ink); }
@media (max-width: 40rem) {
  body { padding: 1.4rem 1rem 2rem; }
  h1 { font-size: 1.6rem; }
  .cards { grid-template-columns: 1fr; gap: .7rem; }
  .card { padding: .7rem .9rem .9rem; }
  .card .value { font-size: 1.7rem; }
  th, td { padding: .35rem .45rem; }
  th:first-child { position: sticky; left: 0; background: #fff; }
  tr.marked th:first-child { background: #eaf3fa; }
  tbody th { white-space: normal; min-width: 6.5rem; }
  th .tag { display: block; width: max-content; max-width: 7.2rem; white-space: normal; }
  .heat { font-size: .85rem; }
  .heat thead th { font-size: .75rem; padding: .3rem .15rem; }
  .heat td { min-width: 3.3rem; padding: .4rem .1rem; }
  .heat td:last-child { min-width: 2rem; }
  .heat tbody th { min-width: 0; }
  .bar { width: 5.5rem; }
  dl { grid-template-columns: 1fr 1fr; }
}
@media print { body { max-width: none; } section { break-inside: avoid; } }
"""
