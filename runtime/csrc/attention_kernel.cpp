// Attention of one tile of rows over a paged KV cache, for the instruction set PLIMSOLL_ISA.
//
// Softmax is computed online (Milakov and Gimelshein, arXiv:1805.02867; Dao et al.,
// arXiv:2205.14135): while keys go by, every row keeps its largest score, its sum of weights and its
// weighted sum of values. Up to 64 keys and values are laid out for the vector units, and all rows
// of the tile that see any of them use that.
//
// A row's arithmetic is the same whatever else is in its tile.

#include <cstddef>

#include "attention.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
// The largest score of a row that has seen nothing.
constexpr float kNothing = -__builtin_inff();
constexpr int kBlockRows = 4;

int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }
int larger(int64_t a, int64_t b) { return static_cast<int>(a > b ? a : b); }

// How products are computed: `Word` holds `kPack` neighbouring elements of a row, of which one
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

// All that a thread needs at its work, for heads of the largest dimension.
template <class Compute>
struct Scratch {
  static constexpr int kWords = kMaxHeadDim / Compute::kPack;
  typedef typename Compute::Element Element;
  alignas(64) Element queries[kTileRows * kMaxHeadDim];
  alignas(64) Element rows[kTileKeys * kMaxHeadDim];
  alignas(64) uint32_t keys[kWords * kTileKeys];  // [words of a row, keys]
  alignas(64) uint32_t values[kTileKeys / Compute::kPack * kMaxHeadDim];
  alignas(64) float scores[kBlockRows * kTileKeys];
  alignas(64) Element weights[kBlockRows * kTileKeys];
  alignas(64) float sums[kTileRows * kLanes];
  alignas(64) float part_values[kTileRows * kMaxHeadDim];
  alignas(64) float all_values[kTileRows * kMaxHeadDim];
  float part_largest[kTileRows], part_weight[kTileRows];
  float all_largest[kTileRows], all_weight[kTileRows];
};

// sums[r][v] += row r of `rows` times column vector v of `columns`, over `count` words.
template <class Compute, int kRows, int kVectors>
void multiply(Floats (&sums)[kRows][kVectors], const uint32_t* rows, int64_t row_stride,
              const uint32_t* columns, int64_t column_stride, int count) {
  for (int i = 0; i < count; ++i) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Compute::multiply_add(sums[r][v], rows + r * row_stride + i,
                                           columns + i * column_stride + v * kLanes);
      }
    }
  }
}

template <class Compute, class Stored>
class Attention {
  typedef typename Compute::Element Element;

 public:
  Attention(const Cache& cache, const Tile& tile)
      : cache_(cache),
        tile_(tile),
        head_dim_(static_cast<int>(cache.head_dim)),
        width_(static_cast<int>(padded(cache.head_dim))),
        num_rows_(tile.row_end - tile.row_begin) {
    const auto* query = static_cast<const Stored*>(tile.query);
    for (int r = 0; r < num_rows_; ++r) {
      const int row = tile.row_begin + r;
      const auto* from = query + row / tile.heads_per_kv * tile.query_stride +
                         row % tile.heads_per_kv * cache.head_dim;
      copy_row(scratch_.queries + r * width_, from, head_dim_, width_);
    }
  }

  State part() { return {scratch_.part_largest, scratch_.part_weight, scratch_.part_values}; }
  State all() { return {scratch_.all_largest, scratch_.all_weight, scratch_.all_values}; }

  int num_partitions() const {
    return static_cast<int>(position_of(tile_, tile_.row_end - 1) / kPartition) + 1;
  }

  void clear(const State& state) {
    for (int r = 0; r < num_rows_; ++r) state.largest[r] = kNothing;
    for (int r = 0; r < num_rows_; ++r) state.weight[r] = 0;
    __builtin_memset(state.values, 0, sizeof(float) * static_cast<std::size_t>(num_rows_ * width_));
  }

  void attend(int partition, const State& state) {
    clear(state);
    for (int i = 0; i < num_rows_ * kLanes; ++i) scratch_.sums[i] = 0;
    const int64_t stop = position_of(tile_, tile_.row_end - 1) + 1;
    const int64_t begin = int64_t{partition} * kPartition;
    const int64_t end = smaller(stop, begin + kPartition);
    for (int64_t key = begin; key < end; key += kTileKeys) {
      const int keys = smaller(end - key, kTileKeys);
      lay_out(key, keys);
      prefetch(key + keys, smaller(stop - key - keys, kTileKeys));
      // The first row that sees any of these keys.
      const int64_t tokens = larger(key - tile_.first_position, 0);
      const int first = larger(tokens * tile_.heads_per_kv - tile_.row_begin, 0);
      for (int r = first; r < num_rows_; r += kBlockRows) {
        switch (num_rows_ - r) {
          case 1: attend_block<1>(key, r, state); break;
          case 2: attend_block<2>(key, r, state); break;
          case 3: attend_block<3>(key, r, state); break;
          default: attend_block<kBlockRows>(key, r, state);
        }
      }
    }
    for (int r = 0; r < num_rows_; ++r) state.weight[r] = sum(load(scratch_.sums + r * kLanes));
  }

