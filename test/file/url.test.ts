// Models over HTTP: a server of this machine that behaves, and one that does not.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { urlFiles, urlSource } from "../../src/file/url.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { writeShards } from "../support/folder.ts";
import { tinyFolder, tinyGguf, tinyModel, tinyStored } from "../support/tiny.ts";

const data = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 2654435761) >>> 24);
const tokens = [1, 5, 9, 300];

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The address of a server that ends with the test, and the requests it got. */
async function serve(handler: Handler): Promise<{ url: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

function range(request: IncomingMessage, size: number): [number, number] {
  const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!;
  return [Number(begin), Math.min(Number(end) + 1, size)];
}

/** Answers ranges of `bytes` as RFC 9110 says. */
function send(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array, headers: Record<string, string> = {}): void {
  const [begin, end] = range(request, bytes.length);
  if (begin >= bytes.length) response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
  else
    response
      .writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${bytes.length}`, ...headers })
      .end(bytes.subarray(begin, end));
}

test("any range of a file is read, small ones from one block", async () => {
  const { url, requests } = await serve((request, response) => send(request, response, data));
  const source = (await urlSource(`${url}/a.gguf`))!;
  expect(source).toMatchObject({ name: `${url}/a.gguf`, size: data.length });
  for (const [offset, length] of [
    [0, 10],
    [100, 5000],
    [0, 262144],
    [262140, 8],
    [700_000, 1000],
    [701_000, 1000],
    [data.length - 1, 1],
    [5, 0],
    [0, data.length],
  ] as const)
    expect(
      Buffer.compare(await source.read(offset, length), data.subarray(offset, offset + length)),
      `${length} at ${offset}`,
    ).toBe(0);
  expect(requests.length).toBeLessThanOrEqual(6);
  await expect(source.read(data.length - 1, 2)).rejects.toMatchObject({ code: "io" });
});

test("a model loads over ranges, with the caller's headers in every request, and is the same model", async () => {
  const model = tinyGguf(tinyModel({ vocab: 4000 }), "F16");
  const { url, requests } = await serve((request, response) => send(request, response, model, { etag: '"1"' }));
  const engine = await load(urlFiles(`${url}/a%20b/tiny.gguf?token=x`, { headers: { authorization: "Bearer x" } }));
  expect(firstDifference(await logitsOf(engine, tokens), await logitsOf(await load(model), tokens))).toBe(-1);
  expect(requests.length).toBeGreaterThan(1);
  for (const request of requests)
    expect([request.url, request.headers.authorization]).toEqual(["/a%20b/tiny.gguf?token=x", "Bearer x"]);
  expect(requests.slice(1).every((request) => request.headers["if-range"] === '"1"')).toBe(true);
});

test("a model's weights are fetched ahead: several requests are under way, few in all, none twice", async () => {
  const model = tinyGguf(tinyModel({ vocab: 4000 }), "F16");
  let open = 0;
  let most = 0;
  const { url, requests } = await serve((request, response) => {
    most = Math.max(most, ++open);
    setTimeout(() => {
      open--;
      send(request, response, model);
    }, 5);
  });
  const engine = await load(urlFiles(`${url}/tiny.gguf`));
  expect(firstDifference(await logitsOf(engine, tokens), await logitsOf(await load(model), tokens))).toBe(-1);
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(6);
  const ranges = requests.map((request) => request.headers.range);
  expect(new Set(ranges).size).toBe(ranges.length);
});

test("a sharded folder loads by its address, with or without a query", async () => {
  const model = tinyModel({ tied: false });
  const files: Record<string, Uint8Array> = { ...tinyFolder(model), ...writeShards(tinyStored(model), 2) };
  delete files["model.safetensors"];
  const { url } = await serve((request, response) => {
    const file = files[new URL(request.url!, "http://x").pathname.replace("/models/tiny/", "")];
    if (file) send(request, response, file);
    else response.writeHead(404).end("no such file");
  });
  const expected = await logitsOf(await load(tinyFolder(model)), tokens);
  for (const address of [`${url}/models/tiny/`, `${url}/models/tiny/?x=1`, `${url}/models/tiny/model.safetensors.index.json`])
    expect(firstDifference(await logitsOf(await load(address), tokens), expected), address).toBe(-1);
});

test("a server without ranges is read whole while the file is small", async () => {
  const model = tinyGguf();
  const { url, requests } = await serve((_, response) => response.writeHead(200).end(model));
  expect(firstDifference(await logitsOf(await load(`${url}/tiny.gguf`), tokens), await logitsOf(await load(model), tokens))).toBe(
    -1,
  );
  expect(requests).toHaveLength(1);
});

test("a server without ranges and a large file is refused, whether it states the length or not", async () => {
  const chunk = new Uint8Array(1 << 20);
  let sent = 0;
  const { url } = await serve((request, response) => {
    response.writeHead(200, request.url === "/stated" ? { "content-length": "5000000000" } : {});
    const more = () => {
      while (!response.destroyed && sent++ < 200 && response.write(chunk));
      response.once("drain", more);
    };
    more();
  });
  for (const name of ["stated", "unstated"]) {
    sent = 0;
    await expect(urlSource(`${url}/${name}`)).rejects.toMatchObject({
      code: "io",
      message: expect.stringMatching(/does not support range requests.*use a server with ranges/),
    });
  }
});

test("what is not there is undefined, and loading it says so", async () => {
  const { url } = await serve((request, response) => response.writeHead(request.url === "/gone" ? 410 : 404).end());
  expect(await urlSource(`${url}/none`)).toBeUndefined();
  expect(await urlSource(`${url}/gone`)).toBeUndefined();
  await expect(load(`${url}/none.gguf`)).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/no such file; check the path or address/),
  });
  await expect(load(`${url}/folder/`)).rejects.toMatchObject({ code: "bad-model", detail: { file: "config.json" } });
});

test("an empty file is a file that is no model", async () => {
  const { url } = await serve((request, response) => send(request, response, new Uint8Array(0)));
  expect(await urlSource(`${url}/empty`)).toMatchObject({ size: 0 });
  await expect(load(`${url}/empty.gguf`)).rejects.toMatchObject({ code: "bad-model", detail: { found: "an empty file" } });
});

test("refusals are final at once, failures are tried again", async () => {
  const counts = new Map<string, number>();
  const { url } = await serve((request, response) => {
    const path = request.url!;
    const count = (counts.get(path) ?? 0) + 1;
    counts.set(path, count);
    if (path === "/denied") response.writeHead(403).end();
    else if (path === "/broken") response.writeHead(500).end();
    else if (count < 3) path === "/reset" ? request.socket.destroy() : response.writeHead(path === "/busy" ? 429 : 500).end();
    else send(request, response, data);
  });
  await expect(urlSource(`${url}/denied`)).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/HTTP status 403; check the address/),
  });
  expect(counts.get("/denied")).toBe(1);
  const [flaky, busy, reset, broken] = await Promise.allSettled(
    ["flaky", "busy", "reset", "broken"].map((name) => urlSource(`${url}/${name}`)),
  );
  for (const outcome of [flaky, busy, reset])
    expect(outcome).toMatchObject({ status: "fulfilled", value: { size: data.length } });
  expect(broken).toMatchObject({
    status: "rejected",
    reason: { code: "io", message: expect.stringMatching(/HTTP status 500 \(tried 4 times\)/) },
  });
});

test("a body that ends early is asked for again", async () => {
  let cut = 0;
  const { url } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    if (begin > 0 && cut++ === 0) {
      response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${data.length}`, "content-length": end - begin });
      response.write(data.subarray(begin, begin + 1000));
      setTimeout(() => response.destroy(), 10);
    } else send(request, response, data);
  });
  const source = (await urlSource(`${url}/a`))!;
  expect(Buffer.compare(await source.read(400_000, 300_000), data.subarray(400_000, 700_000))).toBe(0);
  expect(cut).toBe(2);
});

