// Keys and values of a KV head that were laid out for the vector units when they were stored.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "kv_store.h"
#include "pages.h"

namespace plimsoll::PLIMSOLL_ISA {

// Up to kTileKeys of them, read where they are in the pages; see store_blocked.
template <class Of>
class Blocked {
 public:
  typedef Of Compute;
  typedef typename Compute::Element Element;
  static constexpr bool kScaled = false;
  // Words of a key's next word, and words of values that lie one after the other.
  static constexpr int kKeyStride = kBlockTokens;
  static constexpr int kRun = kBlockTokens / Compute::kPack;

  Blocked(const Cache& cache, const Tile& tile)
      : cache_(cache), tile_(tile), head_words_(cache.head_dim / Compute::kPack * kBlockTokens) {}

  // A query as products with these keys take it.
  template <class Row>
  static void put_query(Element* to, const Row* from, int head_dim, int) {
    copy(to, from, head_dim);
  }

  // Keys and values from the sequence's position `first` on, which is a multiple of kBlockTokens.
  void read(int64_t first, int keys) {
    for (int k = 0; k < keys; k += kBlockTokens) {
      keys_[k / kBlockTokens] = at(cache_.keys, first + k);
      values_[k / kBlockTokens] = at(cache_.values, first + k);
    }
    // Scores are computed of 64 keys at a time, and those beyond the last are not looked at.
    for (int k = (keys + kBlockTokens - 1) / kBlockTokens; k < kTileKeys / kBlockTokens; ++k) {
      keys_[k] = keys_[0];
    }
    // The value beside an odd last one counts with weight 0, and may be another request's NaN.
    if (Compute::kPack == 2 && keys % 2 != 0) hide_after(keys - 1);
  }

  // They lie in long runs, which the processor foresees.
  void prefetch(int64_t, int) const {}

  // Words of keys from `key` on, side by side.
  const uint32_t* keys(int key) const {
    return keys_[key / kBlockTokens] + key % kBlockTokens;
  }

  // [kRun, head_dim] words of values from word `word` on, a multiple of kRun.
  const uint32_t* values(int word) const { return values_[word / kRun]; }

 private:
  const uint32_t* at(const void* pages, int64_t position) const {
    const int64_t slot = tile_.block_table[position / cache_.block_size] * cache_.block_size +
                         position % cache_.block_size;
    const int64_t block = slot / kBlockTokens * cache_.kv_heads + tile_.kv_head;
    return static_cast<const uint32_t*>(pages) + block * head_words_;
  }

  void hide_after(int key) {
    const int block = key / kBlockTokens, words = static_cast<int>(cache_.head_dim);
    const int last = key % kBlockTokens / 2;
    for (int i = 0; i < (last + 1) * words; ++i) copy_[i] = values_[block][i];
    for (int i = last * words; i < (last + 1) * words; ++i) copy_[i] &= 0xffff;
    values_[block] = copy_;
  }

  const Cache& cache_;
  const Tile& tile_;
  const int64_t head_words_;
  const uint32_t* keys_[kTileKeys / kBlockTokens];
  const uint32_t* values_[kTileKeys / kBlockTokens];
  alignas(64) uint32_t copy_[kBlockTokens / 2 * kMaxHeadDim];
};

}  // namespace plimsoll::PLIMSOLL_ISA
