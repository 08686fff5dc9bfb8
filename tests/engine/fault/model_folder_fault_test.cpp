// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "engine/files/model_folder.h"
#include "engine/files/model_json.h"
#include "tests/engine/scratch.h"

namespace sluice {
namespace {

constexpr std::int64_t kElements = 1 << 16;

ModelShape any_shape() {
  ModelShape shape;
  shape.layers = shape.heads = shape.kv_heads = 1;
  shape.width = shape.head_width = shape.ffn_width = 4;
  shape.vocabulary = 256;
  shape.context = 16;
  return shape;
}

// A model of equal numbers: a mixture of two would show.
void write_model(const std::filesystem::path& target, float value) {
  ModelFolderWriter writer(target, any_shape(), DType::kFloat32,
                           {{"w", DType::kFloat32, {kElements}}});
  const std::vector<float> data(kElements, value);
  writer.write(std::as_bytes(std::span(data)));
  writer.finish();
}

// Reads the whole folder; throws where anything is broken.
bool is_uniform(const std::filesystem::path& folder) {
  read_model_json(folder);
  std::vector<float> data(kElements);
  ModelFolderReader(folder).read("w", {kElements}, data);
  return std::count(data.begin(), data.end(), data[0]) == kElements;
}

TEST(ModelFolderFault, KilledAtAnyMomentAWholeModelIsThere) {
  const ScratchFolder folder;
  write_model(folder / "model", 0);
  for (int i = 0; i < 40; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (float value = 1;; ++value) write_model(folder / "model", value);
    }
    ::usleep(static_cast<useconds_t>(1000 + 737 * i));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_TRUE(is_uniform(folder / "model"));
  }
  write_model(folder / "model", 7);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"model"});
}

// Runs `act` in a process whose files may not grow beyond `limit` bytes, and
// returns its exit status: 0 when it ended as it should.
int with_full_disk(rlim_t limit, const std::function<bool()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG
    const rlimit limits{limit, limit};
    ::setrlimit(RLIMIT_FSIZE, &limits);
    ::_exit(act() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ModelFolderFault, WithoutRoomTheOlderModelStaysAndNothingElse) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  for (const rlim_t limit : {0U, 100U, 2000U, 100'000U}) {
    EXPECT_EQ(with_full_disk(limit,
                             [&] {
                               try {
                                 write_model(folder / "model", 4);
                               } catch (const Error& error) {
                                 return error.kind() == ErrorKind::kIo;
                               }
                               return false;
                             }),
              0)
        << limit;
    EXPECT_EQ(folder.names(), std::vector<std::string>{"model"});
    EXPECT_TRUE(is_uniform(folder / "model"));
  }
}

TEST(ModelFolderFault, AFileIsReplacedWholeOrNotAtAll) {
  const ScratchFolder folder;
  replace_file(folder / "plan.json", "old");
  EXPECT_EQ(with_full_disk(100,
                           [&] {
                             try {
                               replace_file(folder / "plan.json", std::string(5000, 'x'));
                             } catch (const Error& error) {
                               return error.kind() == ErrorKind::kIo;
                             }
                             return false;
                           }),
            0);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"plan.json"});
  EXPECT_EQ(text_of(folder / "plan.json"), "old");
}

}  // namespace
}  // namespace sluice
