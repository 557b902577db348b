// Tokens -> a syntax tree, by the grammar of Jinja with loop controls and transformers' generation blocks.
import { constants, Expressions } from "./expressions.ts";
import { tokenize } from "./lexer.ts";
import type { Expr, MacroNode, Node, Target } from "./nodes.ts";

/** Throws Error, with the line, for what is no template. */
export function parse(source: string): readonly Node[] {
  return new Parser(tokenize(source)).template();
}

class Parser extends Expressions {
  #loops = 0;

  template(): Node[] {
    const body = this.#body([]);
    if (this.now.kind !== "end") throw this.error(`unexpected "${this.now.text}"`);
    return body;
  }

  /** Nodes up to a block that begins with one of `ends`, which is left with its name as the current token. */
  #body(ends: readonly string[]): Node[] {
    return this.deeper(() => {
      const nodes: Node[] = [];
      for (;;) {
        const { kind, text } = this.now;
        if (kind === "data") {
          this.at++;
          nodes.push({ kind: "data", text });
        } else if (kind === "variable") {
          this.at++;
          nodes.push({ kind: "print", expr: this.tuple() });
          this.#end("variableEnd");
        } else if (kind === "block") {
          this.at++;
          if (this.now.kind !== "name") throw this.error("expected the name of a tag");
          if (ends.includes(this.now.text)) return nodes;
          nodes.push(this.#statement());
        } else if (ends.length === 0) return nodes;
        else throw this.error(`expected "${ends.join('" or "')}", found the end of the template`);
      }
    });
  }
  #end(kind: "variableEnd" | "blockEnd"): void {
    if (this.now.kind !== kind) throw this.error(`expected "${kind === "blockEnd" ? "%}" : "}}"}", found ${this.found()}`);
    this.at++;
  }
  /** The body of a tag, its end tag taken. */
  #until(end: string): Node[] {
    this.#end("blockEnd");
    const body = this.#body([end]);
    this.at++;
    this.#end("blockEnd");
    return body;
  }

  #statement(): Node {
    const tag = this.name();
    switch (tag) {
      case "if":
        return this.#if();
      case "for":
        return this.#for();
      case "set": {
        const target = this.#target(true);
        if (this.take("=")) {
          const value = this.tuple();
          this.#end("blockEnd");
          return { kind: "set", target, value };
        }
        const filter = this.filters(undefined);
        return { kind: "setBlock", target, filter, body: this.#until("endset") };
      }
      case "with": {
        const pairs: (readonly [Target, Expr])[] = [];
        while (this.now.kind !== "blockEnd") {
          if (pairs.length > 0) this.expect(",");
          const target = this.#target(false);
          this.expect("=");
          pairs.push([target, this.expression()]);
        }
        return { kind: "with", pairs, body: this.#until("endwith") };
      }
      case "macro": {
        const name = this.name();
        return { kind: "macro", macro: this.#macro(name, "endmacro") };
      }
      case "call": {
        const at = this.at;
        // Parameters stand before the call; they are read with the body, after it.
        if (this.is("(")) this.#signature();
        const signatureEnd = this.at;
        const call = this.expression();
        if (call.kind !== "call") throw this.error("expected a call");
        const [params, defaults] = signatureEnd > at ? this.#again(at, () => this.#signature()) : [[], []];
        return { kind: "callBlock", call, caller: this.#macroBody("caller", params, defaults, "endcall") };
      }
      case "filter": {
        const filter = this.filters(undefined, true);
        if (filter === undefined) throw this.error("expected a filter");
        return { kind: "filterBlock", filter, body: this.#until("endfilter") };
      }
      case "generation":
        return { kind: "scope", body: this.#until("endgeneration") };
      case "break":
      case "continue":
        if (this.#loops === 0) throw this.error(`"${tag}" outside a loop`);
        this.#end("blockEnd");
        return { kind: tag };
      default:
        throw this.error(`unknown tag "${tag.slice(0, 40)}"`);
    }
  }

  #again<T>(at: number, read: () => T): T {
    const back = this.at;
    this.at = at;
    const value = read();
    this.at = back;
    return value;
  }

  #if(): Node {
    const branches: (readonly [Expr, readonly Node[]])[] = [];
    for (;;) {
      const test = this.tuple(false);
      this.#end("blockEnd");
      branches.push([test, this.#body(["elif", "else", "endif"])]);
      const end = this.name();
      if (end === "elif") continue;
      let otherwise: Node[] = [];
      if (end === "else") otherwise = this.#until("endif");
      else this.#end("blockEnd");
      return { kind: "if", branches, otherwise };
    }
  }

  #for(): Node {
    const target = this.#target(false);
    this.expect("in");
    const iter = this.tuple(false, ["recursive"]);
    const test = this.take("if") ? this.expression() : undefined;
    const recursive = this.take("recursive");
    this.#end("blockEnd");
    this.#loops++;
    const body = this.#body(["else", "endfor"]);
    this.#loops--;
    let otherwise: Node[] = [];
    if (this.name() === "else") otherwise = this.#until("endfor");
    else this.#end("blockEnd");
    return { kind: "for", target, iter, test, recursive, body, otherwise };
  }

  #macro(name: string, end: string): MacroNode {
    const [params, defaults] = this.#signature();
    return this.#macroBody(name, params, defaults, end);
  }
  #macroBody(name: string, params: readonly string[], defaults: readonly Expr[], end: string): MacroNode {
    const reads = new Set<string>();
    this.reads.push(reads);
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#until(end);
    this.#loops = loops;
    this.reads.pop();
    for (const outer of this.reads) for (const read of reads) outer.add(read);
    const catches = { varargs: reads.has("varargs"), kwargs: reads.has("kwargs"), caller: reads.has("caller") };
    return { name, params, defaults, body, catches };
  }
  #signature(): [string[], Expr[]] {
    const params: string[] = [];
    const defaults: Expr[] = [];
    this.expect("(");
    while (!this.take(")")) {
      if (params.length > 0) this.expect(",");
      params.push(this.name());
      if (this.take("=")) defaults.push(this.expression());
      else if (defaults.length > 0) throw this.error("a parameter without a default after one with");
    }
    return [params, defaults];
  }

  #target(attributes: boolean): Target {
    const one = (): Target => {
      if (this.take("(")) {
        const inner = this.#target(attributes);
        this.expect(")");
        return inner;
      }
      const name = this.name();
      if (Object.hasOwn(constants, name)) throw this.error(`"${name}" cannot be set`);
      if (attributes && this.take(".")) return { kind: "attribute", name, attribute: this.name() };
      return { kind: "name", name };
    };
    const first = one();
    if (!this.is(",")) return first;
    const items = [first];
    while (this.take(",")) {
      if (this.now.kind !== "name" && !this.is("(")) break;
      if (this.is("in")) break;
      items.push(one());
    }
    return { kind: "tuple", items };
  }
}
