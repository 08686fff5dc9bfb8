// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "devices/base/format.h"
#include "devices/base/strict_json.h"
#include "engine/files/model_folder.h"

namespace sluice {
namespace {

// {"metadata": anything, "weight_map": {tensor: file}}
class IndexReader final : public JsonEvents {
 public:
  explicit IndexReader(const std::string& name) : name_(name) {}

  std::map<std::string, std::string> take() {
    if (!has_map_) refuse("no weight_map of tensor names to files");
    return std::move(files_);
  }

  void begin(bool object) override {
    ++depth_;
    if (depth_ == 1 && !object) refuse("not a JSON object");
    if (depth_ == 2 && in_map_ && !object) refuse("weight_map is no object");
    if (depth_ == 3 && in_map_) refuse_value();
    has_map_ = has_map_ || (depth_ == 2 && in_map_);
  }
  void end() override { --depth_; }
  void key(std::string_view key) override {
    if (depth_ == 1) in_map_ = key == "weight_map";
    tensor_ = key;
  }
  void text(std::string_view value) override {
    if (depth_ == 1 && in_map_) refuse("weight_map is no object");
    if (depth_ != 2 || !in_map_) return;
    if (files_.size() == kMostTensors) {
      refuse(fmt::format("weight_map: more than {} tensors", kMostTensors));
    }
    if (value.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos ||
        value.empty() || value == "." || value == "..") {
      refuse(fmt::format("weight_map: tensor {}: \"{}\" leads outside this folder",
                         printable(tensor_), printable(value)));
    }
    files_.emplace(tensor_, value);
  }
  void integer(std::int64_t) override { other(); }
  void other() override {
    if (in_map_ && depth_ <= 2) refuse_value();
  }

 private:
  static constexpr std::size_t kMostTensors = 1'000'000;

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kData, fmt::format("{}: corrupt: {}", name_, what));
  }
  [[noreturn]] void refuse_value() const {
    refuse(fmt::format("weight_map: tensor {} has no file name", printable(tensor_)));
  }

  const std::string& name_;
  int depth_ = 0;
  bool in_map_ = false, has_map_ = false;
  std::string tensor_;
  std::map<std::string, std::string> files_;
};

}  // namespace

std::map<std::string, std::string> parse_shard_index(const std::string& text,
                                                     const std::string& name) {
  IndexReader reader(name);
  read_strict_json(text, name, ErrorKind::kData, reader);
  return reader.take();
}

std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& tensor_files,
                              Bytes total) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  json["metadata"] = {{"total_size", total.value}};
  nlohmann::json map = nlohmann::json::object();  // in the order of names, as others write it
  for (const auto& [tensor, file] : tensor_files) map[tensor] = file;
  json["weight_map"] = map;
  return json.dump(2) + "\n";
}

}  // namespace sluice
