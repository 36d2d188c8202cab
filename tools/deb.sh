#!/usr/bin/env bash
# Builds dist/weir_VERSION_ARCHITECTURE.deb of bin/weir, by dpkg-deb and without a network, in seconds: tools/deb.sh [DIRECTORY]. The same
# commit gives the same bytes: times are that of SOURCE_DATE_EPOCH, by default the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
into=${1:-dist}
architecture=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export TZ=UTC LC_ALL=C
umask 022

# v1.2.3, v1.2.3-4-gabcdef1 and abcdef1, each perhaps with -dirty, as versions that dpkg puts in their order.
described=$(git describe --tags --always --dirty)
case $described in
v[0-9]*) version=${described#v} version=${version/-/+} ;;
*) version=0.0~git$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M).$described ;;
esac
version=${version//-/.}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
doc=$root/usr/share/doc/weir
install -D -m 755 bin/weir "$root/usr/bin/weir"
install -D -m 644 packaging/weir.yaml "$root/etc/weir/weir.yaml"
(cd packaging/systemd && find . -type f -exec install -D -m 644 {} "$root/lib/systemd/system/{}" \;)
install -D -m 644 -t "$doc/examples" packaging/examples/*
install -m 644 -t "$doc" docs/*.md README.md
{
	cat packaging/debian/copyright
	sed 's/^$/./; s/^/ /' LICENSES/BSD-2-Clause.txt
} >"$doc/copyright"
{
	printf 'weir (%s) unstable; urgency=medium\n\n  * Built of the commit %s.\n\n' "$version" "$(git rev-parse --short=12 HEAD)"
	printf ' -- %s  %s\n' "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" "$(date -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"
install -d "$root/usr/share/man/man1"
gzip -9nc packaging/man/weir.1 >"$root/usr/share/man/man1/weir.1.gz"
install -D -m 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/weir"

install -d "$root/DEBIAN"
install -m 755 -t "$root/DEBIAN" packaging/debian/{postinst,prerm,postrm}
echo /etc/weir/weir.yaml >"$root/DEBIAN/conffiles"
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
size=$(find "$root" -type f -printf '%s\n' | awk '{kib += int(($1 + 1023) / 1024)} END {print kib}')
sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/" packaging/debian/control >"$root/DEBIAN/control"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$into"
rm -f "$into"/weir_*_"$architecture".deb
dpkg-deb --root-owner-group -Zgzip --build "$root" "$into/weir_${version}_$architecture.deb" >/dev/null
echo "$into/weir_${version}_$architecture.deb"
