#!/usr/bin/env bash
# Runs all cases of Autobahn's fuzzingclient against bin/weir's /echo, plain and over TLS, and fails unless each is OK
# or INFORMATIONAL. Takes some minutes; the reports are .cache/autobahn/report/*/index.html.
#   AUTOBAHN_CASES='"1.*","7.*"'            only these cases
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$PWD/.cache/autobahn
all=517
port=$((20000 + RANDOM % 10000))
edge=127.0.0.1:$port admin=127.0.0.1:$((port + 1)) secure=127.0.0.1:$((port + 2))

# python27 prints a Python 2.7 that runs, be it on PATH or pyenv's.
python27() {
	local p
	for p in python2.7 python2 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python; do
		if "$p" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
			command -v "$p"
			return
		fi
	done
	return 1
}

wstest=$(command -v wstest || true)
if [[ -z $wstest ]]; then
	wstest=$dir/env/bin/wstest
	if [[ ! -x $wstest || tools/autobahn.txt -nt $wstest ]]; then
		if ! py=$(python27); then
			echo "autobahn: no wstest on PATH, and no Python 2.7 to install it with. Install one of them: Python 2.7 with pip (pyenv install 2.7.18), or wstest by: pip install -r tools/autobahn.txt" >&2
			exit 1
		fi
		echo "autobahn: installing wstest into .cache/autobahn"
		rm -rf "$dir/env" "$dir/virtualenv"
		"$py" -m pip install --quiet --disable-pip-version-check --target "$dir/virtualenv" 'virtualenv==20.15.1' 2>/dev/null
		PYTHONPATH=$dir/virtualenv "$py" -m virtualenv --quiet "$dir/env"
		"$dir/env/bin/pip" install --quiet --disable-pip-version-check -r tools/autobahn.txt 2>/dev/null
		touch "$wstest"
	fi
fi

# run AGENT URL runs the cases and judges them.
run() {
	local report=$dir/report/$1
	rm -rf "$report"
	mkdir -p "$report"
	cat >"$report/spec.json" <<-JSON
		{"outdir": "$report", "servers": [{"agent": "$1", "url": "$2"}],
		 "cases": [${AUTOBAHN_CASES:-\"*\"}], "exclude-cases": [], "exclude-agent-cases": {}}
	JSON
	if ! "$wstest" -m fuzzingclient -s "$report/spec.json" >"$report/log" 2>&1; then
		tail "$report/log" >&2
		return 1
	fi
	# The index has a case's number, then each of its values, on lines of their own.
	awk -v agent="$1" -v all="$([[ -n ${AUTOBAHN_CASES:-} ]] || echo $all)" '
		/^ +"[0-9.]+": \{/ { gsub(/[ ":{]/, ""); id = $0; cases++ }
		/"behavior(Close)?":/ {
			split($0, part, "\"")
			if (part[2] == "behavior") count[part[4]]++
			if (part[4] !~ /^(OK|INFORMATIONAL)$/) { print "case " id ": " part[2] " is " part[4]; bad = 1 }
		}
		END {
			printf "%s: %d cases:", agent, cases
			for (b in count) printf " %s %d", b, count[b]
			print ""
			if (cases == 0 || all && cases != all) { print "want " (all ? all : "some") " cases"; bad = 1 }
			exit bad
		}' "$report/index.json"
}

mkdir -p "$dir"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
	-keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
WEIR_EDGE_TLS_LISTEN=$secure WEIR_EDGE_TLS_CERTIFICATES=$dir/cert.pem:$dir/key.pem WEIR_EDGE_MAX_MESSAGE=16MiB \
	bin/weir serve --echo --xdp off --listen "$edge" --admin "$admin" >"$dir/weir.log" 2>&1 &
weir=$!
trap 'kill $weir 2>/dev/null; wait $weir || true' EXIT
for _ in {1..100}; do
	curl -fs "http://$admin/readyz" >/dev/null && break
	kill -0 $weir 2>/dev/null || { cat "$dir/weir.log" >&2; exit 1; }
	sleep 0.1
done
failed=0
run plain "ws://$edge/echo" || failed=1
run tls "wss://$secure/echo" || failed=1
exit $failed
