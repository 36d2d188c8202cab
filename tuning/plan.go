package tuning

import (
	"slices"
	"unicode/utf8"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/knob"
)

// Status is what is to be done about one knob.
type Status string

// The statuses.
const (
	// Change: it is to be written.
	Change Status = "change"
	// Same: it is as it should be.
	Same Status = "same"
	// Advice: it is not weir's to write; a command says what to do.
	Advice Status = "advice"
	// Refused: it is there, and must not or cannot be written here.
	Refused Status = "refused"
	// Absent: it is not there.
	Absent Status = "absent"
)

// Item is one knob of a plan.
type Item struct {
	// Setting is the catalog's key, of which a host may have many knobs.
	Setting string    `json:"setting"`
	Knob    knob.Knob `json:"knob"`
	Status  Status    `json:"status"`
	// Is and Want are values as people read them; Is is "" for one that is absent.
	Is   string `json:"is"`
	Want string `json:"want"`
	// Why is why it is refused or absent.
	Why    string        `json:"why,omitempty"`
	Scope  catalog.Scope `json:"scope"`
	Reason string        `json:"reason"`
	Risk   string        `json:"risk"`
	Check  string        `json:"check"`
	// Measured is what a benchmark showed, "" if nothing was measured.
	Measured string `json:"measured,omitempty"`
	// Command is what to do about advice.
	Command string `json:"command,omitempty"`

	raw    string // what was read, every byte
	denied bool   // it is refused as this is not the place to write it
}

// Plan is what a profile would change on a host.
type Plan struct {
	Host    *host.Host      `json:"host"`
	Profile catalog.Profile `json:"profile"`
	Conns   int             `json:"conns"`
	// Capacity is how many conns fit, before and after.
	Capacity Capacity `json:"capacity"`
	// Items are in the order in which they are applied.
	Items []Item `json:"items"`
}

// Of are the items of a status, in order.
func (p *Plan) Of(statuses ...Status) (all []Item) {
	for _, item := range p.Items {
		for _, s := range statuses {
			if item.Status == s {
				all = append(all, item)
			}
		}
	}
	return all
}

// overwritten has the settings of NAPI instances be changed where a device's file is, whatever they are: the kernel writes it to all of
// them, and who goes back has to know what each had.
func (p *Plan) overwritten() {
	for i := range p.Items {
		item := &p.Items[i]
		file, ok := map[string]string{"napi/defer-hard-irqs": "napi_defer_hard_irqs", "napi/gro-flush-timeout": "gro_flush_timeout"}[item.Setting]
		if !ok || item.Status != Same {
			continue
		}
		path := "/sys/class/net/" + item.Knob.Device + "/" + file
		if slices.ContainsFunc(p.Items, func(other Item) bool { return other.Status == Change && other.Knob.Path == path }) {
			item.Status = Change
		}
	}
}

// mostBytes bounds what a knob may say: files of sysfs have at most a page.
const mostBytes = 4096

// unkept is why a knob's bytes cannot be kept and written back as they are, "" if they can.
func unkept(raw string) string {
	switch {
	case len(raw) > mostBytes:
		return "it says more than could be written back at once"
	case !utf8.ValidString(raw):
		return "it says bytes that are no text, which a journal does not keep"
	case raw == "":
		return "it says nothing, which cannot be written back"
	}
	return ""
}
