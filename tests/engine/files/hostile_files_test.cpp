// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Files that strangers broke by hand: every one is refused with the file and the field,
// as bad data (exit code 4), at little cost. What fuzzers find besides is in tests/fuzz/corpus.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/data/token_source.h"
#include "engine/files/model_folder.h"
#include "engine/files/model_json.h"
#include "tests/engine/scratch.h"
#include "tests/fuzz/refusal_cost.h"

namespace sluice {
namespace {

struct Case {
  std::string content;
  std::string part;  // of the message, besides the file
};

std::string framed(const std::string& header, const std::string& data = "") {
  return bytes_of_numbers<std::uint64_t>({header.size()}) + header + data;
}

// A header of one tensor "a" of one float.
std::string tensor(const std::string& fields, const std::string& data = "1234") {
  return framed("{\"a\":{" + fields + "}}", data);
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

void expect_refusal(const std::vector<std::string>& parts, const std::function<void()>& read) {
  expect_error(ErrorKind::kData, parts, read);
  expect_cheap_refusal(parts.back(), read);
}

TEST(HostileFiles, SafetensorsAreRefused) {
  const std::string good = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const std::vector<Case> cases = {
      {"", "too short"},
      {std::string(9, '\0'), "too short"},
      {bytes_of_numbers<std::uint64_t>({0}) + "{}", "not JSON"},
      {bytes_of_numbers<std::uint64_t>({~std::uint64_t{0}}) + "{}", "a header of 1844"},
      {bytes_of_numbers<std::uint64_t>({std::uint64_t{1} << 63}) + "{}", "a header of 9223"},
      {bytes_of_numbers<std::uint64_t>({3}) + "{}", "a header of 3 bytes"},
      {framed("[]"), "no JSON object"},
      {framed(" {}"), "no JSON object"},
      {framed("\xef\xbb\xbf{}"), "no JSON object"},
      {framed("{\"a\":" + nested(70) + "}"), "tensor a"},
      {framed("{\"__metadata__\":{\"x\":{}}}"), "header"},
      {framed("{\"__metadata__\":[]}"), "header"},
      {framed("{\"__metadata__\":{\"x\":1}}"), "header"},
      {framed("{" + a + "," + a + "}", "1234"), "key a stands twice"},
      {tensor(good + R"(,"dtype":"F32")"), "key dtype stands twice"},
      {tensor(good + R"(,"more":1)"), "tensor a: more"},
      {framed("{\"a\\u0000\xff\":{}}"), "not JSON at byte"},
      {framed(std::string("{}\0 ", 4)), "not JSON at byte 3"},
      {framed(R"({"a":7})", "1234"), "tensor a"},
      {framed(R"({"a":[]})", "1234"), "tensor a"},
      {tensor(R"("shape":[1],"data_offsets":[0,4])"), "tensor a: has no dtype"},
      {tensor(R"("dtype":"F32","data_offsets":[0,4])"), "tensor a: has no shape"},
      {tensor(R"("dtype":"F32","shape":[1])"), "data_offsets"},
      {tensor(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"), "dtype is unknown"},
      {tensor(R"("dtype":4,"shape":[1],"data_offsets":[0,4])"), "tensor a: dtype"},
      {tensor(R"("dtype":"F32","shape":{},"data_offsets":[0,4])"), "tensor a: shape"},
      {tensor(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])"), "tensor a: shape"},
      {tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), "tensor a: shape"},
      {tensor(R"("dtype":"F32","shape":[0],"data_offsets":[0,-0])", ""), "data_offsets"},
      {tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "shape is negative"},
      {tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])"), "shape"},
      {tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", ""),
       "do not match its shape"},
      {tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])"),
       "more than 16 dimensions"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "data_offsets"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), "data_offsets"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "data_offsets end before"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])"), "data_offsets is negative"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[1,5])", "12345"), "a gap"},
      {tensor(
           R"("dtype":"F32","shape":[1],"data_offsets":[9223372036854775800,9223372036854775804])"),
       "a gap"},
      {tensor(good, "123"), "describes 4 bytes"},
      {tensor(good, "12345"), "describes 4 bytes"},
      // A tensor without bytes inside another one.
      {framed("{" + a + R"(,"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})", "1234"),
       "tensor z"},
      {framed("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", "123456"),
       "tensor b"},
  };
  const ScratchFolder folder;
  for (const Case& c : cases) {
    const auto path = folder.write("bad.safetensors", c.content);
    expect_refusal({"bad.safetensors", c.part}, [&] { read_safetensors_header(path); });
  }
}

