// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/manifest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "devices/base/error.h"
#include "devices/base/strict_json.h"
#include "engine/checkpoint/checksum.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kVersion = 1;
constexpr std::string_view kChecksumKey = ",\"checksum\":\"";
constexpr std::size_t kTail = kChecksumKey.size() + 16 + 3;  // digits, quote, brace, newline

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

std::uint64_t unhex(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 16 || error != std::errc() || end != digits.data() + 16) {
    throw std::invalid_argument("\"" + std::string(digits.substr(0, 20)) +
                                "\" is not 16 hex digits");
  }
  return value;
}

Json tensor_json(const ManifestTensor& tensor) {
  std::string checksums;
  for (const std::uint64_t checksum : tensor.checksums) checksums += hex(checksum);
  return {{"file", tensor.file},
          {"name", tensor.name},
          {"dtype", tensor.dtype == DType::kFloat32 ? "F32" : "BF16"},
          {"shape", tensor.shape},
          {"offset", tensor.offset.value},
          {"bytes", size_of(tensor.dtype) * tensor.count()},
          {"checksums", checksums}};
}

Json validation_json(const ValidationState& v) {
  Json json = {{"step", v.step}, {"loss", v.loss}, {"without_best", v.without_best}};
  if (v.best) json["best"] = *v.best;
  return json;
}

bool is_tensor_file(const std::string& name) {
  return std::any_of(kSavedParts.begin(), kSavedParts.end(),
                     [&](StatePart part) { return name == file_of(part); });
}

// The library would convert a string's, or any real number, which may have no such value.
std::int64_t integer_of(const Json& json, const char* what) {
  if (!json.is_number_integer()) {
    throw std::invalid_argument(fmt::format("{} is not an integer", what));
  }
  return json.get<std::int64_t>();
}

std::int64_t count_of(const Json& json, const char* key) {
  const std::int64_t value = integer_of(json.at(key), key);
  if (value < 0) throw std::invalid_argument(fmt::format("{} is not a count", key));
  return value;
}

// A loss may have been no number, which JSON writes as null.
double number_of(const Json& json, const char* key) {
  return json.at(key).is_null() ? std::numeric_limits<double>::quiet_NaN()
                                : json.at(key).get<double>();
}

RunState run_of(const Json& json) {
  RunState run{.step = count_of(json, "step"),
               .samples = count_of(json, "samples"),
               .tokens = count_of(json, "tokens"),
               .epoch = number_of(json, "epoch"),
               .loss = number_of(json, "loss"),
               .learning_rate = number_of(json, "learning_rate"),
               .seed = integer_of(json.at("seed"), "seed"),
               .skipped = {.all = count_of(json, "skipped"),
                           .in_a_row = count_of(json, "skipped_in_a_row")}};
  if (json.contains("digest")) run.digest = unhex(json.at("digest").get<std::string>());
  const Json& v = json.at("validation");
  run.validation = {.step = count_of(v, "step"),
                    .loss = number_of(v, "loss"),
                    .without_best = count_of(v, "without_best")};
  if (v.contains("best")) run.validation.best = v.at("best").get<double>();
  return run;
}

ManifestFile file_of(const Json& json) {
  ManifestFile file{.name = json.at("name").get<std::string>(),
                    .size = {count_of(json, "bytes")},
                    .checksum = unhex(json.at("checksum").get<std::string>())};
  if (!is_tensor_file(file.name) && file.name != "config.json" && file.name != "config.toml") {
    throw std::invalid_argument("names a file \"" + file.name + "\"");
  }
  return file;
}

ManifestTensor tensor_of(const Json& json, const std::vector<ManifestFile>& files) {
  ManifestTensor tensor{.file = json.at("file").get<std::string>(),
                        .name = json.at("name").get<std::string>(),
                        .offset = {count_of(json, "offset")}};
  for (const Json& extent : json.at("shape")) {
    tensor.shape.push_back(integer_of(extent, "an extent of shape"));
  }
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument("tensor " + tensor.name + ": " + what);
  };
  const auto dtype = json.at("dtype").get<std::string>();
  if (dtype != "F32" && dtype != "BF16") refuse("dtype " + dtype);
  tensor.dtype = dtype == "F32" ? DType::kFloat32 : DType::kBFloat16;
  const auto file = std::find_if(files.begin(), files.end(),
                                 [&](const ManifestFile& f) { return f.name == tensor.file; });
  if (file == files.end() || !is_tensor_file(tensor.file)) refuse("in no file of tensors");
  std::int64_t bytes = size_of(tensor.dtype);
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) refuse("no such shape");
  }
  std::int64_t end = 0;
  if (bytes != count_of(json, "bytes") ||
      __builtin_add_overflow(tensor.offset.value, bytes, &end) || end > file->size.value) {
    refuse("its bytes are not within its file");
  }
  const auto checksums = json.at("checksums").get<std::string>();
  if (static_cast<std::int64_t>(checksums.size()) !=
      16 * divide_up(tensor.count(), kChunkElements)) {
    refuse("another number of checksums than of chunks");
  }
  for (std::size_t at = 0; at < checksums.size(); at += 16) {
    tensor.checksums.push_back(unhex(std::string_view(checksums).substr(at, 16)));
  }
  return tensor;
}

