// Chat templates are Jinja as transformers compiles them: sandboxed, with trim_blocks, lstrip_blocks and loop controls. Source:
// Jinja's template designer documentation and Python's library reference; held to Jinja itself by test/text/jinja-table.json.
import { Budget } from "./budget.ts";
import { globalNames } from "./globals.ts";
import { Interpreter } from "./interpreter.ts";
import type { Node } from "./nodes.ts";
import { parse } from "./parser.ts";
import { fromJs, type Value } from "./values.ts";

/** The longest published templates have some 20,000 characters. */
const MOST_SOURCE = 1 << 20;

/** A parsed template, to be rendered any number of times. Throws Error when the source is not a template. */
export class JinjaTemplate {
  readonly #nodes: readonly Node[];

  constructor(source: string) {
    if (source.length > MOST_SOURCE) throw new Error(`it has more than ${MOST_SOURCE} characters`);
    this.#nodes = parse(source);
  }

  /**
   * `variables`: plain data, or values made here. `now`: what strftime_now tells.
   * Throws TemplateRefusal for what the template refuses, Error for everything else.
   */
  render(variables: Readonly<Record<string, unknown>>, now = new Date()): string {
    const budget = new Budget();
    const names = Object.entries(variables)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, fromJs(value)] as readonly [string, Value]);
    return new Interpreter(budget, [...globalNames(budget, now), ...names]).run(this.#nodes);
  }
}
