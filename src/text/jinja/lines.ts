// Lines of texts: indented and wrapped.
import type { Budget } from "./budget.ts";
import * as s from "./strings.ts";

/** Lines behind `width`, the first and blank ones on request. */
export function indent(
  value: string,
  { width, first, blank }: { width: string; first: boolean; blank: boolean },
  budget: Budget,
): string {
  const lines = s.splitLines(`${value}\n`, false);
  budget.characters(value.length + width.length * lines.length);
  const [head = "", ...rest] = lines;
  const body = rest.map((line) => (blank || line !== "" ? width + line : line));
  const made = blank ? [head, ...rest].join(`\n${width}`) : [head, ...body].join("\n");
  return first ? width + made : made;
}

/** Python's textwrap, line by line. */
export function wrap(
  value: string,
  { width, breaks, mark, hyphens }: { width: number; breaks: boolean; mark: string; hyphens: boolean },
  budget: Budget,
): string {
  if (width <= 0) throw new Error(`ValueError: invalid width ${width} (must be > 0)`);
  const out: string[] = [];
  for (const line of s.splitLines(value, false)) {
    const chunks = (hyphens ? line.split(/(\s+|(?<=[\p{L}\p{N}]-)(?=\p{L}))/u) : line.split(/(\s+)/)).filter(
      (c) => c !== undefined && c !== "",
    );
    const lines: string[] = [];
    let now = "";
    for (const chunk of chunks) {
      let rest = chunk;
      for (;;) {
        if (s.lengthOf(now) + s.lengthOf(rest) <= width) {
          now += rest;
          break;
        }
        const space = width - s.lengthOf(now);
        if (s.lengthOf(rest) > width && breaks) {
          const points = s.codePoints(rest);
          let at = Math.max(1, space);
          lines.push(now + points.slice(0, at).join(""));
          for (; points.length - at > width; at += width) lines.push(points.slice(at, at + width).join(""));
          now = "";
          rest = points.slice(at).join("");
          continue;
        }
        if (now !== "") {
          lines.push(now.replace(/\s+$/, ""));
          now = /^\s+$/.test(rest) ? "" : rest;
        } else now = rest;
        break;
      }
    }
    if (now !== "" || lines.length === 0) lines.push(now);
    out.push(lines.join(mark));
    budget.spend(lines.length);
  }
  return out.join(mark);
}
