// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The commands of `sluice`, behind their command lines: each takes plain options,
// prints results on standard output, and returns an exit code or throws Error.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/load_config.h"
#include "engine/run/export_model.h"
#include "engine/run/generate.h"
#include "engine/run/train.h"
#include "engine/run/verify.h"

namespace sluice {

struct DoctorOptions {
  bool json = false;
  std::filesystem::path storage;  // the folder to examine as storage
};
int run_doctor(const DoctorOptions& options);

struct CleanOptions {
  std::vector<std::filesystem::path> paths;  // files or folders; empty: the current folder
  bool dry_run = false;
};
int run_clean(const CleanOptions& options);

struct ProbeOptions {
  std::string out;  // "-": standard output; empty: the cached file of this machine
  bool quick = false;
  std::string accelerator = "auto";  // as limits.accelerator
  std::filesystem::path storage;     // the folder whose drive is measured
};
int run_probe(const ProbeOptions& options);

struct PlanOptions {
  std::optional<std::filesystem::path> machine;
  std::string json, trace;  // "-": standard output, one of them at most
};
int run_plan(const LoadedConfig& loaded, const PlanOptions& options);

int run_train(const LoadedConfig& loaded, const TrainOptions& options);

int run_verify(const LoadedConfig& loaded, const VerifyOptions& options);

struct EvalOptions {
  std::string what;               // config, run directory or model folder
  std::vector<std::string> data;  // empty: that of the config
  std::string json;               // "-": standard output
  std::vector<ConfigFlag> flags;
  bool print_config = false;
};
int run_eval(const EvalOptions& options);

int run_generate(const std::filesystem::path& model, const GenerateOptions& options);

int run_export(const std::filesystem::path& model, ExportOptions options);

}  // namespace sluice
