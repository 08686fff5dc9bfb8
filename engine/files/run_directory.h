// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The folder of one run. While the object lives, the folder is this process's.
//
// Errors   Error{kConfig}: in use by another process, or it holds a run and
//          neither resume nor overwrite was asked for, or every user may write
//          there. Error{kIo}: cannot be written.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/output_file.h"

namespace sluice {

enum class RunMode : std::uint8_t { kFresh, kResume, kOverwrite };

class RunDirectory {
 public:
  // Creates and locks the folder. kOverwrite deletes nothing yet; see keep().
  RunDirectory(std::filesystem::path path, RunMode mode);

  // Unlocks. Without keep(), everything this object created is removed again.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  // The run begins: from now on the folder stays. With kOverwrite the files of
  // the older run are removed here, so that a run refused before leaves them.
  void keep();

  // The files and folders, in the order of removal, that the destructor would remove now.
  std::vector<std::string> created() const;

  bool resumes() const { return resumes_; }  // kResume, and there was a run

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path plan() const { return path_ / "plan.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path trace() const { return path_ / "trace.json"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path model() const { return path_ / "model"; }

  // Whether a file SAVE (or STOP) lies in the folder; it is removed, so that each
  // request is answered once.
  bool take_save_request();
  bool take_stop_request();

 private:
  void create();
  void refuse_open_to_all() const;
  void lock();
  void remove_created() noexcept;
  bool take_request(const char* name);

  std::filesystem::path path_;
  RunMode mode_;
  std::filesystem::path first_created_;  // the outermost folder that was missing
  std::unique_ptr<OutputFile> lock_;
  bool resumes_ = false;
  bool kept_ = false;
};

}  // namespace sluice
