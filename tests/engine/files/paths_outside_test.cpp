// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Every field and every file of a folder that a stranger made which can name another file: none
// of them leads outside. Held to by watching a folder beside it, where all that is asked for
// lies ready, so that what follows a name would get away with it.

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/checkpoint/manifest.h"
#include "engine/files/model_folder.h"
#include "engine/files/model_json.h"
#include "engine/run/export_model.h"
#include "tests/engine/scratch.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Sees what is opened, changed or made in a folder, by whatever name it was reached.
class Watch {
 public:
  explicit Watch(const fs::path& folder) : queue_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    ::inotify_add_watch(queue_, folder.c_str(), IN_ALL_EVENTS);
  }
  ~Watch() { ::close(queue_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Names since the last call.
  std::string seen() const {
    std::string names;
    alignas(inotify_event) std::array<char, 1 << 14> events{};
    for (ssize_t got = 0; (got = ::read(queue_, events.data(), events.size())) > 0;) {
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(events.data() + at);
        names += std::string(event->len > 0 ? event->name : ".") + " ";
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    return names;
  }

 private:
  int queue_;
};

struct Case {
  std::string what;
  std::function<void()> make;  // changes a sound folder
  std::function<void()> read;
};

class PathsOutside : public testing::Test {
 protected:
  static fs::path data(const std::string& name) {
    return fs::path(SLUICE_SOURCE_DIR) / "tests/data" / name;
  }

  // With `sound` and all that an export takes along, inside and outside.
  void fill(const fs::path& sound) const {
    for (const fs::path& folder : {inside_, outside_}) {
      fs::remove_all(folder);
      fs::copy(sound, folder);
      for (const char* name : kCompanions) std::ofstream(folder / name) << "{}";
    }
  }

  void link(const std::string& name, const fs::path& to) const {
    fs::remove(inside_ / name);
    fs::create_symlink(to, inside_ / name);
  }

  void read_folder() const {
    read_model_json(inside_);
    const ModelFolderReader reader(inside_);
  }
  void take_export() const { export_model(folder_source(inside_), {.out = scratch_ / "out"}); }
  void read_checkpoint() const { CheckpointReader(inside_).verify_on_drive(); }

  // `name`, as JSON has it, in an index.
  Case in_index(const std::string& name) {
    return {"weight_map " + name.substr(0, 100),
            [this, name] {
              fs::remove(inside_ / "model.safetensors");
              link("link.safetensors", outside_ / "model.safetensors");
              link("chain.safetensors", "link.safetensors");
              link("folder", outside_);
              link("up", "..");
              scratch_.write("inside/model.safetensors.index.json",
                             R"({"weight_map":{"wte.weight":")" + name + "\"}}");
            },
            [this] { read_folder(); }};
  }

  // `name` in the place of a file's in a manifest whose checksum is right.
  Case in_manifest(const std::string& file, const std::string& name) {
    return {"manifest " + name,
            [this, file, name] {
              std::string text = text_of(inside_ / "manifest.json");
              for (std::size_t at = 0; (at = text.find('"' + file + '"', at)) != text.npos;) {
                text.replace(at + 1, file.size(), name);
                at += name.size();
              }
              text.resize(text.rfind(",\"checksum\":"));
              scratch_.write("inside/manifest.json", text + manifest_tail(text));
            },
            [this] { read_checkpoint(); }};
  }

  Case as_link(const std::string& name, std::function<void()> read) {
    return {"link " + name, [this, name] { link(name, outside_ / name); }, std::move(read)};
  }

  void check(const fs::path& sound, const std::vector<Case>& cases) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.what);
      fill(sound);
      c.make();
      const Watch watch(outside_);
      EXPECT_THROW(c.read(), Error);
      EXPECT_EQ(watch.seen(), "");
      EXPECT_FALSE(fs::exists(scratch_ / "out"));
    }
    const Watch watch(outside_);
    text_of(outside_ / "config.json");
    EXPECT_NE(watch.seen(), "") << "the watch sees nothing";
  }

  const ScratchFolder scratch_;
  const fs::path inside_ = scratch_ / "inside";
  const fs::path outside_ = scratch_ / "outside";
};

TEST_F(PathsOutside, AreNotOpenedForAModelFolder) {
  const std::string there = outside_.string();
  std::string far;
  for (int i = 0; i < 1000; ++i) far += "../";
  std::vector<Case> cases;
  for (const std::string& name :
       {std::string("../outside/model.safetensors"),
        there + "/model.safetensors",
        "/" + there + "/model.safetensors",
        std::string("./../outside/model.safetensors"),
        std::string("folder/../outside/model.safetensors"),
        std::string("folder/model.safetensors"),
        std::string("up/outside/model.safetensors"),
        std::string("..\\\\outside\\\\model.safetensors"),
        std::string("../outside/model.safetensors\\u0000"),
        std::string("model.safetensors\\u0000/../../outside/model.safetensors"),
        std::string("\\u002e\\u002e\\u002foutside\\u002fmodel.safetensors"),
        std::string("../outside/model.safetensors\\n"),
        "file://" + there + "/model.safetensors",
        std::string("~/model.safetensors"),
        std::string("%2e%2e%2foutside%2fmodel.safetensors"),
        std::string("..\\u2215outside\\u2215model.safetensors"),
        far + there + "/model.safetensors",
        std::string(5000, 'x'),
        std::string(".."),
        std::string("."),
        std::string(),
        std::string("/"),
        std::string("up"),
        std::string("folder"),
        std::string("link.safetensors"),
        std::string("chain.safetensors")}) {
    cases.push_back(in_index(name));
  }
  cases.push_back(as_link("config.json", [this] { read_folder(); }));
  cases.push_back(as_link("model.safetensors", [this] { read_folder(); }));
  cases.push_back(as_link("config.json", [this] { take_export(); }));
  cases.push_back(as_link("model.safetensors", [this] { take_export(); }));
  for (const char* name : kCompanions) {
    cases.push_back(as_link(name, [this] { take_export(); }));
  }
  EXPECT_GE(cases.size(), 40U);
  check(data("hf/gpt2_tied"), cases);
}

TEST_F(PathsOutside, AreNotOpenedForACheckpoint) {
  std::vector<Case> cases;
  for (const char* name : {"manifest.json", "config.json", "config.toml", "model.safetensors",
                           "first_moment.safetensors", "second_moment.safetensors"}) {
    cases.push_back(as_link(name, [this] { read_checkpoint(); }));
  }
  for (const std::string& name :
       {std::string("../outside/"), outside_.string() + "/", std::string("./../outside/"),
        std::string("..\\\\outside\\\\"), std::string("x\\u0000/../../outside/")}) {
    cases.push_back(in_manifest("config.json", name + "config.json"));
    cases.push_back(in_manifest("model.safetensors", name + "model.safetensors"));
  }
  check(data("checkpoints/version_1/step-2"), cases);
}

}  // namespace
}  // namespace sluice
