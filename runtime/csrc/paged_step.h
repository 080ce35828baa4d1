// One layer's attention for all sequences of a step.
#pragma once

#include <cstdint>

namespace plimsoll {

// All that stays the same from layer to layer of a step; `PagedStep` in native.py.
struct PagedStep {
  char* pages;
  int64_t layer_bytes;  // from one layer's keys to the next one's
  int64_t value_bytes;  // from a layer's keys to its values
  float* scales;         // of pages in int8; null for others
  int64_t layer_scales;  // as layer_bytes, in scales
  int64_t value_scales;
  int64_t block_size;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t heads;
  int64_t num_seqs;
  int64_t table_width;
  int64_t num_tokens;
  const int32_t* query_start_loc;
  const int32_t* seq_lens;
  const int64_t* block_tables;
  const int64_t* slot_mapping;
  float scale;
  int32_t is_bf16;
  int32_t threads;
  int32_t instruction_set;
  int32_t format;  // PageFormat
};

}  // namespace plimsoll

// Stores a layer's new keys and values and attends to all up to each query's own. Strides are
// between tokens, in elements; within a token heads lie one after the other. Returns 0, or 1 when
// there is not enough memory.
extern "C" int plimsoll_paged_attention(const plimsoll::PagedStep* step, int64_t layer,
                                        const char* query, int64_t query_stride, const char* key,
                                        int64_t key_stride, const char* value,
                                        int64_t value_stride, char* out);
