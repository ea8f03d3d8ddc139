// For inner loops on a CPU of any width of vectors.

#pragma once

// x86-64 without flags means SSE2: the loader takes the widest of these that the machine has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define FOR_EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_WIDTH
#endif
#define INLINE static inline __attribute__((always_inline))  // else each width calls the default
