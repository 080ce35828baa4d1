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
#include "blocked.h"
#include "laid_out.h"
#include "scratch.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
// The largest score of a row that has seen nothing.
constexpr float kNothing = -__builtin_inff();

// For a row that has seen nothing any finite number keeps its weights at 0.
float finite(float score) { return score == kNothing ? 0.0f : score; }

int larger(int64_t a, int64_t b) { return static_cast<int>(a > b ? a : b); }

// `Row` is the type of queries and output; `Layout` says how keys and values lie, as LaidOut does.
template <class Row, class Layout>
class Attention {
  typedef typename Layout::Compute Compute;

 public:
  Attention(const Cache& cache, const Tile& tile)
      : cache_(cache),
        tile_(tile),
        head_dim_(static_cast<int>(cache.head_dim)),
        width_(static_cast<int>(padded(cache.head_dim))),
        num_rows_(tile.row_end - tile.row_begin),
        laid_out_(cache, tile) {
    const auto* query = static_cast<const Row*>(tile.query);
    for (int r = 0; r < num_rows_; ++r) {
      const int row = tile.row_begin + r;
      const auto* from = query + row / tile.heads_per_kv * tile.query_stride +
                         row % tile.heads_per_kv * cache.head_dim;
      scratch_.positions[r] = position_of(tile, row);
      put_query(r, from);
    }
  }

  State part() { return {scratch_.part_largest, scratch_.part_weight, scratch_.part_values}; }
  State all() { return {scratch_.all_largest, scratch_.all_weight, scratch_.all_values}; }

  int num_partitions() const {
    return static_cast<int>(scratch_.positions[num_rows_ - 1] / kPartition) + 1;
  }

  void clear(const State& state) {
    for (int r = 0; r < num_rows_; ++r) state.largest[r] = kNothing;
    for (int r = 0; r < num_rows_; ++r) state.weight[r] = 0;
    __builtin_memset(state.values, 0, sizeof(float) * static_cast<std::size_t>(num_rows_ * width_));
  }

