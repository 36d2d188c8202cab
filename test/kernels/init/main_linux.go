// Command init is the first and only program of a guest: it makes the system that the tests of
// the BPF programs expect, runs their binaries and powers off. With "beside-systemd FILE" it leaves the first of these
// to systemd, which has started it. What they print goes to the second
// serial port, framed by lines that test/kernels reads; the first one is the kernel's.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mark begins the lines that are init's own. They are
//
//	boot again
//	begin DIRECTORY
//	end DIRECTORY STATUS
//	error TEXT
//	done
const mark = "=== weir: "

func main() {
	list, err := "/packages", error(nil)
	switch {
	case len(os.Args) == 3 && os.Args[1] == "beside-systemd": // which has made the system
		list = os.Args[2]
	case os.Getpid() == 1:
		err = prepare()
	default:
		fmt.Fprintln(os.Stderr, "init: it runs in a guest alone: use make test-kernels or make vm")
		return
	}
	report, open := openReport()
	if open != nil {
		err = errors.Join(err, open)
		report = os.Stderr // the console: the host shows its end
	}
	if err == nil {
		err = runAll(report, list)
	}
	if errors.Is(err, errAgain) {
		fmt.Fprintf(report, "\n%sboot again\n", mark)
		flush(report)
		if err = exec.Command("systemctl", "reboot").Run(); err == nil {
			return
		}
	}
	if err != nil {
		fmt.Fprintf(report, "\n%serror %s\n", mark, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	fmt.Fprintf(report, "\n%sdone\n", mark)
	flush(report)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// flush returns when all is sent.
func flush(report *os.File) { _ = unix.IoctlSetInt(int(report.Fd()), unix.TCSBRK, 1) }

// openReport opens the serial port for the host, which gets each byte as it is.
func openReport() (*os.File, error) {
	f, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s raw: %w", f.Name(), err)
	}
	return f, nil
}

// prepare makes the system; each failure is reported.
func prepare() error {
	var errs []error
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"tracefs", "/sys/kernel/tracing"},
		{"debugfs", "/sys/kernel/debug"},
		{"tmpfs", "/run"},
		{"tmpfs", "/tmp"},
	} {
		err := os.MkdirAll(m.at, 0o755) //nolint:gosec // as on any system
		if err == nil {
			err = unix.Mount(m.kind, m.at, m.kind, 0, "")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err))
		}
	}
	// As a usual init does: named network namespaces are mounts that others see.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		errs = append(errs, fmt.Errorf("share the mounts: %w", err))
	}
	modules, err := filepath.Glob("/modules/*.ko") // sorted: each after those it needs
	if err != nil {
		errs = append(errs, err)
	}
	for _, path := range modules {
		if err := load(path); err != nil {
			errs = append(errs, fmt.Errorf("load %s: %w", filepath.Base(path), err))
		}
	}
	if err := loopbackUp(); err != nil {
		errs = append(errs, fmt.Errorf("bring lo up: %w", err))
	}
	return errors.Join(errs...)
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	return unix.FinitModule(int(f.Fd()), "", 0)
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s) //nolint:errcheck // it only carries a request
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// errAgain says that the system is to boot again: what is left is in the file of the list and restSuffix.
var errAgain = errors.New("the system is to boot again")

const restSuffix = ".rest"

// runAll runs the binaries of tests that a file lists: a line is the directory, in which its
// binary is called tests, and the arguments; or "reboot".
func runAll(report *os.File, listed string) error {
	list, err := os.Open(listed)
	if err != nil {
		return err
	}
	defer list.Close() //nolint:errcheck // it is only read
	for s := bufio.NewScanner(list); s.Scan(); {
		line := strings.Fields(s.Text())
		dir := line[0]
		if dir == "reboot" {
			return errors.Join(leaveRest(s, listed+restSuffix), errAgain)
		}
		fmt.Fprintf(report, "\n%sbegin %s\n", mark, dir)
		cmd := exec.Command(filepath.Join(dir, "tests"), line[1:]...)
		cmd.Dir = dir
		// There is more memory than time: GOGC.
		cmd.Env = []string{"REQUIRE_BPF=1", "BPFTEST_SLOW=1", "GOGC=800", "HOME=/tmp", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		cmd.Stdout, cmd.Stderr = report, report
		err := cmd.Run()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("run the tests of %s: %w", dir, err)
		}
		fmt.Fprintf(report, "\n%send %s %d\n", mark, dir, cmd.ProcessState.ExitCode())
	}
	return nil
}

// leaveRest writes the lines that are left, to be there after the boot.
func leaveRest(s *bufio.Scanner, path string) error {
	var rest strings.Builder
	for s.Scan() {
		rest.WriteString(s.Text() + "\n")
	}
	err := os.WriteFile(path, []byte(rest.String()), 0o600)
	unix.Sync()
	return err
}
