// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/load_config.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/config/keys.h"
#include "tests/engine/scratch.h"

namespace sluice {
namespace {

const std::string kModel = "[model]\nlayers = 4\nwidth = 128\nheads = 4\n";

LoadedConfig load(const std::string& text, const std::vector<ConfigFlag>& flags = {}) {
  return load_config_text(text, "a.toml", "/base", flags);
}

void expect_refused(const std::string& text, const std::vector<std::string>& parts,
                    const std::vector<ConfigFlag>& flags = {}) {
  expect_error(ErrorKind::kConfig, parts, [&] { load(text, flags); });
}

TEST(LoadConfig, FlagsWinOverTheFileAndTheFileOverThePreset) {
  const LoadedConfig loaded =
      load(kModel + "[train]\npreset = \"finetune\"\nsteps = 10\n[optimizer]\nweight_decay = 0.5\n",
           {{"train.steps", "20"}});
  EXPECT_EQ(loaded.config.train.steps, 20);
  EXPECT_EQ(loaded.config.optimizer.weight_decay, 0.5);
  EXPECT_EQ(loaded.config.optimizer.beta2, 0.999);
  EXPECT_EQ(loaded.origin.at("train.steps"), "--train.steps");
  EXPECT_EQ(loaded.origin.at("optimizer.weight_decay"), "a.toml:9");
  EXPECT_EQ(loaded.origin.at("optimizer.beta2"), "preset finetune");
  EXPECT_EQ(loaded.origin.at("optimizer.beta1"), "default");
}

TEST(LoadConfig, APresetFromAFlagWorksAsOneFromTheFile) {
  EXPECT_EQ(load(kModel, {{"train.preset", "finetune"}}).config.optimizer.beta2, 0.999);
}

TEST(LoadConfig, ReadsEveryKindOfValue) {
  const RunConfig config = load(kModel + R"(
[data]
train = ["x.txt", "/abs/d/"]
seq_len = 64
[train]
dtype = "fp32"
clip = 1
epochs = 2
[limits]
device = "64MiB"
storage_path = "swap"
[place]
weights = "host"
optimizer = [{ layers = "0-3,head", home = "host" }, { layers = "*", home = "storage" }]
wave = "all"
segment = "1.5MiB"
overlap = false
[log]
trace = "3:7"
)")
                               .config;
  EXPECT_EQ(config.data.train, (std::vector<std::string>{"/base/x.txt", "/abs/d/"}));
  EXPECT_EQ(config.train.dtype, DType::kFloat32);
  EXPECT_EQ(config.train.grad_dtype, DType::kFloat32);
  EXPECT_EQ(config.train.clip, 1.0);
  EXPECT_EQ(config.train.epochs, 2.0);
  EXPECT_EQ(config.limits.device, (Bytes{64 << 20}));
  EXPECT_EQ(config.limits.storage_path, "/base/swap");
  EXPECT_EQ(config.place.weights, (PlaceRules{{"*", HomeChoice::kHost}}));
  EXPECT_EQ(config.place.optimizer,
            (PlaceRules{{"0-3,head", HomeChoice::kHost}, {"*", HomeChoice::kStorage}}));
  EXPECT_EQ(config.place.wave, Wave{0});
  EXPECT_EQ(config.place.segment, (Bytes{3 << 19}));
  EXPECT_FALSE(config.place.overlap);
  EXPECT_EQ(config.log.trace, (StepRange{3, 7}));
}

TEST(LoadConfig, FlagsTakeBareWordsAndToml) {
  const RunConfig config = load(kModel, {{"limits.device", "64MiB"},
                                         {"data.train", R"(["/a.txt", "/b/"])"},
                                         {"data.val", "/2024"},
                                         {"optimizer.lr", ".5"},
                                         {"place.wave", "2"},
                                         {"place.update", "deferred"},
                                         {"train.epochs", "1.5"}})
                               .config;
  EXPECT_EQ(config.limits.device, (Bytes{64 << 20}));
  EXPECT_EQ(config.data.train, (std::vector<std::string>{"/a.txt", "/b/"}));
  EXPECT_EQ(config.data.val, (std::vector<std::string>{"/2024"}));
  EXPECT_EQ(config.optimizer.lr, 0.5);
  EXPECT_EQ(config.place.wave, Wave{2});
  EXPECT_EQ(config.place.update, UpdateTiming::kDeferred);
}

TEST(LoadConfig, PathsOfFlagsStartFromTheCurrentFolder) {
  const RunConfig config = load(kModel, {{"data.train", "x.txt"}}).config;
  EXPECT_EQ(config.data.train[0], (std::filesystem::current_path() / "x.txt").string());
}

TEST(LoadConfig, KnowsTheNamesOfHuggingFace) {
  const RunConfig config = load(R"(
learning_rate = 0.01
[model]
n_layer = 2
hidden_size = 64
num_attention_heads = 2
[train]
per_device_train_batch_size = 4
max_grad_norm = 0.5
[schedule]
lr_scheduler_type = "cosine_with_min_lr"
)",
                                {{"max_steps", "7"}})
                               .config;
  EXPECT_EQ(config.optimizer.lr, 0.01);
  EXPECT_EQ(config.model.shape.layers, 2);
  EXPECT_EQ(config.model.shape.width, 64);
  EXPECT_EQ(config.model.shape.heads, 2);
  EXPECT_EQ(config.train.micro_batch, 4);
  EXPECT_EQ(config.train.clip, 0.5);
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.schedule.kind, ScheduleKind::kCosine);
}

