// Training on several threads: they share the matrices without locks, each reads the text from a place of its own, round and round, until
// all of them together have seen it as often as is wanted. Source: Recht et al. 2011; fastText's own threads.
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import type { Dictionary } from "./count.ts";
import { DataInstance } from "./module.ts";
import type { Checked, TrainedPlaces, TrainOptions, TrainThreads } from "./train.ts";
import { type LaneAnswer, type LaneText, MOST_WORDS, type TrainLane } from "./trainlane.ts";
import { type Layout, layOut, lineTooLong, ownPlaces, wordTooLong } from "./trainplaces.ts";

/** A worker, whatever it is here. */
export interface TrainWorker {
  post(message: TrainLane | LaneText): void;
  onMessage(handler: (message: "ready" | LaneAnswer) => void): void;
  onDeath(handler: (cause: Error) => void): void;
  end(): Promise<void> | void;
}

export interface HogwildPlatform {
  /** wasm/data.mt.wasm, compiled. */
  module(): Promise<WebAssembly.Module>;
  worker(): TrainWorker;
}

const CHUNK = 1 << 18;
const MARGIN = 16;

/** One worker and what it is asked. */
class Thread {
  readonly #worker: TrainWorker;
  #dead: CpmError | undefined;
  #waiting: { resolve(answer: "ready" | LaneAnswer): void; reject(error: Error): void } | undefined;

  constructor(worker: TrainWorker) {
    this.#worker = worker;
    worker.onMessage((message) => this.#waiting?.resolve(message));
    worker.onDeath((cause) => {
      this.#dead ??= new CpmError("engine-failed", `a training thread ended: ${cause.message}`, {}, { cause });
      this.#waiting?.reject(this.#dead);
    });
  }

  start(lane: TrainLane): Promise<"ready"> {
    return this.#ask(lane) as Promise<"ready">;
  }

  take(text: LaneText): Promise<LaneAnswer> {
    return this.#ask(text) as Promise<LaneAnswer>;
  }

  #ask(message: TrainLane | LaneText): Promise<"ready" | LaneAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      this.#waiting = { resolve, reject };
      this.#worker.post(message);
    });
  }

  async end(): Promise<void> {
    await this.#worker.end();
  }
}

/** Threads for training. */
export const hogwild = (platform: HogwildPlatform): TrainThreads => ({
  async train(source, dictionary, checked, options) {
    const module = await platform.module();
    const data = await DataInstance.create(module, sharedMemory());
    const layout = layOut(data, dictionary, checked);
    const threads: Thread[] = [];
    try {
      const loss = await new Team(data, module, layout, source, dictionary, checked, options).run((i) => {
        threads[i] = new Thread(platform.worker());
        return threads[i];
      });
      return { data, layout, loss } satisfies TrainedPlaces;
    } finally {
      await Promise.all(threads.map((thread) => thread.end()));
    }
  },
});

function sharedMemory(): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  } catch (cause) {
    throw new CpmError(
      "out-of-memory",
      "this runtime gives no shared memory of 4 GiB; leave threads out",
      { field: "threads" },
      { cause },
    );
  }
}

/** What goes on in one training. */
class Team {
  readonly #data: DataInstance;
  readonly #module: WebAssembly.Module;
  readonly #layout: Layout;
  readonly #source: Source;
  readonly #checked: Checked;
  readonly #options: TrainOptions;
  readonly #total: number;
  /** Address of the count of tokens that threads add to. */
  readonly #done: number;
  readonly #answers: (LaneAnswer | undefined)[] = [];

  constructor(
    data: DataInstance,
    module: WebAssembly.Module,
    layout: Layout,
    source: Source,
    { tokens }: Dictionary,
    checked: Checked,
    options: TrainOptions,
  ) {
    this.#data = data;
    this.#module = module;
    this.#layout = layout;
    this.#source = source;
    this.#checked = checked;
    this.#options = options;
    this.#total = tokens * checked.epoch;
    this.#done = data.allocate(8);
    data.u8(this.#done, 8).fill(0);
  }

  /** Trains; gives the mean loss. */
  async run(thread: (i: number) => Thread): Promise<number> {
    const lanes = Array.from({ length: this.#checked.threads }, (_, i) => this.#lane(i));
    // Instances write what is constant into the memory: all of them before any trains.
    const threads = lanes.map((_, i) => thread(i));
    await Promise.all(lanes.map((lane, i) => threads[i]!.start(lane)));
    await Promise.all(lanes.map((lane, i) => this.#feed(threads[i]!, lane, i)));
    this.#tell();
    return this.#loss();
  }

  #lane(i: number): TrainLane {
    const { lr, lrUpdateRate, seed } = this.#checked;
    const [data, layout] = [this.#data, this.#layout];
    return {
      module: this.#module,
      memory: data.memory,
      layout,
      own: ownPlaces(data, layout),
      seed: seed + i,
      done: this.#done,
      total: this.#total,
      lr,
      lrUpdateRate,
      text: data.allocate(2 * CHUNK + 2 * MARGIN) + MARGIN,
      hashes: data.allocate(4 * MOST_WORDS),
      skips: i > 0,
    };
  }

  /** Gives a thread the text from its place on, the next piece being read while it trains on one. */
  async #feed(thread: Thread, { text }: TrainLane, i: number): Promise<void> {
    const { size, name } = this.#source;
    let at = Math.floor((i * size) / this.#checked.threads);
    let held = 0;
    let next = this.#read(at);
    while (this.#tokens() < this.#total) {
      const bytes = await next;
      this.#options.signal?.throwIfAborted();
      at += bytes.length;
      const last = at === size;
      if (held + bytes.length > 2 * CHUNK) throw wordTooLong(name, at);
      this.#data.u8(text + held, bytes.length).set(bytes);
      const answer = thread.take({ length: bytes.length, last });
      next = this.#read(last ? 0 : at);
      // Whoever waits for it is told; nobody may.
      next.catch(() => {});
      const told = (this.#answers[i] = await answer);
      if (told.tooLong) throw lineTooLong(name, at);
      held = told.held;
      if (last) at = 0;
      this.#tell();
    }
  }

  #read(at: number): Promise<Uint8Array> {
    return this.#source.read(at, Math.min(CHUNK, this.#source.size - at), this.#options.signal);
  }

  #tokens(): number {
    return Number(Atomics.load(new BigInt64Array(this.#data.memory.buffer, this.#done, 1), 0));
  }

  #loss(): number {
    let [sum, examples] = [0, 0];
    for (const answer of this.#answers) {
      sum += (answer?.loss ?? 0) * (answer?.examples ?? 0);
      examples += answer?.examples ?? 0;
    }
    return sum / Math.max(1, examples);
  }

  #tell(): void {
    this.#options.onProgress?.({ tokens: this.#tokens(), total: this.#total, loss: this.#loss() });
  }
}
