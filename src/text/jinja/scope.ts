// What a running template has: names, and the text that it has written.
import type { Budget } from "./budget.ts";
import type { Value } from "./values.ts";

/** Names that hold inside a block, a macro or a loop, before those around it. */
export class Scope {
  readonly #names = new Map<string, Value>();
  readonly #outer: Scope | undefined;
  constructor(outer?: Scope) {
    this.#outer = outer;
  }
  get(name: string): Value | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.#outer) {
      const value = scope.#names.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

/** Text being written: of the template, or of a macro or block. */
export class Output {
  readonly #parts: string[] = [];
  #size = 0;
  readonly #budget: Budget;
  constructor(budget: Budget) {
    this.#budget = budget;
  }
  write(part: string): void {
    if (part === "") return;
    this.#size += part.length;
    this.#budget.characters(this.#size > 1 << 22 ? this.#size : part.length);
    this.#parts.push(part);
  }
  end(): string {
    return this.#parts.join("");
  }
}
