// The models a server offers: loaded on first use, the least recently used one given up where memory is short.
import type { LoraChoice, Model } from "../index.ts";
import { Problem } from "./problem.ts";

/** A model that is loaded when it is first asked for. */
export interface ModelSource {
  /** Loads it. A rejection is answered to whoever asked, and the next request tries again. */
  load(): Promise<Model>;
  /** Bytes that it will take, as the memory plan says; asked before loading where there is a limit. */
  bytes?(): Promise<number>;
  /** LoRA adapters of requests that name this model and no adapters. Default: all that it was loaded with. */
  readonly lora?: LoraChoice | undefined;
}

/** Another name of a model: with these of the LoRA adapters that it was loaded with. */
export interface ServedAdapter {
  /** The model's own name here. */
  readonly base: string;
  readonly lora: LoraChoice;
}

/** Models by the names that requests use. Loaded ones stay the caller's; those from a ModelSource are disposed by the handler. */
export type ServedModels = Readonly<Record<string, Model | ModelSource | ServedAdapter>>;

interface Book {
  readonly id: string;
  readonly source: Model | ModelSource;
  model: Promise<Model> | undefined;
  bytes: number;
  users: number;
  used: number;
}

export interface Loan {
  readonly id: string;
  readonly model: Model;
  /** Adapters that its name stands for. */
  readonly lora: LoraChoice | undefined;
  release(): void;
}

const isSource = (value: Model | ModelSource): value is ModelSource => "load" in value;

export class Shelf {
  readonly #books = new Map<string, Book>();
  readonly #adapters = new Map<string, ServedAdapter>();
  readonly #limit: number;
  #clock = 0;
  /** Loads take turns: each plans with what the one before has taken. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly created = Math.floor(Date.now() / 1000);

  constructor(models: ServedModels, limit: number) {
    this.#limit = limit;
    for (const [id, source] of Object.entries(models)) {
      if ("base" in source) {
        this.#adapters.set(id, source);
        continue;
      }
      const model = isSource(source) ? undefined : Promise.resolve(source);
      this.#books.set(id, { id, source, model, bytes: isSource(source) ? 0 : source.info.memory.total, users: 0, used: 0 });
    }
    for (const [id, { base }] of this.#adapters)
      if (!this.#books.has(base)) throw new TypeError(`models.${id}.base: there is no model named ${JSON.stringify(base)}`);
  }

  get ids(): readonly string[] {
    return [...this.#books.keys(), ...this.#adapters.keys()];
  }

  /** Names and bytes of what is loaded. */
  get loaded(): readonly { readonly id: string; readonly bytes: number }[] {
    return [...this.#books.values()].filter((book) => book.model && book.bytes > 0);
  }

  has(id: string): boolean {
    return this.#books.has(id) || this.#adapters.has(id);
  }

  /**
   * The model named so; without a name the only one there is. It is not given up before `release`.
   * @throws Problem 404 for other names, 400 without a name among several, 429 while others hold the memory it needs.
   */
  async borrow(id: string | undefined): Promise<Loan> {
    const name = id ?? (this.#books.size === 1 ? this.ids[0] : undefined);
    const adapter = name === undefined ? undefined : this.#adapters.get(name);
    if (name === undefined)
      throw new Problem(400, `model: missing; this server has ${this.ids.join(", ")}`, {
        code: "missing_parameter",
        param: "model",
      });
    const book = this.#books.get(adapter?.base ?? name);
    if (!book)
      throw new Problem(
        404,
        `model: there is no ${JSON.stringify(name.slice(0, 100))} here; this server has ${this.ids.join(", ")}`,
        {
          code: "model_not_found",
          param: "model",
        },
      );
    book.users++;
    book.used = ++this.#clock;
    let held = true;
    const release = () => {
      if (held) book.users--;
      held = false;
    };
    try {
      const lora = adapter?.lora ?? (isSource(book.source) ? book.source.lora : undefined);
      return { id: name, model: await this.#open(book), lora, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #open(book: Book): Promise<Model> {
    if (book.model) return book.model;
    const { source } = book;
    if (!isSource(source)) return Promise.resolve(source);
    const model = this.#turn.then(async () => {
      if (this.#limit < Infinity) await this.#makeRoom(book, (await source.bytes?.()) ?? 0);
      const loaded = await source.load();
      book.bytes = loaded.info.memory.total;
      return loaded;
    });
    this.#turn = model.catch(() => {
      book.model = undefined;
    });
    book.model = model;
    return model;
  }

  async #makeRoom(wanted: Book, bytes: number): Promise<void> {
    if (bytes > this.#limit)
      throw new Problem(400, `model: ${wanted.id} takes ${bytes} bytes, more than the ${this.#limit} that this server may use`, {
        code: "model_too_large",
        param: "model",
      });
    const others = [...this.#books.values()].filter((book) => book !== wanted && book.model && book.bytes > 0);
    let taken = others.reduce((sum, book) => sum + book.bytes, 0);
    const idle = others.filter((book) => book.users === 0 && isSource(book.source)).sort((a, b) => a.used - b.used);
    for (const book of idle) {
      if (taken + bytes <= this.#limit) break;
      if (book.users > 0) continue;
      taken -= book.bytes;
      const model = book.model;
      book.model = undefined;
      book.bytes = 0;
      await (await model)?.dispose();
    }
    if (taken + bytes > this.#limit)
      throw new Problem(429, `model: ${wanted.id} has to wait until another model is idle and its memory free`, {
        type: "rate_limit_error",
        code: "model_busy",
        param: "model",
        headers: { "retry-after": "5" },
      });
  }

  /** Disposes what this shelf loaded. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#books.values()].map(async (book) => {
        if (isSource(book.source)) await book.model?.then((model) => model.dispose()).catch(() => {});
      }),
    );
  }
}
