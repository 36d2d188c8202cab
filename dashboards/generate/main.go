// Command generate writes the dashboards, the rules and docs/ALERTS.md. It runs in the package's directory: go generate.
package main

import (
	"log"
	"os"

	"weir/dashboards"
)

func main() {
	files, err := dashboards.Files()
	if err != nil {
		log.Fatal(err)
	}
	for path, text := range files {
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // they are to be read
			log.Fatal(err)
		}
	}
}
