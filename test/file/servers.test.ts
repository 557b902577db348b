// Servers that do not behave: every wait ends, every body has a length, what cannot get better is not tried again.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcp, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { NetworkOptions } from "../../src/file/http.ts";
import { pauseBefore, shownUrl } from "../../src/file/http.ts";
import { urlFiles, urlSource } from "../../src/file/url.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const data = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 2654435761) >>> 24);
/** Short enough for tests; a slow machine only makes a refusal later. */
const network: NetworkOptions = { idleMs: 150, leastBytesPerSecond: 1000, attempts: 2 };

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

async function serve(handler: Handler): Promise<{ url: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response, requests.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

async function serveTcp(handler: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server = createTcp((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    handler(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function range(request: IncomingMessage, size: number): [number, number] {
  const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!;
  return [Number(begin), Math.min(Number(end) + 1, size)];
}

const refusal = (message: RegExp) => ({ name: "CpmError", code: "io", message: expect.stringMatching(message) });

test("a server that never answers is given up, after as many tries as were asked for", async () => {
  const { url, requests } = await serve(() => {});
  await expect(urlSource(`${url}/a`, { network })).rejects.toMatchObject(refusal(/no answer within .* s \(tried 2 times\)/));
  // On a busy machine a try may be over before the server hears of it.
  expect(requests.length).toBeLessThanOrEqual(2);
});

test("a server that accepts and says nothing, and one that closes at once, are given up", async () => {
  await expect(urlSource(await serveTcp(() => {}), { network })).rejects.toMatchObject(refusal(/no answer within/));
  await expect(urlSource(await serveTcp((socket) => socket.destroy()), { network })).rejects.toMatchObject(
    refusal(/tried 2 times/),
  );
});

test("a body that stops, or drips, counts as stalled", async () => {
  const timers: NodeJS.Timeout[] = [];
  onTestFinished(() => {
    for (const timer of timers) clearInterval(timer);
  });
  const { url } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${data.length}`, "content-length": end - begin });
    let at = begin;
    const give = (bytes: number) => {
      response.write(data.subarray(at, Math.min(end, at + bytes)));
      at += bytes;
      if (at >= end) response.end();
    };
    give(1);
    if (request.url === "/drips") timers.push(setInterval(() => give(1), 30));
  });
  await expect(urlSource(`${url}/stops`, { network })).rejects.toMatchObject(
    refusal(/(?:came|no answer) within .* s \(tried 2 times\)/),
  );
  await expect(urlSource(`${url}/drips`, { network })).rejects.toMatchObject(refusal(/(?:came|no answer) within/));
});

test("an endless body behind a right Content-Range is cut off where it should have ended", async () => {
  const chunk = Buffer.alloc(1 << 18);
  let written = 0;
  const endless = (response: ServerResponse) => {
    const more = () => {
      while (!response.destroyed && response.write(chunk)) written += chunk.length;
      response.once("drain", more);
    };
    more();
  };
  const { url, requests } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    if (request.url === "/later" && begin === 0)
      return void response.writeHead(206, { "content-range": `bytes 0-${end - 1}/${data.length}` }).end(data.subarray(0, end));
    if (request.url === "/whole") response.writeHead(200);
    else response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/99999999999` });
    endless(response);
  });
  await expect(urlSource(`${url}/first`)).rejects.toMatchObject(refusal(/sent more bytes than it said/));
  // What was on its way in buffers between two processes' sockets.
  expect(written).toBeLessThan(64 << 20);
  expect(requests, "tries").toHaveLength(1);
  const later = (await urlSource(`${url}/later`))!;
  await expect(later.read(500_000, 1000)).rejects.toMatchObject({ code: "io" });
  await expect(urlSource(`${url}/whole`)).rejects.toMatchObject(refusal(/does not support range requests/));
});

test("a part shorter than the one asked for is allowed, and the rest is asked for", async () => {
  const model = tinyGguf(tinyModel({ vocab: 4000 }), "F16");
  const { url, requests } = await serve((request, response) => {
    const [begin, end] = range(request, model.length);
    const some = Math.min(end, begin + 50_000);
    response
      .writeHead(206, { "content-range": `Bytes ${begin}-${some - 1}/${model.length}`, etag: '"1"' })
      .end(model.subarray(begin, some));
  });
  const engine = await load(urlFiles(`${url}/tiny.gguf`));
  expect(firstDifference(await logitsOf(engine, [1, 5, 9]), await logitsOf(await load(model), [1, 5, 9]))).toBe(-1);
  expect(requests.length).toBeGreaterThan(model.length / 50_000);
});

test("the unit's case and the size of later parts are free; other units, and parts beside the ones asked for, are refused", async () => {
  const answers: Record<string, (begin: number, end: number) => string> = {
    "/upper": (begin, end) => `BYTES ${begin}-${end - 1}/${data.length}`,
    "/star": (begin, end) => `bytes ${begin}-${end - 1}/${begin ? "*" : data.length}`,
    "/unit": (begin, end) => `lines ${begin}-${end - 1}/${data.length}`,
    "/beside": (begin, end) => `bytes ${begin + (begin ? 1 : 0)}-${end - 1}/${data.length}`,
    "/nosize": (begin, end) => `bytes ${begin}-${end - 1}/*`,
    "/beyond": () => `bytes 0-262143/10`,
    "/back": () => "bytes 9-3/100",
  };
  const { url } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    response.writeHead(206, { "content-range": answers[request.url!]!(begin, end) }).end(data.subarray(begin, end));
  });
  for (const good of ["/upper", "/star"]) {
    const source = (await urlSource(url + good))!;
    expect(Buffer.compare(await source.read(600_000, 300_000), data.subarray(600_000, 900_000))).toBe(0);
  }
  for (const wrong of ["/unit", "/nosize", "/beyond", "/back"])
    await expect(urlSource(url + wrong), wrong).rejects.toMatchObject(refusal(/no usable Content-Range/));
  const beside = (await urlSource(`${url}/beside`))!;
  await expect(beside.read(600_000, 300_000)).rejects.toMatchObject(refusal(/were asked for, the server sent/));
});

