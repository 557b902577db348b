// Which forms of the kernels loads choose: N loads, each in a process of its own.
//   node bench/forms.mjs [--model FILE] [--loads 20] [--turbo]
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: o } = parseArgs({
  options: {
    model: { type: "string" },
    loads: { type: "string", default: "20" },
    turbo: { type: "boolean", default: false },
    one: { type: "boolean", default: false },
  },
});
if (o.one) {
  const { load } = await import("../dist/host/node.js");
  const model = await load(o.model, { threads: 1, turbo: o.turbo, contextSize: 64 });
  console.log(JSON.stringify(model.info.forms));
  await model.dispose();
  process.exit(0);
}
const path = o.model ?? (await import("./synthetic.mjs")).synthetic({ type: "q4_0" }).path;
const chosen = new Map();
for (let i = 0; i < Number(o.loads); i++) {
  const args = [fileURLToPath(import.meta.url), "--one", "--model", path, ...(o.turbo ? ["--turbo"] : [])];
  const forms = execFileSync(process.execPath, args, { encoding: "utf8" }).trim();
  chosen.set(forms, (chosen.get(forms) ?? 0) + 1);
}
for (const [forms, count] of chosen) console.log(`${count} of ${o.loads}: ${forms}`);
