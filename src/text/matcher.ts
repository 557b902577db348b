// Finding the tokens that are matched as whole strings before any merging: leftmost, then longest.

export interface Match {
  readonly start: number;
  readonly end: number;
  readonly id: number;
}

/** A set of literal strings. A search costs, per character, one lookup plus one per distinct length of strings that begin with it. */
export class Matcher {
  readonly #ids = new Map<string, number>();
  /** Lengths, longest first, of the strings that begin with a UTF-16 unit. */
  readonly #lengths = new Map<number, number[]>();

  constructor(entries: Iterable<readonly [string, number]>) {
    for (const [text, id] of entries) {
      if (text === "" || this.#ids.has(text)) continue;
      this.#ids.set(text, id);
      const first = text.charCodeAt(0);
      const lengths = this.#lengths.get(first);
      if (lengths === undefined) this.#lengths.set(first, [text.length]);
      else if (!lengths.includes(text.length)) lengths.push(text.length);
    }
    for (const lengths of this.#lengths.values()) lengths.sort((a, b) => b - a);
  }

  /** The first match that starts at or after `from` and before `until`. */
  find(text: string, from = 0, until = text.length): Match | undefined {
    if (this.#ids.size === 0) return undefined;
    for (let start = from; start < until; start++) {
      const lengths = this.#lengths.get(text.charCodeAt(start));
      if (lengths === undefined) continue;
      for (const length of lengths) {
        if (start + length > text.length) continue;
        const id = this.#ids.get(text.slice(start, start + length));
        if (id !== undefined) return { start, end: start + length, id };
      }
    }
    return undefined;
  }
}
