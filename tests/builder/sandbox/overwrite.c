/* CVE-2019-5736: as the image's dynamic loader, started by a script whose interpreter is /proc/self/exe. What that is by now can be
   opened; say its path, and whether its mode can be set (to 0755, which it is). No library: a loader has none. */
#include <sys/syscall.h>

__asm__(".globl _start\n_start: and $-16, %rsp\n call start\n");

static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn, used)) void start(void) {
    char path[4096];
    long size = call(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof path);
    long fd = call(SYS_open, (long)"/proc/self/exe", 0, 0);
    long result = call(SYS_fchmod, fd, 0755, 0);
    call(SYS_write, 1, (long)path, size);
    if (result)
        call(SYS_write, 1, (long)" kept\n", 6);
    else
        call(SYS_write, 1, (long)" changed\n", 9);
    for (;;)
        call(SYS_exit, 0, 0, 0);
}
