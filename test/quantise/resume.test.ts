// Whole runs on a tiny model: every type loads and runs, killed runs end in the same bytes, bad input is refused, nothing half-done has a name.
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { diskDestination } from "../../src/host/node.destination.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { readModel } from "../../src/model/read.ts";
import { chooseSequences } from "../../src/quantise/calibration.ts";
import { memoryDestination } from "../../src/quantise/destination.ts";
import { openQuantise, type QuantizeOptions } from "../../src/quantise/quantize.ts";
import type { Tokenizer } from "../../src/text/tokenizer.ts";
import { wasmPath } from "../support/bench.ts";
import { host } from "../support/engine.ts";
import { door } from "../support/quantise.ts";

const golden = fileURLToPath(new URL("../golden/", import.meta.url));
const model = join(golden, "sparse-f32.gguf");
const folder = await mkdtemp(join(tmpdir(), "cpm-quantise-"));
afterAll(() => rm(folder, { recursive: true }));

const random = (() => {
  let state = 7;
  return () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
})();
const calibration = Array.from({ length: 6 }, () => [1, ...Array.from({ length: 149 }, () => 3 + Math.floor(random() * 400))]);
const options = (more: Partial<QuantizeOptions>): QuantizeOptions => ({ type: "Q4_0", ...more });

async function bytesOf(more: Partial<QuantizeOptions>): Promise<Uint8Array<ArrayBuffer>> {
  const out = memoryDestination();
  await door.quantize(model, out, options(more));
  return out.files().get("")!;
}

test("every type is written with all tensors, and is a model again", async () => {
  const source = await readGguf(bytesSource("x", await readFile(model)));
  for (const type of ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_K_S", "Q4_1", "Q4_0", "TQ1_0", "TQ2_0"] as const) {
    const bytes = await bytesOf({ type });
    const got = await readGguf(bytesSource("y", bytes));
    expect(got.tensors.map((t) => [t.name, t.shape])).toEqual(source.tensors.map((t) => [t.name, t.shape]));
    const path = join(folder, `${type}.gguf`);
    await writeFile(path, bytes);
    const files = await pathFiles(path);
    expect((await readModel(files)).config.layers).toBeGreaterThan(0);
    await files.close();
  }
});

for (const method of ["gptq", "awq+p-gptq"] as const)
  test(`${method}: killed after every layer and in the middle of each, it goes on to the same bytes`, async () => {
    const whole = await bytesOf({ method, calibration });
    for (const stops of method === "gptq" ? [[1], [3, 9], [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]] : [[4, 11]]) {
      const out = memoryDestination();
      const warned: string[] = [];
      for (const stop of [...stops, Number.POSITIVE_INFINITY]) {
        const control = new AbortController();
        let steps = 0;
        const run = door.quantize(
          model,
          out,
          options({
            method,
            calibration,
            signal: control.signal,
            onWarning: (message) => warned.push(message),
            onProgress() {
              if (++steps >= stop * 5) control.abort(new Error("killed"));
            },
          }),
        );
        if (
          await run.then(
            () => true,
            (error: Error) => {
              expect(error.message).toBe("killed");
              return false;
            },
          )
        )
          break;
        expect(() => out.files()).toThrow(/not finished/);
      }
      expect(out.files().get("")).toEqual(whole);
    }
  });

test("on disk nothing has the name before all of it is written, and nothing is left behind", async () => {
  const path = join(folder, "out.gguf");
  const control = new AbortController();
  const stopped = door.quantize(
    model,
    await diskDestination(path),
    options({
      method: "gptq",
      calibration,
      signal: control.signal,
      onProgress: ({ layer }) => {
        if (layer > 0) control.abort(new Error("killed"));
      },
    }),
  );
  await expect(stopped).rejects.toThrow("killed");
  expect(await readdir(folder)).not.toContain("out.gguf");
  // A command that is refused takes nothing from it.
  for (const wrong of [{ method: "gptq" }, { method: "gptq", calibration: ["x"] }, { type: "int4", group: 5 }] as const)
    await expect(door.quantize(model, await diskDestination(path), options(wrong))).rejects.toBeInstanceOf(CpmError);
  const report = await door.quantize(model, await diskDestination(path), options({ method: "gptq", calibration }));
  expect(report.resumedAt).toBeGreaterThan(0);
  expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(await bytesOf({ method: "gptq", calibration })));
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
  await expect(diskDestination(path)).rejects.toMatchObject({ code: "io", message: /--force/ });
  // A disk that is too small says so before the work.
  const large = await diskDestination(join(folder, "large.gguf"));
  await expect(large.file(undefined, 2 ** 60)).rejects.toMatchObject({ code: "io", message: /bytes are needed/ });
  await large.end(false);
  await expect(diskDestination(join(folder, "none", "out.gguf"))).rejects.toMatchObject({ code: "io", message: /no folder/ });
  expect(await readdir(folder)).not.toContain("none");
});

