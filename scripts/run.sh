#!/usr/bin/env bash
# Runs a relay in the foreground, and says first how to reach it: by the addresses
# that its flags, variables and file put in force.
#
# Usage: run.sh BINARY [FLAG...]
set -euo pipefail
export LC_ALL=C

binary=$1
shift
# A mistake in the settings ends this here, with the relay's own line.
settings=$("$binary" config "$@")

setting() { # name: its value
	awk -v name="--$1" '$1 == name { print $2 }' <<<"$settings"
}
port() { # address
	printf '%s' "${1##*:}"
}
host() { # address: a host that this machine can reach it by
	local host=${1#*://}
	case "$host" in
	*:*) host=${host%:*} ;;
	*) host= ;;
	esac
	case "$host" in
	'' | 0.0.0.0 | '[::]' | '*') host=127.0.0.1 ;;
	esac
	printf '%s' "$host"
}

listen=$(setting listen)
first=${listen%%,*} # of several
srt=$(host "$first"):$(port "$first")
api=$(setting api)
scheme=http
case "$(setting api-tls-cert)" in
'' | none) ;;
*) scheme=https ;;
esac
page=$scheme://$(host "$api"):$(port "$api")/

cat <<HINT
SRT    UDP port $(port "$first")${listen#"$first"}
page   $page
API    ${page}api/v1/streams

The relay stores and plays nothing itself: every caller is passed on to a backend, an SRT server
such as SRS. Without one callers are refused. Name one, or several:

  make run ARGS="--backend srt://127.0.0.1:10080"

Then publish with one of

  ffmpeg -re -i in.mp4 -c copy -f mpegts 'srt://$srt?streamid=#!::r=live/livestream,m=publish'
  srt-live-transmit udp://:1234 'srt://$srt?streamid=#!::r=live/livestream,m=publish'
  OBS: Settings, Stream, Custom, Server: srt://$srt?streamid=#!::r=live/livestream,m=publish

and play with

  ffplay 'srt://$srt?streamid=#!::r=live/livestream,m=request'

Ctrl-C lets sessions drain, a second one stops at once. All flags: $binary help

HINT
exec "$binary" "$@"
