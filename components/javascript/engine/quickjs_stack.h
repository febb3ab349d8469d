/* Included before the sources of QuickJS (`-include`, see the Makefile).
 *
 * QuickJS has no stack limit where `__wasi__` is defined, so that endless recursion would end the turn instead of
 * throwing a RangeError. The headers of the C library need the macro, so they come first. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <sys/time.h>
#undef __wasi__

/* QuickJS measures its stack by the addresses of local variables. Under WebAssembly these are in a stack of their own:
 * the machine stack, which is the one that overflows, also has the variables whose address nobody takes. The functions
 * that read JSON and write it have next to nothing else, so they overflowed the machine stack far below the limit.
 *
 * So each function that checks the stack takes this much more of it. It counts for the machine stack: 1,000 nested
 * arrays take as much there as 1,000 times this. `SCRIPT_STACK_BYTES` in src/engine.rs belongs to it. The check must be
 * inlined for that, which these declarations ask for. */
#define DORMOUSE_FRAME_BYTES 512
#define __builtin_frame_address(level)                  \
    ({                                                  \
        volatile char frame[DORMOUSE_FRAME_BYTES];      \
        frame[0] = 0;                                   \
        (void *)frame;                                  \
    })
struct JSRuntime;
static inline __attribute__((always_inline)) uintptr_t js_get_stack_pointer(void);
static inline __attribute__((always_inline)) bool js_check_stack_overflow(struct JSRuntime *rt, size_t alloca_size);

/* The parsers of sources and of regular expressions use more of the machine stack than of this one, so they may use less
 * of it. They are known by the size that they pass to the check, 1000 and 0; that of JSON passes 1000 too, in a function
 * with another name. The other words are those of the declarations and of the other callers, for which nothing changes. A
 * new one does not compile. */
#define DORMOUSE_SOURCE_BYTES (350 << 10)
#define DORMOUSE_EXPRESSION_BYTES (240 << 10)
#define js_check_stack_overflow(rt, size) js_check_stack_overflow(rt, DORMOUSE_OF_QUICKJS_##size)
#define DORMOUSE_OF_QUICKJS_0 0
#define DORMOUSE_OF_QUICKJS_1000 (sizeof(__func__) == sizeof("next_token") ? DORMOUSE_SOURCE_BYTES : 1000)
#define DORMOUSE_OF_QUICKJS_stack_size stack_size
#define DORMOUSE_OF_QUICKJS_alloca_size alloca_size
#define DORMOUSE_OF_QUICKJS_size_t size_t
#define DORMOUSE_OF_QUICKJS_sizeof sizeof
#define lre_check_stack_overflow(opaque, size) lre_check_stack_overflow(opaque, DORMOUSE_OF_LIBREGEXP_##size)
#define DORMOUSE_OF_LIBREGEXP_0 DORMOUSE_EXPRESSION_BYTES
#define DORMOUSE_OF_LIBREGEXP_size_t size_t
