// Package pulse asks event loops for a turn: whether they take it, and how late.
//
// A loop is to it a function that has another one called on the loop, so it knows no library of event loops. It runs no
// goroutine and no timer: whoever has the loops asks, in the rhythm that they have.
package pulse
