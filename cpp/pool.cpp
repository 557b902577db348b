// Fork-join over lanes that share this memory. The single-lane build is a plain call.
#include "pool.h"

// A lane's claim counters, one a phase, taken in turn; on a cache line of their own, since lines that lanes share travel.
struct alignas(64) Claims {
  int taken[4];
};

#ifdef __wasm_atomics__

extern "C" void pool_fail();

static Claims claims[kMaxLanes];
static Task task;
static void* arg;
static int lanes = 1, phase, dead;
alignas(64) static int epoch;
alignas(64) static int arrived;
alignas(64) static int generation;

// About 20 us: bridges the gaps inside a step, burns no core between steps.
constexpr int kSpins = 8000;
constexpr long long kLook = 100000000;  // ns between looks at `dead`

// Waits of kLook inside a step after which a lane that does not come counts as dead: it was ended from outside, and
// whoever ended it may not be able to say so. No phase takes a fraction of that.
static int patience = 300;

// `limit`: waits before giving up, 0 for none.
static void wait_while(int* at, int value, int limit) {
  for (int i = 0; i < kSpins; i++)
    if (__atomic_load_n(at, __ATOMIC_ACQUIRE) != value) return;
  while (__atomic_load_n(at, __ATOMIC_ACQUIRE) == value && !__atomic_load_n(&dead, __ATOMIC_RELAXED)) {
    constexpr int kTimedOut = 2;
    if (__builtin_wasm_memory_atomic_wait32(at, value, kLook) != kTimedOut || limit == 0) continue;
    if (--limit == 0) pool_fail();
  }
}

void pool_barrier(Lane& lane) {
  // The counter of the phase after the next: it was used two phases ago, which every lane has left.
  __atomic_store_n(&claims[lane.index].taken[(lane.phase + 2) & 3], 0, __ATOMIC_RELAXED);
  lane.phase++;
  // Once: when this lane has arrived, the last one may go on and change `lanes` before this one compares.
  int all = lanes;
  if (all == 1) return;
  int mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == all) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&generation, 1, __ATOMIC_RELEASE);
    __builtin_wasm_memory_atomic_notify(&generation, kMaxLanes);  // always: skipping it hung prototypes
  } else {
    wait_while(&generation, mine, patience);
  }
}

// A lane works through a part of its own, the same every time, so that what it wrote stays in its cache; then it helps
// lanes whose number differs from its own in one bit.
template <typename Grain>
static inline bool claim(Lane& lane, int count, int* begin, int* end, Grain grain_of) {
  for (int bit = 0;; bit = bit ? 2 * bit : 1) {
    int owner = lane.index ^ bit;
    if (bit >= lanes) return false;
    if (owner >= lanes) continue;
    int first = (int)((int64_t)count * owner / lanes), last = (int)((int64_t)count * (owner + 1) / lanes);
    int* taken = &claims[owner].taken[lane.phase & 3];
    int left = last - first - __atomic_load_n(taken, __ATOMIC_RELAXED);
    if (left <= 0) continue;
    int grain = grain_of(left), at = first + __atomic_fetch_add(taken, grain, __ATOMIC_RELAXED);
    if (at >= last) continue;
    *begin = at, *end = at + grain < last ? at + grain : last;
    return true;
  }
}

bool pool_claim(Lane& lane, int count, int grain, int* begin, int* end) {
  return claim(lane, count, begin, end, [grain](int) { return grain; });
}

bool pool_claim_halves(Lane& lane, int count, int most, int least, int* begin, int* end) {
  return claim(lane, count, begin, end, [=](int left) {
    if (lanes == 1) return count;
    int half = left > 3 ? 1 << (30 - __builtin_clz(left)) : 1;
    return half > most ? most : half > least ? half : least;
  });
}

int pool_lanes() { return lanes; }

int pool_run(Task t, void* a) {
  if (dead) return kLaneFailed;
  Lane self = {0, phase};
  if (lanes == 1) {  // the others, if there are any, sleep on, and their phase stays
    t(a, self);
    claims[0] = {};
    return kOk;
  }
  task = t, arg = a;
  __atomic_add_fetch(&epoch, 1, __ATOMIC_RELEASE);
  __builtin_wasm_memory_atomic_notify(&epoch, kMaxLanes);
  t(a, self);
  pool_barrier(self);
  phase = self.phase;
  return __atomic_load_n(&dead, __ATOMIC_RELAXED) ? kLaneFailed : kOk;
}

// How many lanes take part from now on: all that were started, or 1. Called between runs.
ABI(pool_start) void pool_start(int count) { lanes = count; }

// A worker lane's whole life. It must carry the loaded epoch, not count by itself: a private counter hung
// under V8's baseline compiler.
ABI(pool_worker) void pool_worker(int index) {
  for (int seen = 0;;) {
    wait_while(&epoch, seen, 0);
    int now = __atomic_load_n(&epoch, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&dead, __ATOMIC_RELAXED)) return;
    if (now == seen) continue;
    seen = now;
    Lane self = {index, phase};
    task(arg, self);
    pool_barrier(self);
  }
}

// For tests: how many tenths of a second a step waits for a lane.
ABI(pool_patience) void pool_patience(int tenths) { patience = tenths; }

// A lane that died reports it here (from its own thread); waiting lanes give up instead of hanging.
ABI(pool_fail) void pool_fail() {
  __atomic_store_n(&dead, 1, __ATOMIC_SEQ_CST);
  __builtin_wasm_memory_atomic_notify(&generation, kMaxLanes);
  __builtin_wasm_memory_atomic_notify(&epoch, kMaxLanes);
}

#else

static Claims claims;

void pool_barrier(Lane& lane) { claims.taken[++lane.phase & 3] = 0; }

bool pool_claim(Lane& lane, int count, int grain, int* begin, int* end) {
  int& at = claims.taken[lane.phase & 3];
  if (at >= count) return false;
  *begin = at, *end = at + grain < count ? at + grain : count;
  at = *end;
  return true;
}

bool pool_claim_halves(Lane& lane, int count, int, int, int* begin, int* end) {
  return pool_claim(lane, count, count, begin, end);
}

int pool_lanes() { return 1; }

int pool_run(Task t, void* a) {
  claims.taken[0] = 0;
  Lane self = {0, 0};
  t(a, self);
  return kOk;
}

ABI(pool_start) void pool_start(int) {}
ABI(pool_worker) void pool_worker(int) {}
ABI(pool_patience) void pool_patience(int) {}
ABI(pool_fail) void pool_fail() {}

#endif

int pool_grain(int count) {
  int grain = count / (pool_lanes() * 4);
  return grain > 0 ? grain : 1;
}
