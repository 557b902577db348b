// Pulling from a hub that has Hugging Face's routes, and that cuts, lies, throttles and changes its mind.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, expect, test } from "vitest";
import { find, list, pull, remove, verify } from "../../dist/host/node.hub.js";
import { load } from "../../dist/host/node.js";
import { commitOf, gitSha1, type Misbehave, sha256, startHub } from "./server.ts";

const story = readFileSync(fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url)));
/** Bytes that do not repeat. */
const noise = (size: number, salt: string): Uint8Array => {
  const bytes = new Uint8Array(size);
  for (let at = 0, i = 0; at < size; i++) {
    const block = createHash("sha256").update(`${salt} ${i}`).digest();
    bytes.set(block.subarray(0, Math.min(32, size - at)), at);
    at += 32;
  }
  return bytes;
};
const [main, v1] = [commitOf("main"), commitOf("v1")];
const big = noise(300_000, "big");
const repos = {
  "org/model-GGUF": {
    refs: { main, v1, "refs/pr/1": v1 },
    files: { "README.md": new TextEncoder().encode("# model"), "model-Q4_0.gguf": big, "model-Q8_0.gguf": noise(1000, "q8") },
  },
  "org/story": { refs: { main }, files: { "stories-q4_0.gguf": new Uint8Array(story) } },
  "org/split": {
    refs: { main },
    files: { "a/m-00001-of-00002.gguf": noise(500, "1"), "a/m-00002-of-00002.gguf": noise(600, "2") },
  },
  "org/folder": {
    refs: { main },
    files: {
      "config.json": new TextEncoder().encode("{}"),
      "tokenizer.json": noise(200, "t"),
      "model.safetensors": noise(900, "w"),
      "pytorch_model.bin": noise(900, "b"),
    },
  },
};
const name = "org/model-GGUF:Q4_0";
const hub = await startHub(repos);
let cache = "";
const folders: string[] = [];
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "cpm-hub-"));
  folders.push(cache);
  hub.reset();
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** For answers in one line. */
const answered = (_: unknown): true => true;
const options = (more = {}) => ({ endpoint: hub.origin, cache, token: "", network: { attempts: 3 }, ...more });
const blob = (repo: string, oid: string) => join(cache, `models--${repo.replace("/", "--")}`, "blobs", oid);
const oid = sha256(big);
const cut: (at: number) => Misbehave = (at) => (_, request, response, bytes) => {
  const begin = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
  response.writeHead(begin ? 206 : 200, {
    "content-length": bytes.length - begin,
    ...(begin ? { "content-range": `bytes ${begin}-${bytes.length - 1}/${bytes.length}` } : {}),
  });
  response.write(bytes.subarray(begin, begin + at), () => response.socket?.end());
  return true;
};

test("what is pulled lies where Python and llama.cpp look: refs, snapshots, blobs, relative links", async () => {
  const seen: number[] = [];
  const pulled = await pull(name, options({ onProgress: ({ bytes }: { bytes: number }) => seen.push(bytes) }));
  const root = join(cache, "models--org--model-GGUF");
  expect(pulled).toMatchObject({ repo: "org/model-GGUF", commit: main, files: ["model-Q4_0.gguf"], bytes: big.length });
  expect(pulled.path).toBe(join(root, "snapshots", main, "model-Q4_0.gguf"));
  expect(readFileSync(join(root, "refs/main"), "utf8")).toBe(main);
  expect(readlinkSync(pulled.path)).toBe(join("..", "..", "blobs", oid));
  expect(sha256(readFileSync(pulled.path))).toBe(oid);
  expect(readdirSync(join(root, "blobs"))).toEqual([oid]);
  expect([...seen].sort((a, b) => a - b)).toEqual(seen);
  expect(seen.at(-1)).toBe(big.length);
  // What is there is not asked for again.
  hub.reset();
  expect(await find(name, options())).toEqual({ ...pulled, bytes: 0 });
  expect(hub.requests).toEqual([]);
  await pull(name, options());
  expect(hub.requests.filter(({ origin }) => origin === "files")).toEqual([]);
});

