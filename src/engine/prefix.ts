// Sequences for requests that name no session: finished ones are kept, and a new request goes on from the longest prefix it shares.
import { CpmError } from "../errors.ts";
import type { AdapterSet } from "./adapters.ts";
import { cutTo, keepable, type Sequence, type Sequences } from "./sequences.ts";

export interface PrefixParts {
  readonly sequences: Sequences;
  /** Tokens of the longest sequence. */
  readonly contextSize: number;
  /** Tokens from which on a prompt attends sparsely; undefined: never. */
  readonly denseLen: number | undefined;
  /** Tokens beyond which a text turns by other divisors; 0: never. */
  readonly ropeSwitch: number;
  /** Whether finished sequences are kept at all, and how many bytes of them beyond the planned memory. */
  readonly keep: boolean;
  readonly bytes: number;
  /** What drafts may forget a sequence. */
  forget(sequence: Sequence): void;
}

/** A sequence on loan to a request. */
export interface Loan {
  readonly id: number;
  readonly sequence: Sequence;
}

/** Tokens from `sparseFrom` on were computed with sparse attention. */
interface Computed extends Loan {
  readonly sparseFrom: number;
}

/** A finished sequence. */
interface Kept extends Computed {
  /** The higher, the later it ended. */
  readonly ended: number;
}

/** Slots of a tile of the cache: what is copied is whole tiles, so that nothing goes along that is not shared. */
const TILE = 32;

/** Sizes in which sequences are taken, so that one fits where another was: 64, 128, 192, 256, 384, 512 … tokens. */
function sizeClass(tokens: number): number {
  let size = 64;
  while (2 * size < tokens) size *= 2;
  return tokens <= size ? size : size > 64 && tokens <= 1.5 * size ? 1.5 * size : 2 * size;
}

export class PrefixCache {
  readonly #p: PrefixParts;
  readonly #kept: Kept[] = [];
  /** Sequences on loan, by their ids. */
  readonly #lent = new Map<number, Computed>();
  #ended = 0;

  constructor(parts: PrefixParts) {
    this.#p = parts;
  }

  /** Finished sequences, and the bytes of those beyond the planned memory. */
  get kept(): { readonly sequences: number; readonly bytes: number } {
    return { sequences: this.#kept.length, bytes: this.#bytes };
  }

  get #bytes(): number {
    return this.#kept.reduce((sum, { sequence }) => sum + this.#cost(sequence), 0);
  }

