// The Jinja library, made to print as Python does and held to a share of steps and text: templates come with models, untrusted.
import * as library from "@huggingface/jinja";
import { globals } from "./globals.ts";

// The library's own declarations do not resolve under NodeNext; these are the parts used here.
interface Value {
  readonly type: string;
  readonly value: unknown;
}
interface Node {
  readonly type: string;
}
interface Scope {
  set(name: string, value: unknown): Value;
}
interface Evaluator {
  run(program: Node): Value;
  evaluate(statement: Node | undefined, scope: Scope): Value;
}
const { Environment, Interpreter, Template } = library as unknown as {
  readonly Environment: new () => Scope;
  readonly Interpreter: new (scope: Scope) => Evaluator;
  readonly Template: new (source: string) => { readonly parsed: Node };
};

/** Nodes of the library's syntax tree that are looked into. */
interface Block extends Node {
  readonly body?: Node[];
  readonly alternate?: Node[];
  readonly defaultBlock?: Node[];
}
interface Loop extends Block {
  iterable: Node;
}
interface Filter extends Node {
  readonly operand: Node;
  readonly filter: Node & { readonly value?: string };
}
interface Call extends Node {
  readonly callee: Node & {
    readonly object?: Node;
    readonly property?: { readonly value?: string };
    readonly computed?: boolean;
  };
  readonly args: readonly Node[];
}
interface Binary extends Node {
  readonly operator: { readonly value: string };
  readonly left: Node;
  readonly right: Node;
}
/** Nodes put into the tree here: an expression whose value is printed, or looped over. */
interface Wrapped extends Node {
  readonly type: "Printed" | "LoopedOver";
  readonly inner: Node;
}

/** A parsed template, to be rendered any number of times. Throws Error when the source is not a template. */
export class JinjaTemplate {
  readonly #program: Node;

  constructor(source: string) {
    this.#program = new Template(source).parsed;
    wrap(this.#program);
  }

  /** Throws TemplateRefusal for what the template refuses, Error for everything else. */
  render(variables: Readonly<Record<string, unknown>>): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
    return String(new BoundedInterpreter(environment).run(this.#program).value);
  }
}

const statements = new Set([
  "Program",
  "If",
  "For",
  "Set",
  "Macro",
  "CallStatement",
  "FilterStatement",
  "Break",
  "Continue",
  "Comment",
  "StringLiteral",
]);

/** Wraps every expression that is printed and every value that is looped over. */
function wrap(node: Block): void {
  if (node.type === "For") {
    const loop = node as Loop;
    const filtered = loop.iterable as Node & { lhs: Node };
    if (filtered.type === "SelectExpression") filtered.lhs = { type: "LoopedOver", inner: filtered.lhs } as Wrapped;
    else loop.iterable = { type: "LoopedOver", inner: loop.iterable } as Wrapped;
  }
  for (const block of [node.body, node.alternate, node.defaultBlock]) {
    block?.forEach((child, i) => {
      if (statements.has(child.type)) wrap(child);
      else block[i] = { type: "Printed", inner: child } as Wrapped;
    });
  }
}

const mostSteps = 2_000_000;
/** A round of a loop makes a scope and nine values. */
const stepsPerRound = 8;
const charactersPerStep = 64;
const valuesPerStep = 16;
const mostCharacters = 1 << 22;
const mostItems = 1 << 17;

/**
 * Counts every node evaluated, round of a loop, and character or value made: any template ends within seconds. What
 * cannot be interrupted is one call of the library. It gets at most `mostCharacters`, so a replace or join can still make
 * the longest text the engine allows (half a gigabyte) before it is refused.
 * Also does as Python what the library does not: prints True, None and lists; strip() of characters; min and max.
 */
class BoundedInterpreter extends Interpreter {
  #steps = 0;

  override evaluate(statement: Node | undefined, scope: Scope): Value {
    this.#spend(1);
    // The library's first and last give nothing at all for an empty list.
    const value =
      (statement && this.#asPython(statement, scope)) ?? super.evaluate(statement, scope) ?? super.evaluate(undefined, scope);
    // What a variable holds was measured when it was made, but a namespace may have grown.
    if (statement?.type !== "Identifier" || value.type === "NamespaceValue") this.#measure(value);
    return value;
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > mostSteps) throw new Error(`it takes more than ${mostSteps} steps`);
  }

  #measure(value: Value): void {
    if (typeof value.value === "string") this.#spend(value.value.length / charactersPerStep);
    if (this.#characters(value) > mostCharacters) throw new Error(`it makes more than ${mostCharacters} characters`);
    if (sizeOf(value) > mostItems) throw new Error(`it makes a list of more than ${mostItems} items`);
  }

  /** Characters in a value, those inside lists and dictionaries as often as they occur. */
  #characters({ value }: Value): number {
    this.#spend(1 / valuesPerStep);
    if (typeof value === "string") return value.length;
    let sum = 0;
    if (Array.isArray(value) || value instanceof Map)
      for (const item of value.values() as Iterable<Value>) sum += this.#characters(item);
    return sum;
  }

  #asPython(node: Node, scope: Scope): Value | undefined {
    switch (node.type) {
      case "Printed":
        return this.#text(this.#print(this.evaluate((node as Wrapped).inner, scope)), scope);
      case "LoopedOver": {
        const value = this.evaluate((node as Wrapped).inner, scope);
        this.#spend(stepsPerRound * sizeOf(value));
        return value;
      }
      case "BinaryExpression": {
        const { operator, left, right } = node as Binary;
        if (operator.value !== "~") return undefined;
        return this.#text(this.#print(this.evaluate(left, scope)) + this.#print(this.evaluate(right, scope)), scope);
      }
      case "FilterExpression":
        return this.#filter(node as Filter, scope);
      case "CallExpression":
        return this.#strip(node as Call, scope);
      default:
        return undefined;
    }
  }

