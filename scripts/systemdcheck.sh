#!/usr/bin/env bash
# Checks the Debian package under systemd: systemdcheck.sh ROOT DEB BENCH. ROOT is a folder
# with a Debian that has systemd, which is booted there in namespaces; BENCH is the
# program of bench. The package must not be installed. Needs root. It exits with 77 if
# systemd does not boot here.
set -euo pipefail
export LC_ALL=C
shopt -s extglob
root=$1 deb=$2 bench=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
# shellcheck source=scripts/streams.sh
. "$here/streams.sh"
finish() {
	quit_streams
	exec {input}>&- || true
	wait "$boot" 2>/dev/null || true
	rm -rf "$work"
}
say() { echo "systemdcheck: $*"; }
fail() {
	echo "systemdcheck: $*" >&2
	inside journalctl --no-pager -o cat -n 40 -u srtrelay >&2 || true
	tail -n 5 "$work"/*.log 2>/dev/null | cut -c1-500 >&2 || true
	exit 1
}

coproc booting { "$here/boot.sh" "$root"; }
boot=$booting_PID input=${booting[1]}
trap finish EXIT
read -r -t 60 -u "${booting[0]}" init || { echo 'systemdcheck: systemd does not boot here' >&2; exit 77; }
within=(nsenter -t "$init" -n)
serves
inside() { nsenter -t "$init" -m -p -n -C -u -i -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
property() { inside systemctl show --value -p "$1" srtrelay.service; }
# awaits waits until a property of the unit has a value that matches a pattern.
awaits() { # property, pattern, seconds
	for _ in $(seq $(($3 * 10))); do
		# shellcheck disable=SC2053
		if [[ "$(property "$1")" == $2 ]]; then return; fi
		sleep 0.1
	done
	fail "$1 is $(property "$1"), and not $2 within $3 s"
}

say 'installed: the relay starts, and says when it is ready'
mkdir -p "$root/etc/systemd/system/srtrelay.service.d"
printf '[Service]\nWatchdogSec=10\n' >"$root/etc/systemd/system/srtrelay.service.d/watchdog.conf"
cp "$deb" "$root/srtrelay.deb"
inside dpkg -i /srtrelay.deb >"$work/dpkg.log" 2>&1 || fail 'dpkg -i'
[ "$(property Type) $(property NotifyAccess) $(property ActiveState)" = 'notify all active' ] || fail 'it does not run'
inside sed -i 's,^#backend:.*,backend: [srt://'"$backend"'],' /etc/srtrelay/relay.yaml
inside systemctl restart srtrelay
awaits StatusText 'sessions: 0, backends that take streams: 1 of 1' 10

say 'streams, and the watchdog content'
streams 127.0.0.1:20080 8
awaits StatusText 'sessions: 20, backends that take streams: 1 of 1' 10
streamed streams
[ "$(property NRestarts)" = 0 ] || fail 'the watchdog ended a relay that works'

say 'package upgraded under streams: a new process takes them over, also from the first'
for _ in 1 2; do
	main=$(property MainPID)
	streams 127.0.0.1:20080 20
	awaits StatusText 'sessions: 20,*' 10
	inside dpkg -i /srtrelay.deb >"$work/dpkg.log" 2>&1 || fail 'dpkg -i as an upgrade'
	grep -q 'the new version runs, with all streams' "$work/dpkg.log" || fail 'no take-over'
	awaits MainPID "!($main)" 5 # the old process says so right before it ends
	streamed 'upgrade'
	awaits StatusText 'sessions: 0,*' 10
done
[ "$(property NRestarts) $(property ActiveState)" = '0 active' ] || fail 'an upgrade restarted the relay'

say 'killed under streams: systemd keeps them, and the next process goes on with them'
restarts=0
for _ in 1 2; do
	main=$(property MainPID)
	streams 127.0.0.1:20080 20
	awaits StatusText 'sessions: 20,*' 10
	sleep 11 # so that the start before it counts as one that has lasted
	inside systemctl kill -s KILL --kill-who=main srtrelay
	restarts=$((restarts + 1))
	awaits NRestarts "$restarts" 10
	awaits StatusText 'sessions: 20,*' 10
	[ "$(property MainPID)" != "$main" ] || fail 'the same process'
	inside journalctl -o cat -u srtrelay >"$work/journal"
	[ "$(grep -c 'going on with the sessions of a process that died.* sessions=20 in_kernel=20 ended=0 unfit=0' "$work/journal")" = "$restarts" ] ||
		fail 'the sessions did not go on in the kernel'
	streamed 'a kill'
	awaits StatusText 'sessions: 0,*' 10
done
[ "$(property ActiveState)" = active ] || fail 'it does not run'
inside systemctl restart srtrelay
awaits StatusText 'sessions: 0, backends that take streams: 1 of 1' 10
inside journalctl -o cat -u srtrelay >"$work/journal"
[ "$(grep -c 'going on with the sessions' "$work/journal")" = "$restarts" ] || fail 'a restart goes on with what was before it'

say 'stopped by a debugger: ended by the watchdog, and started again'
main=$(property MainPID)
inside systemctl kill -s STOP --kill-who=main srtrelay
awaits NRestarts 1 30
awaits StatusText 'sessions: 0, backends that take streams: 1 of 1' 10
[ "$(property MainPID)" != "$main" ] || fail 'the same process'

say 'stop: a grace that is longer than the timeout of the unit is granted'
printf '[Service]\nTimeoutStopSec=1\n' >"$root/etc/systemd/system/srtrelay.service.d/stop.conf"
inside systemctl daemon-reload
awaits StatusText 'sessions: 0, backends that take streams: 1 of 1' 10
streams 127.0.0.1:20080 8
awaits StatusText 'sessions: 20,*' 10
inside systemctl stop srtrelay &
awaits StatusText 'draining, sessions left: 20' 10
streamed 'streams during the stop'
awaits ActiveState inactive 20
[ "$(property Result)" = success ] || fail "the stop ended with $(property Result)"

served

say 'purged'
inside dpkg -P srtrelay >"$work/dpkg.log" 2>&1 || fail 'dpkg -P'
rm -r "$root/etc/systemd/system/srtrelay.service.d" "$root/srtrelay.deb"
say 'all well'