  #cost(sequence: Sequence): number {
    return sequence.planned ? 0 : sequence.bytes;
  }

  /**
   * A sequence for a request of at most `most` tokens in all, holding the longest part of `prompt` that another one holds: a finished one
   * itself where at least half of it is shared, else a copy, as of one that is still at work. Throws "out-of-memory" when there is no
   * room for one more. `lora`: what it is computed with, and what is shared must have been.
   */
  borrow(prompt: readonly number[], most: number, lora?: AdapterSet): Loan {
    const { keep, denseLen } = this.#p;
    const loan = keep ? this.#from(prompt, most, lora) : this.#fresh(most, lora);
    const sparseFrom = denseLen === undefined ? Number.POSITIVE_INFINITY : prompt.length >= denseLen ? 0 : denseLen - 1;
    this.#lent.set(loan.id, { ...loan, sparseFrom });
    return loan;
  }

  #from(prompt: readonly number[], most: number, lora: AdapterSet | undefined): Loan {
    let best: Computed | undefined;
    let shared = 0;
    for (const one of [...this.#kept, ...this.#lent.values()]) {
      const n = one.sequence.lora === lora ? this.#shared(one, prompt) : 0;
      if (n < shared || n === 0) continue;
      if (n === shared && best && best.sequence.tokens.length <= one.sequence.tokens.length) continue;
      best = one;
      shared = n;
    }
    const kept = this.#kept.find((one) => one === best);
    if (kept && 2 * shared >= kept.sequence.tokens.length && kept.sequence.contextSize >= most) {
      this.#kept.splice(this.#kept.indexOf(kept), 1);
      return this.#cut(kept, shared);
    }
    if (!best || shared < TILE) return this.#fresh(most, lora);
    const loan = this.#fresh(most, lora, kept);
    this.#p.sequences.copyTokens(best.sequence, loan.sequence, shared - (shared % TILE));
    return this.#cut(loan, loan.sequence.tokens.length);
  }

  /** A sequence of its own that is not kept: see drop(). */
  temporary(most: number, lora?: AdapterSet): Loan {
    return this.#adapted(this.#open(Math.min(this.#p.contextSize, sizeClass(most))), lora);
  }

  /** Gives back what was borrowed; it is kept, or closed. */
  giveBack({ id }: Loan): void {
    const computed = this.#lent.get(id);
    if (!computed) return;
    this.#lent.delete(id);
    const { keep, bytes, forget } = this.#p;
    if (!keep || computed.sequence.tokens.length === 0) {
      this.drop(computed);
      return;
    }
    if (!computed.sequence.planned) forget(computed.sequence);
    this.#kept.push({ ...computed, ended: ++this.#ended });
    while (this.#bytes > bytes) this.#evict(this.#oldest(({ sequence }) => !sequence.planned)!);
  }

  drop({ id, sequence }: Loan): void {
    this.#p.forget(sequence);
    this.#p.sequences.close(id);
  }

  /** Leading tokens of `prompt` whose keys and values are in a sequence, bit for bit as this prompt would give them. */
  #shared({ sequence, sparseFrom }: Computed, prompt: readonly number[]): number {
    const { denseLen, ropeSwitch } = this.#p;
    if (ropeSwitch > 0 && sequence.far !== prompt.length > ropeSwitch) return 0;
    const { tokens } = sequence;
    // Which way a prompt attends decides the values that its tokens pass on.
    const sparse = denseLen !== undefined && prompt.length >= denseLen;
    const same = sparse ? (sparseFrom === 0 ? tokens.length : 0) : sparseFrom;
    const most = Math.min(tokens.length, sequence.pure, same, prompt.length - 1);
    let n = 0;
    while (n < most && tokens[n] === prompt[n]) n++;
    // What is copied is whole tiles.
    const whole = n - (n % TILE);
    return keepable(sequence, n) === n && keepable(sequence, whole) === whole ? n : 0;
  }

  #cut(loan: Loan, length: number): Loan {
    cutTo(loan.sequence, length);
    loan.sequence.pure = Number.POSITIVE_INFINITY;
    return { id: loan.id, sequence: loan.sequence };
  }

  /** An empty sequence: planned memory, then more while it may be kept later, then the place of what ended longest ago. */
  #fresh(most: number, lora: AdapterSet | undefined, pinned?: Kept): Loan {
    return this.#adapted(this.#empty(most, pinned), lora);
  }

  #adapted(loan: Loan, lora: AdapterSet | undefined): Loan {
    this.#p.sequences.adapt(loan.sequence, lora);
    return loan;
  }

  #empty(most: number, pinned?: Kept): Loan {
    const { sequences, contextSize, bytes } = this.#p;
    if (sequences.plannedFree) return this.#open(contextSize, pinned);
    const size = Math.min(contextSize, sizeClass(most));
    const needed = sequences.bytesOf(size);
    for (;;) {
      const oldest = this.#oldest((kept) => kept !== pinned);
      // What is at work beside the planned memory will be kept, too: more than may be would only drive out what others go on from.
      const lent = [...this.#lent.values()].reduce((sum, { sequence }) => sum + this.#cost(sequence), 0);
      if (!oldest || this.#bytes + lent + needed <= bytes) return this.#open(size, pinned);
      const { sequence } = oldest;
      if (sequence.contextSize >= most && (sequence.planned || sequence.bytes <= 2 * needed)) {
        this.#kept.splice(this.#kept.indexOf(oldest), 1);
        return this.#cut(oldest, 0);
      }
      this.#evict(oldest);
    }
  }

  /** Opens a sequence; where there is no room, in planned memory, or in that of what was kept. */
  #open(size: number, pinned?: Kept): Loan {
    const { sequences, contextSize } = this.#p;
    for (;;) {
      try {
        const id = sequences.open(size);
        return { id, sequence: sequences.get(id) };
      } catch (error) {
        if (!(error instanceof CpmError) || error.code !== "out-of-memory") throw error;
        if (sequences.plannedFree) {
          size = contextSize;
          continue;
        }
        const oldest = this.#oldest((kept) => kept !== pinned);
        if (!oldest) throw error;
        this.#evict(oldest);
      }
    }
  }

  #oldest(of: (kept: Kept) => boolean): Kept | undefined {
    return this.#kept.filter(of).reduce<Kept | undefined>((a, b) => (a && a.ended < b.ended ? a : b), undefined);
  }

  #evict(kept: Kept): void {
    this.#kept.splice(this.#kept.indexOf(kept), 1);
    this.drop(kept);
  }
}
