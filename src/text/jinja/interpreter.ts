// Runs a parsed template within a budget.
import type { Budget } from "./budget.ts";
import type { Machine } from "./filter.ts";
import { filterNamed } from "./filters.ts";
import { loopContext } from "./loop.ts";
import { methodOf } from "./methods.ts";
import type { CallArgs, Expr, MacroNode, Node, Target } from "./nodes.ts";
import { binary, compares, getItem, negate, slice } from "./operators.ts";
import { Output, Scope } from "./scope.ts";
import { testNamed } from "./tests.ts";
import {
  type Args,
  asInt,
  Callable,
  iterate,
  Namespace,
  PyDict,
  PyList,
  PyObject,
  PyTuple,
  text,
  truthy,
  typeName,
  Undefined,
  undefinedError,
  type Value,
} from "./values.ts";

const MOST_CALLS = 150;

type Flow = "break" | "continue" | undefined;

export class Interpreter implements Machine {
  readonly budget: Budget;
  readonly #globals: Scope;
  #calls = 0;

  /** `names`: what the template may use; `make` gives those that need the machine. */
  constructor(budget: Budget, names: Iterable<readonly [string, Value]>) {
    this.budget = budget;
    this.#globals = new Scope();
    for (const [name, value] of names) this.#globals.set(name, value);
  }

  run(nodes: readonly Node[]): string {
    const out = new Output(this.budget);
    this.#nodes(nodes, new Scope(this.#globals), out);
    return out.end();
  }

