// Keys and values of a KV head, read from their pages and laid out for the vector units.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {

inline int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }

// How products are computed: a word holds `kPack` neighbouring elements of a row, of which one
// instruction multiplies and adds up all.
struct Fp32 {
  typedef float Element;
  static constexpr int kPack = 1;
  static Floats multiply_add(Floats sum, const uint32_t* word, const uint32_t* words) {
    float x;
    __builtin_memcpy(&x, word, sizeof x);
    Floats y;
    __builtin_memcpy(&y, words, sizeof y);
    return broadcast(x) * y + sum;
  }
  // Weights of kLanes keys.
  static void put_weights(Element* to, Floats x) { store(to, x); }
};

#if defined(__AVX512BF16__)
// fp32 sums of products of bf16.
struct Bf16Dot {
  typedef uint16_t Element;
  static constexpr int kPack = 2;
  static Floats multiply_add(Floats sum, const uint32_t* word, const uint32_t* words) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(*word));
    const __m512i y = _mm512_loadu_si512(words);
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
  }
  static void put_weights(Element* to, Floats x) {
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded);
  }
};
#endif

// A row of `head_dim` elements, followed by zeros up to its padding.
template <class Element, class Stored>
void copy_row(Element* to, const Stored* from, int head_dim, int width) {
  copy(to, from, head_dim);
  for (int d = head_dim; d < width; ++d) to[d] = Element{};
}

// Up to kTileKeys keys and values. `Stored` is what the pages hold; int8 comes with scales, which
// are left to whoever multiplies: its numbers are exact in any `Element`.
template <class Compute, class Stored>
class LaidOut {
  typedef typename Compute::Element Element;

 public:
  static constexpr bool kScaled = sizeof(Stored) == 1;

  LaidOut(const Cache& cache, const Tile& tile)
      : cache_(cache),
        tile_(tile),
        head_dim_(static_cast<int>(cache.head_dim)),
        width_(static_cast<int>(padded(cache.head_dim))) {}

  // From the sequence's position `first` on.
  void read(int64_t first, int keys) {
    find_rows(cache_.keys, first, keys);
    lay_out_keys(keys);
    find_rows(cache_.values, first, keys);
    lay_out_values(keys);
    if constexpr (kScaled) {
      find_scales(cache_.key_scales, first, keys, key_scales_);
      find_scales(cache_.value_scales, first, keys, value_scales_);
    }
  }

  // A processor's own prefetching does not see where the next block is.
  void prefetch(int64_t first, int keys) const {
    const void* const both[] = {cache_.keys, cache_.values};
    for (const void* pages : both) {
      each_row(pages, first, keys, [&](int, const Stored* row) {
        for (int d = 0; d < head_dim_; d += 64 / sizeof(Stored)) __builtin_prefetch(row + d);
      });
    }
  }

  // Words of a row by keys, kTileKeys of them.
  const uint32_t* keys() const { return keys_; }
  // Words of kPack keys' elements of the same dimension: [keys / kPack, padded head_dim].
  const uint32_t* values() const { return values_; }
  // Of each key, and of its value.
  const float* key_scales() const { return key_scales_; }
  const float* value_scales() const { return value_scales_; }

 private:
  // Calls body(k, slot) for the keys from `first` on, block by block.
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

  // Calls body(k, row) for their rows in `pages`.
  template <class Body>
  void each_row(const void* pages, int64_t first, int keys, const Body& body) const {
    const int64_t token = cache_.kv_heads * cache_.head_dim;
    const auto* head = static_cast<const Stored*>(pages) + tile_.kv_head * cache_.head_dim;
    each_slot(first, keys, [&](int k, int64_t slot) { body(k, head + slot * token); });
  }

  // Where each row is: in the pages themselves if it can be used as it is there. Beyond the last
  // are zeros, since other requests may have left NaN in the pages.
  void find_rows(const void* pages, int64_t first, int keys) {
    constexpr bool kSameType = sizeof(Stored) == sizeof(Element);
    if (kSameType && head_dim_ == width_) {
      each_row(pages, first, keys,
               [&](int k, const Stored* row) { rows_[k] = reinterpret_cast<const Element*>(row); });
    } else {
      each_row(pages, first, keys, [&](int k, const Stored* row) {
        copy_row(copies_ + k * width_, row, head_dim_, width_);
        rows_[k] = copies_ + k * width_;
      });
    }
    for (int k = keys; k < kTileKeys; ++k) rows_[k] = zeros_;
  }

  void find_scales(const float* scales, int64_t first, int keys, float* to) const {
    each_slot(first, keys, [&](int k, int64_t slot) {
      to[k] = scales[slot * cache_.kv_heads + tile_.kv_head];
    });
    for (int k = keys; k < kTileKeys; ++k) to[k] = 0;
  }

  void lay_out_keys(int keys) {
    const auto* words = reinterpret_cast<const uint32_t* const*>(rows_);
    const int row_words = width_ / Compute::kPack;
    for (int k = 0; k < keys; k += kLanes) {
      int d = 0;
      for (; d + kLanes <= row_words; d += kLanes) {
        transpose(words + k, d, keys_ + d * kTileKeys + k, kTileKeys);
      }
      for (; d < row_words; ++d) {
        for (int i = 0; i < kLanes; ++i) keys_[d * kTileKeys + k + i] = words[k + i][d];
      }
    }
  }

  void lay_out_values(int keys) {
    if constexpr (Compute::kPack == 1) {
      for (int k = 0; k < (keys + 1) / 2 * 2; ++k) {
        copy(reinterpret_cast<float*>(values_) + k * width_, rows_[k], width_);
      }
    }
#if defined(__AVX512BF16__)
    if constexpr (Compute::kPack == 2) {
      const __m512i order = _mm512_set_epi16(
          31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
          19, 3, 18, 2, 17, 1, 16, 0);
      for (int k = 0; k < keys; k += 2) {
        for (int d = 0; d < width_; d += 16) {
          const auto* even = reinterpret_cast<const __m256i*>(rows_[k] + d);
          const auto* odd = reinterpret_cast<const __m256i*>(rows_[k + 1] + d);
          const __m512i both = _mm512_inserti64x4(
              _mm512_castsi256_si512(_mm256_loadu_si256(even)), _mm256_loadu_si256(odd), 1);
          _mm512_storeu_si512(values_ + k / 2 * width_ + d, _mm512_permutexvar_epi16(order, both));
        }
      }
    }
#endif
  }

  const Cache& cache_;
  const Tile& tile_;
  const int head_dim_;
  const int width_;
  alignas(64) static constexpr Element zeros_[kMaxHeadDim] = {};
  const Element* rows_[kTileKeys];
  alignas(64) Element copies_[kTileKeys * kMaxHeadDim];
  alignas(64) uint32_t keys_[kMaxHeadDim / Compute::kPack * kTileKeys];
  alignas(64) uint32_t values_[kTileKeys / Compute::kPack * kMaxHeadDim];
  alignas(64) float key_scales_[kTileKeys];
  alignas(64) float value_scales_[kTileKeys];
};

}  // namespace plimsoll::PLIMSOLL_ISA