TEST(LoadConfig, ThePrintedConfigLoadsBackToTheSame) {
  const std::vector<std::string> texts = {
      kModel, kModel + "family = \"llama\"\nkv_heads = 2\nqkv_bias = true\nnorm_eps = 1e-6\n",
      kModel +
          "[data]\ntrain = [\"we\\\\ird \\\"name\\\".txt\"]\n[train]\ntarget_loss = 1.5\n"
          "on_nonfinite = \"skip\"\n[limits]\nhost = \"100001B\"\n[log]\ntrace = \"none\"\n"
          "[place]\ngradients = [{ layers = \"embedding,2-3\", home = \"device\" }]\n"};
  for (const std::string& text : texts) {
    const LoadedConfig first = load(text);
    const LoadedConfig second = load_config_text(print_config(first), "printed", "/elsewhere", {});
    EXPECT_TRUE(second.config == first.config) << print_config(first) << print_config(second);
  }
}

TEST(LoadConfig, FillsInAModelFromAFewKeys) {
  const ModelShape gpt2 = load(kModel).config.model.shape;
  EXPECT_EQ(gpt2.kv_heads, 4);
  EXPECT_EQ(gpt2.head_width, 32);
  EXPECT_EQ(gpt2.ffn_width, 512);
  EXPECT_EQ(gpt2.vocabulary, 256);
  EXPECT_TRUE(gpt2.tied && gpt2.bias);
  const ModelShape llama = load(kModel + "family = \"llama\"\n").config.model.shape;
  EXPECT_EQ(llama.ffn_width, 384);
  EXPECT_FALSE(llama.tied || llama.bias);
}

TEST(LoadConfig, WithoutALengthTheScheduleDefaultsToConstant) {
  EXPECT_EQ(load(kModel).config.schedule.kind, ScheduleKind::kConstant);
  EXPECT_EQ(load(kModel + "[train]\nsteps = 5\n").config.schedule.kind, ScheduleKind::kCosine);
}

TEST(LoadConfig, SkippingNonFiniteStepsForcesDeferredUpdates) {
  EXPECT_EQ(load(kModel, {{"train.on_nonfinite", "skip"}}).config.place.update,
            UpdateTiming::kDeferred);
}

TEST(LoadConfig, UnknownKeysNameTheLineAndTheNearestKey) {
  expect_refused(kModel + "[train]\nstep = 3\n", {"a.toml:6", "train.step;", "train.steps"});
  expect_refused(kModel + "[train]\nlr = 3\n", {"a.toml:6", "optimizer.lr"});
  expect_refused(kModel + "[training]\nsteps = 3\n", {"a.toml:6", "train.steps"});
  expect_refused("stuff = 3\n" + kModel, {"a.toml:1", "unknown key stuff"});
  expect_refused(kModel, {"--limits.devise", "limits.device"}, {{"limits.devise", "1GiB"}});
}

