// From the sums of a line to its likeliest labels, with the arithmetic of fastText's losses.
import { exp, logOf } from "./math";
import { dot, scale, total } from "./rows";

const HIERARCHICAL: i32 = 1;
const SOFTMAX: i32 = 3;

const SIGMOID = memory.data(513 * 4, 16);

let loss: i32 = 0;
let labels: i32 = 0;
let dense: bool = false;
let width: i32 = 0;
let sums: usize = 0;
/** Dense: the output matrix (labels, width) f32, and a factor a row, or 0. */
let output: usize = 0;
let norms: usize = 0;
/** f32 (labels). */
let outputs: usize = 0;
/** Pairs (logarithm f32, label i32), a heap whose front is the least. */
let heap: usize = 0;
let heapSize: i32 = 0;
/** Hierarchical: (left i32, right i32) for each inner node. */
let tree: usize = 0;

export function score_open(
  kind: i32,
  labelCount: i32,
  isDense: i32,
  floats: i32,
  sumsAt: usize,
  outputAt: usize,
  normsAt: usize,
  outputsAt: usize,
  heapAt: usize,
  treeAt: usize,
): void {
  loss = kind;
  labels = labelCount;
  dense = isDense != 0;
  width = floats;
  sums = sumsAt;
  output = outputAt;
  norms = normsAt;
  outputs = outputsAt;
  heap = heapAt;
  tree = treeAt;
  sigmoid_open();
}

export function sigmoid_open(): void {
  for (let i = 0; i <= 512; i++) {
    const x = <f32>(<f32>(i * 16) / 512 - 8);
    store<f32>(SIGMOID + ((<usize>i) << 2), <f32>(1.0 / (1.0 + <f64>(<f32>exp(-(<f64>x))))));
  }
}

export function sigmoid(x: f32): f32 {
  if (x < -8) return 0;
  if (x > 8) return 1;
  if (x != x) return x;
  return load<f32>(SIGMOID + ((<usize>(<i32>(((x + 8) * 512) / 8 / 2))) << 2));
}

/** The product of the hidden vector with row `i` of the output matrix; softmax, folded: minus that of row 0. */
function product(i: i32): f64 {
  if (!dense) {
    if (loss == SOFTMAX) {
      if (i == 0) return 0;
      i--;
    }
    return load<f64>(sums + ((<usize>i) << 3)) / total;
  }
  const x = dot(output + ((<usize>i * <usize>width) << 2), sums, width);
  return <f64>(norms ? x * load<f32>(norms + ((<usize>i) << 2)) : x);
}

function softmax(): void {
  let most = product(0);
  for (let i = 0; i < labels; i++) {
    const x = product(i);
    most = max(most, x);
    // Kept as float32 pairs would lose what folding keeps: computed again below.
  }
  if (dense) {
    let z: f32 = 0;
    for (let i = 0; i < labels; i++) {
      const e = <f32>exp(<f64>(<f32>product(i) - <f32>most));
      store<f32>(outputs + ((<usize>i) << 2), e);
      z += e;
    }
    for (let i = 0; i < labels; i++) {
      const at = outputs + ((<usize>i) << 2);
      store<f32>(at, load<f32>(at) / z);
    }
    return;
  }
  let z: f64 = 0;
  for (let i = 0; i < labels; i++) z += exp(product(i) - most);
  for (let i = 0; i < labels; i++) store<f32>(outputs + ((<usize>i) << 2), <f32>(exp(product(i) - most) / z));
}

// --- the k best, in the order in which libstdc++'s heap leaves equals --------------------------------------------------------

function keyAt(i: i32): f32 {
  return load<f32>(heap + ((<usize>i) << 3));
}

function entry(i: i32): u64 {
  return load<u64>(heap + ((<usize>i) << 3));
}

function setEntry(i: i32, value: u64): void {
  store<u64>(heap + ((<usize>i) << 3), value);
}

function keyOf(value: u64): f32 {
  return reinterpret<f32>(<u32>value);
}

function rise(hole: i32, top: i32, value: u64): void {
  let parent = (hole - 1) / 2;
  while (hole > top && keyAt(parent) > keyOf(value)) {
    setEntry(hole, entry(parent));
    hole = parent;
    parent = (hole - 1) / 2;
  }
  setEntry(hole, value);
}

function adjust(hole: i32, length: i32, value: u64): void {
  const top = hole;
  let child = hole;
  while (child < (length - 1) / 2) {
    child = 2 * (child + 1);
    if (keyAt(child) > keyAt(child - 1)) child--;
    setEntry(hole, entry(child));
    hole = child;
  }
  if ((length & 1) == 0 && child == (length - 2) / 2) {
    child = 2 * (child + 1);
    setEntry(hole, entry(child - 1));
    hole = child - 1;
  }
  rise(hole, top, value);
}

function popTo(last: i32): void {
  const value = entry(last);
  setEntry(last, entry(0));
  adjust(0, last, value);
}

function offer(key: f32, label: i32, k: i32): void {
  const value = ((<u64>(<u32>label)) << 32) | <u64>reinterpret<u32>(key);
  heapSize++;
  rise(heapSize - 1, 0, value);
  if (heapSize > k) {
    popTo(heapSize - 1);
    heapSize--;
  }
}

function descend(node: i32, score: f32, k: i32, least: f32): void {
  if (score < least) return;
  if (heapSize == k && score < keyAt(0)) return;
  if (node < labels) return offer(score, node, k);
  const inner = node - labels;
  // float32 where the original's is: e^-x, and 1 + that.
  const f = <f32>(1.0 / <f64>(<f32>1 + <f32>exp(-(<f64>(<f32>product(inner))))));
  const at = tree + ((<usize>inner) << 3);
  descend(load<i32>(at), score + logOf(<f32>(1.0 - <f64>f)), k, least);
  descend(load<i32>(at, 4), score + logOf(f), k, least);
}

/**
 * The k likeliest labels, best first, as pairs (probability f32, label i32) at the heap's place; how many there are. A label whose
 * probability is below the threshold is left out.
 */
export function score_best(k: i32, threshold: f32): i32 {
  heapSize = 0;
  if (total == 0 || k <= 0) return 0;
  if (dense) scale(sums, <f32>(1.0 / total), width);
  if (loss == HIERARCHICAL) descend(2 * labels - 2, 0, k, logOf(threshold));
  else {
    if (loss == SOFTMAX) softmax();
    else for (let i = 0; i < labels; i++) store<f32>(outputs + ((<usize>i) << 2), sigmoid(<f32>product(i)));
    for (let i = 0; i < labels; i++) {
      const p = load<f32>(outputs + ((<usize>i) << 2));
      if (p < threshold) continue;
      const key = logOf(p);
      if (heapSize == k && key < keyAt(0)) continue;
      offer(key, i, k);
    }
  }
  for (let last = heapSize; last > 1; ) popTo(--last);
  for (let i = 0; i < heapSize; i++) store<f32>(heap + ((<usize>i) << 3), <f32>exp(<f64>keyAt(i)));
  return heapSize;
}