test("a run with other options begins anew and says so; the one before it does not go on in what that wrote", async () => {
  const few = calibration.slice(0, 2);
  const out = memoryDestination();
  const run = async (type: "Q4_0" | "Q4_1", end: (layer: number) => boolean) => {
    const control = new AbortController();
    const warnings: string[] = [];
    const more = options({ type, method: "gptq", calibration: few, signal: control.signal });
    const done = await door
      .quantize(model, out, {
        ...more,
        onWarning: (message) => warnings.push(message),
        onProgress: ({ layer }) => end(layer) && control.abort(new Error("killed")),
      })
      .catch((error: Error) => error.message);
    return { done, anew: warnings.filter((message) => /begins anew/.test(message)).length };
  };
  expect(await run("Q4_0", (layer) => layer > 0)).toEqual({ done: "killed", anew: 0 });
  // Killed before it has kept anything of its own.
  expect(await run("Q4_1", () => true)).toEqual({ done: "killed", anew: 1 });
  expect(await run("Q4_0", () => false)).toMatchObject({ done: { resumedAt: 0 }, anew: 0 });
  expect(out.files().get("")).toEqual(await bytesOf({ method: "gptq", calibration: few }));
});

// Every write to /dev/full fails as on a disk that has no room.
test.skipIf(process.platform !== "linux").each(["out", "hidden-0", "hidden-1", "inner"])(
  "a full disk under %s (Linux: /dev/full): told so, no file has the name, and the run goes on when there is room",
  async (full) => {
    const path = join(folder, `full-${full}.gguf`);
    const work = join(folder, `.full-${full}.gguf.quantising`);
    const more = { method: "gptq", calibration } as const;
    await mkdir(work);
    await symlink("/dev/full", join(work, full));
    const stopped = door.quantize(model, await diskDestination(path), options(more));
    await expect(stopped).rejects.toMatchObject({ code: "io", message: /the disk is full/ });
    expect(await readdir(folder)).not.toContain(`full-${full}.gguf`);
    await rm(join(work, full), { force: true });
    await door.quantize(model, await diskDestination(path), options(more));
    expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(await bytesOf(more)));
    expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
  },
);

test.each([
  ["a long text", 1, Number.POSITIVE_INFINITY],
  ["many short ones", 1e7, 1],
])("%s is tokenised in slices: the caller's event loop turns, and an abort ends it", async (_, texts, slices) => {
  const control = new AbortController();
  let asked = 0;
  // Never done, or with one text after another.
  const tokenizer = {
    bos: 1,
    *encodeSteps() {
      for (let i = 0; i < slices; i++, asked++) yield;
      return [5];
    },
  } as unknown as Tokenizer;
  const choice = { length: 64, samples: 8, seed: 0 };
  const chosen = chooseSequences(Array(texts).fill("text"), tokenizer, { vocab: 10 }, choice, control.signal);
  setImmediate(() => control.abort(new Error("enough")));
  await expect(chosen).rejects.toThrow("enough");
  expect(asked).toBeGreaterThan(0);
});

test("a run over the larger leavings of another, and one that is refused", async () => {
  const work = join(folder, ".anew.gguf.quantising");
  const path = join(folder, "anew.gguf");
  const stopped = async (more: Partial<QuantizeOptions>) => {
    const control = new AbortController();
    const onProgress = ({ layer }: { layer: number }) => layer > 0 && control.abort(new Error("killed"));
    return await diskDestination(join(folder, "anew.gguf"), false, more.type === "int4" ? "folder" : "file")
      .then((destination) => door.quantize(model, destination, options({ ...more, signal: control.signal, onProgress })))
      .catch((error: Error) => error.message);
  };
  expect(await stopped({ type: "F16" })).toBe("killed");
  const kept = await readFile(join(work, "state.json"), "utf8");
  // Refused before anything is begun: the first can still be taken up.
  expect(await stopped({ type: "int4", method: "rtn" })).toMatch(/give a folder's name/);
  expect(await readFile(join(work, "state.json"), "utf8")).toBe(kept);
  // Smaller, over what is larger: nothing of that is left behind its end.
  await door.quantize(model, await diskDestination(path), options({ method: "rtn" }));
  expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(await bytesOf({ method: "rtn" })));
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
});

