// Between the terminal and the line editor: pasted text is one piece, however it is cut, and typing ahead waits.
import { expect, test } from "vitest";
import { Keys, textOfLine } from "../../src/cli/keys.ts";

function rig() {
  let seen = "";
  let interrupts = 0;
  const keys = new Keys({ setRawMode: () => undefined as never }, () => interrupts++);
  keys.on("data", (text: string) => (seen += text));
  const tick = () => new Promise((resolve) => setImmediate(resolve));
  const type = async (...parts: (string | Uint8Array)[]) => {
    for (const part of parts) keys.write(part);
    await tick();
  };
  return {
    keys,
    type,
    tick,
    take(): string {
      const found = seen;
      seen = "";
      return found;
    },
    interrupts: () => interrupts,
  };
}

const paste = "\u001b[200~eins\r\nzwei\tdrei\rvier ␤\u0007\u001b[31m\r\u001b[201~";

test("a paste is one line, whatever is in it and wherever the terminal's writes are cut", async () => {
  const bytes = new TextEncoder().encode(`ä${paste}!\r`);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { keys, type, take } = rig();
    keys.open();
    await type(bytes.slice(0, cut), bytes.slice(cut));
    const line = take();
    expect(line.endsWith("\r")).toBe(true);
    expect(textOfLine(line.slice(0, -1))).toBe("äeins\nzwei    drei\nvier ␤[31m!");
  }
});

test("keys pass as they are, and a lone escape with what follows it", async () => {
  const { keys, type, take } = rig();
  keys.open();
  await type("a\u001b[A\u001b[D", "\u001b", "b", "\u007f");
  expect(take()).toBe("a\u001b[A\u001b[D\u001bb\u007f");
  await type("x\u001b\ry\r");
  expect(textOfLine(take())).toBe("x\ny\r");
});

test("after a line's end the rest waits for its turn, line by line", async () => {
  const { keys, type, take, tick } = rig();
  await type("one\rtwo\r\nthr");
  expect(take()).toBe("");
  for (const line of ["one\r", "two\r", "thr"]) {
    keys.open();
    await tick();
    expect(take()).toBe(line);
  }
  await type("ee\r");
  expect(take()).toBe("ee\r");
});

test("Ctrl-C during an answer is told and drops what was typed ahead; at the prompt it is a key", async () => {
  const { keys, type, take, tick, interrupts } = rig();
  await type("typed\u0003ahead");
  expect(interrupts()).toBe(1);
  keys.open();
  await tick();
  expect(take()).toBe("ahead");
  await type("\u0003");
  expect({ took: take(), interrupts: interrupts() }).toEqual({ took: "\u0003", interrupts: 1 });
});
