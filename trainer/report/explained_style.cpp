#include "trainer/report/explained_html.h"

namespace muster {

// The twelve colours carry white text, and stand out from each other and from photographs. A word that is pointed at
// leaves the others pale.
const char* const kExplainStyle = R"css(
.above { margin-top: 14px; }
.w0 { --k: #d1242f; } .w1 { --k: #0969da; } .w2 { --k: #1a7f37; } .w3 { --k: #8250df; } .w4 { --k: #bc4c00; } .w5 { --k: #0e7c86; }
.w6 { --k: #bf3989; } .w7 { --k: #8a6100; } .w8 { --k: #3b4fc4; } .w9 { --k: #4d7c0f; } .w10 { --k: #8c4a2f; } .w11 { --k: #475569; }
.held { position: absolute; width: 0; height: 0; }
.seeing { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 10px 26px; align-items: start; }
.scene { display: block; width: 100%; height: auto; border-radius: 6px; font-weight: 600; }
.scene text { fill: #fff; }
.scene rect, .crop rect { vector-effect: non-scaling-stroke; }
.fill { fill: var(--k); }
.edge { fill: none; stroke: var(--k); stroke-width: 2.6; }
.weak { opacity: 0.62; }
.weak.edge { stroke-width: 1.3; }
.explained .weak.halo { stroke-width: 2.4; opacity: 0.45; }
.halo { fill: none; stroke: #fff; stroke-width: 5; stroke-opacity: 0.75; }
.void { fill: var(--grid); }
.unchosen { fill: none; stroke: var(--soft); stroke-width: 1; stroke-opacity: 0.4; }
.spoken { display: flex; flex-wrap: wrap; gap: 8px 5px; margin: 12px 0 2px; }
.whole { display: inline-flex; }
.piece { display: inline-flex; flex-direction: column; align-items: center; }
.piece small { font-size: 11px; line-height: 1.5; color: var(--soft); padding: 0 2px; }
.chip { background: var(--k, var(--grid)); color: #fff; font-weight: 600; font-size: 14px; line-height: 1.35; padding: 2px 8px; white-space: nowrap; align-self: stretch; text-align: center; }
.whole > :first-child, .whole > :first-child .chip { border-radius: 5px 0 0 5px; }
.whole > :last-child, .whole > :last-child .chip { border-radius: 0 5px 5px 0; }
.whole > :only-child, .whole > :only-child .chip { border-radius: 5px; }
.whole > * + .piece .chip, .whole > * + .chip { border-left: 2px dotted var(--card); }
.chip.rest { background: var(--grid); color: var(--soft); }
.out .chip { background: none; border: 1px dashed var(--faint); color: var(--soft); }
.explained .table table { width: 100%; }
.explained th, .explained td { padding: 4px 6px; text-align: left; }
.explained thead th { padding-top: 0; }
.explained td small { display: block; font-size: 11px; line-height: 1.25; color: var(--soft); }
.near div { display: flex; align-items: center; gap: 7px; }
.near b { font-size: 13.5px; font-weight: 500; }
.near:nth-child(2) b { font-weight: 700; }
.near:nth-child(n+3) .edge { stroke-width: 1.2; }
.crop { width: 38px; height: 38px; flex: none; border-radius: 4px; background: var(--grid); }
.explained .all { width: 32%; }
.heat { display: block; width: 100%; min-width: 84px; height: 20px; }
.best { fill: var(--ink); }
.mark, .halo { transition: opacity 0.12s; }
.explained:has(.row:hover) .halo, .explained:has(.piece:hover) .halo { opacity: 0.15; }
.explained:has(.row:hover) .mark, .explained:has(.spoken .mark:hover) .mark { opacity: 0.12; }
.explained:has(.w0.row:hover, .w0.piece:hover) .w0, .explained:has(.w1.row:hover, .w1.piece:hover) .w1, .explained:has(.w2.row:hover, .w2.piece:hover) .w2,
.explained:has(.w3.row:hover, .w3.piece:hover) .w3, .explained:has(.w4.row:hover, .w4.piece:hover) .w4, .explained:has(.w5.row:hover, .w5.piece:hover) .w5,
.explained:has(.w6.row:hover, .w6.piece:hover) .w6, .explained:has(.w7.row:hover, .w7.piece:hover) .w7, .explained:has(.w8.row:hover, .w8.piece:hover) .w8,
.explained:has(.w9.row:hover, .w9.piece:hover) .w9, .explained:has(.w10.row:hover, .w10.piece:hover) .w10, .explained:has(.w11.row:hover, .w11.piece:hover) .w11 { opacity: 1; }
@media (max-width: 900px) { .seeing { grid-template-columns: minmax(0, 1fr); } }
)css";

}  // namespace muster