TEST(LoadConfig, WrongTypesNameTheLineAndWhatIsWanted) {
  expect_refused(kModel + "[train]\nsteps = \"ten\"\n", {"a.toml:6", "an integer", "\"ten\""});
  expect_refused(kModel + "[train]\nsteps = 1.5\n", {"an integer, at least 1", "1.5"});
  expect_refused(kModel + "[train]\nsteps = 6.0\n", {"an integer, at least 1", "it is 6.0"});
  expect_refused(kModel + "[train]\ndtype = \"fp16\"\n", {"\"bf16\", \"fp32\"", "fp16"});
  expect_refused(kModel + "[limits]\ndevice = \"64 bananas\"\n", {"64MiB", "bananas"});
  expect_refused(kModel + "[limits]\nhost = -5\n", {"limits.host", "-5"});
  expect_refused(kModel + "[place]\noverlap = 1\n", {"true or false"});
  expect_refused(kModel + "[place]\nweights = \"gpu\"\n", {"device", "gpu"});
  expect_refused(kModel + "[place]\nweights = [{ layers = \"a-b\", home = \"host\" }]\n",
                 {"layers = "});
  expect_refused(kModel + "[place]\nweights = [{ layers = \"1\" }]\n", {"home = "});
  expect_refused(kModel + "[data]\ntrain = 5\n", {"a list of files"});
  expect_refused(kModel + "[log]\ntrace = \"7:3\"\n", {"range of at most 1000 steps"});
  expect_refused(kModel + "[train]\nseed = 1979-05-27\n", {"a.toml:6", "dates"});
}

TEST(LoadConfig, ValuesOutOfRangeNameTheRange) {
  expect_refused(kModel + "[train]\nsteps = 0\n", {"at least 1", "it is 0"});
  expect_refused(kModel + "[optimizer]\nbeta2 = 1.0\n", {"at least 0 and at most 0.9999999"});
  expect_refused(kModel + "[optimizer]\neps = 0\n", {"at least 1e-30"});
  expect_refused(kModel + "[optimizer]\nlr = nan\n", {"optimizer.lr"});
  expect_refused(kModel + "[data]\nval_fraction = 1.5\n", {"below 1", "1.5"});
}

TEST(LoadConfig, AKeySetTwiceUnderTwoNamesIsRefused) {
  expect_refused(kModel + "[train]\nclip = 1\nmax_grad_norm = 2\n", {"train.clip", "twice"});
}

TEST(LoadConfig, OfEqualFlagsTheLastWins) {
  EXPECT_EQ(load(kModel, {{"train.steps", "1"}, {"max_steps", "2"}}).config.train.steps, 2);
}

TEST(LoadConfig, BrokenTomlNamesTheLine) {
  expect_refused("[model]\nlayers = = 3\n", {"a.toml:2"});
}

TEST(LoadConfig, AMissingFileIsNamed) {
  expect_error(ErrorKind::kConfig, {"/nowhere/a.toml", "no such config file"},
               [] { load_config("/nowhere/a.toml", {}); });
}

TEST(LoadConfig, TheRunIsNamedAfterTheFile) {
  const ScratchFolder folder;
  const auto file = folder.write("quick.toml", kModel + "[data]\ntrain = \"t.txt\"\n");
  const LoadedConfig loaded = load_config(file, {});
  EXPECT_EQ(loaded.name, "quick");
  EXPECT_EQ(loaded.config.data.train[0], (folder / "t.txt").string());
}

