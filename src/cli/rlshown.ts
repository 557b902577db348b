// What a person sees of cpm rl: a line for each update, a bar where they watch, a page.
import { basename } from "node:path";
import process from "node:process";
import type * as Train from "cpm-wasm/train";
import type { RolloutConfig, RolloutEntry } from "cpm-wasm/train";
import { note, plural, writeFileWhole } from "./output.ts";
import { duration } from "./perplexity.ts";
import { ProgressBar } from "./progress.ts";

/** Seconds between two drawings of the page. */
const REDRAW = 10;

export class RolloutShown {
  readonly #wing: typeof Train;
  readonly #file: string;
  readonly #config: RolloutConfig;
  readonly #html: string | undefined;
  readonly #json: boolean;
  readonly #bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  readonly log: RolloutEntry[] = [];
  #prompts = 0;
  #drawn = performance.now();
  #drawing: Promise<void> = Promise.resolve();

  constructor(wing: typeof Train, file: string, config: RolloutConfig, html: string | undefined, json: boolean) {
    this.#wing = wing;
    this.#file = file;
    this.#config = config;
    this.#html = html;
    this.#json = json;
  }

  start(before: readonly RolloutEntry[], policy: number, prompts: number, heldOut: number): void {
    this.log.splice(0, this.log.length, ...before);
    this.#prompts = prompts;
    if (this.#json) return;
    const { answers, groups, chunk } = this.#config.learner;
    note(
      `${plural(prompts, "prompt")}${heldOut > 0 ? `, ${heldOut} held out` : ""}; ${plural(groups ?? 0, "group")} of ${answers} answers an update, ${chunk === Number.POSITIVE_INFINITY ? "whole answers" : `chunks of ${chunk} tokens`}`,
    );
    if (policy > 0) note(`goes on after update ${policy} of ${this.#config.updates}`);
  }

  entry(entry: RolloutEntry): void {
    this.log.push(entry);
    if (!this.#json) this.#tell(entry);
    if (performance.now() - this.#drawn < 1000 * REDRAW) return;
    this.#drawn = performance.now();
    this.#drawing = this.#drawing.then(() => this.#draw(REDRAW)).catch(() => {});
  }

  #tell(entry: RolloutEntry): void {
    if (entry.kind === "heldOut") {
      this.#bar?.close();
      note(`update ${entry.policy}: held out ${entry.reward.toFixed(3)}, ${entry.length.toFixed(1)} tokens`);
      return;
    }
    const { update, reward, length, work } = entry;
    const parts = [
      ...(reward === undefined ? [] : [`reward ${reward.toFixed(3)}`, `${length!.toFixed(1)} tokens`]),
      `idle ${(100 * work.idle).toFixed(0)} %`,
      ...(update
        ? [
            `stale ${update.staleness.toFixed(2)}`,
            `clipped ${(100 * update.clipShare).toFixed(1)} %`,
            `KL ${update.kl.toFixed(4)}`,
          ]
        : []),
      ...(work.rebuilt > 0 ? [`${work.rebuilt} rebuilt`] : []),
    ];
    const { updates } = this.#config;
    if (this.#bar)
      this.#bar.show({ what: `update ${entry.policy} of ${updates}`, done: entry.policy, total: updates, more: parts });
    else if (update) note(`update ${entry.policy}: ${parts.join(", ")}`);
  }

  async #draw(reload: number): Promise<void> {
    if (this.#html !== undefined) await writeFileWhole(this.#html, this.page(reload), "--html");
  }

  /** The run as it is now. */
  page(reload: number = REDRAW): string {
    const { start, learner, updates, lora } = this.#config;
    const last = this.log.findLast((entry) => entry.kind === "step");
    const seconds = this.log.reduce((sum, e) => sum + (e.kind === "step" ? e.ms.load + e.ms.rollout + e.ms.update : 0), 0) / 1000;
    const facts = {
      "begins with": start.kind === "model" ? start.path : "random weights",
      trains: lora ? `LoRA of rank ${lora.rank}` : "all weights",
      updates: `${last?.policy ?? 0} of ${updates}, in ${plural(last?.step ?? 0, "step")}`,
      prompts: String(this.#prompts),
      "an update": `${plural(learner.groups ?? 0, "group")} of ${learner.answers} answers`,
      "a chunk": learner.chunk === Number.POSITIVE_INFINITY ? "whole answers" : `${learner.chunk} tokens`,
      "open, waiting": `${last?.open ?? 0} answers, ${last?.buffered ?? 0} groups`,
      "tokens chosen": String(this.log.reduce((sum, e) => sum + (e.kind === "step" ? e.work.tokens : 0), 0)),
      "computed again": String(this.log.reduce((sum, e) => sum + (e.kind === "step" ? e.work.rebuilt : 0), 0)),
      time: duration(seconds),
    };
    return this.#wing.rolloutPage(this.log, {
      title: `cpm rl ${basename(this.#file)}`,
      facts,
      ...(reload > 0 ? { reload } : {}),
    });
  }

  async finish(): Promise<void> {
    await this.#drawing;
    await this.#draw(0);
  }

  close(): void {
    this.#bar?.close();
  }
}
