// One layer's attention for all sequences of a step: stores the new keys and values, deals the work
// out to threads. This is the C interface that Python calls.

#include "attention.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "cpu.h"
#include "kv_store.h"
#include "paged_step.h"
#include "threads.h"

namespace plimsoll {
namespace {

// Pieces of work for each thread: enough to even out what differs between them.
constexpr int kPiecesPerThread = 4;
// Rows times partitions of a tile that is split: its states take memory.
constexpr int64_t kMaxSplit = 1024;

// A tile, and where its partitions' states are when it is split among threads.
struct Work {
  Tile tile;
  int partitions;
  bool split;
  int64_t first_state;
  int unfinished;
};

struct Piece {
  int64_t work;
  int partition;  // -1: all of them
};

// What is kept from call to call, so that a step takes no memory anew.
struct Plan {
  std::vector<Work> works;
  std::vector<Piece> pieces;
  std::vector<State> states;
  std::vector<float> numbers;
};

Kernels kernels_for(int instruction_set, bool is_bf16, PageFormat format) {
  PLIMSOLL_RETURN_KERNELS(instruction_set, attention_kernels(is_bf16, format))
}

int num_rows(const Tile& tile) { return tile.row_end - tile.row_begin; }

int64_t cost(const Work& work) {
  return int64_t{num_rows(work.tile)} * (position_of(work.tile, work.tile.row_end - 1) + 1);
}

// Every sequence's rows in tiles, the longest rows of a sequence first.
void cut(const PagedStep& step, const char* query, int64_t query_stride, char* out, Plan& plan) {
  const int64_t element = step.is_bf16 ? 2 : 4;
  const int group = static_cast<int>(step.heads / step.kv_heads);
  const int64_t out_stride = step.heads * step.head_dim;
  plan.works.clear();
  for (int64_t s = 0; s < step.num_seqs; ++s) {
    const int64_t first = step.query_start_loc[s];
    const int64_t count = step.query_start_loc[s + 1] - first;
    const int rows = static_cast<int>(count * group);
    for (int end = rows; end > 0; end = (end - 1) / kTileRows * kTileRows) {
      for (int h = 0; h < step.kv_heads; ++h) {
        Tile tile{};
        tile.query = query + (first * query_stride + h * group * step.head_dim) * element;
        tile.query_stride = query_stride;
        tile.out = out + (first * out_stride + h * group * step.head_dim) * element;
        tile.out_stride = out_stride;
        tile.block_table = step.block_tables + s * step.table_width;
        tile.first_position = step.seq_lens[s] - count;
        tile.heads_per_kv = group;
        tile.kv_head = h;
        tile.row_begin = (end - 1) / kTileRows * kTileRows;
        tile.row_end = end;
        tile.scale = step.scale;
        const auto partitions = position_of(tile, end - 1) / kPartition + 1;
        plan.works.push_back({tile, static_cast<int>(partitions), false, 0, 0});
      }
    }
  }
}

// Tiles become pieces; those that would keep one thread long after the others are split.
void deal(const PagedStep& step, Plan& plan) {
  int64_t total = 0;
  for (const Work& work : plan.works) total += cost(work);
  const int64_t fair = total / (int64_t{step.threads} * kPiecesPerThread);
  int64_t num_states = 0, num_floats = 0;
  const int64_t width = padded(step.head_dim) + 2;
  plan.pieces.clear();
  for (std::size_t i = 0; i < plan.works.size(); ++i) {
    Work& work = plan.works[i];
    const int64_t rows = num_rows(work.tile);
    work.split = step.threads > 1 && work.partitions > 1 && cost(work) > fair &&
                 rows * work.partitions <= kMaxSplit;
    if (!work.split) {
      plan.pieces.push_back({static_cast<int64_t>(i), -1});
      continue;
    }
    work.first_state = num_states;
    work.unfinished = work.partitions;
    num_states += work.partitions;
    num_floats += work.partitions * rows * width;
    for (int p = 0; p < work.partitions; ++p) {
      plan.pieces.push_back({static_cast<int64_t>(i), p});
    }
  }
  plan.states.resize(static_cast<std::size_t>(num_states));
  if (plan.numbers.size() < static_cast<std::size_t>(num_floats)) {
    plan.numbers.resize(static_cast<std::size_t>(num_floats));
  }
  float* next = plan.numbers.data();
  for (const Work& work : plan.works) {
    const int rows = num_rows(work.tile);
    for (int p = 0; work.split && p < work.partitions; ++p) {
      plan.states[static_cast<std::size_t>(work.first_state + p)] = {next, next + rows, next + 2 * rows};
      next += rows * width;
    }
  }
}

void run(const Kernels& kernels, const Cache& cache, Plan& plan, const Piece& piece) {
  Work& work = plan.works[static_cast<std::size_t>(piece.work)];
  if (piece.partition < 0) {
    kernels.attend(cache, work.tile);
    return;
  }
  const State* states = plan.states.data() + work.first_state;
  kernels.attend_partition(cache, work.tile, piece.partition, states[piece.partition]);
  // Whoever is last has all the others' states.
  if (__atomic_sub_fetch(&work.unfinished, 1, __ATOMIC_ACQ_REL) == 0) {
    kernels.finish(cache, work.tile, work.partitions, states);
  }
}

// A layer of the cache, with the step's new keys and values in it.
Cache stored(const PagedStep& step, int64_t layer, const NewRows& key, const NewRows& value) {
  char* keys = step.pages + layer * step.layer_bytes;
  char* values = keys + step.value_bytes;
  float* key_scales = step.scales == nullptr ? nullptr : step.scales + layer * step.layer_scales;
  float* value_scales = step.scales == nullptr ? nullptr : key_scales + step.value_scales;
  const Slots slots{step.slot_mapping, step.num_tokens, step.kv_heads, step.head_dim,
                    step.is_bf16 != 0, step.threads};
  store(static_cast<PageFormat>(step.format), slots, key, {keys, key_scales}, value,
        {values, value_scales});
  return {keys, values, key_scales, value_scales, step.block_size, step.kv_heads, step.head_dim};
}

void attend(const PagedStep& step, int64_t layer, const char* query, int64_t query_stride,
            const NewRows& key, const NewRows& value, char* out) {
  thread_local Plan plan;
  const Cache cache = stored(step, layer, key, value);
  const Kernels kernels =
      kernels_for(step.instruction_set, step.is_bf16 != 0, static_cast<PageFormat>(step.format));
  cut(step, query, query_stride, out, plan);
  deal(step, plan);
  // Threads have a plan of their own by that name.
  Plan& shared = plan;
  parallel_for(static_cast<int64_t>(plan.pieces.size()), step.threads, [&](int64_t i) {
    run(kernels, cache, shared, shared.pieces[static_cast<std::size_t>(i)]);
  });
}

}  // namespace
}  // namespace plimsoll

extern "C" __attribute__((visibility("default"))) int plimsoll_paged_attention(
    const plimsoll::PagedStep* step, int64_t layer, const char* query, int64_t query_stride,
    const char* key, int64_t key_stride, const char* value, int64_t value_stride, char* out) {
  try {
    plimsoll::attend(*step, layer, query, query_stride, {key, key_stride}, {value, value_stride},
                     out);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}
