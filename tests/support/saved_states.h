// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A sink that keeps what a run saves, tensor by tensor, and sees that every element comes
// exactly once, and before the report of the next step.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "devices/base/error.h"
#include "offload/state_sink.h"
#include "offload/workload.h"

namespace sluice {

class SavedStates final : public StateSink {
 public:
  using Steps = std::function<bool(std::int64_t step)>;
  // step, flat parameter, tensor, part
  using Key = std::tuple<std::int64_t, int, std::size_t, StatePart>;

  explicit SavedStates(
      const Workload& workload, Steps wanted = [](std::int64_t) { return true; })
      : workload_(workload), wanted_(std::move(wanted)) {}

  bool wants(std::int64_t step) override {
    const bool wanted = wanted_(step);
    if (wanted) steps_.insert(step);
    return wanted;
  }

  void write(std::int64_t step, const StatePiece& piece) override {
    const TensorSpec& tensor =
        workload_.flats[static_cast<std::size_t>(piece.flat)].tensors[piece.tensor];
    const std::int64_t width = piece.part == StatePart::kMaster ? 4 : size_of(workload_.moments);
    const auto size = static_cast<std::int64_t>(piece.bytes.size());
    SLUICE_CHECK(piece.first % 64 == 0 && size > 0);
    SLUICE_CHECK(size % (64 * width) == 0 || piece.first + size / width == tensor.count);
    Tensor& kept = tensors_[{step, piece.flat, piece.tensor, piece.part}];
    kept.bytes.resize(static_cast<std::size_t>(width * tensor.count));
    std::memcpy(kept.bytes.data() + width * piece.first, piece.bytes.data(), piece.bytes.size());
    kept.written += size;
  }

  void end(std::int64_t step) override {
    ended_.push_back(step);
    last_ended_ = step;
  }

  void wait_until_safe(std::int64_t step) override {
    const auto after = steps_.lower_bound(step);
    SLUICE_CHECK(after == steps_.begin() || last_ended_ >= *std::prev(after));
  }

  const std::vector<std::int64_t>& ended() const { return ended_; }

  // Bytes by key. Each tensor whole.
  std::map<Key, std::vector<std::byte>> bytes() const {
    std::map<Key, std::vector<std::byte>> all;
    for (const auto& [key, tensor] : tensors_) {
      SLUICE_CHECK(tensor.written == static_cast<std::int64_t>(tensor.bytes.size()));
      all[key] = tensor.bytes;
    }
    return all;
  }

 private:
  struct Tensor {
    std::vector<std::byte> bytes;
    std::int64_t written = 0;
  };

  const Workload& workload_;
  Steps wanted_;
  std::map<Key, Tensor> tensors_;
  std::vector<std::int64_t> ended_;
  std::set<std::int64_t> steps_;  // that were wanted
  std::atomic<std::int64_t> last_ended_{0};
};

}  // namespace sluice
