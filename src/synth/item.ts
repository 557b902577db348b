// One item on its way: what its family asks of the model, and how each request is written down.
import { Validator } from "@cfworker/json-schema";
import type { Disarm } from "../agent/marks.ts";
import { isRecord } from "../brands.ts";
import type { ChatAnswer, ChatModel } from "../chat/model.ts";
import { answerOf, isRefusal, type RetryOptions } from "../chat/retry.ts";
import type { SandboxJob, SandboxResult } from "../data/verify/code.ts";
import type { Sample, Verdict } from "../data/verify/types.ts";
import { CpmError } from "../errors.ts";
import type { ChatOptions } from "../index.ts";
import { shown } from "../shown.ts";
import type { ChatMessage } from "../text/template.ts";
import { hashOf, Random, seedOf } from "./random.ts";
import { fill } from "./templates.ts";
import type { Entry, FamilyName, Outcome, Provenance, SeedRecord, Stage, SynthRecord, SynthSampling } from "./types.ts";
import type { Judge } from "./verdicts.ts";

/** Why an item or a sample goes no further: a short word first, which reports count by. */
export class Dropped extends Error {
  readonly text: string;
  constructor(reason: string, text = "") {
    super(reason);
    this.text = text;
  }
}

/** What all items of a family share. */
export interface Workshop {
  readonly family: FamilyName;
  readonly seed: number;
  readonly model: ChatModel;
  readonly modelName: string;
  readonly sampling: SynthSampling;
  readonly templates: Readonly<Record<string, readonly string[]>>;
  readonly judge: Judge;
  /** Runs a program. @throws CpmError "bad-option" without a sandbox */
  readonly execute: (job: SandboxJob, signal: AbortSignal) => Promise<SandboxResult>;
  readonly disarm: Disarm;
  readonly retry: RetryOptions | undefined;
  readonly signal: AbortSignal;
  /** Told of every request that was answered, or refused for what is in it. */
  readonly onRequest: (refused: CpmError | undefined) => void;
}

/** What a stage asks beside its prompt. */
export interface Asked {
  /** Which of several samples: each is drawn with a seed of its own. Default 0. */
  readonly sample?: number | undefined;
  /** Before the prompt. */
  readonly before?: readonly ChatMessage[] | undefined;
  /** Instead of a template, filled in: these messages; the stage is but a name then. */
  readonly messages?: readonly ChatMessage[] | undefined;
  readonly chat?: ChatOptions | undefined;
  /** Which of the templates; default: by chance. */
  readonly choice?: number | undefined;
}

const MOST_EXCERPT = 400;

export class Item {
  readonly number: number;
  readonly shop: Workshop;
  readonly source: SeedRecord | undefined;
  readonly #place: number;
  /** Draws of this item. */
  readonly random: Random;
  /** Requests so far, that all samples share. */
  readonly stages: Stage[] = [];
  readonly outcomes: Outcome[] = [];
  #requests = 0;
  #prompt = 0;
  #completion = 0;

  constructor(shop: Workshop, number: number, source: { readonly record: SeedRecord; readonly place: number } | undefined) {
    this.shop = shop;
    this.number = number;
    this.source = source?.record;
    this.#place = source?.place ?? -1;
    this.random = new Random(shop.seed, shop.family, number);
  }

  /** The text of a seed's field, if it is one. */
  text(name: string): string | undefined {
    const value = this.source?.[name];
    return typeof value === "string" && value.trim() !== "" ? value : undefined;
  }

