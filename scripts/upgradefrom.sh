#!/usr/bin/env bash
# Upgrades the relay of another revision to this one under sessions, and rolls back, in user
# space and with the kernel path: upgradefrom.sh REVISION. Needs root.
set -eu -o pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'git worktree remove --force "$folder/tree" || true; rm -rf "$folder"' EXIT
git worktree add --quiet --detach "$folder/tree" "$1"
go build -C "$folder/tree" -pgo=off -o "$folder/older" ./cmd/srtrelay
SRTRELAY_REQUIRE_ALL=1 SRTRELAY_TEST_OLDER="$folder/older" go test -pgo=off -vet=off -count=1 -v -run TestOtherVersionTakenOver ./e2e