  void attend(int partition, const State& state) {
    clear(state);
    for (int i = 0; i < num_rows_ * kLanes; ++i) scratch_.sums[i] = 0;
    const int64_t stop = scratch_.positions[num_rows_ - 1] + 1;
    const int64_t begin = int64_t{partition} * kPartition;
    const int64_t end = smaller(stop, begin + kPartition);
    for (int64_t key = begin; key < end; key += kTileKeys) {
      const int keys = smaller(end - key, kTileKeys);
      laid_out_.read(key, keys);
      laid_out_.prefetch(key + keys, smaller(stop - key - keys, kTileKeys));
      if constexpr (Compute::kQueryOffset != 0) take_offset(keys);
      scratch_.scaled_keys = 0;
      // The first row that sees any of these keys.
      const int64_t tokens = larger(key - tile_.first_position, 0);
      const int first = larger(tokens * tile_.heads_per_kv - tile_.row_begin, 0);
      attend_blocks<Layout::kBlockRows>(key, first, state);
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
    auto* out = static_cast<Row*>(tile_.out);
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
  static constexpr bool kScaled = Compute::kScaled;
  static constexpr int kParts = Compute::kParts;

  // Row `r` times column `v`, of all its parts.
  template <int kRows, int kVectors>
  static Words total(const typename Compute::Sums (&sums)[kRows][kVectors], int r, int v) {
    return Compute::total(sums[r * kParts][v], sums[r * kParts + kParts - 1][v]);
  }

  // One by one: an initializer would write them to memory.
  template <int kRows, int kVectors>
  static void clear(typename Compute::Sums (&sums)[kRows][kVectors]) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] = typename Compute::Sums{};
    }
  }

  void put_query(int r, const Row* from) {
    auto* to = scratch_.queries + r * kParts * width_;
    if constexpr (kScaled) {
      alignas(64) float numbers[kMaxHeadDim] = {};
      copy(numbers, from, head_dim_);
      scratch_.query_scales[r] =
          Compute::put_query(to, width_, numbers, width_) * tile_.scale * kLog2E;
    } else {
      copy_row(to, from, head_dim_, width_);
    }
  }

  // What sums of products with these keys begin with: less what the queries' offset adds to them.
  void take_offset(int keys) {
    for (int k = 0; k < keys; k += kLanes) {
      Words sum = {};
      for (int word = 0; word < width_ / Compute::kPack; ++word) {
        sum = Compute::add_offset(sum, laid_out_.keys(k) + word * Layout::kKeyStride);
      }
      store(scratch_.without_offset + k, -sum);
    }
  }

  // All rows from `row` on, in blocks of kRows and at last a smaller one.
  template <int kRows>
  void attend_blocks(int64_t key, int row, const State& state) {
    for (; num_rows_ - row >= kRows; row += kRows) attend_block<kRows>(key, row, state);
    if constexpr (kRows > 1) {
      if (row < num_rows_) attend_blocks<kRows - 1>(key, row, state);
    }
  }

  // Rows `row` to `row + kRows` against the keys that are laid out, the first of which is `key`.
  template <int kRows>
  void attend_block(int64_t key, int row, const State& state) {
    int visible[kRows];
    for (int r = 0; r < kRows; ++r) {
      visible[r] = smaller(scratch_.positions[row + r] + 1 - key, kTileKeys);
    }
    const int most = visible[kRows - 1];
    for (int v = 0; v < most;) {
      const int left = (most - v + kLanes - 1) / kLanes;
      if (Compute::kVectors == 4 && left > 2) {
        score<kRows, Compute::kVectors>(row, v);
        v += Compute::kVectors * kLanes;
      } else if (left > 1) {
        score<kRows, 2>(row, v);
        v += 2 * kLanes;
      } else {
        score<kRows, 1>(row, v);
        v += kLanes;
      }
    }
    float faded[kRows];
    weigh<kRows>(row, most, visible, state, faded);
    const int words = (most + Compute::kPack - 1) / Compute::kPack;
    for (int d = 0; d < width_;) {
      const int left = (width_ - d) / kLanes;
      if (Compute::kVectors == 4 && left >= 4) {
        add_values<kRows, Compute::kVectors>(row, d, words, faded, state);
        d += Compute::kVectors * kLanes;
      } else if (left >= 2) {
        add_values<kRows, 2>(row, d, words, faded, state);
        d += 2 * kLanes;
      } else {
        add_values<kRows, 1>(row, d, words, faded, state);
        d += kLanes;
      }
    }
  }

  template <int kRows, int kVectors>
  void score(int row, int key) {
    typename Compute::Sums sums[kRows * kParts][kVectors];
    clear(sums);
    if constexpr (Compute::kQueryOffset != 0) {
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          sums[r * kParts][v] = load(scratch_.without_offset + key + v * kLanes);
        }
      }
    }
    const uint32_t* columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = laid_out_.keys(key + v * kLanes);
    multiply<Compute>(sums, scratch_.queries + row * kParts * width_, width_, columns,
                      Layout::kKeyStride, width_ / Compute::kPack,
                      [&](int i, int v) { laid_out_.prefetch_values(key + v * kLanes, i); });
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const int k = key + v * kLanes;
        float* scores = scratch_.scores + r * kTileKeys + k;
        if constexpr (kScaled) {
          store(scores, to_floats(total(sums, r, v)) * load(laid_out_.key_scales() + k));
        } else {
          store(scores, sums[r][v]);
        }
      }
    }
  }

  // Takes the values' scales as multiples of a unit, by which those of the first `visible` are at most
  // kMost. Rows of a token see as many.
  void scale_values(int visible) {
    if (visible == scratch_.scaled_keys) return;
    Words lanes, most = {};
    for (int i = 0; i < kLanes; ++i) lanes[i] = static_cast<uint32_t>(i);
    for (int k = 0; k < visible; k += kLanes) {
      const Words seen = (Words)(lanes < static_cast<uint32_t>(visible - k));
      const Words scales = (Words)load(laid_out_.value_scales() + k) & seen;
      most = larger_magnitudes(most, (Floats)scales);
    }
    const float unit = Compute::scale_for(largest_magnitude(most));
    for (int k = 0; k < visible; k += kLanes) {
      store(scratch_.value_scales + k, load(laid_out_.value_scales() + k) * (1.0f / unit));
    }
    scratch_.value_unit = unit;
    scratch_.scaled_keys = visible;
  }

  // From scores to weights, and in `faded` by how much what came before now counts less. Each step is
  // taken for all rows before the next one: a row alone would wait for its largest score and its share.
  template <int kRows>
  void weigh(int row, int most, const int (&visible)[kRows], const State& state,
             float (&faded)[kRows]) {
    // Of what came before, and of the largest weight here.
    Floats old_shares = {}, new_shares = {};
    float scale[kRows], against[kRows];
    for (int r = 0; r < kRows; ++r) {
      float* scores = scratch_.scores + r * kTileKeys;
      for (int k = larger(visible[r], 0); k < (most + kLanes - 1) / kLanes * kLanes; ++k) {
        scores[k] = kNothing;
      }
      Floats largest = load(scores);
      for (int k = kLanes; k < most; k += kLanes) largest = at_least(largest, load(scores + k));
      scale[r] = kScaled ? scratch_.query_scales[row + r] : tile_.scale * kLog2E;
      const float before = state.largest[row + r];
      const float here = plimsoll::PLIMSOLL_ISA::largest(largest) * scale[r];
      const float now = here < before ? before : here;
      state.largest[row + r] = now;
      old_shares[r] = before - finite(now);
      new_shares[r] = here - finite(now);
      against[r] = finite(kScaled ? here : now);
    }
    old_shares = exp2_of_negative(old_shares);
    if constexpr (kScaled) new_shares = exp2_of_negative(new_shares);
    for (int r = 0; r < kRows; ++r) {
      if constexpr (kScaled) scale_values(visible[r]);
      Floats added = {};
      for (int k = 0; k < most; k += kLanes) {
        const Floats score = load(scratch_.scores + r * kTileKeys + k);
        const Floats weights = exp2_of_negative(score * scale[r] - against[r]);
        added += weights;
        auto* to = scratch_.weights + r * kParts * kTileKeys + k;
        if constexpr (kScaled) {
          Compute::put(to, kTileKeys, weights * load(scratch_.value_scales + k));
        } else {
          Compute::put_weights(to, weights);
        }
      }
      // Those that are rounded are against the largest score here, so that the small ones count.
      if constexpr (kScaled) {
        added *= new_shares[r];
        scratch_.weight_scales[r] = new_shares[r] * scratch_.value_unit;
      }
      float* sums = scratch_.sums + (row + r) * kLanes;
      store(sums, load(sums) * old_shares[r] + added);
      faded[r] = old_shares[r];
    }
  }

  template <int kRows, int kVectors>
  void add_values(int row, int dim, int words, const float* faded, const State& state) {
    typename Compute::Sums sums[kRows * kParts][kVectors];
    clear(sums);
    if constexpr (!kScaled) {
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = load(state.values + (row + r) * width_ + dim + v * kLanes) * faded[r];
        }
      }
    }
    for (int word = 0; word < words; word += Layout::kRun) {
      const uint32_t* columns[kVectors];
      for (int v = 0; v < kVectors; ++v) columns[v] = laid_out_.values(word) + dim + v * kLanes;
      multiply<Compute>(sums, scratch_.weights + word * Compute::kPack, kTileKeys, columns, width_,
                        smaller(words - word, Layout::kRun),
                        [&](int i, int v) { laid_out_.prefetch_keys(word + i, dim + v * kLanes); });
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        float* values = state.values + (row + r) * width_ + dim + v * kLanes;
        if constexpr (kScaled) {
          const Floats more = to_floats(total(sums, r, v)) * scratch_.weight_scales[r];
          store(values, load(values) * faded[r] + more);
        } else {
          store(values, sums[r][v]);
        }
      }
    }
  }

  const Cache& cache_;
  const Tile& tile_;
  const int head_dim_;
  const int width_;
  const int num_rows_;
  Layout laid_out_;
  Scratch<Layout> scratch_;
};

