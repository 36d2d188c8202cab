// Package catalog is what weir knows of settings: for each the formula over a host and the conns that are wanted, why, from
// where, at what risk, in which namespace, and how to see that it helped. It decides what a knob should be; it
// reads and writes none.
package catalog