test("compressed ranges are refused, and answers without content are no files", async () => {
  const { url, requests } = await serve((request, response) => {
    if (request.url === "/gzip")
      response.writeHead(206, { "content-range": `bytes 0-9/${data.length}`, "content-encoding": "gzip" }).end(Buffer.alloc(10));
    else response.writeHead(Number(request.url!.slice(1))).end();
  });
  await expect(urlSource(`${url}/gzip`)).rejects.toMatchObject({ code: "io" });
  for (const status of [204, 205, 202, 300, 402, 405, 501, 505]) {
    const before = requests.length;
    await expect(urlSource(`${url}/${status}`), `${status}`).rejects.toMatchObject(refusal(new RegExp(`HTTP status ${status}`)));
    expect(requests.length - before, `tries of ${status}`).toBe(1);
  }
});

test("a server's own pause is kept, and one that is too long is told instead", async () => {
  const at: number[] = [];
  const { url } = await serve((request, response, count) => {
    at.push(performance.now());
    if (request.url === "/long") response.writeHead(503, { "retry-after": "3600" }).end();
    else if (request.url === "/never")
      response.writeHead(503, { "retry-after": new Date(Date.now() + 7.2e6).toUTCString() }).end();
    else if (count === 1) response.writeHead(429, { "retry-after": "1" }).end();
    else {
      const [begin, end] = range(request, data.length);
      response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${data.length}` }).end(data.subarray(begin, end));
    }
  });
  expect((await urlSource(`${url}/soon`))!.size).toBe(data.length);
  expect(at[1]! - at[0]!).toBeGreaterThan(950);
  await expect(urlSource(`${url}/long`)).rejects.toMatchObject(refusal(/status 503.*come back in 3600 s/));
  await expect(urlSource(`${url}/never`)).rejects.toMatchObject(refusal(/come back in 7\d\d\d s/));
  expect(at).toHaveLength(4);
});

test("clients that failed together do not come back together, and none before the server's time", () => {
  expect([1, 2, 3].map((attempt) => pauseBefore(attempt, undefined, 0))).toEqual([300, 600, 1200]);
  expect(pauseBefore(1, 5000, 0)).toBe(5000);
  expect(pauseBefore(1, 5000, 1)).toBe(6250);
  expect(new Set(Array.from({ length: 20 }, (_, i) => pauseBefore(2, undefined, i / 20))).size).toBe(20);
});

test("what cannot get better is not tried again: no such host, what fetch refuses", async () => {
  let tries = 0;
  const failing = (error: Error) => async () => {
    tries++;
    throw error;
  };
  const caused = (code: string) =>
    Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(`it was ${code}`), { code }) });
  for (const code of [
    "ENOTFOUND",
    "CERT_HAS_EXPIRED",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "UND_ERR_INVALID_ARG",
    "HPE_INVALID_CONSTANT",
  ]) {
    tries = 0;
    await expect(urlSource("http://h/a", { fetch: failing(caused(code)) as typeof fetch })).rejects.toMatchObject(
      refusal(new RegExp(`it was ${code}; check`)),
    );
    expect(tries, code).toBe(1);
  }
  tries = 0;
  await expect(
    urlSource("http://h/a", { network: { attempts: 3 }, fetch: failing(caused("ECONNRESET")) as typeof fetch }),
  ).rejects.toMatchObject(refusal(/it was ECONNRESET \(tried 3 times\)/));
  expect(tries).toBe(3);
});

test("user and password become a header, and no message or name shows them, nor the query", async () => {
  const { url, requests } = await serve((request, response) => {
    if (request.url!.startsWith("/401")) return void response.writeHead(401).end();
    if (request.url!.startsWith("/500")) return void response.writeHead(500).end();
    if (request.url!.startsWith("/404")) return void response.writeHead(404).end();
    const [begin, end] = range(request, data.length);
    response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${data.length}` }).end(data.subarray(begin, end));
  });
  const secret = (path: string) => `${url.replace("//", "//user:hunter2@")}${path}?token=s3cret#f`;
  const source = (await urlSource(secret("/a.gguf")))!;
  expect(source.name).toBe(`${url}/a.gguf?…`);
  expect(requests[0]!.headers.authorization).toBe(`Basic ${btoa("user:hunter2")}`);
  expect(requests[0]!.url).toBe("/a.gguf?token=s3cret");
  const errors: unknown[] = [];
  for (const path of ["/401", "/500"])
    errors.push(await urlSource(secret(path), { network: { attempts: 1 } }).catch((e: unknown) => e));
  errors.push(await load(secret("/404.gguf")).catch((e: unknown) => e));
  errors.push(
    await urlSource("http://user:hunter2@127.0.0.1:1/?token=s3cret", { network: { attempts: 1 } }).catch((e: unknown) => e),
  );
  try {
    urlFiles("http://user:hunter2@[/?token=s3cret");
  } catch (error) {
    errors.push(error);
  }
  expect(errors).toHaveLength(5);
  for (const error of errors) {
    expect(error).toMatchObject({ name: "CpmError" });
    const { message, detail } = error as { message: string; detail: object };
    expect(message + JSON.stringify(detail)).not.toMatch(/hunter2|s3cret/);
  }
  expect((errors[0] as Error).message).toMatch(/401.*option headers/);
  expect((errors[2] as Error).message).toContain(`${url}/404.gguf?…: no such file`);
  expect(shownUrl("data:text/plain,abc")).toBe("data:text/plain,abc");
  expect(shownUrl(`data:,${"a".repeat(1000)}`).length).toBeLessThan(100);
});