test("what cannot be done is refused by name", async () => {
  const refused = (more: Partial<QuantizeOptions>) => door.quantize(model, memoryDestination(), options(more));
  await expect(refused({ method: "gptq" })).rejects.toMatchObject({ code: "bad-option", message: /needs calibration/ });
  await expect(refused({ method: "gptq", calibration: ["x"] })).rejects.toMatchObject({
    code: "bad-input",
    message: /too short/,
  });
  await expect(refused({ method: "gptq", calibration: [[1, ...Array(20).fill(1e9)]] })).rejects.toMatchObject({
    code: "bad-input",
  });
  await expect(refused({ type: "Q4_X" as "Q4_0" })).rejects.toMatchObject({ code: "bad-option" });
  await expect(refused({ keep: [["blk.99.*", "Q8_0"]] })).rejects.toMatchObject({ code: "bad-option", message: /no tensor/ });
  await expect(refused({ keep: [["*", "Q9"]] })).rejects.toMatchObject({ code: "bad-option" });
  await expect(refused({ type: "int4", group: 48 })).rejects.toMatchObject({ code: "bad-option", message: /32, 64 or 128/ });
  await expect(refused({ hessian: "int8" as "int16", calibration })).rejects.toMatchObject({
    code: "bad-option",
    message: /hessian: expected float, int16/,
  });
  for (const hessianRows of [0, -1, 1.5, Number.NaN, "8" as unknown as number])
    await expect(refused({ hessianRows, calibration })).rejects.toMatchObject({
      code: "bad-option",
      message: /hessianRows: expected a whole number from 1/,
    });
  await expect(refused({ hessianRows: 5, calibration })).rejects.toMatchObject({
    code: "bad-option",
    message: /hessianRows: 5 rows are fewer than the 6 calibration sequences/,
  });
  await expect(refused({ turbo: true, type: "Q4_0" })).rejects.toMatchObject({ code: "unsupported", detail: { field: "turbo" } });
  await expect(refused({ type: "int4" })).rejects.toMatchObject({ code: "unsupported" });
  const bytes = new Uint8Array(await readFile(model));
  const { tensors } = await readGguf(bytesSource("x", bytes));
  // What is copied is looked at as what is quantised.
  for (const name of ["blk.1.ffn_up.weight", "blk.1.attn_norm.weight"]) {
    const bad = tensors.find((tensor) => tensor.name === name)!;
    const values = bytes.slice();
    new DataView(values.buffer).setFloat32(bad.offset + 40, Number.NaN, true);
    const damaged = door.quantize(values, memoryDestination(), options({}));
    await expect(damaged).rejects.toMatchObject({ code: "bad-model", detail: { field: name } });
  }
  for (const maxMemoryBytes of [0, -1, Number.NaN, 1 << 20])
    await expect(refused({ maxMemoryBytes })).rejects.toMatchObject({
      code: "bad-option",
      message: /maxMemoryBytes: expected at least/,
    });
  const late = refused({
    keep: [
      ["*", "Q8_0"],
      ["blk.0.*", "Q4_1"],
    ],
  });
  await expect(late).rejects.toMatchObject({ code: "bad-option", message: /"blk\.0\.\*=Q4_1" comes too late: "\*=Q8_0"/ });
});

const idle = [
  ["group", { group: 32 }],
  ["checkpointVersion", { checkpointVersion: 2 }],
  ["damp", { damp: 0.1 }],
  ["actOrder", { actOrder: true }],
  ["hessian", { hessian: "int16" }],
  ["skip", { skip: 0 }],
  ["length", { length: 64 }],
  ["samples", { samples: 7 }],
  ["seed", { seed: 1 }],
  ["skip", { skip: 0, method: "gptq", calibration }],
  ["damp", { damp: 0.1, method: "awq", calibration }],
  ["damp", { damp: 0.1, type: "Q8_0", method: "gptq", calibration }],
  ["actOrder", { actOrder: true, type: "BF16", method: "gptq", calibration, keep: [["blk.0.*", "f16"]] }],
  ["hessian", { hessian: "int16", type: "F16", method: "gptq", calibration }],
  ["hessianRows", { hessianRows: 600, method: "search", calibration }],
  ["hessianRows", { hessianRows: 600, type: "Q8_0", method: "gptq", calibration }],
  ["skip", { skip: 2, type: "F16", method: "p-gptq", calibration }],
] as const;

