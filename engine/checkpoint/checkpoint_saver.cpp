// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_saver.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "devices/accelerator.h"
#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/storage/file_system.h"

namespace sluice {

CheckpointSaver::CheckpointSaver(const Workload& workload, SaverOptions options)
    : workload_(workload),
      options_(std::move(options)),
      layout_(checkpoint_layout(workload)),
      logged_(options_.newest),
      newest_(options_.newest),
      unsound_(options_.unsound) {}

CheckpointSaver::~CheckpointSaver() {
  if (committing_.joinable()) committing_.join();
}

bool CheckpointSaver::wants(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  if (postponed_ == 0 && step % options_.every != 0 && step != options_.last) return false;
  // One in flight at most, and none of a state that gives no finite numbers: a later step is
  // saved instead.
  if (phase_ != Phase::kIdle || (skipped_in_a_row_ > 0 && step != options_.last)) {
    ++postponed_;
    return false;
  }
  begin(step);
  return true;
}

// With the mutex held, nothing in flight.
void CheckpointSaver::begin(std::int64_t step) {
  if (committing_.joinable()) committing_.join();  // it has said that it is done
  phase_ = Phase::kSaving;
  step_ = step;
  late_ = postponed_;
  postponed_ = 0;
  ended_ = false;
  at_rest_ = false;
  run_.reset();
  digest_.reset();
  pause_ = {};
  failure_.clear();
  finished_.reserve(finished_.size() + 1);  // the committing thread has nobody to tell of a failure
}

void CheckpointSaver::start_writer() {
  started_ = steady_seconds();
  // It may be a disk of its own, and is made by the first writer.
  const bool there = std::filesystem::exists(options_.folder);
  const std::filesystem::path disk = there ? options_.folder : options_.folder.parent_path();
  const Bytes free = free_space(disk);
  if (free < layout_.size()) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: a checkpoint takes {}, {} are free there", disk.string(),
                            format_bytes(layout_.size()), format_bytes(free)));
  }
  writer_ = std::make_unique<CheckpointWriter>(options_.folder, layout_, step_);
}

void CheckpointSaver::write(std::int64_t, const StatePiece& piece) {
  if (!failure_.empty()) return;
  try {
    if (writer_ == nullptr) start_writer();
    writer_->write(piece);
  } catch (const std::exception& error) {
    failure_ = error.what();
    writer_.reset();
  }
}

void CheckpointSaver::end(std::int64_t) {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  commit_when_known();
}

void CheckpointSaver::reported(const RunState& run) {
  const std::lock_guard lock(mutex_);
  skipped_in_a_row_ = run.skipped.in_a_row;
  if (phase_ != Phase::kSaving || run.step != step_) return;
  run_ = run;
  commit_when_known();
}

void CheckpointSaver::digest(std::int64_t step, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kSaving || step != step_) return;
  digest_ = value;
  commit_when_known();
}

void CheckpointSaver::logged(std::int64_t step, bool written) {
  const std::lock_guard lock(mutex_);
  logged_ = step;
  logged_all_ = written;
  if (phase_ == Phase::kSaving) commit_when_known();
}

// With the mutex held.
void CheckpointSaver::commit_when_known() {
  if (!ended_ || !run_ || logged_ < step_) return;
  if (options_.digests && !run_->digest && !digest_) return;
  if (digest_) run_->digest = digest_;
  if (failure_.empty() && !logged_all_) {
    failure_ = options_.metrics.string() + ": lines wait for room on the disk";
  }
  phase_ = Phase::kCommitting;
  committing_ = std::thread([this] {
    // No step waits for it: it takes the time that arithmetic leaves. Where it may not, it takes
    // its share.
    static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19));
    commit();
  });
}

void CheckpointSaver::commit() {
  const bool skipped = run_->skipped.in_a_row > 0;
  if (skipped && !at_rest_ && step_ != options_.last) return forget();
  SavedCheckpoint saved{.step = step_, .size = layout_.size(), .failure = std::move(failure_)};
  try {
    if (saved.failure.empty()) {
      // After a power cut, too, the lines of a run that goes on have no gap.
      if (!options_.metrics.empty()) {
        OutputFile(options_.metrics, OutputFile::Mode::kAppend).sync();
      }
      saved.path = writer_->commit(*run_, options_.facts);
    }
  } catch (const std::exception& error) {
    saved.failure = error.what();
  }
  writer_.reset();
  // Beside a state that gave no finite numbers the older ones stay.
  if (saved.failure.empty() && !skipped) {
    try {
      unsound_.erase(step_);  // written again
      saved.not_pruned = prune_checkpoints(options_.folder, options_.keep, step_, unsound_);
    } catch (const std::exception& error) {
      saved.not_pruned = error.what();
    }
  }
  saved.write_time = steady_seconds() - started_;
  const std::lock_guard lock(mutex_);
  saved.pause = pause_;
  saved.late = late_;
  if (saved.failure.empty()) newest_ = step_;
  finished_.push_back(std::move(saved));
  phase_ = Phase::kIdle;
  idle_.notify_all();
}

// Of a step that was skipped, which was not known when its save began.
void CheckpointSaver::forget() {
  writer_.reset();
  const std::lock_guard lock(mutex_);
  postponed_ = std::max<std::int64_t>(1, postponed_);
  phase_ = Phase::kIdle;
  idle_.notify_all();
}

void CheckpointSaver::completed(std::int64_t step, Seconds time) {
  const std::lock_guard lock(mutex_);
  const double seconds = time.count();
  // Saved from the update of its step on, which may be deferred into the next one; what
  // waits for it may be the step after that.
  const bool meanwhile = phase_ == Phase::kSaving || (step_ > 0 && step <= step_ + 2);
  if (!meanwhile) {
    usual_seconds_ = usual_seconds_ == 0 ? seconds : 0.9 * usual_seconds_ + 0.1 * seconds;
  } else if (usual_seconds_ > 0) {
    const Seconds longer{std::max(0.0, seconds - usual_seconds_)};
    pause_ += longer;
    for (SavedCheckpoint& saved : finished_) saved.pause += longer;
  }
}

void CheckpointSaver::save_at_rest(const RunState& run, StateAccess& state) {
  wait();
  {
    const std::lock_guard lock(mutex_);
    postponed_ = 0;
    begin(run.step);
    at_rest_ = true;
    run_ = run;
  }
  save_state(workload_, state, run.step, *this);
  wait();
}

void CheckpointSaver::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return phase_ == Phase::kIdle; });
}

std::vector<SavedCheckpoint> CheckpointSaver::take_finished() {
  const std::lock_guard lock(mutex_);
  std::vector<SavedCheckpoint> ended(std::make_move_iterator(finished_.begin()),
                                     std::make_move_iterator(finished_.end()));
  finished_.clear();  // what was reserved for the one in flight stays
  for (SavedCheckpoint& saved : ended) save_less_often(saved);
  return ended;
}

// With the mutex held. Twice as rarely at most: one slow step is not yet a slow disk.
void CheckpointSaver::save_less_often(SavedCheckpoint& saved) {
  if (options_.most_cost <= 0 || usual_seconds_ <= 0) return;
  const double fair = saved.pause.count() / (options_.most_cost * usual_seconds_);
  if (fair <= static_cast<double>(options_.every)) return;
  options_.every = std::min(2 * options_.every, static_cast<std::int64_t>(std::ceil(fair)));
  saved.next_every = options_.every;
}

std::int64_t CheckpointSaver::newest() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

}  // namespace sluice
