// NFC in linear time: engines take quadratic time to order long runs of combining marks.
// Source: Unicode Standard Annex 15, canonical ordering.

/** Marks in a row that an engine may order by itself. */
const short = 64;
const mark = /^\p{M}$/u;
const order = { low: "\u0334", high: "\u0345" };

/** `text` in NFC. */
export function nfc(text: string): string {
  let ordered = "";
  let copied = 0;
  for (let at = 0; at < text.length; ) {
    const begin = at;
    let count = 0;
    for (; at < text.length; count++) {
      const code = text.codePointAt(at)!;
      if (code < 0x300 || !isMark(code)) break;
      at += code > 0xffff ? 2 : 1;
    }
    if (count > short) {
      ordered += text.slice(copied, begin) + sorted(text.slice(begin, at));
      copied = at;
    }
    if (at < text.length) at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  }
  return (copied === 0 ? text : ordered + text.slice(copied)).normalize("NFC");
}

const marks = new Map<number, boolean>();

function isMark(code: number): boolean {
  let is = marks.get(code);
  if (is === undefined) {
    is = mark.test(String.fromCodePoint(code));
    if (marks.size < 0x10000) marks.set(code, is);
  }
  return is;
}

/** Whether the second of two marks comes first in canonical order. */
const swaps = (a: string, b: string): boolean => a !== b && (a + b).normalize("NFD") === b + a;
/** A mark of class 0 changes places with none. */
const moves = (a: string): boolean => swaps(order.high, a) || swaps(a, order.low) || a === order.high || a === order.low;

/** Marks decomposed and put in canonical order: between two of class 0, those of a lower class first, of one class as they come. */
function sorted(run: string): string {
  // One mark of each class met, by class; and every mark's class.
  const classes: string[] = [];
  const classOf = new Map<string, string>();
  const find = (a: string): string => {
    let known = classOf.get(a);
    if (known !== undefined) return known;
    known = "";
    if (moves(a)) {
      const at = classes.findIndex((other) => !swaps(a, other));
      const other = classes[at];
      if (other !== undefined && !swaps(other, a)) known = other;
      else {
        known = a;
        classes.splice(at < 0 ? classes.length : at, 0, a);
      }
    }
    classOf.set(a, known);
    return known;
  };
  let out = "";
  let waiting = new Map<string, string[]>();
  const flush = () => {
    for (const each of classes) out += waiting.get(each)?.join("") ?? "";
    waiting = new Map();
  };
  for (const whole of run)
    for (const a of whole.normalize("NFD")) {
      const key = find(a);
      if (key === "") {
        if (waiting.size > 0) flush();
        out += a;
        continue;
      }
      const list = waiting.get(key);
      if (list === undefined) waiting.set(key, [a]);
      else list.push(a);
    }
  flush();
  return out;
}
