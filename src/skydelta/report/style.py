"""The style sheet of the report: system fonts, two colour schemes, and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --panel: #f3f3ef; --ink: #23262b; --muted: #6d7178; --line: #d9d9d3;
  --accent: #2f6f8f; --positive: #b2382b; --negative: #2166ac; --good: #3d7a4a; --bad: #b2382b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17191c; --panel: #202327; --ink: #dcdcd6; --muted: #92979f; --line: #363a40;
    --accent: #74b3d1; --positive: #ec8a78; --negative: #7fb2e5; --good: #83c493; --bad: #ec8a78;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1320px; margin: 0 auto; padding: 2.5rem 2rem 5rem; }
h1 { font-size: 1.9rem; font-weight: 600; letter-spacing: -0.01em; margin: 0; }
h2 { font-size: 1.25rem; font-weight: 600; margin: 3rem 0 0.8rem; }
h3 { font-size: 1.1rem; font-weight: 600; margin: 0; }
h4 { font-size: 0.95rem; font-weight: 600; margin: 1.6rem 0 0.5rem; }
p { max-width: 46rem; margin: 0.5rem 0; }
.lead, .hint, figcaption { color: var(--muted); }
.hint, figcaption { font-size: 0.82rem; line-height: 1.4; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.6rem 2.6rem; margin: 1.4rem 0 0.4rem; }
.tile b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.2; }
.tile span { color: var(--muted); font-size: 0.82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.84rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.5rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
th { font-weight: 500; color: var(--muted); border-bottom: 1px solid var(--line);
  vertical-align: bottom; line-height: 1.25; }
th[title] { cursor: help; }
th.group { text-align: center; border-bottom: 1px solid var(--line); }
thead tr:not(:last-child) th:not(.group) { border-bottom: 0; }
td { border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; }
table.text td:last-child { white-space: normal; max-width: 50rem; }
.status { font-weight: 600; color: var(--bad); }
.status.ok { color: var(--good); font-weight: 500; }
.exposure { border-top: 2px solid var(--line); margin-top: 2.6rem; padding-top: 1.2rem; }
.exposure > header { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; align-items: baseline; }
.row { display: grid; gap: 1.2rem; margin-top: 1rem; align-items: start; }
.three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.graphs + .wide { margin-top: 1.6rem; }
.graphs { display: flex; flex-wrap: wrap; gap: 1.2rem 2rem; margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { margin-top: 0.35rem; }
figcaption b { color: var(--ink); font-weight: 600; }
svg.sky { display: block; width: 100%; height: auto; border-radius: 3px; background: var(--panel); }
svg.sky text { font: 600 10px system-ui, sans-serif; fill: #23262b; }
svg.sky circle { fill: none; stroke-width: 1.4px; vector-effect: non-scaling-stroke;
  pointer-events: all; }
svg.sky circle.positive { stroke: #a50f2b; }
svg.sky circle.negative { stroke: #14479a; }
svg.sky circle.dipole { stroke: #6a1b9a; }
svg.sky circle.flagged { stroke-dasharray: 3 2.4; stroke-width: 1px; }
.key { display: inline-block; width: 0.72em; height: 0.72em; border-radius: 50%;
  border: 1.5px solid; margin: 0 0.25em 0 0.5em; }
.key.positive { border-color: #c23a4f; } .key.negative { border-color: #3f74c4; }
.key.dipole { border-color: #9a4cc4; } .key.flagged { border-style: dashed; }
.key.masked { background: #f2c14e; border-color: #f2c14e; border-radius: 2px; }
.plot svg { display: block; overflow: visible; color: var(--ink); max-width: 100%; height: auto; }
.plot svg text { fill: currentColor; font-family: inherit; }
img.pixels { display: block; image-rendering: pixelated; border-radius: 2px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(17.5rem, 1fr));
  gap: 1rem 1.2rem; margin-top: 0.6rem; }
svg.stamps { display: block; width: 100%; height: auto; image-rendering: pixelated; }
svg.sprite { position: absolute; }
svg.sprite image { image-rendering: pixelated; }
.flags { color: var(--bad); }
details { margin-top: 1rem; }
summary { cursor: pointer; color: var(--accent); font-size: 0.9rem; }
pre { background: var(--panel); padding: 0.9rem 1.1rem; border-radius: 4px; overflow-x: auto;
  font: 0.8rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { margin-top: 4rem; color: var(--muted); font-size: 0.82rem;
  border-top: 1px solid var(--line); padding-top: 0.8rem; }
@media (max-width: 900px) { .three { grid-template-columns: 1fr; } main { padding: 1.2rem; } }
@media print {
  :root { --paper: #fff; --panel: #f6f6f4; --ink: #111; --muted: #555; --line: #ccc;
    --accent: #2f6f8f; --positive: #b2382b; --negative: #2166ac; --good: #3d7a4a; --bad: #b2382b; }
  main { max-width: none; padding: 0; }
  body { font-size: 11px; }
  .wide { overflow: visible; }
  th, td { padding: 0.2rem 0.35rem; }
  figure, .tile, tr { break-inside: avoid; }
  .exposure { break-before: page; border: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