  // Adds what came of some keys to what came of those before them.
  void merge(const State& into, const State& from) {
    for (int r = 0; r < num_rows_; ++r) {
      if (from.largest[r] == kNothing) continue;
      const float largest = from.largest[r] > into.largest[r] ? from.largest[r] : into.largest[r];
      const Floats both = broadcast(into.largest[r] - largest);
      const Floats old_share = exp2_of_negative(both);
      const Floats new_share = exp2_of_negative(broadcast(from.largest[r] - largest));
      into.largest[r] = largest;
      into.weight[r] = into.weight[r] * old_share[0] + from.weight[r] * new_share[0];
      float* values = into.values + r * width_;
      for (int d = 0; d < width_; d += kLanes) {
        const Floats more = load(from.values + r * width_ + d) * new_share;
        store(values + d, load(values + d) * old_share + more);
      }
    }
  }

  void write(const State& state) {
    auto* out = static_cast<Stored*>(tile_.out);
    for (int r = 0; r < num_rows_; ++r) {
      const int row = tile_.row_begin + r;
      auto* to = out + row / tile_.heads_per_kv * tile_.out_stride +
                 row % tile_.heads_per_kv * cache_.head_dim;
      float* values = state.values + r * width_;
      const float scale = 1.0f / state.weight[r];
      for (int d = 0; d < width_; d += kLanes) store(values + d, load(values + d) * scale);
      copy(to, values, head_dim_);
    }
  }

 private:
  // Calls body(k, row) for the rows of keys or values from `first` on, block by block.
  template <class Body>
  void each_row(const void* pages, int64_t first, int keys, const Body& body) const {
    const int64_t token = cache_.kv_heads * cache_.head_dim;
    const auto* head = static_cast<const Stored*>(pages) + tile_.kv_head * cache_.head_dim;
    int64_t block = first / cache_.block_size;
    int64_t offset = first % cache_.block_size;
    for (int k = 0; k < keys; ++block, offset = 0) {
      const Stored* row =
          head + (tile_.block_table[block] * cache_.block_size + offset) * token;
      const int end = smaller(keys, k + cache_.block_size - offset);
      for (; k < end; ++k, row += token) body(k, row);
    }
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
        copy_row(scratch_.rows + k * width_, row, head_dim_, width_);
        rows_[k] = scratch_.rows + k * width_;
      });
    }
    for (int k = keys; k < kTileKeys; ++k) rows_[k] = zeros_;
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

  void lay_out(int64_t first, int keys) {
    find_rows(cache_.keys, first, keys);
    const auto* words = reinterpret_cast<const uint32_t* const*>(rows_);
    const int row_words = width_ / Compute::kPack;
    for (int k = 0; k < keys; k += kLanes) {
      int d = 0;
      for (; d + kLanes <= row_words; d += kLanes) {
        transpose(words + k, d, scratch_.keys + d * kTileKeys + k, kTileKeys);
      }
      for (; d < row_words; ++d) {
        for (int i = 0; i < kLanes; ++i) scratch_.keys[d * kTileKeys + k + i] = words[k + i][d];
      }
    }
    find_rows(cache_.values, first, keys);
    lay_out_values(keys);
  }

  // Words of kPack keys' elements of the same dimension: [keys / kPack, head_dim].
  void lay_out_values(int keys) {
    if constexpr (Compute::kPack == 1) {
      for (int k = 0; k < (keys + 1) / 2 * 2; ++k) {
        copy(reinterpret_cast<float*>(scratch_.values) + k * width_, rows_[k], width_);
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
          _mm512_storeu_si512(scratch_.values + k / 2 * width_ + d,
                              _mm512_permutexvar_epi16(order, both));
        }
      }
    }
