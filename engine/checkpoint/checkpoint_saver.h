// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The run's sink of states: decides which steps are saved, writes one checkpoint at a time
// while training goes on, and commits it (syncs, manifest, name) on a thread of its own, which
// then reads the older ones that stay and removes the others. The step behind a saved one is not
// over before the checkpoint has its name, so that a crash costs no more than the steps from one
// to the next. A checkpoint that fails costs itself: the older ones stay, training goes on, the
// next one that is due is tried. While steps are skipped for their numbers none is written, but at
// an end, and then none is removed: the last state that was good stays.
//
// Threads  write() and end() on the save lane; wants(), wait_until_safe(), reported() and digest()
//          on the host_compute lane; logged() on any; all else on the run's thread.

#include <condition_variable>
#include <cstdint>
#include <deque>
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
  Seconds pause{};              // by which the steps that it touches were longer
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
  void wait_until_safe(std::int64_t step) override;
  void abandon() noexcept override;

  // A step's numbers, and its digest, as they become known.
  void reported(const RunState& run);
  void digest(std::int64_t step, std::uint64_t value);
  // Everything up to `step` stands in metrics.jsonl, or a full disk has no room for it. A
  // checkpoint waits for it, and without it is none: the lines of a run that goes on from it
  // have no gap.
  void logged(std::int64_t step, bool written);
  // How long a step took, or 0 where there was none before it; for the pause.
  void completed(std::int64_t step, Seconds time);
  Seconds slowest() const;  // write_time so far

  // Writes the state at rest, after a drain, as that of run.step; waits until it is there.
  // A failure is told by take_finished() like any other.
  void save_at_rest(const RunState& run, StateAccess& state);

  // Until nothing is in flight.
  void wait();

  // What ended since the last call; not `all`: of which the pause is known, or that failed.
  std::vector<SavedCheckpoint> take_finished(bool all = true);

  std::int64_t newest() const;  // step of the newest good one; 0: none

 private:
  // A state that is to be saved, until it has its name.
  struct Save {
    std::int64_t step = 0;
    bool at_rest = false;  // nothing runs beside it
    bool whole = false;    // all of it has been written
    std::optional<RunState> run;
    std::optional<std::uint64_t> digest;
    // Of the save lane until it is whole, then of the committing thread.
    std::unique_ptr<CheckpointWriter> writer;
    std::string failure;
    Seconds started{};
  };

  void add(Save save);
  Save* find(std::int64_t step);
  Save* take_turn(std::int64_t step);
  void start_writer(Save& save) const;
  void commit_when_known();
  void commit(Save& save);
  SavedCheckpoint write_rest(Save& save) const;
  void prune(SavedCheckpoint& saved);
  void rest(Seconds most);
  bool is_measured(const SavedCheckpoint& saved) const;
  void save_less_often(SavedCheckpoint& saved);

  const Workload& workload_;
  SaverOptions options_;
  CheckpointLayout layout_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // what is waited for, down to `waiting_`
  std::deque<Save> saves_;           // by step; the first is the one in flight
  bool committing_ = false;          // the first, or removing what is older than the last
  bool abandoned_ = false;
  int waiting_ = 0;                    // for the committing thread to be done
  bool due_ = false;                   // since steps were skipped
  std::int64_t skipped_in_a_row_ = 0;  // steps, up to the last that was reported
  std::int64_t logged_ = 0;
  bool logged_all_ = true;
  std::int64_t newest_;
  std::vector<SavedCheckpoint> finished_;
  Seconds slowest_{};

  // For the pause.
  std::int64_t written_ = 0;         // step that was written last, or is
  Seconds pause_{};                  // of that one, until it is finished
  std::int64_t completed_ = 0;       // the last step
  std::optional<Seconds> usual_;     // of a step that no save touches: a running mean
  std::optional<Seconds> shortest_;  // of any

  Save* writing_ = nullptr;         // of the save lane
  std::set<std::int64_t> unsound_;  // of the committing thread
  std::thread committer_;
};

}  // namespace sluice
