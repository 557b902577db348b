// Fork-join over lanes that share this memory. The single-lane build is a plain call.
#include "pool.h"

// One claim counter a phase, taken in turn; each barrier clears the one that comes after the next.
static int claims[4];

#ifdef __wasm_atomics__

static Task task;
static void* arg;
static int lanes = 1, epoch, arrived, generation, dead;

// About 20 us: bridges the gaps inside a step, burns no core between steps.
constexpr int kSpins = 8000;
constexpr long long kPatience = 100000000;  // ns between looks at `dead`

static void wait_while(int* at, int value) {
  for (int i = 0; i < kSpins; i++)
    if (__atomic_load_n(at, __ATOMIC_ACQUIRE) != value) return;
  while (__atomic_load_n(at, __ATOMIC_ACQUIRE) == value && !__atomic_load_n(&dead, __ATOMIC_RELAXED))
    __builtin_wasm_memory_atomic_wait32(at, value, kPatience);
}

void pool_barrier(Lane& lane) {
  int mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == lanes) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&claims[(lane.phase + 2) & 3], 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&generation, 1, __ATOMIC_RELEASE);
    __builtin_wasm_memory_atomic_notify(&generation, kMaxLanes);  // always: skipping it hung prototypes
  } else {
    wait_while(&generation, mine);
  }
  lane.phase++;
}

bool pool_claim(Lane& lane, int count, int grain, int* begin, int* end) {
  int at = __atomic_fetch_add(&claims[lane.phase & 3], grain, __ATOMIC_RELAXED);
  if (at >= count || at < 0) return false;
  *begin = at, *end = at + grain < count ? at + grain : count;
  return true;
}

int pool_lanes() { return lanes; }

int pool_run(Task t, void* a) {
  if (dead) return kLaneFailed;
  for (int& c : claims) __atomic_store_n(&c, 0, __ATOMIC_RELAXED);
  if (lanes == 1) {  // the others, if there are any, sleep on
    Lane self = {0, 0};
    t(a, self);
    return kOk;
  }
  task = t, arg = a;
  __atomic_add_fetch(&epoch, 1, __ATOMIC_RELEASE);
  if (lanes > 1) __builtin_wasm_memory_atomic_notify(&epoch, kMaxLanes);
  Lane self = {0, 0};
  t(a, self);
  pool_barrier(self);
  return __atomic_load_n(&dead, __ATOMIC_RELAXED) ? kLaneFailed : kOk;
}

// How many lanes take part from now on: all that were started, or 1. Called between runs.
ABI(pool_start) void pool_start(int count) { lanes = count; }

// A worker lane's whole life. It must carry the loaded epoch, not count by itself: a private counter hung
// under V8's baseline compiler.
ABI(pool_worker) void pool_worker(int index) {
  for (int seen = 0;;) {
    wait_while(&epoch, seen);
    int now = __atomic_load_n(&epoch, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&dead, __ATOMIC_RELAXED)) return;
    if (now == seen) continue;
    seen = now;
    Lane self = {index, 0};
    task(arg, self);
    pool_barrier(self);
  }
}

// A lane that died reports it here (from its own thread); waiting lanes give up instead of hanging.
ABI(pool_fail) void pool_fail() {
  __atomic_store_n(&dead, 1, __ATOMIC_SEQ_CST);
  __builtin_wasm_memory_atomic_notify(&generation, kMaxLanes);
  __builtin_wasm_memory_atomic_notify(&epoch, kMaxLanes);
}

#else

void pool_barrier(Lane& lane) { claims[++lane.phase & 3] = 0; }

bool pool_claim(Lane& lane, int count, int grain, int* begin, int* end) {
  int& at = claims[lane.phase & 3];
  if (at >= count) return false;
  *begin = at, *end = at + grain < count ? at + grain : count;
  at = *end;
  return true;
}

int pool_lanes() { return 1; }

int pool_run(Task t, void* a) {
  claims[0] = 0;
  Lane self = {0, 0};
  t(a, self);
  return kOk;
}

ABI(pool_start) void pool_start(int) {}
ABI(pool_worker) void pool_worker(int) {}
ABI(pool_fail) void pool_fail() {}

#endif

int pool_grain(int count) {
  int grain = count / (pool_lanes() * 4);
  return grain > 0 ? grain : 1;
}
