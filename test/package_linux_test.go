package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The root is this host's, below an overlay in memory that nobody else sees and that is gone with the command's end: what is
// installed in it leaves the host alone. /run is empty there, as where no systemd runs. The overlay's upper layer is
// what has changed.
const enterRoot = `set -eu
base=$1 deb=$2 script=$3
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
cp "$deb" "$base/root/weir.deb"
mount -t proc proc "$base/root/proc"
mount -t tmpfs tmpfs "$base/root/run"
mount --rbind /dev "$base/root/dev"
mount --bind "$base/upper" "$base/root/mnt"
exec chroot "$base/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 sh -euc "$script"
`

// inRoot runs a shell script in a root of its own, with the package at /weir.deb and what has changed at /mnt.
func inRoot(t *testing.T, deb, script string) string {
	t.Helper()
	out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-c", enterRoot, "sh", t.TempDir(), deb, script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// requireDebian skips where there is no dpkg, or no right to mount.
func requireDebian(t *testing.T) {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("REQUIRE_BPF") == "1" {
		skip = t.Fatalf
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		skip("no dpkg-deb: packages are for Debian")
	}
	if os.Geteuid() != 0 {
		skip("a root of its own needs root")
	}
}

// buildPackage is a package of WEIR_BIN's tree.
func buildPackage(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../tools/deb.sh", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("tools/deb.sh: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// part is what a script printed between "== name" and the next such line.
func part(t *testing.T, out, name string) string {
	t.Helper()
	_, after, found := strings.Cut("\n"+out, "\n== "+name+"\n")
	if !found {
		t.Fatalf("no %q in\n%s", name, out)
	}
	body, _, _ := strings.Cut(after+"\n", "\n== ")
	return strings.TrimSpace(body)
}

func TestE2EPackageIsTheSameOfTheSameCommit(t *testing.T) {
	requireDebian(t)
	first, err := os.ReadFile(buildPackage(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(buildPackage(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two packages differ")
	}
}

func TestE2EPackageLivesAndLeavesNothing(t *testing.T) {
	requireDebian(t)
	deb := buildPackage(t)
	content, err := exec.Command("dpkg-deb", "-c", deb).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	for _, path := range []string{"usr/share/man/man1/weir.1.gz", "usr/share/doc/weir/copyright", "usr/share/doc/weir/changelog.gz", "usr/share/doc/weir/INSTALL.md", "usr/share/doc/weir/examples/pin.conf"} {
		if !regexp.MustCompile(`(?m)^-rw-r--r-- root/root .* \./` + regexp.QuoteMeta(path) + `$`).Match(content) {
			t.Errorf("no %s of root's in\n%s", path, content)
		}
	}
	out := inRoot(t, deb, `
state() { stat -c '%n %U:%G %a' /usr/bin/weir /etc/weir/weir.yaml /lib/systemd/system/weir@.service /var/lib/weir; }
echo; echo == installs
dpkg -i /weir.deb
echo == state
state
readlink /etc/systemd/system/multi-user.target.wants/weir@serve.service
getent passwd weir
echo == version
weir version
echo == configuration
setpriv --reuid weir --regid weir --clear-groups weir serve --config /etc/weir/weir.yaml --print-config
echo == units
systemd-analyze verify weir@serve.service weir@broker.service weir@edge.service weir@gateway.service && echo fine
echo == upgrades
echo 'log: {level: warn}' >>/etc/weir/weir.yaml
touch /var/lib/weir/event
dpkg -i /weir.deb
echo == upgraded
state
tail -n 1 /etc/weir/weir.yaml
echo == removes
dpkg -r weir
echo == removed
ls -d /usr/bin/weir /etc/weir/weir.yaml /var/lib/weir/event /etc/systemd/system/multi-user.target.wants/weir@serve.service 2>/dev/null || true
echo == purges
dpkg -P weir
echo == purged
getent passwd weir || echo no user
getent group weir || echo no group
cd /mnt
find . ! -type d ! -path './weir.deb'
find . -iname '*weir*'
echo == end
`)
	const state = "/usr/bin/weir root:root 755\n/etc/weir/weir.yaml root:weir 640\n/lib/systemd/system/weir@.service root:root 644\n/var/lib/weir weir:weir 750"
	installed := part(t, out, "state")
	if !strings.HasPrefix(installed, state+"\n/lib/systemd/system/weir@.service\nweir:x:") || !strings.Contains(installed, ":/var/lib/weir:/usr/sbin/nologin") {
		t.Errorf("installed is\n%s\nwant\n%s, enabled, and a user without a shell", installed, state)
	}
	if want, _, _ := weir(t, "version"); part(t, out, "version") != strings.TrimSpace(want) {
		t.Errorf("version is %q, want %q", part(t, out, "version"), want)
	}
	if got := part(t, out, "configuration"); !regexp.MustCompile(`(?m)^  data: +"?/var/lib/weir`).MatchString(got) {
		t.Errorf("the user weir's configuration is\n%s", got)
	}
	if got := part(t, out, "units"); got != "fine" {
		t.Errorf("systemd-analyze verify says\n%s", got)
	}
	if got, want := part(t, out, "upgraded"), state+"\nlog: {level: warn}"; got != want {
		t.Errorf("upgraded is\n%s\nwant\n%s", got, want)
	}
	if got, want := part(t, out, "removed"), "/etc/weir/weir.yaml\n/var/lib/weir/event"; got != want {
		t.Errorf("removed leaves\n%s\nwant\n%s", got, want)
	}
	checkPurged(t, part(t, out, "purged"))
}

// checkPurged holds what a purged package has changed to what dpkg and adduser write.
func checkPurged(t *testing.T, changed string) {
	t.Helper()
	lines := strings.Split(changed, "\n")
	if !slices.Equal(lines[:2], []string{"no user", "no group"}) {
		t.Errorf("purged leaves\n%s", changed)
	}
	theirs := regexp.MustCompile(`^\./(var/lib/dpkg/|var/log/|var/cache/man/|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/\.pwd\.lock$|weir\.deb$)`)
	for _, path := range lines[2:] {
		if !theirs.MatchString(path) || strings.HasPrefix(path, "./var/lib/dpkg/info/weir") {
			t.Errorf("purged leaves %s", path)
		}
	}
}

func TestE2EPackageIsFineForLintian(t *testing.T) {
	requireDebian(t)
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("no lintian: apt-get install lintian, which is not among make deps for its size")
	}
	out, err := exec.Command("lintian", "--fail-on", "error,warning", filepath.Clean(buildPackage(t))).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}
