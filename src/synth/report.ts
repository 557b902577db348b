// What a run gave: numbers, reasons, lengths and samples, as JSON, as a picture, and as a page to read.
import type { Deduplicator } from "../data/dedup.ts";
import type { WireCall } from "../data/verify/types.ts";
import type { Entry, FamilyName, Outcome, SynthRecord } from "./types.ts";

export interface FamilyReport {
  items: number;
  /** Answers that were judged, and those items that gave none. */
  samples: number;
  kept: number;
  dropped: number;
  /** Dropped samples by the beginning of their reason. */
  reasons: Record<string, number>;
  requests: number;
  promptTokens: number;
  completionTokens: number;
  /** Kept samples by the characters of what the assistant says: up to 64, 128, 256 … */
  lengths: Record<string, number>;
  /** The first of each side. */
  examples: { kept: SynthRecord[]; dropped: { sample: number; reason: string; text: string }[] };
}

export type SynthReport = Partial<Record<FamilyName, FamilyReport>>;

const EXAMPLES = 8;

export const emptyReport = (): FamilyReport => ({
  items: 0,
  samples: 0,
  kept: 0,
  dropped: 0,
  reasons: {},
  requests: 0,
  promptTokens: 0,
  completionTokens: 0,
  lengths: {},
  examples: { kept: [], dropped: [] },
});

/** What two samples must not share: the request and what is said; of a long context only its question. */
export function textOfRecord({ messages, provenance }: SynthRecord): string {
  const question = provenance.facts["question"];
  return messages
    .filter(({ role }) => role === "user" || role === "assistant")
    .map(({ role, content, tool_calls: calls }) =>
      role === "user" && typeof question === "string"
        ? question
        : `${content ?? ""} ${calls?.length ? JSON.stringify(calls) : ""}`,
    )
    .join("\n");
}

const saidBy = ({ messages }: SynthRecord): number =>
  messages.reduce((n, { role, content, reasoning_content: thought, tool_calls: calls }) => {
    if (role !== "assistant") return n;
    return n + (content?.length ?? 0) + (thought?.length ?? 0) + (calls?.length ? JSON.stringify(calls).length : 0);
  }, 0);

