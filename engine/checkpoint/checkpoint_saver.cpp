// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_saver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "devices/accelerator.h"
#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/thread_priority.h"
#include "devices/storage/file_system.h"

namespace sluice {
namespace {

// Steps behind a saved one that may be longer for it.
constexpr std::int64_t kStepsTouched = 3;

}  // namespace

CheckpointSaver::CheckpointSaver(const Workload& workload, SaverOptions options)
    : workload_(workload),
      options_(std::move(options)),
      layout_(checkpoint_layout(workload)),
      logged_(options_.newest),
      newest_(options_.newest),
      unsound_(options_.unsound) {}

CheckpointSaver::~CheckpointSaver() {
  if (committer_.joinable()) committer_.join();
}

bool CheckpointSaver::wants(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  const bool last = step == options_.last;
  if (!due_ && step % options_.every != 0 && !last) return false;
  // None of a state that gives no finite numbers: a later step is saved instead.
  due_ = skipped_in_a_row_ > 0 && !last;
  if (due_) return false;
  add({.step = step});
  return true;
}

// With the mutex held.
void CheckpointSaver::add(Save save) {
  // The committing thread has nobody to tell of a failure.
  finished_.reserve(finished_.size() + saves_.size() + 2);
  saves_.push_back(std::move(save));
}

// With the mutex held.
CheckpointSaver::Save* CheckpointSaver::find(std::int64_t step) {
  const auto found = std::find_if(saves_.begin(), saves_.end(),
                                  [step](const Save& save) { return save.step == step; });
  return found == saves_.end() ? nullptr : &*found;
}

// Waits for the one before it: one is in flight at most. Null: the run has failed.
CheckpointSaver::Save* CheckpointSaver::take_turn(std::int64_t step) {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return abandoned_ || (!committing_ && saves_.front().step == step); });
  --waiting_;
  if (abandoned_) return nullptr;
  written_ = step;
  pause_ = {};
  return &saves_.front();
}

void CheckpointSaver::start_writer(Save& save) const {
  save.started = steady_seconds();
  // It may be a disk of its own, and is made by the first writer.
  const bool there = std::filesystem::exists(options_.folder);
  const std::filesystem::path disk = there ? options_.folder : options_.folder.parent_path();
  const Bytes free = free_space(disk);
  if (free < layout_.size()) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: a checkpoint takes {}, {} are free there", disk.string(),
                            format_bytes(layout_.size()), format_bytes(free)));
  }
  save.writer = std::make_unique<CheckpointWriter>(options_.folder, layout_, save.step);
}

void CheckpointSaver::write(std::int64_t step, const StatePiece& piece) {
  if (writing_ == nullptr) writing_ = take_turn(step);
  if (writing_ == nullptr || !writing_->failure.empty()) return;
  try {
    if (writing_->writer == nullptr) start_writer(*writing_);
    writing_->writer->write(piece);
  } catch (const std::exception& error) {
    writing_->failure = error.what();
    writing_->writer.reset();
  }
}

void CheckpointSaver::end(std::int64_t) {
  const std::lock_guard lock(mutex_);
  if (writing_ != nullptr) writing_->whole = true;
  writing_ = nullptr;
  commit_when_known();
}

void CheckpointSaver::wait_until_safe(std::int64_t step) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return abandoned_ || saves_.empty() || saves_.front().step >= step; });
}

void CheckpointSaver::abandon() noexcept {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

void CheckpointSaver::reported(const RunState& run) {
  const std::lock_guard lock(mutex_);
  skipped_in_a_row_ = run.skipped.in_a_row;
  if (Save* save = find(run.step)) save->run = run;
  commit_when_known();
}

void CheckpointSaver::digest(std::int64_t step, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  if (Save* save = find(step)) save->digest = value;
  commit_when_known();
}

void CheckpointSaver::logged(std::int64_t step, bool written) {
  const std::lock_guard lock(mutex_);
  logged_ = std::max(logged_, step);  // two threads may tell of it
  logged_all_ = written;
  commit_when_known();
}

// With the mutex held.
void CheckpointSaver::commit_when_known() {
  if (committing_ || saves_.empty()) return;
  Save& save = saves_.front();
  if (!save.whole || !save.run || logged_ < save.step) return;
  if (options_.digests && !save.run->digest && !save.digest) return;
  if (save.digest) save.run->digest = save.digest;
  if (save.failure.empty() && !logged_all_) {
    save.failure = options_.metrics.string() + ": lines wait for room on the disk";
  }
  if (committer_.joinable()) committer_.join();  // it has said that it is done
  committing_ = true;
  committer_ = std::thread([this, &save] { commit(save); });
}

void CheckpointSaver::commit(Save& save) {
  const bool skipped = save.run->skipped.in_a_row > 0;
  // It was not known when the save began.
  const bool unwanted = skipped && !save.at_rest && save.step != options_.last;
  SavedCheckpoint saved = unwanted ? SavedCheckpoint{} : write_rest(save);
  save.writer.reset();
  {
    const std::lock_guard lock(mutex_);
    slowest_ = std::max(slowest_, saved.write_time);
    if (unwanted) due_ = true;
    if (!unwanted && saved.failure.empty()) newest_ = saved.step;
    saves_.pop_front();
    changed_.notify_all();
  }
  // Beside a state that gave no finite numbers the older ones stay.
  if (saved.failure.empty() && !skipped) prune(saved);
  const std::lock_guard lock(mutex_);
  saved.pause = pause_;
  if (!unwanted) finished_.push_back(std::move(saved));
  committing_ = false;
  changed_.notify_all();
}

SavedCheckpoint CheckpointSaver::write_rest(Save& save) const {
  SavedCheckpoint saved{
      .step = save.step, .size = layout_.size(), .failure = std::move(save.failure)};
  try {
    if (saved.failure.empty()) {
      // After a power cut, too, the lines of a run that goes on have no gap.
      if (!options_.metrics.empty()) {
        OutputFile(options_.metrics, OutputFile::Mode::kAppend).sync();
      }
      saved.path = save.writer->commit(*save.run, options_.facts);
    }
  } catch (const std::exception& error) {
    saved.failure = error.what();
  }
  saved.write_time = steady_seconds() - save.started;
  return saved;
}

// Not while somebody waits.
void CheckpointSaver::rest(Seconds most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, most, [this] { return waiting_ > 0 || abandoned_; });
}

