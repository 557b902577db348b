// Training, in fastText's order of operations and with its generator, so that one thread gives its numbers. Several threads share the
// matrices without locks (hogwild): the rows that two of them change at once are few.
import { labelCount, line_begin, line_ended, line_finish, line_take, tokenCount } from "./line";
import { exp, log } from "./math";
import { addRow, addRows, addScaled, addToBoth, dot, dots, scale } from "./rows";
import { sigmoid } from "./score";

const HIERARCHICAL: i32 = 1;
const NEGATIVE: i32 = 2;
const SOFTMAX: i32 = 3;

let input: usize = 0;
let output: usize = 0;
let dim: i32 = 0;
let loss: i32 = 0;
let labels: i32 = 0;
let neg: i32 = 0;
let rows: usize = 0;
let room: i32 = 0;
let targets: usize = 0;
let hidden: usize = 0;
let grad: usize = 0;
let outputs: usize = 0;
/** Negative sampling: labels by how often they are drawn. */
let negatives: usize = 0;
let negativeCount: u32 = 0;
/** Hierarchical: parent of each node (i32), and whether it is a right child, in bit 31. */
let parents: usize = 0;

/** minstd_rand: x <- 48271 x mod 2^31 - 1. */
let state: u64 = 1;
let lossSum: f64 = 0;
let examples: f64 = 0;

export function train_seed(seed: f64): void {
  state = <u64>seed % 2147483647;
  if (state == 0) state = 1;
}

function draw(): u64 {
  state = (state * 48271) % 2147483647;
  return state;
}

// Uniform in [0, count), as libstdc++ draws it.
function below(count: u64): u64 {
  const scaling = 2147483645 / count;
  const past = count * scaling;
  let x = draw() - 1;
  while (x >= past) x = draw() - 1;
  return x / scaling;
}

// Fills floats [0, count) with uniform numbers from [-bound, bound): two draws each, as libstdc++ makes a double of them.
export function train_fill(at: usize, count: u32, bound: f32): void {
  const range: f64 = 2147483646;
  const square = range * range;
  const low = -(<f64>bound);
  const width = <f64>bound - low;
  for (let i: u32 = 0; i < count; i++) {
    let sum = <f64>(draw() - 1);
    sum += <f64>(draw() - 1) * range;
    let x = sum / square;
    if (x >= 1) x = 0.9999999999999999;
    store<f32>(at + ((<usize>i) << 2), <f32>(x * width + low));
  }
}

export function train_open(
  kind: i32,
  floats: i32,
  labelTotal: i32,
  inputAt: usize,
  outputAt: usize,
  rowsAt: usize,
  rowRoom: i32,
  targetsAt: usize,
  hiddenAt: usize,
  gradAt: usize,
  outputsAt: usize,
): void {
  loss = kind;
  dim = floats;
  labels = labelTotal;
  input = inputAt;
  output = outputAt;
  rows = rowsAt;
  room = rowRoom;
  targets = targetsAt;
  hidden = hiddenAt;
  grad = gradAt;
  outputs = outputsAt;
  lossSum = 0;
  examples = 0;
}

export function train_negatives(at: usize, count: u32, draws: i32): void {
  negatives = at;
  negativeCount = count;
  neg = draws;
}

export function train_tree(at: usize): void {
  parents = at;
}

export function train_loss(): f64 {
  return lossSum / max<f64>(examples, 1);
}

export function train_examples(): f64 {
  return examples;
}

// -log(p) of a probability, kept finite.
function surprise(p: f32): f64 {
  return -log(max<f64>(<f64>p, 1e-30));
}

// The row whose number lies at p.
function inputRow(p: usize): usize {
  return input + ((<usize>load<u32>(p) * <usize>dim) << 2);
}

function outputRow(i: i32): usize {
  return output + ((<usize>i * <usize>dim) << 2);
}

function step(row: i32, alpha: f32): void {
  const at = outputRow(row);
  addScaled(grad, at, alpha, dim);
  addScaled(at, hidden, alpha, dim);
}

function binary(row: i32, isPositive: bool, lr: f32): f64 {
  const score = sigmoid(dot(outputRow(row), hidden, dim));
  step(row, lr * (<f32>(isPositive ? 1 : 0) - score));
  return isPositive ? surprise(score) : surprise(1 - score);
}

