// Cleaning a corpus, record by record: heuristics, duplicates, classifier; counted.
import type { DedupKind, Deduplicator } from "./dedup.ts";
import { type HeuristicReason, type Heuristics, heuristicReason } from "./heuristics.ts";
import type { TextRecord } from "./jsonlines.ts";
import { languageOf, type QualityFilter } from "./quality.ts";

export interface CleanOptions {
  /** Rules before the classifier; false: none. */
  readonly heuristics?: Heuristics | false | undefined;
  readonly dedup?: Deduplicator | undefined;
  readonly quality?: QualityFilter | undefined;
}

export type DropReason = HeuristicReason | `duplicate-${DedupKind}` | "quality";

export interface Verdict {
  readonly keep: boolean;
  readonly reason?: DropReason;
  /** Absent where no classifier was asked. */
  readonly score?: number;
}

/** What became of a text. Rules in order: heuristics, duplicates, classifier; the first that drops it is the reason. */
export function verdictOf(text: string, { heuristics, dedup, quality }: CleanOptions): Verdict {
  const early = earlyVerdict(text, { heuristics, dedup });
  if (early) return early;
  if (!quality) return { keep: true };
  const { keep, score } = quality.judge(text);
  return keep ? { keep, score } : { keep, score, reason: "quality" };
}

/** The verdict as far as it needs no classifier: what a resumed run repeats to know its duplicates again. */
export function earlyVerdict(text: string, { heuristics, dedup }: CleanOptions): Verdict | undefined {
  const reason = heuristics === false ? undefined : heuristicReason(text, heuristics ?? {}, languageOf);
  if (reason) return { keep: false, reason };
  const duplicate = dedup?.seen(text);
  return duplicate ? { keep: false, reason: `duplicate-${duplicate}` } : undefined;
}

export interface CleanReport {
  records: number;
  kept: number;
  dropped: number;
  errors: number;
  keptBytes: number;
  /** Dropped records by reason. */
  reasons: Record<string, number>;
  /** Records by score, in 50 steps from 0 to 1. */
  histogram: number[];
  sources: Record<string, { records: number; kept: number }>;
  samples: { kept: Sample[]; dropped: Sample[] };
}

interface Sample {
  readonly text: string;
  readonly score?: number;
  readonly reason?: string;
}

const STEPS = 50;
const SAMPLES = 20;
const SAMPLE_CHARS = 300;
/** Samples of a side in the picture. */
const SHOWN = 8;
const MOST_SOURCES = 1000;

export const emptyReport = (): CleanReport => ({
  records: 0,
  kept: 0,
  dropped: 0,
  errors: 0,
  keptBytes: 0,
  reasons: {},
  histogram: new Array<number>(STEPS).fill(0),
  sources: {},
  samples: { kept: [], dropped: [] },
});

/** Counts a verdict. Samples are the first of each side. */
export function count(report: CleanReport, { text }: TextRecord, source: string, verdict: Verdict): void {
  const { keep, score, reason } = verdict;
  report.records++;
  if (keep) report.kept++;
  else report.dropped++;
  if (reason) report.reasons[reason] = (report.reasons[reason] ?? 0) + 1;
  if (score !== undefined) report.histogram[Math.min(STEPS - 1, Math.floor(score * STEPS))]!++;
  const name = Object.hasOwn(report.sources, source) || Object.keys(report.sources).length < MOST_SOURCES ? source : "(others)";
  const of = (report.sources[name] ??= { records: 0, kept: 0 });
  of.records++;
  if (keep) of.kept++;
  const side = keep ? report.samples.kept : report.samples.dropped;
  if (side.length < SAMPLES)
    side.push({
      text: text.slice(0, SAMPLE_CHARS),
      ...(score === undefined ? {} : { score }),
      ...(reason === undefined ? {} : { reason }),
    });
}

/** The report of several shards as one. */
export function mergeReports(reports: readonly CleanReport[]): CleanReport {
  const sum = emptyReport();
  for (const report of reports) {
    for (const key of ["records", "kept", "dropped", "errors", "keptBytes"] as const) sum[key] += report[key];
    for (const [reason, n] of Object.entries(report.reasons)) sum.reasons[reason] = (sum.reasons[reason] ?? 0) + n;
    report.histogram.forEach((n, i) => {
      sum.histogram[i]! += n;
    });
    for (const [name, { records, kept }] of Object.entries(report.sources)) {
      const of = (sum.sources[name] ??= { records: 0, kept: 0 });
      of.records += records;
      of.kept += kept;
    }
    for (const side of ["kept", "dropped"] as const)
      sum.samples[side].push(...report.samples[side].slice(0, SAMPLES - sum.samples[side].length));
  }
  return sum;
}

// XML has no words for most controls, nor for halves of surrogate pairs.
const escapeXml = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "\ufffd").replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** The report as an SVG picture: histogram of scores, reasons, share kept by source, samples of both sides. */
export function reportPicture(report: CleanReport): string {
  const [width, height, left] = [720, 200, 60];
  const most = Math.max(1, ...report.histogram);
  const step = (width - left - 20) / STEPS;
  const bars = report.histogram.map((n, i) => {
    const tall = (n / most) * height;
    return `<rect x="${(left + i * step).toFixed(1)}" y="${(40 + height - tall).toFixed(1)}" width="${(step - 1).toFixed(1)}" height="${tall.toFixed(1)}"/>`;
  });
  const rows = [
    ...Object.entries(report.reasons).map(([name, n]) => [`dropped: ${name}`, n / Math.max(1, report.records)] as const),
    ...Object.entries(report.sources)
      .sort((a, b) => b[1].records - a[1].records)
      .slice(0, 20)
      .map(([name, s]) => [`kept of ${name}`, s.kept / s.records] as const),
  ];
  const lines = rows.map(([name, share], i) => {
    const y = 84 + height + 22 * i;
    return `<text x="${left}" y="${y}">${escapeXml(name.slice(0, 48))}</text><rect x="400" y="${y - 11}" width="${(share * 240).toFixed(1)}" height="13"/><text x="650" y="${y}">${(100 * share).toFixed(1)} %</text>`;
  });
  const samples = (["kept", "dropped"] as const).flatMap((side) =>
    report.samples[side].slice(0, SHOWN).map(({ text, score, reason }) => {
      const why = [score?.toFixed(3), reason].filter((part) => part !== undefined).join(", ");
      return `${side}${why && ` (${why})`}: ${text.replace(/\s+/g, " ").trim().slice(0, 80)}`;
    }),
  );
  const below = 84 + height + 22 * rows.length;
  const said = samples.map((line, i) => `<text x="${left}" y="${below + 10 + 18 * i}">${escapeXml(line)}</text>`);
  const title = `${report.records} records, ${report.kept} kept, ${report.dropped} dropped, ${report.errors} errors`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${below + 20 + 18 * samples.length}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/><text x="${left}" y="24" font-weight="bold">${title}</text>
<path d="M${left} 40V${40 + height}H${width - 20}" fill="none" stroke="#888"/><text x="${left - 6}" y="48" text-anchor="end">${most}</text>
<g fill="#3b6ea5">${bars.join("")}</g><g>${lines.join("").replaceAll("<rect ", '<rect fill="#3b6ea5" ')}</g>
<text x="${left}" y="${58 + height}">score 0</text><text x="${width - 40}" y="${58 + height}">1</text>
<g font-size="12" fill="#444">${said.join("")}</g>
</svg>
`;
}
