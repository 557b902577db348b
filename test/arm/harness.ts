// The few functions of vitest that tests of kernels use, for runtimes that vitest does not run on. Assertions are vitest's own.
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect";
import * as chai from "chai";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

type Work = (...args: never[]) => unknown;
interface Test {
  readonly title: string;
  readonly work: () => unknown;
}

const tests: Test[] = [];
let within: readonly string[] = [];
const finished: (() => unknown)[] = [];

export const expect = Object.assign((value: unknown, message?: string) => chai.expect(value, message), {
  any: (kind: unknown) => (chai.expect as never as { any(kind: unknown): unknown }).any(kind),
  closeTo: (value: number, digits?: number) =>
    (chai.expect as never as { closeTo(value: number, digits?: number): unknown }).closeTo(value, digits),
  objectContaining: (value: object) =>
    (chai.expect as never as { objectContaining(value: object): unknown }).objectContaining(value),
});
export const onTestFinished = (work: () => unknown): void => void finished.push(work);

/** "%s" and "$name" of a title, as vitest fills them. */
function filled(title: string, row: readonly unknown[]): string {
  let next = 0;
  const [first] = row;
  return title
    .replace(/%[sidfjo]/g, () => String(row[next++]))
    .replace(/\$(\w+)/g, (all, name: string) =>
      typeof first === "object" && first !== null && name in first ? String((first as Record<string, unknown>)[name]) : all,
    );
}

type Add = (title: string, ...rest: unknown[]) => void;
const workOf = (rest: readonly unknown[]): Work => rest.find((one) => typeof one === "function") as Work;
const noTest: Add = () => {};

function each(add: (title: string, work: () => unknown) => void) {
  return (rows: readonly unknown[]) =>
    (title: string, ...rest: unknown[]) => {
      for (const row of rows) {
        const list = Array.isArray(row) ? row : [row];
        add(filled(title, list), () => workOf(rest)(...(list as never[])));
      }
    };
}

const addTest = (title: string, work: () => unknown): void => void tests.push({ title: [...within, title].join(" > "), work });
function addGroup(title: string, work: () => unknown): void {
  const outer = within;
  within = [...outer, title];
  work();
  within = outer;
}

const testAdd: Add = (title, ...rest) => addTest(title, () => workOf(rest)());
const groupAdd: Add = (title, ...rest) => addGroup(title, () => workOf(rest)());
export const test = Object.assign(testAdd, {
  each: each(addTest),
  skip: noTest,
  skipIf: (skip: unknown) => (skip ? noTest : testAdd),
  runIf: (run: unknown) => (run ? testAdd : noTest),
});
export const describe = Object.assign(groupAdd, {
  each: each(addGroup),
  skipIf: (skip: unknown) => (skip ? noTest : groupAdd),
  runIf: (run: unknown) => (run ? groupAdd : noTest),
});
export const it = test;

/** Runs every test that was added, one after another, and tells each. */
export async function run(report: (result: { title: string; ok: boolean; ms: number; error?: string }) => void): Promise<void> {
  for (const { title, work } of tests) {
    const began = performance.now();
    let error: string | undefined;
    try {
      await work();
    } catch (thrown) {
      error = String((thrown as Error)?.stack ?? thrown);
    }
    for (const end of finished.splice(0)) await end();
    report({
      title,
      ok: error === undefined,
      ms: Math.round(performance.now() - began),
      ...(error === undefined ? {} : { error }),
    });
  }
}
