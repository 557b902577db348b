// What is done with the rows of a line: they are summed (folded: a few float32 a row, in float64; dense: a row of the input matrix,
// in float32 and in order, as fastText does), or kept for training.
import { rowCount } from "./line";
import { keepRows } from "./train";

const FOLDED: i32 = 0;
const DENSE: i32 = 1;
const KEPT: i32 = 2;

let mode: i32 = FOLDED;
let table: usize = 0;
/** Floats a row. */
let width: i32 = 0;
/** f64 (width) or f32 (width). */
let sums: usize = 0;
/** Rows summed so far, and whether rows to be kept were too many. */
export let total: f64 = 0;

export function rows_open(kind: i32, tableAt: usize, floats: i32, sumsAt: usize): void {
  mode = kind;
  table = tableAt;
  width = floats;
  sums = sumsAt;
}

export function rows_begin(): void {
  total = 0;
  if (mode <= DENSE) memory.fill(sums, 0, (<usize>width) << (mode == DENSE ? 2 : 3));
}

// Rows of the line so far, those not yet handed over included.
export function rows_total(): f64 {
  return total + <f64>rowCount;
}

export function rowsAreFull(rows: usize, count: i32): void {
  total += <f64>count;
  if (mode == KEPT) return keepRows(count);
  const end = rows + ((<usize>count) << 2);
  if (mode == DENSE) for (let p = rows; p < end; p += 4) addRow(sums, table + ((<usize>(load<u32>(p) * <u32>width)) << 2), width);
  else if (mode == FOLDED) {
    if (width == 1) addOnes(rows, end);
    else for (let p = rows; p < end; p += 4) addFolded(table + ((<usize>(load<u32>(p) * <u32>width)) << 2));
  }
}

function addOnes(rows: usize, end: usize): void {
  let sum = load<f64>(sums);
  let p = rows;
  // Loads of a few rows at once: they miss the cache, and need not wait for each other's additions.
  for (; p + 16 <= end; p += 16) {
    const a = load<f32>(table + ((<usize>load<u32>(p)) << 2));
    const b = load<f32>(table + ((<usize>load<u32>(p, 4)) << 2));
    const c = load<f32>(table + ((<usize>load<u32>(p, 8)) << 2));
    const d = load<f32>(table + ((<usize>load<u32>(p, 12)) << 2));
    sum = sum + <f64>a + <f64>b + <f64>c + <f64>d;
  }
  for (; p < end; p += 4) sum += <f64>load<f32>(table + ((<usize>load<u32>(p)) << 2));
  store<f64>(sums, sum);
}

function addFolded(row: usize): void {
  let i = 0;
  for (; i + 2 <= width; i += 2) {
    const at = sums + ((<usize>i) << 3);
    v128.store(at, f64x2.add(v128.load(at), f64x2.promote_low_f32x4(v128.load64_zero(row + ((<usize>i) << 2)))));
  }
  if (i < width) {
    const at = sums + ((<usize>i) << 3);
    store<f64>(at, load<f64>(at) + <f64>load<f32>(row + ((<usize>i) << 2)));
  }
}

// to += row, element by element.
export function addRow(to: usize, row: usize, count: i32): void {
  const end = row + ((<usize>count) << 2);
  const whole = row + ((<usize>(count & ~15)) << 2);
  for (; row < whole; row += 64, to += 64) {
    v128.store(to, f32x4.add(v128.load(to), v128.load(row)));
    v128.store(to, f32x4.add(v128.load(to, 16), v128.load(row, 16)), 16);
    v128.store(to, f32x4.add(v128.load(to, 32), v128.load(row, 32)), 32);
    v128.store(to, f32x4.add(v128.load(to, 48), v128.load(row, 48)), 48);
  }
  for (; row < end; row += 4, to += 4) store<f32>(to, load<f32>(to) + load<f32>(row));
}

