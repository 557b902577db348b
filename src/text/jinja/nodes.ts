// The syntax tree of a template.
import type { Value } from "./values.ts";

export interface CallArgs {
  readonly args: readonly Expr[];
  readonly kwargs: readonly (readonly [string, Expr])[];
  readonly star: Expr | undefined;
  readonly starStar: Expr | undefined;
}
export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "attribute"; readonly name: string; readonly attribute: string }
  | { readonly kind: "tuple"; readonly items: readonly Target[] };

export type Expr =
  | { readonly kind: "const"; readonly value: Value }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "list" | "tuple" | "concat"; readonly items: readonly Expr[] }
  | { readonly kind: "dict"; readonly entries: readonly (readonly [Expr, Expr])[] }
  | { readonly kind: "if"; readonly test: Expr; readonly yes: Expr; readonly otherwise: Expr | undefined }
  | { readonly kind: "and" | "or"; readonly left: Expr; readonly right: Expr }
  | { readonly kind: "not" | "neg" | "pos"; readonly inner: Expr }
  | { readonly kind: "compare"; readonly first: Expr; readonly rest: readonly (readonly [string, Expr])[] }
  | { readonly kind: "binary"; readonly operator: string; readonly left: Expr; readonly right: Expr }
  | { readonly kind: "attribute"; readonly object: Expr; readonly name: string }
  | { readonly kind: "item"; readonly object: Expr; readonly key: Expr }
  | { readonly kind: "slice"; readonly parts: readonly (Expr | undefined)[] }
  | { readonly kind: "call"; readonly callee: Expr; readonly call: CallArgs }
  | { readonly kind: "filter"; readonly name: string; readonly inner: Expr | undefined; readonly call: CallArgs }
  | { readonly kind: "test"; readonly name: string; readonly inner: Expr; readonly call: CallArgs };

export interface MacroNode {
  readonly name: string;
  readonly params: readonly string[];
  /** Of the last parameters. */
  readonly defaults: readonly Expr[];
  readonly body: readonly Node[];
  readonly catches: { readonly varargs: boolean; readonly kwargs: boolean; readonly caller: boolean };
}
export type Node =
  | { readonly kind: "data"; readonly text: string }
  | { readonly kind: "print"; readonly expr: Expr }
  | { readonly kind: "if"; readonly branches: readonly (readonly [Expr, readonly Node[]])[]; readonly otherwise: readonly Node[] }
  | {
      readonly kind: "for";
      readonly target: Target;
      readonly iter: Expr;
      readonly test: Expr | undefined;
      readonly recursive: boolean;
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    }
  | { readonly kind: "set"; readonly target: Target; readonly value: Expr }
  | { readonly kind: "setBlock"; readonly target: Target; readonly filter: Expr | undefined; readonly body: readonly Node[] }
  | { readonly kind: "with"; readonly pairs: readonly (readonly [Target, Expr])[]; readonly body: readonly Node[] }
  | { readonly kind: "scope"; readonly body: readonly Node[] }
  | { readonly kind: "macro"; readonly macro: MacroNode }
  | { readonly kind: "callBlock"; readonly call: Expr; readonly caller: MacroNode }
  | { readonly kind: "filterBlock"; readonly filter: Expr; readonly body: readonly Node[] }
  | { readonly kind: "break" | "continue" };
