#!/busybox sh
# The first process of an emulated board: loads the drivers, mounts what the host gives, and hands over to the agent.
# Virtio drives appear in any order: each is found by the serial number that the host gave it.
/busybox mkdir -p /proc /sys /dev /root
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sysfs /sys
/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do /busybox insmod "/modules/$module.ko" || exit 1; done </modules/order
for block in /sys/block/vd*; do
  case "$(/busybox cat "$block/serial")" in
    system) system="/dev/${block##*/}" ;;
    scratch) scratch="/dev/${block##*/}" ;;
  esac
done
/busybox mount -t ext4 -o ro "$system" /root || exit 1
/busybox mount -t ext4 -o noatime "$scratch" /root/scratch || exit 1
/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none share /root/share || exit 1
for folder in proc sys dev; do /busybox mount --move "/$folder" "/root/$folder"; done
exec /busybox switch_root /root /bin/sh /agent.sh
