// The name "loop" inside a loop.
import { type Args, Callable, equal, PyObject, PyTuple, Undefined, type Value } from "./values.ts";

/** What templates read of a loop over `items`, which is `at()` now; `recurse` runs it anew over the items of a call. */
export function loopContext(items: readonly Value[], at: () => number, depth: number, recurse: (args: Args) => Value): PyObject {
  let seen: Value | undefined;
  const whole = (n: number) => () => BigInt(n);
  const nothing = () => new Undefined("there is no such item");
  return new PyObject(
    "LoopContext",
    [
      ["index", () => BigInt(at() + 1)],
      ["index0", () => BigInt(at())],
      ["revindex", () => BigInt(items.length - at())],
      ["revindex0", () => BigInt(items.length - at() - 1)],
      ["first", () => at() === 0],
      ["last", () => at() === items.length - 1],
      ["length", whole(items.length)],
      ["depth", whole(depth + 1)],
      ["depth0", whole(depth)],
      ["previtem", () => or(items[at() - 1], nothing)],
      ["nextitem", () => or(items[at() + 1], nothing)],
      [
        "cycle",
        () =>
          new Callable("cycle", ({ positional }) =>
            or(positional[at() % positional.length], () => fail("TypeError: no items for cycling given")),
          ),
      ],
      [
        "changed",
        () =>
          new Callable("changed", ({ positional }) => {
            const now = new PyTuple(positional);
            const changed = seen === undefined || !equal(seen, now);
            seen = now;
            return changed;
          }),
      ],
    ],
    recurse,
  );
}

/** As "??", where null is a value. */
const or = (value: Value | undefined, otherwise: () => Value): Value => (value === undefined ? otherwise() : value);

const fail = (message: string): never => {
  throw new Error(message);
};
