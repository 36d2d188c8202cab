// Package minimal is the least fan-out server on gnet: what weir's edge is held against. Handshake,
// one prepared frame shared by all, a dense slice of conns per loop, and group commit; no
// quotas, no slow consumers, no sequence, no topics.
package minimal
