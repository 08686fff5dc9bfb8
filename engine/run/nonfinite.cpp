// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/nonfinite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "devices/base/bf16.h"
#include "devices/base/error.h"
#include "devices/base/log.h"

namespace sluice {

EventFields NonFiniteGuard::check(const StepReport& report, std::int64_t first) {
  const bool bad_loss = !std::all_of(report.losses.begin(), report.losses.end(),
                                     [](float x) { return std::isfinite(x); });
  if (report.norm.finite != 0 && !bad_loss) {
    skips_.in_a_row = 0;
    return {};
  }
  const std::string what = describe(report, first);
  if (train_.on_nonfinite == OnNonFinite::kStop) {
    throw Error(ErrorKind::kNonFinite,
                what + "; lower optimizer.lr, or see train.on_nonfinite = \"skip\"");
  }
  if (report.norm.finite != 0) {
    throw Error(ErrorKind::kNonFinite,
                what + "; its gradient is finite and was applied: lower optimizer.lr");
  }
  ++skips_.all;
  if (++skips_.in_a_row > train_.max_skips) {
    throw Error(ErrorKind::kNonFinite,
                fmt::format("{}: {} steps in a row, and train.max_skips is {}; lower optimizer.lr",
                            what, skips_.in_a_row, train_.max_skips));
  }
  log_warn(what + ": skipped, nothing was updated");
  return {{"step", report.step},
          {"first_sample", first},
          {"last_sample", first + train_.global_batch - 1},
          {"message", what}};
}

std::optional<std::int64_t> NonFiniteGuard::skipped() const {
  if (train_.on_nonfinite == OnNonFinite::kStop) return std::nullopt;
  return skips_.all;
}

std::string NonFiniteGuard::describe(const StepReport& report, std::int64_t first) const {
  std::string what = fmt::format("step {}, samples {} to {}: ", report.step, first,
                                 first + train_.global_batch - 1);
  const auto bad = std::find_if(report.losses.begin(), report.losses.end(),
                                [](float loss) { return !std::isfinite(loss); });
  if (bad != report.losses.end()) {
    const std::int64_t at = first + (bad - report.losses.begin()) * workload_.sequences;
    what +=
        fmt::format("the loss of samples {} to {} is {}", at, at + workload_.sequences - 1, *bad);
  } else {
    what += fmt::format("the loss is finite, the gradient norm is {}", report.norm.norm);
  }
  if (report.norm.bad_partial > 0) {
    what += fmt::format("; in backward, the gradient of {} was the first not to be finite",
                        tensor_of_partial(workload_, report.norm.bad_partial - 1).name);
  }
  return what;
}

const TensorSpec& tensor_of_partial(const Workload& workload, std::int64_t partial) {
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) {
      const std::int64_t chunks = norm_chunks(tensor.count);
      if (partial < chunks) return tensor;
      partial -= chunks;
    }
  }
  SLUICE_CHECK(false && "a partial behind the last");
}

std::optional<std::string> nonfinite_weight(const Workload& workload, StateAccess& state) {
  const DType dtype = state.dtype_of(StatePart::kWeight);
  const auto value_of = [dtype](const std::byte* bytes, std::int64_t i) {
    return dtype == DType::kFloat32 ? reinterpret_cast<const float*>(bytes)[i]
                                    : to_float(reinterpret_cast<const bf16*>(bytes)[i]);
  };
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    std::optional<std::string> found;
    state.read(static_cast<int>(f), StatePart::kWeight,
               [&](std::int64_t first, std::span<const std::byte> bytes) {
                 const std::int64_t elements =
                     static_cast<std::int64_t>(bytes.size()) / size_of(dtype);
                 for (std::int64_t i = 0; i < elements && !found; ++i) {
                   const float value = value_of(bytes.data(), i);
                   if (std::isfinite(value)) continue;
                   for (const TensorSpec& tensor : workload.flats[f].tensors) {
                     const std::int64_t at = first + i - tensor.offset;
                     if (at < 0 || at >= tensor.count) continue;
                     found = fmt::format("{} holds {}", tensor.name, value);
                   }
                 }
               });
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace sluice
