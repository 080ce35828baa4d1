// Keys and values of a KV head that were laid out for the vector units when they were stored.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "dot.h"
#include "kv_store.h"
#include "pages.h"

namespace plimsoll::PLIMSOLL_ISA {

// Up to kTileKeys of them, read where they are in the pages; see kBlockedPages. The same to its user
// as LaidOut.
template <class Of>
class Blocked {
 public:
  typedef Of Compute;
  static constexpr int kBlockRows = 4;
  static constexpr int kKeyStride = kBlockTokens;
  static constexpr int kRun = kBlockTokens / Compute::kPack;
#if defined(__AVX512BF16__)
  static constexpr bool kPrefetches = false;
#else
  // A processor's own prefetching stops at the end of a head's block, and while weights are computed.
  static constexpr bool kPrefetches = true;
#endif

  Blocked(const Cache& cache, const Tile& tile)
      : cache_(cache), tile_(tile), head_words_(cache.head_dim / Compute::kPack * kBlockTokens) {}

  void read(int64_t first, int keys) {
    each_head(first, keys, [&](int k, int64_t head) {
      keys_[k / kBlockTokens] = static_cast<const uint32_t*>(cache_.keys) + head * head_words_;
      values_[k / kBlockTokens] = static_cast<const uint32_t*>(cache_.values) + head * head_words_;
      if constexpr (Compute::kScaled) {
        copy(key_scales_ + k, cache_.key_scales + head * kBlockTokens, kBlockTokens);
        copy(value_scales_ + k, cache_.value_scales + head * kBlockTokens, kBlockTokens);
      }
    });
    // Scores are computed of 64 keys at a time, and those beyond the last are not looked at.
    for (int k = (keys + kBlockTokens - 1) / kBlockTokens; k < kTileKeys / kBlockTokens; ++k) {
      keys_[k] = keys_[0];
      values_[k] = values_[0];
    }
    // Values beyond the last count with weight 0, and may be another request's NaN.
    if constexpr (Compute::kScaled) {
      for (int k = keys; k % kBlockTokens != 0; ++k) value_scales_[k] = 0;
    } else if (Compute::kPack == 2 && keys % 2 != 0) {
      hide_after(keys - 1);
    }
  }

  // What will be read next.
  void prefetch(int64_t first, int keys) {
    if (!kPrefetches) return;
    for (const uint32_t*& next : next_keys_) next = keys_[0];
    each_head(first, keys, [&](int k, int64_t head) {
      next_keys_[k / kBlockTokens] = static_cast<const uint32_t*>(cache_.keys) + head * head_words_;
    });
  }

  // Asks for values while word `word` of keys from `key` on is multiplied with.
  void prefetch_values(int key, int word) const {
    if (kPrefetches) __builtin_prefetch(values_[key / kBlockTokens] + word * kBlockTokens);
  }
  // Asks for the next keys while word `word` of values is multiplied with, from `dim` on.
  void prefetch_keys(int word, int dim) const {
    const int line = (dim / kLanes * kRun + word % kRun) * kLanes / 16;
    if (kPrefetches) __builtin_prefetch(next_keys_[word / kRun] + line * 16);
  }

  const uint32_t* keys(int key) const {
    return keys_[key / kBlockTokens] + key % kBlockTokens;
  }
  const uint32_t* values(int word) const { return values_[word / kRun]; }
  const float* key_scales() const { return key_scales_; }
  const float* value_scales() const { return value_scales_; }

 private:
  // Calls body(k, head) for each kBlockTokens keys from position `first` on, with the number of heads
  // that lie before this one's. One division for all, in 32 bits: one in 64 takes up to 90 cycles.
  template <class Body>
  void each_head(int64_t first, int keys, const Body& body) const {
    const auto size = static_cast<uint32_t>(cache_.block_size);
    const int64_t* block = tile_.block_table + static_cast<uint32_t>(first) / size;
    uint32_t offset = static_cast<uint32_t>(first) % size;
    for (int k = 0; k < keys; k += kBlockTokens, offset += kBlockTokens) {
      if (offset == size) {
        ++block;
        offset = 0;
      }
      const int64_t slot = *block * size + offset;
      body(k, slot / kBlockTokens * cache_.kv_heads + tile_.kv_head);
    }
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
  const uint32_t* next_keys_[kTileKeys / kBlockTokens];
  alignas(64) uint32_t copy_[kBlockTokens / 2 * kMaxHeadDim];
  alignas(64) float key_scales_[kTileKeys] = {};
  alignas(64) float value_scales_[kTileKeys] = {};
};

#if !defined(__AVX512BF16__)
// The same of bf16, widened once for all rows: products and their order are those of
// Blocked<Bf16Dot>, and so are the bits.
class Widened {
 public:
  typedef Fp32 Compute;
  // No registers are needed to widen words.
  static constexpr int kBlockRows = kLanes > 4 ? 6 : 4;
  static constexpr int kKeyStride = kTileKeys;
  static constexpr int kRun = kTileKeys;

  Widened(const Cache& cache, const Tile& tile)
      : blocked_(cache, tile), head_dim_(static_cast<int>(cache.head_dim)) {}

  void read(int64_t first, int keys) {
    blocked_.read(first, keys);
    for (int k = 0; k < keys; k += kLanes) {
      for (int d = 0; d < head_dim_; d += 2) {
        float* to = keys_ + d * kTileKeys + k;
        widen(to, to + kTileKeys, blocked_.keys(k) + d / 2 * kBlockTokens);
      }
    }
    constexpr int kBlockWords = Blocked<Bf16Dot>::kRun;
    for (int k = 0; k < keys; k += 2) {
      const int word = k / 2;
      const uint32_t* from = blocked_.values(word) + word % kBlockWords * head_dim_;
      float* to = values_ + k * head_dim_;
      for (int d = 0; d < head_dim_; d += kLanes) widen(to + d, to + head_dim_ + d, from + d);
    }
  }

  void prefetch(int64_t first, int keys) { blocked_.prefetch(first, keys); }
  void prefetch_values(int, int) const {}
  void prefetch_keys(int, int) const {}

  const uint32_t* keys(int key) const { return reinterpret_cast<const uint32_t*>(keys_ + key); }
  const uint32_t* values(int) const { return reinterpret_cast<const uint32_t*>(values_); }

 private:
  static void widen(float* first, float* second, const uint32_t* words) {
    const Bf16Dot::Column both = Bf16Dot::column(words);
    store(first, both.first);
    store(second, both.second);
  }

  Blocked<Bf16Dot> blocked_;
  const int head_dim_;
  alignas(64) float keys_[kMaxHeadDim * kTileKeys];
  alignas(64) float values_[kTileKeys * kMaxHeadDim];
};
#endif

}  // namespace plimsoll::PLIMSOLL_ISA
