// A run as one HTML file that needs nothing else: curves as SVG, samples as they changed.
import type { HeldOutEntry, LogEntry, SampleEntry, UpdateEntry } from "./log.ts";

export interface ReportAbout {
  readonly title: string;
  /** Facts by name. */
  readonly facts: Readonly<Record<string, string>>;
  /** Still running: the page loads itself again every so many seconds. */
  readonly reload?: number | undefined;
}

type Point = readonly [x: number, y: number];

export interface ChartLine {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly Point[];
  readonly faint?: boolean;
  readonly dots?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly lines: readonly ChartLine[];
  readonly log?: boolean;
  /** Updates at which a stage begins. */
  readonly stages: readonly number[];
  /** First and last update of the axis. Default: those of the points. */
  readonly across?: readonly [number, number] | undefined;
}

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, "\ufffd");

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [560, 260, 64, 30, 12];
/** Points of a line, at most: more are narrower than a pixel. */
const MOST = 560;

/** Means of neighbouring points, so that there are at most MOST of them. */
function thinned(points: readonly Point[]): Point[] {
  const size = Math.ceil(points.length / MOST);
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i): Point => {
    const some = points.slice(i * size, (i + 1) * size);
    const mean = (of: 0 | 1) => some.reduce((sum, point) => sum + point[of], 0) / some.length;
    return [mean(0), mean(1)];
  });
}

/** Means that follow slowly: over the last `span` points, each counting less than the one after it. */
export function smoothed(points: readonly Point[], span: number): Point[] {
  const keep = 1 - 1 / Math.max(1, span);
  let [sum, weight] = [0, 0];
  return points.map(([x, y]): Point => {
    [sum, weight] = [keep * sum + y, keep * weight + 1];
    return [x, sum / weight];
  });
}

const digits = (x: number): string => {
  const size = Math.abs(x);
  if (x === 0) return "0";
  if (size >= 1e6) return `${Number((x / 1e6).toPrecision(3))} M`;
  if (size >= 1e4) return `${Number((x / 1e3).toPrecision(3))} k`;
  return size < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(4)));
};

/** Round numbers in [low, high], about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw)!;
  const first = Math.ceil(low / step - 1e-9);
  const out: number[] = [];
  for (let i = first; i * step <= high + 1e-9 * step; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** For 10^low to 10^high: powers of ten, with 2 and 5 times them, or round numbers where there are too few of those. */
function logTicks(low: number, high: number): number[] {
  if (high - low < 0.7) return ticks(10 ** low, 10 ** high, 4);
  const factors = high - low < 2 ? [1, 2, 5] : [1];
  const every = Math.ceil((high - low) / 6);
  const out: number[] = [];
  for (let power = Math.floor(low); power <= high; power += every)
    for (const factor of factors) out.push(Number(`${factor}e${power}`));
  return out.filter((t) => Math.log10(t) >= low && Math.log10(t) <= high);
}

