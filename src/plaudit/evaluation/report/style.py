"""The report's style sheet. One accent colour, system fonts, tabular figures; light, dark and print.

The colours of both themes stand in `LIGHT` and `DARK`, where a test checks their contrast (WCAG AA, 4.5 to 1).
Tokens diverge from orange (below zero) to blue (above), which all common kinds of colour blindness tell apart.
"""

from __future__ import annotations

LIGHT = {
    "page": "#ffffff",
    "sheet": "#f6f7f9",
    "ink": "#191c22",
    "soft": "#5a6270",
    "rule": "#e1e4e9",
    "edge": "#868e9b",
    "accent": "#1d5fc4",
    "wash": "#dfe9f9",
    "band": "#f0f1f4",
    "n4": "#f0a052",
    "n3": "#f7bf86",
    "n2": "#fbd8b3",
    "n1": "#fdecd9",
    "z": "#f3f4f6",
    "p1": "#e2edf9",
    "p2": "#c2dbf4",
    "p3": "#97c2ec",
    "p4": "#69a8e2",
}
DARK = {
    "page": "#14161a",
    "sheet": "#1c1f25",
    "ink": "#e8eaee",
    "soft": "#a3abb8",
    "rule": "#2d323a",
    "edge": "#7b8494",
    "accent": "#82b1ff",
    "wash": "#1f3354",
    "band": "#1f232a",
    "n4": "#935a0c",
    "n3": "#714812",
    "n2": "#503716",
    "n1": "#362a1a",
    "z": "#24272e",
    "p1": "#1c2c40",
    "p2": "#1b3d60",
    "p3": "#1a4f82",
    "p4": "#1763a5",
}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_SHADES = "".join(f".{name}{{background:var(--{name})}}" for name in ("n4", "n3", "n2", "n1", "z", "p1", "p2", "p3", "p4"))

_BASE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.55;font-size:16px;font-variant-numeric:tabular-nums;
 font-family:Inter,ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","PingFang SC",
 "Microsoft YaHei",sans-serif}
