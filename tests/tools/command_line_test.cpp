// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What the built `sluice` answers to a command line, in a folder of its own. Runs that
// train are in cli_test.py.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sluice {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr const char* kConfig = R"([model]
family = "gpt2"
layers = 2
width = 32
heads = 2
[data]
train = ["text.txt"]
seq_len = 16
[train]
steps = 2
global_batch = 4
)";

struct Answer {
  int code = -1;
  std::string out, err;

  std::string last_line() const {
    std::string text = err.substr(0, err.find_last_not_of('\n') + 1);
    return text.substr(text.find_last_of('\n') + 1);
  }
};

class CommandLine : public testing::Test {
 protected:
  CommandLine() {
    // Beside the build: a tmpfs would be refused as storage.
    std::string name = SLUICE_BINARY_DIR "/command-line-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    write("run.toml", kConfig);
    write("text.txt", std::string(2000, 'a'));
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      given_.push_back(entry.path().filename().string());
    }
  }
  ~CommandLine() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  std::string text_of(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  // Runs `sluice WORDS` as a shell would.
  Answer sluice(const std::string& words) const {
    const std::string talk = "HOME=. XDG_CACHE_HOME=cache '" SLUICE_BINARY_DIR "/sluice' ";
    const std::string line =
        "cd '" + folder_.string() + "' && { " + talk + words + "; } >.out 2>.err";
    const int status = std::system(line.c_str());
    Answer answer{WIFEXITED(status) ? WEXITSTATUS(status) : -1, text_of(".out"), text_of(".err")};
    std::filesystem::remove(folder_ / ".out");
    std::filesystem::remove(folder_ / ".err");
    return answer;
  }

  // One line on standard error with every part, nothing on standard output, nothing
  // left behind.
  void refused(const std::string& words, int code, const std::vector<std::string>& parts) const {
    const Answer answer = sluice(words);
    EXPECT_EQ(answer.code, code) << words << "\n" << answer.err;
    EXPECT_THAT(answer.last_line(), AllOf(StartsWith("sluice: "), HasSubstr("(exit ")));
    for (const std::string& part : parts) EXPECT_THAT(answer.last_line(), HasSubstr(part)) << words;
    EXPECT_THAT(answer.out, IsEmpty()) << words;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      EXPECT_THAT(given_, testing::Contains(entry.path().filename().string())) << words;
    }
  }

  std::filesystem::path folder_;
  std::vector<std::string> given_;
};

TEST_F(CommandLine, AnUnknownCommandNamesTheNearest) {
  refused("trian run.toml", 2, {"trian", "nearest is train", "config or usage"});
}

TEST_F(CommandLine, NoCommandListsThem) {
  refused("", 2, {"doctor", "train", "generate"});
  refused("--train.steps 3", 2, {"no command --train.steps; give one of doctor"});
}

TEST_F(CommandLine, AnUnknownFlagNamesTheNearestOfItsCommand) {
  refused("plan run.toml --jsn x", 2, {"--jsn", "nearest is --json"});
  refused("probe --quik", 2, {"--quik", "nearest is --quick"});
}

TEST_F(CommandLine, AnUnknownWordThatNothingIsNearPointsToHelp) {
  refused("train run.toml --bogus 3", 2, {"train has no flag --bogus; see sluice train --help"});
  refused("doctor --everything", 2, {"--everything; see sluice doctor --help"});
  refused("frobnicate", 2, {"no command frobnicate; give one of doctor, clean"});
}

TEST_F(CommandLine, AnUnknownFlagMayMeanAConfigKey) {
  refused("train run.toml --stesp 3", 2, {"--stesp", "nearest is --train.steps"});
}

TEST_F(CommandLine, AnUnknownKeyNamesTheNearestAndItsLine) {
  refused("plan run.toml --train.stesp 3", 2, {"train.stesp", "train.steps"});
  std::string text = kConfig;
  text.replace(text.find("width"), 5, "widht");
  write("run.toml", text);
  refused("plan run.toml", 2, {"run.toml:4", "widht", "model.width"});
}

