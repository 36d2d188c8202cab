// Package flood sends packets from several source addresses at a rate, to see what holds. It
// runs in a network namespace made for it and refuses any other.
package flood
