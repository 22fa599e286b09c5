# Takes RAM away from an emulated board until about BYTES are available: `sh ballast.sh BYTES`, as root. What huge pages
# and a ramfs hold can neither be dropped nor written out, as the memory of other programs on a board without swap.
# Says what is left on stderr.
wanted=$1
lists=/proc/sys/vm/percpu_pagelist_high_fraction
available() {
  while read -r name kib _; do
    test "$name" = MemAvailable: && echo $((kib * 1024))
  done </proc/meminfo
}
umount /scratch/ballast 2>/dev/null
mkdir -p /scratch/ballast
mount -t ramfs none /scratch/ballast
# Pages that were just freed wait on a list of each processor, up to an eighth of the RAM, and are not counted as
# available although they are: until the board has been counted the lists are as short as the kernel lets them be.
echo 1000000 >$lists
echo 3 >/proc/sys/vm/drop_caches
echo 0 >/proc/sys/vm/nr_hugepages
echo $((($(available) - wanted) / 2097152 - 1)) >/proc/sys/vm/nr_hugepages
for part in 1 2 3 4; do
  echo 3 >/proc/sys/vm/drop_caches
  pages=$((($(available) - wanted) / 4096))
  test "$pages" -gt 16 || break
  dd if=/dev/zero of=/scratch/ballast/$part bs=4096 count=$pages 2>/dev/null
done
echo 3 >/proc/sys/vm/drop_caches
echo "available_bytes: $(available)" >&2
echo 0 >$lists
