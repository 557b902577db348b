// How the integer kernels are spelled (enum Form of cpp/kernels/gemm.h). Every form gives the same bits; which is fastest is the
// machine's matter: what its dot product makes of a byte tells what instruction it has, and timing decides where it is worth its time:
// not with vpdpbusd ("dot32"), which needs none.

import { CpmError } from "../errors.ts";
import { FORMS, type Form, type Kernels, KINDS, type Kind, StructWriter } from "./abi.ts";
import { type Build, computesRight, staysRight } from "./features.ts";
import type { EngineHost, Variant } from "./host.ts";

/** What has forms: kinds of weights, and attention over a cache of 8 bits. */
type Formed = Kind | typeof CACHE;
export const CACHE = "kv-q8";
const numberOf = (formed: Formed): number => (formed === CACHE ? KINDS.length : KINDS.indexOf(formed));

/** What is computed by one file of kernels. */
const FAMILIES: Readonly<Record<Family, readonly Formed[]>> = {
  int4: ["int4", "int4-min"],
  int6: ["int6"],
  int8: ["int8", "int8-min"],
  ternary: ["ternary"],
  cache: [CACHE],
};
type WeightFamily = "int4" | "int6" | "int8" | "ternary";
type Family = WeightFamily | "cache";
const families = Object.keys(FAMILIES) as Family[];

export const formsOf = (variant: Variant): readonly Form[] =>
  variant === "relaxed" ? ["dot16", "dot32", "dot32-lanes"] : ["dot16", "extended"];

/** The form that a machine's instructions speak for, without timing. */
export function expectedForm({ probe, variant }: Pick<Build, "probe" | "variant">): Form {
  const traits = probe.machine_traits();
  // A byte's upper bit is a sign to ARM's sdot and a value to x86's vpdpbusd; where it is neither, the dot is put together from several.
  if (variant === "relaxed") return (traits & 3) === 1 ? "dot32-lanes" : (traits & 3) === 2 ? "dot32" : "dot16";
  return traits & 4 ? "extended" : "dot16";
}

/** Takes a form for a family. */
function take(kernels: Kernels, family: Family, form: Form): void {
  for (const formed of FAMILIES[family])
    if (kernels.choose_form(numberOf(formed), FORMS.indexOf(form)) !== 0)
      throw new CpmError("unsupported", `form: this build of the kernels has no "${form}"; use form "auto"`, { field: "form" });
}

export type Forms = Readonly<Record<Family, Form>>;

export function takeForms(kernels: Kernels, forms: Forms): void {
  for (const family of families) take(kernels, family, forms[family]);
}

/** Of the kinds that are given, and of CACHE where it is among them. */
export const formsByKind = (forms: Forms, kinds: readonly string[]): Record<string, Form> =>
  Object.fromEntries(
    families.flatMap((family) => FAMILIES[family].flatMap((kind) => (kinds.includes(kind) ? [[kind, forms[family]]] : []))),
  );

/** Families of so many bytes of weights are timed; smaller models are loaded before that is done. */
const TIMED_BYTES = 24 << 20;

/**
 * The form of each family: `wanted`, or the fastest here; of the cache what the machine's instructions and registers speak for.
 * `weights`: what the model has. Throws CpmError "unsupported" where a wanted form is not in this build or does not compute right.
 */
export async function chooseForms(
  host: EngineHost,
  build: Build,
  weights: readonly { readonly kind: Kind; readonly bytes: number }[],
  wanted: Form | "auto",
  turbo: boolean,
): Promise<Forms> {
  const same = (form: Form): Forms => ({ int4: form, int6: form, int8: form, ternary: form, cache: form });
  const forms = formsOf(build.variant);
  if (wanted !== "auto") {
    if (!forms.includes(wanted))
      throw new CpmError(
        "unsupported",
        `form: the ${build.variant} kernels have ${forms.map((f) => `"${f}"`).join(", ")}, found "${wanted}"`,
        { field: "form" },
      );
    takeForms(build.probe, same(wanted));
    if (!(await right(host, build, turbo && wanted !== "dot16")))
      throw new CpmError("unsupported", `form: "${wanted}" does not compute right here; use form "auto"`, { field: "form" });
    return same(wanted);
  }
  // A form that computes wrong here is not there at all.
  const sound = forms.filter((form) => {
    takeForms(build.probe, same(form));
    return [1, 2, 5].every((tokens) => computesRight(build, tokens));
  });
  const expected = expectedForm(build);
  const first = sound.includes(expected) ? expected : "dot16";
  const chosen: Record<Family, Form> = same(first);
  // As many sums as ARM has registers for fit in x86's where they are of 256 bits (1.11 times as fast there, 0.83 without).
  if (turbo && first === "dot32" && sound.includes("dot32-lanes")) chosen.cache = "dot32-lanes";
  // With vpdpbusd "dot32" wins for every kind; ARM's spelling reads one stream, which timing in the cache takes for faster than memory does.
  const timed = first !== "dot32" && !host.requestBound;
  if (turbo) host.tierUp?.("at once");
  try {
    for (const family of timed ? families : []) {
      if (family === "cache") continue;
      const bytes = weights.reduce((sum, w) => sum + (FAMILIES[family].includes(w.kind) ? w.bytes : 0), 0);
      if (bytes === 0 || (bytes < TIMED_BYTES && !turbo)) continue;
      chosen[family] = await fastest(host, timer(host, build, family), sound, first);
    }
  } finally {
    if (turbo) host.tierUp?.("in time");
  }
  takeForms(build.probe, chosen);
  const plain = families.every((family) => chosen[family] === "dot16");
  return plain || (await right(host, build, turbo)) ? chosen : same("dot16");
}