/** A figure of lines over updates. */
export function chart({ title, lines, log = false, stages, across: span }: Chart): string {
  const kept = lines
    .map((line) => ({ ...line, points: thinned(line.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0))) }))
    .filter(({ points }) => points.length > 0);
  if (kept.length === 0) return "";
  const all = kept.flatMap(({ points }) => points);
  const scaled = (y: number) => (log ? Math.log10(y) : y);
  const range = (of: number[]): [number, number] => {
    const [low, high] = [of.reduce((a, b) => Math.min(a, b)), of.reduce((a, b) => Math.max(a, b))];
    return low === high ? [low - Math.max(1e-9, Math.abs(low) / 10), high + Math.max(1e-9, Math.abs(high) / 10)] : [low, high];
  };
  const [x0, x1] = range([...(span ?? []), ...all.map(([x]) => x)]);
  const [y0, y1] = range(all.map(([, y]) => scaled(y)));
  const px = (x: number) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - 10);
  const py = (y: number) => TOP + (1 - (scaled(y) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const at = (n: number) => n.toFixed(1);
  const across = (log ? logTicks(y0, y1) : ticks(y0, y1, 5)).map(
    (t) =>
      `<line x1="${LEFT}" x2="${WIDTH - 10}" y1="${at(py(t))}" y2="${at(py(t))}" class="g"/><text x="${LEFT - 6}" y="${at(py(t) + 4)}" text-anchor="end">${digits(t)}</text>`,
  );
  const down = ticks(x0, x1, 6).map((t) => `<text x="${at(px(t))}" y="${HEIGHT - 10}" text-anchor="middle">${digits(t)}</text>`);
  const marks = stages
    .filter((x) => x > x0 && x < x1)
    .map((x) => `<line x1="${at(px(x))}" x2="${at(px(x))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" class="s"/>`);
  const drawn = kept.map(({ points, colour, faint, dots }) => {
    const path = points.map(([x, y]) => `${at(px(x))},${at(py(y))}`).join(" ");
    const circles = dots ? points.map(([x, y]) => `<circle cx="${at(px(x))}" cy="${at(py(y))}" r="2.5" fill="${colour}"/>`) : [];
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="${faint ? 0.7 : 1.8}" opacity="${faint ? 0.45 : 1}"/>${circles.join("")}`;
  });
  const names = kept
    .filter(({ name }) => name !== "")
    .map(({ name, colour }) => `<span style="color:${colour}">${escaped(name)}</span>`);
  return `<figure><figcaption>${escaped(title)} ${names.join(" · ")}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">${across.join("")}${marks.join("")}${down.join("")}${drawn.join("")}</svg></figure>`;
}

/** Of pages with figures. */
export const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem}dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:.3rem 1.5rem}dt{color:#666;font-size:.85rem}dd{margin:0}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}figure{margin:0}figcaption{font-weight:600}figcaption span{font-weight:400;margin-left:.5em}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#666}.g{stroke:#ddd;stroke-width:.6}.s{stroke:#bc6c25;stroke-dasharray:3 3}
table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #ddd;padding:.4rem .6rem;text-align:left;vertical-align:top}td:last-child{white-space:pre-wrap}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1b}dt,svg text{color:#999;fill:#999}.g{stroke:#333}td,th{border-color:#333}}`;

/** The report's page. */
export function reportPage(log: readonly LogEntry[], { title, facts, reload }: ReportAbout): string {
  const updates = log.filter((entry): entry is UpdateEntry => entry.kind === "update");
  const heldOut = log.filter((entry): entry is HeldOutEntry => entry.kind === "heldOut");
  const samples = log.filter((entry): entry is SampleEntry => entry.kind === "samples");
  const stages = updates.filter(({ stage }, i) => i > 0 && stage !== updates[i - 1]!.stage).map(({ update }) => update);
  const of = (read: (entry: UpdateEntry) => number): Point[] => updates.map((entry) => [entry.update, read(entry)]);
  const [blue, brown, green] = ["#2a6f97", "#bc6c25", "#606c38"];
  const loss = of((entry) => entry.loss);
  const span = Math.max(1, Math.min(50, updates.length / 20));
  const charts: Chart[] = [
    {
      title: "loss, nats",
      stages,
      lines: [
        { name: "", colour: blue, points: loss, faint: true },
        { name: "training", colour: blue, points: smoothed(loss, span) },
        { name: "held out", colour: brown, points: heldOut.map((entry): Point => [entry.update, entry.loss]), dots: true },
      ],
    },
    { title: "gradient norm", stages, log: true, lines: [{ name: "", colour: green, points: of((entry) => entry.norm) }] },
    { title: "learning rate", stages, lines: [{ name: "", colour: blue, points: of((entry) => entry.rate) }] },
    { title: "tokens a second", stages, lines: [{ name: "", colour: brown, points: of((entry) => entry.tokensPerSecond) }] },
  ];
  const rows = samples
    .toReversed()
    .flatMap(({ update, samples: some }) =>
      some.map(({ prompt, text }) => `<tr><td>${update}</td><td>${escaped(prompt)}</td><td>${escaped(text)}</td></tr>`),
    );
  const table = `<h2>Samples</h2><table><tr><th>update</th><th>prompt</th><th>what it goes on with</th></tr>${rows.join("")}</table>`;
  return pageOf({ title, facts, reload }, charts, rows.length > 0 ? table : "");
}

/** A page of facts and figures; `more`: HTML below them. */
export function pageOf({ title, facts, reload }: ReportAbout, charts: readonly Chart[], more = ""): string {
  const list = Object.entries(facts).map(([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(value)}</dd></div>`);
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">${reload === undefined ? "" : `<meta http-equiv="refresh" content="${reload}">`}
<title>${escaped(title)}</title><style>${STYLE}</style>
<h1>${escaped(title)}</h1><dl>${list.join("")}</dl>
<main>${charts.map(chart).join("")}</main>${more}</html>
`;
}
