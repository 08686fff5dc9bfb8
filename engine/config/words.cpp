// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/codec.h"

// The words of every enumeration of the config.

namespace sluice {

template <>
const Words<Family>& words_of() {
  static const Words<Family> words{
      {"gpt2", Family::kGpt2}, {"llama", Family::kLlama}, {"qwen2", Family::kLlama}};
  return words;
}
template <>
const Words<GeluForm>& words_of() {
  static const Words<GeluForm> words{{"tanh", GeluForm::kTanh},
                                     {"gelu_new", GeluForm::kTanh},
                                     {"gelu_pytorch_tanh", GeluForm::kTanh},
                                     {"erf", GeluForm::kErf},
                                     {"gelu", GeluForm::kErf}};
  return words;
}
template <>
const Words<ModelStart>& words_of() {
  static const Words<ModelStart> words{{"auto", ModelStart::kAuto},
                                       {"random", ModelStart::kRandom}};
  return words;
}
template <>
const Words<TokenFormat>& words_of() {
  static const Words<TokenFormat> words{{"bytes", TokenFormat::kBytes}, {"bin", TokenFormat::kBin}};
  return words;
}
template <>
const Words<DType>& words_of() {
  static const Words<DType> words{{"bf16", DType::kBFloat16},
                                  {"bfloat16", DType::kBFloat16},
                                  {"fp32", DType::kFloat32},
                                  {"float32", DType::kFloat32}};
  return words;
}
template <>
const Words<OnNonFinite>& words_of() {
  static const Words<OnNonFinite> words{{"stop", OnNonFinite::kStop}, {"skip", OnNonFinite::kSkip}};
  return words;
}
template <>
const Words<Preset>& words_of() {
  static const Words<Preset> words{{"pretrain", Preset::kPretrain},
                                   {"finetune", Preset::kFinetune}};
  return words;
}
template <>
const Words<ScheduleKind>& words_of() {
  static const Words<ScheduleKind> words{{"constant", ScheduleKind::kConstant},
                                         {"constant_with_warmup", ScheduleKind::kConstant},
                                         {"linear", ScheduleKind::kLinear},
                                         {"cosine", ScheduleKind::kCosine},
                                         {"cosine_with_min_lr", ScheduleKind::kCosine},
                                         {"wsd", ScheduleKind::kWsd},
                                         {"warmup_stable_decay", ScheduleKind::kWsd}};
  return words;
}
template <>
const Words<HomeChoice>& words_of() {
  static const Words<HomeChoice> words{{"auto", HomeChoice::kAuto},
                                       {"device", HomeChoice::kDevice},
                                       {"host", HomeChoice::kHost},
                                       {"storage", HomeChoice::kStorage}};
  return words;
}
template <>
const Words<RecomputeChoice>& words_of() {
  static const Words<RecomputeChoice> words{{"auto", RecomputeChoice::kAuto},
                                            {"none", RecomputeChoice::kNone},
                                            {"full", RecomputeChoice::kFull}};
  return words;
}
template <>
const Words<UpdateTiming>& words_of() {
  static const Words<UpdateTiming> words{{"auto", UpdateTiming::kAuto},
                                         {"backward", UpdateTiming::kBackward},
                                         {"deferred", UpdateTiming::kDeferred}};
  return words;
}
template <>
const Words<AdamPlace>& words_of() {
  static const Words<AdamPlace> words{
      {"auto", AdamPlace::kAuto}, {"host", AdamPlace::kHost}, {"device", AdamPlace::kDevice}};
  return words;
}
template <>
const Words<IoChoice>& words_of() {
  static const Words<IoChoice> words{
      {"auto", IoChoice::kAuto}, {"uring", IoChoice::kUring}, {"threads", IoChoice::kThreads}};
  return words;
}

}  // namespace sluice