// No file and no tensor twice, and tensors one behind the other in their file.
void check_each_is_there_once(const Manifest& manifest) {
  std::map<std::string_view, std::int64_t> ends;  // of the tensors so far, by file
  for (const ManifestFile& file : manifest.files) {
    if (!ends.emplace(file.name, 0).second) {
      throw std::invalid_argument("names " + file.name + " twice");
    }
  }
  std::set<std::pair<std::string_view, std::string_view>> names;
  for (const ManifestTensor& tensor : manifest.tensors) {
    if (!names.emplace(tensor.file, tensor.name).second) {
      throw std::invalid_argument("tensor " + tensor.name + " is there twice");
    }
    std::int64_t& end = ends.at(tensor.file);
    if (tensor.offset.value < end) {
      throw std::invalid_argument("tensor " + tensor.name + " overlaps the one before it");
    }
    end = tensor.offset.value + size_of(tensor.dtype) * tensor.count();
  }
}

Manifest manifest_of(const Json& json) {
  if (json.at("format") != "sluice-checkpoint") {
    throw std::invalid_argument("format is not \"sluice-checkpoint\"");
  }
  if (json.at("version") != kVersion) {
    throw std::invalid_argument(
        fmt::format("version {}, this build reads {}", json.at("version").dump(), kVersion));
  }
  Manifest manifest;
  manifest.run = run_of(json);
  const Json& data = json.at("data");
  manifest.data = {.tokens = count_of(data, "tokens"),
                   .fingerprint = unhex(data.at("fingerprint").get<std::string>())};
  manifest.config = json.at("config").get<std::map<std::string, std::string>>();
  for (const Json& file : json.at("files")) manifest.files.push_back(file_of(file));
  for (const Json& tensor : json.at("tensors")) {
    manifest.tensors.push_back(tensor_of(tensor, manifest.files));
  }
  check_each_is_there_once(manifest);
  return manifest;
}

}  // namespace

std::string manifest_tail(std::string_view body) {
  return fmt::format("{}{}\"}}\n", kChecksumKey, hex(XXH3_64bits(body.data(), body.size())));
}

std::string to_json(const Manifest& manifest) {
  const RunState& run = manifest.run;
  Json json = {{"format", "sluice-checkpoint"},
               {"version", kVersion},
               {"step", run.step},
               {"samples", run.samples},
               {"tokens", run.tokens},
               {"epoch", run.epoch},
               {"loss", run.loss},
               {"learning_rate", run.learning_rate},
               {"seed", run.seed},
               {"skipped", run.skipped.all},
               {"skipped_in_a_row", run.skipped.in_a_row}};
  if (run.digest) json["digest"] = hex(*run.digest);
  json["validation"] = validation_json(run.validation);
  json["data"] = {{"tokens", manifest.data.tokens},
                  {"fingerprint", hex(manifest.data.fingerprint)}};
  json["config"] = manifest.config;
  json["files"] = Json::array();
  for (const ManifestFile& file : manifest.files) {
    json["files"].push_back(
        {{"name", file.name}, {"bytes", file.size.value}, {"checksum", hex(file.checksum)}});
  }
  json["tensors"] = Json::array();
  for (const ManifestTensor& tensor : manifest.tensors) {
    json["tensors"].push_back(tensor_json(tensor));
  }
  std::string body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  body.pop_back();  // the brace, which the tail closes
  return body + manifest_tail(body);
}

Manifest parse_manifest(const std::string& text, const std::string& name) {
  const auto refuse = [&](const std::string& what) -> Error {
    return {ErrorKind::kData, fmt::format("{}: {}", name, what)};
  };
  const std::string_view whole = text;
  if (whole.size() < kTail) throw refuse("too short for a manifest");
  const std::string_view body = whole.substr(0, whole.size() - kTail);
  if (whole.substr(body.size()) != manifest_tail(body)) {
    throw refuse("was changed or cut: its own checksum differs");
  }
  check_strict_json(text, name, ErrorKind::kData);
  try {
    return manifest_of(Json::parse(text));
  } catch (const nlohmann::json::exception& error) {
    throw refuse(error.what());
  } catch (const std::invalid_argument& error) {
    throw refuse(error.what());
  }
}

}  // namespace sluice
