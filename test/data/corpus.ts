// Texts of a made-up language whose words tell their label, with noise.
import { random } from "./rig.ts";

export function corpus(seed: number, lines: number, labels: number, prefix = "__label__"): string {
  const next = random(seed);
  const word = (topic: number) => {
    const i = Math.floor(next() ** 2 * 400);
    return next() < 0.3 ? `${"abcdefghij"[topic % 10]}${topic}w${i}` : `w${i}${"éü漢"[i % 3]}`;
  };
  const out: string[] = [];
  for (let n = 0; n < lines; n++) {
    const topic = Math.floor(next() * labels);
    const second = next() < 0.1 ? ` ${prefix}${(topic + 1) % labels}` : "";
    const words = Array.from({ length: 1 + Math.floor(next() * 40) }, () => word(topic));
    out.push(`${prefix}${topic}${second} ${words.join(" ")}`);
  }
  return `${out.join("\n")}\n`;
}

/** Lines to score: known and unknown words, bytes that are not UTF-8, NUL, CR LF, empty and long lines. */
export function hardLines(seed: number, count: number, labels: number): Buffer {
  const next = random(seed);
  const parts: Buffer[] = [];
  const texts = corpus(seed + 1, count, labels, "__label__").split("\n");
  for (let i = 0; i < count; i++) {
    const kind = Math.floor(next() * 12);
    const text = Buffer.from(texts[i]!.replace(/^\S+ /, ""));
    if (kind === 0) parts.push(Buffer.alloc(0));
    else if (kind === 1) parts.push(Buffer.concat([text, Buffer.from([0, 0xff, 0xc3, 0x28, 9, 11, 12, 0x80]), text]));
    else if (kind === 2) parts.push(Buffer.concat([text, Buffer.from("\r")]));
    else if (kind === 3) parts.push(Buffer.from(Array.from({ length: 60 }, () => 33 + Math.floor(next() * 220))));
    else if (kind === 4) parts.push(Buffer.from(`${text} __label__0 __label__unknown <s> ${"x".repeat(300)}`));
    else parts.push(text);
    parts.push(Buffer.from("\n"));
  }
  parts.push(Buffer.from(`${"w1é w2漢 ".repeat(40_000)}\n`));
  return Buffer.concat(parts);
}
