// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/train.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/run/stop_request.h"
#include "offload/replay.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

TEST(Train, EndsAfterItsEpochs) {
  const RunScratch scratch;
  // 1998 tokens make 124 windows: 31 steps.
  const TrainResult result =
      scratch.train({{"train.steps", "1000"}, {"train.epochs", "0.1"}, {"eval.sequences", "2"}});
  EXPECT_EQ(result.reason, "epochs");
  EXPECT_EQ(result.steps, 3);
}

TEST(Train, EndsAtItsTargetLoss) {
  const RunScratch scratch;
  const TrainResult result = scratch.train({{"train.target_loss", "100"}, {"eval.every", "2"}});
  EXPECT_EQ(result.reason, "target_loss");
  EXPECT_EQ(result.steps, 2);
}

TEST(Train, EndsWhenPatienceIsOut) {
  const RunScratch scratch;
  // Weights that stay as they are never give a new best.
  const TrainResult result = scratch.train({{"train.patience", "2"},
                                            {"train.steps", "100"},
                                            {"eval.every", "1"},
                                            {"optimizer.lr", "1e-30"}});
  EXPECT_EQ(result.reason, "patience");
  EXPECT_EQ(result.steps, 3);
}

TEST(Train, RequestsToSaveNeitherSkipNorRepeatAValidation) {
  const RunScratch scratch;
  std::atomic<bool> over = false;
  std::thread asks([&] {
    while (!over) {
      if (scratch.exists("run/metrics.jsonl")) scratch.write("run/SAVE", "");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const TrainResult result = scratch.train({{"train.steps", "20"}, {"eval.every", "1"}});
  over = true;
  asks.join();
  EXPECT_EQ(result.steps, 20);
  EXPECT_EQ(scratch.metrics("val_loss").size(), 20U);
  EXPECT_EQ(scratch.metrics("step_seconds").size(), 20U);
}

TEST(Train, ASignalFinishesTheStepAndSavesTheModel) {
  const RunScratch scratch;
  std::thread asks([&] {
    while (scratch.metrics("step_seconds").empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::kill(::getpid(), SIGTERM);
  });
  const TrainResult result = scratch.train({{"train.steps", "1000000"}});
  asks.join();
  EXPECT_EQ(result.exit_code(), 75);
  EXPECT_EQ(scratch.metrics("step_seconds").size(), static_cast<std::size_t>(result.steps));
  EXPECT_TRUE(scratch.exists("run/model/model.safetensors"));
  EXPECT_TRUE(scratch.exists("run/checkpoints/" + checkpoint_name(result.steps)));
  EXPECT_EQ(scratch.metrics("\"stop\"").size(), 1U);
}

TEST(Train, StartsFromTheWeightsOfAModelFolder) {
  const RunScratch scratch;
  const TrainResult first = scratch.train({{"place.optimizer", "storage"}});
  // A run that leaves the weights as they are sees the loss that they had.
  const TrainResult second = scratch.train({{"model.path", (scratch / "run/model").string()},
                                            {"optimizer.lr", "1e-30"},
                                            {"place.weights", "storage"}},
                                           {.run_dir = scratch / "second"});
  ASSERT_TRUE(first.val_loss && second.val_loss);
  EXPECT_DOUBLE_EQ(*first.val_loss, *second.val_loss);
}

// Chosen for the memory that there was, it stays when there is more: other sums have other bits.
TEST(Train, AResumedRunKeepsTheMicroBatchThatWasChosenForIt) {
  const RunScratch scratch;
  const auto train = [&](const char* steps, const char* device, TrainOptions options) {
    scratch.train({{"train.micro_batch", "0"},
                   {"train.steps", steps},
                   {"schedule.kind", "constant"},
                   {"limits.device", device},
                   {"data.val_fraction", "0"},
                   {"log.digest", "true"}},
                  options);
  };
  const auto last_digest = [&] {
    const std::string line = scratch.metrics("\"digest\"").back();
    return line.substr(line.find("\"digest\""), 28);
  };
  constexpr const char* kLittle = "160KiB";
  constexpr const char* kMuch = "64MiB";
  train("6", kLittle, {});
  const std::optional<std::int64_t> little = planned_micro_batch(scratch / "run/plan.json");
  const std::string expected = last_digest();
  train("6", kMuch, {.overwrite = true});
  ASSERT_NE(planned_micro_batch(scratch / "run/plan.json"), little);

  train("3", kLittle, {.overwrite = true});
  train("6", kMuch, {.resume = true});

  EXPECT_EQ(planned_micro_batch(scratch / "run/plan.json"), little);
  EXPECT_EQ(last_digest(), expected);
}

TEST(Train, ADryRunLeavesNothing) {
  const RunScratch scratch;
  const TrainResult result = scratch.train({{"place.optimizer", "storage"}}, {.dry_run = true});
  EXPECT_EQ(result.reason, "dry run");
  EXPECT_FALSE(scratch.exists("run"));
}

TEST(Train, NothingToResumeStartsAfreshAndAModelWithoutCheckpointIsNotLost) {
  const RunScratch scratch;
  EXPECT_EQ(scratch.train({}, {.resume = true}).reason, "steps");
  std::filesystem::remove_all(scratch / "run/checkpoints");
  expect_error(ErrorKind::kIo, {"no checkpoint", "--overwrite"},
               [&] { scratch.train({}, {.resume = true}); });
  EXPECT_TRUE(scratch.exists("run/model/config.json"));
}

// Of each step's line.
std::vector<double> losses_of(const RunScratch& scratch) {
  std::vector<double> losses;
  for (const std::string& line : scratch.metrics("step_seconds")) {
    constexpr std::string_view kLoss = R"("loss":)";
    losses.push_back(std::stod(line.substr(line.find(kLoss) + kLoss.size())));
  }
  return losses;
}

// A text without a repetition, and weights that stay as they are: a sample's loss tells it from
// every other one.
class Samples {
 public:
  explicit Samples(const RunScratch& scratch) : scratch_(scratch) {
    std::mt19937 random(1);
    std::string text(1000, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 26);
    scratch.write("text.txt", text);
  }

  // The losses of the steps of run/, which goes on if it is there.
  std::vector<double> train(int steps, int batch, int micro_batch) const {
    scratch_.train({{"optimizer.lr", "1e-30"},
                    {"eval.sequences", "1"},
                    {"train.steps", std::to_string(steps)},
                    {"train.global_batch", std::to_string(batch)},
                    {"train.micro_batch", std::to_string(micro_batch)}},
                   {.resume = true});
    return losses_of(scratch_);
  }

 private:
  const RunScratch& scratch_;
};

// Steps and samples go on from where they are, with another batch and micro-batch too.
TEST(Train, AResumedRunReadsEachSampleOnce) {
  const RunScratch one_by_one, scratch;
  const std::vector<double> of_sample = Samples(one_by_one).train(32, 1, 1);
  EXPECT_EQ(std::set<double>(of_sample.begin(), of_sample.end()).size(), 32U);

  const Samples samples(scratch);
  samples.train(4, 4, 2);
  const std::vector<double> of_step = samples.train(6, 8, 4);
  ASSERT_EQ(of_step.size(), 6U);
  auto sample = of_sample.begin();
  for (std::size_t step = 0; step < of_step.size(); ++step) {
    const int batch = step < 4 ? 4 : 8;
    EXPECT_NEAR(of_step[step], std::accumulate(sample, sample + batch, 0.0) / batch, 1e-5)
        << "step " << step + 1;
    sample += batch;
  }
  const RunState run = CheckpointReader(scratch / "run/checkpoints/step-6").manifest().run;
  EXPECT_EQ(run.step, 6);
  EXPECT_EQ(run.samples, 4 * 4 + 2 * 8);
  EXPECT_EQ(run.tokens, 16 * run.samples);
  EXPECT_EQ(scratch.metrics("\"start\"").size(), 2U);
}

// It has done more already than it is asked for.
TEST(Train, AResumedRunOfFewerStepsEndsByItsSteps) {
  const RunScratch scratch;
  scratch.train({});
  const TrainResult result = scratch.train({{"train.steps", "2"}}, {.resume = true});
  EXPECT_EQ(result.reason, "steps");
  EXPECT_EQ(result.steps, 4);
}

TEST(Train, PatienceAndTheBestLossOutliveAResume) {
  const RunScratch scratch;
  const std::vector<ConfigFlag> flags = {
      {"train.patience", "2"}, {"eval.every", "1"}, {"optimizer.lr", "1e-30"}};
  std::vector<ConfigFlag> two = flags, many = flags;
  two.push_back({"train.steps", "2"});
  many.push_back({"train.steps", "100"});
  EXPECT_EQ(scratch.train(two).reason, "steps");
  const TrainResult result = scratch.train(many, {.resume = true});
  EXPECT_EQ(result.reason, "patience");
  EXPECT_EQ(result.steps, 3);
  EXPECT_EQ(scratch.metrics("val_loss").size(), 3U);
}

TEST(Train, WhatWouldBeNoContinuationIsRefusedByName) {
  const RunScratch scratch;
  scratch.train({});
  const auto resumed = [&](const char* key, const char* value) {
    expect_error(ErrorKind::kConfig, {key, "--run-dir"}, [&] {
      scratch.train({{key, value}}, {.resume = true});
    });
  };
  resumed("train.seed", "2");
  resumed("data.seq_len", "8");
  resumed("model.layers", "3");
  resumed("model.norm_eps", "1e-3");
  expect_error(ErrorKind::kConfig, {"data.train"}, [&] {
    scratch.train({{"data.val_fraction", "0.3"}}, {.resume = true});
  });
}

// bf16 sees the masters of an fp32 run, rounded; and back.
TEST(Train, AnotherComputeTypeGoesOnFromTheMasters) {
  const RunScratch scratch;
  scratch.train({{"train.steps", "3"}});
  EXPECT_EQ(scratch.train({{"train.dtype", "bf16"}}, {.resume = true}).steps, 4);
  EXPECT_EQ(scratch.train({{"train.steps", "5"}}, {.resume = true}).steps, 5);
}

TEST(Train, ADeadlineEndsTheRunInGoodOrder) {
  const RunScratch scratch;
  const TrainResult result = scratch.train({{"train.steps", "1000000"}}, {.deadline = Seconds{2}});
  EXPECT_EQ(result.reason, "deadline");
  EXPECT_EQ(result.exit_code(), 75);
  EXPECT_TRUE(scratch.exists("run/checkpoints/" + checkpoint_name(result.steps)));
}

TEST(Train, EveryPlacementWritesTheSameCheckpoint) {
  const RunScratch scratch;
  const std::vector<std::vector<ConfigFlag>> placements = {
      {},
      {{"place.optimizer", "storage"}, {"place.segment", "24KiB"}},
      {{"place.optimizer", "host"}, {"place.adam", "device"}},
      {{"place.weights", "storage"}, {"place.gradients", "storage"}, {"limits.threads", "1"}}};
  std::vector<std::string> files;
  for (std::vector<ConfigFlag> flags : placements) {
    flags.push_back({"checkpoint.every", "2"});
    const auto folder = scratch / ("run" + std::to_string(files.size()));
    scratch.train(flags, {.run_dir = folder});
    std::string bytes;
    for (const StatePart part : kSavedParts) {
      for (const char* step : {"step-2", "step-4"}) {
        bytes += text_of(folder / "checkpoints" / step / file_of(part));
      }
    }
    files.push_back(bytes);
    EXPECT_EQ(files.back(), files.front());
  }
}

TEST(Train, AFolderWithARunIsRefusedBeforeAnythingElseIsLookedAt) {
  const RunScratch scratch;
  scratch.train({{"train.steps", "1"}});
  expect_error(ErrorKind::kConfig, {"--overwrite", "--run-dir"}, [&] {
    scratch.train({{"data.train", "[\"" + (scratch / "gone.txt").string() + "\"]"}});
  });
}

TEST(Train, APlanIsReplayedOrDoesNotFit) {
  const RunScratch scratch;
  scratch.train({});
  const std::string plan = text_of(scratch / "run/plan.json");
  scratch.write("plan.json", plan);
  scratch.train({}, {.run_dir = scratch / "second", .plan = scratch / "plan.json"});
  EXPECT_EQ(parse_plan(text_of(scratch / "second/plan.json"), "second").hash,
            parse_plan(plan, "first").hash);
  expect_error(ErrorKind::kNoFit, {"plan.json", "limits.device", "sluice plan"}, [&] {
    scratch.train({{"limits.device", "64KiB"}},
                  {.run_dir = scratch / "third", .plan = scratch / "plan.json"});
  });
  EXPECT_FALSE(scratch.exists("third"));
}

TEST(StopRequest, SeesASignalAndGivesTheHandlerBack) {
  {
    const StopRequest stop;
    EXPECT_FALSE(stop.asked());
    std::raise(SIGUSR1);
    EXPECT_TRUE(stop.asked());
  }
  const StopRequest again;
  EXPECT_FALSE(again.asked());
}

TEST(StopRequestDeathTest, ASecondInterruptEndsAtOnce) {
  EXPECT_EXIT(
      {
        const StopRequest stop;
        std::raise(SIGTERM);
        std::raise(SIGINT);
        std::raise(SIGINT);  // one keypress, handed on by a launcher
        ::usleep(400'000);
        std::raise(SIGINT);
      },
      ::testing::ExitedWithCode(130), "");
}

TEST(StopRequest, OneKeypressThatComesTwiceOrBehindASignalOfAnotherKindIsNoSecondOne) {
  const StopRequest stop;
  std::raise(SIGTERM);
  ::usleep(400'000);
  std::raise(SIGINT);
  std::raise(SIGINT);
  EXPECT_EQ(stop.reason(), "signal");
}

}  // namespace
}  // namespace sluice
