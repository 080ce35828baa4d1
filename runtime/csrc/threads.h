// Threads that share the pieces of one call.
//
// The caller works along, and nobody waits for a thread that has taken no piece: one that another
// process keeps from running delays nothing. An OpenMP region ends when all threads have come to its
// end, and on a busy machine some steps then take a hundred times as long.
#pragma once

#include <cstdint>

namespace plimsoll {

typedef void (*PieceWork)(const void* body, int64_t piece);

// Calls work(body, i) for all i below `count`, at least 2, on at most `threads` threads.
void run_parallel(PieceWork work, const void* body, int64_t count, int threads);

// Calls body(i) for all i below `count`, on up to `threads` threads that take the next i each.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto work = [](const void* one, int64_t i) { (*static_cast<const Body*>(one))(i); };
  run_parallel(work, &body, count, threads);
}

}  // namespace plimsoll
