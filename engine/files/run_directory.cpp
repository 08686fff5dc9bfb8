// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/run_directory.h"

#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "devices/base/error.h"
#include "engine/files/input_file.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// A name of ours: "lock" might be a file of the user's.
constexpr const char* kLockFile = ".sluice-lock";
// Not model/: it stays until the new one takes its place, so that a run that fails leaves one.
constexpr std::array kRunFiles = {"config.toml", "plan.json",   "metrics.jsonl", "trace.json",
                                  "log.txt",     "checkpoints", "SAVE",          "STOP"};
// A request left in an empty folder is no run.
constexpr std::array kRunSigns = {"config.toml", "metrics.jsonl", "checkpoints", "model"};

bool holds_run(const fs::path& folder) {
  return std::any_of(kRunSigns.begin(), kRunSigns.end(),
                     [&](const char* name) { return fs::exists(folder / name); });
}

// The process that wrote itself into the lock, for the message.
std::string owner_of(const fs::path& folder) {
  try {
    return InputFile(folder, kLockFile).text({32});
  } catch (const Error&) {
    return "unknown";  // it has just ended
  }
}

std::unique_ptr<OutputFile> open_lock(const fs::path& path) {
  try {
    return std::make_unique<OutputFile>(path, OutputFile::Mode::kAppend);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}; --run-dir names another folder", error.what()));
  }
}

}  // namespace

RunDirectory::RunDirectory(fs::path path, RunMode mode) : path_(std::move(path)), mode_(mode) {
  create();
  try {
    refuse_open_to_all();
    lock();
    const bool found = holds_run(path_);
    resumes_ = found && mode_ == RunMode::kResume;
    if (found && mode_ == RunMode::kFresh) {
      throw Error(ErrorKind::kConfig,
                  fmt::format("{}: holds a run already; --overwrite starts again, --run-dir names "
                              "another folder",
                              path_.string()));
    }
  } catch (...) {
    remove_created();
    throw;
  }
}

RunDirectory::~RunDirectory() { remove_created(); }

void RunDirectory::create() {
  fs::path missing = fs::absolute(path_).lexically_normal();
  if (!missing.has_filename()) missing = missing.parent_path();
  path_ = missing;
  for (; !missing.empty() && !fs::exists(missing); missing = missing.parent_path()) {
    first_created_ = missing;
  }
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) {
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be created: {}; --run-dir names another",
                                            path_.string(), error.message()));
  }
}

// Whoever may write here can replace a checkpoint by anything.
void RunDirectory::refuse_open_to_all() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0 || (status.st_mode & S_IWOTH) == 0) return;
  throw Error(ErrorKind::kConfig,
              fmt::format("{}: every user may write there; chmod o-w {}, or --run-dir names "
                          "another folder",
                          path_.string(), path_.string()));
}

void RunDirectory::lock() {
  const fs::path path = path_ / kLockFile;
  while (!lock_) {
    std::unique_ptr<OutputFile> file = open_lock(path);
    if (::flock(file->descriptor(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) {
        throw Error(ErrorKind::kIo, with_errno(path.string() + ": cannot be locked", errno) +
                                        "; --run-dir names a folder on another file system");
      }
      first_created_.clear();  // the other's by now
      throw Error(ErrorKind::kConfig,
                  fmt::format("{}: in use by process {}; --run-dir names another folder",
                              path_.string(), owner_of(path_)));
    }
    // The owner may have removed the file between our open and our lock.
    struct stat status {};
    if (::fstat(file->descriptor(), &status) == 0 && status.st_nlink > 0) lock_ = std::move(file);
  }
  if (::ftruncate(lock_->descriptor(), 0) != 0) {
    throw Error(ErrorKind::kIo, with_errno(path.string() + ": cannot be written", errno));
  }
  lock_->write(fmt::format("{}", ::getpid()));
}

std::vector<std::string> RunDirectory::created() const {
  std::vector<std::string> all = {path_ / kLockFile};
  if (first_created_.empty() || kept_) return all;
  for (fs::path folder = path_; folder != first_created_; folder = folder.parent_path()) {
    all.push_back(folder);
  }
  all.push_back(first_created_);
  return all;
}

void RunDirectory::remove_created() noexcept {
  std::error_code ignored;
  if (lock_) fs::remove(path_ / kLockFile, ignored);
  lock_.reset();
  if (!kept_ && !first_created_.empty()) fs::remove_all(first_created_, ignored);
}

void RunDirectory::keep() {
  if (kept_) return;
  kept_ = true;
  if (mode_ != RunMode::kOverwrite) return;
  for (const char* name : kRunFiles) {
    std::error_code error;
    fs::remove_all(path_ / name, error);
    if (error) {
      throw Error(ErrorKind::kIo, fmt::format("{}: cannot be removed: {}", (path_ / name).string(),
                                              error.message()));
    }
  }
}

bool RunDirectory::take_request(const char* name) { return ::unlink((path_ / name).c_str()) == 0; }
bool RunDirectory::take_save_request() { return take_request("SAVE"); }
bool RunDirectory::take_stop_request() { return take_request("STOP"); }

}  // namespace sluice
