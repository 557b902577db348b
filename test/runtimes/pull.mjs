// Pulls models by name in Node, Deno and Bun. Arguments: the hub's origin, an empty folder for the cache. Prints a result for each step.
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { load } from "cpm-wasm";
import { find, list, pull, remove, verify } from "cpm-wasm/hub";
import { expected } from "./given.mjs";

const [endpoint, cache] = globalThis.Deno?.args ?? process.argv.slice(2);
const options = { endpoint, cache, network: { attempts: 3 } };
const equal = (found, wanted, what) => {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: expected ${b}, found ${a}`);
};
const failure = (work) =>
  work.then(
    () => undefined,
    (error) => error,
  );
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function step(title, work) {
  const began = performance.now();
  const done = (result) => console.log(`@@ ${JSON.stringify({ title, ms: Math.round(performance.now() - began), ...result })}`);
  try {
    await work();
    done({ ok: true });
  } catch (error) {
    done({ ok: false, error: String(error?.stack ?? error) });
  }
}

await step(
  "a pull that is cut goes on where it ended; two at once fetch once; the layout is the shared one; bytes are right",
  async () => {
    const seen = [];
    const onProgress = ({ bytes, totalBytes }) => {
      seen.push([bytes, totalBytes]);
      if (bytes === 90_000 || bytes === 180_000) void fetch(`${endpoint}/seen`);
    };
    const [one, two] = await Promise.all([
      pull("org/cut:Q4_0", { ...options, onProgress }),
      pull("org/cut:Q4_0", { ...options, onProgress }),
    ]);
    equal(one.path, two.path, "paths");
    equal(readlinkSync(one.path).replaceAll("\\", "/").startsWith("../../blobs/"), true, "a relative link to a blob");
    const bytes = readFileSync(one.path);
    equal(readlinkSync(one.path).endsWith(sha256(bytes)), true, "the blob's name is its hash");
    equal(seen.at(-1), [bytes.length, bytes.length], "progress at the end");
    equal(
      [90_000, 180_000].every((at) => seen.some(([bytes]) => bytes === at)),
      true,
      `it was cut, and went on (${JSON.stringify(seen)})`,
    );
    equal(readFileSync(join(cache, "models--org--cut/refs/main"), "utf8"), one.commit, "the revision");
    equal(
      (await verify("org/cut", { cache })).map(({ ok }) => ok),
      [true],
      "verified",
    );
  },
);

await step("other bytes than those named are refused, and none is in place", async () => {
  const error = await failure(pull("org/wrong", options));
  equal([error?.code, /hash of what came is/.test(error?.message)], ["io", true], "the failure");
  equal(await find("org/wrong", { cache }), undefined, "what is found");
});

await step("a model loads by its name, and what is there asks no network", async () => {
  const { prompt, tokens } = expected.greedy[0];
  process.env.HF_ENDPOINT = endpoint;
  process.env.HF_HUB_CACHE = cache;
  for (const _ of [1, 2]) {
    const model = await load("hf:org/story:Q4_0");
    try {
      const { tokens: found } = await model.generate(prompt, { temperature: 0, maxTokens: 8 });
      equal(Array.from(found), tokens.slice(0, 8), "tokens");
    } finally {
      await model.dispose();
    }
    process.env.HF_ENDPOINT = "http://127.0.0.1:1";
  }
});

await step("an abort ends a pull with its reason; what came stays", async () => {
  const reason = new Error("enough");
  const control = new AbortController();
  const error = await failure(
    pull("org/slow", { ...options, signal: control.signal, onProgress: ({ bytes }) => bytes > 0 && control.abort(reason) }),
  );
  equal(error === reason, true, `the reason (${error})`);
  const [slow] = (await list({ cache })).filter(({ repo }) => repo === "org/slow");
  equal(slow.unfinishedBytes > 0, true, "unfinished bytes");
});

await step("removing frees what nothing refers to", async () => {
  equal((await remove("org/cut", { cache })) > 0, true, "bytes freed");
  equal(
    (await list({ cache })).some(({ repo }) => repo === "org/cut"),
    false,
    "still listed",
  );
});
