// Package ratelimit is the arithmetic of quotas: from what an operator writes ("5000/s, burst
// 1000") to the integers that a decision needs, and the decision itself.
//
// The algorithm is the generic cell rate algorithm (ITU-T I.371): one number, the theoretical
// arrival time of the next request, says how much of the quota is used. The kernel's program
// does the same arithmetic in C; both are held to testdata/gcra.json.
package ratelimit
