// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/metrics.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "engine/files/input_file.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

// The path, once the file ends with a whole line.
const std::filesystem::path& drop_torn_line(const std::filesystem::path& path) {
  if (!has_entry(path.parent_path(), path.filename())) return path;  // not there yet
  const InputFile file(path.parent_path(), path.filename());
  std::int64_t end = file.size();
  for (std::byte last{}; end > 0; --end) {
    file.read(end - 1, {&last, 1});
    if (last == std::byte{'\n'}) break;
  }
  std::error_code error;
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(end), error);
  if (error) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: cannot be written: {}", path.string(), error.message()));
  }
  return path;
}

// act(line) for each, also for a last one without its end.
template <typename Act>
void for_lines(const InputFile& file, Act act) {
  std::array<char, 16 << 10> block;
  std::string line;
  for (std::int64_t at = 0; at < file.size();) {
    const auto length = std::min<std::int64_t>(std::ssize(block), file.size() - at);
    const auto part = std::span(block).first(static_cast<std::size_t>(length));
    file.read(at, std::as_writable_bytes(part));
    at += length;
    for (const char c : part) {
      if (c != '\n') {
        line += c;
        continue;
      }
      act(line);
      line.clear();
    }
  }
  if (!line.empty()) act(line);
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Whether a line was written by step `step` or before. One without a step is kept; one that
// is no JSON object, as a crash leaves it, is not.
bool belongs(const std::string& line, std::int64_t step, std::int64_t validated) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  const auto at = json.find("step");
  if (at == json.end() || !at->is_number_integer()) return true;
  return at->get<std::int64_t>() <= (json.contains("val_loss") ? validated : step);
}

}  // namespace

EventField::EventField(std::string name, std::int64_t value)
    : name_(std::move(name)), json_(text_of(value)) {}
EventField::EventField(std::string name, double value)
    : name_(std::move(name)), json_(text_of(value)) {}
EventField::EventField(std::string name, const std::string& value)
    : name_(std::move(name)), json_(text_of(value)) {}

void cut_metrics(const std::filesystem::path& path, std::int64_t step, std::int64_t validated) {
  if (!has_entry(path.parent_path(), path.filename())) return;
  const std::filesystem::path partial =
      path.parent_path() / ("." + path.filename().string() + ".cut");
  OutputFile out(partial);
  std::string kept;
  for_lines(InputFile(path.parent_path(), path.filename()), [&](const std::string& line) {
    if (belongs(line, step, validated)) kept += line + "\n";
    if (kept.size() < (1 << 16)) return;
    out.write(kept);
    kept.clear();
  });
  out.write(kept);
  out.sync();
  put_in_place(partial, path);
}

MetricsWriter::MetricsWriter(const std::filesystem::path& path)
    : path_(path), file_(drop_torn_line(path), OutputFile::Mode::kAppend) {}

void MetricsWriter::step(const StepMetrics& metrics) {
  Json json = Json::object();  // not of null: see offload/plan_json.cpp
  json["step"] = metrics.step;
  json["tokens"] = metrics.tokens.value;
  json["loss"] = metrics.loss;
  json["grad_norm"] = metrics.grad_norm;
  json["lr"] = metrics.lr;
  json["step_seconds"] = metrics.step_time.count();
  json["tokens_per_second"] = metrics.tokens_per_second;
  json["forecast_seconds"] = metrics.forecast.count();
  json["lanes"] = Json::object();
  for (const LaneMetrics& lane : metrics.lanes) {
    json["lanes"][lane.lane] = {{"busy_seconds", lane.busy.count()}, {"bytes", lane.bytes.value}};
  }
  if (metrics.digest) json["digest"] = fmt::format("{:016x}", *metrics.digest);
  if (metrics.skipped) json["skipped"] = *metrics.skipped;
  write_line(text_of(json));
}

void MetricsWriter::evaluation(const EvaluationMetrics& metrics) {
  write_line(text_of(Json{
      {"step", metrics.step}, {"val_loss", metrics.loss}, {"val_tokens", metrics.tokens.value}}));
}

void MetricsWriter::event(const std::string& name, const EventFields& fields) {
  std::string line = R"({"event":)" + text_of(name);
  for (const EventField& field : fields) {
    line += fmt::format(",{}:{}", text_of(field.name()), field.json());
  }
  write_line(line + "}");
}

// One write per line: a reader, or a crash, sees whole lines.
void MetricsWriter::write_line(const std::string& json) {
  waiting_ += json + "\n";
  flush();
}

void MetricsWriter::flush() {
  constexpr std::size_t kMostWaiting = 16 << 20;
  waiting_.erase(0, waiting_.size() - file_.write_what_fits(waiting_).size());
  if (waiting_.size() > kMostWaiting) {
    throw Error(ErrorKind::kIo, fmt::format("{}: the disk is full, {} of lines wait for room",
                                            path_.string(), format_bytes({std::ssize(waiting_)})));
  }
  if (waiting_.empty() || warned_) return;
  warned_ = true;
  log_warn(
      fmt::format("{}: the disk is full, make room: training goes on, and lines wait in "
                  "memory until then",
                  path_.string()));
}

}  // namespace sluice