const wrongRanges: Readonly<Record<string, (begin: number, end: number) => string | undefined>> = {
  "no Content-Range": () => undefined,
  "a Content-Range of another place": (begin, end) => `bytes ${begin + 1}-${end}/${data.length}`,
  "a Content-Range without a size": (begin, end) => `bytes ${begin}-${end - 1}/*`,
  "a Content-Range that is none": () => "all of it",
};

for (const [what, header] of Object.entries(wrongRanges))
  test(`an answer with ${what} is refused at once`, async () => {
    const { url, requests } = await serve((request, response) => {
      const [begin, end] = range(request, data.length);
      const value = header(begin, end);
      response.writeHead(206, value ? { "content-range": value } : {}).end(data.subarray(begin, end));
    });
    await expect(urlSource(`${url}/a`)).rejects.toMatchObject({
      code: "io",
      message: expect.stringMatching(/no usable Content-Range/),
    });
    expect(requests).toHaveLength(1);
  });

test("bytes of another range than was asked for are never taken for it", async () => {
  const { url } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    if (begin === 0) send(request, response, data);
    else
      response
        .writeHead(206, { "content-range": `bytes 0-${end - begin - 1}/${data.length}` })
        .end(data.subarray(0, end - begin));
  });
  const source = (await urlSource(`${url}/a`))!;
  await expect(source.read(400_000, 300_000)).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/400000 to 700000 were asked for, the server sent 0 to 300000/),
  });
});

