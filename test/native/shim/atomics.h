// WebAssembly's wait and notify on Linux futexes, so that the pool with threads runs as it is written.
#pragma once
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// 0 woken, 1 another value stood there, 2 timed out. `ns` below 0 waits without end.
static inline int native_wait32(int* at, int value, long long ns) {
  timespec limit = {ns / 1000000000, ns % 1000000000};
  if (syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, ns < 0 ? nullptr : &limit, nullptr, 0) == 0) return 0;
  return errno == ETIMEDOUT ? 2 : errno == EAGAIN ? 1 : 0;
}
static inline int native_notify(int* at, unsigned count) {
  return (int)syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}
#define __builtin_wasm_memory_atomic_wait32(at, value, ns) native_wait32(at, value, ns)
#define __builtin_wasm_memory_atomic_notify(at, count) native_notify(at, count)
