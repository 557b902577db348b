// A place in a text that may still be growing, and the two ways in which reading from it can fail.

/** The text ends before what is being read does. */
export class Incomplete extends Error {}

/** What stands there is not what the format has. `at`: offset in the text. */
export class Wrong extends Error {
  readonly at: number;

  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

/** Nesting of values that is still read. */
export const MAX_DEPTH = 100;

export class Cursor {
  readonly text: string;
  at: number;
  /** Why the value that was read cannot be used, though its end is known. */
  spoilt: string | undefined;

  constructor(text: string, at = 0) {
    this.text = text;
    this.at = at;
  }

  get ended(): boolean {
    return this.at >= this.text.length;
  }

  /** The next character, not taken. @throws Incomplete at the end of the text */
  peek(): string {
    if (this.ended) throw new Incomplete("the text ends");
    return this.text[this.at]!;
  }

  wrong(message: string): Wrong {
    return new Wrong(this.at, message);
  }

  /** Takes `word` if it stands here. @throws Incomplete when the text ends within it */
  take(word: string): boolean {
    if (this.text.startsWith(word, this.at)) {
      this.at += word.length;
      return true;
    }
    const rest = this.text.length - this.at;
    if (rest < word.length && word.startsWith(this.text.slice(this.at))) throw new Incomplete(`expected ${word}`);
    return false;
  }

  /** @throws Incomplete, Wrong when something else stands here */
  expect(word: string): void {
    if (!this.take(word))
      throw this.wrong(`expected ${JSON.stringify(word)}, found ${JSON.stringify(this.text.slice(this.at, this.at + 20))}`);
  }

  /** Takes what the sticky expression matches; "" when nothing. */
  match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  space(): void {
    this.match(/\s*/y);
  }
}
