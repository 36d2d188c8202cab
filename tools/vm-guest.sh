#!/bin/bash
# The guest of make vm: what systemd starts there. It reports through the second serial port, and powers off.
report=/dev/ttyS1
if ! said=$(/weir/tools/provision.sh guest 2>&1); then
	echo "=== weir: error provision: ${said//$'\n'/; }" >$report
fi
echo "$said"
exec /weir/init beside-systemd /weir/packages
