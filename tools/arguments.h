// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// From the words of a command line to what a command is asked to do.

#include <optional>
#include <string>
#include <vector>

#include "tools/commands.h"

namespace sluice {

struct Arguments {
  std::string command;  // "doctor", "probe", ...
  bool quiet = false;

  std::string config;  // file, "-" or empty: of plan, train, verify
  bool print_config = false;
  std::vector<ConfigFlag> flags;

  CleanOptions clean;
  DoctorOptions doctor;
  ProbeOptions probe;
  PlanOptions plan;
  TrainOptions train;
  VerifyOptions verify;
  EvalOptions eval;
  std::filesystem::path model;  // of generate, export
  GenerateOptions generate;
  ExportOptions export_options;
};

// Nothing where help or the version was asked for and printed. Error{kConfig}: one
// line that names the nearest command or flag.
std::optional<Arguments> parse_arguments(std::vector<std::string> words);

}  // namespace sluice
