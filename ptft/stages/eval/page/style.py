"""The page's style. Light and dark by the reader's own setting; nothing is fetched."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --faint: #f3f5f8; --blue: #2764c4; --band: #2764c466;
  --orange: #b3490f; --right: 39 100 196; --wrong: 214 88 20; --add: #d8f3dc; --gone: #ffe0d6; --warn: #fff4d6; --warnline: #b58100; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b; --soft: #a3acb8; --line: #3a424c; --faint: #1d2228; --blue: #7aabf7;
  --band: #7aabf766; --orange: #f0935c; --right: 82 141 236; --wrong: 232 116 54; --add: #1d4a2c; --gone: #5c2d1b; --warn: #3b3113; --warnline: #d9a93a; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Source Han Sans SC";
  color: var(--ink); background: var(--paper); margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
nav { font-size: .9rem; margin: .5rem 0 1rem; } nav a { margin-right: .9rem; white-space: nowrap; } a { color: var(--blue); }
small, .note, caption, dt { color: var(--soft); } small { font-size: .86em; } .note { font-size: .9rem; margin: .4rem 0; }
.warning { background: var(--warn); border-left: 4px solid var(--warnline); padding: .5rem .8rem; margin: .6rem 0; }
.scroll { overflow-x: auto; margin: .4rem 0; } .scroll:focus-visible { outline: 2px solid var(--blue); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; white-space: nowrap; font-size: .86rem; padding-bottom: .2rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
.number { text-align: right; }
thead th { font-size: .86rem; font-weight: 600; color: var(--soft); vertical-align: bottom; } tbody th { font-weight: 500; }
td .long { display: block; min-width: 14rem; } .keep { white-space: nowrap; }
code, pre { font: .88em ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; } pre { background: var(--faint); padding: .7rem; overflow-x: auto; white-space: pre-wrap; }
.cards { display: flex; flex-wrap: wrap; gap: .6rem 2.4rem; margin: 1rem 0; } .cards div { max-width: 100%; } .cards dd { margin: 0; }
.cards strong { display: block; font-size: 1.35rem; font-weight: 600; line-height: 1.3; } dt { font-size: .86rem; }
svg { display: block; max-width: 100%; } svg.small { width: 220px; min-width: 140px; height: 26px; } svg.large { width: 354px; }
svg text { fill: var(--soft); font-size: 11px; } .axis { stroke: var(--soft); stroke-width: 1; opacity: .6; } .mark { stroke: var(--soft); stroke-dasharray: 3 3; }
.interval { fill: var(--band); } .point { fill: var(--blue); } .frame { fill: none; stroke: var(--line); } .bar { fill: var(--band); stroke: var(--blue); }
.count { fill: var(--soft); opacity: .7; } .confidence { stroke: var(--orange); stroke-width: 3; } .key-confidence { color: var(--orange); font-weight: 600; }
.confusion { border-collapse: separate; border-spacing: 2px; } .confusion th, .confusion td { border: 0; padding: .25rem .5rem; }
.confusion td { text-align: right; background: var(--faint); } .confusion td.sum { background: none; color: var(--soft); } .confusion td.zero { color: var(--soft); }
.confusion tbody th { text-align: right; white-space: nowrap; } .confusion thead th { text-align: right; }
.many thead th:not(:first-child):not(:last-child) { height: 9rem; padding: 0; } .many .turned { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.many .upright { transform: none; } .many .zero { opacity: .5; } .confusion tbody th { position: sticky; left: 0; background: var(--paper); }
.many td { padding: .15rem .25rem; font-size: .82rem; } .dense td, .dense th { padding: 0 .15rem; font-size: .68rem; }
article { border-top: 1px solid var(--line); padding: .3rem 0 .6rem; } article dl, .detail { display: grid; grid-template-columns: minmax(5.5rem, max-content) 1fr; gap: .15rem .9rem; margin: 0; }
article dd, .detail dd { margin: 0; min-width: 0; } .text { white-space: pre-wrap; margin: 0; } .tags { line-height: 1.9; } sub { color: var(--soft); font-size: .72em; }
ins, del { border-radius: 2px; padding: 0 1px; color: inherit; } ins { background: var(--add); text-decoration: underline; } del { background: var(--gone); text-decoration: underline dotted; }
.wrong { background: var(--faint); } details { margin: .2rem 0; } summary { cursor: pointer; color: var(--blue); font-size: .9rem; }
@media (max-width: 640px) { body { padding: 1rem .7rem 3rem; } article dl, .detail { grid-template-columns: 1fr; } article dt { margin-top: .3rem; } svg.small { width: 140px; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } .scroll { overflow: visible; } article, tr, svg { break-inside: avoid; }
  td, rect, ins, del, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; } details::details-content { content-visibility: visible; } }
"""
