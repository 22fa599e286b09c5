# Prints what is written down about a machine beside a measurement: `name: value` lines, then /proc/cpuinfo.
echo "kernel: $(uname -s) $(uname -r)"
echo "machine: $(uname -m)"
echo "libc: $(getconf GNU_LIBC_VERSION)"
echo "page_bytes: $(getconf PAGESIZE)"
while read -r name kib _; do
  case "$name" in
    MemTotal:) echo "ram_bytes: $((kib * 1024))" ;;
    MemAvailable:) echo "available_bytes: $((kib * 1024))" ;;
  esac
done </proc/meminfo
echo "huge_pages: $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)"
echo "python: $(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)"
cat /proc/cpuinfo