TEST(HostileFiles, IndexesAreRefused) {
  const auto map = [](const std::string& inner) { return "{\"weight_map\":{" + inner + "}}"; };
  const std::vector<Case> cases = {
      {"", "not JSON at byte"},
      {"[]", "not a JSON object"},
      {"{}", "no weight_map"},
      {R"({"weight_map":"a.safetensors"})", "weight_map is no object"},
      {R"({"weight_map":[]})", "weight_map is no object"},
      {R"({"weight_map":{},"weight_map":{}})", "key weight_map stands twice"},
      {map(R"("a":"s.safetensors","a":"t.safetensors")"), "key a stands twice"},
      {map(R"("a":7)"), "tensor a"},
      {map(R"("a":null)"), "tensor a"},
      {map(R"("a":{})"), "tensor a"},
      {map(R"("a":"")"), "tensor a"},
      {map(R"("a":".")"), "tensor a"},
      {map(R"("a":"..")"), "outside"},
      {map(R"("a":"../s.safetensors")"), "outside"},
      {map(R"("a":"/etc/passwd")"), "outside"},
      {map(R"("a":"sub/s.safetensors")"), "outside"},
      {map(R"("a":"..\\s.safetensors")"), "outside"},
      {map(R"("a":"s.safetensors\u0000x")"), "outside"},
      {map(R"("a":"s.safe\ntensors")"), "no name of a file"},
      {map(R"("a":"link.safetensors")"), "symbolic link"},
      {map(R"("a":"folder")"), "no regular file"},
      {map(R"("a":"fifo")"), "no regular file"},
      {map(R"("a":"missing.safetensors")"), "no such file"},
      {map(R"("nope":"s.safetensors")"), "tensor nope is not in"},
      {"{\"metadata\":" + nested(70) + "}", "nested deeper than 64"},
  };
  const ScratchFolder folder;
  folder.write("s.safetensors", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"));
  folder.write("folder/inside", "");
  std::filesystem::create_symlink("s.safetensors", folder / "link.safetensors");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const Case& c : cases) {
    folder.write("model.safetensors.index.json", c.content);
    expect_refusal({folder.path().string(), c.part},
                   [&] { ModelFolderReader reader(folder.path()); });
  }
}

