// The verifiers and their sandboxes on the runtime that runs this: a JSON line for each check. Started by runtimes.mjs.
//   node|deno run -A|bun test/data/verify/anywhere.mjs [EVERY]
import process from "node:process";
import { runChecks } from "./checks.mjs";

const verify = await import(new URL("../../../dist/host/verify.node.js", import.meta.url).href);
process.env.SECRET_OF_THE_HOST = "x";
let failed = 0;
const say = (title, error) => {
  if (error !== undefined) failed++;
  console.log(JSON.stringify({ title, ok: error === undefined, error }));
};
await runChecks(verify, {}, say, Number(process.argv[2] ?? 1));
if (failed) process.exitCode = 1;
