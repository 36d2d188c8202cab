package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// NIC is a network interface.
type NIC struct {
	Name string `json:"name"`
	// Driver is the kernel's name of it, "" for one without a device, as a bridge or veth.
	Driver string `json:"driver,omitempty"`
	// Up is by operstate; MTUBytes as configured.
	Up       bool  `json:"up"`
	MTUBytes int64 `json:"mtu_bytes"`
	// RXQueues and TXQueues are how many queues there are of each.
	RXQueues int `json:"rx_queues"`
	TXQueues int `json:"tx_queues"`
	// IRQs are those of its queues.
	IRQs []IRQ `json:"irqs,omitempty"`
	// Settings are its device's, as tuning/ethtool names them; nil if they were not asked for.
	Settings map[string]string `json:"settings,omitempty"`
}

// IRQ is an interrupt of a queue.
type IRQ struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Queue  int    `json:"queue"`
}

// queueOf finds the number of a queue in an interrupt's name: eth0-TxRx-3, virtio2-input.0, mlx5_comp3@pci:….
var queueOf = regexp.MustCompile(`(?i)(?:TxRx|Tx-Rx|input|output|comp|rx|tx|fp|queue)[-._]?(\d+)`)

func (h *Host) nics() error {
	all, err := h.files.List("/sys/class/net")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel, or a container, without
	}
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	for _, name := range all {
		dir := "/sys/class/net/" + name
		if kind, ok := h.Text(dir + "/type"); !ok || kind == "772" { // ARPHRD_LOOPBACK; or a file that is no interface
			continue
		}
		n := NIC{Name: name}
		device, err := h.files.Link(dir + "/device")
		if err == nil {
			if driver, err := h.files.Link(dir + "/device/driver"); err == nil {
				n.Driver = path.Base(driver)
			}
			n.IRQs = h.irqs(name, path.Base(device))
		}
		state, _ := h.Text(dir + "/operstate")
		n.Up = state == "up" || state == "unknown"
		mtu, _ := h.Text(dir + "/mtu")
		n.MTUBytes, _ = strconv.ParseInt(mtu, 10, 64) // 0 if it does not say
		queues, _ := h.files.List(dir + "/queues")
		for _, q := range queues {
			if strings.HasPrefix(q, "rx-") {
				n.RXQueues++
			} else if strings.HasPrefix(q, "tx-") {
				n.TXQueues++
			}
		}
		h.NICs = append(h.NICs, n)
	}
	return nil
}

// irqs are the interrupts of an interface's queues, by /proc/interrupts, which has their names and not whose
// they are: drivers name them after the interface, virtio and mlx5 after the device.
func (h *Host) irqs(name, device string) (all []IRQ) {
	text, _ := h.Text("/proc/interrupts")
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSuffix(fields[0], ":"))
		action := fields[len(fields)-1]
		ours := action == name || strings.HasPrefix(action, name+"-") || strings.Contains(action, "-"+name+"-") ||
			strings.HasPrefix(action, device+"-") || strings.HasSuffix(action, "@pci:"+device)
		if err != nil || !ours {
			continue
		}
		rest := strings.Replace(strings.TrimPrefix(action, device), name, "", 1)
		found := queueOf.FindStringSubmatch(rest)
		if found == nil {
			continue // of its configuration, not of a queue
		}
		queue, err := strconv.Atoi(found[1])
		if err == nil {
			all = append(all, IRQ{Number: number, Name: action, Queue: queue})
		}
	}
	slices.SortStableFunc(all, func(a, b IRQ) int { return a.Number - b.Number })
	return all
}
