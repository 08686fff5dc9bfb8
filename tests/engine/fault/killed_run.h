// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Training runs in processes of their own, which may be killed, or whose file calls may fail.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/log.h"
#include "devices/file_calls.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/config/load_config.h"
#include "engine/run/train.h"
#include "tests/engine/scratch.h"

namespace sluice {

// A process starts ten times as slowly under AddressSanitizer: a quarter of the points there.
#ifdef SLUICE_SANITIZE_address
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = false;
#endif

// Faults while the object lives.
class WithFileFaults {
 public:
  explicit WithFileFaults(FileFaults& faults) { set_file_faults(&faults); }
  ~WithFileFaults() { set_file_faults(nullptr); }
  WithFileFaults(const WithFileFaults&) = delete;
  WithFileFaults& operator=(const WithFileFaults&) = delete;
};

// A call that changes files, and whose path holds `part`, counts; what happens at the `at`-th is
// `outcome`, or SIGKILL.
class FaultAt : public FileFaults {
 public:
  static constexpr int kAlways = -1;

  FaultAt(std::string part, int at, Outcome outcome, bool kills = false)
      : part_(std::move(part)), at_(at), outcome_(outcome), kills_(kills) {}

  Outcome before(FileCall call, const std::filesystem::path& path) override {
    if (!counts(call) || path.string().find(part_) == std::string::npos) return {};
    if (++count_ != at_ && at_ != kAlways) return {};
    if (kills_) ::kill(::getpid(), SIGKILL);
    if (at_ != kAlways) struck_ = path;
    return outcome_;
  }
  int count() const { return count_; }
  const std::filesystem::path& struck() const { return struck_; }  // the last one's path

 private:
  virtual bool counts(FileCall call) const { return changes_files(call); }

  std::string part_;
  int at_;
  Outcome outcome_;
  bool kills_;
  std::atomic<int> count_{0};
  std::filesystem::path struck_;
};

// Starts a process that runs `act` and ends with what it returns, or with Error's exit code.
inline pid_t start_child(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, STDERR_FILENO);
  int status = 99;
  try {
    status = act();
  } catch (const Error& error) {
    status = exit_code(error.kind());
  } catch (...) {
  }
  ::_exit(status);
}

// The exit status, or minus the signal that ended it.
inline int end_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

inline int in_child(const std::function<int()>& act) { return end_of(start_child(act)); }

// The digest of each step of a run. A step that stands there twice fails the test.
inline std::map<int, std::string> digests_of(const std::filesystem::path& run_dir) {
  std::map<int, std::string> all;
  std::ifstream in(run_dir / "metrics.jsonl");
  constexpr std::string_view kStep = R"({"step":)", kDigest = R"("digest":")";
  for (std::string line; std::getline(in, line);) {
    const std::size_t digest = line.find(kDigest);
    if (line.rfind(kStep, 0) != 0 || digest == std::string::npos) continue;
    const int step = std::stoi(line.substr(kStep.size()));
    EXPECT_TRUE(all.emplace(step, line.substr(digest + kDigest.size(), 16)).second) << line;
  }
  return all;
}

// A GPT-2 of a few thousand parameters. In memory where there is a tmpfs: a process that is
// killed loses nothing of what it wrote, whether or not that was synced.
class KilledRun {
 public:
  KilledRun(int steps, int every) : steps_(steps), every_(every) {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "Now is the winter of our discontent. ";
    std::ofstream(folder_ / "text.txt", std::ios::binary) << text;
  }
  std::filesystem::path run_dir() const { return folder_ / "run"; }
  std::filesystem::path checkpoints() const { return run_dir() / "checkpoints"; }

  int train(bool resume, const std::vector<ConfigFlag>& flags = {}) const {
    std::vector<ConfigFlag> all = {{"train.steps", std::to_string(steps_)},
                                   {"checkpoint.every", std::to_string(every_)}};
    all.insert(all.end(), flags.begin(), flags.end());
    const LoadedConfig config = load_config_text(R"(
model = { family = "gpt2", layers = 1, width = 16, heads = 2, context = 16 }
data = { train = ["text.txt"], seq_len = 16 }
train = { global_batch = 4, micro_batch = 2, dtype = "fp32" }
optimizer = { lr = 1e-2 }
schedule = { kind = "constant", warmup_steps = 0 }  # the same however many steps follow
limits = { device = "16MiB", host = "16MiB", threads = 1 }
eval = { sequences = 1 }
log = { digest = true, trace = "none" }
[place]  # one plan, so that no time goes into a search
weights = "device"
gradients = "device"
activations = "device"
optimizer = "host"
adam = "host"
wave = 1
recompute = "none"
fetch_ahead = 1
drain_late = 0
)",
                                                 "tiny.toml", folder_, all);
    return sluice::train(config, {.run_dir = run_dir(), .resume = resume}).exit_code();
  }

  // The same with faults, or to the end.
  int train_with(FileFaults& faults, bool resume) const {
    set_file_faults(&faults);
    return train(resume);
  }

  void clear() const { std::filesystem::remove_all(run_dir()); }

  std::map<int, std::string> digests() const { return digests_of(run_dir()); }

  // Steps of the checkpoints, newest first; each must verify to its last byte.
  std::vector<std::int64_t> whole_checkpoints() const {
    std::vector<std::int64_t> steps;
    for (const FoundCheckpoint& found : find_checkpoints(checkpoints())) {
      CheckpointReader(found.path).verify_on_drive();
      steps.push_back(found.step);
    }
    return steps;
  }

  // Names in checkpoints/ that are no checkpoint's.
  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    if (!std::filesystem::exists(checkpoints())) return names;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints())) {
      const std::string name = entry.path().filename().string();
      if (!step_of_name(name)) names.push_back(name);
    }
    return names;
  }

 private:
  int steps_, every_;
  ScratchFolder scratch_{folder_in_memory()};
  std::filesystem::path folder_ = scratch_.path();
};

// The digests of a run that nothing happens to.
inline std::map<int, std::string> undisturbed(int steps, int every) {
  const KilledRun run(steps, every);
  EXPECT_EQ(in_child([&] { return run.train(false); }), 0);
  EXPECT_EQ(run.digests().size(), static_cast<std::size_t>(steps));
  EXPECT_TRUE(run.leftovers().empty());
  return run.digests();
}

}  // namespace sluice
