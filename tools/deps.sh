#!/usr/bin/env bash
# Installs what the tests and linters need on Debian. Quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/provision.sh develop

clients=test/clients
if [[ -f $clients/package-lock.json && $clients/package-lock.json -nt $clients/node_modules/.stamp ]]; then
	npm ci --prefix "$clients" --no-audit --no-fund --silent
	touch "$clients/node_modules/.stamp"
fi

if [[ -z ${CI:-} && -d .git ]]; then
	git config core.hooksPath .githooks
fi
