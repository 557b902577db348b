// A place in the tokens of a template.
import type { Token } from "./lexer.ts";

/** How deep templates nest. */
export const MOST_DEPTH = 200;

/** Where a parser is in its tokens, and how deep. */
export class Cursor {
  protected readonly tokens: readonly Token[];
  protected at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  protected get now(): Token {
    return this.tokens[this.at]!;
  }
  protected error(what: string): Error {
    return new Error(`line ${this.now.line}: ${what}`);
  }
  protected is(text: string): boolean {
    return this.now.text === text && (this.now.kind === "operator" || this.now.kind === "name");
  }
  protected take(text: string): boolean {
    if (!this.is(text)) return false;
    this.at++;
    return true;
  }
  protected expect(text: string): void {
    if (!this.take(text)) throw this.error(`expected "${text}", found ${this.found()}`);
  }
  protected found(): string {
    return this.now.kind === "end" ? "the end of the template" : `"${this.now.text.slice(0, 40)}"`;
  }
  protected name(): string {
    if (this.now.kind !== "name") throw this.error(`expected a name, found ${this.found()}`);
    return this.tokens[this.at++]!.text;
  }
  protected deeper<T>(read: () => T): T {
    if (++this.#depth > MOST_DEPTH) throw this.error(`nested more than ${MOST_DEPTH} deep`);
    const value = read();
    this.#depth--;
    return value;
  }
}
