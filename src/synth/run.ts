// The generator: items of all families, several at once, each written to the journal when it is done; then one file a family, in the
// order of the items, whatever order they were done in.
import { disarmer } from "../agent/marks.ts";
import { type ChatModel, counterOf } from "../chat/model.ts";
import type { RetryOptions } from "../chat/retry.ts";
import { now } from "../clock.ts";
import type { Deduplicator } from "../data/dedup.ts";
import type { SuiteOptions } from "../data/verify/suite.ts";
import type { CpmError } from "../errors.ts";
import { joinSignals } from "../signals.ts";
import { checkConfig } from "./config.ts";
import { instructions } from "./families/instructions.ts";
import { knowledge } from "./families/knowledge.ts";
import { long, type Shelf, shelfOf } from "./families/long.ts";
import { reasoning } from "./families/reasoning.ts";
import { tools, toolsOf } from "./families/tools.ts";
import { Dropped, Item, type Workshop } from "./item.ts";
import { type Journal, memoryJournal } from "./journal.ts";
import { hashOf, Random } from "./random.ts";
import { templatesOf } from "./templates.ts";
import { type Entry, type FamilyName, familyNames, type SeedRecord, type SynthConfig } from "./types.ts";
import { executeWith, judgeWith } from "./verdicts.ts";

export interface SynthProgress {
  /** Items done, of how many. */
  readonly done: number;
  readonly total: number;
  /** Samples so far, before repetitions are left out. */
  readonly kept: number;
  readonly dropped: number;
  /** Of prompts and answers, in this run and before. */
  readonly tokens: number;
  /** About how long the rest will take, from the pace of this run. */
  readonly secondsLeft: number | undefined;
}

