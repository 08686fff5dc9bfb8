// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Files that cannot be read, or only in parts, at every point where a run reads one.

#include <algorithm>
#include <cerrno>

#include "tests/engine/fault/killed_run.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

class ReadFaultAt final : public FaultAt {
 public:
  using FaultAt::FaultAt;

 private:
  bool counts(FileCall call) const override { return !changes_files(call); }
};

// What a run ends with; empty where it does not fail. Each failure is one of I/O, and names
// what could not be read.
template <typename Train>
std::string io_error_of(ReadFaultAt& faults, Train train) {
  const WithFileFaults planted(faults);
  try {
    EXPECT_EQ(train(), 0);
    return {};
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::kIo) << what;
    EXPECT_NE(what.find(faults.struck().string()), std::string::npos) << what;
    EXPECT_NE(what.find("Input/output error"), std::string::npos) << what;
    return what;
  }
}

// Four steps of a run of six, kept so that each fault begins with the same.
class HalfARun {
 public:
  HalfARun() {
    EXPECT_EQ(run_.train(false, {{"train.steps", "4"}}), 0);
    fs::rename(run_.run_dir(), kept());
    again();
  }
  void again() const {
    run_.clear();
    fs::copy(kept(), run_.run_dir(), fs::copy_options::recursive);
  }
  const KilledRun& run() const { return run_; }
  const std::map<int, std::string>& expected() const { return expected_; }

 private:
  fs::path kept() const { return run_.run_dir().string() + ".kept"; }

  KilledRun run_{6, 2};
  std::map<int, std::string> expected_ = undisturbed(6, 2);
};

TEST(ReadFault, AtAnyReadOfAResumeTheRunStopsAndNothingIsLost) {
  const HalfARun half;
  const KilledRun& run = half.run();
  int failed = 0;
  for (int at = 1;; at += kSlow ? 4 : 1) {
    half.again();
    ReadFaultAt faults("/run/", at, {.error = EIO});
    const std::string what = io_error_of(faults, [&] { return run.train(true); });
    if (faults.count() < at) break;
    SCOPED_TRACE("read " + std::to_string(at) + ", " + faults.struck().string() + ": " + what);
    failed += what.empty() ? 0 : 1;
    const std::string metrics = text_of(run.run_dir() / "metrics.jsonl");
    EXPECT_EQ(metrics.find(R"("start","step":2)"), std::string::npos) << "an older one stood in";
    const std::map<int, std::string> told = run.digests();
    EXPECT_GE(told.size(), 4U);
    EXPECT_TRUE(
        std::includes(half.expected().begin(), half.expected().end(), told.begin(), told.end()));
    EXPECT_GE(run.whole_checkpoints().front(), 4);
    EXPECT_EQ(run.train(true), 0);
    EXPECT_EQ(run.digests(), half.expected());
    EXPECT_TRUE(run.leftovers().empty());
  }
  EXPECT_GT(failed, kSlow ? 3 : 10);  // the folder, a manifest, four files that it names, metrics
}

TEST(ReadFault, NoOlderCheckpointStandsInForOneThatCannotBeRead) {
  const HalfARun half;
  EXPECT_EQ(half.run().train(true), 0);
  ReadFaultAt faults("/step-6/manifest.json", ReadFaultAt::kAlways, {.error = EIO});
  const WithFileFaults planted(faults);
  EXPECT_THROW(newest_checkpoint(half.run().checkpoints()), Error);
}

TEST(ReadFault, InterruptedAndShortReadsChangeNothing) {
  const HalfARun half;
  const KilledRun& run = half.run();
  class ShortOrInterrupted final : public FileFaults {
   public:
    Outcome before(FileCall call, const fs::path&) override {
      if (call != FileCall::kRead) return {};
      constexpr int kErrors[] = {EINTR, 0, EAGAIN, 0};
      const unsigned made = calls_++;
      return {.error = kErrors[made % 4], .most = 1 + made % 97};
    }
    unsigned calls() const { return calls_; }

   private:
    std::atomic<unsigned> calls_{0};
  } faults;
  {
    const WithFileFaults planted(faults);
    EXPECT_EQ(run.train(true), 0);
  }
  EXPECT_EQ(run.digests(), half.expected());
  EXPECT_GT(faults.calls(), 200U);
}

