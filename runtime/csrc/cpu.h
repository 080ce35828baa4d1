// Which instruction set the kernels use. The numbers are part of the C interface.
#pragma once

namespace plimsoll {

enum InstructionSet : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3 };

// The best that this processor and its operating system allow.
InstructionSet best_instruction_set();

}  // namespace plimsoll