function softmax(target: i32, lr: f32): f64 {
  let i = 0;
  for (; i + 2 <= labels; i += 2) dots(outputRow(i), outputRow(i + 1), hidden, dim, outputs + ((<usize>i) << 2));
  if (i < labels) store<f32>(outputs + ((<usize>i) << 2), dot(outputRow(i), hidden, dim));
  let most = load<f32>(outputs);
  for (i = 1; i < labels; i++) most = max(most, load<f32>(outputs + ((<usize>i) << 2)));
  let z: f32 = 0;
  for (i = 0; i < labels; i++) {
    const at = outputs + ((<usize>i) << 2);
    const e = <f32>exp(<f64>(load<f32>(at) - most));
    store<f32>(at, e);
    z += e;
  }
  for (i = 0; i < labels; i++) {
    const at = outputs + ((<usize>i) << 2);
    const p = load<f32>(at) / z;
    store<f32>(at, p);
    step(i, lr * (<f32>(i == target ? 1 : 0) - p));
  }
  return surprise(load<f32>(outputs + ((<usize>target) << 2)));
}

function contains(label: i32): bool {
  for (let i = 0; i < labelCount; i++) if (load<i32>(targets + ((<usize>i) << 2)) == label) return true;
  return false;
}

function touch(p: usize): u32 {
  return load<u32>(inputRow(p));
}

function update(count: i32, lr: f32): void {
  memory.fill(hidden, 0, (<usize>dim) << 2);
  memory.fill(grad, 0, (<usize>dim) << 2);
  const end = rows + ((<usize>count) << 2);
  let p = rows;
  // Rows of a few words at once: they miss the cache together.
  for (; p + 16 <= end; p += 16) {
    // The next rows are asked for meanwhile; what is read goes where the outputs will be.
    if (p + 32 <= end) store<u32>(outputs, touch(p + 16) ^ touch(p + 20) ^ touch(p + 24) ^ touch(p + 28));
    addRows(hidden, inputRow(p), inputRow(p + 4), inputRow(p + 8), inputRow(p + 12), dim);
  }
  for (; p < end; p += 4) addRow(hidden, inputRow(p), dim);
  const share = <f32>(1.0 / <f64>count);
  scale(hidden, share, dim);
  let sum: f64 = 0;
  if (loss == SOFTMAX || loss == NEGATIVE || loss == HIERARCHICAL) {
    const target = load<i32>(targets + ((<usize>below(labelCount)) << 2));
    if (loss == SOFTMAX) sum = softmax(target, lr);
    else if (loss == NEGATIVE) {
      sum = binary(target, true, lr);
      for (let n = 0; n < neg; n++) {
        let other = target;
        while (other == target) other = load<i32>(negatives + ((<usize>below(negativeCount)) << 2));
        sum += binary(other, false, lr);
      }
    } else {
      let node = target;
      while (node != 2 * labels - 2) {
        const up = load<u32>(parents + ((<usize>node) << 2));
        const parent = <i32>(up & 0x7fffffff);
        sum += binary(parent - labels, up >> 31 != 0, lr);
        node = parent;
      }
    }
  } else for (let i = 0; i < labels; i++) sum += binary(i, contains(i), lr);
  lossSum += sum;
  examples += 1;
  scale(grad, share, dim);
  p = rows;
  for (; p + 8 <= end; p += 8) addToBoth(inputRow(p), inputRow(p + 4), grad, dim);
  if (p < end) addRow(inputRow(p), grad, dim);
}

let local: f64 = 0;

/** Tokens of this thread that it has not yet told of. */
export function train_local(): f64 {
  return local;
}

export function train_told(): void {
  local = 0;
}

// 1: the call ended because `updates` tokens are to be told of; 2: a line has more rows or labels than there is room for.
let why: i32 = 0;
export function train_why(): i32 {
  return why;
}

let begun: bool = false;

export function train_restart(): void {
  begun = false;
  local = 0;
}

/**
 * Trains on the lines in [at, end); gives the bytes used up. Returns early after a line that brings the thread's tokens beyond
 * `updates`, so that the rate can be lowered. A line that reaches the end waits for more, unless these bytes are the last.
 */
export function train_take(at: usize, end: usize, last: i32, hashes: usize, lr: f32, updates: f64): usize {
  why = 0;
  let p = at;
  while (p < end || begun) {
    if (!begun) line_begin(hashes);
    begun = true;
    p += line_take(p, end, last);
    if (!line_ended() && !last) break;
    begun = false;
    // Rows of the whole line must lie together: the buffer is larger than any line that is taken.
    line_finish_kept();
    if (why != 0) break;
    local += <f64>tokenCount;
    if (keptRows > 0 && labelCount > 0) update(keptRows, lr);
    if (local > updates) {
      why = 1;
      break;
    }
    if (!line_ended()) break;
  }
  return p - at;
}

let keptRows: i32 = 0;

function line_finish_kept(): void {
  kept = 0;
  line_finish();
  keptRows = kept;
  if (keptRows >= room || labelCount > labels + 1024) why = 2;
}

export let kept: i32 = 0;
/** Rows of a line were handed over: they lie at the beginning of the buffer. */
export function keepRows(count: i32): void {
  kept = kept > 0 ? room : count;
}
