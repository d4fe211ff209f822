"""The HTML page around a report: one column, one accent colour, light or dark as the reader's system is."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #23262b; --soft: #6d727b; --rule: #e3e3de; --accent: #b4481e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #dcdee1; --soft: #949aa4; --rule: #30343a; --accent: #f08a5d; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 80px; }
h1 { font-size: 28px; font-weight: 600; line-height: 1.2; margin: 0 0 24px; overflow-wrap: anywhere; }
h2 { font-size: 20px; font-weight: 600; margin: 48px 0 12px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 4px; }
small { color: var(--soft); font-size: 13px; font-weight: 400; }
p { margin: 12px 0; max-width: 70ch; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 8px 0 8px 20px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-size: 14px; font-weight: 400; color: var(--soft); vertical-align: bottom; white-space: normal; }
td b { font-size: 20px; font-weight: 600; color: var(--accent); }
.facts { margin-top: 28px; font-size: 14px; columns: 2 400px; column-gap: 40px; }
details { break-inside: avoid; margin-bottom: 16px; }
details details { margin: 2px 0 0 0; }
summary { font-weight: 600; cursor: pointer; }
details details summary { font-weight: 400; color: var(--soft); }
dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 2px 16px; margin: 4px 0 0; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 28px 40px; }
figure { margin: 0; }
.plot svg { display: block; width: 100%; }
.plot path { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; }
.plot .grid { stroke: var(--rule); }
.plot .axis { stroke: var(--soft); }
.plot .tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.dot { fill: currentColor; }
.bar { fill: currentColor; fill-opacity: .8; }
.spot { fill: transparent; }
.spot:hover { fill: currentColor; fill-opacity: .3; }
.s0, .s3 { color: var(--accent); } .s1, .s4 { color: var(--ink); } .s2, .s5 { color: var(--soft); }
.s3 path, .s4 path, .s5 path { stroke-dasharray: 5 3; }
.legend { display: flex; flex-wrap: wrap; gap: 0 18px; margin: 0 0 4px; font-size: 13px; color: var(--soft); }
.legend span { display: inline-flex; align-items: center; }
.plot .sample { width: 22px; flex: none; margin-right: 6px; }
figcaption { margin: 28px 0 6px; font-weight: 600; font-size: 14px; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; }
.small { image-rendering: pixelated; }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1px 4px; }
.stills { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 8px 20px; margin-top: 8px; }
.controls { display: flex; gap: 4px 20px; font-size: 14px; margin: 4px 0; }
.controls label { display: inline-flex; align-items: center; gap: 6px; min-height: 28px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.clip:has(.play:not(:checked)) .moving { display: none; }
.clip:has(.larger:checked) .frames > * { min-width: 900px; }
.frames { overflow-x: auto; }
@media (max-width: 600px) { main { padding: 24px 14px 60px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; } }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole document; `title` is plain text, `parts` are HTML, and empty ones are left out."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n'
        f"<body><main>\n<h1>{escape(title)}</h1>\n{body}\n</main></body></html>\n"
    )
