#!/usr/bin/env bash
# Builds libsrt with bonding, which Debian's package is built without, from the source of that
# package, into ${XDG_CACHE_HOME:-~/.cache}/srtrelay/libsrt-bonding: once per version. It needs
# the network, but neither root nor a deb-src line in apt's list.
set -euo pipefail
export LC_ALL=C

to="${XDG_CACHE_HOME:-$HOME/.cache}/srtrelay/libsrt-bonding"
script=$(cksum <"$0")
# A version, and the archive and the suite/component that have it, the newest first.
known=$(apt-cache madison libsrt-openssl-dev | awk '{print $3, $5, $6}')
if [ -z "$known" ]; then
	echo 'bonded: apt knows no package libsrt-openssl-dev; `apt-get update` may help' >&2
	exit 1
fi
while read -r version _; do
	if [ "$(cat "$to/version" 2>/dev/null)" = "$version $script" ]; then
		echo "bonded: libsrt $version with bonding is built"
		exit 0
	fi
done <<<"$known"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
apt=(
	-q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
	-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache"
	# The folder is this user's alone.
	-o APT::Sandbox::User=root
)
fetch() { # version, archive, suite/component
	echo "deb-src $2 ${3%%/*} ${3#*/}" >"$work/sources.list"
	apt-get "${apt[@]}" update && (cd "$work" && apt-get "${apt[@]}" source --only-source "srt=$1")
}
# An archive may have lost the source of a package that it still has.
while read -r version archive suite; do
	if fetch "$version" "$archive" "$suite" </dev/null; then
		break
	fi
	version=
done <<<"$known"
if [ -z "$version" ]; then
	echo 'bonded: no archive has the source of srt' >&2
	exit 1
fi

source=$(echo "$work"/srt-*/)
cmake -S "$source" -B "$work/build" -DCMAKE_INSTALL_PREFIX="$work/built" -DCMAKE_INSTALL_LIBDIR=lib \
	-DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS='-O1 -w' -DCMAKE_CXX_FLAGS='-O1 -w' \
	-DENABLE_BONDING=ON -DENABLE_APPS=OFF -DENABLE_SHARED=OFF -DUSE_ENCLIB=openssl-evp >"$work/log" 2>&1 &&
	cmake --build "$work/build" -j "$(nproc)" >>"$work/log" 2>&1 &&
	cmake --install "$work/build" >>"$work/log" || {
	tail -n 30 "$work/log" >&2
	exit 1
}
mkdir -p "${to%/*}"
rm -rf "$to"
mv "$work/built" "$to"
echo "$version $script" >"$to/version"
echo "bonded: libsrt $version with bonding is built"
