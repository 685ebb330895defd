/* What a sandbox's pid 1 becomes before it becomes the command: so that /proc/self/exe, which a `#!` line or a link of the image
   may name, never is the interpreter that pybuild runs in (CVE-2019-5736). It lies in sealed memory, and can do one thing.

   argv: a name, what to say when the command's interpreter is missing, what to say when the command is refused, the command's
   path, its arguments. Made by tools/launch.sh for each machine. */

#if defined(__x86_64__)
#define EXECVE 59
#define WRITE 1
#define EXIT 60
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define EXECVE 221
#define WRITE 64
#define EXIT 93
__asm__(".globl _start\n_start: mov x29, #0\n mov x0, sp\n bl start\n");
static long call(long number, long a, long b, long c) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#endif

__attribute__((noreturn, used)) void start(long *stack) {
    long count = stack[0];
    char **argv = (char **)(stack + 1), **envp = argv + count + 1;
    long code = 126, size = 0;
    if (count > 4) {
        long result = call(EXECVE, (long)argv[3], (long)(argv + 4), (long)envp);
        /* ENOENT, ENOTDIR: as a shell has it. */
        int is_missing = result == -2 || result == -20;
        char *text = argv[is_missing ? 1 : 2];
        while (text[size])
            size++;
        call(WRITE, 2, (long)text, size);
        code = is_missing ? 127 : 126;
    }
    for (;;)
        call(EXIT, code, 0, 0);
}
