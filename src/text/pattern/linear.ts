// Matching without going back: all ways through the expression side by side, one character at a time, the first choice first.
// Source: Thompson's construction and Pike's ordered threads.
import { type Assertion, type CharSet, type Node, parse, wordSet } from "./parse.ts";

export type Test = (code: number) => boolean;
export type Step =
  | { readonly op: "set"; readonly test: Test }
  | { readonly op: "split"; first: number; second: number }
  | { readonly op: "at"; readonly what: Assertion }
  | { readonly op: "look"; readonly test: Test; readonly ahead: boolean; readonly negated: boolean }
  | { readonly op: "match" };

const maxSteps = 4096;

/** Whether a code point is in a set; what was asked of the first 65,536 is kept. */
function tester(set: CharSet): Test {
  const own = set.source === "" ? undefined : new RegExp(`^[${set.source}]$`, set.fold ? "iu" : "u");
  const nested = set.nested.map(tester);
  const look = (code: number): boolean =>
    ((own?.test(String.fromCodePoint(code)) ?? false) || nested.some((test) => test(code))) !== set.negated;
  const known = new Uint8Array(0x10000);
  return (code) => {
    if (code > 0xffff) return look(code);
    const answer = known[code]! || (known[code] = look(code) ? 2 : 1);
    return answer === 2;
  };
}

/** An expression as a program. A search does at most `size` steps for each character that it looks at. */
export class LinearPattern {
  readonly #program: Step[] = [];
  /** The steps; see Automaton, which runs them many at a time. */
  readonly program: readonly Step[] = this.#program;
  readonly #tests = new Map<string, Test>();
  readonly isWord: Test = tester(wordSet);
  /** Characters looked at so far. */
  looked = 0;

  /** @throws SyntaxError naming what has no linear or no exact meaning here. */
  constructor(pattern: string) {
    this.#compile(parse(pattern));
    this.#emit({ op: "match" });
    this.#seen = new Int32Array(this.#program.length);
  }

  /** Steps of the program. */
  get size(): number {
    return this.#program.length;
  }

  readonly #seen: Int32Array;
  #round = 0;

  /** The leftmost match from `from` on, by the order of alternatives: [begin, end). */
  find(text: string, from: number): readonly [number, number] | undefined {
    let threads: number[] = [];
    let starts: number[] = [];
    let found: readonly [number, number] | undefined;
    for (let at = from; ; ) {
      this.looked++;
      const code = at < text.length ? text.codePointAt(at)! : -1;
      const next = at + (code > 0xffff ? 2 : 1);
      // Threads that stand before this character, closed over what takes no character, in order.
      const ready: number[] = [];
      const begun: number[] = [];
      if (++this.#round === 0x7fffffff) {
        this.#seen.fill(0);
        this.#round = 1;
      }
      for (let i = 0; i < threads.length; i++) this.#close(threads[i]!, starts[i]!, text, at, code, ready, begun);
      if (found === undefined) this.#close(0, at, text, at, code, ready, begun);
      threads = [];
      starts = [];
      for (let i = 0; i < ready.length; i++) {
        const step = this.#program[ready[i]!]!;
        if (step.op === "match") {
          found = [begun[i]!, at];
          break;
        }
        if (step.op === "set" && code >= 0 && step.test(code)) {
          threads.push(ready[i]! + 1);
          starts.push(begun[i]!);
        }
      }
      if (code < 0 || (found !== undefined && threads.length === 0)) return found;
      at = next;
    }
  }

  #close(first: number, start: number, text: string, at: number, code: number, ready: number[], begun: number[]): void {
    const pending = [first];
    for (let pc = pending.pop(); pc !== undefined; pc = pending.pop()) {
      if (this.#seen[pc] === this.#round) continue;
      this.#seen[pc] = this.#round;
      const step = this.#program[pc]!;
      if (step.op === "split") pending.push(step.second, step.first);
      else if (step.op === "at") {
        if (this.#holds(step.what, text, at, code)) pending.push(pc + 1);
      } else if (step.op === "look") {
        const near = step.ahead ? code : before(text, at);
        if ((near >= 0 && step.test(near)) !== step.negated) pending.push(pc + 1);
      } else {
        ready.push(pc);
        begun.push(start);
      }
    }
  }

  #holds(what: Assertion, text: string, at: number, code: number): boolean {
    if (what === "textStart") return at === 0;
    if (what === "textEnd") return code < 0;
    if (what === "lastLineEnd") return code < 0 || (code === 10 && at + 1 === text.length);
    // Behind a newline that ends the text no line begins.
    if (what === "lineStart") return at === 0 || (text.charCodeAt(at - 1) === 10 && code >= 0);
    if (what === "lineEnd") return code < 0 || code === 10;
    const left = before(text, at);
    const edge = (left >= 0 && this.isWord(left)) !== (code >= 0 && this.isWord(code));
    return edge === (what === "boundary");
  }

  #emit(step: Step): number {
    if (this.#program.length >= maxSteps) throw new SyntaxError(`more than ${maxSteps} steps`);
    return this.#program.push(step) - 1;
  }

  #split(first: number, second: number): number {
    return this.#emit({ op: "split", first, second });
  }

  #patch(at: number, first: number, second: number): void {
    const step = this.#program[at]!;
    if (step.op !== "split") return;
    step.first = first;
    step.second = second;
  }

  #test(set: CharSet): Test {
    const key = JSON.stringify(set);
    let test = this.#tests.get(key);
    if (test === undefined) this.#tests.set(key, (test = tester(set)));
    return test;
  }

  #compile(node: Node): void {
    if (node.kind === "set") this.#emit({ op: "set", test: this.#test(node.set) });
    else if (node.kind === "at") this.#emit({ op: "at", what: node.what });
    else if (node.kind === "look")
      this.#emit({ op: "look", test: this.#test(node.set), ahead: node.ahead, negated: node.negated });
    else if (node.kind === "all") for (const part of node.parts) this.#compile(part);
    else if (node.kind === "any") {
      const ends: number[] = [];
      for (const [i, part] of node.parts.entries()) {
        const split = i + 1 < node.parts.length ? this.#split(0, 0) : -1;
        this.#compile(part);
        if (split < 0) continue;
        ends.push(this.#split(0, 0));
        this.#patch(split, split + 1, this.size);
      }
      for (const end of ends) this.#patch(end, this.size, this.size);
    } else {
      const choose = (split: number, body: number, past: number) =>
        node.greedy ? this.#patch(split, body, past) : this.#patch(split, past, body);
      for (let i = 0; i < node.min; i++) this.#compile(node.body);
      if (node.max === Infinity) {
        const split = this.#split(0, 0);
        this.#compile(node.body);
        this.#split(split, split);
        choose(split, split + 1, this.size);
        return;
      }
      const splits: number[] = [];
      for (let i = node.min; i < node.max; i++) {
        splits.push(this.#split(0, 0));
        this.#compile(node.body);
      }
      for (const split of splits) choose(split, split + 1, this.size);
    }
  }
}

/** The code point that ends at `at`; -1 at the start. */
function before(text: string, at: number): number {
  if (at === 0) return -1;
  const unit = text.charCodeAt(at - 1);
  const pair = unit >= 0xdc00 && unit < 0xe000 && at > 1 ? text.codePointAt(at - 2)! : 0;
  return pair > 0xffff ? pair : unit;
}
