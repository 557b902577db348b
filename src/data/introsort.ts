// Sorting with the moves of libstdc++'s std::sort (introsort: Musser 1997), which is not stable: fastText's dictionaries are in the
// order in which it leaves equals, and files shall be the same to the byte.

type Less = (a: number, b: number) => boolean;

const SMALL = 16;

/** Sorts ids in place. */
export function introsort(a: Int32Array, less: Less): void {
  const n = a.length;
  if (n === 0) return;
  loop(a, 0, n, 2 * Math.floor(Math.log2(n)), less);
  if (n > SMALL) {
    insertion(a, 0, SMALL, less);
    for (let i = SMALL; i < n; i++) sink(a, i, less);
  } else insertion(a, 0, n, less);
}

function swap(a: Int32Array, i: number, j: number): void {
  const x = a[i]!;
  a[i] = a[j]!;
  a[j] = x;
}

function loop(a: Int32Array, first: number, last: number, depth: number, less: Less): void {
  while (last - first > SMALL) {
    if (depth-- === 0) {
      heapSort(a, first, last, less);
      return;
    }
    const middle = first + ((last - first) >> 1);
    medianToFirst(a, first, first + 1, middle, last - 1, less);
    const cut = partition(a, first + 1, last, a[first]!, less);
    loop(a, cut, last, depth, less);
    last = cut;
  }
}

function medianToFirst(a: Int32Array, to: number, x: number, y: number, z: number, less: Less): void {
  if (less(a[x]!, a[y]!)) {
    if (less(a[y]!, a[z]!)) swap(a, to, y);
    else if (less(a[x]!, a[z]!)) swap(a, to, z);
    else swap(a, to, x);
  } else if (less(a[x]!, a[z]!)) swap(a, to, x);
  else if (less(a[y]!, a[z]!)) swap(a, to, z);
  else swap(a, to, y);
}

function partition(a: Int32Array, first: number, last: number, pivot: number, less: Less): number {
  for (;;) {
    while (less(a[first]!, pivot)) first++;
    last--;
    while (less(pivot, a[last]!)) last--;
    if (!(first < last)) return first;
    swap(a, first, last);
    first++;
  }
}

function insertion(a: Int32Array, first: number, last: number, less: Less): void {
  for (let i = first + 1; i < last; i++) {
    if (less(a[i]!, a[first]!)) {
      const x = a[i]!;
      a.copyWithin(first + 1, first, i);
      a[first] = x;
    } else sink(a, i, less);
  }
}

function sink(a: Int32Array, i: number, less: Less): void {
  const x = a[i]!;
  while (less(x, a[i - 1]!)) {
    a[i] = a[i - 1]!;
    i--;
  }
  a[i] = x;
}

function heapSort(a: Int32Array, first: number, last: number, less: Less): void {
  const n = last - first;
  for (let parent = (n - 2) >> 1; parent >= 0; parent--) adjust(a, first, parent, n, a[first + parent]!, less);
  for (let end = last - 1; end > first; end--) {
    const x = a[end]!;
    a[end] = a[first]!;
    adjust(a, first, 0, end - first, x, less);
  }
}

function adjust(a: Int32Array, first: number, hole: number, length: number, value: number, less: Less): void {
  const top = hole;
  let child = hole;
  while (child < (length - 1) >> 1) {
    child = 2 * (child + 1);
    if (less(a[first + child]!, a[first + child - 1]!)) child--;
    a[first + hole] = a[first + child]!;
    hole = child;
  }
  if ((length & 1) === 0 && child === (length - 2) >> 1) {
    child = 2 * (child + 1);
    a[first + hole] = a[first + child - 1]!;
    hole = child - 1;
  }
  for (let parent = (hole - 1) >> 1; hole > top && less(a[first + parent]!, value); parent = (hole - 1) >> 1) {
    a[first + hole] = a[first + parent]!;
    hole = parent;
  }
  a[first + hole] = value;
}
