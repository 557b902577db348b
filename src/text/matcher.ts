// Finding the tokens that are matched as whole strings before any merging: leftmost, then longest.

export interface Match {
  readonly start: number;
  readonly end: number;
  readonly id: number;
}

/** Edges of the trie by node and UTF-16 unit in one number. */
const units = 0x10000;

/**
 * A set of literal strings, as a trie with the links of Aho and Corasick: a search costs a few look-ups a character, however many
 * strings there are and however much they have in common.
 */
export class Matcher {
  readonly #edges = new Map<number, number>();
  /** By node: its length, the string that ends there (-1: none), the longest proper end of it that is a node, or has a string. */
  readonly #depth: number[] = [0];
  readonly #id: number[] = [-1];
  readonly #fail: number[] = [0];
  readonly #shorter: number[] = [0];
  /** Units that a string begins with. */
  readonly #begins = new Uint8Array(units);
  /** Edges followed so far, links among them. */
  looked = 0;

  constructor(entries: Iterable<readonly [string, number]>) {
    for (const [text, id] of entries) {
      let node = 0;
      if (text !== "") this.#begins[text.charCodeAt(0)] = 1;
      for (let i = 0; i < text.length; i++) node = this.#child(node, text.charCodeAt(i));
      if (node > 0 && this.#id[node]! < 0) this.#id[node] = id;
    }
    this.#link();
  }

  #child(node: number, unit: number): number {
    const key = node * units + unit;
    let child = this.#edges.get(key);
    if (child === undefined) {
      child = this.#depth.push(this.#depth[node]! + 1) - 1;
      this.#id.push(-1);
      this.#fail.push(0);
      this.#shorter.push(0);
      this.#edges.set(key, child);
    }
    return child;
  }

  /** Links of a node need those of shorter ones. */
  #link(): void {
    const edges = [...this.#edges].sort(([, a], [, b]) => this.#depth[a]! - this.#depth[b]!);
    for (const [key, child] of edges) {
      const parent = Math.floor(key / units);
      const fail = parent === 0 ? 0 : this.#step(this.#fail[parent]!, key % units);
      this.#fail[child] = fail;
      this.#shorter[child] = this.#id[fail]! >= 0 ? fail : this.#shorter[fail]!;
    }
  }

  #step(from: number, unit: number): number {
    for (let node = from; ; node = this.#fail[node]!) {
      this.looked++;
      const next = this.#edges.get(node * units + unit);
      if (next !== undefined) return next;
      if (node === 0) return 0;
    }
  }

  /** The first match that starts at or after `from` and before `until`. */
  find(text: string, from = 0, until = text.length): Match | undefined {
    if (this.#edges.size === 0) return undefined;
    let best: Match | undefined;
    const begins = this.#begins;
    for (let at = from, node = 0; at < text.length; ) {
      if (node === 0) {
        // Nothing is open, and nothing was found, or this would not go on.
        while (at < until && at < text.length && begins[text.charCodeAt(at)] === 0) at++;
        if (at >= until || at >= text.length) return best;
      }
      node = this.#step(node, text.charCodeAt(at++));
      const ends = this.#id[node]! >= 0 ? node : this.#shorter[node]!;
      const start = at - this.#depth[ends]!;
      if (ends > 0 && start < until && (best === undefined || start <= best.start))
        best = { start, end: at, id: this.#id[ends]! };
      // What is still open begins later.
      if (at - this.#depth[node]! > (best?.start ?? until - 1)) break;
    }
    return best;
  }
}
