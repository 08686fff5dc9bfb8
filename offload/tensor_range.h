// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A stretch of a flat parameter, tensor by tensor.

#include <algorithm>
#include <cstdint>

#include "offload/workload.h"

namespace sluice {

// Calls act(tensor, first, last) for each tensor that has some of the elements
// [begin, end) of `flat`: those from first to last, counted in the flat parameter.
template <typename Act>
void for_tensors(const FlatParameter& flat, std::int64_t begin, std::int64_t end, Act act) {
  for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
    const TensorSpec& tensor = flat.tensors[t];
    const std::int64_t first = std::max(begin, tensor.offset);
    const std::int64_t last = std::min(end, tensor.offset + tensor.count);
    if (first < last) act(t, first, last);
  }
}

}  // namespace sluice
