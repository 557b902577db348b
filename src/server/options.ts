// Checks what createHandler is given.
import { CpmError } from "../errors.ts";

const numbers = {
  parallel: 1,
  queue: 0,
  maxBodyBytes: 1,
  requestTimeoutMs: 1,
  keepAliveMs: 1,
  maxTokens: 1,
  maxChoices: 1,
  maxMemoryBytes: 1,
} as const;
const others = ["apiKeys", "cors", "hosts", "log", "now", "page"];

const bad = (field: string, expected: string): CpmError =>
  new CpmError("bad-option", `${field}: expected ${expected}`, { field, expected });

/** @throws CpmError "bad-option" for unknown names and values out of range. */
export function checkOptions(models: object, options: object): void {
  if (typeof models !== "object" || models === null || Object.keys(models).length === 0)
    throw bad("models", "at least one model by its name");
  const given = Object.entries(options as Readonly<Record<string, unknown>>);
  for (const [name, value] of given) {
    const least = (numbers as Readonly<Record<string, number>>)[name];
    if (least === undefined && !others.includes(name))
      throw bad(name, `one of ${[...Object.keys(numbers), ...others].join(", ")}`);
    if (value === undefined) continue;
    if (least !== undefined && !(Number.isSafeInteger(value) && (value as number) >= least))
      throw bad(name, `a whole number, at least ${least}`);
    const isList = Array.isArray(value) && value.every((one) => typeof one === "string" && one !== "");
    if ((name === "apiKeys" || name === "hosts") && !isList) throw bad(name, "a list of texts, none empty");
    if (name === "cors" && value !== "*" && !isList) throw bad(name, '"*" or a list of origins');
    if (["log", "now", "page"].includes(name) && typeof value !== "function") throw bad(name, "a function");
  }
}
