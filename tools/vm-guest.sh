#!/bin/bash
# The guest of make vm: what systemd starts there, at the first boot and at the second one, which a test asks for. It reports through
# the second serial port, and powers off.
report=/dev/ttyS1
list=/weir/packages
if [[ -e /weir/booted ]]; then
	list=/weir/packages.second
	if ! mv /weir/packages.rest "$list"; then
		printf '\n=== weir: error the guest booted again, and nobody had asked for it\n\n=== weir: done\n' >$report
		exec systemctl poweroff
	fi
fi
touch /weir/booted
grep -qw weir /etc/hosts || echo '127.0.1.1 weir' >>/etc/hosts # sudo looks it up
sync
if ! said=$(/weir/tools/provision.sh guest 2>&1); then
	echo "=== weir: error provision: ${said//$'\n'/; }" >$report
fi
echo "$said"
exec /weir/init beside-systemd "$list"
