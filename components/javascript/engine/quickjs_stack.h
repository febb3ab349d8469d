/* Included before the sources of QuickJS (`-include`, see the Makefile).
 *
 * QuickJS has no stack limit where `__wasi__` is defined, so that endless recursion would end the turn instead of
 * throwing a RangeError. The headers of the C library need the macro, so they come first. */
#include <stdio.h>
#include <time.h>
#include <sys/time.h>
#undef __wasi__
