#!/usr/bin/env bash
# Prints the Debian mirror that this machine's own release comes from; its sources stay as they are. tools/mirror.sh NAME is for a
# script of that name, which an error names.
set -euo pipefail
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
find_mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Release: $codename" 'Origin: Debian' | head -n 1
}
mirror=$(find_mirror)
if [[ -z $mirror ]] && ((!$(id -u))); then # images come without apt's lists
	apt-get update -qq >&2
	mirror=$(find_mirror)
fi
if [[ -z $mirror ]]; then
	echo "$1: no Debian mirror among apt's sources: run apt-get update on a Debian machine" >&2
	exit 1
fi
echo "$mirror"
