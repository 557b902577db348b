// cpm review in Chromium, by keys alone; killed in the middle, it goes on where it was.
//   node test/synth/review.mjs [--shots FOLDER]
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
install(join(root, "web"));
const { chromium } = createRequire(join(root, "web/package.json"))("playwright-core");
const shots = process.argv.includes("--shots") ? process.argv[process.argv.indexOf("--shots") + 1] : undefined;
if (shots) mkdirSync(shots, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), "cpm-review-"));
const file = join(folder, "samples.jsonl");
const tool = (i) => ({
  id: `tools-${i}`,
  messages: [
    {
      role: "user",
      content: `What is the weather in Bergen? (${i}) <img src=x onerror="document.title='owned'"> \u202eodd\u202c`,
    },
    {
      role: "assistant",
      content: null,
      reasoning_content: "The user wants the weather; forecast takes a place.",
      tool_calls: [{ id: "call_0", type: "function", function: { name: "forecast", arguments: '{"place":"Bergen","days":2}' } }],
    },
    { role: "tool", tool_call_id: "call_0", name: "forecast", content: '{"rain":true}' },
    { role: "assistant", content: "It will rain." },
  ],
  tools: [
    {
      type: "function",
      function: { name: "forecast", parameters: { type: "object", properties: { place: { type: "string" } } } },
    },
  ],
  provenance: { model: "script", seed: 1 },
});
const long = {
  id: "long",
  messages: [
    { role: "user", content: "A line of a long text.\n".repeat(400) },
    { role: "assistant", content: "Short." },
  ],
};
writeFileSync(file, `${[tool(0), tool(1), long, tool(3), tool(4)].map((row) => JSON.stringify(row)).join("\n")}\n`);

let child;
const begin = () =>
  new Promise((resolve, reject) => {
    child = spawn(process.execPath, [join(root, "dist/cli/main.js"), "review", file], { stdio: ["ignore", "ignore", "pipe"] });
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (piece) => {
      text += piece;
      const url = /review: (\S+)\n/.exec(text)?.[1];
      if (url) resolve(url);
    });
    child.on("exit", () => reject(new Error(`cpm review ended: ${text}`)));
  });
const kill = () =>
  new Promise((resolve) => {
    child.removeAllListeners("exit");
    child.once("exit", resolve);
    child.kill("SIGKILL");
  });