  #text(value: Value): string {
    const made = text(value, this.budget.spend);
    this.budget.spend(made.length / 64);
    return made;
  }

  #captured(nodes: readonly Node[], scope: Scope): string {
    const out = new Output(this.budget);
    this.#nodes(nodes, scope, out);
    return out.end();
  }

  #nodes(nodes: readonly Node[], scope: Scope, out: Output): Flow {
    for (const node of nodes) {
      const flow = this.#node(node, scope, out);
      if (flow) return flow;
    }
    return undefined;
  }

  #node(node: Node, scope: Scope, out: Output): Flow {
    this.budget.spend(1);
    switch (node.kind) {
      case "data":
        out.write(node.text);
        return undefined;
      case "print":
        out.write(this.#text(this.#eval(node.expr, scope)));
        return undefined;
      case "if":
        for (const [test, body] of node.branches) if (truthy(this.#eval(test, scope))) return this.#nodes(body, scope, out);
        return this.#nodes(node.otherwise, scope, out);
      case "for":
        this.#loop(node, this.#eval(node.iter, scope), scope, out, 0);
        return undefined;
      case "set":
        this.#assign(node.target, this.#eval(node.value, scope), scope);
        return undefined;
      case "setBlock": {
        let value: Value = this.#captured(node.body, new Scope(scope));
        if (node.filter) value = this.#filtered(node.filter, value, scope);
        this.#assign(node.target, value, scope);
        return undefined;
      }
      case "with": {
        const inner = new Scope(scope);
        const values = node.pairs.map(([, value]) => this.#eval(value, scope));
        for (const [i, [target]] of node.pairs.entries()) this.#assign(target, values[i]!, inner);
        return this.#nodes(node.body, inner, out);
      }
      case "scope":
        return this.#nodes(node.body, new Scope(scope), out);
      case "macro":
        scope.set(node.macro.name, this.#macro(node.macro, scope));
        return undefined;
      case "callBlock": {
        const { call } = node;
        if (call.kind !== "call") return undefined;
        const args = this.#args(call.call, scope);
        const named = new Map(args.named).set("caller", this.#macro(node.caller, scope));
        out.write(this.#text(this.#call(this.#eval(call.callee, scope), { positional: args.positional, named })));
        return undefined;
      }
      case "filterBlock":
        out.write(this.#text(this.#filtered(node.filter, this.#captured(node.body, new Scope(scope)), scope)));
        return undefined;
      default:
        return node.kind;
    }
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === "name") scope.set(target.name, value);
    else if (target.kind === "attribute") {
      const space = scope.get(target.name);
      if (!(space instanceof Namespace))
        throw new Error(`TemplateRuntimeError: cannot assign attribute on non-namespace object "${target.name}"`);
      space.attributes.set(target.attribute, value);
    } else {
      const items = value instanceof Undefined ? [] : iterate(value);
      if (items.length !== target.items.length)
        throw new Error(`ValueError: expected ${target.items.length} values to unpack, found ${items.length}`);
      for (const [i, inner] of target.items.entries()) this.#assign(inner, items[i]!, scope);
    }
  }

  #loop(node: Extract<Node, { kind: "for" }>, iterable: Value, scope: Scope, out: Output, depth: number): void {
    let items = iterate(iterable);
    this.budget.items(items.length);
    if (node.test) {
      const { test } = node;
      items = items.filter((item) => {
        this.budget.spend(4);
        const inner = new Scope(scope);
        this.#assign(node.target, item, inner);
        return truthy(this.#eval(test, inner));
      });
    }
    if (items.length === 0) {
      this.#nodes(node.otherwise, new Scope(scope), out);
      return;
    }
    const recurse = (args: Args): Value => {
      if (!node.recursive) throw new Error("TypeError: the loop must have the 'recursive' marker to be called");
      const inner = new Output(this.budget);
      this.#deeper(() =>
        this.#loop(
          node,
          or(args.positional[0], () => new Undefined("the items")),
          scope,
          inner,
          depth + 1,
        ),
      );
      return inner.end();
    };
    let at = 0;
    const loop = loopContext(items, () => at, depth, recurse);
    for (; at < items.length; at++) {
      this.budget.spend(8);
      const inner = new Scope(scope);
      inner.set("loop", loop);
      this.#assign(node.target, items[at]!, inner);
      if (this.#nodes(node.body, inner, out) === "break") break;
    }
  }

  #deeper<T>(work: () => T): T {
    if (++this.#calls > MOST_CALLS) throw new Error(`a function calls itself more than ${MOST_CALLS} deep`);
    const value = work();
    this.#calls--;
    return value;
  }

  #macro(macro: MacroNode, scope: Scope): Callable {
    const { name, params, defaults, body, catches } = macro;
    const call = ({ positional, named }: Args): Value =>
      this.#deeper(() => {
        this.budget.spend(4 + params.length);
        const inner = new Scope(scope);
        const rest = new Map(named);
        if (positional.length > params.length && !catches.varargs)
          throw new Error(`TypeError: macro '${name}' takes not more than ${params.length} argument(s)`);
        for (const [i, param] of params.entries()) {
          const given = i < positional.length ? positional[i]! : rest.get(param);
          if (i < positional.length && rest.has(param))
            throw new Error(`TypeError: macro '${name}' got multiple values for argument '${param}'`);
          rest.delete(param);
          const fallback = defaults[i - (params.length - defaults.length)];
          inner.set(
            param,
            or(given, () => (fallback ? this.#eval(fallback, inner) : new Undefined(`parameter '${param}'`))),
          );
        }
        if (catches.caller && !params.includes("caller")) {
          inner.set(
            "caller",
            or(rest.get("caller"), () => new Undefined("caller")),
          );
          rest.delete("caller");
        }
        if (catches.varargs) inner.set("varargs", new PyTuple(positional.slice(params.length)));
        if (catches.kwargs) inner.set("kwargs", new PyDict([...rest]));
        else if (rest.size > 0) throw new Error(`TypeError: macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
        return this.#captured(body, inner);
      });
    return new Callable(name, call, [
      ["name", () => name],
      ["arguments", () => new PyTuple(params)],
      ["caller", () => catches.caller],
      ["catch_kwargs", () => catches.kwargs],
      ["catch_varargs", () => catches.varargs],
    ]);
  }

  #eval(expr: Expr, scope: Scope): Value {
    this.budget.spend(1);
    switch (expr.kind) {
      case "const":
        return expr.value;
      case "name":
        return or(scope.get(expr.name), () => new Undefined(`'${expr.name}'`));
      case "list":
        return new PyList(expr.items.map((item) => this.#eval(item, scope)));
      case "tuple":
        return new PyTuple(expr.items.map((item) => this.#eval(item, scope)));
      case "concat": {
        const parts = expr.items.map((item) => this.#text(this.#eval(item, scope)));
        this.budget.characters(parts.reduce((sum, part) => sum + part.length, 0));
        return parts.join("");
      }
      case "dict":
        return new PyDict(expr.entries.map(([key, value]) => [this.#eval(key, scope), this.#eval(value, scope)] as const));
      case "if":
        if (truthy(this.#eval(expr.test, scope))) return this.#eval(expr.yes, scope);
        return expr.otherwise ? this.#eval(expr.otherwise, scope) : new Undefined("the inline if-expression without else");
      case "and":
      case "or": {
        const left = this.#eval(expr.left, scope);
        return truthy(left) === (expr.kind === "or") ? left : this.#eval(expr.right, scope);
      }
      case "not":
        return !truthy(this.#eval(expr.inner, scope));
      case "neg":
      case "pos":
        return negate(this.#eval(expr.inner, scope), expr.kind === "neg" ? -1 : 1);
      case "compare": {
        let left = this.#eval(expr.first, scope);
        for (const [operator, next] of expr.rest) {
          const right = this.#eval(next, scope);
          if (!compares(operator, left, right, this.budget)) return false;
          left = right;
        }
        return true;
      }
      case "binary":
        return binary(expr.operator, this.#eval(expr.left, scope), this.#eval(expr.right, scope), this.budget);
      case "attribute":
        return this.attribute(this.#eval(expr.object, scope), expr.name, true);
      case "item": {
        const object = this.#eval(expr.object, scope);
        if (expr.key.kind === "slice") return slice(object, this.#slice(expr.key, scope), this.budget);
        return this.item(object, this.#eval(expr.key, scope));
      }
      case "slice":
        throw new Error("TypeError: a slice stands alone");
      case "call":
        return this.#call(this.#eval(expr.callee, scope), this.#args(expr.call, scope));
      case "filter":
        return this.#filtered(expr, undefined, scope);
      default: {
        // "is defined" asks for the name alone.
        const value = this.#eval(expr.inner, scope);
        const { positional } = this.#args(expr.call, scope);
        return this.test(expr.name, value, positional);
      }
    }
  }

  #slice(key: Extract<Expr, { kind: "slice" }>, scope: Scope): Value[] {
    return key.parts.map((part) => (part ? this.#eval(part, scope) : null));
  }

  #filtered(expr: Expr, body: Value | undefined, scope: Scope): Value {
    if (expr.kind !== "filter") throw new Error("expected a filter");
    let value: Value;
    if (expr.inner === undefined) value = body ?? "";
    else value = expr.inner.kind === "filter" ? this.#filtered(expr.inner, body, scope) : this.#eval(expr.inner, scope);
    return this.filter(expr.name, value, this.#args(expr.call, scope));
  }

  #args({ args, kwargs, star, starStar }: CallArgs, scope: Scope): Args {
    const positional = args.map((arg) => this.#eval(arg, scope));
    if (star) for (const item of iterate(this.#eval(star, scope))) positional.push(item);
    this.budget.spend(positional.length / 4);
    const named = new Map(kwargs.map(([name, value]) => [name, this.#eval(value, scope)] as const));
    if (starStar) {
      const more = this.#eval(starStar, scope);
      if (!(more instanceof PyDict)) throw new Error("TypeError: argument after ** must be a mapping");
      for (const [key, value] of more.entries()) named.set(this.#text(key), value);
    }
    return { positional, named };
  }

  #call(callee: Value, args: Args): Value {
    if (callee instanceof Callable || (callee instanceof PyObject && callee.call)) return callee.call!(args);
    if (callee instanceof Undefined) throw undefinedError(callee);
    throw new Error(`TypeError: '${typeName(callee)}' object is not callable`);
  }

  filter(name: string, value: Value, args: Args): Value {
    const filter = filterNamed(name);
    if (!filter) throw new Error(`no filter named '${name.slice(0, 60)}'`);
    this.budget.spend(1);
    const made = filter(value, args, this);
    this.budget.value(made);
    return made;
  }

  test(name: string, value: Value, args: readonly Value[]): boolean {
    if (name === "filter" || name === "test")
      return (name === "filter" ? filterNamed : testNamed)(this.#text(value)) !== undefined;
    const test = testNamed(name);
    if (!test) throw new Error(`no test named '${name.slice(0, 60)}'`);
    this.budget.spend(1);
    return test(value, args, this.budget);
  }

  /** object.name: a method or field, then (unless `items` is false) an item. */
  attribute(object: Value, name: string, items = false): Value {
    if (object instanceof Undefined) throw undefinedError(object);
    const dunder = name.startsWith("_");
    const own = dunder ? undefined : this.#field(object, name);
    if (own !== undefined) return own;
    const item = items ? getItem(object, name, this.budget) : undefined;
    return or(item, () => new Undefined(`'${typeName(object)} object' has no attribute '${name}'`));
  }

  /** object[key]: an item, then a method or field. */
  item(object: Value, key: Value): Value {
    if (object instanceof Undefined) throw undefinedError(object);
    const found = key instanceof PyList || key instanceof PyDict ? undefined : getItem(object, key, this.budget);
    if (found !== undefined) return found;
    const named = typeof key === "string" && !key.startsWith("_") ? this.#field(object, key) : undefined;
    return or(named, () => {
      const shown = typeof key === "string" || asInt(key) !== undefined ? this.#text(key).slice(0, 60) : typeName(key);
      return new Undefined(`'${typeName(object)} object' has no element ${shown}`);
    });
  }

  #field(object: Value, name: string): Value | undefined {
    if (object instanceof Namespace) return object.attributes.get(name);
    if (object instanceof PyObject || object instanceof Callable) return object.fields.get(name)?.();
    return methodOf(object, name, this.budget, (value, key, attribute) =>
      attribute ? this.attribute(value, String(key), true) : this.item(value, key),
    );
  }
}

/** As "??", where null is a value. */
const or = (value: Value | undefined, otherwise: () => Value): Value => (value === undefined ? otherwise() : value);
