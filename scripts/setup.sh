#!/usr/bin/env bash
# Installs the packages that `make test` needs, on systems with apt. With the
# argument "demo", "bench", "dist", "generate" or "stress" it installs only what
# `make demo`, `make bench`, `make dist`, `make generate`, or `make hostile` and
# `make soak` need. For the tests it also builds libsrt with bonding.
# Installed tools are left alone. If it cannot install a package it says so and
# exits with 0, because tests skip what they cannot run; with
# SRTRELAY_REQUIRE_ALL set it exits with 1.
set -euo pipefail
# The output is parsed and must have decimal points.
export LC_ALL=C

missing=()
need() { # package, a command or file in it
	case "$2" in
	/*) if [ -e "$2" ]; then return; fi ;;
	*) if PATH="$PATH:/usr/sbin:/sbin" command -v "$2" >/dev/null; then return; fi ;;
	esac
	case " ${missing[*]} " in
	*" $1 "*) ;;
	*) missing+=("$1") ;;
	esac
}
wanted=${1:-tests}
case "$wanted" in
tests | bench | demo | dist | generate | stress) ;;
*)
	echo "setup: $wanted: unknown argument; use none, bench, demo, dist, generate or stress" >&2
	exit 2
	;;
esac

# For internal/origin, an SRT server that uses the real libsrt.
need_origin() {
	need gcc gcc
	need libc6-dev /usr/include/stdio.h
	need libsrt-openssl-dev /usr/include/srt/srt.h
}
need_bench() {
	need_origin
	need iproute2 ip
	need nginx nginx
	# If the file is missing, the module may be built in.
	if ! PATH="$PATH:/usr/sbin" nginx -V 2>&1 | grep -q -e '--with-stream\( \|$\)'; then
		need libnginx-mod-stream /usr/lib/nginx/modules/ngx_stream_module.so
	fi
	need nftables nft
	need linux-perf perf
}
need_demo() {
	need ffmpeg ffmpeg
	need srt-tools srt-live-transmit
	need_origin
}
need_dist() {
	need lintian lintian
	need debootstrap debootstrap
	# For a network without neighbours.
	need iproute2 ip
}
# For the kernel path's program. The objects in the repository are of clang 14.
need_generate() {
	need clang-14 clang-14
	need llvm-14 llvm-strip-14
	need libbpf-dev /usr/include/bpf/bpf_helpers.h
}
need_stress() {
	need iproute2 ip
	need redis-server redis-server
	need redis-tools redis-cli
}
# For building libsrt with bonding from Debian's source.
need_bonded() {
	need dpkg-dev dpkg-source
	need cmake cmake
	need make make
	need g++ g++
	need libssl-dev /usr/include/openssl/evp.h
}
need_tests() {
	need_demo
	need_bonded
	need_stress
	need iproute2 tc
	# For checking the unit.
	need systemd systemd-analyze
	# For dissecting captures.
	need tshark tshark
	# For the tests of the web page, and a font for its screenshots.
	need chromium-headless-shell chromium-headless-shell
	need fonts-dejavu-core /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
	# For a locale with decimal commas.
	need locales /usr/share/i18n/locales/de_DE
	# For completion and the manual page.
	need zsh zsh
	need fish fish
	need groff-base groff
	need mandoc mandoc
	# For the tests of the bench.
	need_bench
}
"need_$wanted"

give_up() { # what cannot be done, and why
	echo "setup: cannot $1: $2" >&2
	if [ -n "${SRTRELAY_REQUIRE_ALL:-}" ]; then
		exit 1
	fi
	echo 'setup: continuing; tests that need them will be skipped' >&2
	exit 0
}

finish() {
	if [ "$wanted" = tests ]; then
		"$(dirname "$0")/../internal/bonded/libsrt.sh" || give_up 'build libsrt with bonding' 'see above'
	fi
	echo "setup: $1"
	exit 0
}

if [ "${#missing[@]}" -eq 0 ]; then
	finish 'all tools are installed'
fi

cannot_install() { give_up "install ${missing[*]}" "$1"; }
command -v apt-get >/dev/null || cannot_install 'apt-get not found'
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || cannot_install 'not root, and sudo not found'
	as_root=(sudo)
fi

# Debian starts the servers that it installs. Only the programs are needed here,
# so a newly installed server is stopped again.
installed() { # service
	[ -e "/etc/init.d/$1" ] || [ -e "/lib/systemd/system/$1.service" ]
}
new_services=()
for service in nginx redis-server; do
	installed "$service" || new_services+=("$service")
done

echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -q || cannot_install 'apt-get update failed'
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
	apt-get install -q -y --no-install-recommends "${missing[@]}" || cannot_install 'apt-get install failed'

for service in "${new_services[@]}"; do
	installed "$service" || continue
	echo "setup: stopping $service, which its package may have started"
	if [ -d /run/systemd/system ]; then
		"${as_root[@]}" systemctl disable --now "$service" || true
	else
		"${as_root[@]}" "/etc/init.d/$service" stop || true
	fi
done
finish 'done'
