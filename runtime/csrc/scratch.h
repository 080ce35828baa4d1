// What attention over one tile works in.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "dot.h"

namespace plimsoll::PLIMSOLL_ISA {

// All that a thread needs at its work, for heads of the largest dimension.
template <class Layout>
struct Scratch {
  typedef typename Layout::Compute Compute;
  static constexpr int kBlockRows = Layout::kBlockRows;
  typedef typename Compute::Factor Factor;
  static constexpr int kParts = Compute::kParts;
  alignas(64) Factor queries[kTileRows * kParts * kMaxHeadDim];
  float query_scales[kTileRows];
  int64_t positions[kTileRows];
  alignas(64) float scores[kBlockRows * kTileKeys];
  alignas(64) Factor weights[kBlockRows * kParts * kTileKeys];
  float weight_scales[kBlockRows];
  // Those of the first `scaled_keys` values, in multiples of the unit.
  alignas(64) float value_scales[kTileKeys];
  float value_unit;
  int scaled_keys;
  alignas(64) uint32_t without_offset[kTileKeys] = {};
  alignas(64) float sums[kTileRows * kLanes];
  alignas(64) float part_values[kTileRows * kMaxHeadDim];
  alignas(64) float all_values[kTileRows * kMaxHeadDim];
  float part_largest[kTileRows], part_weight[kTileRows];
  float all_largest[kTileRows], all_weight[kTileRows];
};

}  // namespace plimsoll::PLIMSOLL_ISA
