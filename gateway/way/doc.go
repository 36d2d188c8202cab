// Package way is what the ways of the gateway have in common: what they serve by, who they tell of requests, and how the servers of
// an upstream are spoken to.
package way
