// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_reader.h"

#include <cstring>
#include <random>

#include "engine/checkpoint/checksum.h"
#include "engine/files/model_folder.h"
#include "tests/engine/checkpoint/small_state.h"
#include "tests/soak.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

TEST(CheckpointReader, GivesBackEveryBitOfTheState) {
  for (const DType moments : {DType::kFloat32, DType::kBFloat16}) {
    const ScratchFolder folder(folder_in_memory());
    Workload workload = matrix_workload({.blocks = 2, .width = 40});
    workload.moments = moments;
    SmallState state(workload);
    state.fill(5);
    const auto expected = state.bytes();
    const fs::path saved = state.save(folder.path(), 3);
    state.fill(6);
    CheckpointReader(saved).load(state.workload(), state.state());
    EXPECT_EQ(state.bytes(), expected);
  }
}

// More than a chunk in a tensor, with an end that is no multiple of anything.
TEST(CheckpointReader, ATensorOfSeveralChunksIsGivenBack) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state(matrix_workload({.blocks = 1, .width = 33, .vocabulary = 70'001}));
  ASSERT_GT(state.layout().tensors[0].chunks(), 1);
  state.fill(5);
  const auto expected = state.bytes();
  const fs::path saved = state.save(folder.path(), 3);
  state.fill(6);
  CheckpointReader(saved).load(state.workload(), state.state());
  EXPECT_EQ(state.bytes(), expected);
}

TEST(CheckpointReader, MomentsOfAnotherTypeAreConverted) {
  const ScratchFolder folder(folder_in_memory());
  Workload narrow = matrix_workload({});
  narrow.moments = DType::kBFloat16;
  SmallState from(narrow), to;
  from.fill(5);
  CheckpointReader(from.save(folder.path(), 3)).load(to.workload(), to.state());
  const auto halves = from.bytes(1, 0, StatePart::kSecondMoment);
  const auto floats = to.bytes(1, 0, StatePart::kSecondMoment);
  ASSERT_EQ(floats.size(), 2 * halves.size());
  for (std::size_t i = 0; i < halves.size() / 2; ++i) {
    EXPECT_EQ(std::to_integer<int>(floats[4 * i]) | std::to_integer<int>(floats[4 * i + 1]), 0);
    EXPECT_EQ(floats[4 * i + 2], halves[2 * i]);
    EXPECT_EQ(floats[4 * i + 3], halves[2 * i + 1]);
  }
}

TEST(CheckpointReader, ItsMastersAreAModelsWeights) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(5);
  const ModelFolderReader reader(state.save(folder.path(), 3));
  const TensorSpec& tensor = state.workload().flats[1].tensors[0];
  std::vector<float> values(static_cast<std::size_t>(tensor.count));
  reader.read(tensor.name, tensor.shape, values);
  state.state().read(1, StatePart::kMaster, [&](std::int64_t first, auto bytes) {
    if (first > 0) return;
    EXPECT_EQ(std::memcmp(bytes.data(), values.data(), 4 * values.size()), 0);
  });
}

TEST(CheckpointReader, AnotherModelsTensorsAreRefusedByName) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state, wider(matrix_workload({.width = 48}));
  state.fill(5);
  const CheckpointReader reader(state.save(folder.path(), 3));
  expect_error(ErrorKind::kData, {"table.weight", "another model"},
               [&] { reader.load(wider.workload(), wider.state()); });
}

// Damages a copy of a checkpoint, and sees that nobody believes it.
class Damage {
 public:
  explicit Damage(unsigned seed, const Workload& workload = matrix_workload({}))
      : state_(workload), random_(seed) {
    state_.fill(5);
    good_ = state_.save(folder_.path(), 3);
    state_.fill(9);
    other_ = state_.save(folder_.path(), 2);
  }

  // False where the damage changed nothing.
  bool expect_seen(const std::function<bool(const fs::path&, std::mt19937&)>& act) {
    const fs::path damaged = folder_ / "damaged";
    fs::remove_all(damaged);
    fs::copy(good_, damaged);
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(damaged)) {
      files.push_back(entry.path().filename().string());
    }
    std::sort(files.begin(), files.end());
    const std::string file = files[random_() % files.size()];
    if (!act(damaged / file, random_)) return false;
    expect_error(ErrorKind::kData, {file}, [&] { CheckpointReader(damaged).verify_on_drive(); });
    return true;
  }

  const fs::path& other() const { return other_; }

 private:
  ScratchFolder folder_{folder_in_memory()};
  SmallState state_;
  std::mt19937 random_;
  fs::path good_, other_;
};