TEST_F(CommandLine, ACommandWithoutAConfigTakesNoKeys) {
  refused("doctor --train.steps 3", 2, {"doctor has no flag --train.steps"});
  refused("generate run.toml --train.steps 3", 2, {"generate has no flag --train.steps"});
}

TEST_F(CommandLine, AMissingConfigIsUsage) { refused("train none.toml", 2, {"none.toml"}); }

TEST_F(CommandLine, AMissingModelOrDataFileIsData) {
  refused("generate none", 4, {"none", "data or model file"});
  refused("train run.toml --data.train none.txt", 4, {"none.txt"});
}

TEST_F(CommandLine, ALimitThatIsTooSmallDoesNotFit) {
  refused("train run.toml --limits.device 16KiB", 3, {"limits.device", "does not fit"});
}

TEST_F(CommandLine, StorageInRamOrNowhereIsAnInputOutputFailure) {
  refused("train run.toml --limits.storage_path /nowhere", 6, {"/nowhere", "I/O"});
  refused("probe --limits.storage_path /nowhere", 6, {"/nowhere"});
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "needs tmpfs: no /dev/shm here";
  refused("train run.toml --limits.storage_path /dev/shm", 6, {"tmpfs"});
  refused("probe --limits.storage_path /dev/shm", 6, {"tmpfs"});
}

TEST_F(CommandLine, AnOutputThatCannotBeWrittenIsRefusedBeforeTheWork) {
  refused("plan run.toml --json none/plan.json", 6, {"none/plan.json", "name a file"});
  refused("probe --out none/here.toml", 6, {"none/here.toml"});
  for (const std::string& out : {std::string("/dev/full"), std::string("text.txt/here.toml"),
                                 std::string(250, 'x'), std::string("- >/dev/full")}) {
    refused("probe --quick --out " + out, 6, {"cannot be written"});
    EXPECT_THAT(sluice("probe --quick --out " + out).err, Not(HasSubstr("measuring")));
  }
  refused("plan run.toml --trace .", 6, {"folder"});
}

TEST_F(CommandLine, ResultsThatAreLostAreAFailure) {
  for (const char* words : {"doctor", "plan run.toml --json -"}) {
    const Answer answer = sluice(words + std::string(" >/dev/full"));
    EXPECT_EQ(answer.code, 6) << answer.err;
    EXPECT_THAT(answer.last_line(), AllOf(HasSubstr("standard output"), HasSubstr("No space")));
  }
}

TEST_F(CommandLine, AnEmptyWordIsNotTakenForNone) {
  refused("train run.toml --run-dir ''", 2, {"train: --run-dir is empty"});
  refused("train run.toml --run-dir=", 2, {"--run-dir"});
  refused("train ''", 2, {"CONFIG is empty"});
  refused("plan run.toml --machine ''", 2, {"--machine is empty"});
  refused("plan run.toml --json ''", 2, {"--json is empty"});
}

TEST_F(CommandLine, StandardOutputHoldsOneThing) {
  refused("plan run.toml --json - --trace -", 2, {"standard output"});
  refused("plan - --machine - <run.toml", 2, {"standard input"});
}

TEST_F(CommandLine, EveryCommandHasHelpWithItsExample) {
  for (const char* command :
       {"doctor", "clean", "probe", "plan", "train", "verify", "eval", "generate"}) {
    const Answer answer = sluice(command + std::string(" --help"));
    EXPECT_EQ(answer.code, 0) << command;
    EXPECT_THAT(answer.out, HasSubstr(std::string("Example: sluice ") + command));
    EXPECT_THAT(answer.err, IsEmpty());
  }
}

TEST_F(CommandLine, AConfigMayComeFromStandardInputOrFromFlagsAlone) {
  const Answer piped = sluice("plan - --quiet <run.toml");
  EXPECT_EQ(piped.code, 0) << piped.err;
  EXPECT_THAT(piped.out, StartsWith("plan: gpt2 2 x 32"));
  const Answer flags = sluice("plan --model.layers 1 --model.width 32 --model.heads 2");
  EXPECT_EQ(flags.code, 0) << flags.err;
  EXPECT_THAT(flags.out, StartsWith("plan: gpt2 1 x 32"));
}

