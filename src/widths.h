// Compiles inner loops for several vector widths.

#pragma once

// Without flags, x86-64 code uses SSE2 only. With these clones, the loader chooses the widest
// version that the CPU supports.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define FOR_EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_WIDTH
#endif
#define INLINE static inline __attribute__((always_inline))  // otherwise clones call SSE2 code
