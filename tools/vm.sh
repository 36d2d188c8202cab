#!/usr/bin/env bash
# Makes a Debian to boot under qemu, of this machine's release and from its Debian mirror: tools/vm.sh DIRECTORY, into which go
# root.ext4, vmlinuz, initrd and release. It is made anew when this script or the list of its packages has changed.
set -euo pipefail
into=$1
tools=$(cd "$(dirname "$0")" && pwd)
packages=$("$tools/provision.sh" list guest)
recipe=$(cat "$tools/vm.sh" - <<<"$packages" | sha256sum)
if [[ -f $into/recipe && $(<"$into/recipe") == "$recipe" ]]; then
	exit
fi
mkdir -p "$into"
rm -f "$into/recipe"
work=$(mktemp -d "$into/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$("$tools/mirror.sh" vm)
mmdebstrap --quiet --variant=minbase --include="systemd systemd-sysv init-system-helpers linux-image-cloud-amd64 initramfs-tools $packages" \
	"$codename" "$work/tree" "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $codename main"
rm -rf "$work"/tree/{var/cache/apt,var/lib/apt/lists,usr/share/doc,usr/share/locale}/*
echo weir >"$work/tree/etc/hostname"
echo '/dev/vdb /weir ext4 defaults 0 0' >"$work/tree/etc/fstab"
mkdir "$work/tree/weir"
cat >"$work/tree/etc/systemd/system/weir-vm.service" <<'UNIT'
[Unit]
RequiresMountsFor=/weir
[Service]
Type=exec
ExecStart=/weir/run
StandardOutput=journal+console
TimeoutStopSec=1
[Install]
WantedBy=multi-user.target
UNIT
ln -s ../weir-vm.service "$work/tree/etc/systemd/system/multi-user.target.wants/weir-vm.service"
for unit in getty-static serial-getty@ttyS0 systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer; do
	[[ $unit == *.timer ]] || unit=$unit.service
	ln -sf /dev/null "$work/tree/etc/systemd/system/$unit"
done
cp "$work"/tree/boot/vmlinuz-* "$into/vmlinuz"
cp "$work"/tree/boot/initrd.img-* "$into/initrd"
ls "$work/tree/lib/modules" >"$into/release"
mke2fs -q -t ext4 -d "$work/tree" "$into/root.ext4.new" 4G
mv "$into/root.ext4.new" "$into/root.ext4"
echo "$recipe" >"$into/recipe"
