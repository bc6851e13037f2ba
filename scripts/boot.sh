#!/usr/bin/env bash
# Boots systemd in a folder with a Debian, as a container would, with a network of its
# own: boot.sh ROOT. It prints the process ID of that systemd, of which nsenter takes the
# namespaces, and ends it at the end of its standard input. Needs root.
set -euo pipefail
export LC_ALL=C
root=$1
group=srtrelay-boot-$$
groups=()
finish() {
	[ -z "${boot:-}" ] || kill -KILL "$boot" 2>/dev/null || true
	wait 2>/dev/null || true
	for g in "${groups[@]}"; do
		for _ in $(seq 50); do
			find "$g" -depth -type d -exec rmdir {} + 2>/dev/null && break
			sleep 0.1
		done
	done
}
trap finish EXIT

# In its own control group, below which systemd makes those of its services.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ -e "$hierarchy/cgroup.procs" ] || continue
	mkdir "$hierarchy/$group"
	groups+=("$hierarchy/$group")
done
[ "${#groups[@]}" -gt 0 ] || { echo 'boot: no control groups for systemd' >&2; exit 1; }

inner() {
	local hybrid=$1
	mount --make-rprivate /
	mount --rbind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	# What systemd and packages would set is the host's.
	mount --bind proc/sys proc/sys
	mount -o remount,ro,bind proc/sys
	mount -t sysfs -o ro sysfs sys
	if [ -n "$hybrid" ]; then
		mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
		mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
		mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
		mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
	else
		mount -t cgroup2 cgroup2 sys/fs/cgroup
	fi
	mount -t tmpfs -o mode=755 tmpfs dev
	local device
	for device in null zero full random urandom tty; do
		touch "dev/$device"
		mount --bind "/dev/$device" "dev/$device"
	done
	mkdir dev/shm dev/pts dev/mqueue dev/hugepages
	ln -s /proc/self/fd dev/fd
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	mount -t tmpfs -o mode=1777 tmpfs dev/shm
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs -o mode=1777 tmpfs tmp
	ip link set lo up
	pivot_root . mnt
	umount -l /mnt
	exec env -i container=srtrelay PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target --log-target=journal
}
export -f inner
export root
hybrid=''
[ -e /sys/fs/cgroup/cgroup.procs ] || hybrid=yes
(
	for g in "${groups[@]}"; do echo "$BASHPID" >"$g/cgroup.procs"; done
	exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child bash -euc "inner '$hybrid'" 0</dev/null
) >&2 &
boot=$!
for _ in $(seq 100); do
	init=$(cat "/proc/$boot/task/$boot/children" 2>/dev/null | tr -d ' ') || true
	if [ -n "$init" ] && [ -S "/proc/$init/root/run/systemd/private" ] &&
		nsenter -t "$init" -m -p -n -C -u -i -r -w systemctl is-active --quiet basic.target 2>/dev/null; then
		echo "$init"
		cat >/dev/null # until the end of the input
		exit 0
	fi
	kill -0 "$boot" 2>/dev/null || { echo 'boot: systemd has ended' >&2; exit 1; }
	sleep 0.2
done
echo 'boot: systemd has not started' >&2
exit 1
