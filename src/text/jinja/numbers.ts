// Numbers as Python reads and rounds them.
import { roundEven } from "./arguments.ts";
import * as s from "./strings.ts";

/** float(value); undefined where Python raises. */
export function toReal(value: string): number | undefined {
  const plain = s.strip(value, undefined, "both").replace(/(?<=\d)_(?=\d)/g, "");
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return Number(plain);
  const word = /^([+-]?)(inf|infinity|nan)$/i.exec(plain);
  if (!word) return undefined;
  return word[2]!.toLowerCase() === "nan" ? Number.NaN : word[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** round(value, digits), or towards one side. */
export function rounded(value: number, digits: number, method: string): number {
  if (!["common", "ceil", "floor"].includes(method)) throw new Error("FilterArgumentError: method must be common, ceil or floor");
  if (method !== "common") {
    const scale = 10 ** digits;
    return (method === "ceil" ? Math.ceil(value * scale) : Math.floor(value * scale)) / scale;
  }
  if (!Number.isFinite(value)) return value;
  if (digits < 0) return roundEven(value / 10 ** -digits) * 10 ** -digits;
  if (digits === 0) return roundEven(value);
  // toFixed rounds the exact value; only exact halves differ from Python, which takes the even digit.
  if (digits > 20 || Math.abs(value) >= 1e21) return value;
  const exact = value.toFixed(Math.min(100, digits + 30));
  const tail = exact.slice(exact.indexOf(".") + 1 + digits);
  if (/^50*$/.test(tail)) {
    const kept = exact.slice(0, exact.indexOf(".") + 1 + digits);
    if (Number(kept.at(-1)) % 2 === 0) return Number(kept);
  }
  return Number(value.toFixed(digits));
}
