// Where a sequence's keys and values are, token by token.
#pragma once

#include "attention.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {

inline int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }

// The rows of one KV head in pages of `Stored`.
template <class Stored>
class Pages {
 public:
  Pages(const Cache& cache, const Tile& tile) : cache_(cache), tile_(tile) {}

  // Calls body(k, slot) for the keys from position `first` on, block by block.
  template <class Body>
  void each_slot(int64_t first, int keys, const Body& body) const {
    int64_t block = first / cache_.block_size;
    int64_t offset = first % cache_.block_size;
    for (int k = 0; k < keys; ++block, offset = 0) {
      int64_t slot = tile_.block_table[block] * cache_.block_size + offset;
      const int end = smaller(keys, k + cache_.block_size - offset);
      for (; k < end; ++k, ++slot) body(k, slot);
    }
  }

  // Calls body(k, row) for their rows of keys or values.
  template <class Body>
  void each_row(const void* pages, int64_t first, int keys, const Body& body) const {
    const int64_t token = cache_.kv_heads * cache_.head_dim;
    const auto* head = static_cast<const Stored*>(pages) + tile_.kv_head * cache_.head_dim;
    each_slot(first, keys, [&](int k, int64_t slot) { body(k, head + slot * token); });
  }

  // Calls body(k, scale) for their scales.
  template <class Body>
  void each_scale(const float* scales, int64_t first, int keys, const Body& body) const {
    const float* head = scales + tile_.kv_head;
    each_slot(first, keys, [&](int k, int64_t slot) { body(k, head + slot * cache_.kv_heads); });
  }

  // A processor's own prefetching does not see where the next block is.
  void prefetch(int64_t first, int keys) const {
    const void* const both[] = {cache_.keys, cache_.values};
    for (const void* pages : both) {
      each_row(pages, first, keys, [&](int, const Stored* row) {
        for (int d = 0; d < cache_.head_dim; d += 64 / sizeof(Stored)) __builtin_prefetch(row + d);
      });
    }
    const float* const scales[] = {cache_.key_scales, cache_.value_scales};
    for (const float* of : scales) {
      if (of == nullptr) continue;
      each_scale(of, first, keys, [](int, const float* scale) { __builtin_prefetch(scale); });
    }
  }

 private:
  const Cache& cache_;
  const Tile& tile_;
};

}  // namespace plimsoll::PLIMSOLL_ISA