/** The word or words that a reason begins with. */
export const shortReason = (reason: string): string =>
  reason
    .split(/[:;({"]|\d/)[0]!
    .trim()
    .slice(0, 60) || "other";

/**
 * The outcomes of items in their order, repetitions of earlier samples left out; `report` counts them as they pass.
 */
export async function* settled(
  entries: AsyncIterable<Entry>,
  report: FamilyReport,
  dedup?: Deduplicator,
): AsyncGenerator<Outcome & { readonly item: number }> {
  for await (const { item, outcomes, requests, promptTokens, completionTokens } of entries) {
    report.items++;
    report.requests += requests;
    report.promptTokens += promptTokens;
    report.completionTokens += completionTokens;
    for (const outcome of outcomes) {
      const seen = outcome.kept ? dedup?.seen(textOfRecord(outcome.record)) : undefined;
      const now: Outcome =
        outcome.kept && seen
          ? {
              kept: false,
              sample: outcome.sample,
              reason: `${seen} duplicate of an earlier sample`,
              text: textOfRecord(outcome.record).slice(0, 400),
            }
          : outcome;
      count(report, now);
      yield { ...now, item };
    }
  }
}

/** Texts of a record without their middle, where they are long. */
const shortened = (record: SynthRecord): SynthRecord => ({
  ...record,
  messages: record.messages.map((message) => {
    const { content } = message;
    return content && content.length > 2000
      ? { ...message, content: `${content.slice(0, 1000)}\n[…]\n${content.slice(-1000)}` }
      : message;
  }),
});

function count(report: FamilyReport, outcome: Outcome): void {
  report.samples++;
  if (outcome.kept) {
    report.kept++;
    const step = 2 ** Math.max(6, Math.ceil(Math.log2(Math.max(1, saidBy(outcome.record)))));
    report.lengths[step] = (report.lengths[step] ?? 0) + 1;
    if (report.examples.kept.length < EXAMPLES) report.examples.kept.push(shortened(outcome.record));
    return;
  }
  report.dropped++;
  const reason = shortReason(outcome.reason);
  report.reasons[reason] = (report.reasons[reason] ?? 0) + 1;
  const { sample, reason: whole, text } = outcome;
  if (report.examples.dropped.length < EXAMPLES) report.examples.dropped.push({ sample, reason: whole, text });
}

/** XML has no room for controls. */
const escaped = (text: string): string =>
  text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replace(/[<>&"']/g, (c) => `&#${c.charCodeAt(0)};`);
const percent = (n: number, of: number): string => `${((100 * n) / Math.max(1, of)).toFixed(1)} %`;

/** The report as an SVG picture: for each family its yield, why samples were dropped, and how long those are that were kept. */
export function synthPicture(report: SynthReport): string {
  const parts: string[] = [];
  let y = 30;
  const bar = (label: string, share: number, value: string, colour: string) => {
    parts.push(
      `<text x="30" y="${y}">${escaped(label.slice(0, 56))}</text><rect x="380" y="${y - 11}" width="${Math.max(0.5, share * 250).toFixed(1)}" height="13" fill="${colour}"/><text x="640" y="${y}">${escaped(value)}</text>`,
    );
    y += 20;
  };
  for (const [name, family] of Object.entries(report)) {
    const { items, samples, kept, reasons, lengths } = family;
    parts.push(`<text x="20" y="${y}" font-weight="bold">${name}: ${items} items, ${samples} samples, ${kept} kept</text>`);
    y += 24;
    bar("kept", kept / Math.max(1, samples), percent(kept, samples), "#2a6f97");
    const list = Object.entries(reasons).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    for (const [reason, n] of list.slice(0, 12))
      bar(`dropped: ${reason}`, n / samples, `${n}, ${percent(n, samples)}`, "#bc6c25");
    const most = Math.max(1, ...Object.values(lengths));
    for (const [step, n] of Object.entries(lengths).sort((a, b) => Number(a[0]) - Number(b[0])))
      bar(`kept, up to ${step} characters`, n / most, String(n), "#606c38");
    y += 16;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="760" height="${y}" viewBox="0 0 760 ${y}" font-family="sans-serif" font-size="13" fill="#111"><rect width="100%" height="100%" fill="#fff"/>
${parts.join("\n")}
</svg>
`;
}

const STYLE =
  "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f0;padding:.6rem;border-radius:4px}h3{margin:1.2rem 0 .3rem;font-size:1rem}svg{max-width:100%;height:auto}.no{color:#8a3b0c}";

/** A call as people read it: its arguments as JSON, not as a text that holds some. */
function callText({ function: { name, arguments: given } }: WireCall): string {
  try {
    return `${name} ${JSON.stringify(typeof given === "string" ? JSON.parse(given) : given, null, 2)}`;
  } catch {
    return `${name} ${typeof given === "string" ? given : JSON.stringify(given)}`;
  }
}

/** The report as one page without scripts: the picture, and examples of what was kept and dropped. Texts are only shown. */
export function synthPage(report: SynthReport): string {
  const turn = ({ role, content, reasoning_content: thought, tool_calls: calls }: SynthRecord["messages"][number]) => {
    const text = [thought && `(${thought})`, content, ...(calls ?? []).map(callText)].filter(Boolean).join("\n");
    return `<b>${escaped(role)}</b><pre>${escaped(text)}</pre>`;
  };
  const families = Object.entries(report).map(([name, { examples }]) => {
    const kept = examples.kept.map((record) => `<h3>${escaped(record.id)}</h3>${record.messages.map(turn).join("")}`);
    const dropped = examples.dropped.map(
      ({ reason, text }) => `<h3 class="no">${escaped(reason)}</h3><pre>${escaped(text)}</pre>`,
    );
    return `<h2>${name}: kept</h2>${kept.join("")}<h2>${name}: dropped</h2>${dropped.join("")}`;
  });
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Generated samples</title><style>${STYLE}</style>
<h1>Generated samples</h1>
${synthPicture(report)}${families.join("\n")}
</html>
`;
}
