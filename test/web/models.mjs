// Models in the page: cards, a download that is paused, cut, resumed and thrown away, storage that is full or taken away, a second tab,
// an engine that ends; a context that is full; conversations as files. A hub on this machine, whose files come piece by piece.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hubServer } from "../runtimes/hub.mjs";
import { root } from "../runtimes/package.mjs";

const MEGA = 1_000_000;

/** A hub with a story model of 25 MB, whose bytes come as far as `until` says, and a page that offers it. */
async function offered({ host, opened }, { unlisted = false } = {}) {
  const { commitOf, openHub, sha256 } = await hubServer();
  const story = readFileSync(join(root, "models/stories-q4_0.gguf"));
  // What follows the last tensor is read by nobody.
  const large = new Uint8Array(25 * MEGA);
  large.set(story);
  for (let i = story.length; i < large.length; i++) large[i] = (i * 2654435761) >>> 13;
  const refs = { main: commitOf("main") };
  const server = await openHub({
    "org/story-GGUF": { refs, files: { "story-Q4_0.gguf": large } },
    "org/wrong-GGUF": { refs, files: { "wrong-Q4_0.gguf": large.slice(0, 3 * MEGA) } },
  });
  const flow = { until: Number.POSITIVE_INFINITY, waiting: [] };
  const flowing = (until) => {
    flow.until = until;
    for (const go of flow.waiting.splice(0)) go();
  };
  server.state.misbehave = (_, request, response, bytes) => {
    const begin = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
    // Heads of the model, for those who read it by its address.
    if (/-\d+$/.test(request.headers.range ?? "")) return false;
    const range = begin ? { "content-range": `bytes ${begin}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(begin ? 206 : 200, { "content-length": bytes.length - begin, ...range });
    const wrong = request.url.includes("wrong");
    const go = (at) => {
      const to = Math.min(bytes.length, at + MEGA, flow.until);
      if (to > at) response.write(wrong ? new Uint8Array(to - at) : bytes.subarray(at, to));
      if (to === bytes.length) return response.end();
      if (to < Math.min(bytes.length, flow.until)) return setImmediate(() => go(to));
      flow.waiting.push(() => go(to));
    };
    go(begin);
    return true;
  };
  const models = [
    { name: "org/story-GGUF", title: "A large story", totalBytes: large.length, memoryBytes: 30 * MEGA, licence: "Apache-2.0" },
    { name: "org/huge-GGUF", title: "A huge model", totalBytes: 9e9, memoryBytes: 12e9, licence: "MIT" },
  ];
  const page = await host(false, { home: "page", models: unlisted ? [] : models, endpoint: server.origin });
  opened.push(page.close, server.close);
  return { url: page.url, server, flowing, hash: sha256(large), size: large.length };
}

const card = (title) => `.welcome .card:has(h3:text-is("${title}"))`;
const loaded = (page, name) => page.waitForSelector(`.chip .name:text-is("${name}")`);
const fetched = (server) => server.requests.filter(({ origin }) => origin === "files").map(({ range }) => range);

export async function modelTests(rig) {
  const { axe, test, scripted, equal, holds, input, ready, greedy, ask, answers, finished, shots } = rig;
  const shot = (page, name) => (shots ? page.screenshot({ path: join(shots, `${name}.png`) }) : undefined);

  await test("first visit: a card a model with size, memory, licence and whether it fits; the story model is there at once", async (page) => {
    const { url } = await offered(rig);
    await page.goto(url);
    await ready(page);
    const large = await page.textContent(card("A large story"));
    for (const part of ["25 MB to download", "30 MB of memory", "Apache-2.0", " fits", "Download"])
      holds(large.includes(part), `"${part}" in "${large}"`);
    holds((await page.textContent(card("A huge model"))).includes("may not fit"), "what is too large is told");
    holds((await page.textContent(".welcome .card:last-child")).includes("In use"), "the story model is in use");
    await shot(page, "first-visit");
  });

  for (const [name, options] of [
    ["light", {}],
    ["dark, 390 px", { viewport: { width: 390, height: 780 }, colorScheme: "dark" }],
  ])
    await test(
      `${name}: no violation that axe finds among cards, in a download and in the settings; nothing wider than the screen`,
      async (page) => {
        const { url, flowing } = await offered(rig);
        flowing(5 * MEGA);
        await page.goto(url);
        await ready(page);
        await page.evaluate(axe);
        const right = async (where) => {
          const { violations } = await page.evaluate(() => globalThis.axe.run());
          equal(
            violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 120)}`),
            [],
            `violations in ${where}`,
          );
          equal(
            await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
            true,
            `${where}: the screen's width`,
          );
        };
        await right("the first visit");
        await page.click(`${card("A large story")} button:text-is("Download")`);
        await page.waitForSelector(`${card("A large story")} .hint:has-text("5 MB of 25 MB")`);
        await right("a download");
        await shot(page, `cards-${name.replace(/\W+/g, "-")}`);
        await page.click(".gear");
        await right("the settings");
        await shot(page, `cards-settings-${name.replace(/\W+/g, "-")}`);
      },
      options,
    );

  await test("a download shows how far it is, is paused, survives a reload, goes on by a range, and is loaded; then it needs no network", async (page) => {
    const { url, server, flowing, size } = await offered(rig);
    flowing(18 * MEGA);
    await page.goto(url);
    await ready(page);
    await page.click(`${card("A large story")} button:text-is("Download")`);
    await page.waitForSelector(`${card("A large story")} .hint:has-text("18 MB of 25 MB")`);
    await page.fill(input, "a draft meanwhile");
    await shot(page, "downloading");
    await page.click(`${card("A large story")} button:text-is("Pause")`);
    // Two pieces of 8 MiB are kept.
    await page.waitForSelector(`${card("A large story")} .hint:has-text("17 MB of 25 MB kept")`);
    equal(await page.inputValue(input), "a draft meanwhile", "the draft");
    await page.reload();
    await ready(page);
    await page.waitForSelector(`${card("A large story")} .hint:has-text("17 MB of 25 MB kept")`);
    await shot(page, "interrupted");
    equal(await page.inputValue(input), "a draft meanwhile", "the draft after a reload");
    flowing(Number.POSITIVE_INFINITY);
    server.requests.length = 0;
    await page.click(`${card("A large story")} button:text-is("Resume")`);
    await loaded(page, "org/story-GGUF");
    equal(fetched(server), [`bytes=${2 * (8 << 20)}-`], "what was asked for");
    await page.waitForSelector(`${card("A large story")} button:text-is("In use")`);
    await page.fill(input, "");
    await greedy(page);
    await ask(page, "Tell me of a dog.");
    await finished(page);
    holds((await answers(page))[0].length > 0, "an answer");
    server.close();
    server.requests.length = 0;
    const opened = performance.now();
    await page.reload();
    await loaded(page, "org/story-GGUF");
    const began = performance.now();
    await ask(page, "And of a cat.");
    await page.waitForFunction(() => document.querySelectorAll(".message.assistant .body")[1]?.textContent);
    const [load, first] = [began - opened, performance.now() - opened].map(Math.round);
    console.log(`a cached model of 25 MB: ready ${load} ms after opening, the first token after ${first} ms`);
    await finished(page, 2);
    equal(server.requests, [], "what was asked of the hub");
    holds(size > 0, "size");
  });

  await test("a cut connection keeps what came; another's bytes are thrown away; cancelling leaves nothing; a name that is none is told", async (page) => {
    const { url, server, flowing } = await offered(rig, { unlisted: true });
    await page.goto(url);
    await ready(page);
    const typed = async (name) => {
      await page.fill(".welcome input[placeholder^='openbmb']", name);
      await page.click(".welcome .models > form button");
    };
    await typed("org/none");
    await page.waitForSelector(".welcome .failed:has-text('not found')");
    await page.click(".welcome .download button:text-is('Cancel')");
    await typed("org/wrong-GGUF");
    await page.waitForSelector(".welcome .failed:has-text('not the file that the hub names')");
    await page.click(".welcome .download button:text-is('Cancel')");
    await page.waitForSelector(".welcome .card:has-text('org/wrong-GGUF')", { state: "detached" });
    flowing(10 * MEGA);
    await typed("org/story-GGUF");
    await page.waitForSelector(".welcome .hint:has-text('10 MB of 25 MB')");
    server.close();
    await page.waitForSelector(".welcome .failed:has-text('what came is kept')", { timeout: 120_000 });
    await page.waitForSelector(".welcome .hint:has-text('8 MB of 25 MB kept')");
    await page.click(".welcome .download button:text-is('Cancel')");
    // The card goes when what came is gone.
    await page.waitForSelector(".welcome .card:has-text('org/story-GGUF')", { state: "detached" });
    const left = await page.evaluate(async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("cpm");
      const names = [];
      for await (const name of (await root.getDirectoryHandle("blobs")).keys()) names.push(name);
      return names;
    });
    equal(left, [], "what is left of what was cancelled");
  });

  await test("storage that is too small is told in numbers before a byte comes, and the model loads without being kept; what the browser took away is told", async (page) => {
    const { url, server, hash } = await offered(rig);
    await page.addInitScript(() => {
      const { estimate } = StorageManager.prototype;
      StorageManager.prototype.estimate = async function () {
        return localStorage.getItem("small") ? { quota: 10_000_000, usage: 0 } : estimate.call(this);
      };
    });
    await page.goto(url);
    await ready(page);
    await page.evaluate(() => localStorage.setItem("small", "1"));
    await page.click(`${card("A large story")} button:text-is("Download")`);
    await page.waitForSelector(".failed:has-text('Needs 25 MB, this browser grants 10 MB')");
    equal(fetched(server), [], "bytes that were asked for");
    await shot(page, "storage-full");
    await page.click("button:text-is('Load without keeping it')");
    await loaded(page, "org/story-GGUF");
    await page.evaluate(() => localStorage.removeItem("small"));
    await page.click(`${card("A large story")} button:text-is("Try again")`);
    await page.waitForSelector(`${card("A large story")} button:text-is("In use")`);
    await page.evaluate(async (name) => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("cpm");
      await (await root.getDirectoryHandle("blobs")).removeEntry(name, { recursive: true });
    }, hash);
    await page.reload();
    await ready(page);
    await page.waitForSelector(`${card("A large story")} .hint:has-text("The browser removed the model")`);
    await page.click(`${card("A large story")} button:text-is("Download again")`);
    await loaded(page, "org/story-GGUF");
    // Removing is refused while it is in use, and gives the room back afterwards.
    await page.click(".welcome .card:last-child button:text-is('Use')");
    await page.click(`${card("A large story")} button:text-is("Remove")`);
    await page.waitForSelector(`${card("A large story")} button:text-is("Download")`);
  });

  await test("a second tab tells where the model runs and takes it over; the first keeps its text and says so", async (page, context) => {
    const { url } = await offered(rig);
    await page.goto(url);
    await ready(page);
    // Short: an answer drawn at random may fill the context by itself.
    await greedy(page);
    await ask(page, "Tell me of a dog.");
    await finished(page);
    const [first] = await answers(page);
    const other = await context.newPage();
    await other.goto(url);
    await other.waitForSelector(".note:has-text('The model runs in another tab')");
    await other.click("button:text-is('Use it here')");
    await ready(other);
    await page.waitForSelector(".note:has-text('The model runs in another tab')");
    equal(await answers(page), [first], "the text of the first tab");
    await other.keyboard.press("Control+Shift+O");
    await ask(other, "Tell me of the sea.");
    await finished(other);
    await page.click("button:text-is('Use it here')");
    await ready(page);
    await other.waitForSelector(".note:has-text('The model runs in another tab')");
  });

  await test("an engine that ends is told, the text stays, and it is loaded again", async (page) => {
    const { url } = await offered(rig);
    await page.addInitScript(() => {
      const Plain = Worker;
      window.started = [];
      window.Worker = class extends Plain {
        constructor(...given) {
          super(...given);
          window.started.push(this);
        }
      };
    });
    await page.goto(url);
    await ready(page);
    // Short: an answer drawn at random may fill the context by itself.
    await greedy(page);
    await ask(page, "Tell me of a dog.");
    await finished(page);
    const before = await answers(page);
    await page.evaluate(() => window.started[0].dispatchEvent(new ErrorEvent("error", { message: "out of memory" })));
    await ask(page, "And of a cat.");
    await page.waitForSelector(".alert:has-text('The engine ended')");
    equal((await answers(page))[0], before[0], "the text");
    await page.click(".alert button:text-is('Load again')");
    await ready(page);
    await page.click(".message.assistant.last button:text-is('Regenerate')");
    await page.waitForFunction(() => document.querySelector(".message.assistant.last .figures"));
  });

  await test("a full context is told with what can be done; what does not fit is not sent and stays a draft; the meter says how full it is", async (page) => {
    const { url } = await offered(rig);
    await page.goto(url);
    await ready(page);
    await page.click(".gear");
    await page.fill("label:has-text('Temperature') input", "0");
    await page.click("dialog [aria-label='Close the settings']");
    const long = "The dog and the cat went to the sea. ".repeat(400);
    await ask(page, long);
    await page.waitForSelector(".alert:has-text('does not fit')");
    equal(await page.inputValue(input), long, "the draft");
    equal((await page.$$(".message")).length, 0, "messages");
    holds((await page.textContent(".alert")).includes("New chat"), "what can be done");
    await page.click("[aria-label='Close this message']");
    // As long a text as fits, but for some tokens.
    let words = 400;
    for (;;) {
      await ask(page, "dog ".repeat(words));
      const fits = await Promise.race([
        finished(page).then(() => true),
        page.waitForSelector(".alert:has-text('does not fit')").then(() => false),
      ]);
      if (fits) break;
      await page.click("[aria-label='Close this message']");
      words = Math.floor(words * 0.93);
    }
    await page.waitForSelector(".meter");
    holds(/of \d[\d,]* tokens/.test(await page.textContent(".meter")), "the meter");
    for (let i = 0; i < 30 && !(await page.$(".state:has-text('is full')")); i++) {
      const count = (await answers(page)).length;
      await ask(page, "dog ".repeat(8));
      const fits = await Promise.race([
        finished(page, 2 * count + 2).then(() => true),
        page.waitForSelector(".alert:has-text('does not fit')").then(() => false),
      ]);
      if (!fits) break;
    }
    const told = (await page.$(".state:has-text('is full')")) ?? (await page.$(".alert:has-text('does not fit')"));
    holds(/New chat/.test(await told.textContent()), "what can be done");
    holds(/nearly full|, full/.test(await page.textContent(".meter")), `the meter in words: ${await page.textContent(".meter")}`);
    await shot(page, "context-full");
    await page.click("button:text-is('New chat') >> nth=-1");
    await page.waitForFunction(() => !document.querySelector(".message"));
  });

  await test("conversations go out as a file and come in again: the same; twice they are skipped, changed they stand beside; a bad file changes nothing", async (page) => {
    let count = 0;
    const { url } = await scripted(({ begin, text, thought, end }) => {
      begin();
      thought("hm");
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
    await page.keyboard.press("Control+Shift+O");
    await ask(page, "second");
    await finished(page);
    const saved = async (button) => {
      await page.click(".gear");
      const [file] = await Promise.all([page.waitForEvent("download"), page.click(`dialog button:text-is("${button}")`)]);
      await page.click("dialog [aria-label='Close the settings']");
      return readFileSync(await file.path(), "utf8");
    };
    const all = await saved("Save all as a file");
    const parsed = JSON.parse(all);
    equal([parsed.format, parsed.version, parsed.conversations.length], ["cpm-chat", 1, 2], "the file");
    const markdown = await saved("As Markdown");
    equal(markdown, "# second\n\n## You\n\nsecond\n\n## Answer\n\nanswer 3\n", "Markdown");
    const put = async (text, said) => {
      await page.click(".gear");
      await page.setInputFiles("dialog input[accept^='.json']", {
        name: "x.json",
        mimeType: "application/json",
        buffer: Buffer.from(text),
      });
      await page.waitForSelector(`.alert:has-text("${said}")`);
      await page.waitForSelector("dialog", { state: "detached" });
    };
    const titles = () => page.$$eval(".sidebar .title", (nodes) => nodes.map((node) => node.textContent));
    const bad = (change) => {
      const copy = JSON.parse(all);
      change(
        copy.conversations.find(({ title }) => title === "first"),
        copy,
      );
      return JSON.stringify(copy);
    };
    for (const broken of [
      "no json",
      bad((_, file) => (file.version = 2)),
      // In a circle; the file has messages in no order.
      bad(({ messages }) => {
        const of = (wanted) => messages.find(({ role }) => role === wanted);
        of("user").parent = of("assistant").id;
      }),
      bad(({ messages }) => (messages.at(-1).parent = "nobody")),
      bad((conversation) => (conversation.leaf = "nobody")),
      bad(({ messages }) => (messages[0].role = "system")),
      bad(({ messages }) => (messages[0].text = 7)),
    ])
      await put(broken, "cannot be read; nothing was changed");
    equal(await titles(), ["second", "first"], "after bad files");
    await put(all, "0 conversations read, 2 were here already");
    equal(await titles(), ["second", "first"], "after the same file");
    // Changed, it stands beside the old one.
    await put(
      bad(({ messages }) => (messages[0].text = "FIRST")),
      "1 conversation read, 1 were here already",
    );
    equal((await titles()).filter((title) => title === "first").length, 2, "the old and the new");
    await page.evaluate(() => indexedDB.deleteDatabase("cpm-chat"));
    await page.reload();
    await ready(page);
    await put(all, "2 conversations read");
    await page.click(".sidebar .title:text-is('first')");
    await page.waitForSelector("text=answer 2");
    holds((await page.textContent(".message.assistant .branches")).includes("2/2"), "both versions");
    const again = JSON.parse(await saved("Save all as a file"));
    const ordered = (file) =>
      JSON.stringify(
        file.conversations.map((one) => [one.id, one.messages.map(({ id, text, parent }) => [id, text, parent]).sort()]).sort(),
      );
    equal(ordered(again), ordered(parsed), "what comes out again");
  });
}
