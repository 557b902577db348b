// What the verifiers' tests share: the public suites beside the project, where they are there.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { whereFile } from "../../support/where.ts";
import { shared } from "../rig.ts";

export const suites = join(shared, "suites");

/** Rows of a file of a suite. */
export function rows<T>(file: string): T[] {
  const bytes = readFileSync(join(suites, file));
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

/** A test over a suite that is not the project's; where it is missing the test says so. */
export function onSuite(folder: "bfcl" | "ifeval", name: string, body: () => void | Promise<void>): void {
  whereFile(existsSync(join(suites, folder)), `suites/${folder}`)(name, body);
}

/** Debian's python3-langdetect has the profiles that the published checker uses. */
export const profiles = "/usr/lib/python3/dist-packages/langdetect/profiles";
export const hasProfiles = existsSync(profiles) && readdirSync(profiles).length > 50;