// to += a, b, c and d in turn: what addRow does four times, with one look at `to`.
export function addRows(to: usize, a: usize, b: usize, c: usize, d: usize, count: i32): void {
  const end = to + ((<usize>count) << 2);
  const whole = to + ((<usize>(count & ~3)) << 2);
  for (; to < whole; to += 16, a += 16, b += 16, c += 16, d += 16) {
    const ab = f32x4.add(f32x4.add(v128.load(to), v128.load(a)), v128.load(b));
    v128.store(to, f32x4.add(f32x4.add(ab, v128.load(c)), v128.load(d)));
  }
  for (; to < end; to += 4, a += 4, b += 4, c += 4, d += 4)
    store<f32>(to, load<f32>(to) + load<f32>(a) + load<f32>(b) + load<f32>(c) + load<f32>(d));
}

// a += row, then b += row: they may be the same.
export function addToBoth(a: usize, b: usize, row: usize, count: i32): void {
  const end = row + ((<usize>count) << 2);
  const whole = row + ((<usize>(count & ~3)) << 2);
  for (; row < whole; row += 16, a += 16, b += 16) {
    const x = v128.load(row);
    v128.store(a, f32x4.add(v128.load(a), x));
    v128.store(b, f32x4.add(v128.load(b), x));
  }
  for (; row < end; row += 4, a += 4, b += 4) {
    const x = load<f32>(row);
    store<f32>(a, load<f32>(a) + x);
    store<f32>(b, load<f32>(b) + x);
  }
}

// to += row * factor, rounded twice.
export function addScaled(to: usize, row: usize, factor: f32, count: i32): void {
  const end = row + ((<usize>count) << 2);
  const whole = row + ((<usize>(count & ~3)) << 2);
  const f = f32x4.splat(factor);
  for (; row < whole; row += 16, to += 16) v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f, v128.load(row))));
  for (; row < end; row += 4, to += 4) store<f32>(to, load<f32>(to) + factor * load<f32>(row));
}

// x *= factor.
export function scale(at: usize, factor: f32, count: i32): void {
  const end = at + ((<usize>count) << 2);
  const f = f32x4.splat(factor);
  for (; at + 16 <= end; at += 16) v128.store(at, f32x4.mul(v128.load(at), f));
  for (; at < end; at += 4) store<f32>(at, load<f32>(at) * factor);
}

// A dot product summed in order, in float32.
export function dot(a: usize, b: usize, count: i32): f32 {
  let sum: f32 = 0;
  const end = a + ((<usize>count) << 2);
  for (; a < end; a += 4, b += 4) sum += load<f32>(a) * load<f32>(b);
  return sum;
}

// Two such products with the same b, side by side: neither waits for the other's sum. They go to `to` and behind it.
export function dots(a: usize, c: usize, b: usize, count: i32, to: usize): void {
  let x: f32 = 0;
  let y: f32 = 0;
  const end = a + ((<usize>count) << 2);
  for (; a < end; a += 4, c += 4, b += 4) {
    const factor = load<f32>(b);
    x += load<f32>(a) * factor;
    y += load<f32>(c) * factor;
  }
  store<f32>(to, x);
  store<f32>(to, y, 4);
}

// Folds `count` rows of `dim` floats at `from`: to each value v of a row, in float64, the dot product with vector v.
// vectors: (values, dim) f64, to: (count, values) f32.
export function fold_rows(from: usize, count: i32, dim: i32, vectors: usize, values: i32, to: usize): void {
  for (let r = 0; r < count; r++) {
    const row = from + ((<usize>r * <usize>dim) << 2);
    for (let v = 0; v < values; v++) {
      const vector = vectors + ((<usize>v * <usize>dim) << 3);
      let a = f64x2.splat(0);
      let b = f64x2.splat(0);
      let i = 0;
      for (; i + 4 <= dim; i += 4) {
        const x = v128.load(row + ((<usize>i) << 2));
        const at = vector + ((<usize>i) << 3);
        a = f64x2.add(a, f64x2.mul(f64x2.promote_low_f32x4(x), v128.load(at)));
        b = f64x2.add(b, f64x2.mul(f64x2.promote_low_f32x4(v128.shuffle<u64>(x, x, 1, 0)), v128.load(at, 16)));
      }
      a = f64x2.add(a, b);
      let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
      for (; i < dim; i++) sum += <f64>load<f32>(row + ((<usize>i) << 2)) * load<f64>(vector + ((<usize>i) << 3));
      store<f32>(to + ((<usize>(r * values + v)) << 2), <f32>sum);
    }
  }
}
