// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The run's sink of states: decides which steps are saved, writes one checkpoint at a time
// while training goes on, and commits it (syncs, manifest, name) on a thread of its own, which
// then reads the older ones that stay and removes the others. A
// checkpoint that fails costs itself: the older ones stay, training goes on, the next one
// that is due is tried. While steps are skipped for their numbers none is written, but at an end,
// and then none is removed: the last state that was good stays.
//
// Threads  write() and end() on the save lane; wants(), reported() and digest() on the
//          host_compute lane; all else on the run's thread.

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_writer.h"
#include "offload/state_access.h"

namespace sluice {

struct SaverOptions {
  std::filesystem::path folder;  // checkpoints/ of the run
  std::int64_t every = 1;        // steps
  double most_cost = 0;          // share of the time, above which `every` grows; 0: it stays
  std::int64_t last = 0;         // step that is saved whatever `every` says; 0: none
  std::int64_t keep = 2;
  bool digests = false;            // each step has one, and a checkpoint waits for it
  std::int64_t newest = 0;         // step that was resumed from
  std::set<std::int64_t> unsound;  // steps whose checkpoints did not verify
  std::filesystem::path metrics;   // synced before a checkpoint gets its name; or empty
  CheckpointFacts facts;
};

// How a checkpoint ended.
struct SavedCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
  Bytes size;
  Seconds write_time{};         // from the first byte to the name
  Seconds pause{};              // by which steps were longer meanwhile
  std::int64_t late = 0;        // steps it had to wait for the one before it
  std::string failure;          // not empty: it is not there
  std::string not_pruned;       // not empty: why older ones were not removed
  std::int64_t next_every = 0;  // not 0: it held training up too long, and they are rarer now
};

class CheckpointSaver final : public StateSink {
 public:
  CheckpointSaver(const Workload& workload, SaverOptions options);
  ~CheckpointSaver() override;  // waits for a commit; what is not committed is removed
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Bytes of one checkpoint, but for its manifest.
  Bytes size() const { return layout_.size(); }

  bool wants(std::int64_t step) override;
  void write(std::int64_t step, const StatePiece& piece) override;
  void end(std::int64_t step) override;

  // A step's numbers, and its digest, as they become known.
  void reported(const RunState& run);
  void digest(std::int64_t step, std::uint64_t value);
  // Everything up to `step` stands in metrics.jsonl, or a full disk has no room for it. A
  // checkpoint waits for it, and without it is none: the lines of a run that goes on from it
  // have no gap.
  void logged(std::int64_t step, bool written);
  // How long a step took; for the pause.
  void completed(std::int64_t step, Seconds time);

  // Writes the state at rest, after a drain, as that of run.step; waits until it is there.
  // A failure is told by take_finished() like any other.
  void save_at_rest(const RunState& run, StateAccess& state);

  // Until nothing is in flight.
  void wait();

  // What ended since the last call.
  std::vector<SavedCheckpoint> take_finished();

  std::int64_t newest() const;  // step of the newest good one; 0: none

 private:
  enum class Phase : std::uint8_t { kIdle, kSaving, kCommitting };

  void begin(std::int64_t step);
  void save_less_often(SavedCheckpoint& saved);
  void start_writer();
  void commit_when_known();
  void commit();
  void forget();

  const Workload& workload_;
  SaverOptions options_;
  CheckpointLayout layout_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  Phase phase_ = Phase::kIdle;
  std::int64_t step_ = 0;       // being saved
  std::int64_t postponed_ = 0;  // steps since the next one was due
  std::int64_t late_ = 0;       // that count when this one began
  bool ended_ = false;
  bool at_rest_ = false;               // nothing runs beside it
  std::int64_t skipped_in_a_row_ = 0;  // steps, up to the last that was reported
  std::int64_t logged_ = 0;
  bool logged_all_ = true;
  std::optional<RunState> run_;
  std::optional<std::uint64_t> digest_;
  std::int64_t newest_;
  double usual_seconds_ = 0;  // of a step that nothing is saved in
  Seconds pause_{};
  std::vector<SavedCheckpoint> finished_;

  // Of the save lane until end(), then of the committing thread.
  std::unique_ptr<CheckpointWriter> writer_;
  std::string failure_;
  Seconds started_{};
  std::set<std::int64_t> unsound_;
  std::thread committing_;
};

}  // namespace sluice
