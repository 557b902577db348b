// Tests of what is not everywhere: third-party files beside the project, and what only some runtimes have.
import { type TestAPI, test } from "vitest";

const told = new Set<string>();
const none = Object.assign(() => {}, { each: () => () => {} }) as unknown as TestAPI;

/** `test` where there is what it needs; where not, all tests of one reason are one skipped test, which has it for its name. */
export function where(there: unknown, reason: string): TestAPI {
  if (there) return test;
  if (!told.has(reason)) test.skip(reason, () => {});
  told.add(reason);
  return none;
}

/** Of a file beside the project that is not the project's. */
export const whereFile = (there: unknown, name: string): TestAPI => where(there, `../shared/${name} is not there`);
