// Paged attention: what a step is, and what is computed in one piece.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace plimsoll {

// Keys that are summed up from nothing. What comes of each partition is added to what came of those
// before it, always in this order. So a row's result depends on its query and on the keys and values
// that it sees: not on the rows or sequences beside it, on how many threads there are or on how the
// work is shared among them.
constexpr int kPartition = 256;
// Keys that are laid out for the vector units at a time.
constexpr int kTileKeys = 64;
// Rows, each a query head of a token, that share what was laid out.
constexpr int kTileRows = 64;
constexpr int kMaxHeadDim = 256;

// Tokens whose keys and values are laid out together.
constexpr int64_t kBlockTokens = 16;

// How a cache's pages are. Rows are [slots, kv_heads, head_dim], and scales [slots, kv_heads].
//
// Blocked is for block sizes and heads of 16s, in words of 4 bytes as the vector units multiply them:
// for kBlockTokens slots and a head, keys are [words of a row, slots], and values [slots / n,
// head_dim] words of n slots' elements, where n is 1 in fp32, 2 in bf16 and 4 in int8. Scales are
// [slots] for each of these.
//
// The numbers are part of the C interface.
enum PageFormat : int { kRowPages = 0, kBlockedPages = 1, kInt8RowPages = 2, kInt8BlockedPages = 3 };

// One layer's KV cache: slots of KV heads of `head_dim` elements. With scales, elements are int8 and
// each head's are to be multiplied by its scale; else they are of the type of queries and output.
struct Cache {
  const void* keys;
  const void* values;
  const float* key_scales;
  const float* value_scales;
  int64_t block_size;
  int64_t kv_heads;
  int64_t head_dim;
};

// Query heads of one sequence that share a KV head: rows `row_begin` to `row_end`, token by token
// and within a token head by head. Query and output begin at the sequence's first token and at the
// first of these heads.
struct Tile {
  const void* query;
  int64_t query_stride;
  void* out;
  int64_t out_stride;
  const int64_t* block_table;
  int64_t first_position;
  int heads_per_kv;
  int kv_head;
  int row_begin;
  int row_end;
  float scale;
};

inline int64_t position_of(const Tile& tile, int row) {
  return tile.first_position + row / tile.heads_per_kv;
}

inline int64_t padded(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

// What attention over some keys came to, row by row: the largest score, the sum of weights against
// it, and the weighted sum of values `[rows, padded(head_dim)]`, all before the division.
struct State {
  float* largest;
  float* weight;
  float* values;
};

struct Kernels {
  // Attends to all partitions and writes the output.
  void (*attend)(const Cache&, const Tile&);
  // Attends to one partition only.
  void (*attend_partition)(const Cache&, const Tile&, int partition, const State&);
  // Adds up the partitions' states, in their order, and writes the output.
  void (*finish)(const Cache&, const Tile&, int partitions, const State*);
};

PLIMSOLL_DECLARE_KERNELS(Kernels attention_kernels(bool is_bf16, PageFormat))

}  // namespace plimsoll
