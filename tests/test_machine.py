"""Reading a machine: parsers over captured files (captures/README.md says whose), and the machine the tests run on."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from edgebudget.cli import main
from edgebudget.errors import UsageError
from edgebudget.machine.cgroups import cgroup_limits
from edgebudget.machine.gpus import nvidia_smi_gpus
from edgebudget.machine.interface import Host, Machine, Reading, System
from edgebudget.machine.linux import available_memory, parse_cpuinfo, parse_meminfo, parse_swaps, read_linux
from edgebudget.machine.macos import parse_vm_stat, read_macos
from edgebudget.machine.processors import CORE_OF_PART, isa_of
from edgebudget.machine.profile import profile_text
from edgebudget.profiles import load_profile, resolve_devices
from edgebudget.profiles.cores import CORES
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.lint import lint_paths

CAPTURES = Path(__file__).with_name("captures")
KIB, MIB = 2**10, 2**20


def host(machine: str = "aarch64", bits: int = 64, limits: tuple[Reading, ...] = ()) -> Host:
    capacity, free = Reading(32 * 10**9, "the file system"), Reading(20 * 10**9, "the file system")
    return Host(machine, bits, limits, capacity, free, "2026-11-21T10:00+00:00")


def captured(name: str, system: System = "linux", on: Host | None = None) -> Machine:
    def read(path: str) -> str | None:
        file = CAPTURES / name / path.removeprefix("/")
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def run(command: Sequence[str]) -> str | None:
        props = {"ro.product.manufacturer": "samsung\n", "ro.product.model": "SM-G965W\n"}
        return props.get(command[1]) if command[0] == "getprop" else None

    return read_linux(read, run, on or host(), system)


def as_profile(machine: Machine, folder: Path) -> DeviceProfile:
    """Return the profile that is written of a machine, after it has passed lint as a user's file."""
    path = folder / "captured.yaml"
    path.write_text(profile_text(machine, "captured"), encoding="utf-8")
    assert [str(finding) for finding in lint_paths([path])] == []
    return load_profile(str(path))


def test_a_raspberry_pi_4(tmp_path: Path) -> None:
    profile = as_profile(captured("raspberrypi-4"), tmp_path)
    assert profile.display_name == "Raspberry Pi 4 Model B Rev 1.5"
    assert (profile.device_class, profile.default_runtime) == ("sbc", "executorch-xnnpack")
    assert (profile.cpu.isa, profile.cpu.cores, profile.cpu.pointer_bits) == ("armv8-a", ("cortex-a72",), 64)
    assert profile.memory.os_visible_bytes == 3_845_824 * KIB
    assert profile.budget_bytes == 3_537_772 * KIB * 8 // 10
    assert profile.dtypes["float16"] == "storage"
    assert not profile.estimated_fields
    assert any("MiB of swap, which the budget does not count" in note for note in profile.notes)


def test_a_raspberry_pi_5_has_its_swap_in_zram(tmp_path: Path) -> None:
    machine = captured("raspberrypi-5")
    assert (machine.swap_bytes, machine.zram_bytes) == (0, 767_984 * KIB)
    profile = as_profile(machine, tmp_path)
    assert (profile.cpu.isa, profile.cpu.cores) == ("armv8.2-a", ("cortex-a76",))
    assert (profile.dtypes["float16"], profile.dtypes["bfloat16"]) == ("native", "storage")
    assert any("of swap in zram, which the budget does not count" in note for note in profile.notes)


def test_a_jetson_shares_its_ram_with_the_gpu(tmp_path: Path) -> None:
    machine = captured("jetson-nano")
    assert machine.zram_bytes == 4 * 507_404 * KIB == 2_029_616 * KIB
    assert [(gpu.name, gpu.memory) for gpu in machine.gpus] == [("NVIDIA Tegra210", None)]
    profile = as_profile(machine, tmp_path)
    assert (profile.cpu.cores, profile.memory.idle_available_bytes) == (("cortex-a57",), 592_696 * KIB)
    assert any("NVIDIA Tegra210, it shares the RAM" in note for note in profile.notes)


def test_a_phone_in_termux_has_an_estimated_ceiling(tmp_path: Path) -> None:
    machine = captured("phone-sdm845", "android")
    assert machine.cpu.count == 8
    assert (machine.swap_bytes, machine.zram_bytes) == (2_097_148 * KIB, 0)
    profile = as_profile(machine, tmp_path)
    assert (profile.display_name, profile.device_class) == ("samsung SM-G965W", "phone")
    assert profile.cpu.cores == ("cortex-a55", "cortex-a75")
    assert profile.dtypes["float16"] == "native"
    # 0.6 of the RAM is less than what is available, so there is no third zone
    assert profile.memory.process_limit_bytes == 3_665_332 * KIB * 6 // 10
    assert profile.memory.ceiling_bytes is None
    assert profile.budget_is_estimated
    (source,) = profile.sources_of("memory.process_limit")
    assert source.confidence == "estimated"


