// Models and sessions: what may be passed, in which order things end.
import { describe, expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { doors, endless, open, promptOf } from "../support/door.ts";

const never = (work: () => unknown) => async () => work();

describe.each(Object.entries(doors))("%s", (_, door) => {
  test("logits, tokens and saved states are arrays of the right kind, and the caller's to keep", async () => {
    const model = await open(door);
    await using session = await model.session();
    const logits = await session.forward([1, 2, 3]);
    expect(logits).toBeInstanceOf(Float32Array);
    expect(logits).toHaveLength(model.info.config.vocab);
    expect(await session.forward(Int32Array.of(4), { logits: "none" })).toHaveLength(0);
    const tokens = await session.tokens();
    expect(tokens).toEqual(Int32Array.of(1, 2, 3, 4));
    const saved = await session.save();
    const copies = {
      "a Uint8Array": saved,
      "a Node Buffer of the pool": Buffer.from(saved),
      "a view with an offset": new Uint8Array([...new Uint8Array(7), ...saved]).subarray(7),
      "an ArrayBuffer": saved.slice().buffer,
      "a DataView": new DataView(saved.slice().buffer),
      "shared memory": (() => {
        const shared = new Uint8Array(new SharedArrayBuffer(saved.length));
        shared.set(saved);
        return shared;
      })(),
    };
    for (const [kind, bytes] of Object.entries(copies)) {
      const before = bytes.byteLength;
      await using restored = await model.restore(bytes);
      expect(await restored.tokens(), kind).toEqual(tokens);
      expect(bytes.byteLength, `${kind} stays the caller's`).toBe(before);
    }
    for (const wrong of [null, undefined, "text", 7, {}, [1, 2]] as never[])
      await expect(model.restore(wrong)).rejects.toMatchObject({ code: "bad-input" });
  });

  test("what are no tokens is refused with a code, whatever it is", async () => {
    const model = await open(door);
    await using session = await model.session();
    for (const wrong of [null, undefined, 7, {}, new Map(), true, Symbol("x")] as never[]) {
      await expect(session.forward(wrong), "forward").rejects.toMatchObject({ code: "bad-input" });
      await expect(session.trace(wrong), "trace").rejects.toMatchObject({ code: "bad-input" });
      if (typeof wrong !== "string")
        await expect(never(() => session.generate(wrong))(), "generate").rejects.toMatchObject({ code: "bad-input" });
    }
    for (const options of [7, "x", [], new Map(), () => {}] as never[])
      for (const call of [
        () => session.forward([1], options),
        () => session.trace([1], options),
        () => session.profile(options),
        () => session.generate("a", options),
        () => session.chat([{ role: "user", content: "a" }], options),
        () => model.session(options),
      ])
        await expect(never(call)()).rejects.toMatchObject({ code: "bad-option" });
    await expect(session.forward([1], { signal: {} as AbortSignal })).rejects.toMatchObject({ code: "bad-option" });
    await expect(session.truncate(null as never)).rejects.toMatchObject({ code: "bad-option" });
  });

  test("disposing a session ends its own generation at once, and a second call ends with the first", async () => {
    const model = await open(door);
    const [session, other] = [await model.session(), await model.session()];
    let parts = 0;
    const running = (async () => {
      for await (const _ of session.generate(promptOf(30), { ...endless, whenFull: "slide", maxTokens: 1_000_000 })) parts++;
    })();
    const failed = running.catch((error: unknown) => error);
    while (parts < 3) await new Promise((resolve) => setImmediate(resolve));
    const ends: string[] = [];
    const first = session.dispose().then(() => ends.push("first"));
    const second = session.dispose().then(() => ends.push("second"));
    await Promise.all([first, second]);
    expect(ends).toEqual(["first", "second"]);
    expect(await failed).toMatchObject({ name: "CpmError", code: "closed" });
    await expect(session.tokens()).rejects.toMatchObject({ code: "closed" });
    expect(await other.forward([1], { logits: "none" })).toHaveLength(0);
  });

  test("disposing a model twice resolves when it is closed, and sessions may be disposed after it", async () => {
    const model = await open(door);
    const session = await model.session();
    const running = session.generate(promptOf(100), endless).catch((error: unknown) => error);
    const order: string[] = [];
    await Promise.all([model.dispose().then(() => order.push("1")), model.dispose().then(() => order.push("2"))]);
    expect(order).toEqual(["1", "2"]);
    expect(await running).toMatchObject({ code: "closed" });
    await session.dispose();
    await session.dispose();
    expect(() => model.generate("a")).toThrow(CpmError);
  });

  test("a chat takes what OpenAI-style callers write", async () => {
    const model = await open(door);
    const plain = model.formatChat([{ role: "user", content: "one two" }]);
    const parts = [
      { type: "text", text: "one " },
      { type: "text", text: "two" },
    ];
    expect(model.formatChat([{ role: "user", content: parts } as never])).toBe(plain);
    expect(model.formatChat([{ role: "user", content: "one two", name: null, tool_calls: null, refusal: null } as never])).toBe(
      plain,
    );
    const options = { ...endless, maxTokens: 4, seed: null, stop: null, topK: null, signal: null, onPrefill: null } as never;
    const written = await model.chat([{ role: "user", content: parts } as never], options);
    expect(written.tokens).toEqual(
      (await model.chat([{ role: "user", content: "one two" }], { ...endless, maxTokens: 4 })).tokens,
    );
    for (const content of [[{ type: "image_url", image_url: { url: "x" } }], [{ type: "text" }], [7], [null]])
      expect(() => model.formatChat([{ role: "user", content } as never])).toThrow(
        expect.objectContaining({ code: "bad-input", message: expect.stringMatching(/messages\[0\]\.content\[0\]/) }),
      );
  });

  test("one stop text is a list of one, and the result tells which ended it", async () => {
    const model = await open(door);
    const free = await model.generate(promptOf(20), { ...endless, maxTokens: 20 });
    const mark = free.text.at(5)!;
    for (const stop of [mark, [mark], ["\u0000", mark]])
      expect(await model.generate(promptOf(20), { ...endless, maxTokens: 20, stop })).toMatchObject({
        finishReason: "stop-string",
        stopString: mark,
      });
    expect(() => model.generate("a", { stop: "" })).toThrow(/stop: expected a text or a list of texts/);
  });
});