TEST_F(CommandLine, QuietLeavesStandardErrorEmpty) {
  EXPECT_THAT(sluice("plan run.toml").err, Not(IsEmpty()));  // there is no machine file
  EXPECT_THAT(sluice("plan run.toml --quiet").err, IsEmpty());
}

TEST_F(CommandLine, PlanAcceptsLimitsAboveThisMachineAndTrainRefusesThem) {
  EXPECT_EQ(sluice("plan run.toml --limits.device 4000GiB").code, 0);
  refused("train run.toml --limits.device 4000GiB", 3, {"limits.device"});
}

TEST_F(CommandLine, PlanWritesItsJsonAlsoWhereNothingFits) {
  const Answer answer = sluice("plan run.toml --limits.device 16KiB --json plan.json");
  EXPECT_EQ(answer.code, 3) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("does not fit"));
  const auto plan = nlohmann::json::parse(text_of("plan.json"));
  EXPECT_EQ(plan["infeasible"]["tier"], "device");
  EXPECT_GE(plan["infeasible"]["remedies"].size(), 3U);
}

TEST_F(CommandLine, PlanWritesJsonAndTraceToStandardOutputAlone) {
  const Answer json = sluice("plan run.toml --json -");
  ASSERT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(nlohmann::json::parse(json.out)["format"], "sluice-plan");
  const Answer trace = sluice("plan run.toml --trace -");
  ASSERT_EQ(trace.code, 0) << trace.err;
  EXPECT_GT(nlohmann::json::parse(trace.out)["traceEvents"].size(), 10U);
}

TEST_F(CommandLine, AnOutputThatIsADeviceStaysOne) {
  std::filesystem::create_symlink("/dev/null", folder_ / "device");
  ASSERT_EQ(sluice("plan run.toml --trace device --json device").code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "device"));
}

TEST_F(CommandLine, DoctorNamesTheLimitAndTheLineThatMends) {
  const Answer page = sluice("doctor --limits.storage_path /nowhere");
  EXPECT_EQ(page.code, 0) << page.err;
  EXPECT_THAT(page.out, AllOf(HasSubstr("binds at"), HasSubstr("-> give --limits.storage_path")));
  const Answer json = sluice("doctor --json");
  for (const auto& row : nlohmann::json::parse(json.out)) {
    EXPECT_TRUE(row.contains("what") && row.contains("value") && row.contains("mend")) << row;
  }
}

TEST_F(CommandLine, DoctorLeavesNothingBehind) {
  ASSERT_EQ(sluice("doctor").code, 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_THAT(given_, testing::Contains(entry.path().filename().string()));
  }
}

TEST_F(CommandLine, AQuickProbeWritesTheMachineThatPlanTakes) {
#if defined(SLUICE_SANITIZE_address) || defined(SLUICE_SANITIZE_thread)
  GTEST_SKIP() << "needs full speed: sanitized products take minutes";
#endif
  const Answer probe = sluice("probe --quick --out here.toml");
  ASSERT_EQ(probe.code, 0) << probe.err;
  EXPECT_THAT(probe.out, AllOf(HasSubstr("GFLOP/s"), HasSubstr("storage read")));
  const Answer plan = sluice("plan run.toml --quiet --machine - <here.toml");
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("(measured)"));
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_NE(entry.path().extension(), ".swap");
  }
}

TEST_F(CommandLine, PrintConfigPrintsTheWholeAndStops) {
  for (const char* command : {"plan", "train", "verify", "eval"}) {
    const Answer answer = sluice(command + std::string(" run.toml --train.steps 7 --print-config"));
    EXPECT_EQ(answer.code, 0) << command << answer.err;
    EXPECT_THAT(answer.out, AllOf(HasSubstr("steps = 7 "), HasSubstr("# --train.steps")));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "runs")) << command;
  }
}

}  // namespace
}  // namespace sluice
