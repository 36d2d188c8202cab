// Package smuggling is a corpus of requests that two parsers could read in two ways, and of good ones
// beside them, for the tests of whatever parses or forwards HTTP/1.1. The cases are ours; the ideas are those
// of published work: Linhart and others 2005, Kettle 2019 to 2025, Jeppsson's chunk extensions, and the
// mutation lists of the tools that came of it.
package smuggling

import (
	"embed"
	"fmt"
	"strings"
)

// The verdicts are those of a gateway that takes HTTP/1.0 and absolute targets, and heads of no more than this.
const (
	MaxHeadBytes = 8 << 10
	MaxFields    = 64
)

//go:embed cases verdicts.txt
var files embed.FS

// Case is what one client sends on one conn.
type Case struct {
	Name string // family first
	Raw  []byte
	// Status is what is to be answered to what is wrong; 200 if nothing is.
	Status int
	// Requests is how many requests are right and whole before what is wrong. No other may be
	// forwarded whole.
	Requests int
	Why      string
}

// Good reports whether nothing is wrong.
func (c Case) Good() bool { return c.Status == 200 }

// Cases are all of them, in the order of verdicts.txt: a line has name, status, requests and why.
func Cases() []Case {
	text, err := files.ReadFile("verdicts.txt")
	if err != nil {
		panic(err)
	}
	var all []Case
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var c Case
		if _, err := fmt.Sscan(line, &c.Name, &c.Status, &c.Requests); err != nil {
			panic(fmt.Sprintf("verdicts.txt: %q: %v", line, err))
		}
		c.Why = strings.TrimSpace(strings.SplitN(line, " ", 4)[3])
		if c.Raw, err = files.ReadFile("cases/" + c.Name + ".http"); err != nil {
			panic(err)
		}
		all = append(all, c)
	}
	return all
}
