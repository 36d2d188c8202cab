#!/usr/bin/env bash
# Puts a Debian kernel and its modules into a directory, from this machine's Debian mirror and
# without installing anything: tools/kernels.sh <version, as 6.1> <suite> <directory>. The
# directory appears when it is whole: vmlinuz, release, and modules/ with plain .ko files.
set -euo pipefail
version=$1 suite=$2 into=$3
meta=linux-image-cloud-amd64
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mkdir -p "$(dirname "$into")"
work=$(mktemp -d "$into.XXXXXX")
trap 'rm -rf "$work"' EXIT

mirror=$("$(dirname "$0")/mirror.sh" kernels)
mkdir -p "$work"/apt/{lists,cache/archives}/partial
touch "$work/apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources.list"
cat >"$work/apt/conf" <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
CONF
export APT_CONFIG=$work/apt/conf

apt-get update -qq
package=$(apt-cache show --no-all-versions "$meta" | sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p')
if [[ $package != linux-image-"$version".* ]]; then
	echo "kernels: $meta of $suite is ${package:-missing}, not $version: name another suite" >&2
	exit 1
fi
(cd "$work" && apt-get download -qq "$package")
dpkg-deb -x "$work"/*.deb "$work/x"

mkdir "$work/out"
mv "$work"/x/boot/vmlinuz-* "$work/out/vmlinuz"
mv "$work"/x/lib/modules/* "$work/out/modules"
echo "${package#linux-image-}" >"$work/out/release"
find "$work/out/modules" -name '*.ko.xz' -exec xz -d {} +
mv -T "$work/out" "$into"
