// Whose rows a step computes: the rules, each by itself, and what holds for whatever is ready.
import { expect, test } from "vitest";
import { PATIENCE, type Ready, type Room, schedule } from "../../src/engine/schedule.ts";
import { noise } from "../support/noise.ts";

const room: Room = { rows: 256, logits: 16, decode: 4, prompts: 256, chunk: 64 };
const decoding = (waited = 0): Ready => ({ left: 0, waited, logits: true });
const prompt = (left: number, waited = 0, logits = true): Ready => ({ left, waited, logits });

test("a text alone gets its row, and all rows with logits but that one may go to its draft", () => {
  expect(schedule([decoding()], room)).toEqual({ decode: [0], prefill: [], drafts: 15 });
  expect(schedule([], room)).toEqual({ decode: [], prefill: [], drafts: 0 });
});

test("a prompt alone fills the step", () => {
  expect(schedule([prompt(1000)], room)).toEqual({ decode: [], prefill: [{ index: 0, rows: 256 }], drafts: 0 });
  expect(schedule([prompt(100)], room)).toEqual({ decode: [], prefill: [{ index: 0, rows: 100 }], drafts: 0 });
});

test("texts that are decoded come first, and a prompt beside them takes one chunk", () => {
  expect(schedule([prompt(1000), decoding(), decoding()], room)).toEqual({
    decode: [1, 2],
    prefill: [{ index: 0, rows: 64 }],
    drafts: 14,
  });
});

test("of more texts than pay side by side, those that waited longest are decoded", () => {
  const ready = [0, 3, 1, 3, 2, 0].map(decoding);
  expect(schedule(ready, room).decode).toEqual([1, 3, 4, 2]);
});

test("the shortest prompts go first and share a chunk, which leaves at most one of them unfinished", () => {
  expect(schedule([prompt(500), prompt(30), decoding(), prompt(20)], room).prefill).toEqual([
    { index: 3, rows: 20 },
    { index: 1, rows: 30 },
    { index: 0, rows: 14 },
  ]);
});

test("a prompt that was passed over too often goes first", () => {
  expect(schedule([prompt(500, PATIENCE), prompt(30), decoding()], room).prefill).toEqual([{ index: 0, rows: 64 }]);
});

test("a prompt's last token waits for a row of logits; one that needs none does not", () => {
  const few = { ...room, logits: 1, decode: 1 };
  expect(schedule([decoding(), prompt(5)], few)).toEqual({ decode: [0], prefill: [{ index: 1, rows: 4 }], drafts: 0 });
  expect(schedule([decoding(), prompt(5, 0, false)], few).prefill).toEqual([{ index: 1, rows: 5 }]);
  expect(schedule([decoding(), prompt(1)], few)).toEqual({ decode: [0], prefill: [], drafts: 0 });
  expect(schedule([decoding(), prompt(1, PATIENCE)], few)).toEqual({ decode: [], prefill: [{ index: 1, rows: 1 }], drafts: 0 });
});

test("whatever is ready: no step is empty or too full, and nobody waits for ever", () => {
  const random = noise(3);
  const below = (n: number) => Math.floor(random() * n);
  for (let world = 0; world < 45; world++) {
    const rows = 1 + below(world % 3 ? 40 : 3);
    const room = { rows, logits: 1 + below(rows), decode: 1 + below(6), prompts: rows, chunk: 1 + below(20) };
    const texts = Array.from({ length: 1 + below(7) }, () => ({
      left: 1 + below(60),
      waited: 0,
      logits: random() < 0.8,
      turns: 0,
    }));
    for (let step = 0; step < 400; step++) {
      const turn = schedule(texts, room);
      const computed = turn.decode.length + turn.prefill.reduce((sum, part) => sum + part.rows, 0);
      expect(computed).toBeGreaterThan(0);
      expect(computed + turn.drafts).toBeLessThanOrEqual(room.rows);
      const ends = turn.prefill.filter(({ index, rows }) => texts[index]!.logits && rows === texts[index]!.left);
      expect(turn.decode.length + ends.length + turn.drafts).toBeLessThanOrEqual(room.logits);
      expect(turn.decode.length).toBeLessThanOrEqual(room.decode);
      expect(turn.prefill.filter(({ index, rows }) => rows < texts[index]!.left).length).toBeLessThanOrEqual(
        1 + turn.prefill.filter(({ index, rows }) => rows === texts[index]!.left - 1).length,
      );
      for (const text of texts) text.waited++;
      for (const index of turn.decode) Object.assign(texts[index]!, { waited: 0, turns: texts[index]!.turns + 1 });
      for (const { index, rows } of turn.prefill)
        Object.assign(texts[index]!, { waited: 0, left: texts[index]!.left - rows, turns: texts[index]!.turns + 1 });
      for (const text of texts) expect(text.waited).toBeLessThan(PATIENCE + 4 * texts.length + 2);
      // What was only to be read is followed by another prompt.
      for (const text of texts) if (text.left === 0 && !text.logits) text.left = 1 + below(60);
    }
    for (const text of texts) expect(text.turns).toBeGreaterThan(20);
  }
});