void CheckpointSaver::prune(SavedCheckpoint& saved) {
  give_way();
  // Two thirds of the time the drive is the steps'.
  Seconds since = steady_seconds();
  const auto rest_between = [&] {
    rest(2 * (steady_seconds() - since));
    since = steady_seconds();
  };
  try {
    unsound_.erase(saved.step);  // written again
    saved.not_pruned =
        prune_checkpoints(options_.folder, options_.keep, saved.step, unsound_, rest_between);
  } catch (const std::exception& error) {
    saved.not_pruned = error.what();
  }
}

// Its step's update may be deferred into the step behind, whose report then waits for its name;
// what waits for that report is the next step, or what that one leaves to the third.
bool CheckpointSaver::is_measured(const SavedCheckpoint& saved) const {
  return completed_ >= saved.step + kStepsTouched;
}

// What a step took beyond the usual is the pause of the last save before it.
void CheckpointSaver::completed(std::int64_t step, Seconds time) {
  const std::lock_guard lock(mutex_);
  completed_ = step;
  if (time.count() <= 0) return;
  shortest_ = std::min(time, shortest_.value_or(time));
  const bool in_flight = finished_.empty() || finished_.back().step != written_;
  Seconds* pause = nullptr;
  if (in_flight && written_ > 0 && written_ < step && step <= written_ + kStepsTouched) {
    pause = &pause_;
  }
  for (SavedCheckpoint& saved : finished_) {
    if (pause != &pause_ && saved.step < step && step <= saved.step + kStepsTouched) {
      pause = &saved.pause;
    }
  }
  if (pause != nullptr) {
    // Where every step is touched, the shortest is the best that is known of a usual one.
    *pause += time - usual_.value_or(*shortest_);
  } else if (step != written_) {
    usual_ = usual_ ? 0.9 * *usual_ + 0.1 * time : time;
  }
}

Seconds CheckpointSaver::slowest() const {
  const std::lock_guard lock(mutex_);
  return slowest_;
}

void CheckpointSaver::save_at_rest(const RunState& run, StateAccess& state) {
  wait();
  {
    const std::lock_guard lock(mutex_);
    due_ = false;
    add({.step = run.step, .at_rest = true, .run = run});
  }
  save_state(workload_, state, run.step, *this);
  wait();
}

void CheckpointSaver::wait() {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !committing_ && (abandoned_ || saves_.empty()); });
  --waiting_;
}

std::vector<SavedCheckpoint> CheckpointSaver::take_finished(bool all) {
  const std::lock_guard lock(mutex_);
  std::vector<SavedCheckpoint> ended;
  for (auto saved = finished_.begin(); saved != finished_.end();) {
    if (!all && saved->failure.empty() && !is_measured(*saved)) {
      ++saved;
      continue;
    }
    saved->pause = std::max(saved->pause, Seconds{0});
    save_less_often(*saved);
    ended.push_back(std::move(*saved));
    saved = finished_.erase(saved);  // what was reserved for those to come stays
  }
  return ended;
}

// With the mutex held. Twice as rarely at most: one slow step is not yet a slow disk.
void CheckpointSaver::save_less_often(SavedCheckpoint& saved) {
  if (options_.most_cost <= 0 || !shortest_) return;
  const Seconds usual = usual_.value_or(*shortest_);
  const double fair = saved.pause / (options_.most_cost * usual);
  if (fair <= static_cast<double>(options_.every)) return;
  options_.every = std::min(2 * options_.every, static_cast<std::int64_t>(std::ceil(fair)));
  saved.next_every = options_.every;
}

std::int64_t CheckpointSaver::newest() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

}  // namespace sluice