  #text(text: string, scope: Scope): Value {
    return super.evaluate({ type: "StringLiteral", value: text } as Node, scope);
  }

  #filter({ operand, filter }: Filter, scope: Scope): Value | undefined {
    const name = filter.type === "Identifier" ? filter.value : undefined;
    if (name === "string") return this.#text(this.#print(this.evaluate(operand, scope)), scope);
    if (name !== "min" && name !== "max") return undefined;
    const list = this.evaluate(operand, scope).value;
    if (!Array.isArray(list) || list.length === 0) throw new Error(`the filter ${name} needs a list with elements`);
    const before = (a: Value, b: Value) => (a.value as number) < (b.value as number);
    return (list as Value[]).reduce((best, next) => ((name === "min" ? before(next, best) : before(best, next)) ? next : best));
  }

  /** text.strip(characters), lstrip and rstrip, whose argument the library ignores. */
  #strip({ callee, args }: Call, scope: Scope): Value | undefined {
    const name = callee.type === "MemberExpression" && !callee.computed ? callee.property?.value : undefined;
    if (args.length !== 1 || !callee.object || (name !== "strip" && name !== "lstrip" && name !== "rstrip")) return undefined;
    const text = this.evaluate(callee.object, scope).value;
    const characters = this.evaluate(args[0], scope).value;
    if (typeof text !== "string" || typeof characters !== "string") throw new Error(`${name}() works on a text and takes a text`);
    const drop = new Set(characters);
    const points = [...text];
    let begin = 0;
    let end = points.length;
    if (name !== "rstrip") while (begin < end && drop.has(points[begin]!)) begin++;
    if (name !== "lstrip") while (end > begin && drop.has(points[end - 1]!)) end--;
    return this.#text(points.slice(begin, end).join(""), scope);
  }

  /** str() of Python; texts inside lists and dictionaries as its repr(). */
  #print(value: Value, inside = false): string {
    this.#spend(1);
    switch (value.type) {
      case "StringValue":
        return inside ? quoted(value.value as string) : (value.value as string);
      case "UndefinedValue":
        return "";
      case "NullValue":
        return "None";
      case "BooleanValue":
        return value.value ? "True" : "False";
      case "ArrayValue":
        return `[${(value.value as Value[]).map((item) => this.#print(item, true)).join(", ")}]`;
      case "TupleValue": {
        const items = (value.value as Value[]).map((item) => this.#print(item, true));
        return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
      }
      case "ObjectValue":
        return `{${[...(value.value as Map<string, Value>)].map(([key, item]) => `${quoted(key)}: ${this.#print(item, true)}`).join(", ")}}`;
      default:
        return String(value);
    }
  }
}

/** Items of a list or dictionary. */
function sizeOf({ value }: Value): number {
  return Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;
}

/** A text as Python's repr() writes it: single quotes unless only those occur in it. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const names: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [quote]: `\\${quote}` };
  const hex = (c: string) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`;
  return quote + text.replace(/[\\'"\x00-\x1f\x7f-\xa0\xad]/g, (c) => names[c] ?? (c === "'" || c === '"' ? c : hex(c))) + quote;
}
