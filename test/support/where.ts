// Tests of what is not everywhere: third-party files beside the project, and what only some runtimes have.
import { expect, type TestAPI, test } from "vitest";

/**
 * Third-party files in ../shared, and the test file that tells of each where it is missing, by one skipped test. The other test
 * files that read it have nothing to tell. What is the project's own lies in test/golden.
 */
export const thirdParty = {
  "data/deepseek-llm": "data/preprocess.test.ts",
  "data/minicpm4 and data/minicpm5": "model/published.test.ts",
  "data/stories260k.gguf": "engine/stories.test.ts",
  "suites/bfcl": "data/verify/calls.test.ts",
  "suites/cranfield": "survey/survey.test.ts",
  "suites/gbnf": "constrain/suites.test.ts",
  "suites/ifeval": "data/verify/ifeval.test.ts",
  "suites/json-schema-test-suite": "constrain/suites.test.ts",
  "suites/maskbench": "constrain/suites.test.ts",
  "suites/regex": "constrain/suites.test.ts",
  "suites/steplaw": "tunnel/fits.test.ts",
} as const;

const told = new Set<string>();
/** For tests that cannot run here: takes them and adds nothing. */
export const none = Object.assign(() => {}, { each: () => () => {} }) as unknown as TestAPI;

/** `test` where there is what it needs; where not, all tests of one reason are one skipped test, which has it for its name. */
export function where(there: unknown, reason: string): TestAPI {
  if (there) return test;
  if (!told.has(reason)) test.skip(reason, () => {});
  told.add(reason);
  return none;
}

/** Of third-party files beside the project: where they are missing, one test file says so. */
export function whereFile(there: unknown, name: keyof typeof thirdParty): TestAPI {
  if (there) return test;
  const file = expect.getState().testPath?.replaceAll("\\", "/");
  return file === undefined || file.endsWith(`/test/${thirdParty[name]}`) ? where(false, `../shared/${name} is not there`) : none;
}
