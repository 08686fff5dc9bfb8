// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

std::string with_length(const std::string& header, const std::string& data) {
  return bytes_of_numbers<std::uint64_t>({header.size()}) + header + data;
}

void write(SafetensorsWriter& writer, const std::string& bytes) {
  writer.write(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

TEST(Safetensors, WhatIsWrittenIsReadBack) {
  const ScratchFolder folder;
  SafetensorsWriter writer(folder / "m", {{"a", DType::kFloat32, {2, 2}},
                                          {"empty", DType::kFloat32, {0, 3}},
                                          {"b.weight", DType::kBFloat16, {3}}});
  write(writer, bytes_of_numbers<float>({1, 2, 3}));
  write(writer,
        bytes_of_numbers<float>({4}) + bytes_of_numbers<std::uint16_t>({0x3f80, 0xc000, 0x3f00}));
  writer.finish();

  const std::vector<StoredTensor> tensors = read_safetensors_header(folder / "m");
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(tensors[0].offset % 8, 0);
  EXPECT_EQ(tensors[1].size.value, 0);
  EXPECT_EQ(tensors[2].dtype, "BF16");
  std::vector<float> out(3);
  read_safetensors_floats(InputFile(folder / "m"), tensors[2], 0, out);
  EXPECT_EQ(out, (std::vector<float>{1, -2, 0.5F}));
  read_safetensors_floats(InputFile(folder / "m"), tensors[0], 1, out);
  EXPECT_EQ(out, (std::vector<float>{2, 3, 4}));
}

TEST(Safetensors, TheHeaderIsTheFormatsOwn) {
  const ScratchFolder folder;
  SafetensorsWriter writer(folder / "m", {{"a", DType::kFloat32, {1}}});
  write(writer, bytes_of_numbers<float>({1}));
  writer.finish();
  EXPECT_EQ(
      text_of(folder / "m").substr(8),
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"
      "   " +
          bytes_of_numbers<float>({1}));
}

TEST(Safetensors, HalfPrecisionOfTheHubIsRead) {
  const ScratchFolder folder;
  const std::string header = R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]}})";
  folder.write("m", with_length(header, bytes_of_numbers<std::uint16_t>(
                                            {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00})));
  std::vector<float> out(6);
  read_safetensors_floats(InputFile(folder / "m"), read_safetensors_header(folder / "m")[0], 0,
                          out);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[1], -2.0F);
  EXPECT_EQ(out[2], std::ldexp(1.0F, -24));
  EXPECT_EQ(out[3], 65504.0F);
  EXPECT_TRUE(std::isinf(out[4]));
  EXPECT_TRUE(std::isnan(out[5]));
}

TEST(Safetensors, EveryBrokenFileIsRefused) {
  const ScratchFolder folder;
  const auto bad = [&](const std::string& content, const std::string& part) {
    const auto path = folder.write("bad.st", content);
    expect_error(ErrorKind::kData, {"bad.st", part}, [&] { read_safetensors_header(path); });
  };
  const auto entry = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const std::string four(4, 'x');
  bad("", "too short");
  bad("1234567", "too short");
  bad(bytes_of_numbers<std::uint64_t>({1000}) + "{}", "a header of 1000 bytes in a file of 10");
  bad(bytes_of_numbers<std::uint64_t>({~0ULL}) + "{}", "corrupt");
  bad(with_length("[1]", ""), "no JSON object");
  bad(with_length("{oops", ""), "not JSON at byte 2");
  bad(with_length(entry(R"("shape":[1],"data_offsets":[0,4])"), four), "tensor a");
  bad(with_length(entry(R"("dtype":"F32","shape":"x","data_offsets":[0,4])"), four), "tensor a");
  bad(with_length(entry(R"("dtype":"Q4","shape":[1],"data_offsets":[0,4])"), four),
      "dtype is unknown: Q4");
  bad(with_length(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), four), "its shape");
  bad(with_length(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), four),
      "shape is negative");
  bad(with_length(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), four),
      "data_offsets end");
  bad(with_length(entry(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"),
                  ""),
      "its shape");
  bad(with_length(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), four + four),
      "a gap");
  bad(with_length(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "xyz"), "describes");
  bad(with_length(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), four + "x"),
      "describes");
  bad(with_length(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  four),
      "an overlap");
  expect_error(ErrorKind::kData, {"none.st", "no such file"},
               [&] { read_safetensors_header(folder / "none.st"); });
}

// Cut anywhere, a file is refused: never read as a smaller model.
TEST(Safetensors, AFileCutAnywhereIsRefused) {
  const ScratchFolder folder;
  SafetensorsWriter writer(folder / "m", {{"a", DType::kFloat32, {4}}});
  write(writer, bytes_of_numbers<float>({1, 2, 3, 4}));
  writer.finish();
  const std::string whole = text_of(folder / "m");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto cut = folder.write("cut", whole.substr(0, length));
    expect_error(ErrorKind::kData, {"cut"}, [&] { read_safetensors_header(cut); });
  }
}

TEST(SafetensorsDeathTest, AWriterThatIsNotFedItsTensorsIsABug) {
  const ScratchFolder folder;
  SafetensorsWriter writer(folder / "m", {{"a", DType::kFloat32, {4}}});
  EXPECT_DEATH(writer.finish(), "left_");
}

}  // namespace
}  // namespace sluice