main,.top{max-width:1120px;margin:0 auto;padding:0 32px}
h1,h2,h3,h4,p,dl,dd,figure,fieldset{margin:0;padding:0}
h1,h2,h3,h4{overflow-wrap:anywhere}
h1{font-size:2.1rem;line-height:1.2;letter-spacing:-.022em;font-weight:650}
h2{font-size:1.3rem;letter-spacing:-.012em;font-weight:630;margin-bottom:6px}
h3{font-size:.95rem;font-weight:600}
h4,.label,dt,th{font-size:.8rem;font-weight:550;color:var(--soft)}
a{color:var(--accent)}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
section.part{padding-top:44px;margin-top:48px;border-top:1px solid var(--rule)}
.lead{color:var(--soft);max-width:66ch;margin-bottom:28px}
.small,.facts,figcaption,.empty{font-size:.84rem;color:var(--soft);line-height:1.5;overflow-wrap:anywhere}
.faint{color:var(--soft)}
.hidden,.skip:not(:focus){position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.top{padding-top:56px}
.brand{font-size:.84rem;color:var(--soft);margin-bottom:14px}
.about{display:flex;flex-wrap:wrap;gap:6px 28px;margin-top:16px;font-size:.88rem}
.about div{display:flex;gap:8px}.about dt{font-size:inherit;font-weight:400}.about dd{overflow-wrap:anywhere}
nav{margin-top:26px;font-size:.88rem;display:flex;flex-wrap:wrap;gap:4px 22px}
nav a{text-decoration:none;padding:3px 0}nav a:hover{text-decoration:underline}
"""

_HEAD = """
.verdict{margin-top:44px;padding:26px 30px;background:var(--sheet);border-radius:12px}
.verdict .word{font-size:.84rem;font-weight:600;color:var(--accent);margin-bottom:6px}
.verdict p.text{font-size:1.18rem;line-height:1.5;max-width:72ch;text-wrap:pretty}
.verdict ul{margin:12px 0 0;padding-left:20px;max-width:66ch}
.rates{margin-top:44px}.rates h3{margin-bottom:14px}.rates .small{margin-top:14px}
.rate{display:grid;grid-template-columns:15em 4em 1fr;align-items:center;gap:0 14px;height:38px}
.rate .name{font-size:.92rem}.rate b{text-align:right;font-weight:620}
.track{position:relative;height:100%;border-bottom:1px solid var(--rule)}
.track .half{position:absolute;left:50%;top:0;bottom:0;border-left:1px dashed var(--edge)}
.track .bar{position:absolute;top:50%;height:8px;margin-top:-4px;border-radius:4px;background:var(--accent);opacity:.3}
.track .point{position:absolute;top:50%;width:12px;height:12px;margin:-6px;border-radius:50%;background:var(--accent)}
.unclear .point{background:var(--page);border:2.5px solid var(--accent)}
.axis{height:22px}.axis .track{border:0}.axis span{position:absolute;top:3px;transform:translateX(-50%);font-size:.75rem;
 color:var(--soft)}
.axis span:first-child{transform:none}.axis span:last-child{transform:translateX(-100%)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:32px 36px;margin-top:44px}
.tiles b{display:block;font-size:1.75rem;line-height:1.35;font-weight:600;letter-spacing:-.015em}
.tiles b i{font-style:normal;color:var(--soft);font-weight:450}
.tiles .note{font-size:.84rem;color:var(--soft);display:block;line-height:1.45}
"""

_CHARTS = """
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:44px 40px}
.chart{min-width:0;break-inside:avoid}
.chart svg{display:block;width:100%;height:auto;margin:8px 0;overflow:visible}
.chart-head{display:flex;flex-direction:column}.latest{overflow-wrap:anywhere}
.axis-name{font-size:.75rem;color:var(--soft);text-align:center;margin:-6px 0 6px}
.unit{font-weight:400;font-size:.84rem;color:var(--soft);margin-left:4px}
.latest{font-size:.84rem;color:var(--soft)}.latest strong{font-size:1.3rem;color:var(--ink);font-weight:600;
 letter-spacing:-.01em}