TEST(CheckpointReader, EveryFlippedBitIsSeenAndItsFileNamed) {
  Damage damage(1);
  for (int i = 0; i < times(500, 10'000); ++i) {
    damage.expect_seen([](const fs::path& path, std::mt19937& random) {
      const std::string text = text_of(path);
      const std::size_t at = random() % text.size();
      write_at(path, static_cast<std::int64_t>(at),
               std::string(1, static_cast<char>(text[at] ^ (1 << random() % 8))));
      return true;
    });
  }
}

TEST(CheckpointReader, EveryCutIsSeen) {
  Damage damage(2);
  for (int i = 0; i < times(60, 1000); ++i) {
    damage.expect_seen([](const fs::path& path, std::mt19937& random) {
      fs::resize_file(path, random() % fs::file_size(path));
      return true;
    });
  }
}

// As a drive loses them, in files of some dozens each.
TEST(CheckpointReader, EveryZeroedBlockIsSeen) {
  static constexpr std::int64_t kBlock = 4096;
  Damage damage(3, matrix_workload({.width = 64, .vocabulary = 500}));
  for (int seen = 0; seen < times(100, 1000);) {
    seen += damage.expect_seen([](const fs::path& path, std::mt19937& random) {
      const auto size = static_cast<std::int64_t>(fs::file_size(path));
      EXPECT_TRUE(path.extension() != ".safetensors" || size > 20 * kBlock) << path;
      const auto begin = static_cast<std::int64_t>(random()) % size / kBlock * kBlock;
      write_at(path, begin,
               std::string(static_cast<std::size_t>(std::min(kBlock, size - begin)), 0));
      return true;
    });
  }
}

TEST(CheckpointReader, AFileOfAnotherStepOrInAnothersPlaceIsSeen) {
  Damage damage(4);
  for (int seen = 0; seen < times(20, 200);) {
    seen += damage.expect_seen([&](const fs::path& path, std::mt19937& random) {
      const auto name = path.filename().string();
      const std::string own = text_of(path);
      const fs::path from =
          random() % 2 == 0 ? damage.other() / name
                            : path.parent_path() / (name[0] == 'f' ? "second_moment.safetensors"
                                                                   : "first_moment.safetensors");
      if (!fs::exists(from) || text_of(from) == own || name == "manifest.json") return false;
      fs::copy_file(from, path, fs::copy_options::overwrite_existing);
      return true;
    });
  }
}

TEST(CheckpointReader, AMessageNamesTensorAndOffset) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(5);
  const fs::path saved = state.save(folder.path(), 3);
  const CheckpointTensor& tensor = state.layout().tensor(StatePart::kSecondMoment, 1, 0);
  write_at(saved / "second_moment.safetensors", tensor.offset.value + 4, "x");
  expect_error(ErrorKind::kData,
               {"second_moment.safetensors", tensor.header.name,
                "at " + std::to_string(tensor.offset.value)},
               [&] { CheckpointReader(saved).verify(StatePart::kSecondMoment); });
}

TEST(CheckpointReader, LeavesNoDescriptorOpen) {
  const auto open_now = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(5);
  state.save(folder.path(), 1);
  const auto before = open_now();
  for (int i = 0; i < times(200, 1000); ++i) {
    CheckpointReader(state.save(folder.path(), 1)).load(state.workload(), state.state());
  }
  EXPECT_EQ(open_now(), before);
  EXPECT_EQ(folder.names().size(), 1U);
}

// However a tensor was cut when it was saved.
TEST(Checksum, IsASumOverElements) {
  std::vector<float> values(static_cast<std::size_t>(kChunkElements) + 1000);
  std::mt19937 random(1);
  for (float& x : values) x = static_cast<float>(random());
  const auto bytes = std::as_bytes(std::span(values));
  const std::uint64_t salt = checksum_salt(4, StatePart::kMaster, "w");
  std::vector<std::uint64_t> whole(2), pieces(2);
  add_to_checksums(salt, DType::kFloat32, 0, bytes, whole);
  for (std::size_t at = bytes.size(); at > 0;) {
    const std::size_t from = at > 300'000 ? at - 300'000 : 0;
    add_to_checksums(salt, DType::kFloat32, static_cast<std::int64_t>(from / 4),
                     bytes.subspan(from, at - from), pieces);
    at = from;
  }
  EXPECT_EQ(whole, pieces);
  std::swap(values[1], values[2]);
  std::vector<std::uint64_t> swapped(2);
  add_to_checksums(salt, DType::kFloat32, 0, bytes, swapped);
  EXPECT_NE(swapped[0], whole[0]);
  EXPECT_EQ(swapped[1], whole[1]);
}

}  // namespace
}  // namespace sluice
