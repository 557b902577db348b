// Reading ahead: what is asked for, when, and that every byte is the right one.
import { expect, test } from "vitest";
import { chunksOf, ReadAhead } from "../../src/file/readahead.ts";

const MiB = 1024 * 1024;
const data = Uint8Array.from({ length: 12 * MiB }, (_, i) => (i * 2654435761) >>> 24);

/** A file whose requests are answered when the test says so. */
function slow() {
  const asked: { offset: number; length: number; answer: () => void; fail: (error: Error) => void }[] = [];
  const fetch = (offset: number, length: number) =>
    new Promise<Uint8Array>((resolve, reject) => {
      asked.push({ offset, length, answer: () => resolve(data.slice(offset, offset + length)), fail: reject });
    });
  return { asked, fetch };
}
const quick = async (offset: number, length: number) => data.slice(offset, offset + length);

test("neighbours are asked for together, long ranges in pieces, gaps are left out", () => {
  expect(chunksOf([])).toEqual([]);
  expect(
    chunksOf([
      { offset: 100, length: 50 },
      { offset: 150, length: 10 },
      { offset: 200, length: 0 },
      { offset: 300, length: 9 * MiB },
      { offset: 300 + 9 * MiB, length: 5 },
      { offset: 0, length: 100 },
    ]),
  ).toEqual([
    { offset: 100, length: 60 },
    { offset: 300, length: 4 * MiB },
    { offset: 300 + 4 * MiB, length: 4 * MiB },
    { offset: 300 + 8 * MiB, length: MiB + 5 },
    { offset: 0, length: 100 },
  ]);
});

test("reads in order get their bytes, across requests and in parts of one", async () => {
  const ahead = new ReadAhead(quick, [
    { offset: 10, length: 20 },
    { offset: 1000, length: 11 * MiB },
  ]);
  for (const [offset, length] of [
    [10, 5],
    [15, 15],
    [1000, 3 * MiB],
    [1000 + 3 * MiB, 6 * MiB],
    [1000 + 9 * MiB, 2 * MiB],
  ] as const) {
    const bytes = await ahead.read(offset, length);
    expect(bytes && Buffer.compare(bytes, data.subarray(offset, offset + length)), `${length} at ${offset}`).toBe(0);
  }
  expect(await ahead.read(1000, 5)).toBeUndefined();
});

test("a read of what was not announced is left to the caller, and what was passed over is dropped", async () => {
  const ahead = new ReadAhead(quick, [
    { offset: 0, length: 100 },
    { offset: 5000, length: 100 },
    { offset: 9000, length: 100 },
  ]);
  expect(await ahead.read(200, 10)).toBeUndefined();
  expect(await ahead.read(5050, 100)).toBeUndefined();
  expect(await ahead.read(5000, 100)).toEqual(data.slice(5000, 5100));
  expect(await ahead.read(0, 100)).toBeUndefined();
  ahead.end();
  expect(await ahead.read(9000, 100)).toBeUndefined();
});

test("at most six requests and 16 MiB are under way, and every read asks for more", async () => {
  const few = slow();
  const small = new ReadAhead(
    few.fetch,
    Array.from({ length: 9 }, (_, i) => ({ offset: 1000 * i, length: 10 })),
  );
  expect(few.asked.length).toBe(6);
  const first = small.read(0, 10);
  expect(few.asked.length).toBe(7);
  few.asked[0]!.answer();
  expect(await first).toEqual(data.slice(0, 10));

  const large = slow();
  new ReadAhead(large.fetch, [{ offset: 0, length: 100 * MiB }]);
  expect(large.asked.map((request) => request.length)).toEqual([4 * MiB, 4 * MiB, 4 * MiB, 4 * MiB]);
});

test("a request that fails is told to the read that needed it", async () => {
  const { asked, fetch } = slow();
  const ahead = new ReadAhead(fetch, [
    { offset: 0, length: 10 },
    { offset: 100, length: 10 },
  ]);
  asked[1]!.fail(new Error("gone"));
  const second = ahead.read(100, 10);
  await expect(second).rejects.toThrow("gone");
});