.keys{display:flex;flex-wrap:wrap;gap:0 16px;align-items:baseline}.keys .key strong{margin-left:3px}
.keys .key svg{display:inline-block;width:18px;height:6px;margin:0 6px 3px 0;vertical-align:middle}
.chart figcaption .facts{display:block;margin-top:3px}
.chart .empty{padding:64px 0;text-align:center;background:var(--sheet);border-radius:8px;margin:8px 0}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.tick{fill:var(--soft);font-size:11px;font-family:inherit}
.band{fill:var(--band)}
.line{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.dot{fill:var(--accent)}
.line.s1{stroke:var(--soft);stroke-dasharray:5 4;stroke-width:1.75}.dot.s1{fill:var(--soft)}
.line.s2{stroke:var(--edge);stroke-dasharray:1 4}.dot.s2{fill:var(--edge)}
.line.s3{stroke:var(--edge);stroke-dasharray:9 3 2 3}.dot.s3{fill:var(--edge)}
.at rect{fill:transparent}.at .mark{fill:var(--page);stroke:var(--ink);stroke-width:1.75;opacity:0}.at:hover .mark{opacity:1}
"""

_TEXTS = """
.text{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;overflow:clip;line-height:1.6;font-size:.95rem}
.text.long{max-height:26rem;overflow:auto}
.comparison{padding:28px 0;border-top:1px solid var(--rule);break-inside:avoid-page}
.comparison:first-of-type{border-top:0;padding-top:8px}
.prompt{max-width:70ch;font-weight:550}.comparison header{margin-bottom:18px}
.columns{display:grid;gap:24px 28px}
.columns.of2{grid-template-columns:1fr 1fr}.columns.of3{grid-template-columns:1fr 1fr 1fr}
.answer{background:var(--sheet);border-radius:10px;padding:16px 18px;display:flex;flex-direction:column;gap:6px;min-width:0}
.answer.after{background:var(--page);box-shadow:inset 0 0 0 1.5px var(--accent)}.answer.after h4{color:var(--accent)}
.cut{color:var(--soft);font-size:.8rem;font-style:italic}
.scores{display:flex;flex-wrap:wrap;gap:2px 18px;margin-top:auto;padding-top:10px}
.scores div{display:flex;gap:6px;align-items:baseline;min-width:0}.scores dt{overflow-wrap:anywhere}
.scores dd{font-size:.84rem}.scores div:first-child dd{font-weight:650}
.switch{display:inline-flex;gap:8px;align-items:center;font-size:.9rem;cursor:pointer;margin-bottom:8px}
input{accent-color:var(--accent)}
.answers:has(.switch input:checked) .before .differs{text-decoration:line-through;text-decoration-color:var(--soft);
 color:var(--soft)}
.answers:has(.switch input:checked) .after .differs{background:var(--wash);border-radius:3px;text-decoration:underline;
 text-decoration-color:var(--accent);text-underline-offset:3px}
.trace{display:grid;grid-template-columns:minmax(0,1fr);gap:14px;padding:8px 0 24px}
.trace+.trace{border-top:1px solid var(--rule);padding-top:24px}
.trace>.label{margin-bottom:-12px}
.picker{border:0;display:flex;flex-wrap:wrap;gap:8px}.picker label{cursor:pointer}
.picker input{position:absolute;opacity:0}.picker span{display:block;padding:5px 13px;border:1px solid var(--edge);
 border-radius:99px;font-size:.86rem}
.picker input:checked+span{background:var(--accent);border-color:var(--accent);color:var(--page)}
.picker input:focus-visible+span{outline:2px solid var(--accent);outline-offset:2px}
.needs-script{display:none}.script .needs-script{display:flex}
.legend{display:grid;grid-template-columns:max-content 1fr;gap:2px 24px;align-items:center}
.swatches{display:flex;width:234px;height:12px;border-radius:3px;overflow:hidden}.swatches i{flex:1}
.legend .ends{grid-row:2;display:flex;justify-content:space-between;font-size:.75rem;color:var(--soft)}
.legend p{grid-row:1/3;grid-column:2;max-width:60ch}.legend b{color:var(--ink)}
.tokens{white-space:pre-wrap;overflow-wrap:anywhere;overflow:clip;line-height:2.05;padding:16px 18px;
 border:1px solid var(--rule);border-radius:10px}
.tok{padding:3px 0;border-radius:3px;box-shadow:inset -1px 0 0 var(--page);unicode-bidi:isolate;print-color-adjust:exact;
 -webkit-print-color-adjust:exact}
.tok:hover,.tok:focus{outline:2px solid var(--ink);outline-offset:0}
.tok.none{background:none}.tok .faint,.tok.none{color:inherit}
.script .readout{min-height:3em}
"""

_TABLES = """
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{overflow-wrap:anywhere}
th,td{text-align:left;padding:7px 14px 7px 0;border-bottom:1px solid var(--rule);vertical-align:top;overflow-wrap:anywhere}
tbody th{font-weight:450;color:var(--ink);font-size:inherit}
tfoot th,tfoot td{border:0;font-weight:600;color:var(--ink)}
:is(th,td):last-child{padding-right:0}
.num{text-align:right;white-space:nowrap}
.timings{max-width:820px;table-layout:fixed}.timings th:first-child{width:15em}.timings .num{width:7.5em}
.bar-cell{vertical-align:middle}
.timings .bar{display:block;height:10px;min-width:2px;border-radius:2px;background:var(--accent);print-color-adjust:exact;
 -webkit-print-color-adjust:exact}
.wide{overflow-x:auto;margin-top:12px}.wide+.wide{margin-top:28px}.wide :is(th,td){min-width:5.2em;max-width:26em}
.wide thead th{min-width:7.4em;max-width:26em}
.wide caption{text-align:left;font-weight:600;font-size:.9rem;padding-bottom:4px}
.wide tbody th{min-width:9em}.wide .prose{min-width:17em}
.scroll{overflow:auto;max-height:30rem;margin-top:12px}.scroll td,.scroll th{white-space:pre}
.two{display:grid;grid-template-columns:minmax(240px,2fr) 3fr;gap:36px 56px;align-items:start;overflow-wrap:anywhere}
.two>*,.facts-list :is(dt,dd){min-width:0}
.facts-list div{display:flex;justify-content:space-between;gap:20px;padding:7px 0;border-bottom:1px solid var(--rule)}
.facts-list dt{font-weight:450;color:var(--ink);font-size:.9rem}.facts-list dd{font-size:.9rem;text-align:right}
.notes{margin:20px 0 0;padding-left:18px}
summary{cursor:pointer;font-size:.9rem;padding:6px 0}
.config{columns:2;column-gap:56px;margin-top:12px}.config table{break-inside:avoid;margin-bottom:28px}
.config caption{text-align:left;font-weight:600;font-size:.9rem;padding-bottom:4px}.config td{text-align:right;
 padding-right:0}
pre.command{background:var(--sheet);border-radius:10px;padding:16px 20px;white-space:pre-wrap;overflow-wrap:anywhere;
 user-select:all;margin:0 0 14px}
.glossary{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:24px 48px}
.glossary dt{color:var(--ink);font-size:.92rem;font-weight:600}.glossary dd{font-size:.88rem;margin-top:2px}
 .glossary dd+dd{color:var(--soft)}
.finding{padding:24px 0 32px;border-top:1px solid var(--rule);display:grid;gap:6px}.finding>*{min-width:0}
.finding p{max-width:80ch;overflow-wrap:anywhere}.finding ol{margin:0;padding-left:22px;max-width:80ch;overflow-wrap:anywhere}
.finding:first-of-type{border-top:0;padding-top:8px}.finding h3 code{font-weight:400;color:var(--soft);margin-left:6px}
.finding .charts{margin-top:14px}
footer{margin:64px 0 56px;font-size:.84rem;color:var(--soft)}
"""

_NARROW = """
@media (max-width:760px){
 main,.top{padding:0 20px}.top{padding-top:32px}h1{font-size:1.6rem}
 .verdict{padding:20px;margin-top:32px}.verdict p.text{font-size:1.06rem}
 section.part{padding-top:32px;margin-top:36px}
 .rate{grid-template-columns:1fr auto;height:auto;margin-bottom:14px}.rate .track{grid-column:1/3;height:28px}
 .rate.axis{margin:-14px 0 0}.rate.axis i,.rate.axis b{display:none}.rate.axis .track{height:20px}
 .tiles{grid-template-columns:1fr 1fr;gap:26px 20px}.tiles b{font-size:1.35rem}
 .columns.of2,.columns.of3,.two,.legend{grid-template-columns:1fr}
 .legend p,.legend .ends{grid-row:auto;grid-column:auto}.legend .ends{width:234px}
 .config{columns:1}.timings th:first-child{width:9em}.timings .num{width:6.2em}.timings .num:last-child{width:3.6em}
 .timings th,.timings td{padding-right:8px}
}
@media print{
 body{font-size:11pt}main,.top{max-width:none;padding:0}nav,.switch,.readout,.needs-script{display:none!important}
 .text.long,.scroll,.wide{max-height:none;overflow:visible}
 h2,.lead,.comparison header{break-after:avoid}.charts{grid-template-columns:1fr 1fr}
 section.part{margin-top:28px;padding-top:24px}
 .track .bar,.track .point,.swatches i,.verdict,.answer{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""

CSS = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    + _SHADES
    + _BASE
    + _HEAD
    + _CHARTS
    + _TEXTS
    + _TABLES
    + _NARROW
)