test("what would change nothing is refused, a default that is said aloud is not", async () => {
  for (const [field, more] of idle)
    await expect(door.quantize(model, memoryDestination(), options(more)), JSON.stringify([field, more])).rejects.toMatchObject({
      code: "bad-option",
      message: new RegExp(`^${field}: .*leave it out`),
    });
  const aloud = {
    group: 128,
    checkpointVersion: 1,
    damp: 0.01,
    actOrder: false,
    hessian: "float",
    skip: 4,
    length: 512,
    seed: 0,
  } as const;
  expect(await bytesOf({ method: "search", ...aloud })).toEqual(await bytesOf({ method: "search" }));
  const few = { calibration: calibration.slice(0, 2) };
  const kept = { type: "Q8_0", method: "gptq", keep: [["blk.0.attn_q", "Q4_0"]], ...few } as const;
  await bytesOf({ ...kept, damp: 0.1 });
  await bytesOf({ type: "Q8_0", method: "awq", hessian: "int16", ...few });
});

const shortcuts = [
  [{ hessian: "int16" }, { hessian: "float" }],
  [{ hessianRows: 500 }, { hessianRows: undefined }],
  [
    { hessianRows: 300, seed: 1 },
    { hessianRows: 300, seed: 2 },
  ],
  [{ method: "awq+p-gptq", hessianRows: 400, hessian: "int16" }, { hessian: "float" }],
] as const;
test.each(shortcuts)(
  "%o: bytes of its own, the same on any number of threads and after a kill; nothing is taken from a run with %o",
  async (own, other) => {
    const more = { method: "gptq", calibration, ...own } as const;
    const whole = await bytesOf({ ...more, threads: 1 });
    const threaded = openQuantise({
      host: async () => host,
      module: async () => WebAssembly.compile(await readFile(wasmPath("quantise.mt"))),
      openPath: pathFiles,
    });
    const three = memoryDestination();
    await threaded.quantize(model, three, options({ ...more, threads: 3 }));
    expect(three.files().get("")).toEqual(whole);
    expect(await bytesOf({ ...more, ...other })).not.toEqual(whole);
    for (const begun of [other, {}]) {
      const out = memoryDestination();
      const control = new AbortController();
      const killed = door.quantize(
        model,
        out,
        options({
          ...more,
          ...begun,
          signal: control.signal,
          onProgress: ({ layer }) => {
            if (layer > 0) control.abort(new Error("killed"));
          },
        }),
      );
      await expect(killed).rejects.toThrow("killed");
      expect((await door.quantize(model, out, options(more))).resumedAt).toBe(begun === other ? 0 : 1);
      expect(out.files().get("")).toEqual(whole);
    }
  },
);

test("all rows chosen are all rows; too few of them are warned of as too few of all", async () => {
  const more = { method: "gptq", calibration } as const;
  const rows = calibration.reduce((sum, { length }) => sum + length, 0);
  expect(await bytesOf({ ...more, hessianRows: rows })).toEqual(await bytesOf(more));
  const warnings: string[] = [];
  const out = memoryDestination();
  const onWarning = (message: string) => warnings.push(message);
  const report = await door.quantize(model, out, options({ ...more, hessianRows: 255, onWarning }));
  const told = expect.stringMatching(/255 calibration rows for 128 inputs are too few for error feedback/);
  expect(warnings).toContainEqual(told);
  expect(report.tensors.some(({ how }) => how === "feedback")).toBe(false);
  const enough = await door.quantize(model, memoryDestination(), options({ ...more, hessianRows: 256 }));
  expect(enough.tensors.filter(({ how }) => how === "feedback")).toHaveLength(14);
});

test("too few rows of calibration: a warning, and importance in place of feedback", async () => {
  const warnings: string[] = [];
  const report = await (async () => {
    const out = memoryDestination();
    return await door.quantize(
      model,
      out,
      options({
        method: "gptq",
        calibration: calibration.slice(0, 1).map((s) => s.slice(0, 40)),
        onWarning: (m) => warnings.push(m),
      }),
    );
  })();
  expect(warnings.some((message) => /too few for error feedback/.test(message))).toBe(true);
  expect(report.tensors.some(({ how }) => how === "feedback")).toBe(false);
  expect(report.tensors.some(({ how }) => how === "weighted")).toBe(true);
});

test("patterns keep tensors at other types", async () => {
  const got = await readGguf(
    bytesSource(
      "y",
      await bytesOf({
        keep: [
          ["blk.0.*", "Q8_0"],
          ["token_embd", "F16"],
        ],
      }),
    ),
  );
  for (const { name, type } of got.tensors)
    if (/^blk\.0\..*(attn_q|ffn_up)/.test(name)) expect(type).toBe("Q8_0");
    else if (name === "token_embd.weight") expect(type).toBe("F16");
});