#endif
  }

  // Rows `row` to `row + kRows` against the keys that are laid out, the first of which is `key`.
  template <int kRows>
  void attend_block(int64_t key, int row, const State& state) {
    int visible[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int64_t position = position_of(tile_, tile_.row_begin + row + r);
      visible[r] = smaller(position + 1 - key, kTileKeys);
    }
    const int most = visible[kRows - 1];
    for (int v = 0; v < most;) {
      const int left = (most - v + kLanes - 1) / kLanes;
      if (kMaxVectors == 4 && left > 2) {
        score<kRows, kMaxVectors>(row, v);
        v += kMaxVectors * kLanes;
      } else if (left > 1) {
        score<kRows, 2>(row, v);
        v += 2 * kLanes;
      } else {
        score<kRows, 1>(row, v);
        v += kLanes;
      }
    }
    float faded[kRows];
    for (int r = 0; r < kRows; ++r) faded[r] = weigh(row, r, most, visible[r], state);
    const int pairs = (most + 1) / 2 * 2 / Compute::kPack;
    for (int d = 0; d < width_;) {
      const int left = (width_ - d) / kLanes;
      if (kMaxVectors == 4 && left >= 4) {
        add_values<kRows, kMaxVectors>(row, d, pairs, faded, state);
        d += kMaxVectors * kLanes;
      } else if (left >= 2) {
        add_values<kRows, 2>(row, d, pairs, faded, state);
        d += 2 * kLanes;
      } else {
        add_values<kRows, 1>(row, d, pairs, faded, state);
        d += kLanes;
      }
    }
  }

  template <int kRows, int kVectors>
  void score(int row, int key) {
    const int words = width_ / Compute::kPack;
    Floats sums[kRows][kVectors] = {};
    const auto* queries = reinterpret_cast<const uint32_t*>(scratch_.queries + row * width_);
    multiply<Compute>(sums, queries, words, scratch_.keys + key, kTileKeys, words);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        store(scratch_.scores + r * kTileKeys + key + v * kLanes, sums[r][v]);
      }
    }
  }

  // From scores to weights, for row `row + r`. Returns by how much what came before now counts less.
  float weigh(int row, int r, int most, int visible, const State& state) {
    float* scores = scratch_.scores + r * kTileKeys;
    const float scale = tile_.scale * kLog2E;
    Floats largest = broadcast(state.largest[row + r]);
    for (int k = larger(visible, 0); k < (most + kLanes - 1) / kLanes * kLanes; ++k) {
      scores[k] = kNothing;
    }
    for (int k = 0; k < most; k += kLanes) {
      const Floats x = load(scores + k) * scale;
      store(scores + k, x);
      largest = at_least(largest, x);
    }
    const float now = plimsoll::PLIMSOLL_ISA::largest(largest);
    // A row that has seen nothing yet: any finite number keeps its weights at 0.
    const Floats against = broadcast(now == kNothing ? 0.0f : now);
    const Floats fade = exp2_of_negative(broadcast(state.largest[row + r]) - against);
    state.largest[row + r] = now;
    Floats total = load(scratch_.sums + (row + r) * kLanes) * fade;
    for (int k = 0; k < most; k += kLanes) {
      const Floats weights = exp2_of_negative(load(scores + k) - against);
      total += weights;
      Compute::put_weights(scratch_.weights + r * kTileKeys + k, weights);
    }
    store(scratch_.sums + (row + r) * kLanes, total);
    return fade[0];
  }

  template <int kRows, int kVectors>
  void add_values(int row, int dim, int words, const float* faded, const State& state) {
    Floats sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = load(state.values + (row + r) * width_ + dim + v * kLanes) * faded[r];
      }
    }
    const auto* weights = reinterpret_cast<const uint32_t*>(scratch_.weights);
    multiply<Compute>(sums, weights, kTileKeys / Compute::kPack, scratch_.values + dim, width_,
                      words);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        store(state.values + (row + r) * width_ + dim + v * kLanes, sums[r][v]);
      }
    }
  }

  const Cache& cache_;
  const Tile& tile_;
  const int head_dim_;
  const int width_;
  const int num_rows_;
  alignas(64) static constexpr Element zeros_[kMaxHeadDim] = {};
  const Element* rows_[kTileKeys];
  Scratch<Compute> scratch_;
};

template <class Compute, class Stored>
void attend(const Cache& cache, const Tile& tile) {
  Attention<Compute, Stored> attention(cache, tile);
  const State all = attention.all();
  attention.clear(all);
  for (int p = 0; p < attention.num_partitions(); ++p) {
    attention.attend(p, attention.part());
    attention.merge(all, attention.part());
  }
  attention.write(all);
}

template <class Compute, class Stored>
void attend_partition(const Cache& cache, const Tile& tile, int partition, const State& state) {
  Attention<Compute, Stored>(cache, tile).attend(partition, state);
}

template <class Compute, class Stored>
void finish(const Cache& cache, const Tile& tile, int partitions, const State* states) {
  Attention<Compute, Stored> attention(cache, tile);
  const State all = attention.all();
  attention.clear(all);
  for (int p = 0; p < partitions; ++p) attention.merge(all, states[p]);
  attention.write(all);
}

template <class Compute, class Stored>
constexpr Kernels kernels() {
  return {attend<Compute, Stored>, attend_partition<Compute, Stored>, finish<Compute, Stored>};
}

}  // namespace

Kernels attention_kernels(bool is_bf16) {
#if defined(__AVX512BF16__)
  return is_bf16 ? kernels<Bf16Dot, uint16_t>() : kernels<Fp32, float>();
#else
  return is_bf16 ? kernels<Fp32, uint16_t>() : kernels<Fp32, float>();
#endif
}

}  // namespace plimsoll::PLIMSOLL_ISA
