// The verifiers and their sandboxes on the runtime that runs this: a JSON line for each check. Started by runtimes.mjs.
//   node|deno run -A|bun test/data/verify/anywhere.mjs
const { createSandbox, runVerifiers, verifierNames } = await import(
  new URL("../../../dist/host/verify.node.js", import.meta.url).href
);

const results = [];
const check = async (title, work) => {
  let error;
  try {
    await work();
  } catch (thrown) {
    error = String(thrown?.message ?? thrown).slice(0, 300);
  }
  results.push({ title, ok: error === undefined, ...(error === undefined ? {} : { error }) });
  console.log(JSON.stringify(results.at(-1)));
};
const is = (found, ...wanted) => {
  if (!wanted.includes(found.outcome ?? found))
    throw new Error(`expected ${wanted.join(" or ")}, found ${JSON.stringify(found)}`);
};

const sandbox = createSandbox({ timeMs: 2000 });
const js = (code, tests) => sandbox.run({ language: "javascript", code, tests });
const python = (code, tests) => sandbox.run({ language: "python", code, tests });

await check("javascript: a program and its tests", async () => {
  is(await js("function f(x) { return x + 1 }", "if (f(1) !== 2) throw 1"), "passed");
  is(await js("function f(x) { return x }", "if (f(1) !== 2) throw new Error('no')"), "failed");
});
await check("javascript: endless loops and memory end in time, and the next program runs", async () => {
  is(await js("for (;;);"), "timeout");
  is(await js("const a = []; for (;;) a.push(new Array(1e6).fill(1))"), "memory", "timeout", "failed");
  is(await js("1"), "passed");
});
await check("javascript: nothing of the host is there", async () => {
  const names = "process require fetch WebSocket Deno Bun XMLHttpRequest navigator setTimeout".split(" ");
  is(
    await js(`for (const n of ${JSON.stringify(names)}) if (typeof globalThis[n] !== "undefined") throw new Error(n)`),
    "passed",
  );
  is(await js("import('node:fs')"), "failed");
});
const bun = globalThis.process?.versions?.bun !== undefined;
if (bun)
  await check("python: refused, since Bun cannot stop it", async () => {
    const error = await python("x = 1").catch((thrown) => thrown);
    if (error.code !== "unsupported") throw new Error(`expected a refusal, found ${JSON.stringify(error)}`);
  });
else {
  await check("python: a program and its tests", async () => {
    is(await python("def f(x): return x + 1", "assert f(1) == 2"), "passed");
    is(await python("def f(x): return x", "assert f(1) == 2"), "failed");
  });
  await check("python: an endless loop ends in time, and the next program runs", async () => {
    is(await python("while True: pass"), "timeout");
    is(await python("x = 1"), "passed");
  });
  await check("python: no way to JavaScript, no host file, no process, no network", async () => {
    is(await python("import js\njs.fetch"), "failed");
    is(await python("import os\nos.fork()"), "failed");
    is(await python("open('/etc/passwd').read()"), "failed");
    is(await python("import socket\ns = socket.create_connection(('127.0.0.1', 80), 1)"), "failed");
  });
}
await sandbox.close();
await check("every other verifier says what it says on Node", async () => {
  const tools = [
    { type: "function", function: { name: "f", parameters: { type: "object", properties: { a: { type: "integer" } } } } },
  ];
  const call = (given) => ({
    role: "assistant",
    content: "I call f for it.",
    tool_calls: [{ function: { name: "f", arguments: given } }],
  });
  const sample = {
    response: undefined,
    messages: [{ role: "user", content: "x" }, call('{"a":1}')],
    tools,
    answer: "f",
    instruction_id_list: ["punctuation:no_comma", "language:response_language"],
    kwargs: [{}, { language: "en" }],
  };
  const names = verifierNames.filter((name) => name !== "code");
  const good = await runVerifiers(names, sample);
  for (const name of names) if (name !== "answer" && !good[name].ok) throw new Error(`${name}: ${good[name].reasons}`);
  const bad = await runVerifiers(["tools", "text", "answer"], {
    ...sample,
    messages: [call('{"a":"b"}')],
    response: "a ".repeat(500),
  });
  for (const [name, { ok }] of Object.entries(bad)) if (ok) throw new Error(`${name} passed what is wrong`);
});
if (results.some(({ ok }) => !ok)) globalThis.process.exitCode = 1;