  /**
   * Asks the model. Gives the answer, and the stage as provenance has it.
   * @throws Dropped for an answer that was cut off, and for requests that the endpoint refuses; CpmError when the model cannot be asked
   */
  async ask(
    stage: string,
    values: Readonly<Record<string, string>>,
    { sample = 0, before = [], messages, chat = {}, choice }: Asked = {},
  ): Promise<{ readonly answer: ChatAnswer; readonly stage: Stage; readonly prompt: string }> {
    const { shop, number } = this;
    const list = messages ? [""] : shop.templates[stage]!;
    const seed = seedOf(shop.seed, shop.family, number, stage, sample);
    const template = list[(choice ?? new Random("template", seed).below(list.length)) % list.length]!;
    const safe = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, shop.disarm(value)]));
    const prompt = fill(template, safe);
    const sent = messages ?? [...before, { role: "user", content: prompt }];
    let answer: ChatAnswer;
    try {
      answer = await answerOf(
        shop.model,
        sent,
        { maxTokens: 1024, ...shop.sampling, ...chat, seed, signal: shop.signal },
        shop.retry,
      );
    } catch (error) {
      const tooLong = error instanceof CpmError && error.code === "context-overflow";
      if (!isRefusal(error) && !tooLong) throw error;
      this.#requests++;
      shop.onRequest(error as CpmError);
      throw new Dropped(
        tooLong ? `too long for the model: ${error.message}` : `refused by the endpoint: ${error.message}`,
        prompt,
      );
    }
    shop.onRequest(undefined);
    const { promptTokens, completionTokens } = answer.usage;
    this.#requests++;
    this.#prompt += promptTokens;
    this.#completion += completionTokens;
    if (answer.finishReason === "length" || answer.finishReason === "context")
      throw new Dropped(`cut off in stage ${stage}`, answer.text);
    const made: Stage = { stage, template: messages ? "" : hashOf(template), seed, promptTokens, completionTokens };
    return { answer, stage: made, prompt };
  }

  /** Asks for a text that all samples of the item build on. @throws as ask() does, and Dropped where it is empty */
  async shared(stage: string, values: Readonly<Record<string, string>>, asked?: Asked): Promise<string> {
    const { answer, stage: made } = await this.ask(stage, values, asked);
    this.stages.push(made);
    const text = answer.text.trim();
    if (text === "") throw new Dropped(`nothing said in stage ${stage}`);
    return text;
  }

  /**
   * Asks for an object of a JSON Schema, which `T` has to say in types: constrained where the model can be, checked in any case.
   * @throws as ask() does, and Dropped for what is no such object
   */
  async object<T extends object>(
    stage: string,
    values: Readonly<Record<string, string>>,
    schema: Readonly<Record<string, unknown>>,
    asked: Asked = {},
  ): Promise<{ readonly value: T; readonly stage: Stage }> {
    const chat = { ...asked.chat, schema } as ChatOptions;
    const { answer, stage: made } = await this.ask(stage, values, { ...asked, chat });
    const text = answer.text.trim();
    const inner = /\{[\s\S]*\}/.exec(text)?.[0] ?? "";
    let value: unknown;
    try {
      value = JSON.parse(inner);
    } catch {
      throw new Dropped(`malformed: no JSON object in stage ${stage}`, text);
    }
    const { valid, errors } = new Validator(schema, "2020-12", true).validate(value);
    if (!valid || !isRecord(value))
      throw new Dropped(`malformed: in stage ${stage}: ${errors.at(-1)?.error ?? shown(value)}`, text);
    return { value: value as T, stage: made };
  }

  /** What the named verifiers say of a sample. */
  judge(names: readonly string[], sample: Sample): Promise<Readonly<Record<string, Verdict>>> {
    return this.shop.judge(names, sample, this.shop.signal);
  }

  /** Runs a program in the sandbox. */
  execute(job: SandboxJob): Promise<SandboxResult> {
    return this.shop.execute(job, this.shop.signal);
  }

  /** Notes a sample that is left out. */
  drop(sample: number, reason: string, text: string): void {
    this.outcomes.push({ kept: false, sample, reason: reason.slice(0, 600), text: text.slice(0, MOST_EXCERPT) });
  }

  /** Notes a sample: kept where all verdicts are good, else dropped with their reasons. Says which. */
  settle(
    sample: number,
    record: Readonly<Record<string, unknown>> & Pick<SynthRecord, "messages">,
    verdicts: Readonly<Record<string, Verdict>>,
    { stages = [], facts = {} }: { readonly stages?: readonly Stage[]; readonly facts?: Provenance["facts"] } = {},
  ): boolean {
    const reasons = Object.values(verdicts).flatMap((verdict) => verdict.reasons);
    if (reasons.length > 0) {
      this.drop(sample, reasons.join("; "), record.messages.at(-1)?.content ?? JSON.stringify(record.messages.at(-1) ?? ""));
      return false;
    }
    this.outcomes.push({ kept: true, sample, record: this.#record(sample, record, verdicts, stages, facts) });
    return true;
  }

  #record(
    sample: number,
    record: Readonly<Record<string, unknown>> & Pick<SynthRecord, "messages">,
    verdicts: Readonly<Record<string, Verdict>>,
    stages: readonly Stage[],
    facts: Provenance["facts"],
  ): SynthRecord {
    const { family, seed, modelName, sampling } = this.shop;
    const named = ["id", "key", "name"].map((name) => this.source?.[name]);
    const source = named.find((name) => typeof name === "string" || typeof name === "number") as string | number | undefined;
    return {
      id: `${family}-${this.number}-${sample}`,
      family,
      ...record,
      provenance: {
        model: modelName,
        family,
        item: this.number,
        sample,
        seed,
        source: source ?? (this.#place < 0 ? null : this.#place),
        sampling: { maxTokens: 1024, ...sampling },
        stages: [...this.stages, ...stages],
        verdicts,
        facts,
      },
    };
  }

  /** Takes back the last sample that was kept: a better one stands in its place. */
  replaceLast(reason: string): void {
    const at = this.outcomes.findLastIndex(({ kept }) => kept);
    const last = this.outcomes[at];
    if (!last?.kept) return;
    const text = last.record.messages.at(-1)?.content ?? "";
    this.outcomes[at] = { kept: false, sample: last.sample, reason, text: text.slice(0, MOST_EXCERPT) };
  }

  entry(): Entry {
    return {
      item: this.number,
      outcomes: this.outcomes,
      requests: this.#requests,
      promptTokens: this.#prompt,
      completionTokens: this.#completion,
    };
  }
}
