package ethtool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What golang.org/x/sys does not have of receive-side scaling, see linux/ethtool_netlink_generated.h. The order came with Linux 6.17.
const (
	rssSet    = 48
	rssHeader = 1
	rssTable  = 4
	rssKey    = 5
)

const rss = "rss"

// published begins the key of Microsoft's specification, which drivers have as their default; it repeats in symmetric ones.
var published = []byte{0x6d, 0x5a}

// keyKind says whether a key is known to everybody: the key itself is nobody's business.
func keyKind(key []byte) string {
	if len(key) < len(published) || string(key[:len(published)]) == string(published) {
		return "published"
	}
	for i := range key {
		if key[i] != key[i%2] {
			return "own"
		}
	}
	return "published" // two bytes again and again: zeros, or a symmetric one
}

// decodeRSS adds the table, and what kind of key there is.
func decodeRSS(answer []genetlink.Message, all map[string]string) error {
	for _, m := range answer {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		for ad.Next() {
			switch ad.Type() {
			case rssTable:
				raw := ad.Bytes()
				table := make([]uint32, len(raw)/4)
				for i := range table {
					table[i] = binary.NativeEndian.Uint32(raw[4*i:])
				}
				if len(table) > 0 {
					all[rss+"/table"] = FormatTable(table)
				}
			case rssKey:
				if len(ad.Bytes()) > 0 {
					all[rss+"/key"] = keyKind(ad.Bytes())
				}
			}
		}
		if err := ad.Err(); err != nil {
			return err
		}
	}
	return nil
}

// setTable sets which queues packets go to by their hash.
func (c *Client) setTable(device, value string) error {
	table, err := ParseTable(value)
	if err != nil {
		return fmt.Errorf("set %s/table of %s: %w", rss, device, err)
	}
	raw := make([]byte, 4*len(table))
	for i, queue := range table {
		binary.NativeEndian.PutUint32(raw[4*i:], queue)
	}
	err = c.tell(device, rssSet, rssHeader, func(ae *netlink.AttributeEncoder) { ae.Bytes(rssTable, raw) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: Linux 6.17 and a driver that has it are needed, or: ethtool -X %s equal N", err, device)
	}
	if err != nil {
		return fmt.Errorf("set %s/table of %s: %w", rss, device, err)
	}
	return nil
}