export interface SynthOptions {
  readonly config: SynthConfig;
  readonly model: ChatModel;
  /** As provenance calls it. */
  readonly modelName: string;
  /** Families to work on. Default: all of the configuration. */
  readonly only?: readonly FamilyName[] | undefined;
  /** Every `count`-th item of each family, from `index`. */
  readonly shard?: { readonly index: number; readonly count: number } | undefined;
  /** Where done items are kept. Default: in memory. */
  readonly journals?: Partial<Readonly<Record<FamilyName, Journal>>> | undefined;
  /** What remembers samples, one for each family. Absent: repetitions stay. */
  readonly deduplicator?: ((kinds: readonly ("exact" | "near")[]) => Promise<Deduplicator>) | undefined;
  /** What verifiers need: a sandbox for programs, a detector of languages. */
  readonly verify?: SuiteOptions | undefined;
  readonly retry?: RetryOptions | undefined;
  readonly onProgress?: ((progress: SynthProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** "done": all items. "tokens", "time": the budget is spent. */
export type SynthEnd = "done" | "tokens" | "time";

export interface Synthesised {
  readonly ended: SynthEnd;
  readonly families: readonly FamilyName[];
  /** Done items of a family in their order: the same whatever ran at once, and after kills. */
  entries(family: FamilyName): AsyncGenerator<Entry>;
}

/** A place in the order of all items: families by turns. */
interface Place {
  readonly family: FamilyName;
  readonly item: number;
}

type Work = (item: Item, place: number) => Promise<void>;

const DEFAULT_CONCURRENCY = 8;
/** Requests that are refused one after another at the beginning, with which the run ends: it is not for what is in them. */
const ALL_REFUSED = 8;

/** All that decides what an item becomes: a journal is gone on with only where this is the same. */
export function settingsHash(
  { config, modelName, shard }: Pick<SynthOptions, "config" | "modelName" | "shard">,
  family: FamilyName,
): string {
  const { count: _, ...rest } = config.families[family]!;
  return hashOf(
    JSON.stringify([
      3,
      config.seed ?? 0,
      config.sampling ?? {},
      rest,
      templatesOf(family, rest.templates),
      modelName,
      shard ?? null,
    ]),
  );
}

/**
 * Generates samples and keeps those that verifiers pass. Items are done several at once; what becomes of one depends on the configuration,
 * its number and the model's answers alone, so with a model that answers the same request the same way, the result does not depend on
 * concurrency, kills and restarts.
 * @throws CpmError "bad-option" for the configuration, "bad-input" for seeds; "io" when the endpoint cannot be asked any more: what is
 * done stays in the journal; an abort rejects with its reason
 */
export async function synthesise(options: SynthOptions): Promise<Synthesised> {
  const { config, shard = { index: 0, count: 1 } } = options;
  checkConfig(config);
  const families = familyNames.filter(
    (name) => config.families[name] !== undefined && (options.only === undefined || options.only.includes(name)),
  );
  const journals = new Map(families.map((name) => [name, options.journals?.[name] ?? memoryJournal()] as const));
  const places = orderOf(config, families, shard);
  const halt = new AbortController();
  const ends = joinSignals(options.signal, halt.signal);
  try {
    options.signal?.throwIfAborted();
    await new Run(options, families, journals, places, halt, ends.signal).all();
    const { within, missing } = withinBudget(places, journals, config.budget?.tokens);
    const ended = missing ? "time" : within.length < places.length ? "tokens" : "done";
    return {
      ended,
      families,
      async *entries(family) {
        for (const { item } of within.filter((place) => place.family === family)) yield await journals.get(family)!.read(item);
      },
    };
  } finally {
    ends.release();
  }
}

/** Items of all families by turns: the first of each, the second of each … */
function orderOf(config: SynthConfig, families: readonly FamilyName[], shard: { index: number; count: number }): Place[] {
  const most = Math.max(0, ...families.map((name) => config.families[name]!.count));
  const places: Place[] = [];
  for (let item = shard.index; item < most; item += shard.count)
    for (const family of families) if (item < config.families[family]!.count) places.push({ family, item });
  return places;
}

type Journals = ReadonlyMap<FamilyName, Journal>;

const tokensOf = (journals: Journals, { family, item }: Place): number | undefined => {
  const done = journals.get(family)!.done.get(item);
  return done && done.promptTokens + done.completionTokens;
};

/** Done items before whose turn the budget was not yet spent, and whether there are others that are not done. */
function withinBudget(
  places: readonly Place[],
  journals: Journals,
  budget = Number.POSITIVE_INFINITY,
): { readonly within: readonly Place[]; readonly missing: boolean } {
  const within: Place[] = [];
  let [spent, missing] = [0, false];
  for (const place of places) {
    if (spent >= budget) break;
    const tokens = tokensOf(journals, place);
    if (tokens === undefined) missing = true;
    else within.push(place);
    spent += tokens ?? 0;
  }
  return { within, missing };
}

class Run {
  readonly #options: SynthOptions;
  readonly #families: readonly FamilyName[];
  readonly #journals: Journals;
  readonly #places: readonly Place[];
  readonly #halt: AbortController;
  readonly #signal: AbortSignal;
  readonly #shops = new Map<FamilyName, Workshop>();
  readonly #works = new Map<FamilyName, Work>();
  readonly #orders = new Map<string, readonly number[]>();
  /** Of the items on their way. Each listens to its own: what all listen to would be taken for a leak. */
  readonly #controls = new Set<AbortController>();
  #next = 0;
  /** Tokens of done items before `#next`. */
  #spent = 0;
  #failed: unknown;
  #requests = 0;
  #refused = 0;
  #here = 0;
  #done = 0;
  #kept = 0;
  #dropped = 0;
  #tokens = 0;
  readonly #began = now();

  constructor(
    options: SynthOptions,
    families: readonly FamilyName[],
    journals: Journals,
    places: readonly Place[],
    halt: AbortController,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#families = families;
    this.#journals = journals;
    this.#places = places;
    this.#halt = halt;
    this.#signal = signal;
  }

  async all(): Promise<void> {
    const { model, config } = this.#options;
    const disarm = disarmer(model);
    for (const family of this.#families) {
      this.#shops.set(family, this.#workshop(family, disarm));
      this.#works.set(family, await this.#work(family));
    }
    for (const place of this.#places) {
      const tokens = tokensOf(this.#journals, place);
      this.#tokens += tokens ?? 0;
      if (tokens !== undefined) this.#done++;
    }
    this.#show();
    const stop = () => {
      for (const control of this.#controls) control.abort(this.#signal.reason);
    };
    this.#signal.addEventListener("abort", stop, { once: true });
    const lanes = Array.from({ length: config.concurrency ?? DEFAULT_CONCURRENCY }, () => this.#lane());
    await Promise.all(lanes);
    this.#options.signal?.throwIfAborted();
    if (this.#failed !== undefined) throw this.#failed;
  }

  #workshop(family: FamilyName, disarm: Workshop["disarm"]): Workshop {
    const { config, model, modelName, verify = {}, retry } = this.#options;
    const own = config.families[family]!;
    return {
      family,
      seed: config.seed ?? 0,
      model,
      modelName,
      sampling: { ...config.sampling, ...own.sampling },
      templates: templatesOf(family, own.templates),
      judge: judgeWith(verify),
      execute: executeWith(verify),
      disarm,
      retry,
      signal: this.#signal,
      onRequest: (refused) => this.#heard(refused),
    };
  }

  /** What is done with an item; seeds are looked at first, so that a bad one is told before anything is spent. */
  async #work(family: FamilyName): Promise<Work> {
    const { families } = this.#options.config;
    if (family === "knowledge") return (item) => knowledge(item, families.knowledge!);
    if (family === "reasoning") return (item) => reasoning(item, families.reasoning!);
    if (family === "instructions") return (item) => instructions(item, families.instructions!);
    if (family === "tools") {
      const seeds = families.tools!.seeds!;
      seeds.forEach(toolsOf);
      return (item, place) => tools(item, families.tools!, seeds, place);
    }
    const shelf: Shelf = await shelfOf(families.long!.seeds!, counterOf(this.#options.model));
    return (item, place) => long(item, families.long!, shelf, place);
  }

  /** Requests as they end. When the first ones are all refused, the run has something wrong, not they. */
  #heard(refused: CpmError | undefined): void {
    this.#requests++;
    if (refused && ++this.#refused === this.#requests && this.#refused >= ALL_REFUSED) this.#fail(refused);
  }

  #fail(error: unknown): void {
    this.#failed ??= error;
    this.#halt.abort(error);
  }

  async #lane(): Promise<void> {
    for (let place = this.#take(); place; place = this.#take()) {
      try {
        const entry = await this.#make(place);
        this.#signal.throwIfAborted();
        await this.#journals.get(place.family)!.append(entry);
        this.#count(entry);
      } catch (error) {
        // The first failure ends the run; the others are its echoes.
        this.#fail(error);
        return;
      }
    }
  }

  /** The next item that is not done, unless the budget of those before it is spent. */
  #take(): Place | undefined {
    const { tokens = Number.POSITIVE_INFINITY, minutes = Number.POSITIVE_INFINITY } = this.#options.config.budget ?? {};
    while (this.#next < this.#places.length && !this.#signal.aborted) {
      // Those on their way count when they are done: at the end no item is missing that comes before the budget's end.
      if (this.#spent >= tokens) return undefined;
      const place = this.#places[this.#next]!;
      const done = tokensOf(this.#journals, place);
      if (done === undefined && now() - this.#began >= 60_000 * minutes) return undefined;
      this.#next++;
      if (done === undefined) return place;
      this.#spent += done;
    }
    return undefined;
  }

  async #make({ family, item: number }: Place): Promise<Entry> {
    const shop = this.#shops.get(family)!;
    const seeds = this.#options.config.families[family]!.seeds;
    const place = seeds === undefined ? -1 : this.#seedOf(family, seeds, number);
    const control = new AbortController();
    const source = seeds === undefined ? undefined : { record: seeds[place]!, place };
    const item = new Item({ ...shop, signal: control.signal }, number, source);
    this.#controls.add(control);
    try {
      await this.#works.get(family)!(item, place);
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(0, error.message, error.text);
    } finally {
      this.#controls.delete(control);
    }
    return item.entry();
  }

  /** The seed of an item: all of them once in an order by chance, then all in another. */
  #seedOf(family: FamilyName, seeds: readonly SeedRecord[], item: number): number {
    const round = Math.floor(item / seeds.length);
    const key = `${family} ${round}`;
    let order = this.#orders.get(key);
    if (!order) {
      const random = new Random(this.#options.config.seed ?? 0, family, "order", round);
      order = random.shuffled(seeds.map((_, i) => i));
      if (this.#orders.size > 16) this.#orders.clear();
      this.#orders.set(key, order);
    }
    return order[item % seeds.length]!;
  }

  #count(entry: Entry): void {
    this.#here++;
    const tokens = entry.promptTokens + entry.completionTokens;
    this.#done++;
    this.#spent += tokens;
    this.#tokens += tokens;
    for (const { kept } of entry.outcomes) {
      if (kept) this.#kept++;
      else this.#dropped++;
    }
    this.#show();
  }

  #show(): void {
    const { onProgress } = this.#options;
    if (!onProgress) return;
    const [total, done] = [this.#places.length, this.#done];
    const seconds = (now() - this.#began) / 1000;
    const secondsLeft = this.#here === 0 ? undefined : (seconds / this.#here) * (total - done);
    onProgress({ done, total, kept: this.#kept, dropped: this.#dropped, tokens: this.#tokens, secondsLeft });
  }
}
