// The verifiers and their sandboxes on whatever runtime runs this: `say(title, error)` hears of each check. `every`: one in so many of Python's escapes.
import { tryEscapes } from "./escapes.mjs";

export async function runChecks({ createSandbox, runVerifiers, verifierNames }, options, say, every = 1) {
  const check = async (title, work) => {
    try {
      await work();
      say(title);
    } catch (thrown) {
      say(title, String(thrown?.message ?? thrown).slice(0, 400));
    }
  };
  const is = (found, ...wanted) => {
    if (!wanted.includes(found.outcome)) throw new Error(`expected ${wanted.join(" or ")}, found ${JSON.stringify(found)}`);
  };
  const sandbox = createSandbox({ timeMs: 2000, ...options });
  const js = (code, tests) => sandbox.run({ language: "javascript", code, tests });
  const tell = (name, ok, found) => say(name, ok ? undefined : JSON.stringify(found).slice(0, 400));

  await check("javascript: a program and its tests", async () => {
    is(await js("function f(x) { return x + 1 }", "if (f(1) !== 2) throw 1"), "passed");
    is(await js("function f(x) { return x }", "if (f(1) !== 2) throw new Error('no')"), "failed");
  });
  await tryEscapes(sandbox, "javascript", tell);
  await sandbox.close();
  // Loading Python alone takes seconds; a busy machine is not to be taken for a program that does not end.
  const patient = createSandbox({ timeMs: 20_000, ...options });
  await check("python: a program and its tests", async () => {
    const run = (code, tests) => patient.run({ language: "python", code, tests });
    is(await run("def f(x): return x + 1", "assert f(1) == 2"), "passed");
    is(await run("def f(x): return x", "assert f(1) == 2"), "failed");
  });
  await patient.close();
  const strict = createSandbox({ timeMs: 4000, ...options });
  await tryEscapes(strict, "python", tell, every);
  await strict.close();

  await check("every other verifier says what it says elsewhere", async () => {
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
}
