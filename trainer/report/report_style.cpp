#include "trainer/report/report_style.h"

namespace muster {

const char* const kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191f; --soft: #5b6472; --faint: #d9dde3; --grid: #e8ebef;
  --right: #0b7a4b; --right-wash: #e2f4ea; --wrong: #b3261e; --wrong-wash: #fbe9e7; --wrong-line: #e0a9a4; --close: #8a5a00; --close-wash: #fdf1d8;
  --c0: #2457c5; --c1: #c2570c; --c2: #0f7a6c; --c3: #9b2c9b; --c4: #5b6472; --c5: #a3800a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111317; --card: #1a1d23; --ink: #e8eaee; --soft: #9aa3b2; --faint: #363c47; --grid: #272c35;
    --right: #4cc38a; --right-wash: #12301f; --wrong: #ff8a80; --wrong-wash: #3a1815; --wrong-line: #7d423c; --close: #f0b849; --close-wash: #352808;
    --c0: #7aa7ff; --c1: #ff9d5c; --c2: #4fd1bd; --c3: #e08ae0; --c4: #9aa3b2; --c5: #e6c94f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 10px; overflow-wrap: anywhere; }
h2 { font-size: 19px; letter-spacing: -0.005em; margin: 44px 0 4px; }
h3 { font-size: 16px; line-height: 1.4; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.lead { color: var(--soft); margin: 0 0 14px; max-width: 92ch; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0; color: var(--soft); }
.facts div { display: flex; gap: 6px; }
.facts dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.card, .chart, .query, details { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin: 26px 0 14px; }
.tile { padding: 14px 18px 12px; }
.tile b { display: block; font-size: 34px; line-height: 1.15; font-weight: 650; letter-spacing: -0.02em; }
.tile b small { font-size: 17px; font-weight: 500; color: var(--soft); margin-left: 2px; }
.tile span { color: var(--soft); font-size: 13.5px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 9px 16px; text-align: right; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; font-size: 13.5px; border-bottom: 1px solid var(--faint); }
tbody tr + tr > * { border-top: 1px solid var(--grid); }
th:first-child { text-align: left; font-weight: 600; }
th small { display: block; font-weight: 400; font-size: 12.5px; color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 14px; }
.speed { padding: 12px 16px; }
.speed dl { margin: 6px 0 0; display: grid; grid-template-columns: 1fr auto; gap: 4px 14px; }
.speed dt { color: var(--soft); }
.speed dd { margin: 0; text-align: right; font-weight: 600; }
.chart { margin: 0; padding: 12px 12px 6px; min-width: 0; }
.chart figcaption { display: flex; flex-direction: column; gap: 1px; padding: 0 4px 4px; }
.chart .name, .speed .name { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 13px; color: var(--soft); }
.legend > span { white-space: nowrap; }
.legend b { color: var(--ink); font-weight: 600; }
.key { width: 18px; height: 8px; margin-right: 5px; vertical-align: middle; }
.plot { display: block; width: 100%; height: auto; }
.grid, .axis { fill: none; stroke: var(--grid); }
.axis { stroke: var(--soft); }
.tick { font-size: 11.5px; fill: var(--soft); }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.l0 { stroke: var(--c0); } .l1 { stroke: var(--c1); stroke-dasharray: 7 4; } .l2 { stroke: var(--c2); stroke-dasharray: 2 4; }
.l3 { stroke: var(--c3); stroke-dasharray: 10 4 2 4; } .l4 { stroke: var(--c4); stroke-dasharray: 4 3; } .l5 { stroke: var(--c5); stroke-dasharray: 12 3; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); } .c4 { fill: var(--c4); } .c5 { fill: var(--c5); }
.reading rect { fill: transparent; }
.reading path { stroke: var(--soft); stroke-dasharray: 2 3; }
.reading path, .reading circle, .reading text { opacity: 0; pointer-events: none; }
.reading text { fill: var(--ink); }
.reading:hover path, .reading:hover circle, .reading:hover text { opacity: 1; }
.query { padding: 16px 18px 14px; margin: 0 0 14px; }
.query header p { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 12px; margin: 4px 0 12px; }
.who { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.pill { font-size: 12.5px; font-weight: 600; padding: 1px 10px; border-radius: 99px; background: var(--grid); color: var(--soft); white-space: nowrap; }
.pill.right { background: var(--right-wash); color: var(--right); }
.pill.close { background: var(--close-wash); color: var(--close); }
.pill.wrong { background: var(--wrong-wash); color: var(--wrong); }
.hits, .lines { list-style: none; margin: 0; padding: 0; }
.hits { display: grid; grid-template-columns: repeat(var(--wide), minmax(0, 136px)); gap: 10px; }
.hit { border: 2px dashed var(--wrong-line); border-radius: 8px; padding: 5px 6px 4px; min-width: 0; }
.hit.right { border: 2px solid var(--right); background: var(--right-wash); }
.picture { display: block; width: 100%; height: auto; max-height: 210px; object-fit: contain; background: var(--grid); border-radius: 4px; }
.picture.none { display: grid; aspect-ratio: 1; place-items: center; background: var(--grid); color: var(--soft); font-size: 12px; }
.under { display: flex; justify-content: space-between; align-items: baseline; margin-top: 3px; font-size: 13px; }
.mark { font-weight: 700; margin-left: 4px; color: var(--wrong); }
.right .mark { color: var(--right); }
.score { color: var(--soft); font-size: 12.5px; }
.hit .who { display: block; font-size: 11.5px; line-height: 1.3; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 14px; }
.pair { display: grid; grid-template-columns: 108px 1fr; gap: 4px 18px; margin: 0; align-items: start; }
.pair header p { flex-direction: column; align-items: flex-start; margin: 8px 0 0; }
.pair .pill { white-space: normal; border-radius: 8px; line-height: 1.35; padding: 2px 8px; }
.lines .row { display: grid; grid-template-columns: 34px 1fr auto; gap: 8px; padding: 5px 8px; border-left: 3px dashed var(--wrong-line); }
.lines .row + .row { margin-top: 3px; }
.lines .row.right { border-left-style: solid; border-left-color: var(--right); background: var(--right-wash); border-radius: 0 6px 6px 0; }
.said { overflow-wrap: anywhere; line-height: 1.35; min-width: 0; }
.said .who { display: block; }
details { padding: 0 18px; margin-top: 14px; }
summary { cursor: pointer; padding: 12px 0; font-weight: 600; }
pre { margin: 0 0 16px; overflow-x: auto; font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.empty { color: var(--soft); }
@media (max-width: 900px) { .hits { grid-template-columns: repeat(var(--narrow), minmax(0, 136px)); } }
@media (max-width: 640px) {
  main { padding: 22px 14px 40px; }
  h1 { font-size: 23px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .tile { padding: 11px 13px 10px; }
  .tile b { font-size: 27px; }
  th, td { padding: 8px 5px; font-size: 13.5px; }
  th:first-child { padding-left: 12px; white-space: normal; }
  td:last-child { padding-right: 12px; }
  .query { padding: 13px 13px 12px; }
  .hits { gap: 5px; }
  .hit { padding: 3px 3px 1px; }
  .hit .score, .hit .who { display: none; }
  .pair { grid-template-columns: 84px 1fr; gap: 4px 12px; }
  .lines .row { grid-template-columns: 28px 1fr; padding: 4px 6px; }
  .lines .score { grid-column: 2; }
}
@media print { .query, .chart { break-inside: avoid; } body { background: none; } }
)css";

}  // namespace muster
