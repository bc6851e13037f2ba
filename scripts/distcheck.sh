#!/usr/bin/env bash
# Checks what scripts/dist.sh has made: distcheck.sh FOLDER VERSION BENCH, where BENCH is
# the program of bench, which plays callers and servers. As root and with debootstrap and
# lintian all of it, otherwise what is possible.
set -euo pipefail
export LC_ALL=C
out=$1 version=$2 bench=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
work=$(mktemp -d)
relay=''
# shellcheck source=scripts/streams.sh
. "$here/streams.sh"
# Ends what was started, and removes what was made.
finish() {
	[ -z "$relay" ] || kill "$relay" 2>/dev/null || true
	quit_streams
	umount "$work/root/proc" 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT

say() { echo "distcheck: $*"; }
fail() { echo "distcheck: $*" >&2; exit 1; }
skip() {
	[ -z "${SRTRELAY_REQUIRE_ALL:-}" ] || fail "$*"
	say "skipped: $*"
}

# starts runs a relay on free ports and waits until its API says that it is
# alive. The command to run stands before the flags.
starts() { # what, command...
	local what=$1
	shift
	# Without a kernel path, which would attach itself to the devices of this host.
	"$@" --kernel-path off --listen 127.0.0.1:0 --api 127.0.0.1:0 --backend "srt://$backend" --shards 1 2>"$work/log" &
	relay=$!
	for _ in $(seq 100); do
		listen=$(sed -n 's/.*msg=relaying.* listen=\[\([^ ]*\)\].*/\1/p' "$work/log")
		api=$(sed -n 's/.*msg=relaying.* api=\([^ ]*\).*/\1/p' "$work/log")
		if [ -n "$api" ]; then break; fi
		kill -0 "$relay" 2>/dev/null || { cat "$work/log" >&2; fail "$what: the relay ended"; }
		sleep 0.1
	done
	[ -n "$api" ] || { cat "$work/log" >&2; fail "$what: the relay did not start"; }
	exec 3<>"/dev/tcp/${api%:*}/${api##*:}"
	printf 'GET /live HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
	grep -q '200 OK' <&3 || fail "$what: /live does not answer"
	exec 3<&-
}
stops() {
	kill -TERM "$relay"
	wait "$relay" || fail "$1: the relay ended with exit code $?"
	relay=''
}

(cd "$out" && sha256sum --quiet -c SHA256SUMS) || fail 'SHA256SUMS: a sum is wrong'

say 'tar.gz: unpacked and started'
mkdir "$work/tar"
tar -C "$work/tar" -xzf "$out/srtrelay-$version-linux-$arch.tar.gz"
[ "$("$work/tar/usr/local/bin/srtrelay" version)" = "srtrelay $version" ] || fail 'tar.gz: says another version'
starts tar.gz "$work/tar/usr/local/bin/srtrelay"
stops tar.gz

say 'image: unpacked and started as its user, without a capability'
mkdir "$work/image" "$work/layer"
tar -C "$work/image" -xf "$out/srtrelay-$version-$arch.oci.tar"
config=$(grep -o '"Config":"[^"]*"' "$work/image/manifest.json" | cut -d'"' -f4)
layer=$(grep -o '"Layers":\["[^"]*"' "$work/image/manifest.json" | cut -d'"' -f4)
tar -C "$work/layer" -xf "$work/image/$layer"
for want in '"User":"65532:65532"' '"Entrypoint":\["/srtrelay"\]' "\"org.opencontainers.image.version\":\"$version\"" \
	'"org.opencontainers.image.licenses":"MIT"'; do
	grep -q "$want" "$work/image/$config" || fail "image: its configuration has no $want"
done
if [ "$(id -u)" -eq 0 ]; then
	chmod 755 "$work" "$work/layer"
	starts image setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
		env -i unshare --user --map-current-user --root="$work/layer" /srtrelay
	stops image
else
	skip 'image: only root can be another user'
fi

deb=$(ls "$out"/srtrelay_*_"$arch".deb)
if command -v lintian >/dev/null; then
	say 'deb: lintian'
	suppressed=initial-upload-closes-no-bugs,statically-linked-binary,no-manual-page,embedded-library
	# Without DEBEMAIL the package names its maintainer and gives no address.
	[ -n "${DEBEMAIL:-}" ] || suppressed+=,malformed-contact,bogus-mail-host-in-debian-changelog
	lintian --fail-on error --allow-root --suppress-tags "$suppressed" "$deb"
else
	skip 'deb: lintian is not installed'
fi
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
	skip 'deb: installing it takes root and debootstrap'
	exit 0
fi
say 'deb: installed into a minimal Debian'
debootstrap --variant=minbase --include=init-system-helpers,systemd,systemd-sysv bookworm "$work/root" >"$work/debootstrap.log" 2>&1 ||
	{ tail -5 "$work/debootstrap.log" >&2; fail 'deb: debootstrap failed'; }
mount -t proc proc "$work/root/proc"
files() { (cd "$work/root" && find . -path ./proc -prune -o -path ./var/log -prune -o -path ./var/lib/dpkg -prune -o -print | sort); }
files >"$work/before"
cp "$deb" "$work/root/tmp.deb"
inside() { chroot "$work/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
inside dpkg -i /tmp.deb >/dev/null
[ "$(inside srtrelay version)" = "srtrelay $version" ] || fail 'deb: says another version'
inside srtrelay check --config /etc/srtrelay/relay.yaml >/dev/null || fail 'deb: its settings are wrong'
serves
starts deb chroot "$work/root" /usr/bin/srtrelay
say 'deb: upgraded while the relay runs and streams, settings changed by hand'
streams "$listen" 12
awaits_streams
echo 'shards: 1' >>"$work/root/etc/srtrelay/relay.yaml"
inside dpkg -i /tmp.deb >/dev/null
grep -q '^shards: 1' "$work/root/etc/srtrelay/relay.yaml" || fail 'deb: an upgrade lost the settings'
kill -0 "$relay" || fail 'deb: an upgrade ended the relay'
streamed 'deb'
stops deb
served
inside dpkg -P srtrelay >/dev/null
rm "$work/root/tmp.deb"
files >"$work/after"
diff "$work/before" "$work/after" || fail 'deb: a purge leaves something'
umount "$work/root/proc"

say 'deb: under systemd'
code=0
"$here/systemdcheck.sh" "$work/root" "$deb" "$bench" || code=$?
case $code in
0) ;;
77) skip 'deb: systemd does not boot in namespaces here' ;;
*) exit "$code" ;;
esac
say 'all well'
