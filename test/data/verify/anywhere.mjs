// The verifiers and their sandboxes on the runtime that runs this: a JSON line for each check. Started by runtimes.mjs.
//   node|deno run -A|bun test/data/verify/anywhere.mjs
import { runChecks } from "./checks.mjs";

const verify = await import(new URL("../../../dist/host/verify.node.js", import.meta.url).href);
globalThis.process.env.SECRET_OF_THE_HOST = "x";
let failed = 0;
await runChecks(verify, {}, (title, error) => {
  if (error !== undefined) failed++;
  console.log(JSON.stringify({ title, ok: error === undefined, error }));
});
if (failed) globalThis.process.exitCode = 1;
