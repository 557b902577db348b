// Loading, inspecting and reading tokenizers: whatever a source does, a signal ends the wait; secrets and whole names in messages.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ModelFiles } from "../../src/file/source.ts";
import { doors } from "../support/door.ts";
import { writeShards } from "../support/folder.ts";
import { tinyFolder, tinyGguf, tinyModel, tinyStored } from "../support/tiny.ts";

const model = tinyGguf();

/** Files whose read number `at` never ends. */
function hanging(at: number): { files: ModelFiles; hangs: Promise<void> } {
  let count = 0;
  let begin = () => {};
  const hangs = new Promise<void>((resolve) => (begin = resolve));
  const files: ModelFiles = {
    entry: "m.gguf",
    open: async (name) => ({
      name,
      size: model.length,
      async read(offset, length) {
        if (++count === at) {
          begin();
          await new Promise(() => {});
        }
        return model.slice(offset, offset + length);
      },
      close: async () => {},
    }),
    close: async () => {},
  };
  return { files, hangs };
}

/** A server that gives no answer, or "401". */
async function serve(status?: number): Promise<string> {
  const server = createServer((_, response) => void (status && response.writeHead(status).end()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/m.gguf`;
}

describe.each(Object.entries(doors))("%s", (_, door) => {
  test("a source that never answers holds nobody whose signal is aborted", async () => {
    for (const call of [door.load, door.inspect, door.loadTokenizer]) {
      const { files, hangs } = hanging(2);
      const abort = new AbortController();
      const waiting = call(files, { signal: abort.signal });
      const failed = expect(waiting).rejects.toThrow("enough");
      await hangs;
      abort.abort(new Error("enough"));
      await failed;
    }
  });

  test("the deadlines and headers of a URL reach the requests, wherever they are made", async () => {
    const silent = await serve();
    const network = { idleMs: 100, attempts: 1 };
    for (const call of [door.load, door.inspect, door.loadTokenizer])
      await expect(call(silent, { network })).rejects.toMatchObject({
        code: "io",
        message: expect.stringMatching(/no answer within/),
      });
    const denied = await serve(401);
    for (const call of [door.load, door.inspect, door.loadTokenizer])
      await expect(
        call(`${denied}?token=s3cret`, { headers: new Headers({ authorization: "Bearer s3cret" }) }),
      ).rejects.toMatchObject({
        code: "io",
        message: expect.stringMatching(
          /^http:\/\/127[^ ]*m\.gguf\?…: HTTP status 401; check the address, and whether it wants credentials/,
        ),
      });
    await expect(door.load(silent, { headers: 7 as never })).rejects.toMatchObject({ code: "bad-option" });
    for (const wrong of [{ signal: {} }, { signal: 7 }, { onProgress: 7 }, { network: 7 }, { network: { idle: 1 } }] as never[])
      await expect(door.load(silent, wrong)).rejects.toMatchObject({ name: "CpmError", code: "bad-option" });
    for (const call of [door.inspect, door.loadTokenizer])
      await expect(call(silent, { signal: {} as AbortSignal })).rejects.toMatchObject({ name: "CpmError", code: "bad-option" });
  });

  test("nothing that is no model gets through, and a missing one is named by its whole path", async () => {
    for (const wrong of [null, 7, new Map(), [model], () => model] as never[])
      for (const call of [door.load, door.inspect, door.loadTokenizer])
        await expect(call(wrong)).rejects.toMatchObject({ name: "CpmError", code: "bad-input" });
    await expect(door.load("/nowhere/at all/none.gguf")).rejects.toThrow("/nowhere/at all/none.gguf: no such file");
    await expect(door.load(model, { draft: { eagle: new Map() as never } })).rejects.toMatchObject({ code: "bad-input" });
  });

  test("inspecting and reading a tokenizer take null as absent, too", async () => {
    const nulls = { headers: null, signal: null, network: null } as never;
    expect((await door.inspect(model, nulls)).format).toBe((await door.inspect(model)).format);
    expect((await door.loadTokenizer(model, nulls)).size).toBe((await door.loadTokenizer(model)).size);
    await expect(door.loadTokenizer(model, { header: {} } as never)).rejects.toThrow(/did you mean headers\?/);
  });
});

test("whatever file of a model is missing, the message has its whole path", async () => {
  const folder = mkdtempSync(join(tmpdir(), "cpm-missing-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const files = { ...tinyFolder(), ...writeShards(tinyStored(tinyModel({ tied: false })), 2) };
  delete (files as Record<string, unknown>)["model.safetensors"];
  const { load } = doors["in the caller's thread"];
  const write = () => {
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  };
  for (const name of ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"]) {
    write();
    rmSync(join(folder, name), { force: true });
    if (name === "tokenizer.json") rmSync(join(folder, "tokenizer.model"), { force: true });
    await expect(load(folder), name).rejects.toMatchObject({
      name: "CpmError",
      message: expect.stringContaining(join(folder, name)),
    });
  }
});