test("an abort ends a request at whatever stage it is, at once, with the reason", async () => {
  const { url } = await serve((request, response) => {
    if (request.url === "/body") response.writeHead(206, { "content-range": `bytes 0-262143/${data.length}` }).write("x");
  });
  for (const stage of ["answer", "body"]) {
    const abort = new AbortController();
    const reason = new Error(stage);
    const opening = urlSource(`${url}/${stage}`, {}, abort.signal);
    setTimeout(() => abort.abort(reason), 50);
    await expect(opening).rejects.toBe(reason);
  }
});

test("closing a source ends its requests that are under way", async () => {
  let closed = 0;
  let arrived: () => void = () => {};
  const underWay = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const { url } = await serve((request, response) => {
    const [begin, end] = range(request, data.length);
    if (begin === 0)
      return void response.writeHead(206, { "content-range": `bytes 0-${end - 1}/${data.length}` }).end(data.subarray(0, end));
    response.on("close", () => closed++);
    arrived();
  });
  const files = urlFiles(`${url}/a.gguf`);
  const source = (await files.open("a.gguf"))!;
  const reading = source.read(600_000, 1000);
  const failed = expect(reading).rejects.toMatchObject({ code: "closed" });
  await underWay;
  await files.close();
  await failed;
  while (closed === 0) await new Promise((resolve) => setImmediate(resolve));
});
