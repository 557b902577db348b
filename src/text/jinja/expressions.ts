// Expressions of a template, by what binds tighter.
import { Cursor, MOST_DEPTH } from "./cursor.ts";
import type { CallArgs, Expr } from "./nodes.ts";
import { bounded } from "./values.ts";

const noArgs: CallArgs = { args: [], kwargs: [], star: undefined, starStar: undefined };
/** Names that are values, and cannot be set. */
export const constants: Readonly<Record<string, boolean | null>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};
const mirrored = ["==", "!=", "<", "<=", ">", ">="];

/** A parser of expressions; parser.ts adds statements. */
export class Expressions extends Cursor {
  /** Names read inside macros being parsed: varargs, kwargs and caller are given only to macros that read them. */
  protected readonly reads: Set<string>[] = [];

  /** Expressions with commas between are a tuple. */
  protected tuple(conditional = true, ends: readonly string[] = [], parenthesised = false): Expr {
    const items: Expr[] = [];
    let comma = false;
    for (;;) {
      if (items.length > 0 && !comma) break;
      const { kind } = this.now;
      if (kind === "variableEnd" || kind === "blockEnd" || this.is(")") || ends.some((end) => this.is(end))) break;
      items.push(conditional ? this.expression() : this.#or());
      comma = this.take(",");
    }
    if (items.length === 1 && !comma) return items[0]!;
    if (items.length === 0 && !parenthesised) throw this.error(`expected an expression, found ${this.found()}`);
    return { kind: "tuple", items };
  }

  protected expression(): Expr {
    return this.deeper(() => {
      let value = this.#or();
      while (this.take("if")) {
        const test = this.#or();
        const otherwise = this.take("else") ? this.expression() : undefined;
        value = { kind: "if", test, yes: value, otherwise };
      }
      return value;
    });
  }
  #or(): Expr {
    let left = this.#and();
    while (this.take("or")) left = { kind: "or", left, right: this.#and() };
    return left;
  }
  #and(): Expr {
    let left = this.#not();
    while (this.take("and")) left = { kind: "and", left, right: this.#not() };
    return left;
  }
  #not(): Expr {
    if (this.take("not")) return this.deeper(() => ({ kind: "not", inner: this.#not() }));
    return this.#compare();
  }
  #compare(): Expr {
    const first = this.#sum();
    const rest: (readonly [string, Expr])[] = [];
    for (;;) {
      const { kind, text } = this.now;
      if (kind === "operator" && mirrored.includes(text)) this.at++;
      else if (!this.take("in")) {
        const next = this.tokens[this.at + 1];
        if (!this.is("not") || next?.kind !== "name" || next.text !== "in") break;
        this.at += 2;
        rest.push(["not in", this.#sum()]);
        continue;
      }
      rest.push([text, this.#sum()]);
    }
    return rest.length > 0 ? { kind: "compare", first, rest } : first;
  }
  #sum(): Expr {
    let left = this.#concat();
    while (this.now.kind === "operator" && (this.is("+") || this.is("-"))) {
      const operator = this.tokens[this.at++]!.text;
      left = { kind: "binary", operator, left, right: this.#concat() };
    }
    return left;
  }
  #concat(): Expr {
    const items = [this.#product()];
    while (this.take("~")) items.push(this.#product());
    return items.length > 1 ? { kind: "concat", items } : items[0]!;
  }
  #product(): Expr {
    let left = this.#power();
    while (["*", "/", "//", "%"].some((o) => this.is(o))) {
      const operator = this.tokens[this.at++]!.text;
      left = { kind: "binary", operator, left, right: this.#power() };
    }
    return left;
  }
  #power(): Expr {
    let left = this.#unary(true);
    while (this.take("**")) left = { kind: "binary", operator: "**", left, right: this.#unary(true) };
    return left;
  }
  #unary(filters: boolean): Expr {
    return this.deeper(() => {
      let value: Expr;
      if (this.take("-")) value = { kind: "neg", inner: this.#unary(false) };
      else if (this.take("+")) value = { kind: "pos", inner: this.#unary(false) };
      else value = this.#primary();
      value = this.#postfix(value);
      return filters ? this.#filterOrTest(value) : value;
    });
  }

  #primary(): Expr {
    const { kind, text } = this.now;
    if (kind === "name") {
      this.at++;
      if (Object.hasOwn(constants, text)) return { kind: "const", value: constants[text]! };
      for (const reads of this.reads) reads.add(text);
      return { kind: "name", name: text };
    }
    if (kind === "string") {
      let value = "";
      for (; this.now.kind === "string"; this.at++) value += this.now.text;
      return { kind: "const", value };
    }
    if (kind === "int") {
      this.at++;
      if (text.length > 4400) throw this.error("a number of more than 4300 digits");
      return { kind: "const", value: bounded(BigInt(text.replaceAll("_", ""))) };
    }
    if (kind === "float") {
      this.at++;
      return { kind: "const", value: Number(text.replaceAll("_", "")) };
    }
    if (this.take("(")) {
      const value = this.tuple(true, [], true);
      this.expect(")");
      return value;
    }
    if (this.take("[")) {
      const items: Expr[] = [];
      while (!this.take("]")) {
        if (items.length > 0) this.expect(",");
        if (this.take("]")) break;
        items.push(this.expression());
      }
      return { kind: "list", items };
    }
    if (this.take("{")) {
      const entries: (readonly [Expr, Expr])[] = [];
      while (!this.take("}")) {
        if (entries.length > 0) this.expect(",");
        if (this.take("}")) break;
        const key = this.expression();
        this.expect(":");
        entries.push([key, this.expression()]);
      }
      return { kind: "dict", entries };
    }
    throw this.error(`expected an expression, found ${this.found()}`);
  }

  #postfix(value: Expr): Expr {
    for (let count = 0; ; count++) {
      // What follows one another nests in the tree.
      if (count > 4 * MOST_DEPTH) throw this.error("too long a chain");
      if (this.take(".")) {
        if (this.now.kind === "int") value = { kind: "item", object: value, key: this.#primary() };
        else value = { kind: "attribute", object: value, name: this.name() };
      } else if (this.take("[")) {
        const keys: Expr[] = [];
        do {
          if (this.is("]")) break;
          keys.push(this.#subscript());
        } while (this.take(","));
        const comma = this.tokens[this.at - 1]?.text === ",";
        this.expect("]");
        if (keys.length === 0) throw this.error("expected an expression");
        value = { kind: "item", object: value, key: keys.length === 1 && !comma ? keys[0]! : { kind: "tuple", items: keys } };
      } else if (this.is("(")) value = { kind: "call", callee: value, call: this.#args() };
      else return value;
    }
  }
  #subscript(): Expr {
    const parts: (Expr | undefined)[] = [];
    if (!this.is(":")) {
      const first = this.expression();
      if (!this.is(":")) return first;
      parts.push(first);
    } else parts.push(undefined);
    while (parts.length < 3 && this.take(":")) {
      const empty = this.is(":") || this.is("]") || this.is(",");
      parts.push(empty ? undefined : this.expression());
    }
    return { kind: "slice", parts };
  }
  #args(): CallArgs {
    this.expect("(");
    const args: Expr[] = [];
    const kwargs: (readonly [string, Expr])[] = [];
    let star: Expr | undefined;
    let starStar: Expr | undefined;
    let first = true;
    while (!this.take(")")) {
      if (!first) {
        this.expect(",");
        if (this.take(")")) break;
      }
      first = false;
      const next = this.tokens[this.at + 1];
      if (this.take("**")) starStar = this.expression();
      else if (this.take("*")) star = this.expression();
      else if (this.now.kind === "name" && next?.kind === "operator" && next.text === "=") {
        const key = this.name();
        this.at++;
        kwargs.push([key, this.expression()]);
      } else {
        if (kwargs.length > 0) throw this.error("a positional argument after a named one");
        args.push(this.expression());
      }
    }
    return { args, kwargs, star, starStar };
  }

  #filterOrTest(value: Expr): Expr {
    for (let count = 0; ; count++) {
      if (count > 4 * MOST_DEPTH) throw this.error("too long a chain");
      if (this.is("|") && this.now.kind === "operator") value = this.filters(value)!;
      else if (this.now.kind === "name" && this.is("is")) value = this.#test(value);
      else if (this.is("(") && this.now.kind === "operator") value = { kind: "call", callee: value, call: this.#args() };
      else return value;
    }
  }
  #dotted(): string {
    let name = this.name();
    while (this.take(".")) name += `.${this.name()}`;
    return name;
  }
  protected filters(inner: Expr | undefined, first = false): Expr | undefined {
    let value = inner;
    for (let inline = first, count = 0; inline || this.take("|"); inline = false) {
      if (++count > 4 * MOST_DEPTH) throw this.error("too long a chain");
      const name = this.#dotted();
      value = { kind: "filter", name, inner: value, call: this.is("(") ? this.#args() : noArgs };
    }
    return value;
  }
  #test(inner: Expr): Expr {
    this.expect("is");
    const negated = this.take("not");
    const name = this.#dotted();
    let call = noArgs;
    const { kind, text } = this.now;
    const literal =
      kind === "string" ||
      kind === "int" ||
      kind === "float" ||
      (kind === "name" && !["else", "or", "and", "is", "if", "not", "in", "recursive"].includes(text));
    if (this.is("(")) call = this.#args();
    else if (literal || (kind === "operator" && (text === "[" || text === "{")))
      call = { ...noArgs, args: [this.#postfix(this.#primary())] };
    const test: Expr = { kind: "test", name, inner, call };
    return negated ? { kind: "not", inner: test } : test;
  }
}
