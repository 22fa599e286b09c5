# Runs on an emulated board: takes the name of a job a line, runs /share/NAME/command with /scratch as its folder, and
# answers with a line. A job's input is copied to the scratch drive first and is not in the page cache when it starts,
# as a file on a board's card. What a job prints is copied back when it has ended.
stty -echo
export PATH=/usr/sbin:/usr/bin HOME=/scratch LANG=C.UTF-8
cd /scratch
cp -r /share/payload /scratch/payload
sh /scratch/payload/facts.sh >/share/facts
count() { sed -n "s/^$1 //p" /proc/vmstat; }
echo "@edgebudget ready"
while read -r name; do
  job="/share/$name"
  cp "$job"/input.* /scratch/
  sync
  echo 3 >/proc/sys/vm/drop_caches
  dmesg -c >/dev/null
  faults=$(count pgmajfault) refaults=$(count workingset_refault_file)
  sh "$job/command" >/scratch/stdout 2>/scratch/stderr
  code=$?
  {
    echo "major_faults $(($(count pgmajfault) - faults))"
    echo "refaulted_pages $(($(count workingset_refault_file) - refaults))"
    echo "killed_for_memory $(dmesg | grep -c 'Out of memory: Killed process')"
  } >"$job/counts"
  cp /scratch/stdout /scratch/stderr "$job/"
  rm -f /scratch/input.* /scratch/stdout /scratch/stderr
  echo "@edgebudget done $name $code"
done
