// MUSTER_CLONES("arch=x86-64-v4", "arch=x86-64-v3") before a plain function: a copy of it for each of these instruction
// sets and one for any processor, chosen when the program starts, so that no binary needs -march. The last bits of a
// sum of floats depend on the copy (lane counts differ), not on the number of threads.
#pragma once

// Of GCC, whose choosing functions run before ThreadSanitizer is there.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define MUSTER_CLONES(...) __attribute__((target_clones(__VA_ARGS__, "default")))
#else
#define MUSTER_CLONES(...)
#endif
