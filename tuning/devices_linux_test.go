package tuning

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weir/tuning/knob"
)

func TestADeviceOfAnotherNetworkNamespaceIsKnown(t *testing.T) {
	sysfs := t.TempDir()
	for name, index := range map[string]string{"lo": "1\n", "none0": "2\n"} {
		if err := os.Mkdir(filepath.Join(sysfs, name), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, sysfs, name+"/ifindex", index)
	}
	for name, want := range map[string]error{"lo": nil, "none0": errNetwork, "gone0": nil} {
		if err := sameDevice(sysfs, name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	put(t, sysfs, "lo/ifindex", "7\n")
	if err := sameDevice(sysfs, "lo"); !errors.Is(err, errNetwork) {
		t.Errorf("another one of the same name: %v", err)
	}
}

// foreign are devices of another network namespace than that of the files.
type foreign struct{ knob.Devices }

func (foreign) All(string) (map[string]string, error) { return nil, errNetwork }

func TestNothingIsDoneWithSysfsOfAnotherNetworkNamespace(t *testing.T) {
	root := plant(t, shapes()["small"])
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	if _, err := tn.Apply(byShape()["small"], quiet); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, root)
	tn.System.Devices = foreign{tn.System.Devices}
	_, plan := tn.Plan(byShape()["small"])
	_, apply := tn.Apply(byShape()["small"], quiet)
	_, verify := tn.Verify()
	_, rollback := tn.Rollback()
	for verb, err := range map[string]error{"plan": plan, "apply": apply, "verify": verify, "rollback": rollback} {
		if !errors.Is(err, errNetwork) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	same(t, before, snapshot(t, root))
}
