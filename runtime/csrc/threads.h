// Threads of the OpenMP runtime that torch has loaded already.
//
// GOMP_parallel is what compilers call for a parallel region; GNU's, LLVM's and Intel's runtimes
// all have it. The library is not linked to any of them, and finds that of torch's: a second
// runtime in the process would be a second set of threads that spin beside the first.
#pragma once

#include <cstdint>

extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned num_threads,
                              unsigned flags);

namespace plimsoll {

// Calls body(i) for all i below `count`, on up to `threads` threads that take the next i each.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  struct Shared {
    const Body& body;
    int64_t count;
    int64_t next;
  } shared{body, count, 0};
  const auto work = [](void* data) {
    auto& all = *static_cast<Shared*>(data);
    for (;;) {
      const int64_t i = __atomic_fetch_add(&all.next, 1, __ATOMIC_RELAXED);
      if (i >= all.count) return;
      all.body(i);
    }
  };
  if (threads > count) threads = static_cast<int>(count);
  if (threads <= 1) {
    work(&shared);
  } else {
    GOMP_parallel(work, &shared, static_cast<unsigned>(threads), 0);
  }
}

}  // namespace plimsoll
