// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A run, as its config file and flags describe it. Plain data: load_config.h
// fills and checks it; keys.cpp is the one table of its keys.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "engine/model/model_shape.h"

namespace sluice {

enum class ModelStart : std::uint8_t { kAuto, kRandom };
enum class TokenFormat : std::uint8_t { kBytes, kBin };
enum class OnNonFinite : std::uint8_t { kStop, kSkip };
enum class Preset : std::uint8_t { kPretrain, kFinetune };
enum class ScheduleKind : std::uint8_t { kConstant, kLinear, kCosine, kWsd };
enum class HomeChoice : std::uint8_t { kAuto, kDevice, kHost, kStorage };
enum class RecomputeChoice : std::uint8_t { kAuto, kNone, kFull };
enum class UpdateTiming : std::uint8_t { kAuto, kBackward, kDeferred };
enum class AdamPlace : std::uint8_t { kAuto, kHost, kDevice };
enum class IoChoice : std::uint8_t { kAuto, kUring, kThreads };

struct ModelChoice {
  std::filesystem::path path;           // Hugging Face folder; empty: a model of one's own
  ModelStart init = ModelStart::kAuto;  // kAuto: the weights of `path` if there is one
  ModelShape shape;                     // zeros are filled in by loading

  bool operator==(const ModelChoice&) const = default;
};

struct DataConfig {
  std::vector<std::string> train, val;  // files, folders, globs; absolute once loaded
  double val_fraction = 0.1;            // of train, its end, where val is empty
  std::optional<TokenFormat> tokens;    // nothing: by extension
  std::int64_t seq_len = 0;

  bool operator==(const DataConfig&) const = default;
};

struct TrainConfig {
  // The first that comes true ends the run.
  std::optional<std::int64_t> steps;
  std::optional<double> epochs;
  std::optional<double> target_loss;
  std::optional<std::int64_t> patience;  // validations without a new best

  std::int64_t global_batch = 32;  // sequences of a step
  std::int64_t micro_batch = 0;    // sequences of a pass; 0: the planner chooses
  DType dtype = DType::kBFloat16;
  std::optional<DType> grad_dtype;  // set once loaded
  std::int64_t groups = 1;
  std::int64_t seed = 1;
  double clip = 1.0;  // 0: off
  OnNonFinite on_nonfinite = OnNonFinite::kStop;
  std::int64_t max_skips = 10;  // in a row
  Preset preset = Preset::kPretrain;

  bool operator==(const TrainConfig&) const = default;
};

struct OptimizerConfig {
  double lr = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  DType moments = DType::kFloat32;

  bool operator==(const OptimizerConfig&) const = default;
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::int64_t warmup_steps = 0;
  double min_lr_ratio = 0;
  std::optional<std::int64_t> decay_steps;  // see engine/schedule.h

  bool operator==(const ScheduleConfig&) const = default;
};

// Nothing set: what the machine has, less a reserve; the run resolves it.
struct LimitsConfig {
  std::optional<Bytes> device, host, storage;
  std::filesystem::path storage_path;  // folder of the swap file; empty: the run directory
  std::optional<std::int64_t> threads;
  std::string accelerator = "auto";  // which device computes; the devices' registry reads it
  IoChoice io = IoChoice::kAuto;
  bool storage_checksum = true;

  bool operator==(const LimitsConfig&) const = default;
};

// "0-3,7", "embedding", "head", "*": see engine/README.md.
struct PlaceRule {
  std::string layers;
  HomeChoice home = HomeChoice::kAuto;

  bool operator==(const PlaceRule&) const = default;
};
using PlaceRules = std::vector<PlaceRule>;  // the first that matches wins; none: auto

// Micro-batches that go through a layer before the next layer.
struct Wave {
  std::int64_t micro_batches = 0;  // 0: all of the step

  bool operator==(const Wave&) const = default;
};

struct PlaceConfig {
  PlaceRules weights, gradients, optimizer, activations;
  std::optional<Wave> wave;
  RecomputeChoice recompute = RecomputeChoice::kAuto;
  UpdateTiming update = UpdateTiming::kAuto;
  AdamPlace adam = AdamPlace::kAuto;
  std::optional<std::int64_t> fetch_ahead, drain_late;
  std::optional<Bytes> segment;
  bool overlap = true;

  bool operator==(const PlaceConfig&) const = default;
};

struct EvalConfig {
  std::int64_t every = 0;      // steps; 0: after the last step alone
  std::int64_t sequences = 0;  // 0: all of the held-out part

  bool operator==(const EvalConfig&) const = default;
};

struct CheckpointConfig {
  std::optional<std::int64_t> every;  // steps
  std::int64_t keep = 2;

  bool operator==(const CheckpointConfig&) const = default;
};

// Steps first to last, both included.
struct StepRange {
  std::int64_t first = 0, last = 0;

  bool operator==(const StepRange&) const = default;
};

struct LogConfig {
  std::int64_t every = 10;
  bool digest = false;
  std::optional<StepRange> trace = StepRange{2, 4};

  bool operator==(const LogConfig&) const = default;
};

struct RunConfig {
  ModelChoice model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  LimitsConfig limits;
  PlaceConfig place;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;

  bool operator==(const RunConfig&) const = default;
};

}  // namespace sluice