TEST(LoadConfig, ContradictionsAreRefusedWithTheirNumbers) {
  expect_refused("", {"model.layers", "model.path"});
  expect_refused(kModel + "[place]\nupdate = \"backward\"\n", {"train.clip", "deferred"});
  expect_refused(kModel +
                     "[place]\nupdate = \"backward\"\n[train]\nclip = 0\n"
                     "on_nonfinite = \"skip\"\n",
                 {"on_nonfinite", "deferred"});
  expect_refused("[model]\nlayers = 1\nwidth = 130\nheads = 4\n", {"130", "4"});
  expect_refused(kModel + "family = \"llama\"\nkv_heads = 3\n", {"model.kv_heads 3"});
  expect_refused(kModel + "kv_heads = 2\n", {"kv_heads", "llama"});
  expect_refused(kModel + "qkv_bias = true\n", {"qkv_bias"});
  expect_refused(kModel + "family = \"llama\"\nbias = true\n", {"model.bias"});
  expect_refused(kModel + "[train]\nglobal_batch = 10\nmicro_batch = 4\n", {"10", "4"});
  expect_refused(kModel + "[train]\ngroups = 3\n", {"groups 3", "power of two"});
  expect_refused(kModel + "[train]\nglobal_batch = 12\nmicro_batch = 2\ngroups = 4\n",
                 {"groups 4", "6 micro-batches"});
  expect_error(ErrorKind::kData, {"200", "256"},
               [] { load(kModel + "vocab = 200\n[data]\ntrain = [\"text.txt\"]\n"); });
  expect_refused(kModel + "[data]\ntrain = \"a.bin\"\n", {"model.vocab", "50257"});
  expect_refused(kModel + "context = 64\n[data]\nseq_len = 65\n", {"65", "64"});
}

TEST(LoadConfig, TrainingNeedsDataAndAnEnd) {
  const auto check = [](const std::string& text) { check_trainable(load(text).config); };
  const std::string data = kModel + "[data]\ntrain = \"t.txt\"\n";
  expect_error(ErrorKind::kConfig, {"data.train"}, [&] { check(kModel); });
  expect_error(ErrorKind::kConfig, {"train.steps", "train.patience"}, [&] { check(data); });
  expect_error(ErrorKind::kConfig, {"eval.every"},
               [&] { check(data + "[train]\npatience = 2\n"); });
  expect_error(ErrorKind::kConfig, {"data.val"}, [&] {
    check(data + "val_fraction = 0\n[train]\npatience = 2\n[eval]\nevery = 5\n");
  });
  EXPECT_NO_THROW(check(data + "[train]\nsteps = 2\n"));
}

TEST(LoadConfig, TakesItsFlagsAndLeavesTheRest) {
  std::vector<std::string> arguments = {"a.toml",   "--train.steps",      "5",
                                        "--resume", "--limits.host=2GiB", "--max_steps",
                                        "7",        "--run-dir",          "x"};
  const std::vector<ConfigFlag> flags = take_config_flags(arguments);
  EXPECT_EQ(arguments, (std::vector<std::string>{"a.toml", "--resume", "--run-dir", "x"}));
  ASSERT_EQ(flags.size(), 3U);
  EXPECT_EQ(flags[0].name + "=" + flags[0].value, "train.steps=5");
  EXPECT_EQ(flags[1].name + "=" + flags[1].value, "limits.host=2GiB");
  EXPECT_EQ(flags[2].name + "=" + flags[2].value, "max_steps=7");
}

TEST(LoadConfig, AFlagWithoutItsValueIsRefused) {
  expect_error(ErrorKind::kConfig, {"--train.steps", "VALUE"}, [] {
    std::vector<std::string> arguments = {"--train.steps"};
    take_config_flags(arguments);
  });
}

TEST(ConfigKeys, NoNameOrAliasMeansTwoThings) {
  std::set<std::string> seen;
  for (const Key& key : config_keys()) {
    EXPECT_TRUE(seen.insert(key.spec.name).second) << key.spec.name;
    for (const std::string& alias : key.spec.aliases)
      EXPECT_TRUE(seen.insert(alias).second) << alias;
  }
}

TEST(ConfigKeys, EveryDefaultIsAValueThatItsKeyReads) {
  const RunConfig defaults;
  for (const Key& key : config_keys()) {
    RunConfig read;
    const ConfigValue value = parse_flag_value(key.spec.name, key.write(defaults));
    EXPECT_NO_THROW(key.read(read, value, "/")) << key.spec.name << " = " << key.write(defaults);
    EXPECT_EQ(key.write(read), key.write(defaults)) << key.spec.name;
  }
}

TEST(ConfigKeys, TheHelpNamesEveryKey) {
  const std::string help = config_help();
  for (const Key& key : config_keys()) EXPECT_NE(help.find(key.spec.name), std::string::npos);
}

}  // namespace
}  // namespace sluice
