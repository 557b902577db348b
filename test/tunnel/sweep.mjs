// cpm tunnel on a sweep of eight small trainings: two shards and a kill in between give the bytes of one process; fits, intervals,
// refusals, StepLaw, the coordinate check and ScalingBench from the command line.
//   node test/tunnel/sweep.mjs
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cpm-tunnel-"));
let [passed, failed] = [0, 0];
const check = (name, right, more = "") => {
  if (right) passed++;
  else failed++;
  console.log(`${right ? "ok  " : "FAIL"} ${name}${right ? "" : ` ${more}`}`);
};

/** Runs the command; `whenDone(files)` true kills it. */
const cpm = (args, kill) =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [here("../../dist/cli/main.js"), "tunnel", ...args]);
    let [out, err] = ["", ""];
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => {
      err += data;
      if (kill && /2 of/.test(err)) child.kill("SIGKILL");
    });
    child.on("exit", (code) => resolve({ code, out, err }));
  });

try {
  const words = "the a cat dog sun moon went came saw had and then one day big small red blue".split(" ");
  let state = 1;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const text = () => Array.from({ length: 30 }, () => words[Math.floor(words.length * random())]).join(" ");
  writeFileSync(join(folder, "text.jsonl"), Array.from({ length: 200 }, () => JSON.stringify({ text: text() })).join("\n"));
  const config = {
    out: "sweep",
    tokenizer: here("../../models/stories-q4_0.gguf"),
    headDim: 16,
    train: { data: [{ files: join(folder, "text.jsonl") }], heldOut: 0.1, length: 32, schedule: { warmup: 2 } },
    grid: { width: [32, 48], depth: [1], rate: [0.004, 0.008, 0.016, 0.032], rows: 4, tokens: 1024 },
  };
  const file = join(folder, "sweep.json");
  writeFileSync(file, JSON.stringify(config));
  const points = (name) =>
    Object.fromEntries(
      readdirSync(join(folder, name))
        .filter((n) => n.startsWith("point-"))
        .map((n) => [n, readFileSync(join(folder, name, n), "utf8")]),
    );
  const whole = await cpm(["run", file, "--threads", "1", "--spec", join(folder, "rates.json"), "--json"]);
  const told = JSON.parse(whole.out || "{}");
  check("a sweep of eight trainings", whole.code === 0 && told.runs === 8 && told.transfer.length === 2, whole.err);
  check("its picture", readFileSync(join(folder, "rates.json"), "utf8").includes('"rate":0.008'));
  await cpm(["run", file, "--out", join(folder, "shards"), "--shard", "0/2", "--threads", "1"], true);
  for (const shard of ["1/2", "0/2"]) {
    const { code, err } = await cpm(["run", file, "--out", join(folder, "shards"), "--shard", shard, "--threads", "2"]);
    check(`shard ${shard}`, code === 0, err);
  }
  check("two shards, a kill between them: the same bytes", JSON.stringify(points("shards")) === JSON.stringify(points("sweep")));
  const again = JSON.parse((await cpm(["run", file, "--json"])).out);
  check("what was made is not made again", again.made === 0 && again.runs === 8);

  const sizes = [1e5, 2e5, 4e5, 8e5, 1.6e6].flatMap((parameters) =>
    [1, 2].map((seed) => ({
      parameters,
      tokens: 20 * parameters,
      seed,
      rate: 0.01,
      loss: 1.5 + 60 / parameters ** 0.35 + (seed - 1.5) / 50,
    })),
  );
  writeFileSync(join(folder, "sizes.jsonl"), sizes.map((row) => JSON.stringify(row)).join("\n"));
  const floor = await cpm([
    "fit",
    join(folder, "sizes.jsonl"),
    "--law",
    "floor",
    "--at",
    "parameters=3.2e6",
    "--samples",
    "40",
    "--json",
  ]);
  const line = JSON.parse(floor.out || "{}");
  check(
    "a law of parameters alone over a sweep of sizes: the mean of seeds, and the largest from the others",
    Math.abs(line.foretold?.value - (1.5 + 60 / 3.2e6 ** 0.35)) < 1e-3 && line.heldOut?.error < 1e-3,
    floor.err + floor.out,
  );
  const chosen = await cpm([
    "fit",
    join(folder, "sizes.jsonl"),
    "--law",
    "power,floor",
    "--samples",
    "40",
    "--spec",
    join(folder, "fit.json"),
  ]);
  check(
    "of two laws, the one that foretells the second largest; the largest is drawn as foretold",
    /^law: floor \(.*power \d+\.\d\d % off, floor 0\.00 % off\)/.test(chosen.out) &&
      /the largest, foretold.*: 0\.0\d % off/.test(chosen.out) &&
      readFileSync(join(folder, "fit.json"), "utf8").includes('"diamond"'),
    chosen.err + chosen.out,
  );
  writeFileSync(join(folder, "mixed.jsonl"), [...sizes, { ...sizes[0], tokens: 7 }].map((row) => JSON.stringify(row)).join("\n"));
  const mixed = await cpm(["fit", join(folder, "mixed.jsonl"), "--law", "floor"]);
  check(
    "which refuses several numbers of tokens for a size",
    mixed.code === 1 && /several numbers of tokens/.test(mixed.err),
    mixed.err,
  );

  const law = [1e5, 3e5, 1e6, 3e6].flatMap((parameters) =>
    [2e6, 8e6, 3e7].map((tokens) => ({ parameters, tokens, loss: 1.7 + 120 / parameters ** 0.4 + 300 / tokens ** 0.38 })),
  );
  writeFileSync(join(folder, "law.jsonl"), law.map((row) => JSON.stringify(row)).join("\n"));
  writeFileSync(
    join(folder, "law.csv"),
    ["parameters,tokens,loss", ...law.map((row) => Object.values(row).join(","))].join("\n"),
  );
  const fit = await cpm(["fit", join(folder, "law.jsonl"), "--at", "parameters=1e7,tokens=1e8", "--samples", "40", "--json"]);
  const found = JSON.parse(fit.out || "{}");
  const wanted = 1.7 + 120 / 1e7 ** 0.4 + 300 / 1e8 ** 0.38;
  check(
    "Chinchilla's law and what it foretells",
    Math.abs(found.parameters?.E - 1.7) < 1e-3 && Math.abs(found.foretold?.value - wanted) < 1e-3,
    fit.err,
  );
  check("the largest, foretold from the others", found.heldOut?.error < 0.01, JSON.stringify(found.heldOut));
  check(
    "the same from CSV, for people",
    /alpha .*0\.4/.test((await cpm(["fit", join(folder, "law.csv"), "--samples", "20"])).out),
  );
  writeFileSync(
    join(folder, "noise.jsonl"),
    [2.1, 2.0, 2.12, 1.99, 2.05].map((y, i) => JSON.stringify({ x: 100 + i, y })).join("\n"),
  );
  const refused = await cpm(["fit", join(folder, "noise.jsonl"), "--law", "power", "--at", "x=1e9"]);
  check(
    "no extrapolation where the interval says nothing",
    refused.code === 1 && /say nothing there/.test(refused.err),
    refused.err,
  );
  const missing = await cpm(["fit", join(folder, "law.csv"), "--law", "sigmoid"]);
  check("a missing column is named", missing.code === 1 && /"score"/.test(missing.err), missing.err);

  const step = JSON.parse((await cpm(["steplaw", "--parameters", "1e8", "--tokens", "2e9", "--length", "2048", "--json"])).out);
  check("StepLaw", Math.abs(step.rate / (1.79 * 1e8 ** -0.713 * 2e9 ** 0.307) - 1) < 1e-12 && step.batchSequences % 16 === 0);
  const mup = await cpm(["check", "--widths", "32,64", "--threads", "1"]);
  check("the coordinate check", mup.code === 0 && /^flat/m.test(mup.out), mup.err + mup.out);
  writeFileSync(join(folder, "items.jsonl"), JSON.stringify({ input: "Once upon a", output: " time there was a dog." }));
  const bench = JSON.parse((await cpm(["bench", "--items", join(folder, "items.jsonl"), "--json"])).out || "{}");
  check("ScalingBench's loss of the story model", bench.loss > 0 && bench.loss < 3 && bench.tokens > 3, JSON.stringify(bench));
  const wrong = await cpm(["fly"]);
  check("an unknown action is a usage error", wrong.code === 2 && /expected one of run/.test(wrong.err));
} catch (error) {
  failed++;
  console.log(`FAIL ${error.stack}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
