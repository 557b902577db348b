// HTML in texts: what escape, striptags and xmlattr need.

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;" };
/** As markupsafe writes it. */
export const escapeHtml = (value: string): string => value.replace(/[&<>"']/g, (c) => escapes[c]!);

/** Without comments and tags, in linear time. */
export function stripped(value: string): string {
  for (const [open, close] of [
    ["<!--", "-->"],
    ["<", ">"],
  ] as const) {
    let out = "";
    let at = 0;
    for (let begin = value.indexOf(open); begin >= 0; begin = value.indexOf(open, at)) {
      const end = value.indexOf(close, begin);
      if (end < 0) break;
      out += value.slice(at, begin);
      at = end + close.length;
    }
    value = out + value.slice(at);
  }
  return value;
}
const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** Entities as characters; what is none stays. */
export const unescaped = (value: string): string =>
  value.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-z]{2,4}));/g, (all, decimal: string, hex: string, name: string) => {
    const code = decimal ? Number(decimal) : hex ? Number.parseInt(hex, 16) : undefined;
    if (code !== undefined) return code <= 0x10ffff ? String.fromCodePoint(code) : all;
    return Object.hasOwn(entities, name) ? entities[name]! : all;
  });
