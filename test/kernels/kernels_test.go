package kernels

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// kernel is a kernel to test on.
type kernel struct {
	version string // the first two numbers
	suite   string // the Debian suite whose kernel it is
}

func kernels() []kernel {
	return []kernel{
		{"6.1", "bookworm"},
		{"6.12", "bookworm-backports"},
	}
}

// leftOut are the tests that do not run in a guest, each as "bpf/xdp.TestBPFName" with its reason:
// an emulated CPU or another kernel would add nothing to what they say.
func leftOut() map[string]string {
	return map[string]string{
		"cmd/weir.TestNetnsDoctorNamesAForeignProgram":                     "it would take all of weir into the guest; TestNetnsOccupantsAreNamed runs",
		"tuning/bpftrace.TestBPFBpftraceSessionsAnswer":                    "a guest has no bpftrace",
		"tuning/bpftrace.TestBPFBpftraceSessionSaysThatItsProcessHasEnded": "the same",
		"bench.TestBPFXDPMeasuresEachCase":                                 "it measures time; what it loads is tested in bpf/baseline and bpf/xdp",
		"bpf/latency.TestBPFRunqMeasuresTheWaitForACPU":                    "it wants cat(1), which no guest has",
		"bpf/xdp.TestBPFOneClientIsExactOnAllCPUs":                         "it wants 99 % of what time gives, which needs the CPUs; TestBPFQuotaIsExactOnAllCPUs runs",
		"bpf/xdp.TestBPFProvedClientsKeepTheirQuotaUnderASpoofedFlood":     "forty million packets, by a clock of the test's own: the same on every kernel",
		"bpf/xdp.TestBPFShadowCountsAsEnforceAndPassesAll":                 "the packets of TestBPFQuotas once more; TestBPFModesSwitchByOneWrite runs",
		"bpf/xdp.TestNetnsFiftySwapsUnderAFloodPassNothingUnfiltered":      "a flood at full rate starves an emulated CPU; TestNetnsPinnedStateOutlivesItsProcess swaps, too",
	}
}

// leftOutOfWhole are those that do not run in a whole guest, which has several CPUs, but in the others: of an instruction that the
// kernel replaces while another CPU executes it, as for a static key, qemu's emulated CPUs may go on with the breakpoint that stood
// there meanwhile, and trap for ever (seen in qemu 7.2: memory has the new instruction, all CPUs are in the trap of the old).
func leftOutOfWhole() map[string]string {
	const switches = "it has the kernel's statistics switched on and off while their programs run on all CPUs"
	return map[string]string{
		"bpf/latency.TestBPFBudgetIsKept":   switches,
		"bench.TestBPFTraceMeasuresTracers": switches,
	}
}

// mayFail are the tests that may fail or skip in a guest, each as "6.1/TestBPFName" with its
// reason.
func mayFail() map[string]string {
	const received, sent = "sk_data_ready came with Linux 6.3", "timestamps of what is sent came with Linux 6.15"
	const instances = "settings of NAPI instances came with Linux 6.13"
	return map[string]string{
		"6.1/TestBPFReadMeasuresWhatWaits":               received,
		"6.1/TestBPFReadCountsFromTheFirstThatIsUnread":  received,
		"6.1/TestBPFReadOfOthersIsNotCounted":            received,
		"6.1/TestBPFExportServesAMadeDelay":              received,
		"6.1/TestBPFTraceMeasuresTracers":                received,
		"6.1/TestBPFWriteMeasuresTheWayToThePeer":        sent,
		"6.1/TestBPFWriteOfOthersIsNotCounted":           sent,
		"6.1/TestNetnsAWriteThatFailsAndChangesIsUndone": "rps_default_mask of a network namespace came with Linux 6.3",
		"6.1/TestNetnsInstancesAreTunedAndPutBack":       instances,
		"6.12/TestNetnsInstancesAreTunedAndPutBack":      instances,
		"6.12/TestBPFWriteMeasuresTheWayToThePeer":       sent,
		"6.12/TestBPFWriteOfOthersIsNotCounted":          sent,
	}
}

func TestKernels(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("no qemu-system-x86_64: run make deps")
		}
		t.Skip("no qemu-system-x86_64: run make deps")
	}
	packages := build(t)
	for _, k := range kernels() {
		t.Run(k.version, func(t *testing.T) {
			t.Parallel()
			k.run(t, packages)
		})
	}
}

// run runs the tests of the packages on the kernel.
func (k kernel) run(t *testing.T, packages []pkg) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, ".cache/kernels", k.version))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		if out, err := exec.Command(root+"/tools/kernels.sh", k.version, k.suite, dir).CombinedOutput(); err != nil {
			t.Fatalf("fetch the kernel: %v\n%s", err, out)
		}
	}
	g := guest{dir: dir}
	if err := writeInitrd(g.path("initrd"), g.path("modules"), packages); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	again := g.boot(t)
	judge(t, g, packages, k.version, fmt.Sprintf("%v%s", time.Since(start).Round(time.Second), again))
}

// judge holds what a guest that has ended reports to what was to pass in it, and leaves a summary. version is the kernel's, took how
// long it was.
func judge(t *testing.T, g guest, packages []pkg, version, took string) {
	t.Helper()
	r := parse(g.read(t, "report.log"))
	var passed, failed, skipped int
	for _, p := range packages {
		t.Run(p.Dir, func(t *testing.T) {
			r, may := r.packages[p.Dir], false
			for _, name := range p.tests {
				t.Run(name, func(t *testing.T) {
					switch problem, why := r.problem(name), mayFail()[version+"/"+name]; {
					case problem == "":
						passed++
					case why != "":
						skipped++
						may = true
						t.Skipf("%s, as it may: %s", problem, why)
					default:
						failed++
						t.Errorf("on Linux %s %s\n%s", version, problem, r.output[name])
					}
				})
			}
			if r.status != "0" && !may && !t.Failed() {
				t.Errorf("on Linux %s the binary ended with status %q\n%s", version, r.status, r.output[""])
			}
		})
	}
	if r.err != "" || !r.done {
		t.Errorf("the guest did not come to its end: %s: the end of %s:\n%s", r.err, g.path("console.log"), tail(g.read(t, "console.log")))
	}
	summary := fmt.Sprintf("Linux %s: %d passed, %d failed, %d skipped in %s\n",
		strings.TrimSpace(g.read(t, "release")), passed, failed, skipped, took)
	t.Log(strings.TrimSpace(summary))
	if err := os.WriteFile(g.path("summary"), []byte(summary), 0o600); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		g.passed(t)
	}
}