template <class Row, class Layout>
void attend(const Cache& cache, const Tile& tile) {
  Attention<Row, Layout> attention(cache, tile);
  const State all = attention.all();
  attention.clear(all);
  for (int p = 0; p < attention.num_partitions(); ++p) {
    attention.attend(p, attention.part());
    attention.merge(all, attention.part());
  }
  attention.write(all);
}

template <class Row, class Layout>
void attend_partition(const Cache& cache, const Tile& tile, int partition, const State& state) {
  Attention<Row, Layout>(cache, tile).attend(partition, state);
}

template <class Row, class Layout>
void finish(const Cache& cache, const Tile& tile, int partitions, const State* states) {
  Attention<Row, Layout> attention(cache, tile);
  const State all = attention.all();
  attention.clear(all);
  for (int p = 0; p < partitions; ++p) attention.merge(all, states[p]);
  attention.write(all);
}

template <class Row, class Layout>
constexpr Kernels kernels() {
  return {attend<Row, Layout>, attend_partition<Row, Layout>, finish<Row, Layout>};
}

template <class Layout>
constexpr Kernels kernels(bool is_bf16) {
  return is_bf16 ? kernels<uint16_t, Layout>() : kernels<float, Layout>();
}

#if defined(__AVX512BF16__)
constexpr Kernels kBlockedBf16 = kernels<uint16_t, Blocked<Bf16Dot>>();
#else
// Rows for which it pays to write widened keys and values down, rather than to widen them for every
// block of rows.
constexpr int kManyRows = 16;

bool many(const Tile& tile) { return tile.row_end - tile.row_begin >= kManyRows; }

constexpr Kernels kBlockedBf16 = {
    [](const Cache& cache, const Tile& tile) {
      const auto by_rows = many(tile) ? attend<uint16_t, Widened> : attend<uint16_t, Blocked<Bf16Dot>>;
      by_rows(cache, tile);
    },
    [](const Cache& cache, const Tile& tile, int partition, const State& state) {
      const auto by_rows = many(tile) ? attend_partition<uint16_t, Widened>
                                      : attend_partition<uint16_t, Blocked<Bf16Dot>>;
      by_rows(cache, tile, partition, state);
    },
    finish<uint16_t, Blocked<Bf16Dot>>,
};
#endif

}  // namespace

Kernels attention_kernels(bool is_bf16, PageFormat format) {
  // Rows are laid out once for many: the time to widen bf16 where there are no products of it.
#if defined(__AVX512BF16__)
  typedef Bf16Dot OfBf16;
#else
  typedef Fp32 OfBf16;
#endif
  switch (format) {
    case kBlockedPages:
      return is_bf16 ? kBlockedBf16 : kernels<float, Blocked<Fp32>>();
    case kInt8BlockedPages: return kernels<Blocked<Int8Dot>>(is_bf16);
    case kInt8RowPages: return kernels<LaidOut<Int8Dot, int8_t>>(is_bf16);
    default:
      return is_bf16 ? kernels<uint16_t, LaidOut<OfBf16, uint16_t>>()
                     : kernels<float, LaidOut<Fp32, float>>();
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
