// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "devices/base/error.h"
#include "engine/files/model_folder.h"
#include "engine/files/model_json.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::vector<TensorHeader> missing_biases(const ModelShape& shape, DType dtype) {
  std::vector<TensorHeader> out;
  if (shape.family != Family::kGpt2 || shape.bias) return out;
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const std::string block = fmt::format("transformer.h.{}.", i);
    out.push_back({block + "ln_1.bias", dtype, {shape.width}});
    out.push_back({block + "attn.c_attn.bias", dtype, {3 * shape.width}});
    out.push_back({block + "attn.c_proj.bias", dtype, {shape.width}});
    out.push_back({block + "ln_2.bias", dtype, {shape.width}});
    out.push_back({block + "mlp.c_fc.bias", dtype, {shape.ffn_width}});
    out.push_back({block + "mlp.c_proj.bias", dtype, {shape.width}});
  }
  out.push_back({"transformer.ln_f.bias", dtype, {shape.width}});
  return out;
}

}  // namespace

ModelFolderWriter::ModelFolderWriter(fs::path target, const ModelShape& shape, DType dtype,
                                     std::vector<TensorHeader> tensors)
    : target_(std::move(target)),
      partial_(target_.parent_path() / ("." + target_.filename().string() + ".partial")) {
  for (TensorHeader& bias : missing_biases(shape, dtype)) {
    zeros_ += bias.size();
    tensors.push_back(std::move(bias));
  }
  try {
    fs::remove_all(partial_);  // of a run that was killed
    fs::create_directory(partial_);
    OutputFile config(partial_ / "config.json");
    config.write(write_model_json(shape, dtype));
    config.sync();
    weights_ = std::make_unique<SafetensorsWriter>(partial_ / "model.safetensors", tensors);
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: cannot be written: {}", target_.string(), error.code().message()));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial_, ignored);
    throw;
  }
}

ModelFolderWriter::~ModelFolderWriter() {
  weights_.reset();
  std::error_code ignored;
  fs::remove_all(partial_, ignored);  // gone already after finish()
}

void ModelFolderWriter::write(std::span<const std::byte> bytes) { weights_->write(bytes); }

void ModelFolderWriter::finish() {
  constexpr std::array<std::byte, 4096> kZeros{};
  while (zeros_.value > 0) {
    const auto part = std::span(kZeros).first(std::min(kZeros.size(), count(zeros_)));
    weights_->write(part);
    zeros_ -= Bytes{static_cast<std::int64_t>(part.size())};
  }
  weights_->finish();
  weights_.reset();
  sync_folder(partial_);
  replace_folder(partial_, target_);
}

}  // namespace sluice
