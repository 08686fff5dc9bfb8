// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/saves.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/storage/file_system.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/files/model_json.h"
#include "engine/run/checkpoint_interval.h"
#include "engine/run/weights.h"

namespace sluice {

void Saves::check_room() const {
  check_writable();
  const Workload& workload = parts_.plan.workload;
  const Bytes model{workload.parameters() * size_of(workload.compute)};
  const Bytes each = checkpoint_layout(workload).size();
  const std::int64_t kept = std::max<std::int64_t>(2, parts_.loaded.config.checkpoint.keep);
  const auto there =
      static_cast<std::int64_t>(find_checkpoints(parts_.folder.checkpoints()).size());
  const Bytes needed = model + each * std::max<std::int64_t>(1, kept + 1 - there);
  const std::filesystem::path folder = parts_.folder.path();
  const Bytes free = free_space(folder);
  if (needed <= free) return;
  throw Error(ErrorKind::kNoFit,
              fmt::format("{}: checkpoints of {} each ({} are kept, one is being written) and the "
                          "model take {}, {} are free there: make room, or --run-dir names a "
                          "folder on another disk",
                          folder.string(), format_bytes(each), kept, format_bytes(needed),
                          format_bytes(free)));
}

// Seen before days of steps of which nothing would be kept.
void Saves::check_writable() const {
  const std::filesystem::path folder = parts_.folder.checkpoints();
  std::error_code status;
  if (!std::filesystem::exists(folder, status)) return;  // the run directory is its own
  int error = std::filesystem::is_directory(folder, status) ? 0 : ENOTDIR;
  if (error == 0 && ::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) error = errno;
  if (error == 0) return;
  throw Error(ErrorKind::kIo,
              with_errno(fmt::format("{}: no checkpoint can be written there: mend it, or "
                                     "--run-dir names another folder",
                                     folder.string()),
                         error));
}

void Saves::begin(const RunState& start, const std::set<std::int64_t>& unsound, std::int64_t last,
                  const DataIdentity& data) {
  const RunConfig& config = parts_.loaded.config;
  remove_leftovers(parts_.folder.checkpoints());
  const std::int64_t every = checkpoint_interval(config.checkpoint, parts_.plan);
  log_info(describe_interval(every, parts_.plan));
  saver_.emplace(parts_.plan.workload,
                 SaverOptions{.folder = parts_.folder.checkpoints(),
                              .every = every,
                              .most_cost = config.checkpoint.every ? 0 : kMostCheckpointCost,
                              .last = last,
                              .keep = config.checkpoint.keep,
                              .digests = parts_.plan.placement.digest,
                              .newest = start.step,
                              .unsound = unsound,
                              .metrics = parts_.folder.metrics(),
                              .facts = {.data = data,
                                        .config = values_of(config),
                                        .config_toml = print_config(parts_.loaded),
                                        .config_json = write_model_json(config.model.shape,
                                                                        DType::kFloat32)}});
}

// Empty, or why there is none.
std::string Saves::write_checkpoint(const RunState& run, StepLog& log) {
  saver_->wait();
  std::vector<SavedCheckpoint> ended = saver_->take_finished();
  if (saver_->newest() != run.step) {
    log.checkpoints(ended);
    saver_->save_at_rest(run, parts_.state);
    ended = saver_->take_finished();
  }
  log.checkpoints(ended);
  return saver_->newest() == run.step ? "" : ended.back().failure;
}

void Saves::write_model() const {
  save_folder(parts_.plan.workload, parts_.loaded.config.model, parts_.state,
              parts_.folder.model());
}

void Saves::on_request(const RunState& run, MetricsWriter& metrics, StepLog& log) {
  static_cast<void>(write_checkpoint(run, log));  // which says it if it failed
  try {
    write_model();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kIo) throw;
    return log_warn(fmt::format("SAVE: {}; training goes on", error.what()));
  }
  log.say(fmt::format("saved {}", parts_.folder.model().string()));
  metrics.event("save", {{"step", run.step}, {"path", parts_.folder.model().string()}});
}

void Saves::at_end(const RunState& run, StepLog& log) {
  const std::string failure = run.step > 0 ? write_checkpoint(run, log) : std::string{};
  std::string model = parts_.folder.model().string() + " is there";
  try {
    write_model();
  } catch (const Error& error) {
    if (failure.empty() || error.kind() != ErrorKind::kIo) throw;
    model = error.what();
  }
  if (failure.empty()) return;
  throw Error(ErrorKind::kIo,
              fmt::format("the last checkpoint, of step {}, could not be written: {}; {}", run.step,
                          failure, model));
}

Seconds Saves::time_at_end() const {
  const Plan& plan = parts_.plan;
  // The forecast's rate of writing serves for model/ too.
  const double forecast = plan.save.seconds;
  const double share =
      static_cast<double>(plan.workload.parameters() * size_of(plan.workload.compute)) /
      static_cast<double>(std::max<std::int64_t>(1, plan.save.size.value));
  const double slowest = saver_ ? saver_->slowest().count() : 0;
  // One may be in flight; the last one follows, and some may take longer than all before.
  return Seconds{std::max(forecast, slowest) * (2.5 + share)};
}

}  // namespace sluice
