// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/topology.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/devices/temporary_folder.h"

namespace sluice {
namespace {

using namespace literals;

constexpr const char* kMeminfo =
    "MemTotal:       16777216 kB\nMemFree:         1 kB\nMemAvailable:    8388608 kB\n";
constexpr const char* kMountV2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

// A machine of 16 GiB, 8 of them free, in the control group /user.slice/job (v2).
class FakeMachine : public TemporaryFolder {
 public:
  FakeMachine() {
    write("proc/meminfo", kMeminfo);
    write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fake 9000\n");
    write("proc/self/cgroup", "0::/user.slice/job\n");
    write("proc/self/mountinfo", kMountV2);
    std::filesystem::create_directories(path() / "sys/fs/cgroup/user.slice/job");
  }
  void group(const std::string& file, const std::string& text) const {
    write("sys/fs/cgroup" + file, text);
  }
};

TEST(RamLimit, WithoutGroupsIsWhatTheMachineHasFree) {
  const TemporaryFolder machine;
  machine.write("proc/meminfo", kMeminfo);
  const RamLimit limit = ram_limit(machine.path());
  EXPECT_EQ(limit.source, "MemTotal");
  EXPECT_EQ(limit.total, 16_GiB);
  EXPECT_EQ(limit.available, 8_GiB);
}

TEST(RamLimit, GroupsWithoutALimitDoNotBind) {
  const FakeMachine machine;
  machine.group("/user.slice/job/memory.max", "max\n");
  machine.group("/user.slice/memory.max", "max\n");
  EXPECT_EQ(ram_limit(machine.path()).source, "MemTotal");
}

TEST(RamLimit, AncestorThatBindsIsNamedAndWhatIsUsedThereSubtracted) {
  const FakeMachine machine;
  machine.group("/user.slice/job/memory.max", std::to_string((6_GiB).value));
  machine.group("/user.slice/job/memory.current", std::to_string((1_GiB).value));
  machine.group("/user.slice/memory.max", std::to_string((7_GiB).value));
  machine.group("/user.slice/memory.current", std::to_string((5_GiB).value));
  const RamLimit limit = ram_limit(machine.path());
  EXPECT_EQ(limit.source, "cgroup memory.max of /user.slice");
  EXPECT_EQ(limit.total, 7_GiB);
  EXPECT_EQ(limit.available, 2_GiB);
}

TEST(RamLimit, PageCacheOfAGroupCountsAsFree) {
  const FakeMachine machine;
  machine.group("/user.slice/job/memory.max", std::to_string((4_GiB).value));
  machine.group("/user.slice/job/memory.current", std::to_string((3_GiB).value));
  machine.group("/user.slice/job/memory.stat",
                "anon 1073741824\ninactive_file 1073741824\nactive_file 1073741824\n");
  EXPECT_EQ(ram_limit(machine.path()).available, 3_GiB);
}

TEST(RamLimit, ThrottlingLimitBindsToo) {
  const FakeMachine machine;
  machine.group("/user.slice/memory.high", std::to_string((2_GiB).value));
  EXPECT_EQ(ram_limit(machine.path()).source, "cgroup memory.high of /user.slice");
}

TEST(RamLimit, FullGroupHasNothingLeft) {
  const FakeMachine machine;
  machine.group("/user.slice/memory.max", "1000");
  machine.group("/user.slice/memory.current", "5000");
  EXPECT_EQ(ram_limit(machine.path()).available, 0_B);
}

TEST(RamLimit, ReadsVersionOneWithItsAncestors) {
  const TemporaryFolder machine;
  machine.write("proc/meminfo", kMeminfo);
  machine.write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n");
  machine.write("proc/self/mountinfo",
                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
  const std::string base = "sys/fs/cgroup/memory/";
  machine.write(base + "memory.limit_in_bytes", "9223372036854771712\n");
  machine.write(base + "docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
  machine.write(base + "docker/memory.limit_in_bytes", std::to_string((3_GiB).value));
  machine.write(base + "docker/memory.usage_in_bytes", std::to_string((2_GiB).value));
  machine.write(base + "docker/memory.stat", "cache 5\ntotal_inactive_file 1073741824\n");
  const RamLimit limit = ram_limit(machine.path());
  EXPECT_EQ(limit.source, "cgroup memory.limit_in_bytes of /docker");
  EXPECT_EQ(limit.available, 2_GiB);
}

// docker without a cgroup namespace: the path is the host's, the mount shows only
// the container's own part of it.
TEST(RamLimit, FindsTheGroupOfAContainerThatSeesOnlyItself) {
  const TemporaryFolder machine;
  machine.write("proc/meminfo", kMeminfo);
  machine.write("proc/self/cgroup", "4:memory:/docker/abc\n");
  machine.write("proc/self/mountinfo",
                "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string((1_GiB).value));
  EXPECT_EQ(ram_limit(machine.path()).total, 1_GiB);
}

TEST(CpuLimit, QuotaOfAnAncestorIsRoundedAndNamed) {
  const FakeMachine machine;
  machine.group("/user.slice/job/cpu.max", "max 100000\n");
  machine.group("/user.slice/cpu.max", "100000 100000\n");
  const CpuLimit limit = effective_limits(machine.path()).cpu;
  EXPECT_EQ(limit.threads, 1);
  if (limit.cpus.size() > 1) {
    EXPECT_EQ(limit.source, "cgroup cpu.max of /user.slice");
  }
}

TEST(CpuLimit, QuotaBelowOneCpuLeavesOneThread) {
  const FakeMachine machine;
  machine.group("/user.slice/job/cpu.max", "5000 100000\n");
  EXPECT_EQ(effective_limits(machine.path()).cpu.threads, 1);
}

TEST(CpuLimit, ReadsVersionOneQuota) {
  const TemporaryFolder machine;
  machine.write("proc/self/cgroup", "2:cpu,cpuacct:/job\n");
  machine.write("proc/self/mountinfo", "1 2 0:1 / /cg rw - cgroup cgroup rw,cpu,cpuacct\n");
  machine.write("cg/job/cpu.cfs_quota_us", "50000\n");
  machine.write("cg/job/cpu.cfs_period_us", "50000\n");
  machine.write("cg/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(effective_limits(machine.path()).cpu.threads, 1);
}

TEST(EffectiveLimits, OfThisMachineMakeSense) {
  const MachineLimits limits = effective_limits();
  EXPECT_FALSE(limits.cpu_model.empty());
  EXPECT_GE(limits.cpu.threads, 1);
  EXPECT_GE(limits.cpu.physical_cores, 1);
  EXPECT_LE(limits.cpu.physical_cores, static_cast<int>(limits.cpu.cpus.size()));
  EXPECT_GE(limits.cpu.numa_nodes, 1);
  EXPECT_GT(limits.ram.available, 0_B);
  EXPECT_LE(limits.ram.total, limits.ram_installed);
}

TEST(EffectiveLimits, NameTheCpu) {
  const FakeMachine machine;
  EXPECT_EQ(effective_limits(machine.path()).cpu_model, "Fake 9000");
}

TEST(FolderLimits, KnowFreeSpaceAndFileSystem) {
  const TemporaryFolder folder;
  const FolderLimits limits = folder_limits(folder.path());
  EXPECT_FALSE(limits.file_system.name.empty());
  EXPECT_GT(limits.free, 0_B);
}

}  // namespace
}  // namespace sluice