const changes: Readonly<Record<string, Handler>> = {
  "answers If-Range with the whole file": (_, response) => response.writeHead(200, { etag: '"2"' }).end(data),
  "has another ETag": (request, response) => send(request, response, data, { etag: '"2"' }),
  "has another size": (request, response) => send(request, response, data.subarray(0, 900_000), { etag: '"1"' }),
  "has become shorter than the range": (_, response) => response.writeHead(416, { "content-range": "bytes */300000" }).end(),
};

for (const [what, later] of Object.entries(changes))
  test(`a file that ${what} has changed, which is an error`, async () => {
    const { url } = await serve((request, response) =>
      range(request, data.length)[0] === 0 ? send(request, response, data, { etag: '"1"' }) : later(request, response),
    );
    const source = (await urlSource(`${url}/a`))!;
    await expect(source.read(400_000, 300_000)).rejects.toMatchObject({
      code: "io",
      message: expect.stringMatching(/changed on the server while it was read; load it again/),
    });
  });

test("a connection that stalls ends when it is aborted, with the reason: at the first request, in a body, between tries", async () => {
  const stalls: Readonly<Record<string, Handler>> = {
    first: () => {},
    body: (request, response) => {
      const [begin, end] = range(request, data.length);
      if (begin === 0) return send(request, response, data);
      response
        .writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${data.length}`, "content-length": end - begin })
        .write(data.subarray(begin, begin + 10));
    },
    tries: (_, response) => response.writeHead(503).end(),
  };
  for (const [where, handler] of Object.entries(stalls)) {
    const { url } = await serve(handler);
    const reason = new Error(`enough of ${where}`);
    const abort = new AbortController();
    setTimeout(() => abort.abort(reason), 60);
    // A read is ended by its own signal, not only by that of the opening.
    const work =
      where === "body"
        ? (await urlSource(`${url}/a`))!.read(400_000, 300_000, abort.signal)
        : urlSource(`${url}/a`, {}, abort.signal);
    await expect(work, where).rejects.toBe(reason);
  }
});

test("loading over a stalled connection ends when it is aborted", async () => {
  const model = tinyGguf(tinyModel({ vocab: 4000 }), "F32");
  const { url } = await serve((request, response) =>
    range(request, model.length)[0] === 0 ? send(request, response, model) : undefined,
  );
  const abort = new AbortController();
  setTimeout(() => abort.abort("too slow"), 100);
  await expect(load(`${url}/tiny.gguf`, {}, { signal: abort.signal })).rejects.toBe("too slow");
});

test("no server, no host and no address are typed errors", async () => {
  await expect(urlSource("http://127.0.0.1:1/a")).rejects.toMatchObject({
    name: "CpmError",
    code: "io",
    message: expect.stringMatching(/127\.0\.0\.1.*tried 4 times.*check the address and the network/),
  });
  expect(() => urlFiles("http://")).toThrow(expect.objectContaining({ name: "CpmError", code: "bad-input" }));
  expect(urlFiles("http://a/%E0%A4%A.gguf").entry).toBe("%E0%A4%A.gguf");
});