/** The check of a build, on optimised code where an experimental compiler makes it. */
async function right(host: EngineHost, build: Build, turbo: boolean): Promise<boolean> {
  if (!turbo) return [1, 2, 5].every((tokens) => computesRight(build, tokens));
  host.tierUp?.("at once");
  try {
    return await staysRight(host, build);
  } finally {
    host.tierUp?.("in time");
  }
}

/** Calls of a form in one timing. */
const CALLS = 8;
/** Rounds at most; between how many the event loop runs; and how many follow the last change of a form's time. */
const ROUNDS = 240;
const BREATHE = 8;
const STEADY = 32;
/** What counts as optimised code having come; how much faster than the expected form another must be, with that and without. */
const DROP = 0.75;
const CLEARLY = 0.92;
const DOUBTFUL = 0.85;

/**
 * The fastest of the forms. They take turns, and the least time of each counts, so that what else the machine does counts little.
 * Engines compile twice, and only the second code is what a model runs on: rounds go on until it came for all, which shows as a drop.
 * Where it is not seen to come, for it was there or is late, the expected form stays unless another is faster by much.
 */
export async function fastest(
  host: Pick<EngineHost, "breathe">,
  time: (form: Form) => number,
  forms: readonly Form[],
  expected: Form,
): Promise<Form> {
  const cells = forms.map((form) => ({ form, early: [] as number[], least: Number.POSITIVE_INFINITY, changed: 0 }));
  const early = (cell: (typeof cells)[number]) => [...cell.early].sort((a, b) => a - b)[cell.early.length >> 1]!;
  let optimised = false;
  for (let round = 0; round < ROUNDS && !optimised; round++) {
    for (const cell of cells) {
      const ms = time(cell.form);
      // The first time is spent on the first compiler.
      if (round > 0 && round < 6) cell.early.push(ms);
      if (ms < 0.95 * cell.least) cell.changed = round;
      cell.least = Math.min(cell.least, ms);
    }
    optimised = round >= 6 && cells.every((cell) => cell.least < DROP * early(cell) && round - cell.changed >= STEADY);
    if (round % BREATHE === BREATHE - 1) await host.breathe();
  }
  const best = cells.reduce((a, b) => (b.least < a.least ? b : a));
  const kept = cells.find((cell) => cell.form === expected);
  return kept && best.least >= (optimised ? CLEARLY : DOUBTFUL) * kept.least ? expected : best.form;
}

/** Milliseconds of products of one token and of four with noise of a family's kind, in the build's own memory. */
function timer(
  host: Pick<EngineHost, "now">,
  { probe, probeMemory, probeBase }: Build,
  family: WeightFamily,
): (form: Form) => number {
  const [rows, cols, tokens] = [64, 512, 5];
  const block = family === "ternary" ? 256 : 32;
  const write = (data: number) =>
    new StructWriter(probeMemory.buffer, probeBase).tensors([
      KINDS.indexOf(family),
      rows,
      cols,
      family === "ternary" ? 256 : 32,
      data,
    ]);
  const data = probeBase + 64;
  write(data);
  const bytes = probe.tensor_bytes(probeBase);
  const x = Math.ceil((data + bytes) / 64) * 64;
  const q = x + 4 * tokens * cols;
  const scales = q + tokens * cols;
  const y = scales + tokens * cols;
  // As halves, bytes of 0x22 are small ordinary numbers; as codes, they are some of each kind.
  new Uint8Array(probeMemory.buffer, data, bytes).fill(0x22);
  new Float32Array(probeMemory.buffer, x, tokens * cols).fill(0.5);
  return (form) => {
    take(probe, family, form);
    const begun = host.now();
    probe.gemm_rows(probeBase, x, q, scales, y, tokens, block, CALLS);
    return host.now() - begun;
  };
}
