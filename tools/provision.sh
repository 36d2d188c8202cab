#!/usr/bin/env bash
# Makes a Debian machine one on which weir is built or run: installs the packages that are missing, and is quick when none is.
#   tools/provision.sh develop   what tests and linters need: make deps
#   tools/provision.sh guest     what weir and its BPF and network tests need: the guest of make vm
#   tools/provision.sh machine   that, and what builds weir: the machines of the Vagrantfile
#   tools/provision.sh list NAME prints the packages of one of these
set -euo pipefail
cd "$(dirname "$0")/.."

guest=(sudo iproute2 nftables kmod ethtool procps adduser ca-certificates curl)
machine=("${guest[@]}" git make golang-go wrk)
develop=(bpftrace gcc libc6-dev clang-14 llvm-14 clang-format-14 libbpf-dev linux-libc-dev chromium curl iproute2 mmdebstrap nftables nginx-light prometheus qemu-system-x86 redis-server vagrant wrk xz-utils)

packages_of() {
	case ${1:-} in
	guest) echo "${guest[@]}" ;;
	machine) echo "${machine[@]}" ;;
	develop) echo "${develop[@]}" ;;
	*)
		echo "provision: ${1:-nothing} is not known: tools/provision.sh develop, guest, machine, or list and one of these" >&2
		return 2
		;;
	esac
}

if [[ ${1:-} == list ]]; then
	packages_of "${2:-}"
	exit
fi
wanted=$(packages_of "${1:-}")
missing=()
for p in $wanted; do
	case $p in
	golang-go) # Go may have come another way than as a package.
		command -v go >/dev/null || missing+=("$p") ;;
	*)
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p") ;;
	esac
done
if [[ $1 == develop ]]; then # and so may Node
	command -v node >/dev/null || missing+=(nodejs)
	command -v npm >/dev/null || missing+=(npm)
fi

if ((${#missing[@]})); then
	if (($(id -u))); then
		echo "provision: missing: ${missing[*]}: install them with: sudo apt-get install ${missing[*]}" >&2
	else
		echo "provision: installing ${missing[*]}"
		export DEBIAN_FRONTEND=noninteractive
		from=()
		if [[ " ${missing[*]} " == *' golang-go '* ]]; then
			# The release's own Go is too old to fetch the one that go.mod asks for; that of the backports does.
			codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
			uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Release: $codename" 'Origin: Debian' | head -n 1)
			echo "deb $uri $codename-backports main" >/etc/apt/sources.list.d/weir-backports.list
			from=(-t "$codename-backports")
		fi
		apt-get update -qq
		# Its program is wanted, not the service that comes with it.
		if [[ -d /run/systemd/system && " ${missing[*]} " == *" prometheus "* ]]; then
			systemctl mask prometheus.service
		fi
		apt-get install -y -qq --no-install-recommends "${from[@]}" "${missing[@]}" >/dev/null
	fi
fi

if [[ $1 != develop ]] && ! (($(id -u))); then
	modprobe -a tls veth || echo "provision: no modules tls and veth: kernel TLS and the tests of networks do without" >&2
fi
if [[ $1 != develop ]] && ! (($(id -u))); then
	# Whoever logs in may become root there, and much of weir has to be: vagrant ssh edge -c 'weir demo'.
	install -m 755 /dev/stdin /usr/local/bin/weir <<-'SH'
		#!/bin/sh
		if [ "$(id -u)" = 0 ]; then
			exec /usr/bin/weir "$@"
		fi
		exec sudo --preserve-env /usr/bin/weir "$@"
	SH
fi
if [[ $1 == machine ]]; then
	make build deb
	apt-get install -y -qq ./dist/weir_*.deb
fi
