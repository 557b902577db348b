// What a clone without ../shared leaves out: a dozen third-party files at most, each told by name in one place.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { thirdParty } from "./support/where.ts";

test("at most a dozen third-party files are missing beside a lone clone, and each has a test file that says so", () => {
  const all = Object.entries(thirdParty);
  // And the published vocabularies, which test/text/vocabularies.mjs fetches.
  expect(all.length + 1).toBeLessThanOrEqual(12);
  for (const [name, home] of all) {
    const text = readFileSync(new URL(home, import.meta.url), "utf8");
    expect(text.includes(`"${name}"`) || text.includes(`onSuite("${name.slice("suites/".length)}"`), `${home} has ${name}`).toBe(
      true,
    );
  }
});
