// Package heavy finds the clients that cost the most, in memory that does not grow with how many there are.
//
// A [Sketch] is Space-Saving (A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in
// Data Streams", 2005): so many clients have a slot with a count; who has none takes the slot of whom the least was counted for,
// and goes on from that count. So a count is too high by at most what the slot had when it was taken, which is kept beside it, and
// with n slots every client is there that has more than the n-th part of all that was counted. It is for one goroutine.
//
// A [Top] is sketches by requests, refusals, bytes and upstream time, over the last minutes, for many goroutines at once.
package heavy