TEST(HostileFiles, ConfigsAreRefused) {
  const std::string gpt2 =
      R"({"model_type":"gpt2","n_layer":2,"n_embd":8,"n_head":2,"n_positions":16,"vocab_size":256)";
  const std::string llama =
      R"({"model_type":"llama","num_hidden_layers":2,"hidden_size":8,"num_attention_heads":2,)"
      R"("intermediate_size":16,"vocab_size":256)";
  const auto swap = [](std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to) + "}";
  };
  const std::string scaled = llama + R"(,"rope_scaling":{"rope_type":"llama3","factor":8,)"
                                     R"("low_freq_factor":1,"high_freq_factor":4,)"
                                     R"("original_max_position_embeddings":8192)";
  const std::vector<Case> cases = {
      {"", "not JSON"},
      {"null", "JSON object"},
      {nested(1000), "nested deeper than 64"},
      {gpt2 + R"(,"n_layer":3})", "key n_layer stands twice"},
      {swap(gpt2, "gpt2", "gpt5\\n"), "model_type"},
      {swap(gpt2, R"("n_layer":2)", R"("n_layer":2000000000)"), "n_layer"},
      {swap(gpt2, R"("n_layer":2)", R"("n_layer":-1)"), "n_layer"},
      {swap(gpt2, R"("n_layer":2)", R"("n_layer":2.5)"), "n_layer"},
      {swap(gpt2, R"("n_layer":2)", R"("n_layer":18446744073709551615)"), "n_layer"},
      {swap(gpt2, R"("n_embd":8)", R"("n_embd":4611686018427387904)"), "n_embd"},
      {swap(gpt2, R"("vocab_size":256)", R"("vocab_size":null)"), "vocab_size"},
      {gpt2 + R"(,"layer_norm_epsilon":1e39})", "layer_norm_epsilon"},
      {gpt2 + R"(,"layer_norm_epsilon":true})", "layer_norm_epsilon"},
      {gpt2 + R"(,"tie_word_embeddings":"yes"})", "tie_word_embeddings"},
      {gpt2 + R"(,"reorder_and_upcast_attn":true})", "reorder_and_upcast_attn"},
      {gpt2 + R"(,"scale_attn_weights":false})", "scale_attn_weights"},
      {gpt2 + R"(,"add_cross_attention":true})", "add_cross_attention"},
      {gpt2 + R"(,"quantization_config":{"bits":4}})", "quantization_config"},
      {llama + R"(,"num_local_experts":8})", "num_local_experts"},
      {llama + R"(,"mlp_bias":true})", "mlp_bias"},
      {llama + R"(,"attention_bias":true})", "attention_bias"},
      {llama + R"(,"head_dim":512})", "heads of 512"},
      {llama + R"(,"head_dim":3})", "head_dim is odd"},
      {llama + R"(,"partial_rotary_factor":0.5})", "partial_rotary_factor"},
      {llama + R"(,"rope_theta":0})", "rope_theta"},
      {llama + R"(,"rope_scaling":[8]})", "rope_scaling"},
      {llama + R"(,"rope_scaling":{"type":"linear","factor":2}})", "linear"},
      {llama + R"(,"rope_parameters":{"rope_type":"yarn","factor":2}})", "yarn"},
      {llama + R"(,"rope_parameters":{"full_attention":{}}})", "full_attention"},
      {swap(scaled, R"("factor":8)", R"("factor":0.5)") + "}", "factor"},
      {swap(scaled, R"("high_freq_factor":4)", R"("high_freq_factor":1)") + "}",
       "high_freq_factor"},
      {scaled + R"(},"rope_parameters":{"rope_type":"default"}})", "disagree"},
      {llama + R"(,"layer_types":["linear_attention"]})", "linear_attention"},
      {llama + R"(,"use_sliding_window":true})", "use_sliding_window"},
      {swap(llama, "\"llama\"", "\"mixtral\""), "mixtral"},
  };
  const ScratchFolder folder;
  for (const Case& c : cases) {
    folder.write("config.json", c.content);
    expect_refusal({"config.json", c.part}, [&] { read_model_json(folder.path()); });
  }
}

