#!/usr/bin/env bash
# Makes the CPU profile for profile-guided optimization of the relay
# (cmd/srtrelay/default.pgo) under the bench's mixed load. Needs root; takes half
# a minute.
set -eu -o pipefail
# The output is parsed and must have decimal points.
export LC_ALL=C
cd "$(dirname "$0")/.."
seconds=20

rm -f cmd/srtrelay/default.pgo # profile a build without the last profile
make --no-print-directory build >/dev/null
out=$(mktemp -d)
trap 'rm -rf "$out"; kill %1 2>/dev/null || true' EXIT
go run ./bench -only mixed -peers srtrelay -rounds 1 -window "$((seconds + 5))s" -out "$out" &

api=127.0.0.1:12025
host=
up() { # whether the relay answers in its namespace
	host=$(ip netns list | awk '/^srtbench-.*-origin/ {print $1; exit}')
	[ -n "$host" ] && ip netns exec "$host" bin/srtrelay shards --api "$api" >/dev/null 2>&1
}
for _ in $(seq 900); do # the bench waits for a quiet machine first
	if up; then break; fi
	sleep 0.2
done
if ! up; then
	echo 'pgo: the relay did not start' >&2
	exit 1
fi
sleep 3 # until all callers are connected and traffic flows
ip netns exec "$host" go tool pprof -proto -seconds "$seconds" -output "$out/cpu.pprof" "http://$api/debug/pprof/profile" >/dev/null
wait %1
mv "$out/cpu.pprof" cmd/srtrelay/default.pgo
go tool pprof -top -nodecount=8 cmd/srtrelay/default.pgo
