// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/resume.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/engine/checkpoint/small_state.h"
#include "tests/support/bound_by_modes.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// What may lie beside checkpoints, or instead of them.
struct Garbage {
  const char* name;
  std::function<void(const fs::path& folder)> act;
};

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::function<void(const fs::path&)> copied(const std::string& from, const std::string& to,
                                            std::function<void(const fs::path&)> then = {}) {
  return [=](const fs::path& folder) {
    fs::copy(folder / from, folder / to, fs::copy_options::recursive);
    if (then) then(folder / to);
  };
}

// A step-30 that is none: a name of no checkpoint, or a folder that lacks something.
std::vector<Garbage> all_garbage() {
  std::vector<Garbage> all = {
      {"temporary", copied("step-10", "step-30.tmp-1-2-3")},
      {"old", copied("step-10", ".step-30.old")},
      {"empty folder", [](const fs::path& f) { fs::create_directory(f / "step-30"); }},
      {"future, another's step", copied("step-10", "step-999999")},
      {"future, empty", [](const fs::path& f) { fs::create_directory(f / "step-999999"); }},
      {"number too large", copied("step-10", "step-99999999999999999999")},
      {"leading zero", copied("step-10", "step-030")},
      {"negative", copied("step-10", "step--30")},
      {"other case", copied("step-10", "Step-30")},
      {"no number", copied("step-10", "step-")},
      {"suffix", copied("step-10", "step-30 (copy)")},
      {"backup", copied("step-10", "step-30.bak")},
      {"file", [](const fs::path& f) { write(f / "step-30", "x"); }},
      {"empty file", [](const fs::path& f) { write(f / "step-30", ""); }},
      {"link", [](const fs::path& f) { fs::create_symlink("step-10", f / "step-30"); }},
      {"link to nowhere", [](const fs::path& f) { fs::create_symlink("nowhere", f / "step-30"); }},
      {"link to itself", [](const fs::path& f) { fs::create_symlink("step-30", f / "step-30"); }},
      {"pipe", [](const fs::path& f) { ::mkfifo((f / "step-30").c_str(), 0600); }},
      {"notes", [](const fs::path& f) { write(f / "notes.txt", "mine"); }},
      {"strange name", [](const fs::path& f) { write(f / "\xff\xfe\n", "x"); }},
      {"folders in it",
       [](const fs::path& f) { write(f / "step-30/step-10/manifest.json", "{}"); }},
  };
  for (const char* file : {"manifest.json", "model.safetensors", "first_moment.safetensors",
                           "second_moment.safetensors", "config.json"}) {
    const auto at_file = [file](auto act) {
      return [=](const fs::path& folder) {
        fs::rename(folder / "spare", folder / "step-30");  // whole, until here
        act(folder / "step-30" / file);
      };
    };
    all.push_back({"missing", at_file([](const fs::path& p) { fs::remove(p); })});
    all.push_back({"cut", at_file([](const fs::path& p) { fs::resize_file(p, 5); })});
    all.push_back({"empty", at_file([](const fs::path& p) { fs::resize_file(p, 0); })});
    all.push_back({"folder instead", at_file([](const fs::path& p) {
                     fs::remove(p);
                     fs::create_directory(p);
                   })});
    all.push_back({"pipe instead", at_file([](const fs::path& p) {
                     fs::remove(p);
                     ::mkfifo(p.c_str(), 0600);
                   })});
  }
  return all;
}

class RunWithCheckpoints {
 public:
  RunWithCheckpoints() {
    for (const std::int64_t step : {10, 20, 30}) {
      state_.fill(static_cast<unsigned>(step));
      bytes_[step] = state_.bytes();
      state_.save(checkpoints(), step);
    }
    hide_newest();
  }
  void hide_newest() { fs::rename(checkpoints() / "step-30", checkpoints() / "spare"); }
  void show_newest() { fs::rename(checkpoints() / "spare", checkpoints() / "step-30"); }
  fs::path run() const { return folder_ / "run"; }
  fs::path checkpoints() {
    fs::create_directories(run() / "checkpoints");
    return run() / "checkpoints";
  }
  // The step that is resumed, its state compared to the last bit.
  std::int64_t resumed() {
    const RunDirectory folder(run(), RunMode::kResume);
    Resume resume(folder);
    state_.fill(99);
    const RunState run = resume.load(state_.workload(), state_.state());
    EXPECT_EQ(state_.bytes(), bytes_.at(run.step));
    return run.step;
  }

 private:
  ScratchFolder folder_{folder_in_memory()};
  SmallState state_;
  std::map<std::int64_t, std::vector<std::byte>> bytes_;
};

TEST(Resume, PicksTheNewestWhateverLiesAround) {
  const std::vector<Garbage> cases = all_garbage();
  EXPECT_GE(cases.size(), 40U);
  for (const Garbage& garbage : cases) {
    SCOPED_TRACE(garbage.name);
    RunWithCheckpoints run;
    garbage.act(run.checkpoints());
    EXPECT_EQ(run.resumed(), 20);
  }
}

TEST(Resume, PicksTheNewestOfAll) {
  RunWithCheckpoints run;
  run.show_newest();
  EXPECT_EQ(run.resumed(), 30);
}

TEST(Resume, FallsBackFromACheckpointWithAFlippedBit) {
  RunWithCheckpoints run;
  const fs::path broken = run.checkpoints() / "step-20/first_moment.safetensors";
  std::string text = text_of(broken);
  text[text.size() - 3] ^= 4;
  write(broken, text);
  testing::internal::CaptureStderr();
  EXPECT_EQ(run.resumed(), 10);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("skipped step-20"), std::string::npos) << said;
  EXPECT_NE(said.find("first_moment.safetensors: tensor"), std::string::npos) << said;
}

TEST(Resume, WithoutOneThatVerifiesItSaysWhyOfEach) {
  RunWithCheckpoints run;
  fs::resize_file(run.checkpoints() / "step-20/model.safetensors", 9);
  fs::remove(run.checkpoints() / "step-10/manifest.json");
  expect_error(ErrorKind::kIo,
               {"step-20/model.safetensors", "step-10/manifest.json", "--overwrite"},
               [&] { run.resumed(); });
}

TEST(Resume, WhatMayNotBeReadIsSkipped) {
  for (const char* name : {"", "manifest.json", "model.safetensors", "first_moment.safetensors",
                           "second_moment.safetensors"}) {
    SCOPED_TRACE(name);
    const BoundByModes bound;
    RunWithCheckpoints run;
    const fs::path path = run.checkpoints() / "step-20" / name;
    ASSERT_EQ(::chmod(path.c_str(), 0), 0);
    EXPECT_EQ(run.resumed(), 10);
    ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  }
}

}  // namespace
}  // namespace sluice
