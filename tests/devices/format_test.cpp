// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/format.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "devices/base/error.h"

namespace sluice {
namespace {

using namespace literals;

TEST(Format, WritesBytesInPowersOfTwo) {
  EXPECT_EQ(format_bytes(0_B), "0 B");
  EXPECT_EQ(format_bytes(1023_B), "1023 B");
  EXPECT_EQ(format_bytes(1_KiB), "1.0 KiB");
  EXPECT_EQ(format_bytes({64173670}), "61.2 MiB");
  EXPECT_EQ(format_bytes({(1 << 20) - 1}), "1.0 MiB");
  EXPECT_EQ(format_bytes({-2048}), "-2.0 KiB");
}

TEST(Format, WritesDurationsWithThreeDigits) {
  EXPECT_EQ(format_seconds(Seconds{0}), "0 s");
  EXPECT_EQ(format_seconds(Seconds{0.0123}), "12.3 ms");
  EXPECT_EQ(format_seconds(Seconds{4.5}), "4.50 s");
  EXPECT_EQ(format_seconds(Seconds{45e-6}), "45.0 us");
  EXPECT_EQ(format_seconds(Seconds{125}), "2 min 05 s");
  EXPECT_EQ(format_seconds(Seconds{7500}), "2 h 05 min");
}

TEST(Format, WritesRatesInPowersOfTen) {
  EXPECT_EQ(format_rate({1.2e9}), "1.20 GB/s");
  EXPECT_EQ(format_rate({25e9}), "25.0 GB/s");
  EXPECT_EQ(format_rate({12}), "12 B/s");
}

TEST(Format, WritesCountsAsPeopleSayThem) {
  EXPECT_EQ(format_count(257), "257");
  EXPECT_EQ(format_count(6.3e6), "6.30 M");
  EXPECT_EQ(format_count(1.24e9), "1.24 B");
}

TEST(Format, ReadsSizesInEverySpelling) {
  EXPECT_EQ(parse_bytes("4096"), 4096_B);
  EXPECT_EQ(parse_bytes("64MiB"), 64_MiB);
  EXPECT_EQ(parse_bytes(" 1.5 GiB "), 1536_MiB);
  EXPECT_EQ(parse_bytes("2GB"), Bytes{2'000'000'000});
  EXPECT_EQ(parse_bytes("0"), 0_B);
}

TEST(Format, ReadsRates) {
  EXPECT_DOUBLE_EQ(parse_rate("25GB/s").value, 25e9);
  EXPECT_DOUBLE_EQ(parse_rate("1.5GiB/s").value, 1.5 * 0x1p30);
  EXPECT_DOUBLE_EQ(parse_rate("1e9").value, 1e9);
}

TEST(Format, RefusesWhatIsNoSizeAndSaysWhatWasExpected) {
  for (const std::string text : {"", "MiB", "-1", "64 megs", "1e300", "nan", "12KB", "9EiB"}) {
    try {
      parse_bytes(text);
      ADD_FAILURE() << "'" << text << "' was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << error.what();
    }
  }
}

TEST(Format, ReadsDurations) {
  EXPECT_DOUBLE_EQ(parse_duration("2h30m").count(), 9000);
  EXPECT_DOUBLE_EQ(parse_duration("90").count(), 90);
  EXPECT_DOUBLE_EQ(parse_duration("1.5h").count(), 5400);
  EXPECT_DOUBLE_EQ(parse_duration("1d1s").count(), 86401);
  for (const std::string text : {"", "soon", "-3s", "5x", "nan", "inf", "0s", "h", "2h-30m"}) {
    EXPECT_THROW(parse_duration(text), Error) << text;
  }
}

TEST(Format, RefusesWhatIsNoRate) {
  EXPECT_THROW(parse_rate("fast"), Error);
  EXPECT_THROW(parse_rate("25GB/h"), Error);
}

}  // namespace
}  // namespace sluice
