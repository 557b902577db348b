// A configuration, checked before anything is spent.
import { isRecord, kindOf } from "../brands.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { shown } from "../shown.ts";
import { constraintNames } from "./constraints.ts";
import { templatesOf } from "./templates.ts";
import { codeVariants, type FamilyName, familyNames, type SynthConfig } from "./types.ts";

type Check = (value: unknown) => string | undefined;

const whole =
  (least: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= least ? undefined : `a whole number, at least ${least}`;
const number =
  (low: number, high: number): Check =>
  (value) =>
    typeof value === "number" && value >= low && value <= high ? undefined : `a number from ${low} to ${high}`;
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "true or false");
const list =
  (of: Check, what: string): Check =>
  (value) =>
    Array.isArray(value) && value.length > 0 && value.every((one) => of(one) === undefined) ? undefined : `a list of ${what}`;
const text: Check = (value) => (typeof value === "string" && value !== "" ? undefined : "a text");
const oneOf =
  (names: readonly string[]): Check =>
  (value) =>
    names.includes(value as string) ? undefined : `one of ${names.join(", ")}`;
const texts = list(text, "texts");
const record: Check = (value) => (isRecord(value) ? undefined : "an object");
/** From above 0, without an end. */
const positive: Check = (value) => (typeof value === "number" && value > 0 ? undefined : "a number above 0");

const sampling = {
  temperature: number(0, 100),
  topP: number(0, 1),
  topK: whole(0),
  minP: number(0, 1),
  maxTokens: whole(1),
} as const;

const common = {
  count: whole(0),
  seeds: list(record, "objects"),
  samples: whole(1),
  keep: whole(1),
  sampling: record,
  templates: record,
} as const;

const families: Readonly<Record<FamilyName, Readonly<Record<string, Check>>>> = {
  knowledge: { ...common, evolve: number(0, 1), check: flag },
  reasoning: {
    ...common,
    kind: oneOf(["mathematics", "code"]),
    topics: texts,
    levels: texts,
    forms: list(oneOf(["open", "choice", "blank"]), "open, choice, blank"),
    language: oneOf(["javascript", "python"]),
    agreement: number(0, 1),
    dropEasy: flag,
    variants: list(oneOf(codeVariants), `variants: ${codeVariants.join(", ")}`),
    strength: number(0, 1),
  },
  instructions: {
    ...common,
    levels: whole(1),
    constraints: list(oneOf(constraintNames), `classes: ${constraintNames.join(", ")}`),
    domains: texts,
    personas: texts,
    all: flag,
  },
  long: {
    ...common,
    tokens: (value) =>
      Array.isArray(value) && value.length === 2 && value.every((n) => Number.isSafeInteger(n) && n > 0) && value[0] <= value[1]
        ? undefined
        : "two whole numbers, the smaller one first",
    kinds: list(oneOf(["extract", "summarise", "reason", "question"]), "extract, summarise, reason, question"),
    check: flag,
  },
  tools: {
    ...common,
    distractors: whole(0),
    irrelevant: number(0, 1),
    answers: flag,
    calls: whole(1),
    parallel: number(0, 1),
    turns: whole(1),
  },
};

const top = {
  seed: whole(0),
  sampling: record,
  families: record,
  budget: record,
  concurrency: whole(1),
  dedup: (value: unknown) =>
    Array.isArray(value) && value.every((one) => one === "exact" || one === "near") ? undefined : "a list of exact, near",
} as const;

function checkFields(where: string, value: unknown, checks: Readonly<Record<string, Check>>): void {
  if (!isRecord(value))
    throw new CpmError("bad-option", `${where}: expected an object, found ${kindOf(value)}`, { field: where });
  const names = Object.keys(checks);
  for (const [name, given] of Object.entries(value)) {
    const field = where === "" ? name : `${where}.${name}`;
    if (!Object.hasOwn(checks, name))
      throw new CpmError(
        "bad-option",
        `${field}: there is no such option${didYouMean(name, names)}; options are ${names.join(", ")}`,
        {
          field,
        },
      );
    const expected = given === undefined ? undefined : checks[name]!(given);
    if (expected !== undefined)
      throw new CpmError("bad-option", `${field}: expected ${expected}, found ${shown(given)}`, { field });
  }
}

/** Fields of reasoning that only one of its kinds has. */
const KINDS = { mathematics: ["forms"], code: ["language", "variants", "strength"] } as const;

function checkKind(reasoning: NonNullable<SynthConfig["families"]["reasoning"]>): void {
  const kind = reasoning.kind ?? "mathematics";
  const other = kind === "code" ? "mathematics" : "code";
  for (const name of KINDS[other]) {
    const field = `families.reasoning.${name}`;
    if (Object.hasOwn(reasoning, name) && reasoning[name as keyof typeof reasoning] !== undefined)
      throw new CpmError("bad-option", `${field}: only with kind "${other}", and it is "${kind}"`, { field });
  }
}

/** Seeds that a family cannot do without. */
const SEEDED: readonly FamilyName[] = ["knowledge", "long", "tools"];

/**
 * Checks a configuration: names, ranges, templates.
 * @throws CpmError "bad-option" that says which field is wrong
 */
export function checkConfig(config: SynthConfig): void {
  checkFields("", config, top);
  if (config.sampling !== undefined) checkFields("sampling", config.sampling, sampling);
  if (config.budget !== undefined) checkFields("budget", config.budget, { tokens: whole(1), minutes: positive });
  checkFields("families", config.families, Object.fromEntries(familyNames.map((name) => [name, record])));
  const given = familyNames.filter((name) => config.families[name] !== undefined);
  if (given.length === 0)
    throw new CpmError("bad-option", `families: give at least one of ${familyNames.join(", ")}`, { field: "families" });
  for (const name of given) {
    const family = config.families[name]!;
    const where = `families.${name}`;
    checkFields(where, family, families[name]);
    if (family.count === undefined)
      throw new CpmError("bad-option", `${where}.count: it is missing: how many items to work on`, { field: `${where}.count` });
    if (family.sampling !== undefined) checkFields(`${where}.sampling`, family.sampling, sampling);
    templatesOf(name, family.templates);
    if (name === "reasoning") checkKind(config.families.reasoning!);
    if (SEEDED.includes(name) && family.seeds === undefined)
      throw new CpmError("bad-option", `${where}.seeds: they are missing; this family begins with them`, {
        field: `${where}.seeds`,
      });
  }
}

/** Whether programs will be run. */
export const needsSandbox = ({ families: { reasoning } }: SynthConfig): boolean => reasoning?.kind === "code";