def test_a_32_bit_system_on_a_64_bit_kernel() -> None:
    cpu = captured("raspberrypi-4", on=host("aarch64", 32)).cpu
    assert cpu.isa == "armv7-a"


def test_a_mac(tmp_path: Path) -> None:
    printed = {"vm_stat": (CAPTURES / "mac-apple-silicon/vm_stat").read_text(encoding="utf-8"),
               "sysctl": (CAPTURES / "mac-apple-silicon/sysctl").read_text(encoding="utf-8")}  # fmt: skip
    machine = read_macos(lambda command: printed.get(command[0]), host("arm64"))
    assert machine.swap_bytes == 2048 * MIB
    profile = as_profile(machine, tmp_path)
    assert profile.memory.ram_bytes == 24 * 2**30
    assert profile.memory.idle_available_bytes == (3_857 + 1_075 + 443_760) * 16_384
    assert (profile.cpu.isa, profile.cpu.cores) == ("armv8.2-a", ("apple-m2",))
    assert (profile.device_class, profile.dtypes["bfloat16"]) == ("pc", "native")


@pytest.mark.parametrize("printed", [None, "", "vm_stat: not found\n", "Pages free: 12.\n"])
def test_what_vm_stat_does_not_say(printed: str | None) -> None:
    assert parse_vm_stat(printed or "") is None
    with pytest.raises(UsageError, match="do not tell this machine's memory"):
        read_macos(lambda command: printed, host("arm64"))


@pytest.mark.parametrize("text", [None, "", "MemFree: 12 kB\n", "MemTotal: many kB\n", "\0" * 100])
def test_a_machine_that_hides_its_memory(text: str | None) -> None:
    with pytest.raises(UsageError, match="MemTotal"):
        read_linux(lambda path: text if path == "/proc/meminfo" else None, lambda command: None, host(), "linux")


def test_an_old_kernel_has_no_figure_for_what_is_available(tmp_path: Path) -> None:
    # a router's, github.com/GuillaumeGomez/sysinfo/issues/164
    meminfo = parse_meminfo("MemTotal: 125128 kB\nMemFree: 80288 kB\nBuffers: 7652 kB\nCached: 21700 kB\n")
    reading = available_memory(meminfo)
    assert (reading.nbytes, reading.is_estimate) == ((80_288 + 7_652 + 21_700) * KIB, True)


def test_swap_that_cannot_be_read_is_what_meminfo_says() -> None:
    assert parse_swaps("", {"SwapTotal": 4096}) == (4096, 0)
    mixed = "Filename Type Size Used Priority\n/dev/zram0 partition 100 0 5\n/var/swap file 7 0 -2\n"
    assert parse_swaps(mixed, {}) == (7 * KIB, 100 * KIB)


@pytest.mark.parametrize(
    ("machine", "bits", "features", "isa"),
    [
        ("x86_64", 64, (), "x86-64"),
        ("x86_64", 32, (), None),
        ("i686", 32, (), None),
        ("aarch64", 64, (), "armv8-a"),
        ("aarch64", 64, ("asimdhp",), "armv8.2-a"),
        ("aarch64", 64, ("asimdhp", "sve2"), "armv9-a"),
        ("armv8l", 32, (), "armv7-a"),
        ("armv7l", 32, (), "armv7-a"),
        ("armv6l", 32, (), "armv6"),
        ("riscv64", 64, (), "rv64gc"),
        ("riscv64", 64, ("v",), "rv64gcv"),
        ("ppc64le", 64, (), None),
    ],
)
def test_instruction_sets(machine: str, bits: int, features: tuple[str, ...], isa: str | None) -> None:
    assert isa_of(machine, bits, features) == isa


def test_a_processor_that_no_profile_describes() -> None:
    with pytest.raises(UsageError, match="'s390x', 64-bit, is in no profile"):
        parse_cpuinfo("processor : 0\n", "s390x", 64)


def test_a_riscv_board_by_its_isa_string() -> None:
    text = "processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc{}\nmmu\t\t: sv39\nuarch\t\t: sifive,u74-mc\n"
    assert parse_cpuinfo(text.format(""), "riscv64", 64).isa == "rv64gc"
    assert parse_cpuinfo(text.format("v_zicbom"), "riscv64", 64).isa == "rv64gcv"
    assert parse_cpuinfo(text.format("_zve32x"), "riscv64", 64).isa == "rv64gc"


def test_an_unknown_core_is_named_and_counts_by_its_flags(tmp_path: Path) -> None:
    machine = captured("raspberrypi-5")
    text = (CAPTURES / "raspberrypi-5/proc/cpuinfo").read_text(encoding="utf-8").replace("0xd0b", "0xfff")
    cpu = parse_cpuinfo(text, "aarch64", 64)
    assert (cpu.cores, cpu.unknown_parts, cpu.computes_float16) == ((), ("0x41/0xfff",), True)
    assert machine.cpu.unknown_parts == ()


def test_every_named_core_is_in_the_table_of_cores() -> None:
    assert set(CORE_OF_PART.values()) <= set(CORES)


