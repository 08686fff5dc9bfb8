// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/metrics.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

TEST(Metrics, LinesAreOfTheDocumentedForm) {
  const ScratchFolder folder;
  MetricsWriter writer(folder / "m.jsonl");
  writer.step({.step = 3,
               .tokens = {2048},
               .loss = 2.5,
               .grad_norm = 0.5,
               .lr = 0.001,
               .step_time = Seconds{0.25},
               .tokens_per_second = 2048,
               .forecast = Seconds{0.2},
               .lanes = {{"compute", Seconds{0.2}, {0}}, {"host_to_device", Seconds{0.1}, {4096}}},
               .digest = 0xabcU});
  writer.evaluation({3, 2.25, {99}});
  writer.event("checkpoint", {{"step", 3}, {"path", "x"}, {"write_seconds", 1.5}});
  // Read while the writer lives: every line is there at once.
  EXPECT_EQ(
      text_of(folder / "m.jsonl"),
      R"({"step":3,"tokens":2048,"loss":2.5,"grad_norm":0.5,"lr":0.001,"step_seconds":0.25,)"
      R"("tokens_per_second":2048.0,"forecast_seconds":0.2,"lanes":{"compute":{"busy_seconds":0.2,)"
      R"("bytes":0},"host_to_device":{"busy_seconds":0.1,"bytes":4096}},"digest":"0000000000000abc"})"
      "\n"
      R"({"step":3,"val_loss":2.25,"val_tokens":99})"
      "\n"
      R"({"event":"checkpoint","step":3,"path":"x","write_seconds":1.5})"
      "\n");
}

TEST(Metrics, NumbersThatAreNotFiniteAreNull) {
  const ScratchFolder folder;
  MetricsWriter writer(folder / "m.jsonl");
  writer.evaluation({1, std::numeric_limits<double>::quiet_NaN(), {1}});
  EXPECT_EQ(text_of(folder / "m.jsonl"), "{\"step\":1,\"val_loss\":null,\"val_tokens\":1}\n");
}

TEST(Metrics, AResumedRunGoesOnBehindTheLastWholeLine) {
  const ScratchFolder folder;
  for (const auto& [before, kept] : {std::pair{"{\"step\":1}\n{\"st", "{\"step\":1}\n"},
                                     {"{\"step\":1}\n", "{\"step\":1}\n"},
                                     {"{\"st", ""},
                                     {"", ""}}) {
    MetricsWriter(folder.write("m.jsonl", before)).event("start", {});
    EXPECT_EQ(text_of(folder / "m.jsonl"), std::string(kept) + "{\"event\":\"start\"}\n");
  }
}

TEST(Metrics, AFileThatCannotBeWrittenIsAnIoError) {
  expect_error(ErrorKind::kIo, {"/nowhere/m.jsonl"}, [] { MetricsWriter("/nowhere/m.jsonl"); });
}

TEST(Metrics, ARunThatGoesOnCutsWhatItWillWriteAgain) {
  const ScratchFolder folder;
  const auto path =
      folder.write("metrics.jsonl",
                   "{\"event\":\"start\",\"step\":0}\n{\"step\":1,\"loss\":2}\n"
                   "{\"step\":2,\"loss\":2}\n{\"step\":2,\"val_loss\":2}\n"
                   "{\"step\":3,\"loss\":2}\n"
                   "{\"event\":\"checkpoint\",\"step\":2}\n{\"event\":\"note\"}\n{\"ste");
  cut_metrics(path, 2, 1);
  EXPECT_EQ(text_of(path),
            "{\"event\":\"start\",\"step\":0}\n{\"step\":1,\"loss\":2}\n"
            "{\"step\":2,\"loss\":2}\n{\"event\":\"checkpoint\",\"step\":2}\n"
            "{\"event\":\"note\"}\n");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"metrics.jsonl"});
  cut_metrics(folder / "none", 2, 2);
}

}  // namespace
}  // namespace sluice
