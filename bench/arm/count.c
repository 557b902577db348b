// A plugin of qemu-user that counts executed instructions, and tells the count whenever the program asks for its parent's id (a call
// that does nothing else): node's process.ppid is such a mark. Types are those of qemu's plugin interface, version 1.
//   cc -shared -fPIC -O2 -o count.so count.c
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

typedef uint64_t Id;
struct Block;
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, struct Block*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct Block*, int operation, void* at, uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(Id, void (*)(Id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                       uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct Block*);

enum { kAdd = 0, kGetppid = 173 };  // inline addition of 64 bits; getppid of arm64
__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t count;

static void translated(Id id, struct Block* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kAdd, &count, qemu_plugin_tb_n_insns(block));
}

static void called(Id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                   uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number == kGetppid) dprintf(2, "@@count %llu\n", (unsigned long long)count);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