V2 = {
    "/proc/self/cgroup": "0::/a.slice/b.scope\n",
    "/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n",
}
V1 = {
    "/proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/1f2e\n0::/\n",
    "/proc/self/mountinfo": (
        "35 31 0:32 /docker/1f2e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ),
}


def test_cgroup_version_2_counts_every_group_around_the_process() -> None:
    files = V2 | {
        "/sys/fs/cgroup/a.slice/b.scope/memory.max": "536870912\n",
        "/sys/fs/cgroup/a.slice/b.scope/memory.high": "max\n",
        "/sys/fs/cgroup/a.slice/b.scope/memory.current": "104857600\n",
        "/sys/fs/cgroup/a.slice/b.scope/memory.stat": "anon 1\ninactive_file 4857600\n",
        "/sys/fs/cgroup/a.slice/memory.max": "268435456\n",
    }
    limits, left = cgroup_limits(files.get)
    assert [limit.nbytes for limit in limits] == [512 * MIB, 256 * MIB]
    assert [reading.nbytes for reading in left] == [512 * MIB - 100_000_000]


def test_cgroup_version_1_in_a_container() -> None:
    folder = "/sys/fs/cgroup/memory"
    files = V1 | {f"{folder}/memory.limit_in_bytes": "134217728\n", f"{folder}/memory.usage_in_bytes": "67108864\n"}
    limits, left = cgroup_limits(files.get)
    assert [limit.nbytes for limit in limits] == [128 * MIB]
    assert [reading.nbytes for reading in left] == [64 * MIB]
    assert cgroup_limits((files | {f"{folder}/memory.limit_in_bytes": "9223372036854771712\n"}).get) == ((), ())


def test_a_group_outside_of_what_is_mounted_is_the_mount_itself() -> None:
    files = V2 | {"/proc/self/cgroup": "0::/../../other.scope\n", "/sys/fs/cgroup/memory.max": "1048576\n"}
    assert [limit.nbytes for limit in cgroup_limits(files.get)[0]] == [MIB]


@pytest.mark.parametrize("cgroup", ["", "nonsense", "0::\n", ":::::", "4:memory"])
def test_no_control_groups(cgroup: str) -> None:
    assert cgroup_limits({"/proc/self/cgroup": cgroup}.get) == ((), ())


def test_the_smallest_limit_decides_and_the_others_are_named(tmp_path: Path) -> None:
    texts = {path: (CAPTURES / "raspberrypi-4" / path[1:]).read_text() for path in ("/proc/meminfo", "/proc/cpuinfo")}
    folder = "/sys/fs/cgroup/a.slice/b.scope"
    texts |= V2 | {f"{folder}/memory.max": str(512 * MIB), f"{folder}/memory.current": str(112 * MIB)}
    on = host(limits=(Reading(2**30, "ulimit -v, address space"), Reading(2**40, "ulimit -d, data segment")))
    profile = as_profile(read_linux(texts.get, lambda command: None, on, "linux"), tmp_path)
    assert profile.memory.process_limit_bytes == 512 * MIB
    assert profile.memory.idle_available_bytes == 400 * MIB
    assert profile.sources_of("memory.process_limit")[0].title.endswith(f"{folder}/memory.max")
    assert any("1.00 GiB, ulimit -v" in note for note in profile.notes)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("NVIDIA H100 80GB HBM3, 81559\n", [("NVIDIA H100 80GB HBM3", 81_559 * MIB)]),
        ("Tesla T4, 15360\nTesla T4, 15360\n", [("Tesla T4", 15_360 * MIB)] * 2),
        ("Orin (nvgpu), [N/A]\n", [("Orin (nvgpu)", None)]),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", []),
        (None, []),
    ],
)
def test_nvidia_smi(printed: str | None, expected: list[tuple[str, int | None]]) -> None:
    found = [(gpu.name, gpu.memory.nbytes if gpu.memory else None) for gpu in nvidia_smi_gpus(printed)]
    assert found == expected


def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my-machine.yaml"
    assert main(["devices", "here", "--out", str(path)]) == 0
    assert main(["devices", "lint", str(path)]) == 0
    written = load_profile(str(path))
    assert written.name == "my-machine"
    (here,) = resolve_devices(["here", "here"])
    assert (here.name, here.cpu, here.memory.ram_bytes) == ("here", written.cpu, written.memory.ram_bytes)
    assert 0 < here.budget_bytes < here.memory.ram_bytes
    capsys.readouterr()
    assert main(["devices", "here"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "here"
    assert main(["devices", "show", "here"]) == 0


def test_a_model_is_checked_for_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check", "tests/mlperf_tiny.py:ds_cnn", "--device", "here", "--dtype", "float32", "--format", "json"]
    assert main([*asked, "--runtime", "executorch-xnnpack", "-q"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["device"], result["decision"]) == ("here", "GO")


def test_here_needs_a_name_for_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "here", "--out", str(tmp_path / "machine.txt")]) == 2
    assert "End it in .yaml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_reading_this_machine_imports_no_torch() -> None:
    code = (
        "import sys; from edgebudget.cli import main; main(['devices', 'here'])\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "False"