// A model folder in shards and tokens in a .bin file, in a folder of the test's.
class StrangersFiles {
 public:
  StrangersFiles() {
    fs::copy(fs::path(SLUICE_SOURCE_DIR) / "tests/data/hf/gpt2_untied", folder_ / "hf");
    std::vector<std::int32_t> header(256);
    header[0] = 20240520;
    header[1] = 1;
    std::vector<std::uint16_t> tokens(400);
    header[2] = static_cast<std::int32_t>(tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::uint16_t>(i % 11);
    std::ofstream out(folder_ / "tokens.bin", std::ios::binary);
    out.write(reinterpret_cast<const char*>(header.data()), 4 * std::ssize(header));
    out.write(reinterpret_cast<const char*>(tokens.data()), 2 * std::ssize(tokens));
  }

  int train() const {
    const LoadedConfig config = load_config_text(R"(
model = { path = "hf" }
data = { train = ["tokens.bin"], seq_len = 16, val_fraction = 0 }
train = { steps = 2, global_batch = 2, micro_batch = 2, dtype = "fp32" }
limits = { device = "16MiB", host = "16MiB", threads = 1 }
checkpoint = { every = 1 }
log = { digest = true, trace = "none" }
)",
                                                 "tiny.toml", folder_.path(), {});
    return sluice::train(config, {.run_dir = folder_ / "run", .overwrite = true}).exit_code();
  }

  // Fails each read of files whose path holds `part`. Returns how many runs that ended.
  int fail_every_read(const std::string& part) const {
    int failed = 0;
    for (int at = 1;; at += kSlow ? 4 : 1) {
      ReadFaultAt faults(part, at, {.error = EIO});
      const std::string what = io_error_of(faults, [&] { return train(); });
      if (faults.count() < at) return failed;
      failed += what.empty() ? 0 : 1;
    }
  }

 private:
  ScratchFolder folder_{folder_in_memory()};
};

TEST(ReadFault, AtAnyReadOfAModelFolderTheRunStopsAndNamesTheFile) {
  // Its config, its index, two shards with a header and tensors each.
  EXPECT_GT(StrangersFiles().fail_every_read("/hf"), kSlow ? 3 : 12);
}

TEST(ReadFault, AtAnyReadOfTokensTheRunStopsAndNamesTheFile) {
  EXPECT_GT(StrangersFiles().fail_every_read("/tokens.bin"), kSlow ? 3 : 12);
}

// The first call of one kind that is made in a run directory.
class FirstOf final : public FileFaults {
 public:
  explicit FirstOf(FileCall call) : call_(call) {}
  Outcome before(FileCall call, const fs::path& path) override {
    if (call != call_ || path.string().find("/run") == std::string::npos) return {};
    return {.error = struck_++ == 0 ? EIO : 0};
  }
  int struck() const { return struck_; }

 private:
  FileCall call_;
  std::atomic<int> struck_{0};
};

// Asks for every call there is: a new one that no run makes, or that hurts a run, fails here.
TEST(ReadFault, EveryKindOfCallMayFailAndTheRunGoesOnFromThere) {
  const HalfARun half;
  const KilledRun& run = half.run();
  for (int i = 0; !name_of(static_cast<FileCall>(i)).empty(); ++i) {
    const auto call = static_cast<FileCall>(i);
    SCOPED_TRACE(name_of(call));
    half.again();
    // What a killed run leaves, so that there is something to remove.
    fs::create_directories(run.checkpoints() / "step-5.tmp-1" / "part");
    FirstOf faults(call);
    {
      const WithFileFaults planted(faults);
      try {
        EXPECT_EQ(run.train(true), 0);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kIo) << error.what();
      }
    }
    EXPECT_GT(faults.struck(), 0);
    EXPECT_FALSE(run.whole_checkpoints().empty());
    EXPECT_EQ(run.train(true), 0);
    EXPECT_EQ(run.digests(), half.expected());
    EXPECT_TRUE(run.leftovers().empty());
  }
}

}  // namespace
}  // namespace sluice