TEST(HostileFiles, TokenFilesAreRefused) {
  const auto shard = [](std::vector<std::int32_t> start, const std::string& tokens) {
    start.resize(256);
    return bytes_of_numbers<std::int32_t>(start) + tokens;
  };
  const std::string two = bytes_of_numbers<std::uint16_t>({1, 2});
  const std::vector<Case> cases = {
      {"", "is empty"},
      {std::string(1023, '\0'), "1023 bytes"},
      {shard({0, 1, 2}, two), "magic 0"},
      {shard({20240520, 2, 2}, two), "version 2"},
      {shard({20240801, 1, 1}, two), "version 1"},
      {shard({20240520, 1, -2}, two), "promises -2"},
      {shard({20240520, 1, 2147483647}, two), "promises 2147483647"},
      {shard({20240520, 1, 1}, two), "promises 1"},
      {shard({20240520, 1, 0}, ""), "no tokens"},
      {shard({20240801, 7, 1}, bytes_of_numbers<std::uint32_t>({0xffffffffU})), "token 4294967295"},
      {shard({20240520, 1, 2}, bytes_of_numbers<std::uint16_t>({1, 300})), "token 300 at index 1"},
  };
  const ScratchFolder folder;
  const auto open = [&](const std::string& name) {
    TokenSource source({{folder / name}, TokenFormat::kBin}, 256);
  };
  for (const Case& c : cases) {
    folder.write("bad.bin", c.content);
    expect_refusal({"bad.bin", c.part}, [&] { open("bad.bin"); });
  }
  ASSERT_EQ(::mkfifo((folder / "fifo.bin").c_str(), 0600), 0);
  expect_refusal({"fifo.bin", "no regular file"}, [&] { open("fifo.bin"); });
}

TEST(HostileFiles, WhatIsNoFileIsNotWaitedFor) {
  const ScratchFolder folder;
  ASSERT_EQ(::mkfifo((folder / "model.safetensors").c_str(), 0600), 0);
  expect_refusal({"model.safetensors", "no regular file"},
                 [&] { ModelFolderReader reader(folder.path()); });
  expect_refusal({"/dev/zero", "no regular file"}, [] { read_safetensors_header("/dev/zero"); });
  std::filesystem::remove(folder / "model.safetensors");
  std::filesystem::create_symlink("/etc/passwd", folder / "config.json");
  expect_refusal({"config.json", "symbolic link", "cp -rL"},
                 [&] { read_model_json(folder.path()); });
}

TEST(HostileFiles, AHeaderOfZerosIsNotRead) {
  const ScratchFolder folder;
  const auto path = folder.write("m", bytes_of_numbers<std::uint64_t>({100'000'000}));
  ASSERT_EQ(::truncate(path.c_str(), off_t{4} << 30), 0);  // sparse
  expect_refusal({"no JSON object"}, [&] { read_safetensors_header(path); });
  folder.write("m", bytes_of_numbers<std::uint64_t>({100'000'001}) + "{");
  ASSERT_EQ(::truncate(path.c_str(), off_t{4} << 30), 0);
  expect_refusal({"a header of 100000001"}, [&] { read_safetensors_header(path); });
}

TEST(HostileFiles, AMillionTensorsAreReadAndOneMoreIsNot) {
#if defined(SLUICE_SANITIZE_address) || defined(SLUICE_SANITIZE_thread)
  GTEST_SKIP() << "needs full speed: a million sanitized tensors take a minute";
#endif
  const ScratchFolder folder;
  const auto header = [](int tensors) {
    std::string text = "{";
    for (int i = 0; i < tensors; ++i) {
      text += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return framed(text + "}");
  };
  folder.write("m", header(1'000'000));
  EXPECT_EQ(read_safetensors_header(folder / "m").size(), 1'000'000U);
  folder.write("m", header(1'000'001));
  expect_error(ErrorKind::kData, {"at most 1000000"},
               [&] { read_safetensors_header(folder / "m"); });
}

// Mapped, the file would end the process with SIGBUS.
TEST(HostileFiles, AFileThatShrinksWhileItIsReadIsAnError) {
  const ScratchFolder folder;
  folder.write("model.safetensors",
               framed(R"({"a":{"dtype":"F32","shape":[4096],"data_offsets":[0,16384]}})",
                      std::string(16384, 'x')));
  const ModelFolderReader reader(folder.path());
  const StoredTensor& tensor = reader.require("a", {4096});
  std::vector<float> values(4096);
  reader.read(tensor, 0, values);
  ASSERT_EQ(::truncate((folder / "model.safetensors").c_str(), 5000), 0);
  expect_error(ErrorKind::kData, {"model.safetensors", "it was cut"},
               [&] { reader.read(tensor, 0, values); });
}

}  // namespace
}  // namespace sluice
