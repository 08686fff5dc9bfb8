// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A GPT-2 of a few thousand parameters on a few hundred bytes, trained for real.

#include <algorithm>
#include <string>
#include <vector>

#include "engine/config/load_config.h"
#include "engine/run/train.h"
#include "tests/engine/scratch.h"
#include "tests/support/run_program.h"

namespace sluice {

// A folder on the build's disk, since swap files are refused on a tmpfs, with text
// to train on.
class RunScratch {
 public:
  RunScratch() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "Now is the winter of our discontent. ";
    write("text.txt", text);
  }

  std::filesystem::path operator/(const std::string& name) const { return folder_.path() / name; }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }

  LoadedConfig config(const std::vector<ConfigFlag>& flags) const {
    static constexpr const char* kText = R"(
model = { family = "gpt2", layers = 2, width = 16, heads = 2, context = 16 }
data = { train = ["text.txt"], seq_len = 16 }
train = { steps = 4, global_batch = 4, micro_batch = 2, dtype = "fp32" }
optimizer = { lr = 1e-2 }
limits = { device = "64MiB", host = "64MiB", storage = "64MiB", threads = 2, accelerator = "host" }
)";
    return load_config_text(kText, "tiny.toml", folder_.path(), flags);
  }

  TrainResult train(const std::vector<ConfigFlag>& flags, TrainOptions options = {}) const {
    if (options.run_dir.empty()) options.run_dir = *this / "run";
    return sluice::train(config(flags), options);
  }

  // Lines of run/metrics.jsonl that hold `part`.
  std::vector<std::string> metrics(const std::string& part) const {
    std::ifstream file(*this / "run/metrics.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      if (line.find(part) != std::string::npos) lines.push_back(line);
    }
    return lines;
  }

  bool exists(const std::string& name) const { return std::filesystem::exists(*this / name); }

 private:
  FolderOnDisk folder_;
};

}  // namespace sluice
