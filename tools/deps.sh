#!/usr/bin/env bash
# Installs what the tests and linters need on Debian. Quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(bpftrace gcc libc6-dev clang-14 llvm-14 clang-format-14 libbpf-dev linux-libc-dev chromium curl iproute2 nftables nginx-light prometheus qemu-system-x86 redis-server wrk xz-utils)
missing=()
for p in "${packages[@]}"; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
# Node may have come another way than as a package.
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)

if ((${#missing[@]})); then
	if (($(id -u))); then
		echo "deps: missing: ${missing[*]}: install them with: sudo apt-get install ${missing[*]}" >&2
	else
		echo "deps: installing ${missing[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		# Its program is wanted, not the service that comes with it.
		if [[ -d /run/systemd/system && " ${missing[*]} " == *" prometheus "* ]]; then
			systemctl mask prometheus.service
		fi
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	fi
fi

clients=test/clients
if [[ -f $clients/package-lock.json && $clients/package-lock.json -nt $clients/node_modules/.stamp ]]; then
	npm ci --prefix "$clients" --no-audit --no-fund --silent
	touch "$clients/node_modules/.stamp"
fi

if [[ -z ${CI:-} && -d .git ]]; then
	git config core.hooksPath .githooks
fi
