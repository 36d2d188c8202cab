package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker.
var release = "dev"

func version() string { return release }

type versionCmd struct {
	JSON bool `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*versionCmd) Help() string {
	return `Example:
  weir version --json`
}

// Run prints the version.
func (c *versionCmd) Run(a *app) error {
	v := struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Go      string `json:"go"`
		System  string `json:"system"`
	}{release, "unknown", runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(v)
	}
	_, err := fmt.Fprintf(a.stdout, "weir %s (%s, %s, %s)\n", v.Version, v.Commit, v.Go, v.System)
	return err
}
