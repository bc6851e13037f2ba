#!/usr/bin/env bash
# Makes the files of a release in dist/: for amd64 and arm64 a static tar.gz, a
# Debian package and a container image, each with what they say of themselves, a
# Helm chart, and SHA256SUMS. Then it checks what this machine can check of them.
set -euo pipefail
# What is printed is parsed, and decimals have a point.
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
version=${VERSION:-$(git describe --tags --always --dirty)}
revision=$(git rev-parse HEAD)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$PWD/dist
rm -rf "$out"
mkdir -p "$out"

# 0.1.0 of v0.1.0; a commit without a tag comes before every release.
case "$version" in
v[0-9]*) DEB_VERSION=${version#v} DEB_VERSION=${DEB_VERSION/-/+} ;;
*) DEB_VERSION=0.0.0~git$version ;;
esac

# Who holds the license maintains the package, unless Debian's own variables name
# somebody. The home page is where the module is, if its path says so.
HOLDER=$(sed -n 's/^Copyright (c) [0-9]* //p' LICENSE)
MAINTAINER=${DEBFULLNAME:-$HOLDER}${DEBEMAIL:+ <$DEBEMAIL>}
HOMEPAGE=$("$go" list -m)
case "${HOMEPAGE%%/*}" in
*.*) HOMEPAGE=https://$HOMEPAGE ;;
*) HOMEPAGE='' ;;
esac

say() { echo "dist: $*"; }

say 'building the tools of a release'
"$go" -C scripts/dist build -o "$work/image" .
"$go" -C scripts/dist build -o "$work/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm
"$go" -C scripts/dist build -o "$work/gomod" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

# Reads what a manual page and completions are made from.
speaker=$work/speaker
"$go" build -o "$speaker" ./cmd/srtrelay

for ARCH in amd64 arm64; do
	say "$ARCH: building $version"
	CGO_ENABLED=0 GOARCH=$ARCH "$go" build -trimpath -ldflags "-s -w -X main.version=$version" \
		-o "$work/$ARCH/srtrelay" ./cmd/srtrelay
	CGO_ENABLED=0 GOARCH=$ARCH "$work/gomod" app -json -licenses=false -main cmd/srtrelay \
		-output "$out/srtrelay-$version-$ARCH.cdx.json" .

	# To be unpacked at the root: tar -C / -xzf
	scripts/install.sh "$work/$ARCH/srtrelay" "$work/$ARCH/tar" /usr/local "$speaker"
	tar -C "$work/$ARCH/tar" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - . |
		gzip -9n >"$out/srtrelay-$version-linux-$ARCH.tar.gz"

	ROOT=$work/$ARCH/deb
	scripts/install.sh "$work/$ARCH/srtrelay" "$ROOT" /usr "$speaker"
	gzip -9nc CHANGELOG.md >"$ROOT/changelog.gz"
	{
		printf 'srtrelay (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n' "$DEB_VERSION"
		# The format wants brackets, also around no address.
		printf ' -- %s <%s>  %s\n' "${DEBFULLNAME:-$HOLDER}" "${DEBEMAIL:-}" "$(date -uRd "@$SOURCE_DATE_EPOCH")"
	} | gzip -9n >"$ROOT/changelog.Debian.gz"
	{
		printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
		printf 'Upstream-Name: srtrelay\n\nFiles: *\n%s\nLicense: Expat\n' "$(sed -n 's/^Copyright (c)/Copyright:/p' LICENSE)"
		sed '1,/^Permission/{/^Permission/!d};s/^$/./;s/^/ /' LICENSE
	} >"$ROOT/copyright"
	sed "s,\${ROOT},$ROOT,g; s,\${ARCH},$ARCH,; s,\${DEB_VERSION},$DEB_VERSION,
		s|\${MAINTAINER}|$MAINTAINER|; s|\${HOMEPAGE}|$HOMEPAGE|" deploy/debian/nfpm.yaml >"$work/nfpm.yaml"
	"$work/nfpm" package -f "$work/nfpm.yaml" -p deb -t "$out"

	"$work/image" -binary "$work/$ARCH/srtrelay" -license LICENSE -sbom "$out/srtrelay-$version-$ARCH.cdx.json" \
		-arch "$ARCH" -version "$version" -revision "$revision" -created "$SOURCE_DATE_EPOCH" \
		-out "$out/srtrelay-$version-$ARCH.oci.tar"
done
say 'packing the Helm chart'
"$go" -C scripts/chart run . -pack "$out"
"$go" -C scripts/chart test -count=1 -pgo=off .
(cd "$out" && sha256sum -- * >SHA256SUMS)

say 'checking'
"$go" build -pgo=off -o "$work/bench" ./bench
scripts/distcheck.sh "$out" "$version" "$work/bench"
ls -l "$out"
