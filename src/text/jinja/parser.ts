// Tokens -> a syntax tree, by the grammar of Jinja with loop controls and transformers' generation blocks.
import { type Token, tokenize } from "./lexer.ts";
import type { CallArgs, Expr, MacroNode, Node, Target } from "./nodes.ts";
import { bounded } from "./values.ts";

const MOST_DEPTH = 200;
const noArgs: CallArgs = { args: [], kwargs: [], star: undefined, starStar: undefined };
const constants: Readonly<Record<string, boolean | null>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};
const mirrored = ["==", "!=", "<", "<=", ">", ">="];

/** Throws Error, with the line, for what is no template. */
export function parse(source: string): readonly Node[] {
  return new Parser(tokenize(source)).template();
}

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;
  #loops = 0;
  /** Names read inside macros being parsed: varargs, kwargs and caller are given only to macros that read them. */
  #reads: Set<string>[] = [];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  template(): Node[] {
    const body = this.#body([]);
    if (this.#now.kind !== "end") throw this.#error(`unexpected "${this.#now.text}"`);
    return body;
  }

  get #now(): Token {
    return this.#tokens[this.#at]!;
  }
  #error(what: string): Error {
    return new Error(`line ${this.#now.line}: ${what}`);
  }
  #is(text: string): boolean {
    return this.#now.text === text && (this.#now.kind === "operator" || this.#now.kind === "name");
  }
  #take(text: string): boolean {
    if (!this.#is(text)) return false;
    this.#at++;
    return true;
  }
  #expect(text: string): void {
    if (!this.#take(text)) throw this.#error(`expected "${text}", found ${this.#found()}`);
  }
  #found(): string {
    return this.#now.kind === "end" ? "the end of the template" : `"${this.#now.text.slice(0, 40)}"`;
  }
  #name(): string {
    if (this.#now.kind !== "name") throw this.#error(`expected a name, found ${this.#found()}`);
    return this.#tokens[this.#at++]!.text;
  }
  #deeper<T>(read: () => T): T {
    if (++this.#depth > MOST_DEPTH) throw this.#error(`nested more than ${MOST_DEPTH} deep`);
    const value = read();
    this.#depth--;
    return value;
  }

  /** Nodes up to a block that begins with one of `ends`, which is left with its name as the current token. */
  #body(ends: readonly string[]): Node[] {
    return this.#deeper(() => {
      const nodes: Node[] = [];
      for (;;) {
        const { kind, text } = this.#now;
        if (kind === "data") {
          this.#at++;
          nodes.push({ kind: "data", text });
        } else if (kind === "variable") {
          this.#at++;
          nodes.push({ kind: "print", expr: this.#tuple() });
          this.#end("variableEnd");
        } else if (kind === "block") {
          this.#at++;
          if (this.#now.kind !== "name") throw this.#error("expected the name of a tag");
          if (ends.includes(this.#now.text)) return nodes;
          nodes.push(this.#statement());
        } else if (ends.length === 0) return nodes;
        else throw this.#error(`expected "${ends.join('" or "')}", found the end of the template`);
      }
    });
  }
  #end(kind: "variableEnd" | "blockEnd"): void {
    if (this.#now.kind !== kind) throw this.#error(`expected "${kind === "blockEnd" ? "%}" : "}}"}", found ${this.#found()}`);
    this.#at++;
  }
  /** The body of a tag, its end tag taken. */
  #until(end: string): Node[] {
    this.#end("blockEnd");
    const body = this.#body([end]);
    this.#at++;
    this.#end("blockEnd");
    return body;
  }

  #statement(): Node {
    const tag = this.#name();
    switch (tag) {
      case "if":
        return this.#if();
      case "for":
        return this.#for();
      case "set": {
        const target = this.#target(true);
        if (this.#take("=")) {
          const value = this.#tuple();
          this.#end("blockEnd");
          return { kind: "set", target, value };
        }
        const filter = this.#filters(undefined);
        return { kind: "setBlock", target, filter, body: this.#until("endset") };
      }
      case "with": {
        const pairs: (readonly [Target, Expr])[] = [];
        while (this.#now.kind !== "blockEnd") {
          if (pairs.length > 0) this.#expect(",");
          const target = this.#target(false);
          this.#expect("=");
          pairs.push([target, this.#expression()]);
        }
        return { kind: "with", pairs, body: this.#until("endwith") };
      }
      case "macro": {
        const name = this.#name();
        return { kind: "macro", macro: this.#macro(name, "endmacro") };
      }
      case "call": {
        const at = this.#at;
        // Parameters stand before the call; they are read with the body, after it.
        if (this.#is("(")) this.#signature();
        const signatureEnd = this.#at;
        const call = this.#expression();
        if (call.kind !== "call") throw this.#error("expected a call");
        const [params, defaults] = signatureEnd > at ? this.#again(at, () => this.#signature()) : [[], []];
        return { kind: "callBlock", call, caller: this.#macroBody("caller", params, defaults, "endcall") };
      }
      case "filter": {
        const filter = this.#filters(undefined, true);
        if (filter === undefined) throw this.#error("expected a filter");
        return { kind: "filterBlock", filter, body: this.#until("endfilter") };
      }
      case "generation":
        return { kind: "scope", body: this.#until("endgeneration") };
      case "break":
      case "continue":
        if (this.#loops === 0) throw this.#error(`"${tag}" outside a loop`);
        this.#end("blockEnd");
        return { kind: tag };
      default:
        throw this.#error(`unknown tag "${tag.slice(0, 40)}"`);
    }
  }

  #again<T>(at: number, read: () => T): T {
    const back = this.#at;
    this.#at = at;
    const value = read();
    this.#at = back;
    return value;
  }

  #if(): Node {
    const branches: (readonly [Expr, readonly Node[]])[] = [];
    for (;;) {
      const test = this.#tuple(false);
      this.#end("blockEnd");
      branches.push([test, this.#body(["elif", "else", "endif"])]);
      const end = this.#name();
      if (end === "elif") continue;
      let otherwise: Node[] = [];
      if (end === "else") otherwise = this.#until("endif");
      else this.#end("blockEnd");
      return { kind: "if", branches, otherwise };
    }
  }

  #for(): Node {
    const target = this.#target(false);
    this.#expect("in");
    const iter = this.#tuple(false, ["recursive"]);
    const test = this.#take("if") ? this.#expression() : undefined;
    const recursive = this.#take("recursive");
    this.#end("blockEnd");
    this.#loops++;
    const body = this.#body(["else", "endfor"]);
    this.#loops--;
    let otherwise: Node[] = [];
    if (this.#name() === "else") otherwise = this.#until("endfor");
    else this.#end("blockEnd");
    return { kind: "for", target, iter, test, recursive, body, otherwise };
  }

  #macro(name: string, end: string): MacroNode {
    const [params, defaults] = this.#signature();
    return this.#macroBody(name, params, defaults, end);
  }
  #macroBody(name: string, params: readonly string[], defaults: readonly Expr[], end: string): MacroNode {
    const reads = new Set<string>();
    this.#reads.push(reads);
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#until(end);
    this.#loops = loops;
    this.#reads.pop();
    for (const outer of this.#reads) for (const read of reads) outer.add(read);
    const catches = { varargs: reads.has("varargs"), kwargs: reads.has("kwargs"), caller: reads.has("caller") };
    return { name, params, defaults, body, catches };
  }
  #signature(): [string[], Expr[]] {
    const params: string[] = [];
    const defaults: Expr[] = [];
    this.#expect("(");
    while (!this.#take(")")) {
      if (params.length > 0) this.#expect(",");
      params.push(this.#name());
      if (this.#take("=")) defaults.push(this.#expression());
      else if (defaults.length > 0) throw this.#error("a parameter without a default after one with");
    }
    return [params, defaults];
  }

  #target(attributes: boolean): Target {
    const one = (): Target => {
      if (this.#take("(")) {
        const inner = this.#target(attributes);
        this.#expect(")");
        return inner;
      }
      const name = this.#name();
      if (Object.hasOwn(constants, name)) throw this.#error(`"${name}" cannot be set`);
      if (attributes && this.#take(".")) return { kind: "attribute", name, attribute: this.#name() };
      return { kind: "name", name };
    };
    const first = one();
    if (!this.#is(",")) return first;
    const items = [first];
    while (this.#take(",")) {
      if (this.#now.kind !== "name" && !this.#is("(")) break;
      if (this.#is("in")) break;
      items.push(one());
    }
    return { kind: "tuple", items };
  }

  /** Expressions with commas between are a tuple. */
  #tuple(conditional = true, ends: readonly string[] = [], parenthesised = false): Expr {
    const items: Expr[] = [];
    let comma = false;
    for (;;) {
      if (items.length > 0 && !comma) break;
      const { kind } = this.#now;
      if (kind === "variableEnd" || kind === "blockEnd" || this.#is(")") || ends.some((end) => this.#is(end))) break;
      items.push(conditional ? this.#expression() : this.#or());
      comma = this.#take(",");
    }
    if (items.length === 1 && !comma) return items[0]!;
    if (items.length === 0 && !parenthesised) throw this.#error(`expected an expression, found ${this.#found()}`);
    return { kind: "tuple", items };
  }

  #expression(): Expr {
    return this.#deeper(() => {
      let value = this.#or();
      while (this.#take("if")) {
        const test = this.#or();
        const otherwise = this.#take("else") ? this.#expression() : undefined;
        value = { kind: "if", test, yes: value, otherwise };
      }
      return value;
    });
  }
  #or(): Expr {
    let left = this.#and();
    while (this.#take("or")) left = { kind: "or", left, right: this.#and() };
    return left;
  }
  #and(): Expr {
    let left = this.#not();
    while (this.#take("and")) left = { kind: "and", left, right: this.#not() };
    return left;
  }
  #not(): Expr {
    if (this.#take("not")) return this.#deeper(() => ({ kind: "not", inner: this.#not() }));
    return this.#compare();
  }
  #compare(): Expr {
    const first = this.#sum();
    const rest: (readonly [string, Expr])[] = [];
    for (;;) {
      const { kind, text } = this.#now;
      if (kind === "operator" && mirrored.includes(text)) this.#at++;
      else if (!this.#take("in")) {
        const next = this.#tokens[this.#at + 1];
        if (!this.#is("not") || next?.kind !== "name" || next.text !== "in") break;
        this.#at += 2;
        rest.push(["not in", this.#sum()]);
        continue;
      }
      rest.push([text, this.#sum()]);
    }
    return rest.length > 0 ? { kind: "compare", first, rest } : first;
  }
  #sum(): Expr {
    let left = this.#concat();
    while (this.#now.kind === "operator" && (this.#is("+") || this.#is("-"))) {
      const operator = this.#tokens[this.#at++]!.text;
      left = { kind: "binary", operator, left, right: this.#concat() };
    }
    return left;
  }
  #concat(): Expr {
    const items = [this.#product()];
    while (this.#take("~")) items.push(this.#product());
    return items.length > 1 ? { kind: "concat", items } : items[0]!;
  }
  #product(): Expr {
    let left = this.#power();
    while (["*", "/", "//", "%"].some((o) => this.#is(o))) {
      const operator = this.#tokens[this.#at++]!.text;
      left = { kind: "binary", operator, left, right: this.#power() };
    }
    return left;
  }
  #power(): Expr {
    let left = this.#unary(true);
    while (this.#take("**")) left = { kind: "binary", operator: "**", left, right: this.#unary(true) };
    return left;
  }
  #unary(filters: boolean): Expr {
    return this.#deeper(() => {
      let value: Expr;
      if (this.#take("-")) value = { kind: "neg", inner: this.#unary(false) };
      else if (this.#take("+")) value = { kind: "pos", inner: this.#unary(false) };
      else value = this.#primary();
      value = this.#postfix(value);
      return filters ? this.#filterOrTest(value) : value;
    });
  }

  #primary(): Expr {
    const { kind, text } = this.#now;
    if (kind === "name") {
      this.#at++;
      if (Object.hasOwn(constants, text)) return { kind: "const", value: constants[text]! };
      for (const reads of this.#reads) reads.add(text);
      return { kind: "name", name: text };
    }
    if (kind === "string") {
      let value = "";
      for (; this.#now.kind === "string"; this.#at++) value += this.#now.text;
      return { kind: "const", value };
    }
    if (kind === "int") {
      this.#at++;
      if (text.length > 4400) throw this.#error("a number of more than 4300 digits");
      return { kind: "const", value: bounded(BigInt(text.replaceAll("_", ""))) };
    }
    if (kind === "float") {
      this.#at++;
      return { kind: "const", value: Number(text.replaceAll("_", "")) };
    }
    if (this.#take("(")) {
      const value = this.#tuple(true, [], true);
      this.#expect(")");
      return value;
    }
    if (this.#take("[")) {
      const items: Expr[] = [];
      while (!this.#take("]")) {
        if (items.length > 0) this.#expect(",");
        if (this.#take("]")) break;
        items.push(this.#expression());
      }
      return { kind: "list", items };
    }
    if (this.#take("{")) {
      const entries: (readonly [Expr, Expr])[] = [];
      while (!this.#take("}")) {
        if (entries.length > 0) this.#expect(",");
        if (this.#take("}")) break;
        const key = this.#expression();
        this.#expect(":");
        entries.push([key, this.#expression()]);
      }
      return { kind: "dict", entries };
    }
    throw this.#error(`expected an expression, found ${this.#found()}`);
  }

  #postfix(value: Expr): Expr {
    for (let count = 0; ; count++) {
      // What follows one another nests in the tree.
      if (count > 4 * MOST_DEPTH) throw this.#error("too long a chain");
      if (this.#take(".")) {
        if (this.#now.kind === "int") value = { kind: "item", object: value, key: this.#primary() };
        else value = { kind: "attribute", object: value, name: this.#name() };
      } else if (this.#take("[")) {
        const keys: Expr[] = [];
        do {
          if (this.#is("]")) break;
          keys.push(this.#subscript());
        } while (this.#take(","));
        const comma = this.#tokens[this.#at - 1]?.text === ",";
        this.#expect("]");
        if (keys.length === 0) throw this.#error("expected an expression");
        value = { kind: "item", object: value, key: keys.length === 1 && !comma ? keys[0]! : { kind: "tuple", items: keys } };
      } else if (this.#is("(")) value = { kind: "call", callee: value, call: this.#args() };
      else return value;
    }
  }
  #subscript(): Expr {
    const parts: (Expr | undefined)[] = [];
    if (!this.#is(":")) {
      const first = this.#expression();
      if (!this.#is(":")) return first;
      parts.push(first);
    } else parts.push(undefined);
    while (parts.length < 3 && this.#take(":")) {
      const empty = this.#is(":") || this.#is("]") || this.#is(",");
      parts.push(empty ? undefined : this.#expression());
    }
    return { kind: "slice", parts };
  }
  #args(): CallArgs {
    this.#expect("(");
    const args: Expr[] = [];
    const kwargs: (readonly [string, Expr])[] = [];
    let star: Expr | undefined;
    let starStar: Expr | undefined;
    let first = true;
    while (!this.#take(")")) {
      if (!first) {
        this.#expect(",");
        if (this.#take(")")) break;
      }
      first = false;
      const next = this.#tokens[this.#at + 1];
      if (this.#take("**")) starStar = this.#expression();
      else if (this.#take("*")) star = this.#expression();
      else if (this.#now.kind === "name" && next?.kind === "operator" && next.text === "=") {
        const key = this.#name();
        this.#at++;
        kwargs.push([key, this.#expression()]);
      } else {
        if (kwargs.length > 0) throw this.#error("a positional argument after a named one");
        args.push(this.#expression());
      }
    }
    return { args, kwargs, star, starStar };
  }

  #filterOrTest(value: Expr): Expr {
    for (let count = 0; ; count++) {
      if (count > 4 * MOST_DEPTH) throw this.#error("too long a chain");
      if (this.#is("|") && this.#now.kind === "operator") value = this.#filters(value)!;
      else if (this.#now.kind === "name" && this.#is("is")) value = this.#test(value);
      else if (this.#is("(") && this.#now.kind === "operator") value = { kind: "call", callee: value, call: this.#args() };
      else return value;
    }
  }
  #dotted(): string {
    let name = this.#name();
    while (this.#take(".")) name += `.${this.#name()}`;
    return name;
  }
  #filters(inner: Expr | undefined, first = false): Expr | undefined {
    let value = inner;
    for (let inline = first, count = 0; inline || this.#take("|"); inline = false) {
      if (++count > 4 * MOST_DEPTH) throw this.#error("too long a chain");
      const name = this.#dotted();
      value = { kind: "filter", name, inner: value, call: this.#is("(") ? this.#args() : noArgs };
    }
    return value;
  }
  #test(inner: Expr): Expr {
    this.#expect("is");
    const negated = this.#take("not");
    const name = this.#dotted();
    let call = noArgs;
    const { kind, text } = this.#now;
    const literal =
      kind === "string" ||
      kind === "int" ||
      kind === "float" ||
      (kind === "name" && !["else", "or", "and", "is", "if", "not", "in", "recursive"].includes(text));
    if (this.#is("(")) call = this.#args();
    else if (literal || (kind === "operator" && (text === "[" || text === "{")))
      call = { ...noArgs, args: [this.#postfix(this.#primary())] };
    const test: Expr = { kind: "test", name, inner, call };
    return negated ? { kind: "not", inner: test } : test;
  }
}