test("split files come whole, small files by git's hash, folders without what is not loaded; all revisions", async () => {
  const split = await pull("org/split", options());
  expect(split.files).toEqual(["a/m-00001-of-00002.gguf", "a/m-00002-of-00002.gguf"]);
  expect(readlinkSync(split.path)).toBe(
    join("..", "..", "..", "blobs", sha256(repos["org/split"].files["a/m-00001-of-00002.gguf"])),
  );
  hub.state.pageSize = 2;
  const folder = await pull("hf:org/folder", options());
  expect(readdirSync(folder.path).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect(existsSync(blob("org/folder", gitSha1(new TextEncoder().encode("{}"))))).toBe(true);
  expect(await find("org/folder", options())).toMatchObject({ path: folder.path });
  const tagged = await pull("org/model-GGUF@v1:Q8_0", options());
  expect(tagged.commit).toBe(v1);
  await pull("org/model-GGUF@refs/pr/1:Q8_0", options());
  expect(readFileSync(join(cache, "models--org--model-GGUF/refs/refs/pr/1"), "utf8")).toBe(v1);
  expect((await pull(`org/model-GGUF@${main}:Q8_0`, options())).commit).toBe(main);
  expect(existsSync(join(cache, "models--org--model-GGUF/refs", main))).toBe(false);
});

test("load takes a name, pulls it once, and reports it", async () => {
  const before = { ...process.env };
  Object.assign(process.env, { HF_ENDPOINT: hub.origin, HF_HUB_CACHE: cache });
  delete process.env["LLAMA_CACHE"];
  try {
    const phases = new Set<string>();
    for (const times of [1, 2]) {
      await using model = await load("hf:org/story", {
        threads: 1,
        onProgress: ({ phase }: { phase: string }) => phases.add(phase),
      });
      expect((await model.generate("Once", { temperature: 0, maxTokens: 3 })).tokens.length).toBe(3);
      expect(hub.requests.filter(({ origin }) => origin === "files").length, `load ${times}`).toBe(1);
    }
    expect([...phases][0]).toBe("download");
  } finally {
    process.env = before;
  }
});

test("connections cut after any number of bytes are resumed, and nothing is fetched twice", async () => {
  for (const at of [0, 1, 65_536, 299_999]) {
    rmSync(cache, { recursive: true, force: true });
    hub.reset();
    let cuts = 0;
    hub.state.misbehave = (count, ...rest) => cuts++ < 2 && cut(at)(count, ...rest);
    await pull(name, options());
    expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
    const ranges = hub.requests.filter(({ origin }) => origin === "files").map(({ range }) => range);
    // The second cut of the last case comes after the last byte.
    expect(ranges.length).toBe(at > 150_000 ? 2 : 3);
    expect(ranges[0]).toBeUndefined();
    if (at > 0) expect(ranges.slice(1).every((range) => /^bytes=\d+-$/.test(range!))).toBe(true);
  }
});

test("a server that never gets on is given up, and what came is kept for the next pull", async () => {
  hub.state.misbehave = cut(0);
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io", message: /tried 3 times/ });
  hub.reset();
  hub.state.misbehave = (count, ...rest) => (count === 0 ? cut(100_000)(count, ...rest) : cut(0)(count, ...rest));
  hub.requests.length = 0;
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io" });
  const kept = lstatSync(`${blob("org/model-GGUF", oid)}.incomplete`).size;
  expect(existsSync(blob("org/model-GGUF", oid))).toBe(false);
  expect(await find(name, options())).toBeUndefined();
  hub.reset();
  await pull(name, options());
  expect(hub.sent.bytes).toBe(big.length - kept);
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
});

const head = (bytes: Uint8Array, more = {}) => ({ "content-length": bytes.length, ...more });
const begun = (text: string) => writeFileSync(`${mkdirs(blob("org/model-GGUF", oid))}.incomplete`, text);
const mkdirs = (path: string) => {
  mkdirSync(join(path, ".."), { recursive: true });
  return path;
};

test("a server without ranges sends all again; one that has no such range is asked from the beginning", async () => {
  begun("not the beginning of it");
  hub.state.misbehave = (_, _request, response, bytes) => answered(response.writeHead(200, head(bytes)).end(bytes));
  await pull(name, options());
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
  rmSync(blob("org/model-GGUF", oid));
  hub.reset();
  begun("not the beginning of it");
  hub.state.misbehave = (count, _request, response) => count === 0 && answered(response.writeHead(416).end());
  await pull(name, options());
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
  rmSync(blob("org/model-GGUF", oid));
  // A server that goes on with what was none of its file: the hash tells, and it is fetched anew.
  hub.reset();
  begun("not the beginning of it");
  await pull(name, options());
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
  rmSync(blob("org/model-GGUF", oid));
  // Longer than the file: no beginning of it.
  begun("x".repeat(big.length + 1));
  await pull(name, options());
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
});

test("other bytes than the ones named are refused, thrown away, and pulled rightly the next time", async () => {
  const wrong: Record<string, Misbehave> = {
    "another file of the same size": (_, _request, response, bytes) =>
      answered(response.writeHead(200, head(bytes)).end(noise(bytes.length, "x"))),
    "a file that changes midway": (count, request, response, bytes) => {
      if (count === 0) return cut(1000)(count, request, response, bytes);
      const begin = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      const range = begin ? { "content-range": `bytes ${begin}-${bytes.length - 1}/${bytes.length}` } : {};
      return answered(response.writeHead(begin ? 206 : 200, range).end(noise(bytes.length, "y").subarray(begin)));
    },
  };
  for (const [what, misbehave] of Object.entries(wrong)) {
    hub.reset();
    hub.state.misbehave = misbehave;
    await expect(pull(name, options()), what).rejects.toMatchObject({ code: "io", message: /the hash of what came is/ });
    expect(existsSync(blob("org/model-GGUF", oid)), what).toBe(false);
    expect(existsSync(`${blob("org/model-GGUF", oid)}.incomplete`), what).toBe(false);
    expect(await find(name, options()), what).toBeUndefined();
  }
  hub.reset();
  await pull(name, options());
});

test("a range that is another's, and a body that never ends, are refused before they do harm", async () => {
  begun("abc");
  hub.state.misbehave = (_, _request, response, bytes) =>
    answered(response.writeHead(206, { "content-range": `bytes 0-${bytes.length - 1}/${bytes.length}` }).end(bytes));
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io", message: /the server sent others/ });
  rmSync(cache, { recursive: true, force: true });
  let written = 0;
  hub.state.misbehave = (_, _request, response) => {
    response.writeHead(200);
    const more = () => {
      if (response.destroyed) return;
      written += 65_536;
      response.write(new Uint8Array(65_536), () => setImmediate(more));
    };
    more();
    return true;
  };
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io", message: /more than the 300000 bytes/ });
  expect(lstatSync(`${blob("org/model-GGUF", oid)}.incomplete`).size).toBeLessThanOrEqual(big.length);
  expect(written).toBeGreaterThan(0);
});

test("429 and 5xx are tried again, 403 is not, and the message says what to do", async () => {
  hub.state.misbehave = (count, _request, response) =>
    count < 2 && answered(response.writeHead(count ? 503 : 429, { "retry-after": "0" }).end());
  await pull(name, options());
  rmSync(cache, { recursive: true, force: true });
  hub.reset();
  hub.state.misbehave = (_, _request, response) => answered(response.writeHead(403).end());
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io", message: /status 403/ });
  expect(hub.requests.filter(({ origin }) => origin === "files").length).toBe(1);
  await expect(pull("org/none", options())).rejects.toMatchObject({
    code: "io",
    message: /there is no such model, or it wants a token/,
  });
  await expect(pull("org/story@v9", options())).rejects.toMatchObject({
    code: "io",
    message: /no revision "v9"; there are "main"/,
  });
});

test("a listing that leads out of its repository, or is none, is refused", async () => {
  const listing =
    (entries: unknown): Misbehave =>
    (_, request, response) =>
      request.url!.includes("/tree/") && answered(response.writeHead(200).end(JSON.stringify(entries)));
  const file = (path: string, more = {}) => [{ type: "file", path, size: 3, oid: commitOf("x"), ...more }];
  for (const bad of [
    file("../x.gguf"),
    file("/etc/x.gguf"),
    file("a\\..\\x.gguf"),
    file("x.gguf", { oid: "../../x" }),
    file("x.gguf", { size: -1 }),
    file("x.gguf", { lfs: { oid: commitOf("x") } }),
    {},
    [null],
    "x",
  ]) {
    hub.state.hub = listing(bad);
    await expect(pull("org/story", options()), JSON.stringify(bad)).rejects.toMatchObject({ code: "io" });
  }
  expect(readdirSync(cache)).toEqual([]);
});

test("the token is sent to the hub alone, and stands in no message", async () => {
  const token = "hf_verysecret";
  hub.state.token = token;
  await pull(name, options({ token }));
  expect(hub.requests.filter((r) => r.origin === "hub").every((r) => r.authorization === `Bearer ${token}`)).toBe(true);
  const elsewhere = hub.requests.filter((r) => r.origin === "files");
  expect(elsewhere.length).toBe(1);
  expect(elsewhere[0]!.authorization).toBeUndefined();
  rmSync(cache, { recursive: true, force: true });
  hub.state.misbehave = (_, _request, response) => answered(response.writeHead(404).end());
  const error = (await pull(name, options({ token })).catch((e: unknown) => e)) as Error;
  expect(`${error.message} ${String(error.cause)} ${JSON.stringify(error)}`).not.toMatch(/verysecret|X-Amz-Signature=/);
});

test("offline nothing is asked, what is there is found, what is not is said", async () => {
  await expect(pull(name, options({ offline: true }))).rejects.toMatchObject({
    code: "io",
    message: /not pulled before.*offline/,
  });
  await pull(name, options());
  hub.reset();
  expect((await pull(name, options({ offline: true }))).files).toEqual(["model-Q4_0.gguf"]);
  expect(hub.requests).toEqual([]);
});

test("what Python's layout holds is found: links, a ref, no more", async () => {
  const root = join(cache, "models--org--py");
  mkdirSync(join(root, "blobs"), { recursive: true });
  mkdirSync(join(root, "refs"));
  mkdirSync(join(root, "snapshots", v1), { recursive: true });
  writeFileSync(join(root, "blobs", sha256(big)), big);
  writeFileSync(join(root, "refs/main"), `${v1}`);
  symlinkSync(`../../blobs/${sha256(big)}`, join(root, "snapshots", v1, "py-Q5_K_M.gguf"));
  symlinkSync("../../blobs/gone", join(root, "snapshots", v1, "py-Q4_K_M.gguf"));
  expect(await find("org/py", options())).toMatchObject({ commit: v1, files: ["py-Q5_K_M.gguf"] });
  expect(await verify("org/py", options())).toMatchObject([{ path: "py-Q5_K_M.gguf", ok: true }]);
});

test("removing takes only blobs that nothing refers to any more", async () => {
  await pull("org/model-GGUF:Q8_0", options());
  await pull("org/model-GGUF@v1:Q8_0", options());
  await pull(name, options());
  const q8 = blob("org/model-GGUF", sha256(repos["org/model-GGUF"].files["model-Q8_0.gguf"]));
  expect(await remove("org/model-GGUF:Q8_0", options())).toBe(0);
  expect(existsSync(q8)).toBe(true);
  expect(await remove("org/model-GGUF@v1:Q8_0", options())).toBe(1000);
  expect(existsSync(q8)).toBe(false);
  expect(await remove(name, options())).toBe(big.length);
  expect(await list(options())).toEqual([]);
  await expect(remove(name, options())).rejects.toMatchObject({ code: "io", message: /is not in/ });
  await pull("org/split", options());
  expect(await remove("org/split", options())).toBe(1100);
  expect(readdirSync(cache).filter((n) => n.startsWith("models--"))).toEqual([]);
});

test("damage is found by verifying", async () => {
  await pull(name, options());
  const bytes = readFileSync(blob("org/model-GGUF", oid));
  bytes[1234]! ^= 1;
  writeFileSync(blob("org/model-GGUF", oid), bytes);
  expect(await verify(name, options())).toEqual([{ path: "model-Q4_0.gguf", bytes: big.length, ok: false }]);
});

test("a full disk is said, and leaves nothing in place", async () => {
  if (!existsSync("/dev/full")) return console.log("not tested: a full disk takes /dev/full of Linux");
  symlinkSync("/dev/full", `${mkdirs(blob("org/model-GGUF", oid))}.incomplete`);
  await expect(pull(name, options())).rejects.toMatchObject({ code: "io", message: /the disk is full/ });
  expect(existsSync(blob("org/model-GGUF", oid))).toBe(false);
  expect(readdirSync(join(cache, ".locks/models--org--model-GGUF"))).toEqual([]);
});

/** A process that pulls. */
function puller() {
  const code = `import { pull } from ${JSON.stringify(new URL("../../dist/host/node.hub.js", import.meta.url).href)};
    await pull(${JSON.stringify(name)}, ${JSON.stringify(options())});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "inherit", "pipe"] });
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  return { child, ended: once(child, "close").then(([status]) => ({ status: status as number | null, err })) };
}

test("a process that is killed leaves what it had, and its lock to the next", async () => {
  let open = () => {};
  const waiting = new Promise<void>((resolve) => (open = resolve));
  // Sends half, then nothing more.
  hub.state.misbehave = (_, _request, response, bytes) => {
    response.writeHead(200, head(bytes));
    response.write(bytes.subarray(0, bytes.length / 2));
    open();
    return true;
  };
  const { child, ended } = puller();
  await waiting;
  const partial = `${blob("org/model-GGUF", oid)}.incomplete`;
  while (!existsSync(partial) || lstatSync(partial).size < big.length / 2)
    await new Promise((resolve) => setTimeout(resolve, 10));
  child.kill("SIGKILL");
  await ended;
  expect(readdirSync(join(cache, ".locks/models--org--model-GGUF"))).toEqual([`${oid}.cpm`]);
  hub.reset();
  await pull(name, options());
  expect(hub.sent.bytes).toBe(big.length / 2);
  expect(sha256(readFileSync(blob("org/model-GGUF", oid)))).toBe(oid);
});

test("two processes and two calls at once fetch each byte once", async () => {
  hub.state.misbehave = (_, _request, response, bytes) => {
    response.writeHead(200, head(bytes));
    response.write(bytes.subarray(0, 1000));
    setTimeout(() => response.end(bytes.subarray(1000)), 100);
    return true;
  };
  const others = [puller(), puller()];
  await Promise.all([pull(name, options()), pull(name, options())]);
  for (const { ended } of others) expect(await ended).toEqual({ status: 0, err: "" });
  expect(hub.requests.filter(({ origin }) => origin === "files").length).toBe(1);
});

test("a lock is held by who lives: another host's counts until it is silent for long", async () => {
  const lock = join(cache, ".locks/models--org--model-GGUF", `${oid}.cpm`);
  const locked = (mark: object, seconds: number) => {
    writeFileSync(mkdirs(lock), JSON.stringify(mark));
    const at = new Date(Date.now() - 1000 * seconds);
    utimesSync(lock, at, at);
  };
  locked({ pid: 1, host: "another" }, 60);
  await pull(name, options());
  rmSync(blob("org/model-GGUF", oid));
  locked({ pid: 1, host: hostname() }, 0);
  const control = new AbortController();
  const onProgress = ({ waiting }: { waiting: boolean }) => waiting && control.abort(new Error("it waits"));
  await expect(pull(name, options({ signal: control.signal, onProgress }))).rejects.toThrow("it waits");
  expect(existsSync(lock)).toBe(true);
});

test("an abort ends a pull, releases the lock and keeps what came", async () => {
  hub.state.misbehave = (_, _request, response, bytes) => {
    response.writeHead(200, head(bytes));
    response.write(bytes.subarray(0, 5000));
    return true;
  };
  const control = new AbortController();
  const onProgress = ({ fetched }: { fetched: number }) => fetched > 0 && control.abort(new Error("enough"));
  await expect(pull(name, options({ signal: control.signal, onProgress }))).rejects.toThrow("enough");
  expect(readdirSync(join(cache, ".locks/models--org--model-GGUF"))).toEqual([]);
  hub.reset();
  await pull(name, options());
});