let [passed, failed] = [0, 0];
let browser;
/** The page that is used, for what a failure says. */
let current;
const test = async (what, work) => {
  try {
    await work();
    passed++;
    console.log(`ok: ${what}`);
  } catch (error) {
    failed++;
    const shown = await current?.evaluate(() => [
      document.documentElement.outerHTML.slice(0, 60),
      document.getElementById("sample").scrollTop,
      document.getElementById("sample").clientHeight,
      document.activeElement.id,
      document.body.textContent.slice(0, 300),
    ]);
    console.log(`FAILED: ${what}: ${error.message}\n${JSON.stringify(shown)}`);
  }
};
const equal = (found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
};
const verdicts = () =>
  readFileSync(`${file}.verdicts.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ id, verdict, note }) => [id, verdict, ...(note ? [note] : [])]);

try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu"],
  });
  const open = async (url, colorScheme) => {
    const page = await browser.newPage({ viewport: { width: 1000, height: 720 }, colorScheme });
    const errors = [];
    current = page;
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.goto(url);
    return { page, errors };
  };
  /** Asks the page again and again; frames, which Playwright's own waiting counts, stand still in a browser without a screen that is busy. */
  const until = async (page, what, value) => {
    for (const end = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
      if (await page.evaluate(what, value)) return;
      if (Date.now() > end) throw new Error(`waited in vain for ${what} of ${JSON.stringify(value)}`);
    }
  };
  const at = (page, index) =>
    until(page, (wanted) => document.documentElement.matches(`[data-index="${wanted}"]:not([data-busy])`), index);
  const status = (page, text) =>
    until(
      page,
      (wanted) =>
        document.getElementById("status").textContent.includes(wanted) && !document.documentElement.hasAttribute("data-busy"),
      text,
    );
  const shot = (page, name) => shots && page.screenshot({ path: join(shots, `${name}.png`) });

  let url = await begin();
  let { page, errors } = await open(url, "light");
  await test("a sample is shown as text: turns, reasoning, calls; nothing of it runs", async () => {
    await at(page, 0);
    const text = await page.textContent("main");
    for (const part of [
      "<img src=x",
      "The user wants the weather",
      "forecast",
      '"place": "Bergen"',
      '"rain": true',
      "It will rain.",
      "⟨U+202E⟩odd⟨U+202C⟩",
    ])
      if (!text.includes(part)) throw new Error(`${part} is not shown in ${text}`);
    equal([await page.locator("main img").count(), await page.title()], [0, "Review"]);
    await shot(page, "sample");
  });
  await test("t and p show tools and provenance", async () => {
    await page.keyboard.press("t");
    await page.keyboard.press("p");
    const text = await page.textContent("main");
    for (const part of ['"type": "object"', '"model": "script"'])
      if (!text.includes(part)) throw new Error(`${part} is not shown`);
    await shot(page, "tools");
    await page.keyboard.press("t");
    await page.keyboard.press("p");
  });
  await test("k keeps and goes on; n writes a note, d drops with it", async () => {
    await page.keyboard.press("k");
    await at(page, 1);
    await page.keyboard.press("n");
    await page.keyboard.type("no kdu here");
    await page.keyboard.press("Enter");
    await page.keyboard.press("d");
    await at(page, 2);
    equal(verdicts(), [
      ["tools-0", "keep"],
      ["tools-1", "drop", "no kdu here"],
    ]);
  });
  await test("Space and b scroll a long sample", async () => {
    const top = () => page.evaluate(() => document.getElementById("sample").scrollTop);
    equal(await top(), 0);
    await page.keyboard.press("Space");
    await until(page, () => document.getElementById("sample").scrollTop > 100);
    await shot(page, "long");
    await page.keyboard.press("b");
    await until(page, () => document.getElementById("sample").scrollTop === 0);
  });
  await test("arrows go without a verdict, z takes one back, g goes to the first that is open", async () => {
    await page.keyboard.press("ArrowLeft");
    await at(page, 1);
    await status(page, "verdict: drop");
    await page.keyboard.press("z");
    await status(page, "no verdict yet");
    await page.keyboard.press("ArrowRight");
    await at(page, 2);
    await page.keyboard.press("ArrowRight");
    await at(page, 3);
    await page.keyboard.press("g");
    await at(page, 1);
  });
  await test("without the server a verdict is told to have failed, and the sample stays", async () => {
    await kill();
    await page.keyboard.press("k");
    await status(page, "failed: the command does not answer");
    equal(await page.evaluate(() => document.documentElement.dataset.index), "1");
    await shot(page, "failed");
    errors.length = 0;
  });
  await page.close();
  url = await begin();
  ({ page, errors } = await open(url, "dark"));
  await test("killed and started again, it stands at the first that is open; the rest is judged", async () => {
    await at(page, 1);
    await shot(page, "dark");
    for (const [key, next] of [
      ["u", 2],
      ["k", 3],
      ["d", 4],
    ]) {
      await page.keyboard.press(key);
      await at(page, next);
    }
    await page.keyboard.press("k");
    await status(page, "all samples have a verdict");
    await shot(page, "done");
    equal(verdicts().slice(3), [
      ["tools-1", "unsure"],
      ["long", "keep"],
      ["tools-3", "drop"],
      ["tools-4", "keep"],
    ]);
  });
  await test("no error in the page, none against its policy", async () => equal(errors, []));
  await test("another page's address without the token shows no sample", async () => {
    const { page: other } = await open(url.replace(/#.*/, "#wrong"), "light");
    await status(other, "token");
    equal(await other.textContent("main"), "");
  });
} catch (error) {
  failed++;
  console.log(`FAILED: ${error.stack}`);
} finally {
  await browser?.close();
  child?.removeAllListeners("exit");
  child?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
