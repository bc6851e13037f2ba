#!/usr/bin/env bash
# Installs srtrelay below DESTDIR: binary, manual page, completions, systemd unit,
# sysctl drop-in and, if there are none, sample settings.
#
#   install.sh BINARY DESTDIR PREFIX [SPEAKER]
#
# DESTDIR is "" for the running system. If BINARY is for another architecture,
# SPEAKER is a binary that runs here and prints manual page and completions.
set -euo pipefail
export LC_ALL=C
[ $# -ge 3 ] || { echo 'install: usage: install.sh BINARY DESTDIR PREFIX [SPEAKER]' >&2; exit 2; }
binary=$1 dest=$2 prefix=$3 speaker=${4:-$1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

share=$dest$prefix/share
put() { # mode, destination; the content on standard input
	mkdir -p "$(dirname "$2")"
	rm -f "$2" # do not follow a link or overwrite a running binary
	cat >"$2"
	chmod "$1" "$2"
}
put 755 "$dest$prefix/bin/srtrelay" <"$binary"
"$speaker" man | gzip -9n | put 644 "$share/man/man1/srtrelay.1.gz"
"$speaker" completion bash | put 644 "$share/bash-completion/completions/srtrelay"
# Debian's zsh reads vendor-completions below /usr and site-functions below
# /usr/local.
zsh=site-functions
[ "$prefix" != /usr ] || zsh=vendor-completions
"$speaker" completion zsh | put 644 "$share/zsh/$zsh/_srtrelay"
"$speaker" completion fish | put 644 "$share/fish/vendor_completions.d/srtrelay.fish"
sed "s,/usr/local/bin/srtrelay,$prefix/bin/srtrelay," "$here/deploy/srtrelay.service" |
	put 644 "$dest$prefix/lib/systemd/system/srtrelay.service"
put 644 "$dest$prefix/lib/sysctl.d/60-srtrelay.conf" <"$here/deploy/sysctl.conf"
put 644 "$share/doc/srtrelay/README.md" <"$here/README.md"
put 644 "$share/doc/srtrelay/changelog.md" <"$here/CHANGELOG.md"
put 644 "$share/doc/srtrelay/LICENSE" <"$here/LICENSE"
for pair in relay.yaml=deploy/relay.yaml rules.yaml=docs/rules.example.yaml; do
	put 644 "$share/doc/srtrelay/examples/${pair%%=*}" <"$here/${pair#*=}"
done
if [ ! -e "$dest/etc/srtrelay/relay.yaml" ]; then
	put 644 "$dest/etc/srtrelay/relay.yaml" <"$here/deploy/relay.yaml"
fi
